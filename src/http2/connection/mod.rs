//! The protocol state of one HTTP/2 connection, without socket, clock or thread.
//!
//! This file defines the state and creates it. The submodules receive, send, schedule and close.

mod abuse;
mod answers;
mod closed;
mod control;
mod deadlines;
mod event;
mod field_block;
mod field_rules;
mod head;
pub mod lifecycle;
mod opening;
mod outgoing;
mod recv;
mod recv_control;
mod recv_data;
mod recv_head;
mod schedule;
mod send;

pub use event::{Cause, Event};
pub use head::{Head, OverLimit};
pub use opening::server_opening;
pub use outgoing::{Payload, SendHead};
pub use send::{OpenRefusal, SendError};

use crate::http2::bdp::Bdp;
use crate::http2::buffer::SendBuffer;
use crate::http2::flow::{RecvWindow, SendWindow};
use crate::http2::hpack::{DEFAULT_TABLE_SIZE, Decoder, Encoder, Prepared};
use crate::http2::limits::Limits;
use crate::http2::settings::{DEFAULT_WINDOW, Settings};
use crate::http2::stats::Stats;
use crate::http2::stream::{Blocked, Recent, StreamKey, StreamTable};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::ConnectionError;
use abuse::Abuse;
use answers::Answers;
use deadlines::Partial;
use field_block::FieldBlock;
use lifecycle::{Life, Lifecycle};
use recv_data::Incoming;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The first bytes that a client sends (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The role of this endpoint on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Opens odd streams, receives responses.
    Client,
    /// Receives requests.
    Server,
}

/// One HTTP/2 connection. `T` is the value that the layer above keeps with each stream.
#[derive(Debug)]
pub struct Connection<T> {
    role: Role,
    limits: Limits,
    peer: Settings,
    life: Lifecycle,
    error: Option<ConnectionError>,
    stats: Stats,
    // streams
    streams: StreamTable<T>,
    recent: Recent,
    next_id: Option<StreamId>,
    last_peer_id: StreamId,
    open_local: u32,
    // field sections
    encoder: Encoder,
    prepared: Prepared,
    decoder: Decoder,
    block: FieldBlock,
    head: Head,
    // receiving
    preface_left: usize,
    incoming: Option<Incoming>,
    skip: u32,
    wanted: usize,
    partial: Option<Partial>,
    reading: bool,
    goaway_debug: Vec<u8>,
    recv_window: RecvWindow,
    stream_target: u32,
    /// Bytes by which the initial window is wider than ours, until ours is acknowledged.
    window_slack: u32,
    unread: u64,
    /// Unread bytes up to which connection credit returns on arrival.
    unread_free: u64,
    /// Connection credit that is pending while more than `unread_free` are unread.
    pending_credit: u64,
    bdp: Bdp,
    /// The PINGs of this side, but for those of `bdp`, that are not acknowledged.
    pings: Vec<[u8; 8]>,
    /// SETTINGS of this side that are not acknowledged.
    settings_sent: u32,
    growth_wanted: Option<u32>,
    // sending
    send_window: SendWindow,
    ready: VecDeque<StreamKey>,
    /// Streams in `ready`; the other keys there are of streams that have closed.
    queued: u32,
    touched: Vec<StreamKey>,
    stalled_since: Option<Instant>,
    answers: Answers,
    // abuse
    abuse: Abuse,
}

impl<T> Connection<T> {
    /// Creates a connection. Nothing is written before [`Connection::start`].
    #[must_use]
    pub fn new(role: Role, limits: Limits, now: Instant) -> Self {
        let server = role == Role::Server;
        // RFC 9113 §6.5.3: until the peer acknowledges ours, the initial values hold
        let mut decoder = Decoder::new(DEFAULT_TABLE_SIZE);
        decoder.set_table_size_max(limits.header_table_bytes.max(DEFAULT_TABLE_SIZE));
        Self {
            role,
            peer: Settings::default(),
            life: Lifecycle::new(),
            error: None,
            stats: Stats::default(),
            streams: StreamTable::default(),
            recent: Recent::new(limits.recent_streams),
            next_id: Some(StreamId::new(if server { 2 } else { 1 })),
            last_peer_id: StreamId::CONNECTION,
            open_local: 0,
            encoder: Encoder::new(limits.header_table_bytes),
            prepared: Prepared::new(),
            decoder,
            block: FieldBlock::default(),
            head: Head::default(),
            preface_left: if server { PREFACE.len() } else { 0 },
            incoming: None,
            skip: 0,
            wanted: 0,
            partial: None,
            reading: true,
            goaway_debug: Vec::new(),
            recv_window: RecvWindow::new(DEFAULT_WINDOW),
            stream_target: limits.stream_window,
            // RFC 9113 §6.9.3: what was sent under the wider window is accepted
            window_slack: DEFAULT_WINDOW.saturating_sub(limits.stream_window),
            unread: 0,
            unread_free: limits.unread_free_bytes,
            pending_credit: 0,
            bdp: Bdp::default(),
            pings: Vec::new(),
            settings_sent: 0,
            growth_wanted: None,
            send_window: SendWindow::new(DEFAULT_WINDOW),
            ready: VecDeque::new(),
            queued: 0,
            touched: Vec::new(),
            stalled_since: None,
            answers: Answers::default(),
            abuse: Abuse::new(&limits, now),
            limits,
        }
    }

    /// Returns the settings that this endpoint announces (RFC 9113 §6.5.2).
    #[must_use]
    pub fn local_settings(&self) -> Settings {
        opening::settings(self.role, &self.limits)
    }

