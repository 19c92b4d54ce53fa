//! Real proxies between the channels and the servers: nginx with `grpc_pass`, and HAProxy.

use crate::again::Child;
use crate::audit::{self, Findings};
use crate::calls::{Ended, Spec, make};
use crate::child::{Start, until};
use crate::seed::Rng;
use crate::storm::{FAIR, HANG, Record};
use crate::world::{Life, Policy, retire};
use framewire::client::Channel;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const SERVERS: usize = 2;

/// A proxy: its program, what it is told, and how to have it read that again.
#[derive(Clone, Copy)]
pub struct Proxy {
    pub program: &'static str,
    /// The configuration: where it listens, the servers, and its folder.
    pub configuration: fn(SocketAddr, &[SocketAddr], &Path) -> String,
    pub arguments: fn(&Path) -> Vec<String>,
    /// The signal that lets a new generation of workers take over under load.
    pub reload: Option<&'static str>,
    /// Whether it says REFUSED_STREAM of a request that it has forwarded, when the server's connection is
    /// lost before the response. RFC 9113 §8.7 makes that a promise that the request was not processed.
    pub refuses_late: bool,
}

pub const NGINX: Proxy = Proxy {
    program: "nginx",
    configuration: |listen, servers, folder| {
        let servers: String =
            servers.iter().map(|at| format!("server {at} max_fails=0;\n")).collect();
        let folder = folder.display();
        format!(
            "daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;\n\
             worker_shutdown_timeout 5s;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n\
             access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
             fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;\n\
             scgi_temp_path {folder}/scgi;\n\
             keepalive_requests 300;\n\
             upstream servers {{ {servers} keepalive 16; }}\n\
             server {{ listen {listen} http2;\n\
             client_max_body_size 0;\n\
             location / {{ grpc_pass grpc://servers; }} }} }}\n"
        )
    },
    arguments: |configuration| {
        let text = configuration.display().to_string();
        let folder = configuration.parent().unwrap().display().to_string();
        vec!["-c".into(), text, "-p".into(), folder]
    },
    reload: Some("HUP"),
    refuses_late: false,
};

pub const HAPROXY: Proxy = Proxy {
    program: "haproxy",
    configuration: |listen, servers, _| {
        let servers: String = servers
            .iter()
            .enumerate()
            .map(|(n, at)| format!("  server s{n} {at} proto h2 check inter 200ms\n"))
            .collect();
        format!(
            "global\n  maxconn 512\n  tune.h2.max-concurrent-streams 32\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
             frontend near\n  bind {listen} proto h2\n  default_backend far\n\
             backend far\n  balance roundrobin\n{servers}"
        )
    },
    arguments: |configuration| vec!["-db".into(), "-f".into(), configuration.display().to_string()],
    reload: None,
    refuses_late: true,
};

/// Whether the program is there.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|dir| dir.join(program).exists())
}

/// A running proxy. Dropped, it is asked to end.
struct Running(Process);

impl Running {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -\"$0\" \"$1\"", name, &id]).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A master ends its workers with it.
        self.signal("TERM");
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Proxy {
    async fn start(&self, servers: &[SocketAddr], folder: &Path) -> (Running, SocketAddr) {
        let listen = free_port();
        let configuration = folder.join("configuration");
        std::fs::write(&configuration, (self.configuration)(listen, servers, folder)).unwrap();
        let program = Some(PathBuf::from("/usr/sbin").join(self.program)).filter(|p| p.exists());
        let mut command = Command::new(program.unwrap_or_else(|| self.program.into()));
        command.args((self.arguments)(&configuration)).stdin(Stdio::null());
        let log = std::fs::File::create(folder.join("said")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut running = Running(command.spawn().unwrap());
        let listens =
            async || TcpStream::connect(listen).is_ok() || running.0.try_wait().unwrap().is_some();
        assert!(until(Duration::from_secs(20), listens).await, "{} does not listen", self.program);
        let said = std::fs::read_to_string(folder.join("said")).unwrap_or_default();
        assert!(running.0.try_wait().unwrap().is_none(), "{} ended: {said}", self.program);
        (running, listen)
    }
}

/// Calls through a proxy while the servers behind it restart one after the other, and it reloads.
pub async fn through(proxy: Proxy, seed: u64, seconds: u64) -> Findings {
    let mut findings = Findings::default();
    let mut rng = Rng::of(seed, 6);
    let name = format!("{}/{}-{}", env!("CARGO_TARGET_TMPDIR"), proxy.program, std::process::id());
    let folder = PathBuf::from(name);
    std::fs::create_dir_all(&folder).unwrap();
    let mut lives: Vec<Life> = Vec::new();
    let mut servers = Vec::new();
    for n in 0..SERVERS {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = folder.join(format!("{n}-0"));
        let start = Start { part: "server", listen, seed: rng.next(), log, more: String::new() };
        servers.push(begin(start, n, &mut lives).await);
    }
    let addresses: Vec<_> = servers.iter().map(|(child, ..)| child.address).collect();
    let (running, listen) = proxy.start(&addresses, &folder).await;
    let channel = Channel::builder(&format!("http://{listen}")).build().unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    let load = tokio::spawn(load(channel.clone(), seed, until));
    let mut n = 0;
    while Instant::now() < until {
        sleep(Duration::from_millis(rng.range(300, 900))).await;
        if let (Some(signal), true) = (proxy.reload, rng.per_mille(300)) {
            running.signal(signal);
            continue;
        }
        n = (n + 1) % SERVERS;
        let (child, mut start, life) = servers.remove(n);
        lives[life].end = retire(child, "server").await;
        start.listen = addresses[n];
        start.log = folder.join(format!("{n}-{}", lives.len()));
        servers.insert(n, begin(start, n, &mut lives).await);
    }
    let mut records = load.await.unwrap();
    // The proxy has found its servers again; then nothing stands against a call.
    sleep(Duration::from_secs(1)).await;
    for i in 0..50 {
        let spec = Spec::fair(FAIR + i, &mut rng);
        records.push(record(channel.clone(), spec).await);
    }
    let fair = records.iter().filter(|record| record.spec.id >= FAIR);
    for record in fair.filter(|record| !matches!(record.ended, Ended::Well)) {
        findings.add("a call failed although nothing stood against it", format!("{record:?}"));
    }
    let idle = async || channel.stats().calls() == 0 && channel.stats().waiting == 0;
    let idle = crate::child::until(Duration::from_secs(10), idle).await;
    findings.expect(idle, "a channel without calls counts some", || channel.stats().to_string());
    drop(channel);
    drop(running);
    for (child, _, life) in servers {
        lives[life].end = retire(child, "server").await;
    }
    let runs = audit::runs(&lives);
    audit::calls(&records, &runs, Some(&proxy), &mut findings);
    audit::ends(&lives, &mut findings);
    println!("{}: {} lives, {}", proxy.program, lives.len(), crate::tally(&records));
    if findings.report().is_none() {
        let _ = std::fs::remove_dir_all(folder);
    }
    findings
}

async fn begin(start: Start, server: usize, lives: &mut Vec<Life>) -> (Child, Start, usize) {
    let child = start.start().await;
    lives.push(Life { server, log: start.log.clone(), harmed: false, end: None });
    (child, start, lives.len() - 1)
}

async fn record(channel: Channel, spec: Spec) -> Record {
    let began = Instant::now();
    let limit = spec.timeout.map_or(Duration::from_secs(60), |timeout| timeout + HANG);
    let ended = timeout(limit, make(&channel, &spec)).await.unwrap_or(Ended::Hung);
    Record { spec, policy: Policy::None, channel: 0, ended, took: began.elapsed() }
}

async fn load(channel: Channel, seed: u64, until: Instant) -> Vec<Record> {
    let mut rng = Rng::of(seed, 7);
    let mut calls = JoinSet::new();
    let mut id = 0;
    while Instant::now() < until {
        id += 1;
        let mut spec = Spec::draw(id, &mut rng);
        if spec.act.panics() {
            spec.act = crate::messages::Act::Fine;
        }
        calls.spawn(record(channel.clone(), spec));
        sleep(Duration::from_millis(8)).await;
    }
    calls.join_all().await
}

/// Says past the capture of the test harness that a proxy is not there.
pub fn skipped(program: &str) {
    let line = format!("chaos: skipped {program}, which is not installed; .ci/run installs it");
    let _ = writeln!(std::io::stderr(), "{line}");
}
