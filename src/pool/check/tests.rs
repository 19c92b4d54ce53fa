//! Each case alone is exactly its finding.

use crate::connection::check::Severity;
use crate::memory::budget::Budget;
use crate::pool::check::*;
use Severity::{Error, Warning};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const KIB: u32 = 1024;

/// A name, what is set, and the beginning of what is found.
type Case = (&'static str, fn(&mut PoolOptions), Severity, &'static str);

fn found(set: impl Fn(&mut PoolOptions), path: Option<&Preset>) -> Vec<Finding> {
    let mut options = PoolOptions::new();
    set(&mut options);
    check(&options, &MessageLimits::new(), path)
}

#[test]
fn the_defaults_are_no_finding() {
    assert_eq!(check(&PoolOptions::new(), &MessageLimits::new(), None), []);
    let plain = Preset::plain();
    assert_eq!(check(&PoolOptions::new(), &MessageLimits::new(), Some(&plain)), []);
}

/// What is often set, and right.
#[test]
fn sound_options_are_no_finding() {
    let sets: [fn(&mut PoolOptions); 15] = [
        |o| sized(o, |goal| goal.min = 2),
        |o| (o.min_connections, o.max_connections) = (4, 4),
        |o| o.fill_percent = 100,
        |o| o.fill_percent = 1,
        |o| o.max_age = Some(300 * SECOND),
        |o| o.backoff_max = 5 * SECOND,
        |o| o.driver.keepalive = Some(300 * SECOND),
        |o| o.idle_time = Duration::MAX,
        |o| o.cap = Some(Cap::new(4, 1)),
        |o| (o.idle_time, o.shrink_after) = (20 * SECOND, 20 * SECOND),
        |o| o.max_age = Some(21 * SECOND),
        |o| o.backoff = 120 * SECOND,
        |o| o.driver.budget = Some(Budget::new(4 * 1024 * 1024)),
        |o| o.driver.limits.connection_window = 1024 * KIB,
        |o| o.driver.limits.stream_window_max = 4 * KIB * KIB + 5,
    ];
    for (i, set) in sets.iter().enumerate() {
        assert_eq!(found(set, None), [], "{i}");
    }
}

fn sized(o: &mut PoolOptions, set: impl FnOnce(&mut crate::advisor::sizing::Goal)) {
    let mut sizing = crate::advisor::sizing::ControllerOptions::default();
    set(&mut sizing.goal);
    o.sizing = Some(sizing);
}

