//! Models of the lock-free protocols, run with
//! `RUSTFLAGS="--cfg framewire_loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib loom_`.

use crate::call::state::SharedCall;
use crate::connection::handle::{ConnectionEvent, Handle, Owner};
use crate::connection::mailbox::Mailbox;
use crate::connection::permits::{PermitCounter, Reading};
use crate::rt;
use crate::rt::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::transport::connect::ConnectionInfo;
use loom::sync::Arc;
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::task::{Wake, Waker};

/// A driver's waker that counts wakes.
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting_waker() -> (StdArc<WakeCount>, Waker) {
    let wakes = StdArc::new(WakeCount(AtomicUsize::new(0)));
    let waker = Waker::from(StdArc::clone(&wakes));
    (wakes, waker)
}

fn model(model: impl Fn() + Sync + Send + 'static) {
    // Three preemptions cover the races of two threads and a driver; without a bound the models of
    // two callers take minutes.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// submit/park: an item pushed while the driver goes to sleep is seen by it or wakes it.
#[test]
fn loom_submit_park() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let (wakes, waker) = counting_waker();
        let caller = {
            let mailbox = Arc::clone(&mailbox);
            thread::spawn(move || assert!(mailbox.submit(7).is_ok()))
        };
        let slept = mailbox.park(&waker);
        caller.join().unwrap();
        let mut seen = VecDeque::new();
        mailbox.drain(&mut seen);
        assert_eq!(seen, [7]);
        let woken = wakes.0.load(Ordering::SeqCst) > 0;
        assert!(!slept || woken, "the driver sleeps while an item is queued");
    });
}

/// submit/submit/park: two callers, one driver; neither item is lost.
#[test]
fn loom_two_submit_park() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let (wakes, waker) = counting_waker();
        let callers: Vec<_> = (0..2)
            .map(|item| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || assert!(mailbox.submit(item).is_ok()))
            })
            .collect();
        let slept = mailbox.park(&waker);
        for caller in callers {
            caller.join().unwrap();
        }
        let mut seen = VecDeque::new();
        mailbox.drain(&mut seen);
        assert_eq!(seen.len(), 2);
        assert!(!slept || wakes.0.load(Ordering::SeqCst) > 0);
    });
}

