//! How many connections there are: lazily none, then as many as the calls need, never more than
//! allowed.

use crate::{begin, ms, one, options, places};
use framewire::client::{BuildError, Cap, Channel, Severity};
use framewire::transport::Target;
use framewire::unstable::grpc::Code;
use framewire::unstable::pool::Pool;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn nothing_is_opened_before_the_first_call() {
    let one = one(10, options());
    ms(10_000).await;
    assert_eq!((one.dials(), one.open()), (0, 0));
    begin(&one.channel, 0).await.unwrap().unwrap();
    assert_eq!((one.dials(), one.open()), (1, 1));
}

/// The oldest connection is filled to three quarters of what the peer allows, then the next.
#[tokio::test(start_paused = true)]
async fn connections_are_filled_in_their_order() {
    let one = one(8, options());
    one.channel.warm(1).await.unwrap();
    let mut calls: Vec<_> = (0..6).map(|_| begin(&one.channel, 50)).collect();
    ms(1).await;
    assert_eq!(places(&one.channel), [6], "three quarters of 8");
    // Beyond that it is used, but the pool grows in time for the calls that are to come.
    calls.extend((0..2).map(|_| begin(&one.channel, 50)));
    ms(10).await;
    assert_eq!(places(&one.channel), [8]);
    calls.extend((0..9).map(|_| begin(&one.channel, 50)));
    ms(20).await;
    assert_eq!(places(&one.channel), [8, 8, 1]);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // With room again, the oldest comes first.
    let call = begin(&one.channel, 1);
    ms(1).await;
    assert_eq!(places(&one.channel), [1, 0, 0]);
    call.await.unwrap().unwrap();
}

/// Growth does not wait until the peer's limit is reached: a connection that stays full to its soft
/// target brings the next one.
#[tokio::test(start_paused = true)]
async fn growth_comes_before_saturation() {
    let one = one(100, options());
    one.channel.warm(1).await.unwrap();
    let mut calls: Vec<_> = (0..75).map(|_| begin(&one.channel, 50)).collect();
    ms(10).await;
    assert_eq!(one.dials(), 1);
    for _ in 0..6 {
        calls.push(begin(&one.channel, 50));
        ms(10).await;
    }
    assert_eq!(one.dials(), 2);
    assert!(places(&one.channel)[0] < 100 && places(&one.channel)[1] > 0);
    assert_eq!(one.channel.waiting(), 0);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn never_more_than_allowed() {
    let mut options = options();
    options.max_connections = 3;
    let one = one(2, options);
    let calls: Vec<_> = (0..50).map(|_| begin(&one.channel, 2)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((one.peak(), one.dials()), (3, 3));
    assert_eq!(one.journal.take().len(), 50);
}

/// Zero is no number of connections: there is none that means "without bound", and none at all
/// would carry no calls. The channel is not built.
/// One word for the environment sets the times and compares the rest with it.
#[test]
fn an_environment_brings_its_times() {
    use framewire::client::Preset;
    let builder = || Channel::builder("http://test").unstable_pool(options());
    assert_ne!(builder().path(Preset::aws_alb()).findings(), [], "30 min, and 60 s are kept");
    let builder = builder().environment(Preset::aws_alb());
    assert_eq!(builder.findings(), []);
    assert_eq!(builder.build().unwrap().findings(), []);
}

#[tokio::test(start_paused = true)]
async fn none_is_refused() {
    let mut options = options();
    (options.max_connections, options.attempts) = (0, 0);
    let refused = Channel::builder("http://test").unstable_pool(options).build();
    let Err(BuildError::Options(findings)) = refused else { panic!("{refused:?}") };
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Error));
    let text = BuildError::Options(findings).to_string();
    assert!(
        text.contains("max_connections is 0") && text.contains("max_transparent_attempts is 0"),
        "{text}"
    );
}

/// Below the channel, where nothing is checked, zero counts as one.
#[tokio::test(start_paused = true)]
async fn one_is_the_least() {
    let mut options = options();
    options.max_connections = 0;
    let one = one(2, crate::options());
    let target = Target::parse("http://test").unwrap();
    let pool = Pool::new(target, Arc::new(one.network.clone()), options);
    for _ in 0..3 {
        pool.connect();
        ms(20).await;
    }
    assert_eq!((pool.connections().len(), one.dials()), (1, 1));
}

