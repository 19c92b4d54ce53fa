//! The whole path: nothing passes, not everything passes, or not much at a time.

use crate::load::Load;
use crate::process::{LARGE, SILENT, WORK, work};
use crate::stage::{SLACK, SOON, Side, Stage, begin, builder, call, call_within, channel, sleep};
use framewire::client::Static;
use framewire::unstable::grpc::{Code, Raw, Request};
use std::time::{Duration, Instant};

/// What waits until the system sends it again.
const RESENT: Duration = Duration::from_secs(10);

/// Shorter than the time after which a peer counts as dead: calls take longer, and none fails.
pub async fn nothing_passes_for_a_while(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 0).await.unwrap();
    let load = Load::start(channel.clone(), 50, 1);
    sleep(1.0).await;
    let connection = channel.unstable_handles()[0].id();
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "drop");
    }
    sleep(4.0).await;
    stage.heal();
    sleep(2.0).await;
    let begun = load.stop_unharmed(RESENT + SLACK).await;
    println!("  {begun} calls");
    assert_eq!(channel.unstable_handles()[0].id(), connection, "it was kept");
}

/// Longer than that: calls are told in time, deadlines hold, and who waits is served afterwards.
pub async fn nothing_passes_for_long(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 1).await.unwrap();
    let waits = begin({
        let channel = channel.clone();
        async move { channel.unary(&SILENT, Raw::default()).await }
    });
    sleep(0.2).await;
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "drop");
    }
    let fault = Instant::now();
    for id in 2..=25 {
        let started = Instant::now();
        let error = call_within(&channel, id, Duration::from_millis(900)).await.unwrap_err();
        let took = started.elapsed();
        assert!(took <= Duration::from_millis(900) + SOON, "{took:?}: {error}");
        let codes = [Code::DeadlineExceeded, Code::Unavailable];
        assert!(codes.contains(&error.code()), "{error}");
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(took)).await;
        if waits.is_finished() {
            break;
        }
    }
    let (result, _) = waits.await.unwrap();
    assert_eq!(result.unwrap_err().code(), Code::Unavailable);
    let took = fault.elapsed();
    println!("  told {took:.1?} after the fault");
    assert!(took <= Duration::from_secs(20) + SLACK, "{took:?}");
    let patient = begin({
        let channel = channel.clone();
        let request = Request::new(work(100, 0)).with_wait_for_ready(true);
        async move { channel.unary(&WORK, request).await }
    });
    sleep(2.0).await;
    stage.heal();
    let healed = Instant::now();
    patient.await.unwrap().0.unwrap();
    let took = healed.elapsed();
    println!("  served {took:.1?} after that was over");
    // A SYN that is sent again and again, or a back-off.
    assert!(took <= RESENT + SLACK, "{took:?}");
    call(&channel, 101).await.unwrap();
}

/// Sockets of this namespace that wait for an answer to their SYN.
fn half_open() -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let state = |line: &str| line.split_whitespace().nth(3) == Some("02");
    table.lines().filter(|line| state(line)).count()
}

/// SYNs to the first of two addresses vanish: deadlines hold, the dial is given up, the second
/// address takes over, and nothing half-open is left.
pub async fn an_address_that_does_not_answer(stage: Stage) {
    let server = stage.serve(1, 0).await;
    let mut dead = server.address;
    dead.set_ip([10, 77, 0, 2].into());
    stage.rule(Side::Server, "ip daddr 10.77.0.2 drop");
    let builder = builder(server.address, |options| options.dial_time = Duration::from_secs(3));
    let channel = builder.resolver(Static(vec![dead, server.address])).build().unwrap();
    let started = Instant::now();
    let error = call_within(&channel, 1, Duration::from_millis(150)).await.unwrap_err();
    let took = started.elapsed();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert!(took <= Duration::from_millis(150) + SOON, "{took:?}");
    call(&channel, 2).await.unwrap();
    let took = started.elapsed();
    // Tried beside the first one, which goes on until its time is up.
    println!("  the second address after {took:.1?}");
    assert!(took <= Duration::from_millis(250) + SOON, "{took:?}");
    call(&channel, 3).await.unwrap();
    sleep(3.5).await;
    assert_eq!(half_open(), 0, "the first dial was given up");
    // One that is given up with its channel.
    let alone = crate::stage::channel(dead);
    let error = call_within(&alone, 1, Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(half_open(), 1, "only what is dialled now");
    drop(alone);
    let late = Instant::now() + Duration::from_secs(20) + SLACK;
    while half_open() > 0 {
        assert!(Instant::now() < late, "a socket is left");
        sleep(0.1).await;
    }
}

/// The server's end of the wire goes down and comes up again.
pub async fn a_link_that_flaps(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 0).await.unwrap();
    let load = Load::start(channel.clone(), 50, 1);
    for _ in 0..3 {
        sleep(0.7).await;
        stage.on(Side::Server, "ip link set wire down");
        sleep(1.0).await;
        stage.on(Side::Server, "ip link set wire up");
    }
    sleep(1.0).await;
    let begun = load.stop_unharmed(RESENT + SLACK).await;
    println!("  {begun} calls");
}

pub async fn a_link_that_loses_five_in_a_hundred(stage: Stage) {
    let server = stage.serve(0, 0).await;
    for side in [Side::Server, Side::Client] {
        stage.rule(side, "numgen random mod 100 < 5 counter drop");
    }
    let channel = channel(server.address);
    let load = Load::start(channel.clone(), 100, 1);
    let until = Instant::now() + Duration::from_secs(8);
    let mut large = 0;
    while Instant::now() < until {
        let answer = channel.unary(&LARGE, Raw(64u32.to_be_bytes().to_vec().into())).await;
        assert_eq!(answer.unwrap().into_inner().0.len(), 64 * 1024);
        large += 1;
        sleep(0.05).await;
    }
    let begun = load.stop_unharmed(RESENT + SLACK).await;
    println!("  {begun} calls, and {large} of 64 KiB");
    let rules = stage.on(Side::Client, "nft list chain inet fw in");
    assert!(!rules.contains("packets 0 "), "nothing was lost: {rules}");
}

/// Four megabits a second: bulk takes its time, small calls go on beside it.
pub async fn a_narrow_link(stage: Stage) {
    let server = stage.serve(0, 0).await;
    let channel = channel(server.address);
    call(&channel, 0).await.unwrap();
    for side in [Side::Server, Side::Client] {
        stage.on(side, "tc qdisc add dev wire root tbf rate 4mbit burst 32kbit latency 400ms");
    }
    let load = Load::start(channel.clone(), 20, 1);
    let started = Instant::now();
    for _ in 0..2 {
        let answer = channel.unary(&LARGE, Raw(1024u32.to_be_bytes().to_vec().into())).await;
        assert_eq!(answer.unwrap().into_inner().0.len(), 1 << 20);
    }
    let took = started.elapsed();
    let begun = load.stop_unharmed(RESENT + SLACK).await;
    println!("  2 MiB in {took:.1?}, {begun} calls");
    assert!(took >= Duration::from_secs(3), "the link was not narrow: {took:?}");
}
