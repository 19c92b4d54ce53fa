//! The way of a call through the pool: it gets a permit, or waits in the queue until one is free, or
//! fails. A call that comes back from a connection takes the same way again.

use crate::call::Permit;
use crate::call::state::SharedCall;
use crate::call::state::ending::wake;
use crate::connection::handle::{Handle, Refusal};
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::http2::ErrorCode;
use crate::pool::counters::Count;
use crate::pool::picker::{Candidate, Pick};
use crate::pool::queue::{Arrival, Full};
use crate::pool::tenant::Standing;
use crate::pool::{Pool, Shared, fail, outside, shut_down};
use crate::rt;
use std::sync::Arc;
use std::time::Instant;

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
        self.submit_as(call, Arrival::New);
    }

    #[inline]
    fn submit_as(&self, call: Arc<SharedCall>, arrival: Arrival) {
        // A call never overtakes those that wait.
        match if self.queue.is_empty() { self.pick() } else { Pick::Full } {
            Pick::Permit(permit) => Handle::submit(permit, call),
            Pick::AboveTarget(permit, subchannel) => {
                Handle::submit(permit, call);
                if subchannel.stays_above_target() {
                    self.start_dial(&subchannel);
                }
            }
            Pick::Full | Pick::None => self.enqueue(call, arrival),
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
    pub(super) fn enqueue(&self, call: Arc<SharedCall>, arrival: Arrival) {
        let now = rt::now();
        let Some((deadline, standing)) = self.begin_wait(&call, now) else { return };
        let joined = self.queue.join(Arc::clone(&call), arrival, standing, deadline);
        if !self.joined(&call, joined) {
            return;
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

    /// A call waits, with its deadline if that is the earliest; or the queue is full, and the call ends.
    fn joined(
        &self,
        call: &Arc<SharedCall>,
        joined: Result<Option<Instant>, (Full, Arc<SharedCall>)>,
    ) -> bool {
        match joined {
            Ok(earliest) => {
                let x = call.lock();
                let (over, tenant) = (x.is_over(), x.tenant().map(|permit| permit.quota().id()));
                drop(x);
                // A caller that cancelled meanwhile did not find it in the queue.
                if over {
                    self.queue.forget(call, tenant);
                }
                if let Err(reason) = self.maintain() {
                    // Calls of other threads have a runtime.
                    self.fail_waiting(|waiting| Arc::ptr_eq(waiting, call), &outside(reason));
                }
                if earliest.is_some() {
                    self.maintenance.notify_one();
                }
                true
            }
            Err((full, call)) => {
                self.counters.note(Count::RefusedFull);
                // The call keeps its tenant: a retry policy may submit it again.
                let label = call.lock().tenant().map(|permit| permit.quota().label().to_owned());
                fail(&call, full.error(label.as_deref()));
                false
            }
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
        x.begin_wait(if connected { Phase::StreamQuota } else { Phase::PoolWait }, now);
        let (wait_for_ready, found) = (x.spec().wait_for_ready, (x.deadline(), Standing::of(&x)));
        drop(x);
        let shut = self.is_shut_down().then(shut_down);
        match shut.or_else(|| self.unreachable().filter(|_| !wait_for_ready)) {
            Some(error) => {
                fail(call, error);
                // Dials go on, on this call's runtime if that of the last one has ended.
                self.grow();
                None
            }
            None => Some(found),
        }
    }

    /// Gives free permits to the calls that wait, in order.
    pub(super) fn serve(&self, now: Instant) {
        while !self.queue.is_empty() {
            let (Pick::Permit(permit) | Pick::AboveTarget(permit, _)) = self.pick() else { return };
            let Some(call) = self.queue.pop() else { return };
            self.give(permit, call, now);
        }
        self.serve_refused_elsewhere(now);
    }

    /// Gives capacity that nobody else waits for to calls that another connection has refused.
    fn serve_refused_elsewhere(&self, now: Instant) {
        // All connections of the refuser's endpoint lead to one server: an idle one tries one call.
        for refuser in self.queue.refusers() {
            while self.queue.has_refused(refuser) {
                let permit = self.picker.elsewhere(refuser);
                let permit = permit.or_else(|| self.picker.beside(refuser));
                let Some(permit) = permit else { break };
                let Some(call) = self.queue.pop_refused(refuser) else { break };
                self.give(permit, call, now);
            }
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

    /// Sends a call that was never written, or that the peer left unprocessed, to another connection:
    /// immediately, and however often that happens.
    pub(super) fn redispatch(&self, call: Arc<SharedCall>) {
        let spare = {
            let mut x = call.lock();
            x.enter(Phase::PoolWait, rt::now());
            x.is_hedge()
        };
        self.counters.note(Count::Moved);
        if !spare {
            return self.submit_as(call, Arrival::Returned);
        }
        match self.spare(&[]) {
            Some(permit) => Handle::submit(permit, call),
            None => {
                let text = "no connection has spare capacity for a hedge";
                fail(&call, Error::local(Kind::Limit, Code::Unavailable, text));
            }
        }
    }

    /// Sends a call whose stream the peer refused again: on another endpoint that has capacity, else the
    /// first time immediately, later once a call on that connection has ended or its limit has risen. With
    /// nothing in flight there, or too many refusals, it fails.
    // gRFC A6: one transparent retry of a call that the peer's library refused
    pub(super) fn refused(&self, handle: &Arc<Handle>, call: Arc<SharedCall>, refusal: Refusal) {
        let Refusal { times, alone, permit } = refusal;
        if alone {
            // No end of a call could change the peer's mind. What it has taught is void.
            for waiting in self.queue.take_refused(handle.id()) {
                fail(&waiting, refused_by_peer(handle, &waiting));
            }
            handle.forget_learned();
        }
        drop(permit);
        if times >= self.options.attempts {
            fail(&call, refused_by_peer(handle, &call));
        } else if let Some(permit) = self.elsewhere(handle, &call) {
            self.counters.note(Count::Moved);
            Handle::submit(permit, call);
        } else if times > 1 && alone {
            fail(&call, refused_by_peer(handle, &call));
        } else if times > 1 && !call.lock().is_hedge() {
            self.wait_for_refuser(handle, call);
        } else {
            self.redispatch(call);
        }
        if alone {
            self.serve_or_grow(rt::now());
        }
    }

    /// Returns a permit of another endpoint for a call that this one has refused. Calls that wait go first.
    fn elsewhere(&self, handle: &Handle, call: &SharedCall) -> Option<Permit> {
        let mut x = call.lock();
        // A hedge is moved by its own rule.
        if x.is_hedge() || !self.queue.is_empty() || self.is_shut_down() {
            return None;
        }
        x.enter(Phase::PoolWait, rt::now());
        drop(x);
        self.picker.elsewhere(handle.id())
    }

    /// The call waits until a connection can carry it: that which refused it, or another one.
    fn wait_for_refuser(&self, handle: &Arc<Handle>, call: Arc<SharedCall>) {
        self.counters.note(Count::Moved);
        let Some((deadline, _)) = self.begin_wait(&call, rt::now()) else { return };
        let joined = self.queue.join_refused(Arc::clone(&call), handle.id(), deadline);
        if !self.joined(&call, joined) {
            return;
        }
        // What has ended since the refusal would serve nobody.
        if handle.is_accepting() {
            self.serve_refused(handle);
        } else {
            self.release_refused(handle);
        }
        self.serve_refused_elsewhere(rt::now());
        if self.is_shut_down() {
            self.fail_waiting(|_| true, &shut_down());
        }
    }

    /// Gives free permits of a connection to the calls that it refused.
    pub(super) fn serve_refused(&self, handle: &Arc<Handle>) {
        while self.queue.has_refused(handle.id()) {
            let Ok(permit) = handle.reserve() else { return };
            let Some(call) = self.queue.pop_refused(handle.id()) else { return };
            self.give(permit, call, rt::now());
        }
    }

    /// Where calls wait, what refusals have taught holds for some time only, even if no call ends there: each
    /// time one connection more is dialled; once there may be none, one call more is tried.
    pub(super) fn doubt_refusals(&self, now: Instant) {
        if self.queue.needs_no_permit() {
            return;
        }
        for Candidate { subchannel, .. } in self.candidates().iter() {
            let mut learned = subchannel.connections();
            learned.retain(|one| one.has_learned());
            if learned.is_empty() || self.dial_for_calls(subchannel) {
                continue;
            }
            for connection in learned.iter().filter(|one| one.doubt_learned(now)) {
                // New calls first: those that were refused have fewer tries left.
                self.serve(now);
                self.serve_refused(connection);
            }
        }
    }

    /// Hands a call that has left the queue to the connection of this permit.
    fn give(&self, permit: Permit, call: Arc<SharedCall>, now: Instant) {
        let waited = call.lock().end_wait(now);
        self.note_waited(waited);
        Handle::submit(permit, call);
    }

    /// The connection takes no more calls: those that it refused go elsewhere.
    pub(super) fn release_refused(&self, handle: &Handle) {
        for call in self.queue.take_refused(handle.id()) {
            self.submit_as(call, Arrival::Returned);
        }
    }
}

/// Returns the error of a call that the peer has refused too often.
fn refused_by_peer(handle: &Handle, call: &SharedCall) -> Error {
    let times = call.lock().refusals();
    let text = format!(
        "the peer refused the call with REFUSED_STREAM, {times} times, and did not act on it"
    );
    let status = Status::new(Code::Unavailable, text);
    Error::new(Kind::Reset, status, Initiator::Remote, Processed::No)
        .with_h2_code(ErrorCode::REFUSED_STREAM)
        .with_connection(handle.facts(rt::now()))
}
