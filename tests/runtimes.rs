//! Channels and servers beside, across and without tokio runtimes: no call hangs, and nothing panics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "support/park.rs"]
mod park;

use framewire::client::{self, Channel, ChannelBuilder};
use framewire::error::{Initiator, Kind, Processed};
use framewire::server::{self, Requests, Router, Server};
use framewire::transport::{MemoryConnector, in_memory};
use framewire::{Code, Error, Method, Raw, Request, Response};
use park::block_on;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const ECHO: Method<Raw, Raw> = Method::new("/test.Echo/Echo");
const NEVER: Method<Raw, Raw> = Method::new("/test.Echo/Never");

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn router() -> Router {
    Router::new().unary(&ECHO, |_context, request| async move { Ok(Response::new(request)) }).unary(
        &NEVER,
        |_context, _request: Raw| async move {
            std::future::pending::<Result<Response<Raw>, _>>().await
        },
    )
}

/// A server with a runtime of its own.
fn serve() -> (MemoryConnector, Runtime) {
    let (connector, listener) = in_memory(64 * 1024);
    let runtime = runtime();
    let guard = runtime.enter();
    Server::builder(router()).serve(listener).unwrap();
    drop(guard);
    (connector, runtime)
}

fn builder(connector: &MemoryConnector) -> ChannelBuilder {
    Channel::builder("http://test").connector(connector.clone())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn misuse(error: &Error) {
    assert_eq!((error.kind(), error.initiator()), (Kind::Misuse, Initiator::Local), "{error}");
    assert_eq!(error.processed(), Processed::No, "{error}");
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

/// All tasks of a channel that is bound run where it is bound; the runtimes of its callers come and go.
#[test]
fn a_bound_channel_outlives_its_callers() {
    let (connector, _server) = serve();
    let home = runtime();
    let retry = client::RetryPolicy::new(2);
    let bound = || builder(&connector).executor(home.handle().clone());
    let channel = bound().retry(retry).build().unwrap();
    let tasks = || home.metrics().num_alive_tasks();
    for _ in 0..3 {
        let caller = Builder::new_current_thread().enable_all().build().unwrap();
        let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(60));
        caller.block_on(channel.unary(&ECHO, request)).unwrap();
        assert_eq!(caller.metrics().num_alive_tasks(), 0, "no task of ours is the caller's");
        assert!(tasks() >= 2, "the connection and the maintenance");
    }
    assert_eq!(channel.stats().connections.len(), 1, "one connection served all");
    // Whatever polls: without a deadline, no timer of the caller's is needed.
    block_on(channel.unary(&ECHO, Raw::default())).unwrap();
    block_on(bound().build().unwrap().unary(&ECHO, Raw::default())).unwrap();
    let idle = bound().build().unwrap();
    idle.connect();
    block_on(idle.warm(2)).unwrap();
    drop((channel, idle));
}

/// The runtime on which a channel is bound ends: calls end, and say that it is not the peer's fault.
#[test]
fn the_runtime_of_a_bound_channel_ends() {
    let (connector, _server) = serve();
    let home = runtime();
    let channel = builder(&connector).executor(home.handle().clone()).build().unwrap();
    let callers = runtime();
    let never = channel.clone();
    callers.block_on(channel.unary(&ECHO, Raw::default())).unwrap();
    let begun = callers.spawn(async move { never.unary(&NEVER, Raw::default()).await });
    until("no call is in flight", || channel.stats().calls() > 0);
    home.shutdown_background();
    let limit = Duration::from_secs(60);
    let ended = callers.block_on(async { tokio::time::timeout(limit, begun).await.unwrap() });
    let error = ended.unwrap().unwrap_err();
    assert_eq!((error.code(), error.initiator()), (Code::Unavailable, Initiator::Local), "{error}");
    assert!(error.to_string().contains("runtime"), "{error}");
    assert!(!error.to_string().contains("peer closed"), "{error}");
    // What comes later has nowhere to run.
    let later = callers.block_on(async {
        tokio::time::timeout(limit, channel.unary(&ECHO, Raw::default())).await
    });
    let error = later.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("runtime"), "{error}");
    for ended in [callers.block_on(channel.warm(1)).err(), block_on(channel.warm(1)).err()] {
        assert_eq!(ended.unwrap().kind(), Kind::Shutdown);
    }
    channel.connect();
    let error = block_on(channel.unary(&ECHO, Raw::default())).unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Shutdown, Processed::No), "{error}");
}

