//! Peers that do not read, so that the window of TCP is closed: they are slow and not dead, whatever the
//! sender holds for them. A path that vanishes then is found by the probes of that window.

use crate::gate::Gate;
use crate::process::{self, Process};
use crate::stage::{Ended, SLACK, Side, Stage, begin, builder, call, channel, sleep};
use bytes::Bytes;
use framewire::client::Channel;
use framewire::error::{Error, Processed};
use framewire::server::{Requests, Router};
use framewire::unstable::connection::options::ConnectionOptions;
use framewire::unstable::grpc::{Code, Method, Raw, Request, Response};
use framewire::unstable::http2::Role;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The server reads nothing for as many seconds as the request says.
const PAUSE: Method<Raw, Raw> = Method::new("/test.Work/Pause");
/// Counts its requests, which must come in order.
const UP: Method<Raw, Raw> = Method::new("/test.Work/Up");
/// Answers with as many messages as the request says.
const DOWN: Method<Raw, Raw> = Method::new("/test.Work/Down");

/// Messages of a stream: 24 MiB, more than all buffers and windows take.
const MESSAGES: u32 = 1500;
const MESSAGE: usize = 16 * 1024;
/// Messages that arrive before the pause.
const BEFORE: u32 = 100;
/// After this time a connection is given up whose peer's system has stopped answering: 18 s, one sample, and
/// the 3 s between two probes. The last answer may have come as long before the fault.
const GIVEN_UP: Duration = Duration::from_secs(22);

fn number(message: &Raw) -> u32 {
    u32::from_be_bytes(message.0[..4].try_into().unwrap())
}

fn numbered(number: u32) -> Raw {
    let mut bytes = vec![7; MESSAGE];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Raw(Bytes::from(bytes))
}

fn word(number: u32) -> Raw {
    Raw(Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// The server's part of these cases.
pub fn serve() -> bool {
    let gate = Gate::default();
    let shut = gate.clone();
    let more = |router: Router| {
        router
            .unary(&PAUSE, move |_, request: Raw| {
                shut.shut(Duration::from_secs(number(&request).into()));
                std::future::ready(Ok(Response::new(request)))
            })
            .client_streaming(&UP, |_, mut requests: Requests<Raw>| async move {
                let mut count = 0;
                while let Some(message) = requests.message().await? {
                    assert_eq!(number(&message), count, "out of order");
                    count += 1;
                }
                Ok(Response::new(word(count)))
            })
            .server_streaming(&DOWN, |_, request: Raw, mut replies| async move {
                for n in 0..number(&request) {
                    replies.send(numbered(n)).await?;
                }
                Ok(())
            })
    };
    let options = ConnectionOptions::new(Role::Server);
    process::serve_over(options, more, |acceptor| gate.acceptor(acceptor))
}

/// A call that is never answered.
fn silent(channel: &Channel) -> Ended<Raw> {
    let channel = channel.clone();
    begin(async move { channel.unary(&process::SILENT, Raw::default()).await })
}

/// A stream to the server, which has stopped reading for so many seconds when this returns.
async fn up(server: &Process, seconds: u32) -> (Channel, JoinHandle<Result<u32, Error>>) {
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let (mut sender, mut answer) = channel.client_streaming(&UP, ()).unwrap();
    for n in 0..BEFORE {
        sender.send(numbered(n)).await.unwrap();
    }
    channel.unary(&PAUSE, word(seconds)).await.unwrap();
    let stream = tokio::spawn(async move {
        for n in BEFORE..MESSAGES {
            sender.send(numbered(n)).await?;
        }
        sender.finish()?;
        Ok(number(&answer.message().await?.expect("an answer")))
    });
    (channel, stream)
}

/// A stream from the server, which this side has stopped reading for so many seconds.
async fn down(server: &Process, seconds: u32) -> (Channel, JoinHandle<Result<u32, Error>>) {
    let gate = Gate::default();
    let channel = builder(server.address, |_| {}).connector(gate.connector()).build().unwrap();
    call(&channel, 1).await.unwrap();
    let mut answers = channel.server_streaming(&DOWN, word(MESSAGES)).unwrap();
    for n in 0..BEFORE {
        assert_eq!(number(&answers.message().await.unwrap().unwrap()), n);
    }
    gate.shut(Duration::from_secs(seconds.into()));
    let stream = tokio::spawn(async move {
        let mut count = BEFORE;
        while let Some(message) = answers.message().await? {
            assert_eq!(number(&message), count, "out of order");
            count += 1;
        }
        Ok(count)
    });
    (channel, stream)
}

/// Windows that stay closed for so long, one stream in each direction: both go on and are whole.
pub async fn windows_that_stay_closed(stage: Stage, seconds: u32) {
    stage.narrow();
    let servers = [stage.serve(0, 0).await, stage.serve(1, 0).await];
    let started = Instant::now();
    let streams = [up(&servers[0], seconds).await, down(&servers[1], seconds).await];
    let open = Duration::from_secs(u64::from(seconds));
    for at in [open / 3, open - Duration::from_secs(3)] {
        tokio::time::sleep_until((started + at).into()).await;
        for (side, (_, stream)) in [Side::Client, Side::Server].into_iter().zip(&streams) {
            assert!(!stream.is_finished(), "it has ended after {at:?}");
            let held = stage.unacknowledged(side);
            println!("  {held} bytes wait at {side:?} after {at:?}");
            assert!(held > 0, "no window is closed");
        }
    }
    let limit = open + Duration::from_secs(15) + SLACK;
    for (channel, stream) in streams {
        let rest = (started + limit).saturating_duration_since(Instant::now());
        let count = tokio::time::timeout(rest, stream).await.expect("it does not go on").unwrap();
        assert_eq!(count.unwrap_or_else(|error| panic!("{error}")), MESSAGES);
        // Dials have failed meanwhile: the next one may wait for its backoff.
        let request = Request::new(process::work(2, 0)).with_wait_for_ready(true);
        channel.unary(&process::WORK, request).await.unwrap();
    }
    println!("  all arrived {:.1?} after the beginning", started.elapsed());
}

/// The same on a path that loses one packet of a hundred in each direction.
pub async fn closed_windows_and_loss(stage: Stage) {
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "numgen random mod 100 < 1 counter drop");
    }
    windows_that_stay_closed(stage, 45).await;
}

