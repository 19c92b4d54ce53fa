//! What a channel watches while it works: load and size, places that run out, calls that nobody
//! waits for.

use crate::network::{Network, addr};
use crate::{WORK, allowing, begin, ms, one, options, raw};
use framewire::client::{Channel, ControllerOptions, Count};
use framewire::server::Router;
use framewire::unstable::advisor::sizing::Bound;
use framewire::unstable::grpc::{Method, Raw};
use framewire::unstable::pool::PoolOptions;
use std::time::Duration;
use tokio::time::Instant;

const WATCH: Method<Raw, Raw> = Method::new("/test.Feed/Watch");
const CHAT: Method<Raw, Raw> = Method::new("/test.Feed/Chat");

/// A channel to a server whose streams never end by themselves.
fn feed(calls: u32, options: PoolOptions) -> (Channel, framewire::server::Server) {
    let network = Network::new();
    let router = Router::new()
        .server_streaming(&WATCH, |_, request: Raw, mut replies| async move {
            replies.send(request).await?;
            std::future::pending().await
        })
        .bidi(&CHAT, |_, mut requests, mut replies| async move {
            while let Some(request) = requests.message().await? {
                replies.send(request).await?;
            }
            Ok(())
        });
    let server = network.serve(addr(1), router, allowing(calls));
    let channel = Channel::builder("http://test").connector(network).unstable_pool(options);
    (channel.build().unwrap(), server)
}

/// Rate, mean and what they need, as the load of the last seconds was.
#[tokio::test(start_paused = true)]
async fn advice_spells_out_the_arithmetic() {
    let one = one(10, options());
    assert!(one.channel.advice().is_none(), "nothing was measured");
    // 50 calls a second of 40 ms each: two at a time.
    for _ in 0..1500 {
        begin(&one.channel, 4);
        ms(20).await;
    }
    let advice = one.channel.advice().unwrap();
    let load = advice.sizing.load;
    assert!((load.rate - 50.0).abs() < 1.0, "{}", load.rate);
    let mean = load.mean.as_secs_f64();
    assert!((mean - 0.040).abs() < 0.002, "{mean}");
    assert_eq!(advice.sizing.streams_per_connection, 10);
    assert_eq!((advice.sizing.connections, advice.connections, advice.max), (1, 1, 4));
    assert!((advice.sizing.offered - 2.0).abs() < 0.1, "{}", advice.sizing.offered);
    let text = advice.to_string();
    assert!(text.starts_with("1 of at most 4 open, 1 wanted: as many as wanted; 0.0 %"), "{text}");
    assert!(text.contains("calls/s x 40."), "{text}");
}

/// Streams that do not end are load as well: Little's law finds them.
#[tokio::test(start_paused = true)]
async fn calls_that_do_not_end_are_counted_by_what_they_hold() {
    let (channel, _server) = feed(30, options());
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut stream = channel.server_streaming(&WATCH, raw("x")).unwrap();
        stream.message().await.unwrap();
        held.push(stream);
    }
    ms(60_000).await;
    let advice = channel.advice().unwrap();
    assert!((advice.sizing.offered - 20.0).abs() < 2.0, "{advice}");
}

/// The controller dials before calls wait, and drains when fewer would do.
#[tokio::test(start_paused = true)]
async fn the_size_follows_the_load() {
    let mut options = options();
    options.max_connections = 6;
    options.shrink_after = Duration::from_secs(3600);
    options.idle_time = Duration::from_secs(3600);
    options.fill_percent = 100;
    options.sizing = Some(ControllerOptions::default());
    let one = one(10, options);
    // Fifteen at a time, then one.
    for _ in 0..3000 {
        begin(&one.channel, 15);
        ms(10).await;
    }
    let busy = one.channel.stats();
    let wanted = one.channel.advice().unwrap().sizing;
    assert_eq!(wanted.bound, Bound::Streams);
    // One more where the cold start, in which calls waited, has taught it to.
    let open = busy.endpoints[0].open;
    assert!(open == wanted.connections || open == wanted.connections + 1, "{open}: {wanted}");
    assert!(wanted.connections >= 3, "two would do without room to spare: {wanted}");
    for _ in 0..2000 {
        begin(&one.channel, 15);
        ms(150).await;
    }
    let calm = one.channel.stats();
    assert_eq!(calm.endpoints[0].open, 1, "{calm}\n{}", one.channel.advice().unwrap());
    assert!(calm.counted(Count::Shrunk) >= 2, "{calm}");
    assert_eq!(calm.counted(Count::RefusedFull) + calm.counted(Count::Expired), 0);
}