    /// Writes the preface, the SETTINGS and the window of the connection (RFC 9113 §3.4).
    pub fn start(&mut self, out: &mut SendBuffer) {
        self.recv_window = opening::write(self.role, &self.limits, out.tail());
        self.settings_sent += 1;
    }

    /// Returns the role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Returns the state of the connection.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life.life()
    }

    /// Returns the state together with the GOAWAY of each side.
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.life
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the peer's settings (RFC 9113 §6.5.2).
    #[must_use]
    pub const fn peer_settings(&self) -> &Settings {
        &self.peer
    }

    /// Returns the counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the error that ended the connection; it never changes.
    #[must_use]
    pub const fn error(&self) -> Option<ConnectionError> {
        self.error
    }

    /// Returns the number of streams, including ended ones that were not taken yet.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Returns the keys of all streams.
    #[must_use]
    pub fn keys(&self) -> Vec<StreamKey> {
        self.streams.iter().map(|(key, _)| key).collect()
    }

    /// Returns the caller's value of a stream.
    #[must_use]
    pub fn user(&self, key: StreamKey) -> Option<&T> {
        self.streams.get(key).map(|s| &s.user)
    }

    /// Returns the caller's value of a stream, for changes.
    pub fn user_mut(&mut self, key: StreamKey) -> Option<&mut T> {
        self.streams.get_mut(key).map(|s| &mut s.user)
    }

    /// Returns the identifier of a stream.
    #[must_use]
    pub fn stream_id(&self, key: StreamKey) -> Option<StreamId> {
        self.streams.get(key).map(|s| s.id)
    }

    /// Returns whether the stream is closed: both sides have ended, or it was reset.
    #[must_use]
    pub fn is_closed(&self, key: StreamKey) -> bool {
        self.streams.get(key).is_none_or(|s| s.state.is_closed())
    }

    /// Returns why the DATA of a stream is not sent now, and how many bytes wait.
    #[must_use]
    pub fn pending(&self, key: StreamKey) -> (Blocked, usize) {
        self.streams.get(key).map_or((Blocked::No, 0), |s| (s.blocked, s.pending_bytes()))
    }

    /// Returns the time in which DATA waited for the connection's window, up to `now`. A wait ends with a
    /// WINDOW_UPDATE, or at the first [`Connection::schedule`] after the last stream that waited has ended.
    #[must_use]
    pub fn connection_stalled(&self, now: Instant) -> Duration {
        let current = self.stalled_since.map(|since| now.saturating_duration_since(since));
        self.stats.connection_stalled + current.unwrap_or_default()
    }

    /// Notes the peer's deadline for a stream. A reset from then on costs a tenth, however young the stream
    /// is.
    pub fn peer_deadline(&mut self, key: StreamKey, at: Instant) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.premature_until = stream.premature_until.min(at);
        }
    }

    /// Notes the time that user code has spent, in nanoseconds: for answers, and for streams that ended before
    /// their answer. It counts as [`Limits::wasted_work`] says.
    pub fn spent(&mut self, useful: u64, wasted: u64, now: Instant) {
        self.abuse.useful(useful);
        // The next frame that leads to nothing ends the connection, if need be.
        let _ = self.abuse.wasted(wasted, now);
    }

    /// Appends the streams that resumed or stopped sending since the last call to `into`.
    pub fn take_touched(&mut self, into: &mut Vec<StreamKey>) {
        for key in self.touched.drain(..) {
            if let Some(stream) = self.streams.get_mut(key) {
                stream.touched = false;
                into.push(key);
            }
        }
    }

    /// Returns the bytes that the parser needs in one piece to continue.
    #[must_use]
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns the smoothed round-trip time, if one was measured.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.bdp.rtt()
    }

    /// Returns the unread bytes: received, and neither assembled nor released, except prefetched ones.
    #[must_use]
    pub const fn unread(&self) -> u64 {
        self.unread
    }

    /// Frees memory if the connection has no streams.
    pub fn release_memory(&mut self) {
        if self.streams.is_empty() {
            self.streams.shrink();
            self.recent.shrink();
            self.answers.shrink();
            self.ready = VecDeque::new();
            self.touched = Vec::new();
            self.head = Head::default();
            self.prepared = Prepared::new();
            self.block.shrink();
            self.goaway_debug = Vec::new();
        }
    }

    /// Checks the accounting. For tests and simulators.
    ///
    /// # Panics
    /// If counters of streams and connection contradict each other.
    pub fn check_invariants(&self) {
        let counted = self.streams.iter().map(|(_, s)| u64::from(s.unread - s.charged));
        let unread: u64 = counted.sum();
        assert_eq!(unread, self.unread, "unread bytes of the streams and of the connection");
        let excess = self.unread.saturating_sub(self.unread_free);
        assert!(self.pending_credit <= excess, "credit is pending only above the free bytes");
        let ours = self.role == Role::Client;
        let open = self
            .streams
            .iter()
            .filter(|(_, s)| s.id.is_client_initiated() == ours && !s.state.is_closed())
            .count();
        assert_eq!(open, self.open_local as usize, "streams of ours that are open");
        let queued = self.streams.iter().filter(|(_, s)| s.queued).count();
        assert_eq!(queued, self.queued as usize, "streams that wait to send");
        for (_, s) in self.streams.iter() {
            let pending: usize = s.pending.iter().flat_map(|p| &p.chunks).map(|c| c.len()).sum();
            assert_eq!(pending, s.pending_bytes(), "pending bytes of {:?}", s.id);
            assert!(!(s.state.is_closed() && s.pending.is_some()), "pending on a closed stream");
        }
    }
}
