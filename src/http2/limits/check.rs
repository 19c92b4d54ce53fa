//! Which values of [`Limits`] can work.

use crate::http2::limits::Limits;
use crate::http2::settings::{DEFAULT_WINDOW, MAX_FRAME_SIZE, MAX_WINDOW, MIN_FRAME_SIZE};
use std::fmt;
use std::time::Duration;

/// A value in [`Limits`] with which no connection can work.
///
/// ```
/// use framewire::Limits;
///
/// let mut limits = Limits::server();
/// assert!(limits.errors().is_empty());
/// limits.frame_bytes = 1000;
/// let error = &limits.errors()[0];
/// assert_eq!(error.field, "frame_bytes");
/// assert_eq!((error.value, error.min, error.max), (1000, 16_384, 16_777_215));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LimitError {
    /// The name of the field.
    pub field: &'static str,
    /// Its value; of a time, the nanoseconds.
    pub value: u64,
    /// The smallest value that is allowed.
    pub min: u64,
    /// The largest value that is allowed.
    pub max: u64,
    /// What would come of it.
    pub why: &'static str,
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, min, max, why } = self;
        write!(f, "Limits::{field} is {value}, allowed is {min} to {max}: {why}")
    }
}

impl std::error::Error for LimitError {}

type Range = std::ops::RangeInclusive<u64>;

/// RFC 9113 §6.5.1: a value in SETTINGS has 32 bits.
const SETTING: u64 = u32::MAX as u64;
/// A millisecond: PINGs and SETTINGS of usual peers.
const WORK: u64 = 1_000_000;
/// More than the PINGs and SETTINGS that a usual peer has on their way.
const ANSWERS: u64 = 16;
const ANY: u64 = u64::MAX;
/// RFC 9113 §6.5.2 defines six settings.
const SETTINGS: u64 = 6;

impl Limits {
    /// Returns what is wrong with the values; nothing if they can work.
    ///
    /// Builders of channels and servers refuse such limits. Who drives
    /// [`Connection`](crate::unstable::http2::Connection) by hand calls it once.
    #[must_use]
    pub fn errors(&self) -> Vec<LimitError> {
        // Without `..`, so that a new field is not forgotten here.
        let Self {
            // A server may say that it takes no call, for a while.
            concurrent_streams: _,
            streams_before_settings: _,
            header_list_bytes,
            header_list_fields,
            continuation_frames: _,
            field_block_time,
            frame_time,
            header_table_bytes,
            settings_entries,
            control_frames_queued,
            frame_bytes,
            data_slice_bytes,
            stream_window,
            connection_window,
            stream_window_max,
            connection_window_max,
            unread_free_bytes: _,
            wasted_work,
            wasted_time: _,
            premature_age: _,
            empty_frames: _,
            ping_interval_min: _,
            ping_strikes: _,
            informational_responses: _,
            recent_streams: _,
        } = self;
        let mut found = Found(Vec::new());
        let (list, fields) = (*header_list_bytes as u64, *header_list_fields as u64);
        // Four times as many bytes end a connection.
        found.row("header_list_bytes", list, 1..=SETTING / 4, NO_HEAD);
        found.row("header_list_fields", fields, 1..=ANY, NO_HEAD);
        let time = |time: &Duration| u64::try_from(time.as_nanos()).unwrap_or(ANY);
        found.row("field_block_time", time(field_block_time), 1..=ANY, NO_TIME);
        found.row("frame_time", time(frame_time), 1..=ANY, NO_TIME);
        found.row("wasted_work", time(wasted_work), WORK..=ANY, USUAL_WORK);
        found.row("header_table_bytes", *header_table_bytes as u64, 0..=SETTING, TOO_LARGE);
        found.row("settings_entries", *settings_entries as u64, SETTINGS..=ANY, USUAL_SETTINGS);
        let queued = u64::from(*control_frames_queued);
        found.row("control_frames_queued", queued, ANSWERS..=ANY, USUAL_ANSWERS);
        let frames = MIN_FRAME_SIZE.into()..=MAX_FRAME_SIZE.into();
        found.row("frame_bytes", u64::from(*frame_bytes), frames, FRAME_SIZE);
        found.row("data_slice_bytes", *data_slice_bytes as u64, 1..=ANY, "no DATA is sent");
        let (stream, connection) = (u64::from(*stream_window), u64::from(*connection_window));
        let most = u64::from(MAX_WINDOW);
        found.row("stream_window", stream, 1..=most, WINDOW);
        found.row("connection_window", connection, DEFAULT_WINDOW.into()..=most, CONNECTION);
        // A window that is too large has been found.
        if stream <= most {
            found.row("stream_window_max", u64::from(*stream_window_max), stream..=most, BELOW);
        }
        if connection <= most {
            let max = u64::from(*connection_window_max);
            found.row("connection_window_max", max, connection..=most, BELOW);
        }
        found.0
    }
}

const NO_TIME: &str = "connections end at the first part of a head or of a frame";
const NO_HEAD: &str = "no head fits, or SETTINGS cannot announce it";
const TOO_LARGE: &str = "SETTINGS cannot announce it";
const USUAL_SETTINGS: &str = "connections end at the SETTINGS of usual peers";
const USUAL_ANSWERS: &str = "connections end at PINGs of usual peers that read slowly";
const USUAL_WORK: &str = "connections end at the first frames of usual peers";
const FRAME_SIZE: &str = "SETTINGS_MAX_FRAME_SIZE does not allow it: peers end the connection";
const WINDOW: &str = "no window may exceed 2^31-1 bytes, and with 0 the peer may send nothing";
// RFC 9113 §6.9.2: SETTINGS do not change the connection's window
const CONNECTION: &str =
    "the window of a connection begins at 65535 bytes and only grows, to 2^31-1 at most";
const BELOW: &str = "the window begins above its maximum, or may exceed 2^31-1 bytes";

struct Found(Vec<LimitError>);

impl Found {
    fn row(&mut self, field: &'static str, value: u64, allowed: Range, why: &'static str) {
        let (min, max) = allowed.into_inner();
        if value < min || value > max {
            self.0.push(LimitError { field, value, min, max, why });
        }
    }
}
