//! The queue of calls that wait for a permit: bounded and in FIFO order. Each tenant has a line of its
//! own, and `shares` chooses among them. Calls that a peer refuses wait apart (`refused`).
//!
//! Protocol, with a loom model: a call that joins tries to get a permit once more afterwards, and the
//! release of a permit serves the queue. So a free permit and a waiting call never both remain.

mod line;
mod refused;
pub(super) mod shares;

use crate::call::state::SharedCall;
use crate::pool::tenant::Standing;
use crate::rt::sync::{AtomicU32, Mutex, Ordering, fence};
use line::Line;
use refused::RefusedCalls;
use shares::Shares;
use std::sync::Arc;
use std::time::Instant;

pub(super) use line::{Arrival, Full};

/// The queue.
#[derive(Debug)]
pub(super) struct CallQueue {
    most: u32,
    /// Calls that may get a permit.
    count: AtomicU32,
    /// Calls that wait for their tenant's quota.
    blocked: AtomicU32,
    /// Calls that wait for a connection that refused them.
    refused: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Calls of no tenant.
    line: Line,
    refused: RefusedCalls,
    /// The earliest deadline among those that wait, or earlier.
    next: Option<Instant>,
    /// Most channels have no tenants.
    shares: Option<Box<Shares>>,
}

impl Inner {
    /// Every call that waits.
    fn calls(&self) -> impl Iterator<Item = &Arc<SharedCall>> {
        let shares = self.shares.as_deref().into_iter().flat_map(Shares::calls);
        self.line.iter().chain(self.refused.iter()).chain(shares)
    }

    /// A call with this deadline waits. Returns it if it is the earliest now.
    fn note_deadline(&mut self, deadline: Option<Instant>) -> Option<Instant> {
        let earlier = deadline.filter(|at| self.next.is_none_or(|next| *at < next));
        self.next = earlier.or(self.next);
        earlier
    }
}

impl CallQueue {
    pub(super) fn new(most: u32) -> Self {
        let [count, blocked, refused] = std::array::from_fn(|_| AtomicU32::new(0));
        Self { most, count, blocked, refused, inner: Mutex::new(Inner::default()) }
    }

