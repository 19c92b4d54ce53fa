//! All limits of the engine, with their defaults.

mod check;

pub use check::LimitError;

use crate::http2::settings::MAX_WINDOW;
use std::time::Duration;

/// The limits of one HTTP/2 connection.
///
/// They bound the memory and the work that a peer can cause (RFC 9113 §10.5). [`Limits::client`] and
/// [`Limits::server`] return the defaults; they differ only in the initial windows and in PING strikes.
///
/// ```
/// use framewire::Limits;
///
/// let mut limits = Limits::server();
/// assert_eq!(limits.concurrent_streams, 256);
/// limits.concurrent_streams = 100;
/// limits.header_list_bytes = 8 * 1024;
/// assert_eq!(limits.header_list_fatal(), 32 * 1024);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Streams that the peer may have open, announced as SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113
    /// §5.1.2). A stream counts until its handler has ended. Default: 256.
    pub concurrent_streams: u32,
    /// Streams that a client opens before the peer's SETTINGS arrive. Default: 100.
    pub streams_before_settings: u32,
    /// Bytes of a decoded header list, with 32 added per field (RFC 9113 §10.5.1). A larger list ends its
    /// call; one of more than four times the limit ends the connection. Default: 16 KiB.
    pub header_list_bytes: usize,
    /// Field lines of a header list. Default: 128.
    pub header_list_fields: usize,
    /// CONTINUATION frames of one field block, including empty ones (RFC 9113 §6.10). Default: 14.
    pub continuation_frames: u32,
    /// Time for one field block, from the first byte of HEADERS to the last one of the frame with END_HEADERS.
    /// Default: 10 s.
    pub field_block_time: Duration,
    /// Time for any other frame from its first byte, while no stream is open: a peer with an open stream may be
    /// slow. It begins anew when the last stream ends. Default: 30 s.
    pub frame_time: Duration,
    /// Bytes of the HPACK decoding table, and the most for the encoding table (RFC 7541 §4.2). Default: 4096.
    pub header_table_bytes: usize,
    /// Entries of one SETTINGS frame. Default: 32.
    pub settings_entries: usize,
    /// Answers to the peer's frames (acknowledgements of PING and SETTINGS, resets that a frame causes) that wait
    /// because the peer does not read. So many end the connection with ENHANCE_YOUR_CALM. Default: 1000.
    pub control_frames_queued: u32,
    /// Bytes of the largest payload of a frame that is accepted, announced as SETTINGS_MAX_FRAME_SIZE
    /// (RFC 9113 §4.2). Default: 64 KiB.
    pub frame_bytes: u32,
    /// Bytes of one DATA frame that is sent while other streams wait to send. Default: 16 KiB.
    pub data_slice_bytes: usize,
    /// Initial receive window of a stream, in bytes (RFC 9113 §6.9.2). Default: 1 MiB on a client, 256 KiB
    /// on a server.
    pub stream_window: u32,
    /// Initial receive window of the connection, in bytes. Default: 4 MiB on a client, 1 MiB on a server.
    pub connection_window: u32,
    /// Largest receive window of a stream, in bytes. A stream's window grows to half of the connection's.
    /// Default: 2³¹ − 1, the largest window of HTTP/2 (RFC 9113 §6.9.1).
    pub stream_window_max: u32,
    /// Largest receive window of the connection, in bytes. Windows grow as the bandwidth–delay product of the
    /// path asks for, within the connection's fair share of the [`Budget`](crate::Budget). Default: 2³¹ − 1.
    pub connection_window_max: u32,
    /// Unread bytes of a connection up to which its credit returns on arrival. Above, credit returns when
    /// bytes are read or their stream ends. Default: 1 MiB.
    pub unread_free_bytes: u64,
    /// Work for nothing per second, as CPU time by weight, that a peer may cause (RFC 9113 §10.5): streams
    /// that it resets before their answer, and frames other than HEADERS and DATA of a stream. While a peer has
    /// caused more in the last second, and more of it than of useful work, its new streams are refused with
    /// REFUSED_STREAM. The connection ends with ENHANCE_YOUR_CALM once it has caused more than
    /// `wasted_work` × `wasted_time` (1 s) within `wasted_time`, in a burst or steadily, and more of it than of
    /// useful work. Default: 250 ms, a quarter of a core. The smallest value is 1 ms.
    ///
    /// A request that is reset at once weighs 38 µs, 5 ns for each byte of its head, and the time for which its
    /// handler was polled: with heads of 1 KB, 5,000 such resets a second are allowed. A PING or SETTINGS weighs
    /// 1.5 µs, any other frame 0.3 µs.
    pub wasted_work: Duration,
    /// Time over which `wasted_work` counts before the connection ends. Default: 4 s.
    pub wasted_time: Duration,
    /// Age from which a stream that the peer resets costs a tenth, as one does whose `grpc-timeout` of at
    /// least 10 ms has passed. Default: 100 ms.
    pub premature_age: Duration,
    /// Frames without content that may follow each other within a second. Default: 100.
    pub empty_frames: u32,
    /// Interval between the peer's PINGs below which a PING is a strike (gRFC A8). Default: 9 s.
    pub ping_interval_min: Duration,
    /// Strikes per minute that are tolerated before GOAWAY with `too_many_pings`; `None` counts none.
    /// Default: 2 on a server, `None` on a client.
    pub ping_strikes: Option<u32>,
    /// Informational (1xx) responses before the final one (RFC 9113 §8.1). Default: 16.
    pub informational_responses: u32,
    /// Ended streams whose identifiers are remembered. Default: 1024.
    pub recent_streams: usize,
}

impl Limits {
    /// Returns the defaults of a client.
    #[must_use]
    pub const fn client() -> Self {
        Self {
            concurrent_streams: 256,
            streams_before_settings: 100,
            header_list_bytes: 16 * 1024,
            header_list_fields: 128,
            continuation_frames: 14,
            field_block_time: Duration::from_secs(10),
            frame_time: Duration::from_secs(30),
            header_table_bytes: 4096,
            settings_entries: 32,
            control_frames_queued: 1000,
            frame_bytes: 64 * 1024,
            data_slice_bytes: 16 * 1024,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            stream_window_max: MAX_WINDOW,
            connection_window_max: MAX_WINDOW,
            unread_free_bytes: 1024 * 1024,
            wasted_work: Duration::from_millis(250),
            wasted_time: Duration::from_secs(4),
            premature_age: Duration::from_millis(100),
            empty_frames: 100,
            ping_interval_min: Duration::from_secs(9),
            ping_strikes: None,
            informational_responses: 16,
            recent_streams: 1024,
        }
    }

    /// Returns the defaults of a server.
    #[must_use]
    pub const fn server() -> Self {
        let mut limits = Self::client();
        limits.stream_window = 256 * 1024;
        limits.connection_window = 1024 * 1024;
        limits.ping_strikes = Some(2);
        limits
    }

    /// Returns the bytes of a header list, encoded or decoded, above which the connection ends: four times
    /// [`Limits::header_list_bytes`].
    #[must_use]
    pub const fn header_list_fatal(&self) -> usize {
        self.header_list_bytes.saturating_mul(4)
    }
}