/// The runtime ends while a thread without a timer waits for it.
#[test]
fn the_runtime_of_a_warm_up_ends() {
    let (connector, listener) = in_memory(64 * 1024);
    let home = runtime();
    let channel = builder(&connector).executor(home.handle().clone()).build().unwrap();
    let waits = thread::spawn(move || block_on(channel.warm(1)).map(drop));
    thread::sleep(Duration::from_millis(20));
    home.shutdown_background();
    assert_eq!(waits.join().unwrap().unwrap_err().code(), Code::Unavailable);
    drop(listener);
}

/// A server is shut down from a thread without a timer.
#[test]
fn a_server_drains_from_anywhere() {
    let (connector, listener) = in_memory(64 * 1024);
    let home = runtime();
    let guard = home.enter();
    let server = Server::builder(router()).serve(listener).unwrap();
    drop(guard);
    let channel = builder(&connector).executor(home.handle().clone()).build().unwrap();
    let never = channel.clone();
    let call = home.spawn(async move { never.unary(&NEVER, Raw::default()).await });
    let connected = || server.handle().connections() > 0 && !channel.stats().connections.is_empty();
    until("there is no connection", connected);
    block_on(server.shutdown(Duration::from_millis(50)));
    assert!(home.block_on(call).unwrap().is_err());
}

/// Outside every runtime, a call is an error and not a panic; a channel that runs elsewhere serves it.
#[test]
fn calls_without_a_runtime() {
    let (connector, _server) = serve();
    let channel = builder(&connector).build().unwrap();
    misuse(&block_on(channel.unary(&ECHO, Raw::default())).unwrap_err());
    channel.connect();
    misuse(&block_on(channel.warm(1)).unwrap_err());
    let (mut sender, mut receiver) = channel.bidi(&ECHO, ()).unwrap();
    misuse(&block_on(receiver.message()).unwrap_err());
    assert!(block_on(sender.send(Raw::default())).is_err());
    // A runtime makes it work, for everybody.
    let other = runtime();
    other.block_on(channel.unary(&ECHO, Raw::default())).unwrap();
    block_on(channel.unary(&ECHO, Raw::default())).unwrap();
}

/// A runtime without a timer is named.
#[test]
fn runtimes_without_a_timer() {
    let (connector, _server) = serve();
    let bare = Builder::new_current_thread().build().unwrap();
    let channel = builder(&connector).build().unwrap();
    let error = bare.block_on(channel.unary(&ECHO, Raw::default())).unwrap_err();
    misuse(&error);
    assert!(error.to_string().contains("no timer"), "{error}");
    let Err(client::BuildError::Options(findings)) =
        builder(&connector).executor(bare.handle().clone()).build()
    else {
        panic!("built")
    };
    let what = "executor: the tokio runtime has no timer; build it with enable_time or enable_all";
    assert_eq!(findings[0].what, what);
}

/// A runtime that has ended takes tasks and drops them: a server there would accept nothing.
#[test]
fn servers_on_a_runtime_that_has_ended() {
    let runtimes = [runtime(), Builder::new_current_thread().enable_all().build().unwrap()];
    for ended in runtimes {
        let handle = ended.handle().clone();
        drop(ended);
        let _guard = handle.enter();
        let begun = Server::builder(router()).serve(in_memory(1024).1);
        let Err(server::BuildError::NoRuntime(why)) = begun else { panic!("built") };
        assert_eq!(why, "the tokio runtime has ended");
    }
}

