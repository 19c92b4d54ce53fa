//! How a call ends, and who is told.

use super::waiters::Waiter;
use super::{CallState, RecvEnd, SEND_BUFFER_LIMIT, Stage};
use crate::call::Permit;
use crate::call::quota::TenantPermit;
use crate::error::{Error, Processed};
use crate::rt::contain::contain;
use std::task::Waker;

/// Who must be told that a call has ended, and what it held. Pass it to [`wake`] once the call's lock
/// is released.
#[derive(Debug, Default)]
#[must_use]
pub struct Wakers {
    /// The reader, or the retry policy that decides whether another attempt follows.
    first: Option<Waker>,
    waiters: Vec<Waiter>,
    permit: Option<Permit>,
    tenant: Option<TenantPermit>,
    /// A retry policy that has nothing more to decide.
    pub(super) policy: Option<Waker>,
}

impl CallState {
    /// The connection is done with the call; returns whom to tell. With a retry policy, that is the
    /// policy: the caller sees the end once the policy has decided.
    pub fn complete(&mut self) -> Wakers {
        if self.is_undecided() {
            return self.ask_policy();
        }
        self.finish()
    }

    /// Ends the call with an error unless its response has ended; returns whom to tell.
    pub fn fail(&mut self, error: Error) -> Wakers {
        let unseen = error.processed() == Processed::No;
        let error = if self.maybe_processed && unseen {
            error.with_processed(Processed::Maybe)
        } else {
            error
        };
        if self.recv.end().is_none() {
            self.recv.set_end(RecvEnd::Failed(error.clone()));
        }
        self.failure.get_or_insert(error);
        self.complete()
    }

    /// Ends a call that its caller has cancelled; returns whom to tell.
    pub fn end_cancelled(&mut self) -> Wakers {
        let error = self.cancelled();
        self.fail(error)
    }

    /// The end that the call holds is the last.
    pub(super) fn finish(&mut self) -> Wakers {
        self.stage = Stage::Over;
        *self.send.counted_mut() = None;
        if self.send.is_replayable() {
            self.send.forget_body();
        }
        let permit = self.permit.as_mut().and_then(Permit::take);
        if let Some(permit) = &permit {
            permit.carrier().ended(&self.timeline);
        }
        let (tenant, policy) = (self.tenant.take(), self.policy.take());
        Wakers { permit, tenant, policy, ..self.take_wakers() }
    }

    #[cold]
    fn ask_policy(&mut self) -> Wakers {
        self.stage = Stage::Undecided;
        Wakers { first: self.policy.clone(), ..Wakers::default() }
    }

    /// Takes the permit that the call still counts at its connection; the caller drops it with no lock
    /// held.
    #[must_use]
    pub fn take_counted(&mut self) -> Option<Permit> {
        self.permit.as_mut().and_then(Permit::take)
    }

    /// Takes everybody who waits.
    pub fn take_wakers(&mut self) -> Wakers {
        let (first, waiters) = (self.reader.take(), self.waiters.take());
        Wakers { first, waiters, ..Wakers::default() }
    }
}

/// Returns the call's permits, then wakes those who wait. No lock is held.
pub fn wake(wakers: Wakers) {
    let tenant = wakers.tenant.map(TenantPermit::leave);
    drop(wakers.permit);
    drop(tenant);
    drop(wakers.policy);
    if let Some(first) = wakers.first {
        wake_one(first);
    }
    wake_all(wakers.waiters);
}

#[inline]
fn wake_all(waiters: Vec<Waiter>) {
    for waiter in waiters {
        wake_one(waiter.into_waker());
    }
}

/// Wakes a task, with no lock held. A waker is user code: its panic must not end the connection.
pub fn wake_one(waker: Waker) {
    if contain(|| waker.wake()).is_err() {
        crate::rt::log!(error, "the waker of a task that waits for a call panicked");
    }
}

/// Who waits to send. Pass it to [`Writers::wake`] once the call's lock is released.
#[derive(Debug, Default)]
#[must_use]
pub struct Writers(Vec<Waiter>);

impl Writers {
    /// Wakes them.
    pub fn wake(self) {
        wake_all(self.0);
    }
}

impl CallState {
    /// Takes who waits to send, once a message may be accepted again.
    #[inline]
    pub fn take_writers(&mut self) -> Writers {
        self.count_queued();
        if self.send.queued() >= SEND_BUFFER_LIMIT {
            return Writers(Vec::new());
        }
        Writers(self.waiters.take_writers())
    }
}
