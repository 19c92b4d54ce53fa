//! Hedging by policy (gRFC A6): further attempts beside one that has not answered yet. The first
//! whose response begins, or that fails for good, is the call; the others are cancelled.
//!
//! A hedge goes to a connection with room to spare or is put off: it never waits for a place, never
//! fills a connection beyond its soft target and never makes the pool dial.

use crate::call::attempt::Pushback;
use crate::call::deadline::no_timer;
use crate::call::timeline::Timeline;
use crate::client::call::Call;
use crate::client::channel::Channel;
use crate::client::policy::{HedgePolicy, Retries};
use crate::client::throttle::Outcome;
use crate::error::{Error, Kind, Processed};
use crate::grpc::status::Code;
use crate::rt;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The least time by which a hedge is put off when no connection has room to spare.
const PUT_OFF_MIN: Duration = Duration::from_millis(10);
/// It doubles so often, so that many calls do not keep asking a pool that has no room.
const PUT_OFF_DOUBLED: u32 = 3;

/// An attempt under way.
struct Running {
    call: Call,
    hedge: bool,
    /// It is not the first one.
    further: bool,
}

/// The attempts of one call. Dropped, it cancels those under way.
pub(super) struct Race<F> {
    channel: Channel,
    policy: HedgePolicy,
    /// Fills an attempt, told how many came before.
    fill: F,
    running: Vec<Running>,
    made: u32,
    /// Of those that are over, the further ones that were written, whatever became of them.
    written: u32,
    /// When the next attempt is due, if there may be one.
    next: Option<Instant>,
    /// Times in a row that it was put off.
    put_off: u32,
    /// The server or the throttle wants no more of them.
    closed: bool,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// While none is in flight: completes when the channel is closed.
    shut_down: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// How the last attempt was lost.
    lost: Option<Error>,
    /// Where the call's time went before the next attempt.
    timeline: Option<Timeline>,
    /// The peer may have acted on an attempt that is not the call.
    seen: bool,
}

impl<F: FnMut(u32) -> Result<Call, Error>> Race<F> {
    /// Sends the first attempt.
    pub(super) fn start(
        channel: &Channel,
        policy: &HedgePolicy,
        deadline: Option<Instant>,
        mut fill: F,
    ) -> Result<Self, Error> {
        let call = fill(0)?;
        call.send();
        let mut race = Self {
            channel: channel.clone(),
            policy: policy.clone(),
            fill,
            running: Vec::with_capacity(policy.attempts() as usize),
            made: 0,
            written: 0,
            next: None,
            put_off: 0,
            closed: false,
            deadline,
            timer: None,
            shut_down: None,
            lost: None,
            timeline: None,
            seen: false,
        };
        race.began(call, false);
        Ok(race)
    }

    fn retries(&self) -> Option<&Retries> {
        self.channel.inner.retries.as_deref()
    }