/// The path vanishes while the windows are closed: nothing is in flight but probes, and both sides give
/// their connection up when enough of them stay unanswered.
pub async fn closed_windows_and_a_path_that_vanishes(stage: Stage) {
    stage.narrow();
    let servers = [stage.serve(0, 0).await, stage.serve(1, 0).await];
    let streams = [up(&servers[0], 200).await, down(&servers[1], 200).await];
    sleep(15.0).await;
    for side in [Side::Server, Side::Client] {
        assert!(stage.unacknowledged(side) > 0, "no window is closed");
    }
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "drop");
    }
    let fault = Instant::now();
    let [(_up, sent), (_down, _received)] = streams;
    let error = sent.await.unwrap().unwrap_err();
    let took = fault.elapsed();
    println!("  the client told {took:.1?} after the fault: {error}");
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    assert!(took >= Duration::from_secs(14), "a few lost probes are no death: {took:?}");
    assert!(took <= GIVEN_UP + SLACK, "{took:?}");
    // What the server had to send is dropped with its socket.
    while stage.unacknowledged(Side::Server) > 0 {
        assert!(fault.elapsed() <= GIVEN_UP + SLACK, "the server keeps its connection");
        sleep(0.2).await;
    }
    println!("  the server's socket is gone {:.1?} after the fault", fault.elapsed());
}

/// A process that is stopped with nothing in flight, then a path that vanishes: its system answered the
/// probes of TCP before, and does not now.
pub async fn a_stopped_server_and_a_path_that_vanishes(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = silent(&channel);
    sleep(0.2).await;
    server.signal("STOP").await;
    sleep(40.0).await;
    assert!(!waits.is_finished(), "a stopped process was taken for a dead peer");
    assert_eq!(stage.unacknowledged(Side::Client), 0, "its system has acknowledged everything");
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "drop");
    }
    let fault = Instant::now();
    let (result, _) = waits.await.unwrap();
    let (error, took) = (result.unwrap_err(), fault.elapsed());
    println!("  told {took:.1?} after the fault: {error}");
    assert_eq!((error.code(), error.processed()), (Code::Unavailable, Processed::Maybe), "{error}");
    // 10 s until the first probe, and 5 probes, 2 s apart.
    assert!(took <= Duration::from_secs(20) + SLACK, "{took:?}");
}
