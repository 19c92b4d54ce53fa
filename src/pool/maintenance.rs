//! The maintenance task of a pool. It does what only time causes: deadlines of calls that wait, idle
//! and old connections, the minimum of connections, postponed resolutions, and once a second the
//! measurements of `observer`. It runs while there is something to look after.

use crate::call::deadline::deadline_error;
use crate::call::state::SharedCall;
use crate::error::{Error, Initiator, Kind, Phase, Processed};
use crate::grpc::status::{Code, Status};
use crate::pool::cap::Capped;
use crate::pool::counters::Count;
use crate::pool::observer::Observer;
use crate::pool::subchannel::Limits;
use crate::pool::tenant::deadline_error_of_line;
use crate::pool::{Pool, Shared, connect_phase, fail};
use crate::rt;
use crate::rt::executor::NoRuntime;
use crate::rt::sync::{AtomicBool, Ordering, fence};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// Idle time after which an old connection is closed without a replacement. A quarter of `max_age` if
/// that is shorter; otherwise connections of a channel without calls would replace each other.
const OLD_IDLE: Duration = Duration::from_secs(1);

/// Whether a pool's one maintenance task runs.
#[derive(Debug)]
pub(super) struct Running(AtomicBool);

impl Running {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(super) fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Returns whether the caller starts the task.
    pub(super) fn start(&self) -> bool {
        !self.0.load(Ordering::Acquire) && !self.0.swap(true, Ordering::AcqRel)
    }

    /// The task was dropped.
    pub(super) fn stop(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// The task has found nothing to do. Returns whether it ends: nothing has come meanwhile, or another
    /// one runs.
    pub(super) fn end(&self, needed: impl FnOnce() -> bool) -> bool {
        self.stop();
        // Either this thread sees what is new, or its owner sees that no task runs.
        fence(Ordering::SeqCst);
        !needed() || self.0.swap(true, Ordering::AcqRel)
    }
}

impl Shared {
    /// Starts the maintenance task if it does not run.
    ///
    /// # Errors
    /// There is no runtime for it here, and it does not run elsewhere.
    pub(super) fn maintain(&self) -> Result<(), NoRuntime> {
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        if self.maintained.is_running() {
            return Ok(());
        }
        let runtime = self.options.executor.runtime()?;
        if self.maintained.start() {
            drop(runtime.spawn(run(Task { shared: me, over: false })));
        }
        Ok(())
    }

    fn needs_maintenance(&self) -> bool {
        let calls = !self.queue.needs_no_permit() || self.queue.blocked() > 0;
        let dialing =
            || self.candidates().iter().any(|one| one.subchannel.lifecycle().is_dialing());
        let resolving = || self.resolving.lock().goes_on(self.options.idle_time, rt::now());
        let busy = calls
            || self.min_connections() > 0
            || !self.live.lock().is_empty()
            || dialing()
            || resolving();
        busy && !self.is_shut_down()
    }

    /// Fails the calls whose deadline passed in the queue; returns the next deadline.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let (expired, next) = self.queue.expire(now);
        if expired.is_empty() {
            return next;
        }
        for call in expired {
            let error = self.deadline_error(&call);
            self.counters.note(Count::Expired);
            fail(&call, error);
        }
        next
    }

    /// Returns the error of a call whose deadline passed while it had no connection: with the step of the
    /// dial that it waited for, and why the last one failed.
    pub(super) fn deadline_error(&self, call: &SharedCall) -> Error {
        let phase = call.lock().timeline().phase();
        let phase = self.dial_phase().filter(|_| phase == Phase::PoolWait).unwrap_or(phase);
        let with = |why: &str| {
            let status = Status::new(Code::DeadlineExceeded, format!("the deadline passed; {why}"));
            Error::new(Kind::Deadline, status, Initiator::Local, Processed::No)
        };
        let refused = call.lock().refusals();
        let error = match (self.last_failure(), self.capped()) {
            (None, None) if refused > 0 => with(&format!(
                "the peer refused the call {refused} times (REFUSED_STREAM), and no capacity was found since"
            )),
            (_, Some(capped)) => with(&format!("no dial could begin: {capped}")),
            (None, None) => deadline_error(Processed::No),
            (Some(last), None) => {
                with(&format!("the last dial failed: {}", last.status().message()))
                    .with_source(Arc::new(last))
            }
        };
        deadline_error_of_line(call, error.with_phase(phase))
    }

    /// Why no dial may begin, if there is no connection and the cap delays every dial.
    fn capped(&self) -> Option<Capped> {
        if self.is_connected() {
            return None;
        }
        let candidates = self.candidates();
        let began = candidates.iter().any(|one| one.subchannel.lifecycle().dial_began().is_some());
        let mut dials = candidates.iter().map(|one| one.subchannel.lifecycle().capped());
        dials.find_map(|capped| capped.filter(|_| !began))
    }