/// A server says where it cannot begin.
#[test]
fn servers_without_a_runtime() {
    let begin = || Server::builder(router()).serve(in_memory(1024).1);
    let Err(server::BuildError::NoRuntime(why)) = begin() else { panic!("built") };
    assert_eq!(why, "there is no tokio runtime on this thread");
    let address = ([127, 0, 0, 1], 0).into();
    let error = Server::builder(router()).bind(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let error = framewire::transport::TcpAcceptor::bind(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    let bare = Builder::new_current_thread().build().unwrap();
    let Err(error) = bare.block_on(async { begin() }) else { panic!("built") };
    assert!(error.to_string().contains("no timer"), "{error}");
    // With a timer and without I/O.
    let timer = Builder::new_current_thread().enable_time().build().unwrap();
    let error = timer.block_on(async { Server::builder(router()).bind(address) }).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("I/O"), "{error}");
    let channel = Channel::builder("http://127.0.0.1:9").build().unwrap();
    let error = timer.block_on(channel.unary(&ECHO, Raw::default())).unwrap_err();
    assert!(error.to_string().contains("I/O"), "{error}");
}

/// Runtimes that end under load, the channel's and the server's: every call ends, and nothing panics.
#[test]
fn runtimes_that_end_under_load() {
    const STREAM: Method<Raw, Raw> = Method::new("/test.Echo/Stream");
    static PANICS: AtomicU32 = AtomicU32::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Other tests look for what a runtime lacks, which tokio tells by a panic that is caught.
        if thread::current().name() == Some("load") {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        hook(panic);
    }));
    let threads = |n| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(n).thread_name("load").enable_all().build().unwrap()
    };
    let callers = threads(2);
    for round in 0..20 {
        let (connector, listener) = in_memory(64 * 1024);
        let (home, far) = (threads(1), threads(1));
        let guard = far.enter();
        let router =
            router().bidi(&STREAM, |_, mut requests: Requests<Raw>, mut replies| async move {
                while let Some(message) = requests.message().await? {
                    replies.send(message).await?;
                }
                Ok(())
            });
        Server::builder(router).serve(listener).unwrap();
        drop(guard);
        let retry =
            client::RetryPolicy::new(5).backoff(Duration::from_millis(1), 1.0, Duration::MAX);
        let hedge = client::HedgePolicy::new(3, Duration::from_millis(1));
        let channel = builder(&connector)
            .executor(home.handle().clone())
            .retry_for("/test.Echo/Echo", retry)
            .hedge_for("/test.Echo/Never", hedge)
            .build()
            .unwrap();
        let mut calls = Vec::new();
        for kind in 0..30 {
            let channel = channel.clone();
            calls.push(callers.spawn(async move {
                let late = |message| Request::new(message).with_timeout(Duration::from_secs(10));
                for _ in 0..1000 {
                    let ended = match kind % 3 {
                        0 => channel.unary(&ECHO, Raw::default()).await.map(drop),
                        1 => channel.unary(&NEVER, late(Raw::default())).await.map(drop),
                        _ => stream(&channel, &STREAM).await,
                    };
                    if ended.is_err() {
                        break;
                    }
                }
            }));
        }
        thread::sleep(Duration::from_millis(5 + round));
        let (first, last) = if round % 2 == 0 { (home, far) } else { (far, home) };
        first.shutdown_background();
        if round % 4 < 2 {
            last.shutdown_background();
        }
        for call in calls {
            let limit = Duration::from_secs(60);
            let ended = callers.block_on(async { tokio::time::timeout(limit, call).await });
            ended.expect("the call hangs").expect("the call panicked");
        }
    }
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
}

/// A few messages there and back.
async fn stream(channel: &Channel, method: &Method<Raw, Raw>) -> Result<(), Error> {
    let (mut sender, mut receiver) = channel.bidi(method, ())?;
    for _ in 0..3 {
        sender.send(Raw::default()).await?;
        receiver.message().await?;
    }
    sender.finish()?;
    while receiver.message().await?.is_some() {}
    Ok(())
}
