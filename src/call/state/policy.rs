//! Transitions of a client's retry policy.
//!
//! A call with a policy shows no end to its caller before the policy has decided. When an attempt
//! ends, the call waits in [`Stage::Undecided`] and wakes the policy, with no lock held. The policy
//! reads the [`Attempt`], then calls [`CallState::retry`] or [`CallState::settle`].

use super::ending::Wakers;
use super::{CallState, Stage};
use crate::call::Permit;
use crate::call::attempt::{Attempt, Pushback};
use crate::error::{Error, Phase, Processed};
use std::task::Waker;
use std::time::Instant;

impl CallState {
    /// Sets who decides whether another attempt follows: `policy` is woken when one has ended.
    pub fn set_policy(&mut self, policy: Waker) {
        self.policy = Some(policy);
    }

    /// Returns how the attempt ended on which the policy has to decide. It settles a call that has none.
    #[must_use]
    pub fn attempt(&self) -> Option<Attempt> {
        (self.stage == Stage::Undecided && self.cancel.is_none()).then(|| Attempt {
            result: self.recv.outcome(),
            is_movable: !self.recv.has_begun() && self.send.is_movable(),
            pushback: Pushback::of(&self.recv),
            deadline: self.spec.deadline,
        })
    }

    /// Another attempt follows: the call is as before the first one, [`Stage::Pending`] and without a
    /// permit, except for its timeline and for what the peer may have processed. The caller drops the
    /// permit with no lock held.
    #[must_use]
    pub fn retry(&mut self, error: &Error, now: Instant) -> Option<Permit> {
        self.maybe_processed |= error.processed() != Processed::No;
        self.recv.clear();
        self.failure = None;
        self.stage = Stage::Pending;
        self.attempts = 0;
        self.send.left_connection(now);
        self.send.rewind();
        self.timeline.enter(Phase::PoolWait, now);
        self.permit.take()
    }

    /// No other attempt follows: the end that the call holds is the last. Returns whom to tell.
    pub fn settle(&mut self) -> Wakers {
        match self.stage {
            Stage::Undecided => self.finish(),
            _ => Wakers::default(),
        }
    }

    /// The retry that was to follow does not: the call ends with the last attempt's error. Returns whom
    /// to tell.
    pub fn abandon_retry(&mut self, error: Error) -> Wakers {
        let policy = self.policy.take();
        let mut wakers = self.fail(error);
        wakers.policy = policy;
        wakers
    }
}
