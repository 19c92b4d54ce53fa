//! The same echo service on framewire and on tonic, server and client in processes of their own.
//!
//! ```text
//! cargo bench -p versus_tonic -- --cases unary-100 --rounds 5
//!   --cases <substring>   only the cases whose name contains it
//!   --rounds <n>          pairs of runs a case, A B A B (5)
//!   --quick               one short pair a case
//!   --multi               tokio's multi-thread runtime, not pinned (current-thread, pinned)
//!   --connections <n>     framewire's pool of at most n, tonic's n channels in turn (1)
//!   --stubs               tonic's stubs and service on framewire, beside tonic
//!   --json <file>         every run as JSON
//! ```
//!
//! Rates hold for this machine at this hour; the ratio of runs that stand side by side lasts
//! longer. CPU is that of a whole process, per call, in microseconds.
#![allow(unreachable_pub)]

#[path = "../../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;
mod cases;
mod cpu;
mod load;
mod process;
mod report;
mod roles;
mod stack;
mod with_framewire;
mod with_tonic;

use cases::CASES;
use process::Setting;
use report::Comparison;
use stack::{BoxError, TlsFiles};
use std::time::Duration;

/// Streams that both servers allow on a connection: more than any case opens.
const STREAMS: u32 = 2048;

/// What the command line says.
#[derive(Default, Debug)]
struct Options {
    cases: String,
    rounds: Option<usize>,
    quick: bool,
    multi: bool,
    connections: u32,
    stubs: bool,
    json: Option<String>,
    role: Option<String>,
    stack: String,
    case: String,
    port: u16,
    server_pid: Option<u32>,
    warm_ms: u64,
    measure_ms: u64,
    calls: Option<u32>,
    tls: bool,
    tls_cert: String,
    tls_key: String,
}

impl Options {
    fn parse() -> Result<Self, BoxError> {
        let mut options =
            Self { warm_ms: 300, measure_ms: 1000, connections: 1, ..Self::default() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--cases" => options.cases = value()?,
                "--rounds" => options.rounds = Some(value()?.parse()?),
                "--quick" => options.quick = true,
                "--multi" => options.multi = true,
                "--connections" => options.connections = value()?.parse()?,
                "--stubs" => options.stubs = true,
                "--json" => options.json = Some(value()?),
                "--role" => options.role = Some(value()?),
                "--stack" => options.stack = value()?,
                "--case" => options.case = value()?,
                "--port" => options.port = value()?.parse()?,
                "--server-pid" => options.server_pid = Some(value()?.parse()?),
                "--warm-ms" => options.warm_ms = value()?.parse()?,
                "--measure-ms" => options.measure_ms = value()?.parse()?,
                "--calls" => options.calls = Some(value()?.parse()?),
                "--tls" => options.tls = true,
                "--tls-cert" => options.tls_cert = value()?,
                "--tls-key" => options.tls_key = value()?,
                // Cargo says this to every bench.
                "--bench" => {}
                _ => return Err(format!("{word} is not understood").into()),
            }
        }
        Ok(options)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.tls_cert.clone(), key: self.tls_key.clone() }
    }
}

fn main() -> Result<(), BoxError> {
    let mut options = Options::parse()?;
    // Without cargo's word this is a check that the comparison runs at all.
    if options.role.is_none() && !std::env::args().any(|word| word == "--bench") {
        options.quick = true;
        options.cases = "unary-16".to_owned();
    }
    match options.role.as_deref() {
        None => compare(&options),
        Some("server") => roles::server(&options),
        Some("client") => roles::client(&options),
        Some(other) => Err(format!("no role {other}").into()),
    }
}

/// A certificate for this comparison alone, removed afterwards.
struct Directory(std::path::PathBuf);

impl Directory {
    fn with_certificate() -> Result<(Self, TlsFiles), BoxError> {
        let name = format!("framewire-versus-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        let directory = Self(path);
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        let write = |name: &str, text: String| -> Result<String, BoxError> {
            let path = directory.0.join(name);
            std::fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let certificate = write("certificate.pem", issued.cert.pem())?;
        let key = write("key.pem", issued.signing_key.serialize_pem())?;
        Ok((directory, TlsFiles { certificate, key }))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn compare(options: &Options) -> Result<(), BoxError> {
    let (_directory, tls) = Directory::with_certificate()?;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 5 });
    let (warm, measure) = if options.quick { (100, 300) } else { (300, 1000) };
    let setting = Setting {
        multi: options.multi,
        connections: options.connections,
        warm: Duration::from_millis(warm),
        measure: Duration::from_millis(measure),
        tls,
        pin: process::can_pin(),
    };
    let mut all = Vec::new();
    let first = if options.stubs { "stubs" } else { "framewire" };
    series(options, &setting, [first, "tonic"], rounds, &mut all)?;
    if let Some(file) = &options.json {
        std::fs::write(file, report::json(&all))?;
    }
    Ok(())
}

fn series(
    options: &Options,
    setting: &Setting,
    stacks: [&str; 2],
    rounds: usize,
    all: &mut Vec<Comparison>,
) -> Result<(), BoxError> {
    let runtime = if setting.multi { "multi-thread" } else { "current-thread" };
    report::head(runtime, rounds, setting.pin && !setting.multi);
    for case in CASES.iter().filter(|case| case.name.contains(&options.cases)) {
        let mut runs = Vec::new();
        for _ in 0..rounds {
            let first = process::run(stacks[0], case, setting)?;
            runs.push([first, process::run(stacks[1], case, setting)?]);
        }
        let stacks = stacks.map(str::to_owned);
        let comparison = Comparison { case: case.name, runtime, stacks, runs };
        comparison.print();
        all.push(comparison);
    }
    Ok(())
}
