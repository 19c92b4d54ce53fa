//! Servers of ours in processes of their own: this test's binary, run again in another part.
//!
//! A server ends at SIGTERM, after a graceful drain, or when its parent is gone; it says what it ran.

#[path = "child.rs"]
mod child;

use child::Child;
use framewire::server::{Router, Server};
use framewire::transport::{Accept, TcpAcceptor};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Method, Raw, Response};
use framewire::unstable::http2::Role;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Answers with its request after as many milliseconds as the first byte says. The rest of the
/// request is noted.
pub const WORK: Method<Raw, Raw> = Method::new("/test.Work/Do");
/// Never answers.
pub const SILENT: Method<Raw, Raw> = Method::new("/test.Work/Silent");
/// Answers with as many KiB as the four bytes of the request say.
pub const LARGE: Method<Raw, Raw> = Method::new("/test.Work/Large");

/// Set in a server's process: where it is to listen.
const LISTEN: &str = "FRAMEWIRE_TEST_LISTEN";
/// Time that calls under way have at SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// A request of [`WORK`]: an identifier, and the milliseconds that it takes.
pub fn work(id: u32, milliseconds: u8) -> Raw {
    let mut bytes = vec![milliseconds];
    bytes.extend_from_slice(&id.to_be_bytes());
    Raw(bytes.into())
}

/// How often each identifier ran.
pub type Ran = BTreeMap<u32, u32>;

fn router(ran: &Arc<Mutex<Ran>>) -> Router {
    let ran = Arc::clone(ran);
    Router::new()
        .unary(&WORK, move |_, request: Raw| {
            let id = request.0.get(1..5).and_then(|bytes| bytes.try_into().ok());
            *ran.lock().unwrap().entry(id.map_or(0, u32::from_be_bytes)).or_default() += 1;
            async move {
                let time = request.0.first().copied().unwrap_or(0);
                if time > 0 {
                    tokio::time::sleep(Duration::from_millis(u64::from(time))).await;
                }
                Ok(Response::new(request))
            }
        })
        .unary(&SILENT, |_, _| std::future::pending())
        .unary(&LARGE, |_, request: Raw| async move {
            let kibibytes = u32::from_be_bytes(request.0[..4].try_into().unwrap());
            Ok(Response::new(Raw(vec![7; kibibytes as usize * 1024].into())))
        })
}

/// The server's part, if this process is one: `true` when it has ended.
pub fn serve() -> bool {
    serve_as(ConnectionOptions::new(Role::Server), |router| router)
}

/// As [`serve`], with these options, and with whatever `more` adds to the methods above.
pub fn serve_as(options: ConnectionOptions, more: impl FnOnce(Router) -> Router) -> bool {
    serve_over(options, more, |acceptor| acceptor)
}

/// As [`serve_as`], over what `wrap` makes of its listener.
pub fn serve_over<A: Accept>(
    options: ConnectionOptions,
    more: impl FnOnce(Router) -> Router,
    wrap: impl FnOnce(TcpAcceptor) -> A,
) -> bool {
    let Ok(at) = std::env::var(LISTEN) else { return false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(serve_at(at.parse().unwrap(), options, more, wrap));
    true
}

async fn serve_at<A: Accept>(
    at: SocketAddr,
    options: ConnectionOptions,
    more: impl FnOnce(Router) -> Router,
    wrap: impl FnOnce(TcpAcceptor) -> A,
) {
    let ran = Arc::new(Mutex::new(Ran::new()));
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let acceptor = TcpAcceptor::bind(at).unwrap();
    println!("\nlistens on {}", acceptor.local_addr().unwrap());
    let builder = Server::builder(more(router(&ran))).unstable_connection(options);
    let server = builder.serve(wrap(acceptor)).unwrap();
    let (gone, parent_is_gone) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(gone);
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = parent_is_gone => return,
    }
    let report = server.shutdown(GRACE).await;
    let ran: Vec<_> =
        ran.lock().unwrap().iter().map(|(id, times)| format!("{id}*{times}")).collect();
    println!("\nran {}", ran.join(" "));
    println!("\nforced {}", report.forced);
}

/// A server's process. Dropped, it is killed.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    /// Starts a server that runs `test`, whose first act must be [`serve`]; port 0 picks one.
    /// `before` are a command and its arguments that run it.
    pub async fn start(before: &[&str], test: &str, at: SocketAddr) -> Self {
        let child = Child::start(before, test, &[(LISTEN, &at.to_string())]).await;
        Self { address: child.address, child }
    }

    /// Sends a signal: `TERM`, `KILL`, `STOP`, `CONT`. After `STOP` it has stopped.
    pub async fn signal(&self, name: &str) {
        self.child.signal(name).await;
    }

    /// What it ran and how many streams it cut, once it has ended after SIGTERM.
    pub async fn report(mut self) -> (Ran, u32) {
        let ran = self.child.line("ran").await;
        let ran = ran.split_whitespace().map(|pair| {
            let (id, times) = pair.split_once('*').unwrap();
            (id.parse().unwrap(), times.parse().unwrap())
        });
        let ran = ran.collect();
        let forced = self.child.line("forced ").await.parse().unwrap();
        assert!(self.child.ended().await, "the server failed");
        (ran, forced)
    }

    /// Bytes of memory that it had in use at most, as the system counts.
    pub fn most_memory(&self) -> usize {
        let id = self.child.id().expect("it has not ended");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1024
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        self.child.ended().await;
    }
}
