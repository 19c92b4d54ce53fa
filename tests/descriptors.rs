//! Processes that run out of file descriptors, for real: a server goes on serving whom it has, waits,
//! and accepts again; a client goes on with the connections that it has, and dials again. They run in
//! processes of their own, since the limit is a process's.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use framewire::client::Channel;
use framewire::error::Processed;
use framewire::server::{Router, Server};
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Unary");
/// Set in the process that has few descriptors; to the server's address if it is a client.
const CHILD: &str = "FRAMEWIRE_TEST_CHILD";
/// Descriptors of that process.
const DESCRIPTORS: usize = 40;

fn router() -> Router {
    Router::new().unary(&ECHO, |_, request: Raw| async move { Ok(Response::new(request)) })
}

/// The server's process: says where it listens, logs its pauses, ends with its standard input.
async fn serve() {
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).init();
    let server = Server::builder(router()).bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    println!("listens on {}", server.local_addr().unwrap());
    let end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(end).await.unwrap().unwrap();
}

struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Runs a test in its other part.
    fn start(test: &str, child: &str) -> Self {
        let run = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" --exact {test} --nocapture");
        let mut child = Command::new("sh")
            .args(["-c", &run])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, child)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until a line has all of these words; the rest of it behind the first.
    fn line(&mut self, words: &[&str]) -> String {
        for line in &mut self.lines {
            let line = line.unwrap();
            if words.iter().all(|word| line.contains(word)) {
                return line.split_once(words[0]).unwrap().1.to_owned();
            }
        }
        panic!("the process ended without saying {words:?}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn call(channel: &Channel) -> Result<Raw, framewire::error::Error> {
    let request = Request::new(Raw("x".into()))
        .with_wait_for_ready(true)
        .with_timeout(Duration::from_secs(60));
    channel.unary(&ECHO, request).await.map(Response::into_inner)
}

#[tokio::test]
async fn accepting_survives_the_want_of_descriptors() {
    if std::env::var_os(CHILD).is_some() {
        return serve().await;
    }
    let mut server = Running::start("accepting_survives_the_want_of_descriptors", "server");
    let address: SocketAddr = server.line(&["listens on "]).trim().parse().unwrap();
    let channel = || Channel::builder(&format!("http://{address}")).build().unwrap();
    let early = channel();
    call(&early).await.unwrap();
    // The system completes these without asking the server.
    let held: Vec<_> =
        (0..DESCRIPTORS + 20).map(|_| TcpStream::connect(address).unwrap()).collect();
    server.line(&["accepting pauses", "Too many open files"]);
    // Whoever was there before is served all the while.
    call(&early).await.unwrap();
    drop(held);
    call(&channel()).await.unwrap();
    // The process ends by its own will: nothing in it has failed.
    drop(server.child.stdin.take());
    assert!(server.child.wait().unwrap().success());
}

/// The client's process.
async fn dial(address: &str) {
    let channel = || Channel::builder(&format!("http://{address}")).build().unwrap();
    let early = channel();
    call(&early).await.unwrap();
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let late = channel();
    for _ in 0..20 {
        let error = late.unary(&ECHO, Raw("x".into())).await.unwrap_err();
        assert_eq!(
            (error.code(), error.processed()),
            (Code::Unavailable, Processed::No),
            "{error}"
        );
        assert!(error.to_string().contains("Too many open files"), "{error}");
        call(&early).await.unwrap();
    }
    assert_eq!(early.unstable_handles().len(), 1);
    drop(held);
    // The back-off, and what a busy machine adds.
    let started = Instant::now();
    call(&late).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    println!("\ndialled again");
}

#[tokio::test]
async fn dialling_survives_the_want_of_descriptors() {
    if let Some(address) = std::env::var_os(CHILD) {
        return dial(address.to_str().unwrap()).await;
    }
    let server = Server::builder(router()).bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = server.local_addr().unwrap().to_string();
    let test = "dialling_survives_the_want_of_descriptors";
    let client = tokio::task::spawn_blocking(move || {
        let mut client = Running::start(test, &address);
        client.line(&["dialled again"]);
        assert!(client.child.wait().unwrap().success());
    });
    client.await.unwrap();
}
