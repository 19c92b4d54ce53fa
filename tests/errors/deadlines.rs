//! A deadline that passes before a call has a connection: the error names the step that it waited for,
//! and why the last dial failed.

use crate::{UNARY, normal};
use framewire::client::{Channel, Resolve, ResolveFuture};
use framewire::error::{Error, Kind, Phase, Processed};
use framewire::tls::ClientTls;
use framewire::transport::{
    Accept, Connect, ConnectError, ConnectErrorKind, ConnectFuture, ConnectPhase, Target, in_memory,
};
use framewire::unstable::grpc::{Raw, Request};
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

async fn expired(channel: Channel, wait: bool) -> Error {
    let request = Request::new(Raw::default()).with_timeout(Duration::from_secs(3));
    let request = request.with_wait_for_ready(wait);
    let error = channel.unary(&UNARY, request).await.unwrap_err();
    assert_eq!((error.kind(), error.processed()), (Kind::Deadline, Processed::No), "{error}");
    error
}

/// A dial that stays in a step, after so many that failed.
struct Stays(ConnectPhase, Arc<AtomicU32>);

impl Connect for Stays {
    fn connect(&self, target: Target) -> ConnectFuture {
        let Self(phase, failures) = self;
        let fails =
            failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if fails.is_ok() {
            let error = ConnectError::new(ConnectErrorKind::Refused, ConnectPhase::Socket, &target)
                .with_source(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
            return Box::pin(async { Err(error) });
        }
        target.enter(*phase);
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn the_step_of_the_dial() {
    let rows = [
        (ConnectPhase::Resolve, Phase::Resolve, "resolving the name"),
        (ConnectPhase::Socket, Phase::Dial, "connecting"),
        (ConnectPhase::Tls, Phase::Tls, "in the TLS handshake"),
        (ConnectPhase::Http2, Phase::Settings, "waiting for the peer's SETTINGS"),
    ];
    for (step, phase, words) in rows {
        let connector = Stays(step, Arc::default());
        let channel = Channel::builder("http://test").connector(connector).build().unwrap();
        let error = expired(channel, false).await;
        assert_eq!(error.phase(), Some(phase));
        let line = format!(
            "DEADLINE_EXCEEDED: the deadline passed, while {words}; not processed, a retry is safe"
        );
        assert_eq!(normal(&error), line);
    }
}

/// What real connectors report.
#[tokio::test(start_paused = true)]
async fn the_step_of_a_silent_server() {
    let (connector, mut listener) = in_memory(64 * 1024);
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok(connected) = listener.accept().await {
            held.push(connected);
        }
    });
    let builder = |target| Channel::builder(target).connector(connector.clone());
    let channel = builder("http://test").build().unwrap();
    assert_eq!(expired(channel, false).await.phase(), Some(Phase::Settings));
    let root = crate::identity::Identity::new("test").root;
    let tls = ClientTls::builder().roots_pem(root).build().unwrap();
    let channel = builder("https://test").tls(tls).build().unwrap();
    assert_eq!(expired(channel, false).await.phase(), Some(Phase::Tls));
    server.abort();
}

struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: Target) -> ResolveFuture {
        Box::pin(std::future::pending())
    }
}

struct Broken;

impl Resolve for Broken {
    fn resolve(&self, _: Target) -> ResolveFuture {
        Box::pin(async { Err(std::io::Error::other("no such zone")) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_resolver() {
    let (connector, _listener) = in_memory(64 * 1024);
    let builder = || Channel::builder("http://test").connector(connector.clone());
    let error = expired(builder().resolver(Silent).build().unwrap(), false).await;
    assert_eq!(error.phase(), Some(Phase::Resolve), "{error}");
    let error = expired(builder().resolver(Broken).build().unwrap(), true).await;
    assert!(error.to_string().contains("no such zone"), "{error}");
}

/// The last failure, while a dial is in flight again and while none is.
#[tokio::test(start_paused = true)]
async fn why_the_last_dial_failed() {
    let why = "DEADLINE_EXCEEDED: the deadline passed; the last dial failed: cannot connect to \
               http://test:80 (opening the socket): connection refused, nothing listens there: \
               connection refused [fault: server]";
    let stays = Stays(ConnectPhase::Tls, Arc::new(AtomicU32::new(1)));
    let channel = Channel::builder("http://test").connector(stays).build().unwrap();
    let error = expired(channel, true).await;
    let line = format!("{why}, while in the TLS handshake; not processed, a retry is safe");
    assert_eq!(normal(&error), line);
    let fails = Stays(ConnectPhase::Socket, Arc::new(AtomicU32::new(u32::MAX)));
    let builder = Channel::builder("http://test").connector(fails);
    let pause = Duration::from_secs(60);
    let channel = builder.backoff(pause, pause).build().unwrap();
    let error = expired(channel, true).await;
    let line = format!("{why}, while waiting for a connection; not processed, a retry is safe");
    assert_eq!(normal(&error), line);
    // The chain leads to the system's error.
    let dial = error.source().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(dial.kind(), Kind::Connect);
    let connect = dial.source().unwrap().downcast_ref::<ConnectError>().unwrap();
    assert_eq!(connect.kind(), ConnectErrorKind::Refused);
    let io = connect.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
}
