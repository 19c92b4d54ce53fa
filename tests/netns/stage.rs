//! A pair of namespaces, the wire between them, and the hands of a case.

use crate::TEST;
use crate::process::{Process, WORK, work};
use framewire::client::{Channel, ChannelBuilder};
use framewire::error::Error;
use framewire::transport::PeerAddr;
use framewire::unstable::grpc::{Request, Response};
use framewire::unstable::pool::PoolOptions;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What a busy machine may add to a time.
pub const SLACK: Duration = Duration::from_secs(5);
/// What it may add to a time that is short.
pub const SOON: Duration = Duration::from_secs(3);

const CLIENT: &str = "FRAMEWIRE_TEST_CLIENT";
const SERVER: &str = "FRAMEWIRE_TEST_SERVER";
/// The wire's two ends, in either namespace.
const WIRE: &str = "wire";
const CLIENT_ADDRESS: &str = "10.77.0.1/24";
const SERVER_ADDRESSES: [&str; 2] = ["10.77.0.2/24", "10.77.0.3/24"];

pub type Case = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

pub fn case(case: impl Future<Output = ()> + 'static) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(case)
}

/// Runs a tool; what it wrote, or what went wrong.
fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    let said = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    let said = said.map_err(|error| format!("{name} does not run: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if said.status.success() {
        return Ok(text(&said.stdout));
    }
    Err(format!("{name} {}: {}", arguments.join(" "), text(&said.stderr)))
}

/// Why there can be no namespaces, if that is so.
pub fn missing() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    if user.and_then(|ids| ids.split_whitespace().nth(1)) != Some("0") {
        return Some("namespaces want root".to_owned());
    }
    for (name, version) in [("ip", "-V"), ("nft", "-v"), ("tc", "-V")] {
        if let Err(error) = tool(name, &[version]) {
            return Some(error);
        }
    }
    // Some sandboxes have a root that may do little.
    let trial = format!("fw{}-trial", std::process::id());
    let made = tool("ip", &["netns", "add", &trial]).and_then(|_| {
        tool("ip", &["netns", "exec", &trial, "nft", "list", "ruleset"])?;
        tool("ip", &["-n", &trial, "link", "add", "near", "type", "veth", "peer", "name", "far"])
    });
    let _ = tool("ip", &["netns", "del", &trial]);
    made.err()
}

/// The namespaces of one case; they go with it.
pub struct Pair {
    pub client: String,
    server: String,
}

