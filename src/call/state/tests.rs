//! The transitions of a call, from every stage.

use super::ending::wake;
use super::*;
use crate::call::send::HeadState;
use crate::error::ConnectionFacts;
use crate::error::{Initiator, Processed};
use crate::grpc::message;
use crate::grpc::status::{Code, Status};
use crate::http2::{Fields, Head};
use crate::memory::budget::Budget;
use crate::memory::queued::QueuedBytes;
use crate::memory::replay::ReplayBudget;
use crate::transport::connect::ConnectionInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake};

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn lost() -> Error {
    let status = Status::new(Code::Unavailable, "lost");
    Error::new(Kind::ConnectionLost, status, Initiator::Io, Processed::Maybe)
}

/// A call in `stage`, with a policy that counts how often it is asked where `stage` needs one.
fn call_in(stage: Stage) -> (CallState, Arc<Count>) {
    let policy = Arc::new(Count::default());
    let mut x = CallState::new(Instant::now());
    x.send_mut().set_head(None, &Fields::new());
    match stage {
        Stage::Pending => {}
        Stage::Parked => x.parked(Phase::StreamQuota, Instant::now()),
        Stage::Open(key) => x.opened(key, Some(1), false),
        Stage::Undecided => {
            x.set_policy(Arc::clone(&policy).into());
            x.opened(None, Some(1), false);
            wake(x.fail(lost()));
        }
        Stage::Over => wake(x.fail(lost())),
    }
    assert_eq!(x.stage(), stage);
    (x, policy)
}

const STAGES: [Stage; 5] =
    [Stage::Pending, Stage::Parked, Stage::Open(None), Stage::Undecided, Stage::Over];

#[test]
fn every_transition_from_every_stage() {
    type Transition = fn(&mut CallState);
    let rows: [(&str, Transition, [Stage; 5]); 8] = {
        use Stage::{Open, Over, Parked, Pending, Undecided};
        [
            (
                "parked",
                |x| x.parked(Phase::StreamQuota, Instant::now()),
                [Parked, Parked, Open(None), Undecided, Over],
            ),
            ("unparked", |x| _ = x.unparked(), [Pending, Pending, Open(None), Undecided, Over]),
            ("complete", |x| wake(x.complete()), [Over, Over, Over, Undecided, Over]),
            ("fail", |x| wake(x.fail(lost())), [Over, Over, Over, Undecided, Over]),
            ("end_cancelled", |x| wake(x.end_cancelled()), [Over, Over, Over, Undecided, Over]),
            ("settle", |x| wake(x.settle()), [Pending, Parked, Open(None), Over, Over]),
            ("abandon_retry", |x| wake(x.abandon_retry(lost())), [Over, Over, Over, Over, Over]),
            (
                "cancel, then end_cancelled",
                |x| {
                    drop(x.cancel(ErrorCode::CANCEL));
                    wake(x.end_cancelled());
                },
                [Over, Over, Over, Over, Over],
            ),
        ]
    };
    for (name, transition, after) in rows {
        for (stage, after) in STAGES.into_iter().zip(after) {
            let (mut x, _) = call_in(stage);
            transition(&mut x);
            assert_eq!(x.stage(), after, "{name} from {stage:?}");
        }
    }
}

#[test]
fn a_call_without_a_policy_shows_its_end_at_once() {
    let (mut x, policy) = call_in(Stage::Open(None));
    x.peer_ended(None);
    assert!(x.end().is_some() && policy.get() == 0);
}

#[test]
fn a_policy_decides_before_the_caller_sees_the_end() {
    let (mut x, policy) = call_in(Stage::Pending);
    let reader = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&reader));
    drop(x.wait_read(&Context::from_waker(&waker)));
    x.set_policy(Arc::clone(&policy).into());
    x.opened(None, Some(1), true);
    // Trailers-Only: the head is all of the response, and another attempt may replace it.
    let mut head = Head::default();
    head.fields_mut().push("grpc-status", "14");
    assert!(matches!(x.response_head(&mut head, true), HeadArrival::Ended));
    assert!(x.end().is_none() && !x.has_head(), "before the connection is done with it");
    wake(x.complete());
    assert_eq!((x.stage(), policy.get(), reader.get()), (Stage::Undecided, 1, 0));
    assert!(x.end().is_none() && !x.has_head() && !x.is_over());

    let attempt = x.attempt().expect("an attempt has ended");
    let error = attempt.result.expect_err("the peer's status is an error");
    drop(x.retry(&error, Instant::now()));
    assert_eq!((x.stage(), x.send().head(), x.attempts()), (Stage::Pending, HeadState::Ready, 0));
    assert!(x.attempt().is_none() && x.end().is_none());

    x.opened(None, Some(3), true);
    wake(x.fail(lost()));
    assert_eq!((policy.get(), reader.get()), (2, 0));
    wake(x.settle());
    assert!(x.is_over() && reader.get() == 1 && Arc::strong_count(&policy) == 1);
    assert!(matches!(x.end(), Some(RecvEnd::Failed(_))));
}

