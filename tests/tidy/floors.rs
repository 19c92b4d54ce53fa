//! Who may name whom, and which words stay out of which folder.

use crate::reader::{expand, files, has_word};

/// Which modules each room may name. The first row whose path begins a file's path decides.
/// `http2::*` stands for the names `http2/mod.rs` exports, `x::` for everything below `x`.
pub(crate) const FLOORS: [(&str, &[&str]); 10] = [
    (
        "src/http2/frame",
        &["http2::frame", "http2::error", "http2::stream_id", "http2::fields", "http2::violation"],
    ),
    (
        "src/http2/hpack",
        &["http2::hpack", "http2::error", "http2::stream_id", "http2::fields", "http2::violation"],
    ),
    ("src/http2", &["http2"]),
    ("src/grpc", &["grpc", "http2::*"]),
    ("src/net", &["net", "http2", "grpc", "error"]),
    ("src/client", &["client", "net", "grpc", "error", HTTP2_WORDS]),
    ("src/server", &["server", "net", "grpc", "error", HTTP2_WORDS]),
    ("src/error.rs", &["error", "http2::error", "http2::*", "grpc::status", "grpc::*"]),
    ("src/codegen", &["client", "server", "grpc", "error", HTTP2_WORDS]),
    ("src/lib.rs", &["http2", "grpc", "net", "client", "server", "error", "codegen"]),
];

/// The words of floor 1 that floor 4 may use.
pub(crate) const HTTP2_WORDS: &str =
    "http2::{Fields, FieldRef, ErrorCode, Limits, Head, Role, Template}";

/// Words that may not stand in the code of some folders: folders, files excepted, words, reason.
pub(crate) type Ban =
    (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static str);

pub(crate) const BANS: [Ban; 8] = [
    (
        &["src/http2", "src/grpc"],
        &[],
        &[
            "async",
            "await",
            "Waker",
            "Arc",
            "Mutex",
            "RwLock",
            "Instant::now",
            "SystemTime",
            "tokio",
            "rustls",
            "tracing",
            "std::net",
            "std::thread",
            "thread_local",
        ],
        "floors 1 and 2 know bytes only: no I/O, clock, lock or waker; let the driver hand it in",
    ),
    (
        &["src/http2", "src/grpc"],
        // flate2's encoders and decoders speak `Read` and `Write` over memory.
        &["src/grpc/compression.rs"],
        &["std::io"],
        "floors 1 and 2 do no I/O",
    ),
    (
        &["src/http2"],
        &[],
        &["http::", "prost", "grpc"],
        "floor 1 speaks of octets and fields; gRPC and `http` types belong to floor 2",
    ),
    (
        &["src/net", "src/client", "src/server"],
        &["src/rt/mod.rs"],
        &[
            "Instant::now",
            "tokio::spawn",
            "task::spawn",
            "task::spawn_blocking",
            "thread::spawn",
            "thread::sleep",
            "time::sleep",
            "time::sleep_until",
            "time::timeout",
            "time::interval",
            "TcpStream::connect",
            "UnixStream::connect",
            "TcpListener::bind",
            "UnixListener::bind",
            "lookup_host",
            "ToSocketAddrs",
            "rand",
            "fastrand",
            "RandomState",
        ],
        "clock, timers, tasks, sockets and chance come through net/env.rs alone",
    ),
    (
        &["src"],
        &[],
        &["SystemTime", "UNIX_EPOCH"],
        "the wall clock jumps: deadlines, ages and timers are kept on the monotonic one",
    ),
    (
        &["src"],
        // A template's identity is a process-wide count, no protocol between threads.
        &["src/rt/sync.rs", "src/http2/hpack/prepared.rs"],
        &["std::sync::atomic", "core::sync::atomic", "crossbeam_queue", "atomic_waker", "loom"],
        "atomics and queues come from net/sync.rs, which swaps them for models under loom",
    ),
    (
        &["src"],
        // A wrong constant path of a method is found at compile time.
        &["src/grpc/method.rs"],
        &[".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!"],
        "nothing outside tests may panic: return an error",
    ),
    (
        &["src"],
        &[],
        &[
            "Code::InvalidArgument",
            "Code::NotFound",
            "Code::AlreadyExists",
            "Code::FailedPrecondition",
            "Code::Aborted",
            "Code::OutOfRange",
            "Code::DataLoss",
        ],
        "codes that belong to applications: a library never makes them (gRPC status codes)",
    ),
];

/// The names that the `mod.rs` of a floor exports with `pub use`, each with its full path.
pub(crate) fn exports(floor: &str) -> Vec<(String, String)> {
    let sources = files(&format!("src/{floor}/mod.rs"), &["rs"]);
    let mut found = Vec::new();
    for source in &sources {
        let text: Vec<&str> = source.lines.iter().map(|line| line.code.trim()).collect();
        for item in text.join(" ").split(';').filter_map(|item| item.split("pub use ").nth(1)) {
            expand("", item, &mut |path| {
                let name = path.rsplit("::").next().unwrap_or(path);
                found.push((format!("{floor}::{name}"), format!("{floor}::{path}")));
            });
        }
    }
    found
}

pub(crate) fn allowed(path: &str, rows: &[&str], exports: &[(String, String)]) -> bool {
    let first_two = path.splitn(3, "::").take(2).collect::<Vec<_>>().join("::");
    let exported = exports.iter().find(|(name, _)| *name == first_two);
    rows.iter().any(|row| {
        let below = |path: &str| path == *row || path.starts_with(&format!("{row}::"));
        match row.split_once("::") {
            Some((floor, "*")) => exported.is_some() && path.starts_with(&format!("{floor}::")),
            Some((floor, list)) if list.starts_with('{') => path
                .strip_prefix(&format!("{floor}::"))
                .and_then(|rest| rest.split("::").next())
                .is_some_and(|name| has_word(list, name)),
            _ => below(path) || exported.is_some_and(|(_, full)| below(full)),
        }
    })
}