const CASES: [Case; 40] = [
    ("kept", |o| o.keep_total_bytes = 1, Warning, "Advanced::replay_bytes 262144 is above"),
    (
        "a goal over max",
        |o| sized(o, |goal| goal.min = 5),
        Error,
        "Advanced::sizing: goal.min is 5",
    ),
    (
        "no headroom left",
        |o| sized(o, |goal| goal.headroom = 1.0),
        Error,
        "Advanced::sizing: goal.headroom",
    ),
    (
        "nothing to choose",
        |o| {
            o.max_connections = 1;
            sized(o, |_| ());
        },
        Warning,
        "Advanced::sizing is on and max_connections is 1",
    ),
    ("no connections", |o| o.max_connections = 0, Error, "max_connections is 0"),
    ("min over max", |o| o.min_connections = 5, Error, "min_connections 5 is above max"),
    (
        "min over the cap",
        |o| (o.min_connections, o.cap) = (3, Some(Cap::new(2, 9))),
        Error,
        "min_connections 3 is above the 2 sockets",
    ),
    ("max over the cap", |o| o.cap = Some(Cap::new(3, 9)), Warning, "max_connections 4 is above"),
    ("max over the process", |o| o.max_connections = 1025, Warning, "max_connections 1025 is"),
    ("nothing is full", |o| o.fill_percent = 0, Error, "Advanced::fill_percent is 0"),
    ("over full", |o| o.fill_percent = 101, Error, "Advanced::fill_percent is 101"),
    ("nobody waits", |o| o.max_waiting = 0, Error, "max_queued_calls is 0"),
    ("nobody is carried", |o| o.max_calls = 0, Error, "Advanced::max_calls_per_connection is 0"),
    ("nobody tries", |o| o.attempts = 0, Error, "Advanced::max_transparent_attempts is 0"),
    (
        "idle under dial",
        |o| o.idle_time = 19 * SECOND,
        Warning,
        "idle_timeout 19s is below connect",
    ),
    (
        "shrink over idle",
        |o| o.idle_time = 59 * SECOND,
        Warning,
        "Advanced::shrink_after 60s is above",
    ),
    (
        "shrink under dial",
        |o| o.shrink_after = SECOND,
        Warning,
        "Advanced::shrink_after 1s is below",
    ),
    ("age under dial", |o| o.max_age = Some(20 * SECOND), Warning, "max_connection_age 20s is not"),
    (
        "age under idle",
        |o| (o.max_age, o.idle_time) = (Some(90 * SECOND), 100 * SECOND),
        Warning,
        "max_connection_age 90s is below idle_timeout 100s",
    ),
    ("no dial", |o| o.dial_time = Duration::ZERO, Error, "connect_timeout is 0"),
    (
        "no SETTINGS",
        |o| o.driver.settings_time = Duration::ZERO,
        Error,
        "Advanced::settings_timeout is 0",
    ),
    ("long SETTINGS", |o| o.dial_time = 5 * SECOND, Warning, "Advanced::settings_timeout 20s is"),
    ("back-off", |o| o.backoff = 121 * SECOND, Error, "backoff: initial 121s is above"),
    ("no back-off", |o| o.backoff = Duration::ZERO, Warning, "backoff: initial is 0"),
    (
        "PINGs without interval",
        |o| o.driver.keepalive_without_calls = true,
        Warning,
        "keepalive_without_calls is on",
    ),
    (
        "grace without age",
        |o| o.driver.max_age_grace = Some(SECOND),
        Warning,
        "max_connection_age_grace is set",
    ),
    ("PINGs", |o| o.driver.keepalive = Some(9 * SECOND), Warning, "keepalive_time 9s is below 10s"),
    (
        "strikes",
        |o| o.driver.keepalive = Some(299 * SECOND),
        Warning,
        "keepalive_time 299s is below",
    ),
    (
        "stream max",
        |o| o.driver.limits.stream_window_max = KIB,
        Error,
        "Limits::stream_window_max is 1024",
    ),
    (
        "connection max",
        |o| o.driver.limits.connection_window_max = KIB,
        Error,
        "Limits::connection_window_max is 1024",
    ),
    (
        "too wide",
        |o| o.driver.limits.connection_window_max = 1 << 31,
        Error,
        "Limits::connection_window_max is 2147483648",
    ),
    (
        "narrow",
        |o| o.driver.limits.connection_window = 1023 * KIB,
        Warning,
        "connection_window 1047552 is below stream_window 1048576",
    ),
    (
        "messages",
        |o| o.driver.limits.stream_window_max = 4 * KIB * KIB,
        Warning,
        "max_receive_message 4194304 is above Limits::stream_window_max 4194304",
    ),
    (
        "budget",
        |o| o.driver.budget = Some(Budget::new(4 * 1024 * 1024 - 1)),
        Warning,
        "budget 4194303 is below connection_window 4194304",
    ),
    ("no window", |o| o.driver.limits.stream_window = 0, Error, "stream_window is 0"),
    ("no answer", |o| o.driver.keepalive_timeout = Duration::ZERO, Error, "keepalive_timeout is 0"),
    ("no doubt", |o| o.driver.doubt.after = Duration::ZERO, Error, "Advanced::doubt's time is 0"),
    (
        "no write",
        |o| o.driver.write_stall_time = Some(Duration::ZERO),
        Error,
        "Advanced::write_stall_timeout is 0",
    ),
    (
        "small frames",
        |o| o.driver.limits.frame_bytes = 16_383,
        Error,
        "Limits::frame_bytes is 16383",
    ),
    (
        "large frames",
        |o| o.driver.limits.frame_bytes = 1 << 24,
        Error,
        "Limits::frame_bytes is 16777216",
    ),
];

#[test]
fn each_case_is_exactly_its_finding() {
    for (name, set, severity, what) in CASES {
        let found = found(set, None);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert_eq!(found[0].severity, severity, "{name}");
        assert!(found[0].what.starts_with(what), "{name}: {}", found[0]);
        let Finding { what, why, instead, .. } = &found[0];
        assert!(![what, why, instead].iter().any(|text| text.is_empty()), "{name}");
        let line = found[0].to_string();
        assert!(!line.contains('\n') && !line.contains("  "), "one line: {line:?}");
        assert!([what, why, instead].iter().all(|text| line.contains(text.as_str())), "{line}");
    }
}

/// Several at once are all told, so that one run of the program is enough.
#[test]
fn all_are_told_at_once() {
    let found = found(
        |o| (o.max_connections, o.fill_percent, o.attempts, o.backoff) = (0, 0, 0, Duration::MAX),
        None,
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

/// What middleboxes do is held against the options only where the path is named.
#[test]
fn a_named_path_is_compared() {
    for preset in [Preset::aws_nlb(), Preset::aws_alb(), Preset::kubernetes()] {
        let found = found(|_| (), Some(&preset));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.starts_with("idle_timeout 1800s, on a path"), "{}", found[0]);
        assert!(found[0].what.contains(preset.name), "{}", found[0]);
        let fits = |o: &mut PoolOptions| o.idle_time = preset.close_idle;
        let left = check_with(fits, &preset);
        // An ALB's minute is shorter than the time after which spares close.
        let shrink = left.iter().all(|finding| finding.what.starts_with("Advanced::shrink_after"));
        assert!(shrink && left.len() <= 1, "{left:?}");
    }
    let nlb = Preset::aws_nlb();
    let set = |o: &mut PoolOptions| {
        (o.idle_time, o.driver.keepalive) = (nlb.close_idle, Some(350 * SECOND));
    };
    let late = check_with(set, &nlb);
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!(late[0].instead, "keepalive_time of 320s");
    let fits =
        |o: &mut PoolOptions| (o.idle_time, o.driver.keepalive) = (nlb.close_idle, nlb.keepalive);
    assert_eq!(check_with(fits, &nlb), []);
}

fn check_with(set: impl Fn(&mut PoolOptions), path: &Preset) -> Vec<Finding> {
    found(set, Some(path))
}
