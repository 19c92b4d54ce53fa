//! Retries by policy (gRFC A6): opt-in, bounded, throttled, and never once a response has begun.
//!
//! Calls that the peer surely did not process are moved by the pool whatever the policy says; this is
//! for those it may have seen, when the caller has said that running twice does no harm.

use crate::call::attempt::{Again, Attempt, Mark, Pushback};
use crate::call::state::SharedCall;
use crate::client::channel::{Channel, Inner};
use crate::client::hedge::HedgePolicy;
use crate::error::{Error, Kind};
use crate::grpc::status::Code;
use crate::http2::Fields;
use crate::rt;
use crate::rt::sync::{AtomicU32, Mutex, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Attempts of one call, the first included (gRFC A6).
pub(super) const ATTEMPTS_MAX: u32 = 5;
/// Tokens are counted in thousandths.
const TOKEN: u32 = 1000;

/// A set of gRPC codes, never OK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Codes(u32);

impl Codes {
    pub(super) const fn with(self, code: Code) -> Self {
        if matches!(code, Code::Ok) { self } else { Self(self.0 | 1 << code as u32) }
    }

    /// Whether a call that ended so may be tried again, as far as its end goes.
    pub(super) fn cover(self, error: &Error) -> bool {
        let of_the_peer_or_the_way = matches!(
            error.kind(),
            Kind::Status
                | Kind::Reset
                | Kind::GoAway
                | Kind::ConnectionLost
                | Kind::Connect
                | Kind::NotGrpc
        );
        of_the_peer_or_the_way && self.0 & (1 << error.code() as u32) != 0
    }
}

/// Which failures are tried again, how often and when. Only for methods that may run twice.
///
/// Streams are tried again like unary calls: what was sent is sent again, in order, and both halves go
/// on. A call is settled when its response begins, or when it has sent more than is kept
/// (`PoolOptions::keep_bytes`); from then on it ends as its attempt does.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    attempts: u32,
    initial: Duration,
    max: Duration,
    multiplier: f64,
    codes: Codes,
}

impl RetryPolicy {
    /// At most `attempts` of them, the first included: 2 to 5, others count as the nearest. Tried
    /// again on UNAVAILABLE, after 100 ms, then times 2 up to 1 s, give or take a fifth.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self {
            attempts: attempts.clamp(2, ATTEMPTS_MAX),
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
            multiplier: 2.0,
            codes: Codes::default().with(Code::Unavailable),
        }
    }

    /// This code, too, is tried again. OK never is.
    #[must_use]
    pub const fn on(mut self, code: Code) -> Self {
        self.codes = self.codes.with(code);
        self
    }

    /// Waits `initial` before the second attempt, then times `multiplier` (at least 1) up to `max`.
    #[must_use]
    pub const fn backoff(mut self, initial: Duration, multiplier: f64, max: Duration) -> Self {
        self.initial = initial;
        self.multiplier = if multiplier >= 1.0 { multiplier } else { 1.0 };
        self.max = max;
        self
    }

    /// Most attempts, the first included.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a call that ended so may be tried again, as far as its end goes.
    pub(super) fn covers(&self, error: &Error) -> bool {
        self.codes.cover(error)
    }

    /// The wait before attempt number `next`, without jitter.
    pub(super) fn pause(&self, next: u32) -> Duration {
        let factor = self.multiplier.powi(next.saturating_sub(2).min(64) as i32);
        let wait = self.initial.as_secs_f64() * factor;
        Duration::try_from_secs_f64(wait).unwrap_or(self.max).min(self.max)
    }
}

/// A call's attempts by policy: kept in its call.
#[derive(Debug)]
pub(super) struct Retrying {
    channel: Weak<Inner>,
    call: Weak<SharedCall>,
    policy: RetryPolicy,
    /// Where the first attempt's fields end.
    mark: Mark,
    /// Attempts begun, and the time between them.
    made: Mutex<(u32, Duration)>,
}

impl Retrying {
    pub(super) fn start(
        channel: &Channel,
        call: &Arc<SharedCall>,
        policy: &RetryPolicy,
    ) -> Arc<Self> {
        Arc::new(Self {
            channel: Arc::downgrade(&channel.inner),
            call: Arc::downgrade(call),
            policy: policy.clone(),
            mark: call.lock().send.extra.mark(),
            made: Mutex::new((1, Duration::ZERO)),
        })
    }
}

impl Again for Retrying {
    fn after(&self, attempt: &Attempt, extra: &mut Fields) -> Option<Duration> {
        // Not the last owner: the call holds its channel until it is over.
        let channel = self.channel.upgrade()?;
        let error = attempt.result.as_ref().err();
        let covered = error.is_some_and(|error| self.policy.covers(error));
        let refused = error.is_some() && attempt.pushback == Some(Pushback::Never);
        let allowed = channel.retries.as_ref()?.note(covered || refused);
        let mut made = self.made.lock();
        let may = covered && allowed && !refused && attempt.is_movable;
        if !may || made.0 >= self.policy.attempts() {
            return None;
        }
        let pause = match attempt.pushback {
            Some(Pushback::After(time)) => time,
            _ => channel.pool.jitter(self.policy.pause(made.0 + 1), 0.2),
        };
        if attempt.deadline.is_some_and(|at| rt::now() + pause >= at) {
            return None;
        }
        extra.rewind(self.mark);
        announce_previous(extra, made.0);
        made.0 += 1;
        made.1 += pause;
        Some(pause)
    }

    fn call(&self) -> Option<Arc<SharedCall>> {
        self.call.upgrade()
    }

