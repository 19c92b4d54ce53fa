//! Retries by policy (gRFC A6): opt-in, bounded, throttled, and never once a response has begun.
//!
//! The pool moves calls that the peer did not process whatever the policy says. This is for those that
//! the peer may have processed, when the caller has said that running twice does no harm.
//!
//! The call knows its policy as a [`Waker`]: it wakes the policy when an attempt has ended, with no
//! lock held, and shows the end to nobody before the policy has decided.

use crate::call::attempt::{Attempt, Mark, Pushback};
use crate::call::state::ending::wake;
use crate::call::state::{CallState, SharedCall};
use crate::client::channel::{Channel, Inner};
use crate::client::policy::RetryPolicy;
use crate::client::throttle::Outcome;
use crate::error::Error;
use crate::http2::Fields;
use crate::rt;
use crate::rt::sync::Mutex;
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The attempts of one call by policy. The call holds it, as a waker.
#[derive(Debug)]
pub(super) struct Retrying {
    channel: Weak<Inner>,
    call: Weak<SharedCall>,
    policy: RetryPolicy,
    /// Where the first attempt's fields end.
    mark: Mark,
    made: Mutex<Made>,
}

/// What a call's policy has done so far.
#[derive(Debug)]
struct Made {
    /// Attempts begun.
    attempts: u32,
    /// Further attempts that were submitted, and the time between them.
    retried: u32,
    paused: Duration,
    /// Pauses by the policy since the last one that the server asked for.
    backoffs: u32,
    /// Its drop tells the task that pauses: the call has ended, or another pause begins.
    pause: Option<oneshot::Sender<Infallible>>,
}

impl Retrying {
    /// Makes the policy decide on each attempt of a call that is still to be submitted.
    pub(super) fn start(channel: &Channel, call: &Arc<SharedCall>, policy: &RetryPolicy) {
        let mut x = call.lock();
        let retrying = Arc::new(Self {
            channel: Arc::downgrade(&channel.inner),
            call: Arc::downgrade(call),
            policy: policy.clone(),
            mark: x.send().extra().mark(),
            made: Mutex::new(Made {
                attempts: 1,
                retried: 0,
                paused: Duration::ZERO,
                backoffs: 0,
                pause: None,
            }),
        });
        x.set_policy(Waker::from(retrying));
    }

    /// Returns how many attempts were made and the pause before the next one, `None` when this one was
    /// the last.
    fn decide(&self, attempt: &Attempt) -> Option<(u32, Duration)> {
        // Not the last owner: the call holds its channel until it is over.
        let channel = self.channel.upgrade()?;
        let error = attempt.result.as_ref().err();
        let covered = error.is_some_and(|error| self.policy.covers(error));
        let refused = error.is_some() && attempt.pushback == Some(Pushback::Never);
        let outcome = match error {
            None => Outcome::Success,
            Some(_) if covered || refused => Outcome::Retryable,
            Some(_) => Outcome::Other,
        };
        let allowed = channel.retries.as_ref()?.note(outcome);
        let mut made = self.made.lock();
        let may = covered && allowed && !refused && attempt.is_movable;
        if !may || made.attempts >= self.policy.attempts() {
            return None;
        }
        // gRFC A6: a pushback sets the time, and the backoff begins anew after it
        let (pause, backoffs) = match attempt.pushback {
            Some(Pushback::After(time)) => (time, 0),
            _ => {
                let pause = self.policy.pause(made.backoffs);
                (channel.pool.jitter(pause, 0.2), made.backoffs + 1)
            }
        };
        let next = rt::now().checked_add(pause);
        if attempt.deadline.is_some_and(|at| next.is_none_or(|next| next >= at)) {
            return None;
        }
        let previous = made.attempts;
        made.attempts += 1;
        made.backoffs = backoffs;
        Some((previous, pause))
    }

    /// Returns the pause that begins now and the error that calls for it, or `None` when the attempt was
    /// the last. `x` is the call's state, in which an attempt has ended.
    fn next(&self, attempt: Attempt, x: &mut CallState) -> Option<(Duration, Error)> {
        let (previous, pause) = self.decide(&attempt)?;
        let error = attempt.result.err()?;
        let extra = x.send_mut().extra_mut();
        extra.rewind(self.mark);
        announce_previous(extra, previous);
        Some((pause, error))
    }
}

impl Wake for Retrying {
    fn wake(self: Arc<Self>) {
        let Some(call) = self.call.upgrade() else { return };
        let mut x = call.lock();
        // A call that was cancelled, or whose deadline has passed, has none.
        let next = x.attempt().and_then(|attempt| self.next(attempt, &mut x));
        let Some((time, error)) = next else {
            let wakers = x.settle();
            drop(x);
            // Before the caller wakes, so that it finds the call its own and recycles it, and reads
            // how many attempts were made.
            drop((call, self));
            return wake(wakers);
        };
        let permit = x.retry(&error, rt::now());
        drop(x);
        crate::rt::log!(debug, %error, "retried by policy");
        drop(permit);
        self.pause(time, error);
    }
}

impl Retrying {
    /// Pauses in a task, until the time has passed or the channel is shut down. The task owns neither the
    /// call nor this: it ends with them.
    fn pause(self: Arc<Self>, time: Duration, error: Error) {
        let Some(channel) = self.channel.upgrade() else { return };
        let (running, ended) = oneshot::channel();
        self.made.lock().pause = Some(running);
        let shut_down = channel.pool.shut_down();
        let pause = Pause { retrying: Arc::downgrade(&self), error: Some(error), began: rt::now() };
        let executor = channel.pool.executor().clone();
        drop((channel, self));
        // Where no task can run, the pause is dropped, and the attempt was the last.
        let _ = executor.spawn(async move {
            tokio::select! {
                biased;
                _ = ended => {}
                () = shut_down => pause.end(),
                () = rt::sleep(time) => pause.end(),
            }
        });
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        let (retried, paused) = {
            let made = self.made.lock();
            (made.retried, made.paused)
        };
        if let (true, Some(channel)) = (retried > 0, self.channel.upgrade()) {
            channel.pool.note_attempts(false, retried, paused);
        }
    }
}

/// A call between two attempts. Dropped before the next one, as when a runtime ends, it tells the
/// caller how the last one ended.
struct Pause {
    retrying: Weak<Retrying>,
    error: Option<Error>,
    began: Instant,
}

impl Pause {
    /// Submits the call, unless its caller has cancelled it.
    fn end(mut self) {
        let Some(retrying) = self.retrying.upgrade() else { return };
        let Some(call) = retrying.call.upgrade() else { return };
        let mut x = call.lock();
        if x.is_over() || x.cancel_code().is_some() {
            self.error = None;
            let wakers = x.end_cancelled();
            drop(x);
            return wake(wakers);
        }
        drop(x);
        if let Some(channel) = retrying.channel.upgrade() {
            self.error = None;
            let mut made = retrying.made.lock();
            made.retried += 1;
            made.paused += rt::now().saturating_duration_since(self.began);
            drop(made);
            channel.pool.resubmit(call);
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        let Some(error) = self.error.take() else { return };
        let call = self.retrying.upgrade().and_then(|retrying| retrying.call.upgrade());
        let Some(call) = call else { return };
        let wakers = call.lock().abandon_retry(error);
        wake(wakers);
    }
}

// gRFC A6: the server sees which attempt this is
pub(super) fn announce_previous(extra: &mut Fields, previous: u32) {
    if previous > 0 {
        extra.push("grpc-previous-rpc-attempts", previous.to_string());
    }
}
