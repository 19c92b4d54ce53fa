//! Streams are calls like others: none is lost and none runs twice when servers come and go.

use crate::network::{Network, addr};
use crate::{Journal, WORK, allowing, ms, options, raw};
use framewire::client::{Channel, Count, HedgePolicy, RetryPolicy};
use framewire::error::{Error, Kind, Processed};
use framewire::server::{Requests, Router};
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response, Status};
use framewire::unstable::rt::Random;
use std::collections::HashMap;
use std::time::Duration;

/// Seeds of an ordinary run.
const SEEDS: u64 = 40;

/// Answers with its messages, joined.
const UP: Method<Raw, Raw> = Method::new("/test.Work/Up");

/// Notes every call twice: when it began, which is with its first message, and when it has ended.
fn router(begun: &Journal, ended: &Journal) -> Router {
    let (begun, ended) = (begun.clone(), ended.clone());
    Router::new().client_streaming(&UP, move |_, mut requests| {
        let (begun, ended) = (begun.clone(), ended.clone());
        async move {
            let mut all = Vec::new();
            while let Some(Raw(bytes)) = requests.message().await? {
                if all.is_empty() {
                    begun.note(&bytes);
                }
                all.extend_from_slice(&bytes);
            }
            ended.note(&all);
            Ok(Response::new(raw(all)))
        }
    })
}

/// Three messages of a call, some of them late.
async fn call(channel: Channel, id: u32) -> Result<Vec<u8>, Error> {
    let (mut up, down) = channel.client_streaming(&UP, ())?;
    let parts = [id, id.wrapping_mul(3), id.wrapping_mul(7)].map(u32::to_be_bytes);
    for (i, part) in parts.iter().enumerate() {
        // How the call ended is read below.
        if up.send(raw(part)).await.is_err() {
            break;
        }
        if (id as usize + i).is_multiple_of(3) {
            ms(u64::from(id % 5)).await;
        }
    }
    let _ = up.finish();
    let answer = down.one().await?.into_inner().0.to_vec();
    assert_eq!(answer, parts.concat(), "in order, nothing lost, nothing twice");
    Ok(answer)
}

fn most(counts: &[Vec<u8>]) -> usize {
    let mut by: HashMap<&[u8], usize> = HashMap::new();
    counts.iter().for_each(|bytes| *by.entry(bytes).or_default() += 1);
    by.into_values().max().unwrap_or(0)
}

/// Three hundred graceful restarts of the server, each in the middle of a burst.
#[tokio::test(start_paused = true)]
async fn goaways_in_the_middle_of_streams_lose_nothing_and_repeat_nothing() {
    let network = Network::new();
    let (begun, ended) = (Journal::default(), Journal::default());
    let builder = Channel::builder("http://test").connector(network.clone());
    let channel = builder.unstable_pool(options()).build().unwrap();
    let mut server = network.serve(addr(1), router(&begun, &ended), allowing(100));
    for cycle in 0..300u32 {
        let calls: Vec<_> =
            (0..40).map(|i| tokio::spawn(call(channel.clone(), cycle * 100 + i))).collect();
        tokio::time::sleep(Duration::from_micros(u64::from(cycle % 41) * 200)).await;
        let next = network.serve(addr(1), router(&begun, &ended), allowing(100));
        let old = std::mem::replace(&mut server, next);
        let drain = tokio::spawn(old.shutdown(Duration::from_secs(5)));
        for call in calls {
            call.await.unwrap().unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        }
        assert_eq!(drain.await.unwrap().forced, 0);
        let (begun, ended) = (begun.take(), ended.take());
        assert_eq!((begun.len(), ended.len()), (40, 40), "cycle {cycle}");
        assert_eq!(most(&ended), 1, "cycle {cycle}");
    }
}