/// A slow leak of streams is told a minute and more before the first call is refused a place.
#[tokio::test(start_paused = true)]
async fn slow_exhaustion_is_told_before_the_first_refusal() {
    let mut options = options();
    options.max_connections = 2;
    options.max_waiting = 1;
    options.driver.leak_after = None;
    let (channel, _server) = feed(300, options);
    let began = Instant::now();
    let mut leaked = Vec::new();
    let mut told = None;
    let refused = loop {
        let mut stream = channel.server_streaming(&WATCH, raw("x")).unwrap();
        match tokio::time::timeout(Duration::from_secs(1), stream.message()).await {
            Ok(Ok(_)) => leaked.push(stream),
            _ => break began.elapsed(),
        }
        // An honest load beside it.
        for _ in 0..10 {
            let (mut up, mut down) = channel.bidi(&CHAT, ()).unwrap();
            up.try_send(raw("y")).unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(90), down.message()).await;
            drop(answer);
            ms(100).await;
        }
        let warning = channel.stats().exhaustion;
        if let (None, Some((_, warning))) = (&told, &warning) {
            told = Some((began.elapsed(), warning.to_string()));
        }
        assert!(leaked.len() <= 700);
    };
    let (told, text) = told.expect("it was told");
    assert!(refused - told >= Duration::from_secs(60), "{told:?} of {refused:?}: {text}");
    assert!(text.contains("slots in use"), "{text}");
    assert!(channel.stats().counted(Count::Exhaustion) >= 1);
}

/// A steady load is not told of.
#[tokio::test(start_paused = true)]
async fn a_steady_load_is_no_exhaustion() {
    let one = one(20, options());
    for _ in 0..30_000 {
        begin(&one.channel, 10);
        ms(20).await;
    }
    assert_eq!(one.channel.stats().counted(Count::Exhaustion), 0);
}

/// A stream that nobody reads is named with the place where it was begun, once.
#[tokio::test(start_paused = true)]
async fn a_forgotten_stream_is_named() {
    let (channel, _server) = feed(10, options());
    let here = line!() + 1;
    let mut forgotten = channel.server_streaming(&WATCH, raw("x")).unwrap();
    forgotten.message().await.unwrap();
    let (up, mut down) = channel.bidi(&CHAT, ()).unwrap();
    // Somebody waited for it, and no longer does.
    assert!(tokio::time::timeout(Duration::from_millis(20), down.message()).await.is_err());
    // This one is silent as well, but awaited.
    let mut awaited = channel.server_streaming(&WATCH, raw("x")).unwrap();
    let awaited = tokio::spawn(async move {
        awaited.message().await.unwrap();
        awaited.message().await.unwrap();
    });
    ms(590_000).await;
    assert_eq!(channel.stats().counted(Count::Leaks), 0, "too early");
    ms(400_000).await;
    let stats = channel.stats();
    assert_eq!(stats.counted(Count::Leaks), 2, "{stats}");
    drop((up, down));
    ms(10_000_000).await;
    assert_eq!(channel.stats().counted(Count::Leaks), 2, "each once");
    assert!(!awaited.is_finished());
    let mut another = channel.server_streaming(&WATCH, raw("x")).unwrap();
    another.message().await.unwrap();
    let there = line!() - 2;
    ms(1_000_000).await;
    let stats = channel.stats();
    let (_, leak) = stats.leak.as_ref().unwrap();
    assert_eq!(leak.method.as_deref(), Some("/test.Feed/Watch"));
    let site = leak.site.unwrap();
    assert!(site.file().ends_with("watched.rs"), "{site}");
    assert_eq!(site.line(), there);
    assert!(here < there && leak.still >= Duration::from_secs(600), "{leak}");
    assert!(stats.to_string().contains("is held and not polled"), "{stats}");
}

/// A unary call is named by its place, too.
#[tokio::test(start_paused = true)]
async fn the_place_of_a_unary_call_is_the_callers() {
    let request = framewire::unstable::grpc::Request::new(raw([0]));
    let one = one(10, options());
    assert!(request.site().is_none());
    one.channel.unary(&WORK, request).await.unwrap();
}
