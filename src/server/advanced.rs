//! The options of a server that few programs need.

use crate::connection::options::{AdvancedConnection, ConnectionOptions};
use crate::http2::Limits;
use std::time::Duration;

/// The options of a server that few programs need, for
/// [`ServerBuilder::advanced`](crate::server::ServerBuilder::advanced).
///
/// An option that is not set keeps its default.
///
/// ```
/// use framewire::Limits;
/// use framewire::server::{Advanced, Router, Server};
/// use std::time::Duration;
///
/// let mut limits = Limits::server();
/// limits.header_list_bytes = 8 * 1024;
/// let advanced = Advanced::default().limits(limits).settings_timeout(Duration::from_secs(5));
/// let builder = Server::builder(Router::new()).advanced(advanced);
/// assert!(builder.findings().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Advanced {
    connection: AdvancedConnection,
}

impl Advanced {
    /// Creates options that change nothing; the same as `Advanced::default()`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits of the HTTP/2 engine. Default [`Limits::server`].
    ///
    /// `ServerBuilder::stream_window`, `connection_window` and `max_concurrent_streams` replace
    /// their values in it.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.connection.limits = Some(limits);
        self
    }

    /// Sets the time for the client's preface and first SETTINGS frame, after which the connection
    /// ends. Default 10 s; 0 is an error.
    pub fn settings_timeout(mut self, time: Duration) -> Self {
        self.connection.settings_timeout = Some(time);
        self
    }

    /// Sets the time after which a connection ends whose socket accepts no byte. Default `None`: a peer
    /// that reads slowly is alive as long as its system answers. 0 is an error.
    pub fn write_stall_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connection.write_stall_timeout = Some(time.into());
        self
    }

    /// Sets the time without progress after which a stream whose client reads nothing is reset
    /// (CANCEL). Default `None`: slow readers are legitimate, and only a process that is short of
    /// memory resets them, after one minute.
    pub fn stream_stall_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.connection.stream_stall_timeout = Some(time.into());
        self
    }

    /// Writes what was set into the options of connections.
    pub(super) fn apply(&self, to: &mut ConnectionOptions) {
        self.connection.apply(to);
    }
}
