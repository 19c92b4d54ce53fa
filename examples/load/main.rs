//! A load generator for the echo service, with a server of its own or against `--target`.
//!
//! ```text
//! cargo run --release -p load -- --concurrency 100 --duration 5
//!   --mode unary|stream   calls, or messages of server streams (unary)
//!   --concurrency <n>     calls or streams at a time, over all connections (100)
//!   --connections <n>     channels, one connection each (1)
//!   --payload <bytes>    of each request, echoed (100)
//!   --duration <seconds>  measured, after a tenth of it as warm-up (5)
//!   --tls                 TLS with a certificate made for this run
//!   --target <uri>        a server elsewhere: http://host:port or https://host:port
//!   --ca <file>           PEM of what to trust at an https target
//!   --server-pid <pid>    its process, when it runs on this machine, for its CPU time
//!   --multi               tokio's multi-thread runtime
//!   --json                one JSON object instead of text, and no progress bar
//! ```

#[path = "../../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

use bench::{EchoRequest, EchoResponse};
use bytes::Bytes;
use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use framewire::{Method, Response};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const UNARY: Method<EchoRequest, EchoResponse> = Method::new("/framewire.bench.v1.Echo/Unary");
const SERVER_STREAM: Method<EchoRequest, EchoResponse> =
    Method::new("/framewire.bench.v1.Echo/ServerStream");

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    stream: bool,
    concurrency: usize,
    connections: usize,
    payload: usize,
    duration: Duration,
    tls: bool,
    target: Option<String>,
    ca: Option<String>,
    server_pid: Option<u32>,
    multi: bool,
    json: bool,
}

impl Options {
    fn parse() -> Result<Self, BoxError> {
        let mut options = Self {
            stream: false,
            concurrency: 100,
            connections: 1,
            payload: 100,
            duration: Duration::from_secs(5),
            tls: false,
            target: None,
            ca: None,
            server_pid: None,
            multi: false,
            json: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            match word.as_str() {
                "--mode" => match value()?.as_str() {
                    "unary" => options.stream = false,
                    "stream" => options.stream = true,
                    other => return Err(format!("no mode {other}: unary or stream").into()),
                },
                "--concurrency" => options.concurrency = value()?.parse()?,
                "--connections" => options.connections = value()?.parse()?,
                "--payload" => options.payload = value()?.parse()?,
                "--duration" => {
                    options.duration = Duration::try_from_secs_f64(value()?.parse()?)?;
                }
                "--tls" => options.tls = true,
                "--target" => options.target = Some(value()?),
                "--ca" => options.ca = Some(value()?),
                "--server-pid" => options.server_pid = Some(value()?.parse()?),
                "--multi" => options.multi = true,
                "--json" => options.json = true,
                _ => {
                    return Err(
                        format!("{word} is not understood; see examples/load/main.rs").into()
                    );
                }
            }
        }
        if options.concurrency == 0 || options.connections == 0 {
            return Err("--concurrency and --connections are at least 1".into());
        }
        if options.tls && options.target.is_some() {
            return Err("--tls is for the server in this process; write https in --target".into());
        }
        Ok(options)
    }
}

/// The echo service on a port of this machine; its address and how to trust it.
fn own_server(tls: bool) -> Result<(String, Option<ClientTls>), BoxError> {
    let router = Router::new()
        .unary(&UNARY, |_, request| async move {
            Ok(Response::new(EchoResponse { payload: request.payload }))
        })
        .server_streaming(&SERVER_STREAM, |_, request, mut replies| async move {
            for _ in 0..request.count {
                replies.send(EchoResponse { payload: request.payload.clone() }).await?;
            }
            Ok(())
        });
    let mut server = Server::builder(router);
    let mut trust = None;
    if tls {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
        let identity = (issued.cert.der(), issued.signing_key.serialize_der());
        server = server.tls(ServerTls::builder().identity_der(identity.0, identity.1).build()?);
        let client = ClientTls::builder().root_der(issued.cert.der()).server_name("localhost");
        trust = Some(client.build()?);
    }
    let server = server.bind(([127, 0, 0, 1], 0).into())?;
    let port = server.local_addr().ok_or("no address")?.port();
    let scheme = if tls { "https" } else { "http" };
    Ok((format!("{scheme}://127.0.0.1:{port}"), trust))
}

fn elsewhere(target: &str, ca: Option<&str>) -> Result<(String, Option<ClientTls>), BoxError> {
    if !target.starts_with("https:") {
        return Ok((target.to_owned(), None));
    }
    let tls = ClientTls::builder();
    let tls = match ca {
        Some(file) => tls.roots_pem(std::fs::read(file)?),
        None => tls.with_webpki_roots(),
    };
    Ok((target.to_owned(), Some(tls.build()?)))
}

/// Nanoseconds of CPU that a process's threads have used; `None` without `/proc`.
fn cpu_nanos(pid: u32) -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(text) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// When to count, and how much was counted so far, for the progress bar.
struct Window {
    begin: Instant,
    end: Instant,
    done: AtomicU64,
}

impl Window {
    fn counts(&self, at: Instant) -> bool {
        at >= self.begin && at < self.end
    }
}

fn request(payload: &Bytes, count: u32) -> EchoRequest {
    EchoRequest { payload: payload.clone(), count, ..EchoRequest::default() }
}

