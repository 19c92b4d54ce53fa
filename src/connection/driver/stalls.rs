//! Streams without progress: the peer takes none of the bytes that wait for it, or sends no more of a
//! message of which this side holds a part.
//!
//! A closed window alone is no reason to end a stream, because slow readers are honest. A stream ends
//! after `stream_stall_time`, if the user has set it, or after a minute while the budget is tight.

use crate::connection::driver::Core;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::{Blocked, ErrorCode, StreamKey};
use std::time::{Duration, Instant};

/// Time without progress after which a stream may be reset while the budget is tight.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Age of a message that is still arriving after which its stream may be reset while more than the budget is
/// held, if no connection holds more.
const EVICT_AFTER: Duration = Duration::from_secs(30);
/// Time without progress after which an answer may be given up while the budget is overdrawn, and time in which it
/// must leave then.
const STUCK_AFTER: Duration = Duration::from_secs(1);
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Time between two checks.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Since when one stream makes no progress.
#[derive(Debug, Default)]
pub(super) struct Stall {
    /// Bytes that wait for a window, and since when none of them moved.
    sending: Option<(Instant, usize)>,
    /// Since when bytes wait.
    waits: Option<Instant>,
    /// While part of a message is charged: when a reader last reported bytes of it, or bytes were prefetched.
    receiving: Option<Instant>,
    /// While part of a message is charged: since when.
    begun: Option<Instant>,
}

impl Stall {
    /// Returns the bytes that wait if none of them has moved for [`STUCK_AFTER`], or not all of them within
    /// [`SLOW_AFTER`].
    pub(super) fn stuck(&self, now: Instant) -> Option<usize> {
        let (since, bytes) = self.sending?;
        let stuck = now.saturating_duration_since(since) >= STUCK_AFTER
            || now.saturating_duration_since(self.waits?) >= SLOW_AFTER;
        stuck.then_some(bytes)
    }
}

/// The streams of one connection that may be without progress.
#[derive(Debug, Default)]
pub(super) struct StallWatch {
    /// Streams with [`Stall::sending`].
    sending: usize,
    /// Streams with [`Stall::receiving`].
    receiving: usize,
    /// Time of the next check; `None` while there is nothing to check.
    next: Option<Instant>,
}

impl StallWatch {
    /// Returns the time of the next check.
    pub(super) const fn next_check(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether part of a message is charged for some stream.
    pub(super) const fn has_partial_messages(&self) -> bool {
        self.receiving > 0
    }

    /// Notes how many bytes wait for a window.
    fn note_sending(&mut self, stall: &mut Stall, waiting: usize, now: Instant) {
        let before = stall.sending;
        if waiting == 0 {
            (stall.sending, stall.waits) = (None, None);
            if before.is_some() {
                self.sending -= 1;
                self.stop_if_done();
            }
            return;
        }
        let since = match before {
            Some((since, bytes)) if waiting >= bytes => since,
            _ => now,
        };
        stall.sending = Some((since, waiting));
        stall.waits.get_or_insert(now);
        if before.is_none() {
            self.sending += 1;
            self.next.get_or_insert(now + CHECK_EVERY);
        }
    }

    /// Notes that what is charged for a stream's message has changed, and whether it still is.
    pub(super) fn note_receiving(&mut self, stall: &mut Stall, charged: bool, now: Instant) {
        match (charged, stall.receiving) {
            (true, Some(_)) => stall.receiving = Some(now),
            (true, None) => {
                stall.receiving = Some(now);
                stall.begun = Some(now);
                self.receiving += 1;
                self.next.get_or_insert(now + CHECK_EVERY);
            }
            (false, Some(_)) => {
                stall.receiving = None;
                stall.begun = None;
                self.receiving -= 1;
                self.stop_if_done();
            }
            (false, None) => {}
        }
    }

    /// Forgets a stream that has ended.
    pub(super) const fn forget(&mut self, stall: &Stall) {
        if stall.sending.is_some() {
            self.sending -= 1;
            self.stop_if_done();
        }
        if stall.receiving.is_some() {
            self.receiving -= 1;
            self.stop_if_done();
        }
    }

    /// Returns whether a check is due, and sets the time of the next one.
    fn is_due(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|at| now < at) {
            return false;
        }
        self.next = Some(now + CHECK_EVERY);
        self.stop_if_done();
        true
    }

    const fn stop_if_done(&mut self) {
        if self.sending == 0 && self.receiving == 0 {
            self.next = None;
        }
    }
}

impl Core {
    /// Notes why a stream's DATA waits, and how much of it.
    pub(super) fn note_stall(&mut self, key: StreamKey, blocked: Blocked, pending: usize) {
        let Some(entry) = self.conn.user_mut(key) else { return };
        let closed = matches!(blocked, Blocked::StreamWindow | Blocked::ConnectionWindow);
        let waiting = if closed { pending } else { 0 };
        self.stalls.note_sending(&mut entry.stall, waiting, self.now);
    }