    /// Why no connection is there: the last dial, or the last look-up of the name, failed.
    fn last_failure(&self) -> Option<Error> {
        if self.is_connected() {
            return None;
        }
        let candidates = self.candidates();
        let mut dials = candidates.iter().map(|one| one.subchannel.lifecycle());
        let last = dials.find_map(|lifecycle| lifecycle.backoff().error().cloned());
        last.or_else(|| self.resolving.lock().error().cloned())
    }

    /// The step of the dial that calls wait for, while no connection is ready.
    fn dial_phase(&self) -> Option<Phase> {
        let candidates = self.candidates();
        if candidates.is_empty() && self.resolving.lock().is_asked() {
            return Some(Phase::Resolve);
        }
        let dials = candidates.iter().map(|one| &one.subchannel);
        let dials = dials.filter(|one| one.lifecycle().dial_began().is_some());
        let last = dials.map(|one| one.progress.phase()).max_by_key(|phase| *phase as u8);
        last.filter(|_| !self.is_connected()).map(connect_phase)
    }

    /// Closes idle and old connections and dials missing ones; returns when to look again.
    fn inspect(&self, now: Instant) -> Option<Instant> {
        let options = &self.options;
        let limits = Limits {
            min: self.min_connections(),
            idle: [options.idle_time, options.shrink_after].map(|time| self.idle_limit(time, now)),
            old_idle: options.max_age.map_or(OLD_IDLE, |age| OLD_IDLE.min(age / 4)),
            retry: options.dial_time.min(Duration::from_secs(1)),
        };
        let mut next: Option<Instant> = None;
        for candidate in self.candidates().iter() {
            let subchannel = &candidate.subchannel;
            let is_outdated = |handle: &_| self.is_outdated(handle);
            let found = subchannel.lifecycle().inspect(&limits, is_outdated, now);
            next = next.into_iter().chain(found.again).min();
            if !found.close.is_empty() {
                self.publish();
            }
            for (connection, count) in found.close {
                crate::rt::log!(debug, connection = connection.id(), reason = ?count, "closed: idle or old");
                count.into_iter().for_each(|count| self.counters.note(count));
                connection.goodbye();
            }
            if self.needs_connection(subchannel) {
                self.start_dial(subchannel);
            }
        }
        if self.cap.is_short() {
            // What was to be kept open may no longer be.
            self.give_way(now);
        }
        // The task of the dial that calls wait for may have ended with its runtime.
        if !self.queue.is_empty() {
            self.grow();
        }
        next
    }
}

impl Pool {
    /// Returns the runtime on which tasks that begin now run.
    ///
    /// # Errors
    /// There is none, or it has no timer.
    pub(crate) fn runtime(&self) -> Result<Handle, Error> {
        self.shared.options.executor.runtime().map_err(outside)
    }
}

/// Returns the error of calls that were made where no task can run.
pub(crate) fn outside(reason: NoRuntime) -> Error {
    if reason == NoRuntime::Ended {
        let text = "the runtime to which the channel is bound has ended";
        return Error::local(Kind::Shutdown, Code::Unavailable, text);
    }
    let text = format!(
        "{reason}; make calls in one, or bind the channel to one (ChannelBuilder::executor)"
    );
    Error::local(Kind::Misuse, Code::Internal, text)
}

/// The task at work. If it is dropped before its end, as when a runtime ends, the calls that wait
/// fail.
struct Task {
    shared: Arc<Shared>,
    over: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.over {
            self.shared.maintained.stop();
            let text = "the runtime on which the channel waited has ended";
            let error = Error::local(Kind::Shutdown, Code::Unavailable, text);
            self.shared.fail_waiting(|_| true, &error);
            // Who warms up starts the task anew, on a runtime that lives. It may have looked before the stop.
            self.shared.changes.send_replace(());
        }
    }
}

async fn run(mut task: Task) {
    let shared = Arc::clone(&task.shared);
    let mut observer = Box::new(Observer::new(&shared, rt::now()));
    loop {
        let now = rt::now();
        let deadline = shared.expire(now);
        let connections = shared.inspect(now);
        let watch = observer.look(&shared, now);
        shared.grow_for_tenants();
        if !shared.needs_maintenance() {
            if shared.maintained.end(|| shared.needs_maintenance()) {
                task.over = true;
                shared.publish_metrics();
                return;
            }
            continue;
        }
        let resolve = shared.resolve_postponed(now);
        let next = [deadline, connections, Some(watch), resolve].into_iter().flatten().min();
        tokio::select! {
            biased;
            () = shared.maintenance.notified() => {}
            () = async {
                match next {
                    Some(at) => rt::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }
}