    fn submit(&self, call: Arc<SharedCall>) -> bool {
        let Some(channel) = self.channel.upgrade() else { return false };
        channel.pool.submit(call);
        true
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        let (made, paused) = *self.made.lock();
        if let (true, Some(channel)) = (made > 1, self.channel.upgrade()) {
            channel.pool.note_attempts(false, made - 1, paused);
        }
    }
}

// gRFC A6: the server sees which attempt this is
pub(super) fn announce_previous(extra: &mut Fields, previous: u32) {
    if previous > 0 {
        extra.push("grpc-previous-rpc-attempts", previous.to_string());
    }
}

/// What a method has: one or the other (gRFC A6).
#[derive(Clone, Debug)]
pub(super) enum Policy {
    Retry(RetryPolicy),
    Hedge(HedgePolicy),
}

/// A channel's policies, by method, by service, for all; and the throttle they share.
#[derive(Debug, Default)]
pub(super) struct Retries {
    all: Option<Policy>,
    named: HashMap<String, Policy>,
    throttle: Option<Throttle>,
}

impl Retries {
    /// `name` is `/package.Service/Method`, or `/package.Service/` for all of its methods.
    pub(super) fn set(&mut self, name: Option<&str>, policy: Policy) {
        match name {
            Some(name) => drop(self.named.insert(name.to_owned(), policy)),
            None => self.all = Some(policy),
        }
    }

    pub(super) fn throttle(&mut self, max_tokens: u32, ratio: f64) {
        self.throttle = Some(Throttle::new(max_tokens, ratio));
    }

    /// The policy of a method, the nearest name first.
    pub(super) fn of(&self, path: &str) -> Option<&Policy> {
        if self.named.is_empty() {
            return self.all.as_ref();
        }
        let service = path.rfind('/').map_or(path, |at| path.split_at(at + 1).0);
        self.named.get(path).or_else(|| self.named.get(service)).or(self.all.as_ref())
    }

    /// An attempt has ended; whether another one may be made.
    pub(super) fn note(&self, retryable: bool) -> bool {
        self.throttle.as_ref().is_none_or(|throttle| throttle.note(retryable))
    }

    /// Whether another attempt may be made, with none ended since.
    pub(super) fn allows(&self) -> bool {
        self.throttle.as_ref().is_none_or(Throttle::allows)
    }
}

/// Tokens that failures spend and successes earn: at half and below nothing is tried again, so
/// that retries do not bury a server that fails (gRFC A6).
#[derive(Debug)]
struct Throttle {
    max: u32,
    earn: u32,
    tokens: AtomicU32,
}

impl Throttle {
    fn new(max_tokens: u32, ratio: f64) -> Self {
        let max = max_tokens.clamp(1, 1000) * TOKEN;
        let earn = (ratio.clamp(0.001, 1000.0) * f64::from(TOKEN)) as u32;
        Self { max, earn, tokens: AtomicU32::new(max) }
    }

    fn note(&self, retryable: bool) -> bool {
        let next = |tokens: u32| {
            let after = if retryable {
                tokens.saturating_sub(TOKEN)
            } else {
                tokens.saturating_add(self.earn).min(self.max)
            };
            Some(after)
        };
        let before = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        before.ok().and_then(next).is_some_and(|after| after > self.max / 2)
    }

    fn allows(&self) -> bool {
        self.tokens.load(Ordering::Acquire) > self.max / 2
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::client::retry::*;

    #[test]
    fn waits_grow_to_their_bound() {
        let policy =
            RetryPolicy::new(9).backoff(Duration::from_millis(10), 3.0, Duration::from_millis(200));
        let waits: Vec<_> = (2..=5).map(|next| policy.pause(next).as_millis()).collect();
        assert_eq!((policy.attempts(), waits), (5, vec![10, 30, 90, 200]));
        assert_eq!(RetryPolicy::new(0).attempts(), 2);
    }

    #[test]
    fn the_nearest_name_counts() {
        let mut retries = Retries::default();
        assert!(retries.of("/a.B/C").is_none());
        let retry = |n| Policy::Retry(RetryPolicy::new(n));
        retries.set(None, retry(2));
        retries.set(Some("/a.B/"), retry(3));
        retries.set(Some("/a.B/C"), retry(4));
        let of = |retries: &Retries, path| match retries.of(path) {
            Some(Policy::Retry(policy)) => (policy.attempts(), false),
            Some(Policy::Hedge(policy)) => (policy.attempts(), true),
            None => (0, false),
        };
        let all = ["/a.B/C", "/a.B/D", "/a.X/C"].map(|path| of(&retries, path));
        assert_eq!(all, [(4, false), (3, false), (2, false)]);
        retries.set(Some("/a.B/C"), Policy::Hedge(HedgePolicy::new(5, Duration::ZERO)));
        assert_eq!(of(&retries, "/a.B/C"), (5, true), "the later one");
    }

    #[test]
    fn the_throttle_closes_at_half_and_opens_with_successes() {
        let throttle = Throttle::new(10, 0.5);
        let allowed: Vec<bool> = (0..6).map(|_| throttle.note(true)).collect();
        assert_eq!(allowed, [true, true, true, true, false, false]);
        // Four tokens left; half a token for each success.
        let allowed: Vec<bool> = (0..4).map(|_| throttle.note(false)).collect();
        assert_eq!(allowed, [false, false, true, true]);
        for _ in 0..100 {
            throttle.note(false);
        }
        assert_eq!(throttle.tokens.load(Ordering::Relaxed), 10 * TOKEN);
    }
}
