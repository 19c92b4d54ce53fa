//! The counters of a connection, for telemetry.

use std::time::Duration;

/// The counters of a connection, since it began. One task writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Streams opened by us or by the peer.
    pub streams_opened: u64,
    /// Streams refused by us with REFUSED_STREAM.
    pub streams_refused: u64,
    /// RST_STREAM frames received.
    pub resets_received: u64,
    /// RST_STREAM frames sent.
    pub resets_sent: u64,
    /// Bytes of DATA received, padding included.
    pub data_received: u64,
    /// Bytes of DATA sent.
    pub data_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// PINGs sent to measure the bandwidth–delay product.
    pub bdp_pings: u64,
    /// PING round trips measured for the bandwidth–delay product.
    pub bdp_samples: u64,
    /// Time in which DATA waited for the connection's window.
    pub connection_stalled: Duration,
    /// Times that DATA began to wait for a stream's window.
    pub stream_stalls: u64,
}