    /// Resets the stream that has been without progress for longest, if its time is up: at most one
    /// per check.
    pub(super) fn check_stalls(&mut self) {
        if !self.stalls.is_due(self.now) {
            return;
        }
        self.pass_privilege();
        self.give_up_largest();
        if self.memory.must_evict() {
            self.evict();
        }
        let tight = self.memory.relieve().then_some(STALL_MAX);
        let for_sending = self.options.stream_stall_time.into_iter().chain(tight).min();
        if for_sending.is_none() {
            return;
        }
        let due = |stall: &Stall| {
            let sending = stall.sending.and_then(|(since, _)| Some(since + for_sending?));
            let receiving = stall.receiving.and_then(|since| Some(since + tight?));
            sending.into_iter().chain(receiving).min()
        };
        let stalls = self.conn.keys().into_iter();
        let stalls = stalls.filter_map(|key| Some((due(&self.conn.user(key)?.stall)?, key)));
        let longest = stalls.min_by_key(|(due, _)| *due).filter(|(due, _)| *due <= self.now);
        if let Some((_, key)) = longest {
            self.fail_stalled(key);
        }
    }

    /// Lets another stream have its credit at once if the reader of the one that has it does not read.
    fn pass_privilege(&mut self) {
        let Self { conn, memory, now, .. } = self;
        memory.pass_privilege(|key| {
            let since = conn.user(key).and_then(|entry| entry.stall.receiving);
            since.is_none_or(|at| now.saturating_duration_since(at) >= CHECK_EVERY)
        });
        self.release_pending();
    }

    /// Ends the stream that holds most for a message that has been arriving for [`EVICT_AFTER`]. However few
    /// bytes arrive meanwhile, the memory is needed.
    fn evict(&mut self) {
        let held = |key: &StreamKey| {
            let entry = self.conn.user(*key)?;
            let age = self.now.saturating_duration_since(entry.stall.begun?);
            (age >= EVICT_AFTER).then(|| entry.holding.charged())
        };
        let streams = self.conn.keys().into_iter();
        let most =
            streams.filter_map(|key| Some((held(&key)?, key))).max_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, key)) = most {
            let text = format!(
                "a message has been arriving for {} s while this side was short of memory and kept \
                 {bytes} bytes for it",
                EVICT_AFTER.as_secs()
            );
            self.fail_exhausted(key, text);
        }
    }

    fn fail_stalled(&mut self, key: StreamKey) {
        let Some(entry) = self.conn.user(key) else { return };
        let seconds = |since: Instant| self.now.saturating_duration_since(since).as_secs();
        let text = match (entry.stall.sending, entry.stall.receiving) {
            (Some((since, bytes)), _) => format!(
                "the peer took none of {bytes} bytes for {} s while this side was short of \
                 memory or had set stream_stall_time",
                seconds(since)
            ),
            (None, Some(since)) => format!(
                "no byte of a message arrived or was read for {} s while this side kept {} bytes \
                 for it and was short of memory",
                seconds(since),
                entry.holding.charged()
            ),
            (None, None) => return,
        };
        self.fail_exhausted(key, text);
    }

    pub(super) fn fail_exhausted(&mut self, key: StreamKey, text: String) {
        let Some(entry) = self.conn.user(key) else { return };
        let Some(call) = entry.call.clone() else { return };
        let status = Status::new(Code::ResourceExhausted, text);
        let error = Error::new(Kind::Limit, status, Initiator::Remote, Processed::Maybe);
        let error = self.located(key, &mut call.lock(), error);
        self.fail_stream(key, error, ErrorCode::CANCEL);
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::connection::driver::stalls::*;
    use crate::rt::Random;

    #[test]
    fn a_check_is_set_exactly_while_a_stream_may_stall() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut now = Instant::now();
            let mut watch = StallWatch::default();
            let mut stalls: [Stall; 3] = Default::default();
            for _ in 0..200 {
                now += Duration::from_millis(random.below(900));
                let stall = &mut stalls[(random.below(3)) as usize];
                match random.below(4) {
                    0 => watch.note_sending(stall, (random.below(3)) as usize, now),
                    1 => watch.note_receiving(stall, random.below(2) == 0, now),
                    2 => watch.forget(&std::mem::take(stall)),
                    _ => {
                        let due = watch.next_check().is_some_and(|at| at <= now);
                        assert_eq!(watch.is_due(now), due, "seed {seed}");
                    }
                }
                let sending = stalls.iter().filter(|stall| stall.sending.is_some()).count();
                let receiving = stalls.iter().filter(|stall| stall.receiving.is_some()).count();
                assert_eq!((watch.sending, watch.receiving), (sending, receiving), "seed {seed}");
                assert_eq!(watch.next_check().is_some(), sending + receiving > 0, "seed {seed}");
                assert_eq!(watch.has_partial_messages(), receiving > 0);
            }
        }
    }

    /// Fewer waiting bytes are progress; more are not.
    #[test]
    fn a_stall_begins_anew_with_progress() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (mut watch, mut stall) = (StallWatch::default(), Stall::default());
        for (second, waiting, since) in [(0, 10, 0), (1, 10, 0), (2, 12, 0), (3, 11, 3), (4, 11, 3)]
        {
            watch.note_sending(&mut stall, waiting, at(second));
            assert_eq!(stall.sending, Some((at(since), waiting)));
        }
        for second in [5, 9] {
            watch.note_receiving(&mut stall, true, at(second));
            assert_eq!(stall.receiving, Some(at(second)));
        }
    }
}
