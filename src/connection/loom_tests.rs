//! Models of the lock-free protocols, run with
//! `RUSTFLAGS="--cfg framewire_loom" CARGO_TARGET_DIR=target/loom cargo test --release --lib loom_`.

use crate::call::state::{Credit, SharedCall};
use crate::connection::handle::{ConnectionEvent, Handle, Owner, Refusal};
use crate::connection::mailbox::Mailbox;
use crate::connection::permits::{PermitCounter, Reading};
use crate::http2::ErrorCode;
use crate::memory::budget::{Budget, Waiter};
use crate::rt;
use crate::rt::sync::{AtomicUsize, Ordering};
use crate::transport::connect::ConnectionInfo;
use loom::sync::Arc;
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc as StdArc;
use std::task::{Wake, Waker};

/// A driver's waker that counts wakes.
pub(super) struct WakeCount(pub(super) AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: StdArc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(super) fn counting_waker() -> (StdArc<WakeCount>, Waker) {
    let wakes = StdArc::new(WakeCount(AtomicUsize::new(0)));
    let waker = Waker::from(StdArc::clone(&wakes));
    (wakes, waker)
}

pub(super) fn model(model: impl Fn() + Sync + Send + 'static) {
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

/// Counts the calls that come back.
struct Returned(StdArc<AtomicUsize>);

impl Owner for Returned {
    fn redispatch(&self, _: StdArc<SharedCall>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn refused(&self, _: &StdArc<Handle>, call: StdArc<SharedCall>, _: Refusal) {
        self.redispatch(call);
    }

    fn changed(&self, _: &StdArc<Handle>, _: ConnectionEvent) {}

    fn released(&self, _: &StdArc<Handle>, _: Reading) {}
}

/// Takes the calls out of a connection's mailbox, as its driver does.
fn take(handle: &StdArc<Handle>) -> VecDeque<StdArc<SharedCall>> {
    let mut inbox = VecDeque::new();
    handle.mailbox().drain(&mut inbox);
    for call in &inbox {
        call.lock().taken(handle.id());
    }
    inbox
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
        assert_eq!(take(&handle).len(), 1, "the call is in no mailbox: its driver never gets it");
    });
}

/// notify/move: a call that moves to another connection while a sender notifies is in the new connection's
/// mailbox afterwards, although the old connection's driver never runs again.
#[test]
fn loom_notify_move() {
    model(|| {
        let (old, new) = (connection(None), connection(None));
        let call = SharedCall::new(rt::now());
        Handle::submit(old.reserve().unwrap(), StdArc::clone(&call));
        assert_eq!(take(&old).len(), 1);
        let sender = {
            let call = StdArc::clone(&call);
            thread::spawn(move || call.notify())
        };
        let permit = call.lock().sent_back(rt::now());
        drop(permit);
        Handle::submit(new.reserve().unwrap(), call);
        sender.join().unwrap();
        assert_eq!(take(&new).len(), 1, "the call is in no mailbox of its connection, or twice");
    });
}

/// notify/cancel: a cancellation that meets other news is still seen by a driver that takes the call.
#[test]
fn loom_notify_cancel() {
    model(|| {
        let handle = connection(None);
        let call = SharedCall::new(rt::now());
        Handle::submit(handle.reserve().unwrap(), StdArc::clone(&call));
        let canceller = {
            let call = StdArc::clone(&call);
            thread::spawn(move || {
                let stopped = call.lock().cancel(ErrorCode::CANCEL);
                stopped.finish(&call);
            })
        };
        let seen = take(&handle).iter().any(|call| call.lock().cancel_code().is_some());
        canceller.join().unwrap();
        assert!(seen || take(&handle).len() == 1, "the cancellation reaches nobody");
    });
}

/// abandon/submit: a caller gives its call up while the pool gives it a permit. The call has ended, or its
/// driver finds it cancelled.
#[test]
fn loom_abandon_submit() {
    model(|| {
        let handle = connection(None);
        let call = SharedCall::new(rt::now());
        let caller = {
            let call = StdArc::clone(&call);
            thread::spawn(move || {
                let stopped = call.lock().abandon_call();
                stopped.finish(&call);
            })
        };
        Handle::submit(handle.reserve().unwrap(), StdArc::clone(&call));
        caller.join().unwrap();
        assert_eq!(take(&handle).len(), 1, "nobody returns its permit");
        let x = call.lock();
        assert!(x.is_over() || x.cancel_code().is_some());
    });
}

/// report/collect: what a reader did with bytes is taken by a driver under pressure, or told to it.
#[test]
fn loom_report_collect() {
    model(|| {
        let handle = connection(None);
        let call = SharedCall::new(rt::now());
        Handle::submit(handle.reserve().unwrap(), StdArc::clone(&call));
        assert_eq!(take(&handle).len(), 1);
        let reader = {
            let call = StdArc::clone(&call);
            thread::spawn(move || {
                let read = Credit { released_unread: 1, ..Credit::NONE };
                let news = call.lock().note_read(read);
                if let Some(news) = news {
                    news.deliver(&call);
                }
            })
        };
        handle.set_report_at_once(true);
        let collected = call.lock().take_credit();
        reader.join().unwrap();
        let told = take(&handle).len() == 1;
        assert!(collected.bytes() > 0 || told, "the credit is out of reach");
    });
}

/// goodbye/park: a driver that goes to sleep while its owner says goodbye sees it, or is woken.
#[test]
fn loom_goodbye_park() {
    model(|| {
        let handle = connection(None);
        let (wakes, waker) = counting_waker();
        let owner = {
            let handle = StdArc::clone(&handle);
            thread::spawn(move || handle.goodbye())
        };
        let seen = handle.is_goodbye();
        let slept = handle.mailbox().park(&waker);
        let seen = seen || (!slept && handle.is_goodbye());
        owner.join().unwrap();
        let woken = wakes.0.load(Ordering::SeqCst) > 0;
        assert!(seen || (slept && woken), "the driver sleeps through its owner's end");
    });
}

/// A connection that has learned to carry two calls of `announced`; one more that ends raises that.
fn taught(announced: u32) -> StdArc<Handle> {
    let handle = connection(None);
    handle.set_limit(Some(announced));
    handle.learn(2);
    // The end of the refused call is the first one.
    handle.grow_learned();
    handle.grow_learned();
    assert_eq!(handle.limit(), 2);
    handle
}

/// settings/grow: SETTINGS that lower the limit while calls end hold.
#[test]
fn loom_limit_settings_grow() {
    model(|| {
        let handle = taught(9);
        let caller = {
            let handle = StdArc::clone(&handle);
            thread::spawn(move || handle.grow_learned())
        };
        handle.set_limit(Some(1));
        caller.join().unwrap();
        assert_eq!((handle.limit(), handle.soft_limit()), (1, 1));
    });
}

/// grow/grow: two calls that end at once raise what was learned once.
#[test]
fn loom_limit_grow_grow() {
    model(|| {
        let handle = taught(9);
        let caller = {
            let handle = StdArc::clone(&handle);
            thread::spawn(move || handle.grow_learned())
        };
        handle.grow_learned();
        caller.join().unwrap();
        assert_eq!(handle.limit(), 3);
    });
}

/// hold/move: an owner that finds calls held, and asks to move them, is heard.
#[test]
fn loom_hold_move() {
    model(|| {
        let handle = connection(None);
        // An earlier probe's request, which came too late.
        handle.move_held_calls();
        let owner = {
            let handle = StdArc::clone(&handle);
            thread::spawn(move || {
                let held = handle.is_unproved();
                if held {
                    handle.move_held_calls();
                }
                held
            })
        };
        handle.hold_calls();
        let asked = owner.join().unwrap();
        assert_eq!(handle.take_move_held(), asked);
    });
}

/// give/wait: a connection that waits for bytes of the budget gets them or is woken.
#[test]
fn loom_budget_give_wait() {
    model(|| {
        let budget = Budget::new(10);
        budget.force(20);
        let (wakes, waker) = counting_waker();
        let giver = {
            let budget = StdArc::clone(&budget);
            thread::spawn(move || budget.give(20))
        };
        let waiter = Waiter::new(waker);
        budget.wait(&waiter);
        let granted = budget.has_capacity(5);
        giver.join().unwrap();
        let woken = wakes.0.load(Ordering::SeqCst) > 0;
        assert!(granted || woken, "the connection waits for bytes that are there");
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
