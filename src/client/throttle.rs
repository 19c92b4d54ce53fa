//! The throttle that all policies of a channel share, so that retries do not bury a server that fails.

use crate::connection::check::Findings;
use crate::rt::sync::{AtomicU32, Ordering};

/// Tokens are counted in thousandths.
const TOKEN: u32 = 1000;
/// The most tokens (gRFC A6).
const TOKENS_MAX: u32 = 1000;

/// How an attempt ended, for the throttle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// With OK.
    Success,
    /// With a code that the policy covers, or with a pushback that forbids another attempt.
    Retryable,
    /// With any other code: it says nothing about the load of the server.
    Other,
}

/// Tokens that failures spend and successes earn: at half and below nothing is tried again.
#[derive(Debug)]
pub(super) struct Throttle {
    max_tokens: u32,
    ratio: f64,
    /// In thousandths.
    tokens: AtomicU32,
}

impl Throttle {
    pub(super) fn new(max_tokens: u32, ratio: f64) -> Self {
        let tokens = AtomicU32::new(max_tokens.saturating_mul(TOKEN));
        Self { max_tokens, ratio, tokens }
    }

    /// Looks for values that cannot be meant.
    pub(super) fn check(&self, found: &mut Findings) {
        let Self { max_tokens, ratio, .. } = self;
        if !(1..=TOKENS_MAX).contains(max_tokens) {
            found.error(
                format!("retry_throttle with {max_tokens} tokens"),
                "gRFC A6 allows 1 to 1000; without a token nothing is ever tried again",
                "max_tokens of 1 to 1000",
            );
        }
        // gRFC A6: decimals beyond the third are ignored
        if !ratio.is_finite() || *ratio < 0.001 {
            found.error(
                format!("retry_throttle with a ratio of {ratio}"),
                "a success must return a part of a token, or retries stop for good",
                "a ratio of at least 0.001, such as 0.1",
            );
        }
    }

    // gRFC A6: a failure that the policy covers spends a token, a success returns `ratio` tokens
    pub(super) fn note(&self, outcome: Outcome) -> bool {
        let earned = (self.ratio * f64::from(TOKEN)) as u32;
        let next = |tokens: u32| match outcome {
            Outcome::Success => Some(tokens.saturating_add(earned).min(self.max())),
            Outcome::Retryable => Some(tokens.saturating_sub(TOKEN)),
            Outcome::Other => None,
        };
        let changed = self.tokens.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        let after = changed.map_or_else(Some, next);
        after.is_some_and(|tokens| tokens > self.max() / 2)
    }

    pub(super) fn allows(&self) -> bool {
        self.tokens.load(Ordering::Acquire) > self.max() / 2
    }

    const fn max(&self) -> u32 {
        self.max_tokens.saturating_mul(TOKEN)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::client::throttle::*;

    #[test]
    fn the_throttle_closes_at_half_and_opens_with_successes() {
        let throttle = Throttle::new(10, 0.5);
        let note = |outcome, times| (0..times).map(|_| throttle.note(outcome)).collect::<Vec<_>>();
        assert_eq!(note(Outcome::Retryable, 6), [true, true, true, true, false, false]);
        // Four tokens left; half a token for each success, none for a failure that no retry mends.
        assert_eq!(note(Outcome::Other, 9), [false; 9]);
        assert_eq!(note(Outcome::Success, 4), [false, false, true, true]);
        assert_eq!(note(Outcome::Other, 2), [true; 2]);
        note(Outcome::Success, 100);
        assert_eq!(throttle.tokens.load(Ordering::Relaxed), 10 * TOKEN);
    }

    /// gRPC A6: a retry wants more than half of the tokens.
    #[test]
    fn exactly_half_of_the_tokens_allows_nothing() {
        let throttle = Throttle::new(2, 1.0);
        assert!(throttle.allows());
        assert!(!throttle.note(Outcome::Retryable) && !throttle.allows());
        assert!(throttle.note(Outcome::Success) && throttle.allows());
    }

    #[test]
    fn values_that_cannot_be_meant_are_found() {
        let errors = |max_tokens, ratio| {
            let mut found = Findings::default();
            Throttle::new(max_tokens, ratio).check(&mut found);
            found.into_vec().len()
        };
        for good in [(1, 0.001), (1000, 1e9), (10, 0.1)] {
            assert_eq!(errors(good.0, good.1), 0, "{good:?}");
        }
        for bad in [0.0, -1.0, 0.0009, f64::NAN, f64::INFINITY] {
            assert_eq!(errors(10, bad), 1, "{bad}");
        }
        assert_eq!((errors(0, 0.1), errors(1001, 0.1), errors(u32::MAX, f64::NAN)), (1, 1, 2));
    }
}
