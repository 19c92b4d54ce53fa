//! The way of a call through the pool: it gets a permit, or waits in the queue until one is free, or
//! fails. A call that comes back from a connection takes the same way again.

use crate::call::Permit;
use crate::call::state::SharedCall;
use crate::call::state::ending::wake;
use crate::connection::handle::Handle;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::pool::counters::Count;
use crate::pool::picker::Pick;
use crate::pool::queue::Refusal;
use crate::pool::tenant::Standing;
use crate::pool::{Pool, Shared, fail, shut_down};
use crate::rt;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Pool {
    /// Returns a permit for a hedge: on a ready connection below its soft target, while no call
    /// waits. It prefers another endpoint than those of the connections `not_on`, then another
    /// connection, then the one with the fewest calls. The pool does not dial for it.
    #[must_use]
    pub fn spare(&self, not_on: &[u64]) -> Option<Permit> {
        self.shared.spare(not_on)
    }
}

impl Shared {
    pub(super) fn submit(&self, call: Arc<SharedCall>) {
        // A call never overtakes those that wait.
        match if self.queue.is_empty() { self.pick() } else { Pick::Full } {
            Pick::Permit(permit) => Handle::submit(permit, call),
            Pick::AboveTarget(permit, subchannel) => {
                Handle::submit(permit, call);
                if subchannel.stays_above_target() {
                    self.start_dial(&subchannel);
                }
            }
            Pick::Full | Pick::None => self.enqueue(call),
        }
    }

    /// Picks a connection, and dials where the picker wants one.
    #[inline]
    fn pick(&self) -> Pick {
        let mut dial = Vec::new();
        let pick = self.picker.pick(|n| self.random.lock().below(n), &mut dial);
        for subchannel in dial {
            self.start_dial(&subchannel);
        }
        pick
    }

    fn spare(&self, not_on: &[u64]) -> Option<Permit> {
        let none = !self.queue.is_empty() || self.is_shut_down();
        if none { None } else { self.picker.spare(not_on) }
    }

    /// No permit is free: the call waits, or fails immediately.
    pub(super) fn enqueue(&self, call: Arc<SharedCall>) {
        let now = rt::now();
        let Some((deadline, standing)) = self.begin_wait(&call, now) else { return };
        match self.queue.join(Arc::clone(&call), standing, deadline, now) {
            Ok(earliest) => {
                // A caller that cancelled meanwhile did not find it in the queue.
                if call.lock().is_over() {
                    self.queue.forget(&call, standing.map(|standing| standing.tenant));
                }
                self.maintain();
                if earliest.is_some() {
                    self.maintenance.notify_one();
                }
            }
            Err((refusal, call)) => {
                self.counters.note(match refusal {
                    Refusal::Full(_) => Count::RefusedFull,
                    Refusal::Hopeless { .. } => Count::RefusedHopeless,
                });
                // The call keeps its tenant: a retry policy may submit it again.
                let label = call.lock().tenant().map(|permit| permit.quota().label().to_owned());
                return fail(&call, refusal.error(label.as_deref(), deadline, now));
            }
        }
        // A permit that was released since the pick would serve nobody.
        self.serve(now);
        if !self.queue.is_empty() {
            self.grow();
        }
        if self.is_shut_down() {
            self.fail_waiting(|_| true, &shut_down());
        }
    }

    /// Begins a call's wait, or ends the call. Returns its deadline and its tenant while it waits.
    fn begin_wait(
        &self,
        call: &Arc<SharedCall>,
        now: Instant,
    ) -> Option<(Option<Instant>, Option<Standing>)> {
        let mut x = call.lock();
        if x.is_over() {
            return None;
        }
        if x.cancel_code().is_some() {
            let wakers = x.end_cancelled();
            drop(x);
            wake(wakers);
            return None;
        }
        let connected = self.is_connected();
        x.enter(if connected { Phase::StreamQuota } else { Phase::PoolWait }, now);
        let (wait_for_ready, found) = (x.spec().wait_for_ready, (x.deadline(), Standing::of(&x)));
        drop(x);
        let shut = self.is_shut_down().then(shut_down);
        match shut.or_else(|| self.unreachable(now).filter(|_| !wait_for_ready)) {
            Some(error) => {
                fail(call, error);
                None
            }
            None => Some(found),
        }
    }

    /// Gives free permits to the calls that wait, in order.
    pub(super) fn serve(&self, now: Instant) {
        while !self.queue.is_empty() {
            let (Pick::Permit(permit) | Pick::AboveTarget(permit, _)) = self.pick() else { return };
            let Some(call) = self.queue.pop(now) else { return };
            let began = call.lock().timeline().since();
            self.note_waited(now.saturating_duration_since(began));
            Handle::submit(permit, call);
        }
    }

    /// Serves the calls that wait, and dials if that was not enough.
    pub(super) fn serve_or_grow(&self, now: Instant) {
        self.serve(now);
        if !self.queue.is_empty() {
            self.grow();
        }
    }

    /// Fails the calls that wait and for which `which` holds.
    pub(super) fn fail_waiting(&self, which: impl Fn(&Arc<SharedCall>) -> bool, error: &Error) {
        for call in self.queue.take_if(which) {
            fail(&call, error.clone());
        }
    }

    /// Fails the calls that wait, except those that wait for a connection to become ready.
    pub(super) fn fail_fast(&self, error: &Error) {
        self.fail_waiting(|call| !call.lock().spec().wait_for_ready, error);
    }

    /// Sends a call that the peer definitely did not process to another connection.
    pub(super) fn redispatch(&self, call: Arc<SharedCall>) {
        let (attempts, spare) = {
            let mut x = call.lock();
            x.enter(Phase::PoolWait, rt::now());
            (x.attempts(), x.is_hedge())
        };
        self.counters.note(Count::Moved);
        if attempts >= self.options.attempts {
            let text = format!("{attempts} connections refused the call without acting on it");
            let status = Status::new(Code::Unavailable, text);
            let error = Error::new(Kind::GoAway, status, Initiator::Remote, Processed::No);
            return fail(&call, error);
        }
        if spare {
            return match self.spare(&[]) {
                Some(permit) => Handle::submit(permit, call),
                None => {
                    let text = "no connection has spare capacity for a hedge";
                    fail(&call, Error::local(Kind::GoAway, Code::Unavailable, text));
                }
            };
        }
        // Never written, or once: immediately. More often: after a pause.
        if attempts < 2 {
            return self.submit(call);
        }
        let Some(me) = self.me.upgrade() else { return };
        let pause = self.jitter(Duration::from_millis(25) * (1 << attempts.min(6)), 0.2);
        let mut pausing = Pausing(Some((me, call)));
        rt::spawn(async move {
            rt::sleep(pause).await;
            pausing.end();
        });
    }
}

/// A call that is submitted after a pause. If it is dropped before, as when a runtime ends, the call
/// fails.
struct Pausing(Option<(Arc<Shared>, Arc<SharedCall>)>);

impl Pausing {
    fn end(&mut self) {
        if let Some((shared, call)) = self.0.take() {
            shared.submit(call);
        }
    }
}

impl Drop for Pausing {
    fn drop(&mut self) {
        if let Some((_, call)) = self.0.take() {
            let text = "the runtime on which the call paused has ended";
            fail(&call, Error::local(Kind::Shutdown, Code::Unavailable, text));
        }
    }
}
