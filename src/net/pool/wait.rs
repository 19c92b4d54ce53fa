//! Calls that wait for a place: first come, first served; bounded; told at once when their
//! deadline cannot be met.
//!
//! Protocol, with a loom model: a call that joins looks for a place once more afterwards, and who
//! gives a place back looks for calls that wait. So a place and a call never both stay.

use crate::net::slot::Slot;
use crate::net::sync::{AtomicU32, Mutex, Ordering, fence};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a call does not join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// As many as allowed wait already.
    Full(u32),
    /// So many wait before it that its deadline passes first.
    Hopeless { before: u32, wait: Duration },
}

/// The queue.
#[derive(Debug)]
pub(super) struct WaitQueue {
    most: u32,
    count: AtomicU32,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: VecDeque<Arc<Slot>>,
    /// When the last call left the queue for a connection, while others waited.
    last: Option<Instant>,
    /// Smoothed time between two of them.
    interval: Option<Duration>,
    /// The earliest deadline among those that wait, or earlier.
    next: Option<Instant>,
}

impl WaitQueue {
    pub(super) fn new(most: u32) -> Self {
        Self { most, count: AtomicU32::new(0), inner: Mutex::new(Inner::default()) }
    }

    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether a place that is free may be given to a newcomer, or to anybody at all.
    pub(super) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::Relaxed) == 0
    }

    /// The call waits; the earliest deadline when it is this call's.
    pub(super) fn join(
        &self,
        slot: Arc<Slot>,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Result<Option<Instant>, (Refusal, Arc<Slot>)> {
        let mut inner = self.inner.lock();
        let before = inner.slots.len() as u32;
        if before >= self.most {
            return Err((Refusal::Full(before), slot));
        }
        if let (Some(deadline), Some(interval)) = (deadline, inner.interval) {
            let wait = interval.saturating_mul(before);
            if now + wait > deadline {
                return Err((Refusal::Hopeless { before, wait }, slot));
            }
        }
        inner.slots.push_back(slot);
        self.count.store(before + 1, Ordering::Relaxed);
        let earlier = deadline.filter(|at| inner.next.is_none_or(|next| *at < next));
        if earlier.is_some() {
            inner.next = earlier;
        }
        drop(inner);
        fence(Ordering::SeqCst);
        Ok(earlier)
    }

    /// The call that has waited longest and still wants a place.
    pub(super) fn pop(&self, now: Instant) -> Option<Arc<Slot>> {
        let mut inner = self.inner.lock();
        while let Some(slot) = inner.slots.pop_front() {
            if slot.lock().done {
                continue;
            }
            let left = inner.slots.len() as u32;
            self.count.store(left, Ordering::Relaxed);
            let passed = inner.last.map(|last| now.saturating_duration_since(last));
            inner.last = (left > 0).then_some(now);
            if let Some(passed) = passed {
                let smooth = |old: Duration| (old * 7 + passed) / 8;
                inner.interval = Some(inner.interval.map_or(passed, smooth));
            }
            if left == 0 {
                inner.next = None;
                inner.interval = None;
            }
            return Some(slot);
        }
        self.count.store(0, Ordering::Relaxed);
        inner.next = None;
        inner.last = None;
        inner.interval = None;
        None
    }

    /// Shows every call that waits.
    pub(super) fn each(&self, f: impl Fn(&Slot)) {
        for slot in &self.inner.lock().slots {
            f(slot);
        }
    }

    /// A call was given up.
    pub(super) fn forget(&self, slot: &Arc<Slot>) {
        self.take_if(|other| Arc::ptr_eq(other, slot));
    }

    /// Takes those out for which `which` holds.
    pub(super) fn take_if(&self, which: impl Fn(&Arc<Slot>) -> bool) -> Vec<Arc<Slot>> {
        let mut inner = self.inner.lock();
        let all = std::mem::take(&mut inner.slots);
        let (taken, left): (Vec<_>, Vec<_>) = all.into_iter().partition(which);
        inner.slots = left.into();
        self.count.store(inner.slots.len() as u32, Ordering::Relaxed);
        taken
    }

    /// Those whose deadline has passed; and when the next one does.
    pub(super) fn expire(&self, now: Instant) -> (Vec<Arc<Slot>>, Option<Instant>) {
        {
            let inner = self.inner.lock();
            if inner.next.is_none_or(|next| next > now) {
                return (Vec::new(), inner.next);
            }
        }
        let late = self.take_if(|slot| slot.lock().deadline.is_some_and(|at| at <= now));
        let mut inner = self.inner.lock();
        inner.next = inner.slots.iter().filter_map(|slot| slot.lock().deadline).min();
        (late, inner.next)
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use super::*;

    fn slot(now: Instant, deadline: Option<Duration>) -> Arc<Slot> {
        let slot = Slot::new(now);
        slot.lock().deadline = deadline.map(|time| now + time);
        slot
    }

    #[test]
    fn first_come_first_served_and_bounded() {
        let now = Instant::now();
        let queue = WaitQueue::new(2);
        let slots: Vec<_> = (0..3).map(|_| slot(now, None)).collect();
        assert!(queue.join(slots[0].clone(), None, now).is_ok());
        assert!(queue.join(slots[1].clone(), None, now).is_ok());
        let refused = queue.join(slots[2].clone(), None, now).unwrap_err();
        assert_eq!(refused.0, Refusal::Full(2));
        assert!(Arc::ptr_eq(&queue.pop(now).unwrap(), &slots[0]));
        assert_eq!(queue.len(), 1);
        queue.forget(&slots[1]);
        assert!(queue.is_empty() && queue.pop(now).is_none());
    }

    #[test]
    fn a_hopeless_call_is_told_at_once() {
        let mut now = Instant::now();
        let queue = WaitQueue::new(100);
        for _ in 0..20 {
            assert!(queue.join(slot(now, None), None, now).is_ok());
        }
        // Nothing is known yet of how fast the queue moves.
        let second = Some(now + Duration::from_secs(1));
        assert!(queue.join(slot(now, Some(Duration::from_secs(1))), second, now).is_ok());
        for _ in 0..10 {
            now += Duration::from_millis(200);
            assert!(queue.pop(now).is_some());
        }
        // Eleven wait, 200 ms each.
        let wait = |millis| {
            let deadline = now + Duration::from_millis(millis);
            queue.join(slot(now, Some(Duration::from_millis(millis))), Some(deadline), now)
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
        let queue = WaitQueue::new(100);
        for (time, first) in [(50, true), (70, false), (20, true), (30, false)] {
            let deadline = Some(now + ms(time));
            let told = queue.join(slot(now, Some(ms(time))), deadline, now).unwrap();
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
    use super::*;
    use crate::net::life::Life;
    use loom::sync::Arc as Shared;
    use loom::thread;

    /// waiter/hand-over: a place that comes free and a call that joins never both stay.
    #[test]
    fn loom_waiter_hand_over() {
        let now = Instant::now();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let life = Shared::new(Life::new());
            let queue = Shared::new(WaitQueue::new(10));
            assert!(life.reserve(1).is_ok(), "the only place is taken");
            // As the pool serves: a place first, then who is to have it.
            let serve = move |life: &Life, queue: &WaitQueue| {
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
            assert!(queue.join(Slot::new(now), None, now).is_ok());
            let mine = serve(&life, &queue);
            let theirs = releaser.join().unwrap();
            assert!(mine || theirs, "the call waits beside a free place");
            assert!(!(mine && theirs), "one call, one place");
            assert_eq!(queue.len(), 0);
            assert_eq!(life.read().calls, 1);
        });
    }
}
