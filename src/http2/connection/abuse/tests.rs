use crate::http2::connection::abuse::*;

const MILLISECOND: u64 = 1_000_000;

fn abuse() -> (Abuse, Limits, Instant) {
    let now = Instant::now();
    (Abuse::new(&Limits::server(), now), Limits::server(), now)
}

/// Wastes and uses so many milliseconds each second, in 200 steps. Returns the time until the connection
/// ends, and the time until streams are refused.
fn load(
    abuse: &mut Abuse,
    start: Instant,
    seconds: u64,
    [useful, wasted]: [u64; 2],
) -> [Option<Duration>; 2] {
    let mut refused = None;
    for tick in 0..seconds * 200 {
        let passed = Duration::from_millis(tick * 5);
        abuse.useful(useful * MILLISECOND / 200);
        if abuse.wasted(wasted * MILLISECOND / 200, start + passed).is_err() {
            return [Some(passed), refused];
        }
        if refused.is_none() && abuse.refuses_streams(start + passed) {
            refused = Some(passed);
        }
    }
    [None, refused]
}

#[test]
fn more_than_a_quarter_of_a_core_for_nothing_ends_the_connection() {
    let (mut one, _, now) = abuse();
    let [ended, refused] = load(&mut one, now, 60, [0, 270]);
    let (ended, refused) = (ended.expect("an end"), refused.expect("a refusal first"));
    assert!(ended <= Duration::from_secs(6) && ended >= Duration::from_secs(3), "{ended:?}");
    assert!(refused < Duration::from_secs(2), "{refused:?}");
    // A whole core is found sooner.
    let (mut one, _, now) = abuse();
    let [ended, _] = load(&mut one, now, 60, [0, 1000]);
    assert!(ended.expect("an end") <= Duration::from_millis(1100));
}

#[test]
fn less_than_a_quarter_is_allowed_without_end() {
    let (mut abuse, _, now) = abuse();
    assert_eq!(load(&mut abuse, now, 600, [0, 240]), [None, None]);
}

#[test]
fn half_of_the_work_may_be_wasted() {
    let (mut one, _, now) = abuse();
    assert_eq!(load(&mut one, now, 600, [700, 680]), [None, None]);
    let (mut one, _, now) = abuse();
    let [ended, _] = load(&mut one, now, 600, [700, 720]);
    assert!(ended.expect("an end") <= Duration::from_secs(6));
}

/// Whatever a peer has earned before, it is spent after six seconds.
#[test]
fn what_was_earned_does_not_last() {
    let (mut abuse, _, now) = abuse();
    assert_eq!(load(&mut abuse, now, 20, [900, 0]), [None, None]);
    let crossing = now + Duration::from_secs(20);
    let [ended, _] = load(&mut abuse, crossing, 60, [0, 270]);
    assert!(ended.expect("an end") <= Duration::from_secs(6), "{ended:?}");
}

#[test]
fn refusals_end_when_the_waste_ends() {
    let (mut abuse, _, now) = abuse();
    let [ended, refused] = load(&mut abuse, now, 2, [0, 400]);
    assert!(ended.is_none() && refused.is_some());
    assert!(abuse.refuses_streams(now + Duration::from_millis(1999)));
    assert!(!abuse.refuses_streams(now + Duration::from_millis(3000)));
}

#[test]
fn a_stream_given_up_honestly_costs_a_tenth() {
    let (mut abuse, _, now) = abuse();
    for _ in 0..9 {
        assert_eq!(abuse.wasted_stream(1000 * MILLISECOND, false, now), Ok(()));
    }
    assert_eq!(abuse.wasted_stream(200 * MILLISECOND, true, now), Err(Violation::WastedWork));
}

#[test]
fn extreme_limits_are_harmless() {
    for time in [Duration::ZERO, Duration::from_secs(1), Duration::MAX] {
        for work in [Duration::ZERO, Duration::MAX] {
            let now = Instant::now();
            let limits = Limits { wasted_work: work, wasted_time: time, ..Limits::server() };
            let mut abuse = Abuse::new(&limits, now);
            let ends = abuse.wasted(1, now + Duration::from_secs(100)).is_err();
            assert_eq!(ends, work.is_zero(), "{time:?} {work:?}");
        }
    }
}

#[test]
fn empty_frames_are_forgiven_by_content_and_by_time() {
    let (mut abuse, limits, now) = abuse();
    for _ in 0..50 {
        for _ in 0..100 {
            assert_eq!(abuse.empty_frame(&limits, now), Ok(()));
        }
        abuse.progress();
    }
    for i in 0..=100 {
        let want = if i < 100 { Ok(()) } else { Err(Violation::EmptyFrameFlood) };
        assert_eq!(abuse.empty_frame(&limits, now), want);
    }
}

#[test]
fn pings_that_follow_an_answer_are_free() {
    let (mut abuse, limits, now) = abuse();
    for _ in 0..1000 {
        abuse.sent();
        assert_eq!(abuse.ping(&limits, now), Ok(()));
    }
    assert_eq!(abuse.ping(&limits, now), Ok(()), "first strike");
    assert_eq!(abuse.ping(&limits, now), Ok(()), "second strike");
    assert_eq!(abuse.ping(&limits, now), Err(Violation::PingFlood));
}

#[test]
fn a_ping_every_ten_seconds_is_allowed_for_ever() {
    let (mut abuse, limits, mut now) = abuse();
    for _ in 0..10_000 {
        assert_eq!(abuse.ping(&limits, now), Ok(()));
        now += Duration::from_secs(10);
    }
}