    /// Calls that wait, whatever for.
    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed) + self.blocked() + self.refused.load(Ordering::Relaxed)
    }

    /// Calls that wait for their tenant's quota.
    pub(super) fn blocked(&self) -> u32 {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Calls that wait for the connection that refused them, or for another one.
    pub(super) fn refused(&self) -> u32 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether no call waits for a permit, so that a new call may take one.
    pub(super) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether a released permit is of no use to a call that waits.
    pub(super) fn needs_no_permit(&self) -> bool {
        self.is_empty() && self.refused.load(Ordering::Relaxed) == 0
    }

    /// Publishes how many wait; to be called under the lock after every change.
    fn publish(&self, inner: &mut Inner) {
        let mut count = inner.line.len();
        if let Some(shares) = &mut inner.shares {
            shares.set_ready_without_tenant(count);
            count += shares.ready();
            self.blocked.store(shares.waiting() - shares.ready(), Ordering::Relaxed);
        }
        self.refused.store(inner.refused.len(), Ordering::Relaxed);
        self.count.store(count, Ordering::Relaxed);
        // Counted with those that no permit serves.
        #[expect(clippy::len_zero, reason = "is_empty does not count all of them")]
        if self.len() == 0 {
            inner.next = None;
        }
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
        arrival: Arrival,
        standing: Option<Standing>,
        deadline: Option<Instant>,
    ) -> Result<Option<Instant>, (Full, Arc<SharedCall>)> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        match (standing, &mut inner.shares) {
            (Some(standing), Some(shares)) => shares.join(call, standing)?,
            _ => inner.line.join(call, arrival, self.most)?,
        }
        let earlier = inner.note_deadline(deadline);
        self.publish(inner);
        drop(guard);
        fence(Ordering::SeqCst);
        Ok(earlier)
    }

    /// The call waits for the connection that refused it, within the bound. As [`CallQueue::join`].
    pub(super) fn join_refused(
        &self,
        call: Arc<SharedCall>,
        connection: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<Instant>, (Full, Arc<SharedCall>)> {
        let of_tenant = call.lock().tenant().is_some();
        let mut inner = self.inner.lock();
        // Calls of tenants have bounds of their own: their number in flight holds for refused ones, too.
        let waiting = inner.line.len() + inner.refused.len();
        if !of_tenant && waiting >= self.most {
            return Err((Full(waiting), call));
        }
        inner.refused.push(connection, call);
        let earlier = inner.note_deadline(deadline);
        self.publish(&mut inner);
        drop(inner);
        fence(Ordering::SeqCst);
        Ok(earlier)
    }

    /// The connections that have refused calls that wait.
    pub(super) fn refusers(&self) -> Vec<u64> {
        fence(Ordering::SeqCst);
        if self.refused.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.inner.lock().refused.connections()
    }

    /// Whether a call waits for this connection, which refused it.
    pub(super) fn has_refused(&self, connection: u64) -> bool {
        fence(Ordering::SeqCst);
        self.refused.load(Ordering::Relaxed) > 0 && self.inner.lock().refused.has(connection)
    }

    /// Takes out the next call that waits for this connection.
    pub(super) fn pop_refused(&self, connection: u64) -> Option<Arc<SharedCall>> {
        // A call's drop runs code of its user, without the lock.
        let mut over = Vec::new();
        let mut inner = self.inner.lock();
        let call = inner.refused.pop(connection, &mut over);
        self.publish(&mut inner);
        drop(inner);
        call
    }

    /// Takes out all calls that wait for this connection.
    pub(super) fn take_refused(&self, connection: u64) -> Vec<Arc<SharedCall>> {
        let mut taken = Vec::new();
        fence(Ordering::SeqCst);
        if self.refused.load(Ordering::Relaxed) > 0 {
            let mut inner = self.inner.lock();
            inner.refused.take_if(|of, _| of == connection, &mut taken);
            self.publish(&mut inner);
        }
        taken
    }

    /// Takes out the next call that has not ended.
    pub(super) fn pop(&self) -> Option<Arc<SharedCall>> {
        // A call's drop runs code of its user, without the lock.
        let mut over = Vec::new();
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let call = match &mut inner.shares {
            Some(shares) => shares.pop(&mut inner.line, &mut over),
            None => inner.line.pop(&mut over),
        };
        self.publish(inner);
        drop(guard);
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
        inner.refused.remove(call);
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
        inner.refused.take_if(|_, call| which(call), &mut taken);
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

    #[test]
    fn first_come_first_served_and_bounded() {
        let now = Instant::now();
        let queue = CallQueue::new(2);
        let calls: Vec<_> = (0..3).map(|_| call(now, None)).collect();
        assert!(queue.join(calls[0].clone(), Arrival::New, None, None).is_ok());
        assert!(queue.join(calls[1].clone(), Arrival::New, None, None).is_ok());
        let refused = queue.join(calls[2].clone(), Arrival::New, None, None).unwrap_err();
        assert_eq!(refused.0, Full(2));
        assert!(Arc::ptr_eq(&queue.pop().unwrap(), &calls[0]));
        assert_eq!(queue.len(), 1);
        queue.forget(&calls[1], None);
        assert!(queue.is_empty() && queue.pop().is_none());
    }

    /// What a connection returned goes first, in its order, and is not refused for want of space.
    #[test]
    fn returned_calls_go_first_and_have_no_bound() {
        let now = Instant::now();
        let queue = CallQueue::new(2);
        let calls: Vec<_> = (0..5).map(|_| call(now, None)).collect();
        let join = |at: usize, arrival| queue.join(calls[at].clone(), arrival, None, None);
        assert!(join(0, Arrival::New).is_ok() && join(1, Arrival::New).is_ok());
        assert!(join(2, Arrival::Returned).is_ok() && join(3, Arrival::Returned).is_ok());
        assert_eq!(join(4, Arrival::New).unwrap_err().0, Full(4));
        for at in [2, 3, 0, 1] {
            assert!(Arc::ptr_eq(&queue.pop().unwrap(), &calls[at]));
        }
        assert!(queue.pop().is_none());
    }

    /// What a peer refused waits for that connection alone, counts for the bound, and has its deadline.
    #[test]
    fn refused_calls_wait_for_their_connection() {
        let now = Instant::now();
        let queue = CallQueue::new(3);
        let calls: Vec<_> = (0..4).map(|_| call(now, Some(Duration::from_millis(50)))).collect();
        let at = Some(now + Duration::from_millis(50));
        let join = |i: usize, connection| queue.join_refused(calls[i].clone(), connection, at);
        assert_eq!(join(0, 7).unwrap(), at);
        assert!(join(1, 8).is_ok() && join(2, 7).is_ok());
        assert_eq!(join(3, 8).unwrap_err().0, Full(3));
        assert_eq!(queue.len(), 3);
        assert!(queue.is_empty() && queue.pop().is_none(), "no permit serves them");
        assert!(queue.has_refused(7) && !queue.has_refused(9) && !queue.needs_no_permit());
        assert!(Arc::ptr_eq(&queue.pop_refused(7).unwrap(), &calls[0]));
        queue.forget(&calls[2], None);
        assert!(queue.pop_refused(7).is_none() && queue.take_refused(7).is_empty());
        let (late, next) = queue.expire(now + Duration::from_millis(50));
        assert!(late.len() == 1 && Arc::ptr_eq(&late[0], &calls[1]) && next.is_none());
        assert!(queue.needs_no_permit());
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn deadlines_are_known_in_order() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let queue = CallQueue::new(100);
        for (time, first) in [(50, true), (70, false), (20, true), (30, false)] {
            let deadline = Some(now + ms(time));
            let told = queue.join(call(now, Some(ms(time))), Arrival::New, None, deadline).unwrap();
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
                if queue.pop().is_some() {
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
            assert!(queue.join(SharedCall::new(now), Arrival::New, None, None).is_ok());
            let mine = serve(&life, &queue);
            let theirs = releaser.join().unwrap();
            assert!(mine || theirs, "the call waits beside a free permit");
            assert!(!(mine && theirs), "one call, one permit");
            assert_eq!(queue.len(), 0);
            assert_eq!(life.read().calls, 1);
        });
    }
}