/// submit/close: an item is taken exactly once, by the driver that closes or by the submitter that
/// finds the mailbox closed.
#[test]
fn loom_submit_close() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let taken = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..2)
            .map(|item| {
                let (mailbox, taken) = (Arc::clone(&mailbox), Arc::clone(&taken));
                thread::spawn(move || {
                    if let Err(left) = mailbox.submit(item) {
                        taken.fetch_add(left.len(), Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut left = mailbox.close();
        taken.fetch_add(left.len(), Ordering::SeqCst);
        for caller in callers {
            caller.join().unwrap();
        }
        left.clear();
        mailbox.drain(&mut left);
        assert_eq!(taken.load(Ordering::SeqCst) + left.len(), 2);
        assert!(left.is_empty(), "an item stayed in a closed mailbox");
    });
}

/// wake/cancel: one side at a time claims a call's mailbox flag, so a cancellation that meets a notice
/// is still seen by a driver that takes the call afterwards.
#[test]
fn loom_wake_cancel() {
    model(|| {
        let mailbox = Arc::new(Mailbox::new());
        let queued = Arc::new(AtomicBool::new(false));
        // Behind the call's lock, as in the call itself.
        let cancelled = Arc::new(Mutex::new(false));
        let notify = |mailbox: &Mailbox<u8>, queued: &AtomicBool| {
            if !queued.swap(true, Ordering::AcqRel) {
                assert!(mailbox.submit(1).is_ok());
            }
        };
        // The caller has something to send ...
        notify(&mailbox, &queued);
        let canceller = {
            let (mailbox, queued) = (Arc::clone(&mailbox), Arc::clone(&queued));
            let cancelled = Arc::clone(&cancelled);
            thread::spawn(move || {
                // ... and the other half of the call cancels it.
                *cancelled.lock() = true;
                notify(&mailbox, &queued);
            })
        };
        let mut inbox = VecDeque::new();
        mailbox.drain(&mut inbox);
        let mut saw = false;
        while inbox.pop_front().is_some() {
            queued.store(false, Ordering::Release);
            saw |= *cancelled.lock();
        }
        canceller.join().unwrap();
        mailbox.drain(&mut inbox);
        assert!(saw || inbox.len() == 1, "the cancellation reaches nobody");
    });
}

/// Counts the calls that come back.
struct Returned(StdArc<AtomicUsize>);

impl Owner for Returned {
    fn redispatch(&self, _: StdArc<SharedCall>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn changed(&self, _: &StdArc<Handle>, _: ConnectionEvent) {}

    fn released(&self, _: &StdArc<Handle>, _: Reading) {}
}

fn connection(owner: Option<StdArc<dyn Owner>>) -> StdArc<Handle> {
    StdArc::new(Handle::new(ConnectionInfo::default(), owner, 65_535, rt::now()))
}

/// notify/submit: a call that is submitted while a sender notifies is in the connection's mailbox
/// afterwards, put there by either of them. The call and the handle are the real ones.
#[test]
fn loom_notify_submit() {
    model(|| {
        let handle = connection(None);
        let call = SharedCall::new(rt::now());
        let sender = {
            let call = StdArc::clone(&call);
            thread::spawn(move || call.notify())
        };
        let permit = handle.reserve().unwrap();
        Handle::submit(permit, StdArc::clone(&call));
        sender.join().unwrap();
        let mut inbox = VecDeque::new();
        handle.mailbox().drain(&mut inbox);
        assert_eq!(inbox.len(), 1, "the call is in no mailbox: its driver never gets it");
    });
}

/// notify/settle: a call on a connection that closes returns to the owner once, although a sender that
/// notifies settles it as well.
#[test]
fn loom_notify_settle() {
    model(|| {
        let returned = StdArc::new(AtomicUsize::new(0));
        let handle = connection(Some(StdArc::new(Returned(StdArc::clone(&returned)))));
        let call = SharedCall::new(rt::now());
        let permit = handle.reserve().unwrap();
        Handle::submit(permit, StdArc::clone(&call));
        let sender = {
            let call = StdArc::clone(&call);
            thread::spawn(move || call.notify())
        };
        let left = handle.mailbox().close();
        handle.settle(left);
        sender.join().unwrap();
        assert_eq!(returned.load(Ordering::SeqCst), 1, "the call returns once");
    });
}

/// checkout/evict: an idle connection is taken by a call or closed by the pool, never both.
#[test]
fn loom_checkout_evict() {
    model(|| {
        let life = Arc::new(PermitCounter::new());
        // A call has come and gone, so that the epoch is not the first.
        assert!(life.reserve(4).is_ok());
        life.release();
        let caller = {
            let life = Arc::clone(&life);
            thread::spawn(move || life.reserve(4).is_ok())
        };
        let seen = life.read();
        let evicted = seen.calls == 0 && life.evict(seen.epoch);
        let taken = caller.join().unwrap();
        assert!(taken != evicted || (!taken && !evicted), "both won");
        assert!(taken || evicted, "the call was refused by a connection that stays open");
        let end = life.read();
        assert_eq!((end.calls == 1, end.open), (taken, !evicted));
    });
}

/// GOAWAY/open: a connection that closes grants or refuses each permit, and counts those granted.
#[test]
fn loom_goaway_open() {
    model(|| {
        let life = Arc::new(PermitCounter::new());
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let life = Arc::clone(&life);
                thread::spawn(move || u32::from(life.reserve(1).is_ok()))
            })
            .collect();
        assert!(life.close());
        let before = life.read().calls;
        let taken: u32 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
        assert_eq!(taken, before, "a permit was granted after the connection had closed");
        assert!(taken <= 1, "the limit");
        assert_eq!(life.read().calls, taken);
    });
}