async fn chance(seed: u64) {
    let mut random = Random::new(seed);
    let network = Network::new();
    let (begun, ended) = (Journal::default(), Journal::default());
    let mut options = options();
    options.seed = Some(seed);
    options.max_connections = 1 + random.below(3) as u32;
    (options.backoff, options.backoff_max) = (ms_of(2), ms_of(5));
    // Some messages do not fit: their calls are settled early.
    options.keep_bytes = [8, 12, 100][random.below(3) as usize];
    let limit = 2 + random.below(20) as u32;
    let retry = RetryPolicy::new(3).backoff(ms_of(5), 2.0, ms_of(20));
    let builder = Channel::builder("http://test").connector(network.clone()).unstable_pool(options);
    let channel = builder.retry(retry).build().unwrap();
    let serve = || network.serve(addr(1), router(&begun, &ended), allowing(limit));
    let mut server = serve();
    let mut calls = Vec::new();
    for id in 0..200 {
        calls.push(tokio::spawn(call(channel.clone(), id)));
        if random.below(4) == 0 {
            tokio::time::sleep(Duration::from_micros(random.below(6000))).await;
        }
        match random.below(30) {
            0 | 1 => {
                let old = std::mem::replace(&mut server, serve());
                let grace = Duration::from_secs(5 * random.below(2));
                tokio::spawn(old.shutdown(grace));
            }
            2 => {
                let which = random.below(calls.len() as u64) as usize;
                calls[which].abort();
            }
            _ => {}
        }
    }
    let (mut answered, mut unseen) = (0, Vec::new());
    for (id, call) in calls.into_iter().enumerate() {
        let end = tokio::time::timeout(Duration::from_secs(600), call).await;
        match end.unwrap_or_else(|_| panic!("call {id} never ended")) {
            Ok(Ok(_)) => answered += 1,
            Ok(Err(error)) => {
                assert_eq!(error.code(), Code::Unavailable, "call {id}: {error}");
                if error.processed() == Processed::No {
                    unseen.push((id as u32).to_be_bytes());
                }
            }
            Err(error) => assert!(error.is_cancelled(), "call {id}: {error}"),
        }
    }
    ms(100).await;
    let (begun, ended) = (begun.take(), ended.take());
    assert!(unseen.iter().all(|id| begun.iter().all(|bytes| bytes != id)), "not even begun");
    assert!(answered > 50 && ended.len() >= answered, "{answered} answered, {} ended", ended.len());
    assert!(most(&ended) <= 3, "no more often than the policy allows");
    assert!(ended.iter().all(|bytes| bytes.len() == 12), "whole, or not at all");
    assert_eq!(channel.waiting(), 0);
    for handle in channel.unstable_handles() {
        assert_eq!(handle.life().read().calls, 0, "a place was not given back");
    }
}

#[test]
fn whatever_happens_streams_arrive_whole_and_in_order() {
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(chance(seed));
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// A call that waits for ready does so in each attempt; one that does not has the next attempt fail
/// with the last dial's error.
#[tokio::test(start_paused = true)]
async fn every_attempt_waits_for_ready() {
    let network = Network::new();
    let journal = Journal::default();
    let retry = RetryPolicy::new(2).backoff(ms_of(100), 1.0, ms_of(100));
    let builder = Channel::builder("http://test").connector(network.clone());
    let channel = builder.unstable_pool(options()).retry(retry).build().unwrap();
    let server = network.serve(addr(1), crate::router(&journal), allowing(100));
    let calls = [true, false].map(|waits| {
        let channel = channel.clone();
        let request = Request::new(raw([50])).with_wait_for_ready(waits);
        tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) })
    });
    ms(50).await;
    network.silence(addr(1));
    server.shutdown(Duration::ZERO).await;
    ms(3000).await;
    let [patient, other] = calls;
    assert!(other.is_finished() && !patient.is_finished());
    let error = other.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::Maybe), "{error}");
    let _server = network.serve(addr(1), crate::router(&journal), allowing(100));
    patient.await.unwrap().unwrap();
    assert_eq!(journal.take().len(), 3);
}