#[test]
fn what_an_earlier_attempt_may_have_done_is_told() {
    let (mut x, _) = call_in(Stage::Undecided);
    drop(x.retry(&lost(), Instant::now()));
    wake(x.fail(lost().with_processed(Processed::No)));
    wake(x.settle());
    assert_eq!(x.failure().map(Error::processed), Some(Processed::Maybe));
}

#[test]
fn a_cancelled_call_asks_no_policy() {
    for stage in [Stage::Pending, Stage::Undecided] {
        let (mut x, policy) = call_in(stage);
        x.set_policy(Arc::clone(&policy).into());
        let asked = policy.get();
        drop(x.cancel(ErrorCode::CANCEL));
        assert!(x.end().is_some(), "the reading half is told at once");
        wake(x.end_cancelled());
        assert!(x.is_over() && policy.get() == asked);
    }
}

#[test]
fn a_recycled_call_is_as_good_as_new() {
    for stage in STAGES {
        let (mut x, _) = call_in(stage);
        x.prepare(CallSpec { deadline: Some(Instant::now()), grpc: true, ..CallSpec::default() });
        x.set_hedge(None);
        x.detach_handler();
        let now = Instant::now();
        x.clear();
        x.restart(now);
        let mut new = CallState::new(now);
        new.restart(now);
        assert_eq!(format!("{x:?}"), format!("{new:?}"), "from {stage:?}");
    }
}

/// A connection that is only named.
#[derive(Debug)]
struct Named {
    id: u64,
    info: ConnectionInfo,
    queued: Arc<QueuedBytes>,
}

impl Carrier for Named {
    fn id(&self) -> u64 {
        self.id
    }
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }
    fn facts(&self, _: Instant) -> ConnectionFacts {
        ConnectionFacts::default()
    }
    fn deliver(&self, _: Arc<SharedCall>) {}
    fn reports_at_once(&self, _: &Credit) -> bool {
        false
    }
    fn has_written(&self, _: u32) -> bool {
        true
    }
    fn queued_bytes(&self) -> &Arc<QueuedBytes> {
        &self.queued
    }
    fn ended(&self, _: &Timeline) {}
    fn release(self: Arc<Self>) {}
}

fn permit_of(id: u64) -> (Permit, Arc<Budget>) {
    let budget = Budget::new(1);
    let queued = QueuedBytes::within(Some(Arc::clone(&budget)));
    (Permit::counted(Arc::new(Named { id, info: ConnectionInfo::default(), queued })), budget)
}

#[test]
fn a_message_of_the_limit_is_taken() {
    for (grpc, extra) in [(true, message::PREFIX), (false, 0)] {
        let mut x = CallState::new(Instant::now());
        x.prepare(CallSpec { grpc, whole: true, message_max: 10, ..CallSpec::default() });
        assert!(x.body_received(&vec![0; 10 + extra]).is_ok(), "grpc: {grpc}");
        assert!(x.body_received(&[0]).is_err(), "grpc: {grpc}");
    }
}

/// Written once, it may have been processed, even if it was sent back.
#[test]
fn a_cancelled_call_that_was_written_may_have_been_processed() {
    for (stage, processed) in
        [(Stage::Pending, Processed::No), (Stage::Open(None), Processed::Maybe)]
    {
        let (mut x, _) = call_in(stage);
        drop(x.sent_back(Instant::now()));
        wake(x.end_cancelled());
        assert_eq!(x.failure().map(Error::processed), Some(processed), "{stage:?}");
    }
}

/// At its deadline a call tells what its earlier attempts may have done, on a connection or off it.
#[test]
fn a_deadline_tells_what_earlier_attempts_may_have_done() {
    let (mut x, _) = call_in(Stage::Undecided);
    drop(x.retry(&lost(), Instant::now()));
    let (permit, _) = permit_of(1);
    drop(x.assign(permit));
    drop(x.expire(None, Instant::now()));
    assert_eq!(x.failure().map(Error::processed), Some(Processed::Maybe));
}

/// A connection or a process that holds too much lets a call queue one message at a time.
#[test]
fn a_full_connection_takes_one_message_of_a_call() {
    let (mut x, _) = call_in(Stage::Open(None));
    let (permit, budget) = permit_of(1);
    drop(x.assign(permit));
    x.send_mut().chain(vec![0; 100].into());
    assert!(x.accepts_message());
    budget.force(2);
    assert!(!x.accepts_message());
    x.send_mut().forget_body();
    assert!(x.accepts_message(), "nothing of it is queued");
}

