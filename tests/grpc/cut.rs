//! A link cut at every byte of a short conversation, at either end and in either direction: every
//! call ends, its error tells the truth about whether it was processed, nothing hangs or panics.

use crate::link::{Faults, FaultyConnector, FaultyListener, Trace};
use crate::memory_pair::{BIDI, UNARY, lone_channel, raw};
use crate::peer::Peer;
use framewire::client::Channel;
use framewire::error::{Error, ErrorCode, Kind, Processed};
use framewire::server::{Router, Server};
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Code, Raw, Response};
use framewire::unstable::http2::frame::FrameType;
use framewire::unstable::pool::PoolOptions;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics of each thread: those of a task are caught before a test can see them.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}

/// What the handlers have seen: how often each first message, and how many are at work.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<(HashMap<Raw, usize>, usize)>>);

impl Seen {
    fn begin(&self, message: &Raw) -> Work {
        let mut seen = self.0.lock().unwrap();
        *seen.0.entry(message.clone()).or_default() += 1;
        seen.1 += 1;
        Work(self.clone())
    }

    fn times(&self, message: &Raw) -> usize {
        self.0.lock().unwrap().0.get(message).copied().unwrap_or(0)
    }
}

/// A handler at work.
struct Work(Seen);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().1 -= 1;
    }
}

fn router(seen: &Seen) -> Router {
    let (unary, bidi) = (seen.clone(), seen.clone());
    Router::new()
        .unary(&UNARY, move |_, request: Raw| {
            let work = unary.begin(&request);
            async move {
                let _work = work;
                Ok(Response::new(request))
            }
        })
        .bidi(&BIDI, move |_, mut requests, mut replies| {
            let bidi = bidi.clone();
            async move {
                let mut work = None;
                while let Some(request) = requests.message().await? {
                    work.get_or_insert_with(|| bidi.begin(&request));
                    replies.send(request).await?;
                }
                drop(work);
                Ok(())
            }
        })
}

async fn exchange(channel: &Channel, first: Raw) -> Result<(), Error> {
    let (mut up, mut down) = channel.bidi(&BIDI, ())?;
    for message in [first, raw("and more")] {
        // How the call ended is read from the other half.
        let _ = up.send(message.clone()).await;
        assert_eq!(down.message().await?, Some(message));
    }
    let _ = up.finish();
    assert_eq!(down.message().await?, None);
    Ok(())
}

/// Two unary calls with a stream between them; how each ended, by its first message.
async fn conversation(channel: &Channel) -> Vec<(Raw, Result<(), Error>)> {
    let mut outcomes = Vec::new();
    for (message, stream) in [(raw("one"), false), (raw("two"), true), (raw([3; 200]), false)] {
        let call = async {
            if stream {
                return exchange(channel, message.clone()).await;
            }
            let got = channel.unary(&UNARY, message.clone()).await?;
            assert_eq!(got.into_inner(), message);
            Ok(())
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), call).await;
        let ended = ended.unwrap_or_else(|_| panic!("a call hangs: {}", channel.stats()));
        outcomes.push((message, ended));
    }
    outcomes
}

/// One conversation; `near` are the faults of the client's end, `far` those of the server's.
async fn run(near: Faults, far: Faults) -> Vec<Result<(), Error>> {
    let seen = Seen::default();
    let (connector, inner) = in_memory(64 * 1024);
    let server =
        Server::builder(router(&seen)).serve(FaultyListener { inner, faults: far }).unwrap();
    let mut options = PoolOptions::new();
    options.seed = Some(7);
    let channel = Channel::builder("http://test")
        .connector(FaultyConnector::new(connector, near))
        .unstable_pool(options)
        .build()
        .unwrap();
    let outcomes = conversation(&channel).await;
    for (message, outcome) in &outcomes {
        let times = seen.times(message);
        match outcome {
            Ok(()) => assert_eq!(times, 1, "answered"),
            Err(error) => tells_the_truth(error, times),
        }
    }
    drop(channel);
    // What the server holds ends too, long before any of its timers.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seen.0.lock().unwrap().1, 0, "handlers are left at work");
    assert_eq!(server.handle().connections(), 0, "connections are left");
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn tells_the_truth(error: &Error, times: usize) {
    // A connection that is cut before the peer's SETTINGS, or before its first call is written, is a
    // failed dial.
    let kind = match error.processed() {
        Processed::No => [Kind::ConnectionLost, Kind::Connect].contains(&error.kind()),
        _ => error.kind() == Kind::ConnectionLost,
    };
    assert!(error.code() == Code::Unavailable && kind, "{error}");
    let text = error.to_string();
    let cause = text.contains("the link was cut") || text.contains("the peer closed");
    assert!(cause, "{error}");
    let on_a_stream = error.connection().is_some_and(|facts| facts.stream_id.is_some());
    match error.processed() {
        Processed::No => assert_eq!(times, 0, "it was processed: {error}"),
        Processed::Maybe => assert!(times <= 1 && on_a_stream, "{times} times: {error}"),
        Processed::Yes => panic!("the peer did not answer: {error}"),
    }
}

/// The calls that failed; `words` counts those surely not processed, and the others.
fn count(outcomes: &[Result<(), Error>], words: &mut [usize; 2]) -> usize {
    let errors = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let failed = errors.map(|error| words[usize::from(error.processed() != Processed::No)] += 1);
    failed.count()
}

#[tokio::test(start_paused = true)]
async fn at_every_byte() {
    count_panics();
    let trace = Trace::default();
    let whole = run(Faults { trace: Some(trace.clone()), ..Faults::default() }, Faults::default());
    assert!(whole.await.iter().all(Result::is_ok));
    let (up, down) = trace.lock().unwrap().clone();
    assert!(up.len() > 500 && down.len() > 400, "{} and {} bytes", up.len(), down.len());
    let written = |at| Faults { cut_written: Some(at), ..Faults::default() };
    let read = |at| Faults { cut_read: Some(at), ..Faults::default() };
    let none = Faults::default;
    let mut words = [0; 2];
    for at in 0..up.len() {
        for outcomes in [run(written(at), none()).await, run(none(), read(at)).await] {
            // What is not needed for the answers may be lost unseen: an acknowledgement, a credit.
            assert!(at + 64 >= up.len() || count(&outcomes, &mut words) > 0, "{at} up");
        }
    }
    for at in 0..down.len() {
        for outcomes in [run(read(at), none()).await, run(none(), written(at)).await] {
            assert!(count(&outcomes, &mut words) > 0, "{at} down");
        }
    }
    assert!(words.iter().all(|times| *times > 100), "both words were said: {words:?}");
    assert_eq!(PANICS.get(), 0, "a task panicked");
}

/// A peer that answers a call and then says that it has not processed it: a retry is not safe.
#[tokio::test(start_paused = true)]
async fn a_goaway_below_a_response_that_has_begun() {
    let (channel, mut listener) = lone_channel(PoolOptions::new(), Faults::default());
    let call = tokio::spawn(async move { channel.unary(&UNARY, raw([1])).await });
    let mut peer = Peer::accept(&mut listener, &[]).await;
    peer.next(FrameType::Headers).await;
    peer.response(1).await;
    peer.goaway(0, ErrorCode::NO_ERROR, "").await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::GoAway, Processed::Maybe), "{error}");
}
