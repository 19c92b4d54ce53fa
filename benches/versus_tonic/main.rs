//! The same echo service on framewire and on tonic, in separate processes pinned to a core each,
//! measured in turns: A B A B.
//!
//! `cargo bench --bench versus_tonic -- [--cases TEXT] [--rounds N] [--multi] [--tls] [--handoff]`
//!
//! Ratios are taken inside each round; absolute figures are the machine's of the moment.

#[path = "../../proto/rust/bench.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod bench;
mod measure;
mod ours;
mod theirs;

use measure::{Case, Figures};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a run is told on its command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    role: String,
    pub(crate) stack: String,
    pub(crate) port: u16,
    case: String,
    cases: String,
    rounds: usize,
    seconds: f64,
    multi: bool,
    pub(crate) tls: bool,
    handoff: bool,
    server_pid: u32,
    pub(crate) certs: PathBuf,
}

fn args() -> Args {
    let mut args = Args { rounds: 5, seconds: 1.0, ..Args::default() };
    let mut words = std::env::args().skip(1);
    // `cargo bench` says `--bench`; without it this is a check that the comparison runs at all.
    if !std::env::args().any(|word| word == "--bench" || word == "--role") {
        args = Args { rounds: 1, seconds: 0.1, cases: "unary c=16".into(), ..args };
    }
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word.as_str() {
            "--role" => args.role = next(),
            "--stack" => args.stack = next(),
            "--port" => args.port = next().parse().unwrap_or(0),
            "--case" => args.case = next(),
            "--cases" => args.cases = next(),
            "--rounds" => args.rounds = next().parse().unwrap_or(5),
            "--seconds" => args.seconds = next().parse().unwrap_or(1.0),
            "--server-pid" => args.server_pid = next().parse().unwrap_or(0),
            "--certs" => args.certs = next().into(),
            "--multi" => args.multi = true,
            "--tls" => args.tls = true,
            "--handoff" => args.handoff = true,
            _ => {}
        }
    }
    args
}

fn main() -> Result<(), Failure> {
    let args = args();
    match args.role.as_str() {
        "server" => runtime(args.multi)?.block_on(serve(&args)),
        "client" => {
            let case = Case::parse(&args.case).ok_or("no such case")?;
            let figures = runtime(args.multi)?.block_on(call(&args, case))?;
            println!("{}", figures.line());
            Ok(())
        }
        _ => compare(&args),
    }
}

fn runtime(multi: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if multi {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build()
}

async fn serve(args: &Args) -> Result<(), Failure> {
    let port = match args.stack.as_str() {
        "tonic" => theirs::serve(args).await?,
        _ => ours::serve(args)?,
    };
    println!("{port}");
    // Until the parent ends this process.
    std::future::pending().await
}

async fn call(args: &Args, case: Case) -> Result<Figures, Failure> {
    match args.stack.as_str() {
        "tonic" => {
            measure::run(theirs::connect(args).await?, case, args.seconds, args.server_pid).await
        }
        _ => measure::run(ours::connect(args)?, case, args.seconds, args.server_pid).await,
    }
}

/// A server process, ended when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program again, pinned to a core where the system can do that.
fn again(core: u32, args: &Args, role: &str, stack: &str) -> Result<Command, Failure> {
    let this = std::env::current_exe()?;
    let pinned = Command::new("taskset").arg("--version").output().is_ok();
    let mut command = if pinned && !args.multi {
        let mut command = Command::new("taskset");
        command.arg("-c").arg(core.to_string()).arg(this);
        command
    } else {
        Command::new(this)
    };
    command.args(["--role", role, "--stack", stack]).arg("--certs").arg(&args.certs);
    command.args(["--seconds", &args.seconds.to_string()]);
    for (flag, on) in [("--multi", args.multi), ("--tls", args.tls)] {
        if on {
            command.arg(flag);
        }
    }
    Ok(command)
}

fn once(args: &Args, stack: &str, case: &str) -> Result<Figures, Failure> {
    let mut server = Server(again(0, args, "server", stack)?.stdout(Stdio::piped()).spawn()?);
    let mut port = String::new();
    let out = server.0.stdout.take().ok_or("no output of the server")?;
    BufReader::new(out).read_line(&mut port)?;
    let output = again(1, args, "client", stack)?
        .args(["--port", port.trim(), "--case", case])
        .args(["--server-pid", &server.0.id().to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    Figures::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "no figures".into())
}

fn compare(args: &Args) -> Result<(), Failure> {
    let mut args = args.clone();
    args.certs = std::env::temp_dir().join(format!("framewire-bench-{}", std::process::id()));
    std::fs::create_dir_all(&args.certs)?;
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    std::fs::write(args.certs.join("cert.pem"), issued.cert.pem())?;
    std::fs::write(args.certs.join("key.pem"), issued.signing_key.serialize_pem())?;
    let stacks: &[&str] = if args.handoff {
        &["framewire-mutex", "framewire-lockfree"]
    } else {
        &["tonic", "framewire"]
    };
    let runtime = if args.multi { "multi-thread" } else { "current_thread, a core each" };
    println!("{runtime}{}, {} rounds", if args.tls { ", TLS" } else { "" }, args.rounds);
    println!("{:<18} {:<19} {}", "case", "stack", Figures::HEAD);
    for case in Case::ALL.iter().filter(|case| case.contains(&args.cases)) {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); stacks.len()];
        for _ in 0..args.rounds {
            for (stack, runs) in stacks.iter().zip(&mut runs) {
                runs.push(once(&args, stack, case)?);
            }
        }
        for (stack, runs) in stacks.iter().zip(&runs) {
            println!("{case:<18} {stack:<19} {}", measure::median(runs));
        }
        println!("{:<18} ratio of rates, paired: {}", "", measure::ratio(&runs[0], &runs[1]));
    }
    std::fs::remove_dir_all(&args.certs)?;
    Ok(())
}
