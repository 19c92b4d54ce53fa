//! What is set on TCP sockets.

use std::io;
use std::time::Duration;

use crate::transport::tcp_info;

#[cfg(unix)]
use std::os::fd::AsFd as AsSystemSocket;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSystemSocket;

/// The longest idle time and interval that Linux accepts (MAX_TCP_KEEPIDLE): nine hours.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
/// The most probes that Linux accepts (MAX_TCP_KEEPCNT).
const PROBES_MAX: u32 = 127;
/// The longest user timeout that the system can be told: 24 days.
#[cfg(target_os = "linux")]
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// Options of every TCP socket, dialled or accepted. TCP_NODELAY is always on.
///
/// ```
/// # fn main() {
/// use framewire::transport::{SocketOptions, TcpConnector, TcpKeepalive};
/// use std::time::Duration;
///
/// let keepalive = TcpKeepalive::new(Duration::from_secs(30), Duration::from_secs(5), 3);
/// let options = SocketOptions::new()
///     .with_keepalive(keepalive)
///     .with_user_timeout(Duration::from_secs(60));
/// let connector = TcpConnector::with_options(options);
/// # let _ = connector;
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// How long sent bytes may stay unacknowledged before the system ends the connection
    /// (TCP_USER_TIMEOUT, Linux only); it also bounds the SYNs of one dial. Default `None`: the
    /// system decides, which takes minutes. A window that stays closed counts as unacknowledged:
    /// a set value also ends connections to a peer that is alive and reads slowly.
    ///
    /// A channel does not depend on it: `ChannelBuilder::connect_timeout` bounds a dial, and
    /// `ChannelBuilder::keepalive_timeout` finds a dead peer while a call waits.
    pub user_timeout: Option<Duration>,
    /// TCP keepalive. Default 10 s, 2 s, 5 probes; `None` leaves it off.
    pub keepalive: Option<TcpKeepalive>,
}

/// The three numbers of TCP keepalive.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpKeepalive {
    /// Idle time before the first probe; whole seconds, at least 1, at most 32,767.
    pub idle: Duration,
    /// Time between probes; whole seconds, at least 1, at most 32,767. Linux, macOS and Windows.
    pub interval: Duration,
    /// Unanswered probes that end the connection, at least 1, at most 127. Linux, macOS and Windows. A user
    /// timeout, if set, decides instead.
    pub probes: u32,
}

impl TcpKeepalive {
    /// Returns a keepalive of these numbers.
    #[must_use]
    pub const fn new(idle: Duration, interval: Duration, probes: u32) -> Self {
        Self { idle, interval, probes }
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        let keepalive = TcpKeepalive::new(Duration::from_secs(10), Duration::from_secs(2), 5);
        Self { user_timeout: None, keepalive: Some(keepalive) }
    }
}

impl SocketOptions {
    /// Returns the defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets TCP_USER_TIMEOUT, or with `None` leaves it to the system. Default `None`.
    #[must_use]
    pub fn with_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.user_timeout = timeout.into();
        self
    }

    /// Sets TCP keepalive, or with `None` leaves it off. Default 10 s, 2 s, 5 probes.
    #[must_use]
    pub fn with_keepalive(mut self, keepalive: impl Into<Option<TcpKeepalive>>) -> Self {
        self.keepalive = keepalive.into();
        self
    }

    /// Sets the options on a socket, connected or not, and checks that TCP_NODELAY is on.
    ///
    /// # Errors
    ///
    /// The system's error, or `Unsupported` if TCP_NODELAY stays off.
    pub fn apply(&self, socket: &impl AsSystemSocket) -> io::Result<()> {
        tcp_info::bound_retransmission(socket);
        let socket = socket2::SockRef::from(socket);
        socket.set_tcp_nodelay(true)?;
        if !socket.tcp_nodelay()? {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "TCP_NODELAY stays off"));
        }
        if let Some(keepalive) = &self.keepalive {
            let seconds = |time: Duration| time.clamp(Duration::from_secs(1), KEEPALIVE_MAX);
            let parameters = socket2::TcpKeepalive::new().with_time(seconds(keepalive.idle));
            #[cfg(any(target_os = "linux", target_os = "macos", windows))]
            let parameters = parameters
                .with_interval(seconds(keepalive.interval))
                .with_retries(keepalive.probes.clamp(1, PROBES_MAX));
            socket.set_tcp_keepalive(&parameters)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(time) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(time.min(USER_TIMEOUT_MAX)))?;
        }
        Ok(())
    }
}
