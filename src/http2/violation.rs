//! The rules that a peer can break, and the table from each rule to its scope and error code.

use crate::http2::{ErrorCode, StreamId};
use std::fmt;

/// What a broken rule ends (RFC 9113 §5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The connection ends: GOAWAY, then close (§5.4.1).
    Connection,
    /// The stream ends: RST_STREAM (§5.4.2).
    Stream,
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident: $scope:ident, $code:ident, $text:expr;)*) => {
        /// A rule that the peer broke.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[non_exhaustive]
        pub enum Violation { $($(#[$doc])* #[doc = $text] $name,)* }

        impl Violation {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns what the violation ends.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// Returns the error code that is sent (RFC 9113 §7).
            #[must_use]
            pub const fn code(self) -> ErrorCode {
                match self { $(Self::$name => ErrorCode::$code,)* }
            }

            /// Returns the rule in words, as in GOAWAY debug data and errors.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

violations! {
    // §3.4 starting
    Preface: Connection, PROTOCOL_ERROR, "the connection preface is not HTTP/2";
    PrefaceTls: Connection, PROTOCOL_ERROR, "a TLS ClientHello on a plaintext port; use http://, or TLS on both sides";
    PrefaceHttp1: Connection, PROTOCOL_ERROR, "HTTP/1 where HTTP/2 was expected";
    FirstFrameNotSettings: Connection, PROTOCOL_ERROR, "the first frame is not SETTINGS";
    // §4 frames
    FrameTooLarge: Connection, FRAME_SIZE_ERROR, "frame longer than SETTINGS_MAX_FRAME_SIZE";
    FieldBlockInterrupted: Connection, PROTOCOL_ERROR, "a field block was interrupted by another frame";
    ContinuationUnexpected: Connection, PROTOCOL_ERROR, "CONTINUATION without an open field block";
    FieldBlockUndecodable: Connection, COMPRESSION_ERROR, "the field block cannot be decoded";
    FieldBlockTooLarge: Connection, ENHANCE_YOUR_CALM, "header list far over SETTINGS_MAX_HEADER_LIST_SIZE";
    ContinuationFlood: Connection, ENHANCE_YOUR_CALM, "too many CONTINUATION frames in one field block";
    FieldBlockStalled: Connection, PROTOCOL_ERROR, "a field block was not completed in time";
    FrameStalled: Connection, PROTOCOL_ERROR, "a frame was not completed in time";
    // §5.1 states
    FrameOnIdle: Connection, PROTOCOL_ERROR, "frame on an idle stream";
    FrameOnClosed: Connection, STREAM_CLOSED, "frame on a stream that has ended";
    FrameAfterReset: Stream, STREAM_CLOSED, "frame on a stream that the peer reset";
    FrameAfterEnd: Stream, STREAM_CLOSED, "frame after END_STREAM";
    StreamIdParity: Connection, PROTOCOL_ERROR, "stream identifier of the wrong side";
    StreamIdOrder: Connection, PROTOCOL_ERROR, "stream identifier not above the earlier ones";
    StreamRefused: Stream, REFUSED_STREAM, "over SETTINGS_MAX_CONCURRENT_STREAMS";
    // §6 frames by type
    DataOnConnection: Connection, PROTOCOL_ERROR, "DATA on stream 0";
    Padding: Connection, PROTOCOL_ERROR, "padding longer than the payload";
    FrameTooShort: Connection, FRAME_SIZE_ERROR, "frame too short for its fields";
    DataBeforeHead: Stream, PROTOCOL_ERROR, "DATA before HEADERS";
    HeadersOnConnection: Connection, PROTOCOL_ERROR, "HEADERS on stream 0";
    PriorityOnConnection: Connection, PROTOCOL_ERROR, "PRIORITY on stream 0";
    PriorityLength: Stream, FRAME_SIZE_ERROR, "PRIORITY is not 5 bytes";
    RstStreamOnConnection: Connection, PROTOCOL_ERROR, "RST_STREAM on stream 0";
    RstStreamLength: Connection, FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes";
    SettingsOnStream: Connection, PROTOCOL_ERROR, "SETTINGS on a stream";
    SettingsLength: Connection, FRAME_SIZE_ERROR, "SETTINGS is not a multiple of 6 bytes";
    SettingsAckLength: Connection, FRAME_SIZE_ERROR, "SETTINGS ACK with a payload";
    SettingsEnablePush: Connection, PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH has an invalid value";
    SettingsInitialWindow: Connection, FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1";
    SettingsMaxFrameSize: Connection, PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE out of range";
    SettingsEntries: Connection, ENHANCE_YOUR_CALM, "too many entries in one SETTINGS frame";
    PushPromise: Connection, PROTOCOL_ERROR, "PUSH_PROMISE although push is off";
    PingOnStream: Connection, PROTOCOL_ERROR, "PING on a stream";
    PingLength: Connection, FRAME_SIZE_ERROR, "PING is not 8 bytes";
    GoAwayOnStream: Connection, PROTOCOL_ERROR, "GOAWAY on a stream";
    GoAwayIncreased: Connection, PROTOCOL_ERROR, "GOAWAY raises the last stream identifier";
    WindowUpdateLength: Connection, FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes";
    WindowUpdateZero: Connection, PROTOCOL_ERROR, "WINDOW_UPDATE of 0 on the connection";
    WindowUpdateZeroOnStream: Stream, PROTOCOL_ERROR, "WINDOW_UPDATE of 0 on a stream";
    ContinuationOnConnection: Connection, PROTOCOL_ERROR, "CONTINUATION on stream 0";
    // §5.2, §6.9 flow control
    ConnectionWindowExceeded: Connection, FLOW_CONTROL_ERROR, "DATA over the connection's window";
    StreamWindowExceeded: Stream, FLOW_CONTROL_ERROR, "DATA over the stream's window";
    ConnectionWindowOverflow: Connection, FLOW_CONTROL_ERROR, "WINDOW_UPDATE raises the connection's window above 2^31-1";
    StreamWindowOverflow: Stream, FLOW_CONTROL_ERROR, "WINDOW_UPDATE raises the stream's window above 2^31-1";
    SettingsWindowOverflow: Connection, FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE raises a stream's window above 2^31-1";
    // §8 messages
    FieldName: Stream, PROTOCOL_ERROR, "a field name with a byte that is not allowed";
    FieldValue: Stream, PROTOCOL_ERROR, "a field value with a byte that is not allowed";
    ConnectionSpecificField: Stream, PROTOCOL_ERROR, "a connection-specific field";
    Te: Stream, PROTOCOL_ERROR, "te with a value other than trailers";
    PseudoAfterRegular: Stream, PROTOCOL_ERROR, "a pseudo-header field after a regular field";
    PseudoUnknown: Stream, PROTOCOL_ERROR, "a pseudo-header field that is not defined here";
    PseudoRepeated: Stream, PROTOCOL_ERROR, "a pseudo-header field given twice";
    PseudoMissing: Stream, PROTOCOL_ERROR, "a mandatory pseudo-header field is missing";
    PseudoInTrailers: Stream, PROTOCOL_ERROR, "a pseudo-header field in trailers";
    Method: Stream, PROTOCOL_ERROR, ":method is not a token";
    Path: Stream, PROTOCOL_ERROR, ":path is empty, does not start with a slash, or has a byte that is not allowed";
    Scheme: Stream, PROTOCOL_ERROR, ":scheme is not a scheme";
    Authority: Stream, PROTOCOL_ERROR, ":authority or host with userinfo or a byte that is not allowed";
    Status: Stream, PROTOCOL_ERROR, ":status is not a code HTTP/2 allows";
    ContentLength: Stream, PROTOCOL_ERROR, "content-length is not what was sent";
    TrailersWithoutEnd: Stream, PROTOCOL_ERROR, "trailers without END_STREAM";
    InformationalEnd: Stream, PROTOCOL_ERROR, "an informational response that ends the stream";
    InformationalFlood: Stream, ENHANCE_YOUR_CALM, "too many informational responses";
    // §10.5 abuse budgets
    WastedWork: Connection, ENHANCE_YOUR_CALM, "too much work for streams that were reset and frames that led to nothing";
    EmptyFrameFlood: Connection, ENHANCE_YOUR_CALM, "too many frames without content";
    AnswersUnread: Connection, ENHANCE_YOUR_CALM, "too many answers to PING, SETTINGS and refused streams that are not read";
    PingFlood: Connection, ENHANCE_YOUR_CALM, "too_many_pings";
}

impl Violation {
    /// Returns whether a head was refused for what it is, and would be again on another connection.
    pub(crate) const fn is_refused_head(self) -> bool {
        matches!(self, Self::FieldBlockTooLarge | Self::ContinuationFlood | Self::FrameTooLarge)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.code())
    }
}

/// The error of a connection that ended because the peer broke a rule. Every later call returns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// The rule.
    pub violation: Violation,
    /// The stream of the frame that broke it; the connection if the frame has no stream.
    pub stream_id: StreamId,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer broke HTTP/2: {}", self.violation)?;
        if !self.stream_id.is_connection() {
            write!(f, ", on stream {}", self.stream_id)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConnectionError {}