/// As long as the first attempt waits, there is nothing to hedge.
#[tokio::test(start_paused = true)]
async fn a_hedged_call_waits_for_ready() {
    let network = Network::new();
    let journal = Journal::default();
    let builder = Channel::builder("http://test").connector(network.clone());
    let builder = builder.unstable_pool(options()).hedge(HedgePolicy::new(3, ms_of(10)));
    let channel = builder.build().unwrap();
    let call = |waits| {
        let request = Request::new(raw([0])).with_wait_for_ready(waits);
        let channel = channel.clone();
        tokio::spawn(async move { channel.unary(&WORK, request).await.map(drop) })
    };
    let patient = call(true);
    let error = call(false).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Connect, Processed::No), "{error}");
    ms(500).await;
    let _server = network.serve(addr(1), crate::router(&journal), allowing(100));
    patient.await.unwrap().unwrap();
    assert_eq!(journal.take().len(), 1);
}

/// A runtime that ends between two attempts takes the call along: it ends as the last one did.
#[test]
fn a_pause_that_is_cut_short_ends_the_call() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let network = Network::new();
    let retry = RetryPolicy::new(2).backoff(ms_of(1000), 1.0, ms_of(1000)).on(Code::NotFound);
    let builder = Channel::builder("http://test").connector(network.clone());
    let channel = builder.unstable_pool(options()).retry(retry).build().unwrap();
    let router = Router::new().unary(&WORK, |_, _: Raw| async {
        Err::<Response<Raw>, _>(Status::new(Code::NotFound, "not yet"))
    });
    let mut call = Box::pin(channel.unary(&WORK, raw([0])));
    first.block_on(async {
        let _server = network.serve(addr(1), router, allowing(100));
        let sent = tokio::time::timeout(Duration::from_millis(500), &mut call).await;
        assert!(sent.is_err(), "it pauses");
    });
    drop(first);
    let end = runtime().block_on(async { tokio::time::timeout(ms_of(60_000), call).await });
    let error = end.expect("it ends").unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::NotFound, Kind::Status), "{error}");
}

/// Readers that look all the time, on other threads than the connection's, never see how an attempt
/// ended that another one follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_sees_an_end_that_is_not_the_last() {
    let network = Network::new();
    let router =
        Router::new().server_streaming(&UP, |context, request: Raw, mut replies| async move {
            if context.metadata().get("grpc-previous-rpc-attempts").is_none() {
                return Err(Status::new(Code::Unavailable, "not yet"));
            }
            replies.send(request).await?;
            Ok(())
        });
    let _server = network.serve(addr(1), router, allowing(100));
    let retry = RetryPolicy::new(2).backoff(Duration::ZERO, 1.0, Duration::ZERO);
    let builder =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let channel = builder.retry(retry).build().unwrap();
    let readers: Vec<_> = (0..2u8)
        .map(|i| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for _ in 0..400 {
                    let mut down = channel.server_streaming(&UP, raw([i])).unwrap();
                    let message = std::future::poll_fn(|cx| {
                        let poll = down.poll_message(cx);
                        if poll.is_pending() {
                            cx.waker().wake_by_ref();
                        }
                        poll
                    });
                    assert_eq!(message.await.unwrap(), Some(raw([i])));
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted() {
    let network = Network::new();
    let router = Router::new()
        .unary(&WORK, |_, _: Raw| async {
            Err::<Response<Raw>, _>(Status::new(Code::Unavailable, "not yet"))
        })
        .client_streaming(&UP, |_, _: Requests<Raw>| std::future::pending());
    let _server = network.serve(addr(1), router, allowing(100));
    let builder =
        Channel::builder("http://test").connector(network.clone()).unstable_pool(options());
    let retry = RetryPolicy::new(3).backoff(ms_of(10), 1.0, ms_of(10));
    let channel = builder.retry(retry).hedge_for("/test.Work/Up", HedgePolicy::new(3, ms_of(5)));
    let channel = channel.build().unwrap();
    channel.unary(&WORK, raw([0])).await.unwrap_err();
    let request = Request::new(raw([0])).with_timeout(ms_of(100));
    channel.unary(&UP, request).await.unwrap_err();
    let counts = channel.stats().counts;
    let of = |which| counts.get(which);
    assert_eq!((of(Count::Retried), of(Count::Hedged)), (2, 2));
}

const fn ms_of(time: u64) -> Duration {
    Duration::from_millis(time)
}
