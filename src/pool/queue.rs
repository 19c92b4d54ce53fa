//! The queue of calls that wait for a permit: bounded, in FIFO order, and without calls whose deadline
//! cannot be met. Each tenant has a line of its own, and `shares` chooses among them.
//!
//! Protocol, with a loom model: a call that joins tries to get a permit once more afterwards, and the
//! release of a permit serves the queue. So a free permit and a waiting call never both remain.

mod line;
pub(super) mod shares;

use crate::call::state::SharedCall;
use crate::pool::tenant::Standing;
use crate::rt::sync::{AtomicU32, Mutex, Ordering, fence};
use line::Line;
use shares::Shares;
use std::sync::Arc;
use std::time::Instant;

pub(super) use line::Refusal;

/// The queue.
#[derive(Debug)]
pub(super) struct CallQueue {
    most: u32,
    /// Calls that may get a permit.
    count: AtomicU32,
    /// Calls that wait for their tenant's quota.
    blocked: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Calls of no tenant.
    line: Line,
    /// The earliest deadline among those that wait, or earlier.
    next: Option<Instant>,
    /// Most channels have no tenants.
    shares: Option<Box<Shares>>,
}

impl Inner {
    /// Every call that waits.
    fn calls(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        let shares = self.shares.as_deref().into_iter().flat_map(Shares::calls);
        self.line.iter().chain(shares)
    }
}

impl CallQueue {
    pub(super) fn new(most: u32) -> Self {
        let (count, blocked) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { most, count, blocked, inner: Mutex::new(Inner::default()) }
    }