#[test]
fn an_abandoned_answer_is_an_internal_error() {
    let (mut x, _) = call_in(Stage::Open(None));
    assert!(x.abandon_answer() && !x.abandon_answer());
    assert_eq!(x.cancel_code(), Some(ErrorCode::INTERNAL_ERROR));
}

/// A caller that cancels does not lose the end that has come already.
#[test]
fn a_cancellation_leaves_the_end_that_came_before() {
    let (mut x, _) = call_in(Stage::Open(None));
    x.peer_ended(None);
    drop(x.cancel(ErrorCode::CANCEL));
    assert!(matches!(x.end(), Some(RecvEnd::Finished)));
}

#[test]
fn a_connection_that_ends_takes_back_only_its_own() {
    let (mut x, _) = call_in(Stage::Pending);
    let (permit, _) = permit_of(2);
    drop(x.assign(permit));
    assert!(x.detach(1).is_none() && x.is_carried_by(2));
    assert!(x.detach(2).is_some() && !x.is_carried_by(2));
}

/// What went out on the connection that failed goes out again on the next one.
#[test]
fn a_call_that_is_sent_back_begins_anew() {
    let (mut x, _) = call_in(Stage::Pending);
    x.send_mut().keep_whole(&ReplayBudget::new(1 << 20, 1 << 20));
    x.opened(None, Some(1), false);
    drop(x.sent_back(Instant::now()));
    assert_eq!((x.stage(), x.send().head()), (Stage::Pending, HeadState::Ready));
}

/// A compressed request may be large once it is inflated.
#[test]
fn only_plain_requests_are_small() {
    for (flag, small) in [(0, true), (1, false)] {
        let mut x = CallState::new(Instant::now());
        assert!(x.body_received(&[flag, 0, 0, 0, 0]).is_ok());
        assert_eq!(x.is_small_request(), small);
    }
}

/// The caller of a whole response wakes at its end; who races several attempts wakes at the first head.
#[test]
fn a_head_wakes_who_waits_for_one() {
    for wake_at_head in [false, true] {
        let (mut x, _) = call_in(Stage::Pending);
        x.prepare(CallSpec { whole: true, wake_at_head, ..CallSpec::default() });
        x.opened(None, Some(1), true);
        drop(x.wait_read(&Context::from_waker(Waker::noop())));
        let begun = x.response_head(&mut Head::default(), false);
        assert!(matches!(begun, HeadArrival::Begun(woken) if woken.is_some() == wake_at_head));
    }
}

#[test]
fn a_side_that_has_ended_takes_nothing_more() {
    let (mut x, _) = call_in(Stage::Open(None));
    assert!(x.send().is_open() && !x.is_closed());
    x.send_mut().set_end(SendEnd::Finish);
    assert!(!x.send().is_open() && x.is_closed());
}

/// As its prefix says: five bytes, and as many as they announce.
#[test]
fn a_whole_message_is_expected_from_its_prefix_on() {
    let mut x = CallState::new(Instant::now());
    x.prepare(CallSpec { grpc: true, whole: true, ..CallSpec::default() });
    assert!(x.body_received(&[0, 0, 0, 0]).is_ok());
    assert_eq!(x.body_expected(), 0);
    assert!(x.body_received(&[10, 7]).is_ok());
    assert_eq!(x.body_expected(), 9);
}

/// A request that is kept whole is kept within the channel's budget, if it is large.
#[test]
fn a_large_request_is_replayable_if_there_is_memory_for_it() {
    for (all, replayable) in [(100_000, true), (99_999, false)] {
        let keep = ReplayBudget::new(100_000, all);
        let (mut x, _) = call_in(Stage::Pending);
        x.send_mut().chain(vec![7; 100_000].into());
        x.send_mut().keep_whole(&keep);
        assert_eq!((x.send().is_replayable(), keep.held() > 0), (replayable, replayable));
    }
}

/// A future that stops to wait takes only its own waker with it.
#[test]
fn who_stops_waiting_leaves_the_others() {
    let call = SharedCall::new(Instant::now());
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    let mut waits = counts.each_ref().map(|_| Wait::new(&call));
    for (wait, count) in waits.iter_mut().zip(&counts) {
        let waker = Waker::from(Arc::clone(count));
        assert!(wait.poll(Until::Over, &Context::from_waker(&waker), |_| None::<()>).is_pending());
    }
    let [first, _second] = waits;
    drop(first);
    let wakers = call.lock().fail(lost());
    wake(wakers);
    assert_eq!(counts.map(|count| count.get()), [0, 1]);
}