    /// The attempt that is the call: its response has begun, or it has ended and no other follows.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Call, Error>> {
        loop {
            if let Some(winner) = self.look(cx) {
                return Poll::Ready(Ok(winner));
            }
            let now = rt::now();
            if self.deadline.is_some_and(|at| at <= now) && !self.running.is_empty() {
                self.running.iter().for_each(|one| one.call.expire());
                self.next = None;
                continue;
            }
            if self.next.is_some_and(|at| at <= now && self.deadline.is_none_or(|end| now < end)) {
                match self.launch(now) {
                    // Its waker is still to be left with it.
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if self.running.is_empty()
                && self.next.is_some_and(|at| at > now)
                && self.is_shut_down(cx)
            {
                // It fails, and says so.
                (self.closed, self.next) = (true, Some(now));
                continue;
            }
            let in_vain = match (self.next, self.deadline) {
                (None, _) => true,
                (Some(at), Some(deadline)) => at.max(now) >= deadline,
                (Some(_), None) => false,
            };
            if in_vain && self.running.is_empty() {
                let error = self.lost.take().unwrap_or_else(gone);
                return Poll::Ready(Err(self.told(error)));
            }
            let at = self.next.into_iter().chain(self.deadline).min();
            let Some(at) = at else { return Poll::Pending };
            let timer = match &mut self.timer {
                Some(timer) => timer,
                none => none.insert(Box::pin(rt::timer(at).ok_or_else(no_timer)?)),
            };
            if timer.deadline().into_std() != at {
                timer.as_mut().reset(at.into());
            }
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }

    /// Whether the channel is closed; wakes the task when it is.
    fn is_shut_down(&mut self, cx: &mut Context<'_>) -> bool {
        let pool = &self.channel.inner.pool;
        let ended = self.shut_down.get_or_insert_with(|| Box::pin(pool.shut_down()));
        if ended.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.shut_down = None;
        true
    }

    /// Looks at the attempts under way; the winner leaves, the others are cancelled.
    fn look(&mut self, cx: &mut Context<'_>) -> Option<Call> {
        let mut i = 0;
        while let Some(Running { call, hedge, .. }) = self.running.get(i) {
            if call.poll_begun(cx).is_pending() {
                i += 1;
                continue;
            }
            let hedge = *hedge;
            let failure = call.failure();
            let unplaced = hedge && failure.as_ref().is_some_and(|(error, _)| is_unplaced(error));
            let lost = failure.filter(|(error, _)| unplaced || self.policy.covers(error));
            let ended = self.running.remove(i);
            self.written += ended.written();
            let call = ended.call;
            let Some((error, pushback)) = lost else {
                self.seen |= self.running.iter().any(|other| other.call.is_sent());
                self.clear();
                return Some(call);
            };
            if let Some(spent) = call.timeline() {
                self.timeline = Some(spent);
            }
            drop(call);
            if unplaced {
                // It came back and found no connection: as if it had not been sent.
                self.made -= 1;
                self.put_off();
            } else {
                self.lose(error, pushback);
            }
        }
        None
    }

    /// An attempt failed, and others may do better.
    fn lose(&mut self, error: Error, pushback: Option<Pushback>) {
        let allowed = self.retries().is_none_or(|retries| retries.note(Outcome::Retryable));
        self.closed |= !allowed || pushback == Some(Pushback::Never);
        self.seen |= error.processed() != Processed::No;
        self.schedule(match pushback {
            Some(Pushback::After(time)) => time,
            _ => Duration::ZERO,
        });
        crate::rt::log!(debug, %error, attempts = self.made, "an attempt of a hedged call was lost");
        self.lost = Some(error);
    }

    fn schedule(&mut self, pause: Duration) {
        let may = self.made < self.policy.attempts() && !self.closed;
        self.next = rt::now().checked_add(pause).filter(|_| may);
    }

    fn put_off(&mut self) {
        let pause = self.policy.delay().max(PUT_OFF_MIN);
        self.schedule(pause.saturating_mul(1 << self.put_off));
        self.put_off = (self.put_off + 1).min(PUT_OFF_DOUBLED);
    }

    /// Sends the next attempt; `false` when it was put off. One beside which no other is under way is
    /// no hedge: it goes the way of every call.
    fn launch(&mut self, now: Instant) -> Result<bool, Error> {
        let hedge = !self.running.is_empty();
        let (mut place, mut seat) = (None, None);
        if hedge {
            if self.retries().is_some_and(|retries| !retries.allows()) {
                self.closed = true;
                self.next = None;
                return Ok(false);
            }
            let not_on: Vec<u64> =
                self.running.iter().filter_map(|other| other.call.connection()).collect();
            let inner = &self.channel.inner;
            place = inner.pool.spare(&not_on);
            // A tenant's hedge counts as one of its calls.
            let tenant = inner.tenant.as_ref().filter(|_| place.is_some());
            seat = tenant.map(|tenant| inner.pool.tenant_permit(tenant));
            if place.is_none() || matches!(seat, Some(None)) {
                self.put_off();
                return Ok(false);
            }
        }
        let call = (self.fill)(self.made)?;
        let first = self.running.first().and_then(|first| first.call.timeline());
        call.go_on_from(first.as_ref().or(self.timeline.as_ref()), now);
        match place {
            Some(place) => call.send_on(place, seat.flatten()),
            None => call.send(),
        }
        self.began(call, hedge);
        Ok(true)
    }

    fn began(&mut self, call: Call, hedge: bool) {
        self.running.push(Running { call, hedge, further: self.made > 0 });
        self.made += 1;
        self.put_off = 0;
        self.schedule(self.policy.delay());
    }

    /// Cancels the attempts that are left.
    fn clear(&mut self) {
        let written: u32 = self.running.iter().map(Running::written).sum();
        self.written += written;
        self.running.clear();
    }

    /// The call has ended with the winner's `error`, `None` being success: for the throttle.
    pub(super) fn note(&self, error: Option<&Error>) {
        if let Some(retries) = self.retries() {
            retries.note(match error {
                None => Outcome::Success,
                Some(error) if self.policy.covers(error) => Outcome::Retryable,
                Some(_) => Outcome::Other,
            });
        }
    }

    /// What the caller is told: the peer may have acted on another attempt than the last.
    pub(super) fn told(&self, error: Error) -> Error {
        let unseen = error.processed() == Processed::No;
        if unseen && self.seen { error.with_processed(Processed::Maybe) } else { error }
    }
}

/// Whether the pool had no connection for a hedge.
fn is_unplaced(error: &Error) -> bool {
    error.kind() == Kind::Limit && error.code() == Code::Unavailable
}

fn gone() -> Error {
    Error::local(Kind::Misuse, Code::Internal, "the call has been read to its end")
}

impl<F> Drop for Race<F> {
    fn drop(&mut self) {
        let written = self.written + self.running.iter().map(Running::written).sum::<u32>();
        if written > 0 {
            self.channel.inner.pool.note_attempts(true, written, Duration::ZERO);
        }
    }
}

impl Running {
    /// 1 if it is one that counts: a further one that the peer may have seen.
    fn written(&self) -> u32 {
        u32::from(self.further && self.call.is_sent())
    }
}

impl<F> fmt::Debug for Race<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Race")
            .field("policy", &self.policy)
            .field("made", &self.made)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