impl Pair {
    pub fn new(n: usize) -> Self {
        let id = std::process::id();
        let pair = Self { client: format!("fw{id}-{n}c"), server: format!("fw{id}-{n}s") };
        let (client, server) = (&pair.client, &pair.server);
        let ip = |arguments: &[&str]| tool("ip", arguments).unwrap();
        for name in [client, server] {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        let far = ["peer", "name", WIRE, "netns", server];
        ip(&[&["-n", client, "link", "add", WIRE, "type", "veth"], &far[..]].concat());
        ip(&["-n", client, "addr", "add", CLIENT_ADDRESS, "dev", WIRE]);
        for address in SERVER_ADDRESSES {
            ip(&["-n", server, "addr", "add", address, "dev", WIRE]);
        }
        for name in [client, server] {
            ip(&["-n", name, "link", "set", WIRE, "up"]);
            let table = "add table inet fw; \
                         add chain inet fw in { type filter hook input priority 0; }";
            ip(&["netns", "exec", name, "nft", table]);
        }
        pair
    }

    /// Runs a command of the client's and returns what it wrote; after the limit it is killed.
    pub fn run(&self, command: &mut Command, limit: Duration) -> Output {
        command.env(CLIENT, &self.client).env(SERVER, &self.server).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (out, err) =
            (std::thread::spawn(move || all(out)), std::thread::spawn(move || all(err)));
        let late = Instant::now() + limit;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > late {
                let _ = child.kill();
                // Its servers hold the pipes too.
                self.clear();
                break child.wait().unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
    }

    /// Ends every process that is left in the namespaces.
    fn clear(&self) {
        for name in [&self.client, &self.server] {
            for id in tool("ip", &["netns", "pids", name]).unwrap_or_default().lines() {
                let _ = tool("sh", &["-c", "kill -KILL \"$0\"", id]);
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.clear();
        for name in [&self.client, &self.server] {
            let _ = tool("ip", &["netns", "del", name]);
        }
    }
}

/// All that comes out of a pipe.
fn all(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

/// Which bytes a rule concerns: those that come to the server, or to the client.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Server,
    Client,
}

/// Where a case stands: in the client's namespace.
#[derive(Debug)]
pub struct Stage {
    client: String,
    server: String,
}

impl Stage {
    pub fn from_env() -> Self {
        let name = |key| std::env::var(key).unwrap();
        Self { client: name(CLIENT), server: name(SERVER) }
    }

    fn of(&self, side: Side) -> &str {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
        }
    }

    /// Runs a tool on one side.
    pub fn on(&self, side: Side, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let before = ["netns", "exec", self.of(side)];
        tool("ip", &[&before[..], &words].concat()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// From now on what comes to this side meets this rule.
    pub fn rule(&self, side: Side, rule: &str) {
        self.on(side, &format!("nft add rule inet fw in {rule}"));
    }

    /// From now on nothing of this flow arrives, and nobody is told.
    pub fn forget(&self, port: u16) {
        self.rule(Side::Server, &format!("tcp sport {port} drop"));
        self.rule(Side::Client, &format!("tcp dport {port} drop"));
    }

    /// The rules go.
    pub fn heal(&self) {
        for side in [Side::Server, Side::Client] {
            self.on(side, "nft flush chain inet fw in");
        }
    }

    /// Sockets that are opened from now on take no more than 64 KiB that nobody has read: the window of TCP
    /// closes before those of HTTP/2.
    pub fn narrow(&self) {
        for side in [Side::Server, Side::Client] {
            let words = ["sysctl", "-qw", "net.ipv4.tcp_rmem=4096 65536 131072"];
            let before = ["netns", "exec", self.of(side)];
            tool("ip", &[&before[..], &words].concat()).unwrap();
        }
    }

    /// Bytes that this side's system has for its peers and that are not acknowledged.
    pub fn unacknowledged(&self, side: Side) -> u64 {
        let table = self.on(side, "cat /proc/net/tcp");
        let bytes = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().skip(3);
            // Established, or closed by one side: never a listener, whose column is another count.
            let open = columns.next().is_some_and(|state| state != "0A" && state != "st");
            let queues = columns.next().filter(|_| open)?;
            u64::from_str_radix(queues.split(':').next()?, 16).ok()
        });
        bytes.sum()
    }

    /// A server at the server's first or second address; port 0 picks one.
    pub async fn serve(&self, address: usize, port: u16) -> Process {
        let text = SERVER_ADDRESSES[address].split('/').next().unwrap();
        let at = SocketAddr::new(text.parse().unwrap(), port);
        Process::start(&["ip", "netns", "exec", &self.server], TEST, at).await
    }
}

/// A channel of one connection.
pub fn channel(at: SocketAddr) -> Channel {
    builder(at, |_| {}).build().unwrap()
}

pub fn builder(at: SocketAddr, with: impl FnOnce(&mut PoolOptions)) -> ChannelBuilder {
    let mut options = PoolOptions::new();
    options.max_connections = 1;
    with(&mut options);
    Channel::builder(&format!("http://{at}")).unstable_pool(options)
}

/// The port from which the channel's one connection comes.
pub fn port(channel: &Channel) -> u16 {
    let connections = channel.unstable_handles();
    let [one] = &connections[..] else { panic!("{} connections", connections.len()) };
    match &one.info().local {
        Some(PeerAddr::Tcp(local)) => local.port(),
        other => panic!("no port: {other:?}"),
    }
}

pub async fn call(channel: &Channel, id: u32) -> Result<(), Error> {
    channel.unary(&WORK, work(id, 0)).await.map(drop)
}

/// A call that has so long.
pub async fn call_within(channel: &Channel, id: u32, time: Duration) -> Result<(), Error> {
    let request = Request::new(work(id, 0)).with_timeout(time);
    channel.unary(&WORK, request).await.map(drop)
}

/// How a call ended, and when, counted from its beginning.
pub type Ended<T> = JoinHandle<(Result<T, Error>, Duration)>;

pub fn begin<T: Send + 'static>(
    call: impl Future<Output = Result<Response<T>, Error>> + Send + 'static,
) -> Ended<T> {
    let started = Instant::now();
    tokio::spawn(async move {
        let result = call.await;
        (result.map(Response::into_inner), started.elapsed())
    })
}

pub async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