/// What works, though not as it reads, is told and built.
#[tokio::test(start_paused = true)]
async fn warnings_are_kept() {
    let quiet = one(10, options());
    assert_eq!(quiet.channel.findings(), []);
    let mut options = options();
    options.idle_time = Duration::from_secs(30);
    let builder =
        Channel::builder("http://test").unstable_pool(options).max_receive_message(1 << 32);
    let told = builder.findings();
    let channel = builder.build().unwrap();
    assert_eq!(channel.findings(), told);
    let whats: Vec<_> = told.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(whats.len(), 2, "{whats:?}");
    assert!(whats[0].starts_with("Advanced::shrink_after"), "{whats:?}");
    assert!(whats[1].starts_with("max_receive_message 4294967296"), "{whats:?}");
    assert!(told.iter().all(|finding| finding.severity == Severity::Warning));
}

/// What a subscriber of this thread wrote.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn warnings_are_logged_once() {
    let log = Log::default();
    let writer = log.clone();
    let make = move || writer.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(make).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut options = options();
    options.driver.keepalive = Some(Duration::from_secs(60));
    let one = one(10, options);
    for _ in 0..3 {
        begin(&one.channel.clone(), 0).await.unwrap().unwrap();
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let warned: Vec<_> = text.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warned.len(), 1, "{text}");
    assert!(
        warned[0].contains("keepalive_time 60s is below 300s") && warned[0].contains("http://test")
    );
}

/// A thousand callers at once on a cold channel: one dial at a time, and each proves itself before
/// the next.
#[tokio::test(start_paused = true)]
async fn a_cold_start_is_no_storm() {
    let one = one(50, options());
    let calls: Vec<_> = (0..1000).map(|_| begin(&one.channel, 1)).collect();
    let mut most = 0;
    for _ in 0..20 {
        ms(1).await;
        most = most.max(one.open());
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((most, one.peak(), one.dials()), (4, 4, 4));
}

/// Sockets of all channels that share a cap.
#[tokio::test(start_paused = true)]
async fn a_cap_holds_over_channels() {
    let cap = Cap::new(3, 100);
    let pools: Vec<_> = (0..4)
        .map(|_| {
            let mut options = options();
            options.cap = Some(cap.clone());
            options.idle_time = Duration::from_secs(2);
            one(100, options)
        })
        .collect();
    let calls: Vec<_> = pools.iter().map(|one| begin(&one.channel, 10)).collect();
    for _ in 0..50 {
        ms(1).await;
        assert!(cap.open() <= 3);
        assert!(pools.iter().map(crate::One::open).sum::<usize>() <= 3);
    }
    assert_eq!(cap.open(), 3);
    // The fourth goes on when a connection of another has rested for long enough.
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert!(cap.refused() > 0);
}

/// Dials in a second are bounded too: a fleet that comes back is not met by a storm.
#[tokio::test(start_paused = true)]
async fn dials_are_rationed() {
    let cap = Cap::new(20, 5);
    let pools: Vec<_> = (0..35)
        .map(|_| {
            let mut options = options();
            options.cap = Some(cap.clone());
            one(100, options)
        })
        .collect();
    let mut calls: Vec<_> = pools.iter().take(20).map(|one| begin(&one.channel, 0)).collect();
    ms(50).await;
    assert_eq!(cap.dials(), 20);
    for one in pools.iter().take(20) {
        one.channel.unstable_handles()[0].goodbye();
    }
    ms(50).await;
    assert_eq!(cap.open(), 0);
    // There is room for all of the others, but not at once.
    calls.extend(pools.iter().skip(20).map(|one| begin(&one.channel, 0)));
    ms(900).await;
    assert!((24..=26).contains(&cap.dials()), "{}", cap.dials());
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(cap.dials(), 35);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_is_proved_and_kept() {
    let one = one(100, options());
    one.channel.warm(3).await.unwrap();
    assert_eq!(one.open(), 3);
    assert!(one.channel.unstable_handles().iter().all(|handle| handle.is_ready()));
    // Longer than the time after which connections without calls are closed.
    ms(3_600_000).await;
    assert_eq!((one.open(), one.dials()), (3, 3));
    // What is lost is dialled anew, without a call.
    one.channel.unstable_handles()[1].goodbye();
    ms(1000).await;
    assert_eq!((one.open(), one.dials()), (3, 4));
    one.channel.warm(0).await.unwrap();
    ms(3_600_000).await;
    assert_eq!(one.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_that_fails_says_why() {
    let one = one(100, options());
    one.network.silence(crate::addr(1));
    let error = one.channel.warm(2).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
