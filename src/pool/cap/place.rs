//! A place in the line of a cap, and the socket that it ends with.

use crate::pool::cap::line::{Granted, Line};
use crate::pool::cap::{Cap, Capped, Need, Tree, Waiter};
use crate::rt;
use crate::rt::sync::{MutexGuard, Ordering, fence, next_id};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// A dial's place in line. Dropped, it passes on its turn.
#[derive(Debug)]
pub(crate) struct Place {
    cap: Arc<Cap>,
    key: (Need, u64),
    socket: oneshot::Receiver<Socket>,
}

impl Cap {
    /// A dial joins the line. It may be its turn already.
    pub(crate) fn join(self: &Arc<Self>, need: Need, news: &Arc<Notify>, now: Instant) -> Place {
        let (sender, socket) = oneshot::channel();
        let key = (need, next_id());
        let waiter = Waiter { cap: Arc::clone(self), news: Arc::clone(news), socket: sender };
        let mut line = self.tree.line.lock();
        line.join(key, waiter);
        let granted = line.advance(now);
        line.note_delayed(key);
        self.tree.changed(line, granted);
        Place { cap: Arc::clone(self), key, socket }
    }
}

impl Tree {
    /// To be called after every change: hands over what has been granted, without the lock.
    fn changed(&self, line: MutexGuard<'_, Line>, granted: Granted) {
        self.short.store(line.shortage().is_some(), Ordering::Relaxed);
        drop(line);
        // Either this thread finds a connection that is idle now, or its last call's thread sees the need.
        fence(Ordering::SeqCst);
        for Waiter { cap, socket, .. } in granted.waiters {
            // If the dial is gone, the socket's drop passes the turn on.
            let _ = socket.send(Socket { cap, closing: false, ended: None });
        }
        granted.front.inspect(|news| news.notify_one());
    }
}

impl Place {
    /// Looks again. Returns why the dial waits, and `None` if its turn has come.
    pub(crate) fn look(&mut self, need: Need, now: Instant) -> Option<Capped> {
        let mut line = self.cap.tree.line.lock();
        if let Some(waiter) = line.leave(self.key) {
            self.key.0 = need;
            line.join(self.key, waiter);
        }
        let granted = line.advance(now);
        let capped = line.capped(self.key, now);
        self.cap.tree.changed(line, granted);
        capped
    }

    /// Waits for the turn. `None` does not happen.
    ///
    /// # Cancel safety
    /// The place stays.
    pub(crate) async fn turn(&mut self) -> Option<Socket> {
        (&mut self.socket).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.cap.tree.line.lock();
        let waiter = line.leave(self.key);
        let granted = line.advance(rt::now());
        self.cap.tree.changed(line, granted);
        drop(waiter);
    }
}

/// The socket of one connection on every level, from its dial to its end.
#[derive(Debug)]
pub(crate) struct Socket {
    cap: Arc<Cap>,
    closing: bool,
    /// The connection, if it has ended.
    ended: Option<u64>,
}

impl Socket {
    /// The connection is being closed for a dial that waits.
    pub(crate) fn close_for_another(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        let mut line = self.cap.tree.line.lock();
        line.closing(&self.cap.chain);
        self.cap.tree.changed(line, Granted::default());
    }