/// Calls one after the other; their latencies in nanoseconds.
async fn unary(
    channel: Channel,
    payload: Bytes,
    window: Arc<Window>,
) -> Result<Vec<u64>, BoxError> {
    let mut nanos = Vec::new();
    let mut from = Instant::now();
    while from < window.end {
        channel.unary(&UNARY, request(&payload, 0)).await?;
        let to = Instant::now();
        if window.counts(to) {
            nanos.push((to - from).as_nanos() as u64);
            window.done.fetch_add(1, Ordering::Relaxed);
        }
        from = to;
    }
    Ok(nanos)
}

/// The messages of one stream after the other; the times between them in nanoseconds.
async fn stream(
    channel: Channel,
    payload: Bytes,
    window: Arc<Window>,
) -> Result<Vec<u64>, BoxError> {
    let mut nanos = Vec::new();
    let mut from = Instant::now();
    while from < window.end {
        let mut messages =
            channel.server_streaming(&SERVER_STREAM, request(&payload, 1_000_000))?;
        while messages.message().await?.is_some() {
            let to = Instant::now();
            if window.counts(to) {
                nanos.push((to - from).as_nanos() as u64);
                window.done.fetch_add(1, Ordering::Relaxed);
            }
            from = to;
            if to >= window.end {
                break;
            }
        }
    }
    Ok(nanos)
}

/// Shows time and count until the window ends; returns the CPU time inside it, of this process
/// and of the server's.
async fn watch(window: Arc<Window>, pid: Option<u32>, json: bool) -> [Option<u64>; 2] {
    let read = || [cpu_nanos(std::process::id()), pid.and_then(cpu_nanos)];
    tokio::time::sleep_until(window.begin.into()).await;
    let before = read();
    let length = window.end - window.begin;
    let bar =
        if json { ProgressBar::hidden() } else { ProgressBar::new(length.as_millis() as u64) };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}") {
        bar.set_style(style);
    }
    loop {
        let now = Instant::now();
        if now >= window.end {
            break;
        }
        bar.set_position((now - window.begin).as_millis() as u64);
        bar.set_message(format!("{} done", window.done.load(Ordering::Relaxed)));
        let next = (now + Duration::from_millis(200)).min(window.end);
        tokio::time::sleep_until(next.into()).await;
    }
    let after = read();
    bar.finish_and_clear();
    [0, 1].map(|side| after[side]?.checked_sub(before[side]?))
}

async fn run(options: &Options) -> Result<(), BoxError> {
    let (target, tls) = match &options.target {
        Some(target) => elsewhere(target, options.ca.as_deref())?,
        None => own_server(options.tls)?,
    };
    let mut channels = Vec::new();
    for _ in 0..options.connections {
        let mut channel = Channel::builder(&target);
        if let Some(tls) = &tls {
            channel = channel.tls(tls.clone());
        }
        let channel = channel.build()?;
        channel.unary(&UNARY, request(&Bytes::new(), 0)).await?;
        channels.push(channel);
    }
    let begin = Instant::now() + options.duration / 10;
    let end = begin + options.duration;
    let window = Arc::new(Window { begin, end, done: AtomicU64::new(0) });
    let watch = tokio::spawn(watch(Arc::clone(&window), options.server_pid, options.json));
    let payload = Bytes::from(vec![7; options.payload]);
    let tasks: Vec<_> = (0..options.concurrency)
        .map(|n| {
            let channel = channels[n % channels.len()].clone();
            let (payload, window) = (payload.clone(), Arc::clone(&window));
            if options.stream {
                tokio::spawn(stream(channel, payload, window))
            } else {
                tokio::spawn(unary(channel, payload, window))
            }
        })
        .collect();
    let mut nanos = Histogram::<u64>::new(3)?;
    for task in tasks {
        for value in task.await?? {
            nanos.record(value)?;
        }
    }
    report(options, &nanos, watch.await?);
    Ok(())
}

fn report(options: &Options, nanos: &Histogram<u64>, cpu: [Option<u64>; 2]) {
    let seconds = options.duration.as_secs_f64();
    let rate = nanos.len() as f64 / seconds;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| nanos.value_at_quantile(q) as f64 / 1e3);
    let [own, server] = cpu.map(|nanos| nanos.map(|nanos| nanos as f64 / 1e9));
    // In one process the two sides share their threads, and nobody can tell them apart.
    let own_name = if options.target.is_some() { "client" } else { "client and server" };
    if options.json {
        let number =
            |value: Option<f64>| value.map_or_else(|| "null".into(), |v| format!("{v:.3}"));
        println!(
            "{{\"mode\":\"{}\",\"per_second\":{rate:.0},\"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\
             \"p999_us\":{p999:.1},\"seconds\":{seconds},\"cpu_of\":\"{own_name}\",\
             \"cpu_seconds\":{},\"server_cpu_seconds\":{}}}",
            if options.stream { "stream" } else { "unary" },
            number(own),
            number(server),
        );
        return;
    }
    let (what, time) =
        if options.stream { ("messages", "between messages") } else { ("calls", "latency") };
    println!("{rate:.0} {what}/s over {seconds} s");
    println!("{time}: p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us");
    if let Some(own) = own {
        println!("CPU of {own_name}: {own:.2} s");
    }
    if let Some(server) = server {
        println!("CPU of the server: {server:.2} s");
    }
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse()?;
    let mut runtime = if options.multi {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    runtime.enable_all().build()?.block_on(run(&options))
}
