//! Every bound of the engine, its default and its reason, in one place.

use std::time::Duration;

/// The bounds of one connection. Each has a reason; none is unbounded.
///
/// [`Limits::client`] and [`Limits::server`] differ only in the initial windows and in what a
/// server enforces. `SECURITY.md` lists the same values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams the peer may have open, advertised as SETTINGS_MAX_CONCURRENT_STREAMS and counted
    /// until the handler ended. Default 256.
    pub concurrent_streams: u32,
    /// Streams a client opens before the peer's SETTINGS are known. Default 100.
    pub streams_before_settings: u32,
    /// Bytes of a decoded header list, 32 per field counted (RFC 9113 §10.5.1). Over it the
    /// stream suffers; over four times it, the connection. Default 16 KiB.
    pub header_list_bytes: usize,
    /// Field lines of a header list. Default 128.
    pub header_list_fields: usize,
    /// CONTINUATION frames of one field block, empty ones included. Default 14.
    pub continuation_frames: u32,
    /// Time for one field block from HEADERS to END_HEADERS. Default 10 s.
    pub field_block_time: Duration,
    /// Our HPACK decoding table, and the cap of our encoding table. Default 4096 bytes.
    pub header_table_bytes: usize,
    /// Entries of one SETTINGS frame. Default 32.
    pub settings_entries: usize,
    /// Control frames owed to a peer that does not read, before reading stops. Default 64.
    pub control_frames_queued: u32,
    /// Bytes of a frame's payload that we accept, advertised as SETTINGS_MAX_FRAME_SIZE.
    /// Default 64 KiB.
    pub frame_bytes: u32,
    /// Bytes of one DATA frame while other streams wait to send. Default 16 KiB.
    pub data_slice_bytes: usize,
    /// Initial receive window of a stream. Default 1 MiB on a client, 256 KiB on a server.
    pub stream_window: u32,
    /// Initial receive window of the connection. Default 4 MiB on a client, 1 MiB on a server.
    pub connection_window: u32,
    /// What a stream's receive window may grow to. Default 8 MiB.
    pub stream_window_max: u32,
    /// What the connection's receive window may grow to. Default 16 MiB.
    pub connection_window_max: u32,
    /// Unread bytes up to which connection credit returns on arrival; above, it is pending.
    /// Default 1 MiB.
    pub unread_free_bytes: u64,
    /// Premature resets that cost nothing, and that come back per second. Default 200 and 33.
    pub premature_resets: u32,
    /// See [`Limits::premature_resets`].
    pub premature_resets_per_second: u32,
    /// A stream reset younger than this was reset prematurely, unless most of its `grpc-timeout` had
    /// passed. Default 100 ms.
    pub premature_age: Duration,
    /// Streams over `concurrent_streams` refused before the connection ends. Default 200.
    pub refused_streams: u32,
    /// Frames without content that may follow each other within a second. Default 100.
    pub empty_frames: u32,
    /// Shortest interval between the peer's PINGs that are no strike. Default 9 s.
    pub ping_interval_min: Duration,
    /// Strikes a minute before `too_many_pings`; `None` does not count. Default 2 on a server.
    pub ping_strikes: Option<u32>,
    /// Informational responses before the final one. Default 16.
    pub informational_responses: u32,
    /// Ended streams whose identifiers are remembered. Default 1024.
    pub recent_streams: usize,
}

impl Limits {
    /// The defaults of a client.
    #[must_use]
    pub const fn client() -> Self {
        Self {
            concurrent_streams: 256,
            streams_before_settings: 100,
            header_list_bytes: 16 * 1024,
            header_list_fields: 128,
            continuation_frames: 14,
            field_block_time: Duration::from_secs(10),
            header_table_bytes: 4096,
            settings_entries: 32,
            control_frames_queued: 64,
            frame_bytes: 64 * 1024,
            data_slice_bytes: 16 * 1024,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            stream_window_max: 8 * 1024 * 1024,
            connection_window_max: 16 * 1024 * 1024,
            unread_free_bytes: 1024 * 1024,
            premature_resets: 200,
            premature_resets_per_second: 33,
            premature_age: Duration::from_millis(100),
            refused_streams: 200,
            empty_frames: 100,
            ping_interval_min: Duration::from_secs(9),
            ping_strikes: None,
            informational_responses: 16,
            recent_streams: 1024,
        }
    }

    /// The defaults of a server.
    #[must_use]
    pub const fn server() -> Self {
        let mut limits = Self::client();
        limits.stream_window = 256 * 1024;
        limits.connection_window = 1024 * 1024;
        limits.ping_strikes = Some(2);
        limits
    }

    /// Bytes of a header list, encoded or decoded, that end the connection.
    #[must_use]
    pub const fn header_list_fatal(&self) -> usize {
        self.header_list_bytes.saturating_mul(4)
    }
}