    /// The connection has ended, and the socket may wait for its peer to close.
    pub(crate) fn linger(&mut self, connection: u64) {
        if self.ended.replace(connection).is_none() {
            self.cap.tree.line.lock().linger(connection, &self.cap.chain);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut line = self.cap.tree.line.lock();
        line.release(&self.cap.chain, self.closing);
        self.ended.inspect(|connection| line.end_linger(*connection));
        let granted = line.advance(rt::now());
        self.cap.tree.changed(line, granted);
    }
}

#[cfg(test)]
impl Cap {
    /// Takes a socket if a dial may begin now.
    #[allow(clippy::expect_used, reason = "tests")]
    pub(crate) fn take(self: &Arc<Self>, now: Instant) -> Result<Socket, Capped> {
        let mut place = self.join(Need::First, &Arc::default(), now);
        match place.look(Need::First, now) {
            Some(capped) => Err(capped),
            None => Ok(place.socket.try_recv().expect("its turn has come")),
        }
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::pool::cap::place::*;
    use std::time::Duration;

    fn join(cap: &Arc<Cap>, need: Need, now: Instant) -> Place {
        cap.join(need, &Arc::default(), now)
    }

    async fn advance(ms: u64) -> Instant {
        tokio::time::advance(Duration::from_millis(ms)).await;
        rt::now()
    }

    #[allow(clippy::unwrap_used, reason = "tests")]
    fn reason(result: Result<Socket, Capped>) -> (&'static str, Option<Instant>) {
        let capped = result.unwrap_err();
        (capped.by, capped.until)
    }

    #[tokio::test(start_paused = true)]
    async fn sockets_and_dials_are_bounded() {
        let cap = Cap::new(3, 2);
        let now = rt::now();
        let first = cap.take(now).unwrap();
        let _second = cap.take(now).unwrap();
        drop(cap.take(now).unwrap());
        let (by, until) = reason(cap.take(now));
        let half = (until.unwrap() - now).as_secs_f64();
        assert!(by == "own" && (0.5..0.500_001).contains(&half), "{half}");
        assert_eq!(cap.open(), 2, "a dial that waits holds nothing");
        let later = advance(5_000).await;
        let _third = cap.take(later).unwrap();
        assert_eq!(reason(cap.take(later)), ("own", None));
        drop(first);
        assert!(cap.take(later).is_ok());
        assert_eq!((cap.dials(), cap.refused()), (5, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_not_a_bound() {
        assert!(Cap::new(0, 0).take(rt::now()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_takes_a_socket_on_every_level_or_on_none() {
        let now = rt::now();
        let whole = Cap::new(3, 100);
        let [a, b] = [Cap::inside(&whole, 2, 100), Cap::inside(&whole, 2, 100)];
        let first = a.take(now).unwrap();
        let _second = a.take(now).unwrap();
        assert_eq!(reason(a.take(now)), ("shard", None));
        let third = b.take(now).unwrap();
        assert_eq!(reason(b.take(now)), ("own", None));
        assert_eq!((whole.open(), a.open(), b.open()), (3, 2, 1));
        // Each delay counts where it was made.
        assert_eq!((whole.refused(), a.refused(), b.refused()), (1, 1, 0));
        drop(first);
        let _fourth = b.take(advance(1_000).await).unwrap();
        drop(third);
        assert_eq!((whole.open(), a.open(), b.open()), (2, 1, 1));
        assert_eq!((whole.dials(), a.dials(), b.dials()), (4, 2, 2));
        assert!(a.is_inside(&whole) && a.is_inside(&a) && !a.is_inside(&b));
        assert!(!whole.is_inside(&a));
    }

    /// A dial that an outer level delays costs an inner level neither socket nor token.
    #[tokio::test(start_paused = true)]
    async fn a_dial_that_waits_takes_no_token() {
        let now = rt::now();
        let whole = Cap::new(2, 1);
        let inner = Cap::inside(&whole, 5, 1);
        for _ in 0..2 {
            drop(inner.take(now).unwrap());
        }
        for _ in 0..10 {
            assert_eq!(reason(inner.take(now)).0, "own");
        }
        assert_eq!((whole.open(), inner.open()), (0, 0));
        // Three are left inside, and more never were.
        let alone = Cap::inside(&inner, 9, 9);
        let later = advance(60_000).await;
        drop((alone.take(later).unwrap(), alone.take(later).unwrap()));
        assert_eq!(inner.dials(), 4);
    }

    /// Each socket that is released goes to the first in line that can use it, by need and then by time;
    /// those that have left are passed over, before and after their turn.
    #[tokio::test(start_paused = true)]
    async fn the_turn_passes_on_in_order() {
        let now = rt::now();
        let cap = Cap::new(1, u32::MAX);
        let mut socket = Some(cap.take(now).unwrap());
        let mut kept = join(&cap, Need::Kept, now);
        let [mut a, b, mut c] = [0; 3].map(|_| join(&cap, Need::First, now));
        drop(b);
        for place in [&mut a, &mut c] {
            advance(1).await;
            drop(socket.take());
            socket = Some(place.socket.try_recv().unwrap());
        }
        // It has its turn and does not take it.
        let [d, mut e] = [0; 2].map(|_| join(&cap, Need::First, now));
        advance(1).await;
        drop(socket.take());
        assert_eq!(cap.open(), 1);
        advance(1).await;
        drop(d);
        let last = e.socket.try_recv().unwrap();
        assert!(kept.socket.try_recv().is_err());
        advance(1).await;
        drop(last);
        assert!(kept.socket.try_recv().is_ok());
        assert_eq!(cap.open(), 0);
    }

    /// The first that only the rate delays is told when it becomes the first, and looks again in time.
    #[tokio::test(start_paused = true)]
    async fn tokens_are_given_in_order() {
        let now = rt::now();
        let cap = Cap::new(100, 10);
        (0..100).for_each(|_| drop(cap.take(now).unwrap()));
        let news: [Arc<Notify>; 3] = Default::default();
        let mut places = news.each_ref().map(|news| cap.join(Need::First, news, now));
        let until = places.each_mut().map(|place| {
            let at = place.look(Need::First, now).unwrap().until.unwrap();
            ((at - now).as_secs_f64() * 1000.0).round() as u32
        });
        assert_eq!(until, [100, 200, 300]);
        let [a, mut b, mut c] = places;
        advance(50).await;
        drop(a);
        let is_told = |news: &Notify| {
            let mut told = std::pin::pin!(news.notified());
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            std::future::Future::poll(told.as_mut(), &mut cx).is_ready()
        };
        assert!(is_told(&news[1]) && !is_told(&news[2]));
        let later = advance(51).await;
        assert!(b.look(Need::First, later).is_none() && b.socket.try_recv().is_ok());
        assert!(is_told(&news[2]));
        assert!(c.look(Need::First, later).is_some_and(|capped| capped.until.is_some()));
    }

    /// A full shard delays its own dials alone, and a connection outside it does not help them.
    #[tokio::test(start_paused = true)]
    async fn a_shortage_names_the_level() {
        let now = rt::now();
        let whole = Cap::new(3, 1000);
        let [a, b] = [Cap::inside(&whole, 1, 1000), Cap::inside(&whole, 5, 1000)];
        let mut of_a = a.take(now).unwrap();
        let _waits = join(&a, Need::More, now);
        let need = || whole.shortage().map(|short| [short.need(&a), short.need(&b)]);
        assert_eq!(need(), Some([Some(Need::More), None]));
        assert!(a.is_short() && b.is_short());
        of_a.close_for_another();
        assert_eq!(need(), None, "one is closing for it");
        let _of_b = [b.take(now).unwrap(), b.take(now).unwrap()];
        let other = join(&b, Need::First, now);
        assert_eq!(need(), Some([Some(Need::More), Some(Need::More)]), "it is for the other one");
        drop(other);
        let _kept = join(&b, Need::Kept, now);
        assert_eq!(need(), None);
        assert!(!a.is_short());
    }
}

#[cfg(all(test, framewire_loom))]
mod loom_models {
    use crate::connection::permits::PermitCounter;
    use crate::pool::cap::place::*;
    use loom::sync::Arc as Shared;
    use loom::thread;

    /// shortage/idle: a dial that begins to wait and a connection whose last call ends: one of the two
    /// threads gives the connection up.
    #[test]
    fn loom_short_idle() {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(|| {
            let (now, news) = (rt::now(), Arc::default());
            let cap = Cap::new(1, 1);
            let _open = cap.join(Need::First, &news, now);
            let life = Shared::new(PermitCounter::new());
            assert!(life.reserve(1).is_ok());
            let give_up = |life: &PermitCounter| {
                let reading = life.read();
                reading.calls == 0 && life.evict(reading.epoch)
            };
            let last_call = {
                let (life, cap) = (Shared::clone(&life), Arc::clone(&cap));
                thread::spawn(move || {
                    life.release();
                    // As in the question whether a call waits.
                    fence(Ordering::SeqCst);
                    cap.is_short() && give_up(&life)
                })
            };
            let _waits = cap.join(Need::First, &news, now);
            let mine = cap.is_short() && give_up(&life);
            let theirs = last_call.join().unwrap();
            assert!(mine != theirs, "the dial waits beside an idle connection");
        });
    }
}
