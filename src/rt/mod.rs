//! Layer 1: time, tasks, random numbers, names and sockets.
//!
//! No other module reads a clock, sleeps, spawns, draws random numbers, resolves names or opens sockets.
//! So a test that pauses tokio's clock and fixes the seeds repeats byte for byte.

pub mod contain;
pub mod executor;
pub(crate) mod log;
pub mod occasional;
pub mod sync;
pub mod thread;

pub(crate) use log::log;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use contain::{Panicked, contain};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
pub use tokio::time::Sleep;

/// Connections that the kernel may hold completed and not yet accepted.
const BACKLOG: u32 = 1024;

/// Returns the present instant on tokio's clock, which stands still when a test pauses time.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Completes at `deadline`; at once if that is past.
pub fn sleep_until(deadline: Instant) -> tokio::time::Sleep {
    tokio::time::sleep_until(tokio::time::Instant::from_std(deadline))
}

/// As [`sleep_until`]; `None` outside a tokio runtime, or in one without a timer.
#[must_use]
pub fn timer(deadline: Instant) -> Option<tokio::time::Sleep> {
    tokio::runtime::Handle::try_current().ok()?;
    // tokio says only by a panic that a runtime has no timer.
    contain::contain(|| sleep_until(deadline)).ok()
}

/// Completes after `duration`.
pub fn sleep(duration: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(duration)
}

/// Runs `future` for at most `duration`, then drops it and returns the error.
///
/// # Errors
///
/// `Elapsed` if the time ran out first.
pub async fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> Result<F::Output, tokio::time::error::Elapsed> {
    tokio::time::timeout(duration, future).await
}

/// Starts a task on the current tokio runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(future)
}

/// 64 bits that differ from process to process and from call to call.
///
/// Good for seeds, jitter and hash keys; not for secrets.
#[must_use]
pub fn entropy() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}

/// Bytes of memory that this process may use: its cgroup's limit, else what the machine has.
/// `None` where the system does not say.
#[must_use]
pub fn memory_limit() -> Option<u64> {
    // The second is the first version's; there a limit that nobody set is a number near 2^63.
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let number = |text: String| text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60);
    let limit = files.into_iter().find_map(|file| std::fs::read_to_string(file).ok());
    limit.and_then(number).or_else(machine_memory)
}

fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A small seeded generator (SplitMix64): same seed, same sequence. Not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose whole sequence is fixed by `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; 0 if `n` is 0.
    pub const fn below(&mut self, n: u64) -> u64 {
        // The high half of the product is uniform up to n / 2^64, which no caller can see.
        ((self.next_u64() as u128 * n as u128) >> 64) as u64
    }

    /// `duration` moved by at most `fraction` of itself either way.
    ///
    /// `fraction` is taken into 0.0–1.0; a value that is not a number counts as 0.
    pub fn jitter(&mut self, duration: Duration, fraction: f64) -> Duration {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let factor = 1.0 + fraction * (2.0 * unit - 1.0);
        Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
    }
}

/// The socket addresses of `host`, in the resolver's order. An IP literal needs no resolver.
///
/// # Errors
///
/// The resolver's error, or `NotFound` if it knows the name and no address for it.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addresses: Vec<SocketAddr> =
        with_driver(tokio::net::lookup_host((host, port))).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

/// Dials one address. `prepare` sets the socket's options before the first segment leaves.
///
/// # Errors
///
/// What the system or `prepare` reports.
pub async fn connect_tcp(
    addr: SocketAddr,
    prepare: impl FnOnce(&TcpSocket) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let socket = socket_for(addr)?;
    prepare(&socket)?;
    with_driver(socket.connect(addr)).await
}

/// Runs an operation of sockets, which tokio ends with a panic where the runtime has no I/O driver.
async fn with_driver<T>(operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    contain::contain_future(operation).await.unwrap_or_else(|Panicked| Err(no_driver()))
}

fn no_driver() -> io::Error {
    let text = "there is no tokio runtime with I/O here, or it has ended; build it with enable_io or enable_all";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// Listens on one address; port 0 lets the system choose.
///
/// # Errors
///
/// Whatever the system reports: address in use, permission, descriptors exhausted.
pub fn listen_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket_for(addr)?;
    // Without it a restarted server waits for the old connections' TIME_WAIT. On Windows the same
    // option would let another process take the port.
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    contain(|| socket.listen(BACKLOG)).unwrap_or_else(|Panicked| Err(no_driver()))
}

fn socket_for(addr: SocketAddr) -> io::Result<TcpSocket> {
    if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// Dials a Unix socket.
///
/// # Errors
///
/// Whatever the system reports.
#[cfg(unix)]
pub async fn connect_unix(path: &std::path::Path) -> io::Result<tokio::net::UnixStream> {
    with_driver(tokio::net::UnixStream::connect(path)).await
}

/// Listens on a Unix socket. The path must not exist: a stale file is the caller's to remove.
///
/// # Errors
///
/// Whatever the system reports.
#[cfg(unix)]
pub fn listen_unix(path: &std::path::Path) -> io::Result<tokio::net::UnixListener> {
    contain(|| tokio::net::UnixListener::bind(path)).unwrap_or_else(|Panicked| Err(no_driver()))
}

#[cfg(test)]
mod tests {
    use crate::rt::*;

    #[test]
    fn same_seed_same_sequence() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        let left: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        let right: Vec<u64> = (0..8).map(|_| b.next_u64()).collect();
        assert_eq!(left, right);
        assert_ne!(left, (0..8).map(|_| a.next_u64()).collect::<Vec<_>>());
        // The first output of SplitMix64 for seed 0, as its author published it.
        assert_eq!(Random::new(0).next_u64(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| n > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn jitter_keeps_its_bounds() {
        let mut random = Random::new(3);
        let base = Duration::from_secs(10);
        let (mut low, mut high) = (base, base);
        for _ in 0..1000 {
            let got = random.jitter(base, 0.2);
            low = low.min(got);
            high = high.max(got);
        }
        assert!(low >= Duration::from_secs(8) && low < Duration::from_millis(8100), "{low:?}");
        assert!(high <= Duration::from_secs(12) && high > Duration::from_millis(11900), "{high:?}");
        assert_eq!(random.jitter(base, 0.0), base);
        assert_eq!(random.jitter(base, f64::NAN), base);
        assert_eq!(random.jitter(Duration::MAX, 0.0), Duration::MAX);
    }

    #[test]
    fn entropy_differs() {
        assert_ne!(entropy(), entropy());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_is_tokios() {
        let before = now();
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(now() - before, Duration::from_secs(3600));
        sleep_until(before).await;
        assert_eq!(now() - before, Duration::from_secs(3600));
        assert!(timeout(Duration::from_secs(1), std::future::pending::<()>()).await.is_err());
    }

    #[tokio::test]
    async fn literals_need_no_resolver() {
        assert_eq!(resolve("::1", 443).await.unwrap(), ["[::1]:443".parse().unwrap()]);
        assert_eq!(resolve("10.1.2.3", 80).await.unwrap(), ["10.1.2.3:80".parse().unwrap()]);
    }
}
