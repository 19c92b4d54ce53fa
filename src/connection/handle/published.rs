//! The numbers that a connection's driver publishes, for the pool and for stats. The driver writes
//! them, any thread reads them.

use crate::call::state::Credit;
use crate::connection::handle::Handle;
use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Streams up to which the pool fills a connection, before it uses another one, if the peer's SETTINGS
/// name no limit. It is what RFC 9113 §6.5.2 recommends as the least value.
pub(crate) const STREAMS_UNNAMED: u32 = 100;
/// What stands for SETTINGS without SETTINGS_MAX_CONCURRENT_STREAMS.
const UNNAMED: u32 = u32::MAX;

/// The time for which a limit that refusals have taught holds although no call ends.
const LEARNED: Duration = Duration::from_secs(5);

/// The most credit in bytes that a reader keeps to itself.
const CREDIT_STEP: u32 = 32 * 1024;

/// Published numbers.
pub(super) struct Published {
    /// Streams at the end of the driver's last turn.
    streams: AtomicU32,
    /// [`Limits`]: the driver, and who releases a permit, change them.
    limits: AtomicU64,
    /// The most that the owner allows.
    most: u32,
    /// Calls that have ended since `limit` changed, while others waited and it was below `announced`.
    ended_below: AtomicU32,
    /// When a refusal lowered `limit` last, or doubt raised it, in milliseconds since the connection began.
    learned: AtomicU32,
    /// Bytes that wait for the socket or a window at the end of the driver's last turn.
    queued: AtomicU32,
    /// Microseconds that the slowest call of the last turn waited for the driver.
    lag: AtomicU32,
    /// Turns of the driver, modulo 2^32.
    turns: AtomicU32,
    /// The last stream whose head was handed to the socket.
    written: AtomicU32,
    /// Milliseconds that DATA waited for the connection's window.
    stalled: AtomicU32,
    /// When there was a stream last, in milliseconds since the connection began.
    used: AtomicU32,
    /// The peer's window for the connection stays closed: calls go elsewhere.
    withheld: AtomicBool,
}

/// How many concurrent calls a connection carries, in one word.
#[derive(Clone, Copy)]
struct Limits {
    /// As many as the peer and the owner allow, or fewer, as refusals have taught.
    limit: u32,
    /// As many as the peer's SETTINGS allow.
    announced: u32,
}

impl Limits {
    fn from_word(word: u64) -> Self {
        Self { limit: word as u32, announced: (word >> 32) as u32 }
    }

    fn to_word(self) -> u64 {
        u64::from(self.announced) << 32 | u64::from(self.limit)
    }
}

impl Default for Published {
    fn default() -> Self {
        Self {
            streams: AtomicU32::new(0),
            limits: AtomicU64::new(Limits { limit: u32::MAX, announced: UNNAMED }.to_word()),
            most: u32::MAX,
            ended_below: AtomicU32::new(0),
            learned: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            lag: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            written: AtomicU32::new(0),
            stalled: AtomicU32::new(0),
            used: AtomicU32::new(0),
            withheld: AtomicBool::new(false),
        }
    }
}

impl Handle {
    /// Returns whether a reader reports this credit at once: it is large, or the message is larger
    /// than a window, or many bytes are unread on the connection, or credit is pending there.
    #[must_use]
    pub fn reports_at_once(&self, credit: &Credit) -> bool {
        let window = self.stream_window.load(Ordering::Relaxed);
        credit.bytes() >= (window / 8).min(CREDIT_STEP)
            || credit.expected > window as usize
            || self.report_at_once.load(Ordering::SeqCst)
    }

    /// Sets the initial window of streams: with little memory, it is smaller than the options say.
    pub(crate) fn set_stream_window(&self, bytes: u32) {
        self.stream_window.store(bytes, Ordering::Relaxed);
    }

    /// Publishes when there was a stream last.
    pub(crate) fn set_used(&self, at: Instant) {
        self.published.used.store(self.millis(at), Ordering::Relaxed);
    }