    /// Calls that wait, for a permit or a quota.
    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed) + self.blocked()
    }

    /// Calls that wait for their tenant's quota.
    pub(super) fn blocked(&self) -> u32 {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Whether no call waits for a permit, so that a new call may take one.
    pub(super) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Publishes how many wait; to be called under the lock after every change.
    fn publish(&self, inner: &mut Inner) {
        let mut count = inner.line.len();
        if let Some(shares) = &mut inner.shares {
            shares.set_ready_without_tenant(count);
            count += shares.ready();
            self.blocked.store(shares.waiting() - shares.ready(), Ordering::Relaxed);
        }
        self.count.store(count, Ordering::Relaxed);
    }

    /// Changes the tenants' lines. Code that serves the queue afterwards sees the change.
    pub(super) fn share<T>(&self, f: impl FnOnce(&mut Shares) -> T) -> T {
        let mut inner = self.inner.lock();
        let result = f(inner.shares.get_or_insert_default());
        self.publish(&mut inner);
        drop(inner);
        fence(Ordering::SeqCst);
        result
    }

    /// Whether the channel has, or had, tenants; and what they are.
    pub(super) fn shares<T>(&self, f: impl FnOnce(&Shares) -> T) -> Option<T> {
        self.inner.lock().shares.as_deref().map(f)
    }

    /// Counts a new call of this tenant, if it overtakes no call that waits.
    pub(super) fn admit(&self, tenant: u64) -> bool {
        let mut inner = self.inner.lock();
        let free = self.count.load(Ordering::Relaxed) == 0;
        free && inner.shares.as_mut().is_some_and(|shares| shares.admit(tenant))
    }

    /// The call waits, in its tenant's line if it has a tenant. Returns its deadline if that is now the
    /// earliest one, so that the caller wakes the maintenance task.
    pub(super) fn join(
        &self,
        call: Arc<SharedCall>,
        standing: Option<Standing>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Option<Instant>, (Refusal, Arc<SharedCall>)> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        match (standing, &mut inner.shares) {
            (Some(standing), Some(shares)) => shares.join(call, standing, deadline, now)?,
            _ => inner.line.join(call, self.most, deadline, now)?,
        }
        self.publish(inner);
        let earlier = deadline.filter(|at| inner.next.is_none_or(|next| *at < next));
        if earlier.is_some() {
            inner.next = earlier;
        }
        drop(guard);
        fence(Ordering::SeqCst);
        Ok(earlier)
    }

    /// Takes out the next call that has not ended.
    pub(super) fn pop(&self, now: Instant) -> Option<Arc<SharedCall>> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let call = match &mut inner.shares {
            Some(shares) => shares.pop(&mut inner.line, now),
            None => inner.line.pop(now),
        };
        self.publish(inner);
        let left = self.len();
        if left == 0 {
            inner.next = None;
        }
        call
    }

    /// Shows every call that waits.
    pub(super) fn each(&self, f: impl Fn(&SharedCall)) {
        self.inner.lock().calls().for_each(|call| f(call));
    }

    /// A call, of a tenant or of none, was given up.
    pub(super) fn forget(&self, call: &Arc<SharedCall>, tenant: Option<u64>) {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        match (tenant, &mut inner.shares) {
            (Some(tenant), Some(shares)) => shares.forget(call, tenant),
            _ => _ = inner.line.remove(call),
        }
        self.publish(inner);
    }

    /// Takes those out for which `which` holds.
    pub(super) fn take_if(&self, which: impl Fn(&Arc<SharedCall>) -> bool) -> Vec<Arc<SharedCall>> {
        let mut inner = self.inner.lock();
        let mut taken = Vec::new();
        inner.line.take_if(&which, &mut taken);
        if let Some(shares) = &mut inner.shares {
            shares.take_if(&which, &mut taken);
        }
        self.publish(&mut inner);
        taken
    }

    /// Those whose deadline has passed; and when the next one does.
    pub(super) fn expire(&self, now: Instant) -> (Vec<Arc<SharedCall>>, Option<Instant>) {
        {
            let inner = self.inner.lock();
            if inner.next.is_none_or(|next| next > now) {
                return (Vec::new(), inner.next);
            }
        }
        let late = self.take_if(|call| call.lock().deadline().is_some_and(|at| at <= now));
        let mut inner = self.inner.lock();
        inner.next = inner.calls().filter_map(|call| call.lock().deadline()).min();
        (late, inner.next)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::state::CallSpec;
    use crate::pool::queue::*;
    use std::time::Duration;

    fn call(now: Instant, deadline: Option<Duration>) -> Arc<SharedCall> {
        let call = SharedCall::new(now);
        let deadline = deadline.map(|time| now + time);
        call.lock().prepare(CallSpec { deadline, ..CallSpec::default() });
        call
    }

    /// What ended without a permit leaves no rate behind: a pause is no service time.
    #[test]
    fn a_line_that_was_emptied_forgets_its_rate() {
        let now = Instant::now();
        let after = |ms| now + Duration::from_millis(ms);
        let queue = CallQueue::new(9);
        let join = |deadline: Option<Duration>, at| {
            let call = call(at, deadline);
            let deadline = deadline.map(|time| at + time);
            queue.join(Arc::clone(&call), None, deadline, at).map(|_| call).map_err(|_| ())
        };
        for _ in 0..2 {
            join(None, now).unwrap();
        }
        let last = join(None, now).unwrap();
        assert!(queue.pop(now).is_some() && queue.pop(after(10)).is_some());
        queue.forget(&last, None);
        for _ in 0..3 {
            join(None, after(600_000)).unwrap();
        }
        assert!(queue.pop(after(600_000)).is_some());
        assert!(
            join(Some(Duration::from_secs(1)), after(600_000)).is_ok(),
            "it need not wait long"
        );
    }

    #[test]
    fn first_come_first_served_and_bounded() {
        let now = Instant::now();
        let queue = CallQueue::new(2);
        let calls: Vec<_> = (0..3).map(|_| call(now, None)).collect();
        assert!(queue.join(calls[0].clone(), None, None, now).is_ok());
        assert!(queue.join(calls[1].clone(), None, None, now).is_ok());
        let refused = queue.join(calls[2].clone(), None, None, now).unwrap_err();
        assert_eq!(refused.0, Refusal::Full(2));
        assert!(Arc::ptr_eq(&queue.pop(now).unwrap(), &calls[0]));
        assert_eq!(queue.len(), 1);
        queue.forget(&calls[1], None);
        assert!(queue.is_empty() && queue.pop(now).is_none());
    }

    #[test]
    fn a_hopeless_call_is_told_at_once() {
        let mut now = Instant::now();
        let queue = CallQueue::new(100);
        for _ in 0..20 {
            assert!(queue.join(call(now, None), None, None, now).is_ok());
        }
        // Nothing is known yet of how fast the queue moves.
        let second = Some(now + Duration::from_secs(1));
        assert!(queue.join(call(now, Some(Duration::from_secs(1))), None, second, now).is_ok());
        for _ in 0..10 {
            now += Duration::from_millis(200);
            assert!(queue.pop(now).is_some());
        }
        // Eleven wait, 200 ms each.
        let wait = |millis| {
            let deadline = now + Duration::from_millis(millis);
            queue.join(call(now, Some(Duration::from_millis(millis))), None, Some(deadline), now)
        };
        match wait(2000) {
            Err((Refusal::Hopeless { before: 11, wait }, _)) => {
                assert_eq!(wait, Duration::from_millis(2200));
            }
            other => panic!("{other:?}"),
        }
        assert!(wait(2300).is_ok());
    }

    #[test]
    fn deadlines_are_known_in_order() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let queue = CallQueue::new(100);
        for (time, first) in [(50, true), (70, false), (20, true), (30, false)] {
            let deadline = Some(now + ms(time));
            let told = queue.join(call(now, Some(ms(time))), None, deadline, now).unwrap();
            assert_eq!(told, deadline.filter(|_| first));
        }
        let (late, next) = queue.expire(now + ms(10));
        assert_eq!((late.len(), next), (0, Some(now + ms(20))));
        let (late, next) = queue.expire(now + ms(30));
        assert_eq!((late.len(), next), (2, Some(now + ms(50))));
        assert_eq!(queue.len(), 2);
    }
}

#[cfg(all(test, framewire_loom))]
mod loom_models {
    use crate::connection::permits::PermitCounter;
    use crate::pool::queue::*;
    use loom::sync::Arc as Shared;
    use loom::thread;

    /// waiter/hand-over: a permit that is released and a call that joins never both remain.
    #[test]
    fn loom_waiter_hand_over() {
        let now = Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let life = Shared::new(PermitCounter::new());
            let queue = Shared::new(CallQueue::new(10));
            assert!(life.reserve(1).is_ok(), "the only permit is taken");
            // As the pool serves: a permit first, then the call that gets it.
            let serve = move |life: &PermitCounter, queue: &CallQueue| {
                if queue.is_empty() || life.reserve(1).is_err() {
                    return false;
                }
                if queue.pop(now).is_some() {
                    return true;
                }
                life.release();
                false
            };
            let releaser = {
                let (life, queue) = (Shared::clone(&life), Shared::clone(&queue));
                thread::spawn(move || {
                    life.release();
                    serve(&life, &queue)
                })
            };
            assert!(queue.join(SharedCall::new(now), None, None, now).is_ok());
            let mine = serve(&life, &queue);
            let theirs = releaser.join().unwrap();
            assert!(mine || theirs, "the call waits beside a free permit");
            assert!(!(mine && theirs), "one call, one permit");
            assert_eq!(queue.len(), 0);
            assert_eq!(life.read().calls, 1);
        });
    }
}
