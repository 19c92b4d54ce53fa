//! How a call ends, or goes on with another attempt where its policy says so, and who is told.
//!
//! The policy is asked under the call's lock by whoever lets go of the call. So its two halves never
//! see an end that is not the last, and may be held, polled and written to all the while.

use crate::call::Permit;
use crate::call::attempt::{Attempt, Pushback, has_begun, outcome};
use crate::call::quota::TenantPermit;
use crate::call::recv::RecvEnd;
use crate::call::state::{Again, CallState};
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::Blocked;
use crate::rt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Who must be told that an exchange is over, once its lock is released.
#[derive(Debug, Default)]
pub struct Wakers {
    halves: [Option<Waker>; 2],
    watchers: Vec<Waker>,
    /// The place that is free now.
    permit: Option<Permit>,
    seat: Option<TenantPermit>,
    /// Where a policy was asked: the next attempt, or what is left of the policy.
    asked: Option<Box<Asked>>,
}

impl Wakers {
    /// Nobody is told: another attempt follows.
    pub(crate) fn of_pause(permit: Option<Permit>, pause: Pause) -> Self {
        Self { permit, asked: Some(Box::new(Asked::Again(pause))), ..Self::default() }
    }
}

/// A call between two attempts. Dropped before the next one, as when a runtime ends, it tells the
/// caller how the last one ended.
#[derive(Debug)]
pub(crate) struct Pause {
    again: Arc<dyn Again>,
    time: Duration,
    error: Option<Error>,
}

/// What came of asking a policy. Dropped or begun with no lock held.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Another attempt follows.
    Again(Pause),
    /// None does.
    Spent(Arc<dyn Again>),
}

impl Asked {
    #[cold]
    pub(crate) fn go_on(self) {
        match self {
            Self::Again(pause) => pause.begin(),
            Self::Spent(policy) => drop(policy),
        }
    }
}

impl CallState {
    /// Ends the exchange with an error unless it has ended; returns who must be told.
    #[must_use]
    pub fn fail(&mut self, error: Error) -> Wakers {
        let unseen = error.processed() == Processed::No;
        let error =
            if self.seen && unseen { error.with_processed(Processed::Maybe) } else { error };
        if self.recv.end.is_none() {
            self.recv.end = Some(RecvEnd::Failed(error.clone()));
        }
        self.failure.get_or_insert(error);
        self.let_go()
    }

    /// Ends an exchange that this side gave up: who still reads it is told so.
    #[must_use]
    pub fn give_up(&mut self) -> Wakers {
        let processed = if self.attempts == 0 { Processed::No } else { Processed::Maybe };
        let status = Status::new(Code::Cancelled, "the call was cancelled on this side");
        self.fail(Error::new(Kind::Cancelled, status, Initiator::Local, processed))
    }

    /// The driver lets go of the call; returns who must be told. It may be that another attempt
    /// follows; then the call is not over, and the call is as good as one never sent.
    #[must_use]
    pub fn let_go(&mut self) -> Wakers {
        if self.again.is_some() {
            return self.ask_policy();
        }
        self.done = true;
        self.key = None;
        self.send.counted = None;
        if self.send.replayable {
            self.send.forget_body();
        }
        let permit = self.handle.as_mut().and_then(Permit::take);
        if let Some(permit) = &permit {
            permit.carrier().ended(&self.timeline);
        }
        Wakers { permit, seat: self.seat.take(), ..self.take_wakers() }
    }

    #[cold]
    fn ask_policy(&mut self) -> Wakers {
        let asked = self.again.take().map(|again| self.try_again(again));
        match asked {
            Some(Ok(next)) => next,
            Some(Err(spent)) => {
                let asked = Some(Box::new(Asked::Spent(spent)));
                Wakers { asked, ..self.let_go() }
            }
            None => self.let_go(),
        }
    }

    /// Everybody who waits.
    #[must_use]
    pub fn take_wakers(&mut self) -> Wakers {
        let watchers = std::mem::take(&mut self.watchers);
        let halves = [self.reader.take(), self.writer.take()];
        Wakers { halves, watchers, ..Wakers::default() }
    }

    /// What leads to the next attempt, or the policy, which is spent: the end that the call holds is
    /// the last.
    pub(crate) fn try_again(&mut self, again: Arc<dyn Again>) -> Result<Wakers, Arc<dyn Again>> {
        if self.done || self.cancel.is_some() {
            return Err(again);
        }
        let attempt = Attempt {
            result: outcome(&self.recv),
            is_movable: !has_begun(&self.recv) && self.send.is_movable(),
            pushback: Pushback::of(&self.recv),
            deadline: self.deadline,
        };
        let Some(time) = again.after(&attempt, &mut self.send.extra) else { return Err(again) };
        let Err(error) = attempt.result else { return Err(again) };
        tracing::debug!(%error, "tried again by policy");
        Ok(self.pause(Pause { again, time, error: Some(error) }))
    }

    /// As before the first attempt, but for what the call has been through.
    fn pause(&mut self, pause: Pause) -> Wakers {
        let now = rt::now();
        self.seen |= pause.error.as_ref().is_some_and(|e| e.processed() != Processed::No);
        self.recv.clear();
        self.failure = None;
        self.key = None;
        self.parked = false;
        self.attempts = 0;
        self.send.stalls.note(Blocked::No, now);
        self.send.rewind();
        self.send.counted = None;
        self.timeline.enter(Phase::PoolWait, now);
        Wakers::of_pause(self.handle.take(), pause)
    }
}

impl Pause {
    /// Waits, then sends the call on its way.
    fn begin(self) {
        rt::spawn_if_possible(async move {
            rt::sleep(self.time).await;
            self.end();
        });
    }

    fn end(mut self) {
        let Some(call) = self.again.call() else { return };
        let mut x = call.lock();
        if x.done || x.cancel.is_some() {
            self.error = None;
            let wakers = x.give_up();
            drop(x);
            return wake(wakers);
        }
        x.again = Some(Arc::clone(&self.again));
        drop(x);
        if self.again.submit(call) {
            self.error = None;
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let Some(error) = self.error.take() else { return };
        let Some(call) = self.again.call() else { return };
        let mut x = call.lock();
        x.again = None;
        let wakers = x.fail(error);
        drop(x);
        wake(wakers);
    }
}

/// Wakes those whom [`CallState::fail`] or [`CallState::let_go`] named and gives the call's place and
/// seat back, with no lock held.
pub fn wake(wakers: Wakers) {
    let seat = wakers.seat.map(TenantPermit::leave);
    drop(wakers.permit);
    drop(seat);
    if let Some(asked) = wakers.asked {
        (*asked).go_on();
    }
    for waker in wakers.halves.into_iter().flatten().chain(wakers.watchers) {
        waker.wake();
    }
}