    /// Returns when there was a stream last, if there is none and the connection is not closing. PINGs and the
    /// like are no use of it.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let used = self.published.used.load(Ordering::Relaxed);
        let idle = self.published.streams.load(Ordering::Relaxed) == 0 && !self.is_goodbye();
        idle.then(|| self.born + Duration::from_millis(used.into()))
    }

    /// Carries at most so many calls at a time, whatever the peer allows.
    #[must_use]
    pub fn at_most(mut self, calls: u32) -> Self {
        self.published.most = calls;
        self
    }

    /// Returns how many concurrent calls the connection carries: as many as the peer and the owner allow,
    /// or fewer while the peer refuses streams.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limits().limit
    }

    /// Returns how many of them the owner should use before it uses another connection: [`Handle::limit`],
    /// but at most 100 if the peer names no limit.
    #[must_use]
    pub fn soft_limit(&self) -> u32 {
        let Limits { limit, announced } = self.limits();
        if announced == UNNAMED { limit.min(STREAMS_UNNAMED) } else { limit }
    }

    fn limits(&self) -> Limits {
        Limits::from_word(self.published.limits.load(Ordering::Relaxed))
    }

    /// Changes the limits in one step. `change` gets what the peer and the owner allow, too.
    fn change_limits(&self, change: impl Fn(&mut Limits, u32)) {
        let next = |word| {
            let mut limits = Limits::from_word(word);
            let allowed = limits.announced.min(self.published.most);
            change(&mut limits, allowed);
            Some(limits.to_word())
        };
        let _ = self.published.limits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Sets the limit of the peer's SETTINGS, if they name one. What its refusals have taught stays unless
    /// the peer raises its limit.
    pub(crate) fn set_limit(&self, named: Option<u32>) {
        let calls = named.unwrap_or(UNNAMED);
        let allowed = calls.min(self.published.most);
        self.change_limits(|limits, _| {
            let raised = calls > limits.announced;
            limits.limit = if raised { allowed } else { allowed.min(limits.limit) };
            limits.announced = calls;
        });
    }

    /// Lowers the limit to what is in flight when the peer refuses more.
    pub(crate) fn learn(&self, in_flight: u32) {
        // The end of the refused call itself is not counted.
        self.published.ended_below.store(u32::MAX, Ordering::Relaxed);
        self.published.learned.store(self.millis(rt::now()), Ordering::Relaxed);
        self.change_limits(|limits, _| limits.limit = limits.limit.min(in_flight));
    }

    pub(crate) fn has_learned(&self) -> bool {
        let Limits { limit, announced } = self.limits();
        limit < announced.min(self.published.most)
    }

    /// What refusals have taught holds no longer.
    pub(crate) fn forget_learned(&self) {
        self.change_limits(|limits, allowed| limits.limit = allowed);
    }

    /// A call has ended while others wait. As many of them as the learned limit raise it by one.
    pub(crate) fn grow_learned(&self) {
        if !self.has_learned() {
            return;
        }
        let below = &self.published.ended_below;
        let ended = below.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        // If others end now, the last of them raises it.
        if ended >= self.limit()
            && ended != u32::MAX
            && below.compare_exchange(ended, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.raise_limit();
        }
    }

    fn raise_limit(&self) {
        self.change_limits(|limits, allowed| {
            limits.limit = limits.limit.saturating_add(1).min(allowed);
        });
    }

    /// Calls wait, and none may have ended: a learned limit that is old is raised by one. Returns whether it
    /// was.
    pub(crate) fn doubt_learned(&self, now: Instant) -> bool {
        let (at, now) = (self.published.learned.load(Ordering::Relaxed), self.millis(now));
        let old = now.saturating_sub(at) >= LEARNED.as_millis() as u32;
        if old {
            self.published.learned.store(now, Ordering::Relaxed);
            self.raise_limit();
        }
        old
    }

    /// Milliseconds since the connection began.
    fn millis(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.born).as_millis();
        u32::try_from(since).unwrap_or(u32::MAX)
    }

    /// Returns the bytes that waited for the socket or a window at the end of the driver's last turn.
    #[must_use]
    pub fn queued(&self) -> u32 {
        self.published.queued.load(Ordering::Relaxed)
    }

    /// Returns how long the slowest call of the driver's last turn had waited for it.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.published.lag.load(Ordering::Relaxed).into())
    }

    /// Returns how often the driver ran, modulo 2^32.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.published.turns.load(Ordering::Relaxed)
    }

    /// Publishes numbers at the end of a driver's turn.
    pub(crate) fn publish(&self, queued: usize, lag: Duration) {
        self.published.queued.store(u32::try_from(queued).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.published
            .lag
            .store(u32::try_from(lag.as_micros()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.published.turns.store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns whether the head of this stream was handed to the socket.
    #[must_use]
    pub fn has_written(&self, stream: u32) -> bool {
        stream <= self.published.written.load(Ordering::Relaxed)
    }

    pub(crate) fn set_written(&self, stream: u32) {
        self.published.written.store(stream, Ordering::Relaxed);
    }

    /// Returns the number of streams at the end of the driver's last turn.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.published.streams.load(Ordering::Relaxed)
    }

    /// Returns the time in which bytes of any stream waited for the connection's window, in whole milliseconds,
    /// as it was at the end of the driver's last turn.
    #[must_use]
    pub fn connection_stalled(&self) -> Duration {
        Duration::from_millis(u64::from(self.published.stalled.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_stalled(&self, stalled: Duration) {
        let millis = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
        self.published.stalled.store(millis, Ordering::Relaxed);
    }

    /// Returns whether what the peer sends is held up by streams that nobody reads: new calls go elsewhere.
    #[must_use]
    pub fn is_withheld(&self) -> bool {
        self.published.withheld.load(Ordering::Relaxed)
    }

    /// Publishes that. Returns whether it is no longer so.
    pub(crate) fn set_withheld(&self, withheld: bool) -> bool {
        let before = self.is_withheld();
        if before != withheld {
            self.published.withheld.store(withheld, Ordering::Relaxed);
        }
        before && !withheld
    }

    pub(crate) fn set_streams(&self, streams: u32) {
        self.published.streams.store(streams, Ordering::Relaxed);
    }
}
