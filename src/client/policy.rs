//! What a method may have of further attempts (gRFC A6): a policy for retries or one for hedges, and
//! the throttle that all policies of a channel share.

use crate::client::throttle::{Outcome, Throttle};
use crate::connection::check::{Finding, Findings};
use crate::connection::options::TIME_MAX;
use crate::error::{Error, Kind};
use crate::grpc::method::Path;
use crate::grpc::status::Code;
use std::collections::BTreeMap;
use std::time::Duration;

/// Attempts of one call, the first included (gRFC A6).
pub(super) const ATTEMPTS_MAX: u32 = 5;

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
/// (`Advanced::replay_bytes`); from then on it ends as its attempt does.
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

    /// Waits `initial` before the second attempt, then times `multiplier` up to `max`, and at most ten
    /// years. A `multiplier` below 1, or that is no number, counts as 1.
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

    /// The wait after so many others, without jitter.
    pub(super) fn pause(&self, others: u32) -> Duration {
        let factor = self.multiplier.powi(others.min(64) as i32);
        let wait = self.initial.as_secs_f64() * factor;
        Duration::try_from_secs_f64(wait).unwrap_or(self.max).min(self.max).min(TIME_MAX)
    }
}

/// When a call that has not been answered is sent once more, and how often. Only for methods that
/// may run twice, at the same time.
///
/// Each answered call with hedges under way cancels them. Servers take resets of more than half of
/// all streams for an attack, so keep `delay` at a time that most calls do not need, and `attempts`
/// at 2 where it is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    attempts: u32,
    delay: Duration,
    codes: Codes,
}

impl HedgePolicy {
    /// At most `attempts` of them, the first included: 2 to 5, others count as the nearest. The next
    /// one is sent `delay` after the one before, at zero all at once. When no connection has room to
    /// spare it is put off by another `delay`, at least 10 ms, then by up to eight times as long. A
    /// failure with UNAVAILABLE is not fatal.
    #[must_use]
    pub fn new(attempts: u32, delay: Duration) -> Self {
        let codes = Codes::default().with(Code::Unavailable);
        Self { attempts: attempts.clamp(2, ATTEMPTS_MAX), delay, codes }
    }

    /// A failure with this code, too, is not fatal: the next attempt is sent at once, and the call
    /// ends so only when no attempt is left. Any other code ends the call.
    #[must_use]
    pub const fn non_fatal(mut self, code: Code) -> Self {
        self.codes = self.codes.with(code);
        self
    }

    /// Most attempts, the first included.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Time between one attempt and the next.
    #[must_use]
    pub const fn delay(&self) -> Duration {
        self.delay
    }

    /// Whether a failure leaves the call to other attempts.
    pub(super) fn covers(&self, error: &Error) -> bool {
        self.codes.cover(error)
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
    named: BTreeMap<String, Policy>,
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

    /// Returns what is wrong with the names and the throttle.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Findings::default();
        for (name, policy) in &self.named {
            let service = name.ends_with('/') && Path::new(&format!("{name}_")).is_some();
            if !service && Path::new(name).is_none() {
                let setter = match policy {
                    Policy::Retry(_) => "retry_for",
                    Policy::Hedge(_) => "hedge_for",
                };
                found.error(
                    format!("{setter}({name:?}) matches no method"),
                    "its policy would never be used",
                    "/package.Service/Method, or /package.Service/ for all methods of a service",
                );
            }
        }
        if let Some(throttle) = &self.throttle {
            throttle.check(&mut found);
        }
        found.into_vec()
    }

    /// An attempt has ended; whether another one may be made.
    pub(super) fn note(&self, outcome: Outcome) -> bool {
        self.throttle.as_ref().is_none_or(|throttle| throttle.note(outcome))
    }

    /// Whether another attempt may be made, with none ended since.
    pub(super) fn allows(&self) -> bool {
        self.throttle.as_ref().is_none_or(Throttle::allows)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::client::policy::*;
    use crate::connection::check::Severity;

    #[test]
    fn waits_grow_to_their_bound() {
        let policy =
            RetryPolicy::new(9).backoff(Duration::from_millis(10), 3.0, Duration::from_millis(200));
        let waits: Vec<_> = (0..4).map(|others| policy.pause(others).as_millis()).collect();
        assert_eq!((policy.attempts(), waits), (5, vec![10, 30, 90, 200]));
        assert_eq!(RetryPolicy::new(0).attempts(), 2);
        for multiplier in [1.0, f64::INFINITY, f64::NAN] {
            let policy = RetryPolicy::new(5).backoff(Duration::MAX, multiplier, Duration::MAX);
            assert_eq!([0, 3].map(|others| policy.pause(others)), [TIME_MAX; 2]);
        }
    }

    #[test]
    fn attempts_have_bounds() {
        let of = |n| HedgePolicy::new(n, Duration::ZERO).attempts();
        assert_eq!([of(0), of(1), of(3), of(9)], [2, 2, 3, 5]);
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
    fn names_that_match_nothing_are_found() {
        for (name, matches) in [
            ("/a.B/C", true),
            ("/a.B/", true),
            ("a.B/C", false),
            ("/a.B", false),
            ("/a.B/C/", false),
            ("/a.B/*", false),
            ("//", false),
            ("/", false),
            ("", false),
            ("/a.B/C ", false),
        ] {
            for policy in [
                Policy::Retry(RetryPolicy::new(2)),
                Policy::Hedge(HedgePolicy::new(2, Duration::ZERO)),
            ] {
                let mut retries = Retries::default();
                retries.set(Some(name), policy);
                let found = retries.findings();
                assert_eq!(found.is_empty(), matches, "{name:?}: {found:?}");
                assert!(found.iter().all(|one| one.severity == Severity::Error));
            }
        }
    }
}
