//! Which layer may name which, and which words stay out of which folder.

use crate::reader::{files, has_word, names};

/// One row of [`LAYERS`].
pub(crate) struct Layer {
    /// The file, or the folder with everything below it.
    pub(crate) path: &'static str,
    /// The modules that it may name, itself included. `http2::*` stands for the names that
    /// `http2/mod.rs` exports, `x` for the module `x` and everything below it.
    pub(crate) may_name: &'static [&'static str],
    /// Why nothing else.
    pub(crate) reason: &'static str,
}

const fn layer(
    path: &'static str,
    may_name: &'static [&'static str],
    reason: &'static str,
) -> Layer {
    Layer { path, may_name, reason }
}

/// The layers from the lowest to the highest. The first row whose path contains a file decides.
/// A file directly in `src/` that has no row may name everything, and may only re-export.
pub(crate) static LAYERS: [Layer; 14] = [
    layer(
        "src/http2/frame",
        &["http2::frame", "http2::error", "http2::stream_id", "http2::fields", "http2::violation"],
        "layer 1: a frame is read and written without the state of a connection",
    ),
    layer(
        "src/http2/hpack",
        &["http2::hpack", "http2::error", "http2::stream_id", "http2::fields", "http2::violation"],
        "layer 1: HPACK knows fields, not frames",
    ),
    layer("src/http2", &["http2"], "layer 1: HTTP/2 on bytes"),
    layer("src/rt", &["rt"], "layer 1: clock, tasks, sockets, random numbers, atomics"),
    layer("src/grpc", &["grpc", "http2::*"], "layer 2: gRPC on the fields and codes of HTTP/2"),
    layer("src/memory", &["memory", "rt"], "layer 2: counts bytes, whoever holds them"),
    layer(
        "src/error",
        &["error", "http2::error", "http2::*", "grpc::status", "grpc::*"],
        "beside layer 2: every layer above returns it",
    ),
    layer("src/advisor", &["advisor"], "beside layer 2: functions of numbers"),
    layer(
        "src/transport",
        &["transport", "memory", "error", "rt"],
        "layer 3: makes byte streams; it does not know what they carry",
    ),
    layer(
        "src/call",
        &["call", "transport", "memory", "error", "grpc", "http2", "rt"],
        "layer 4: a call outlives its connection and names it as a `Carrier` only",
    ),
    layer(
        "src/connection",
        &["connection", "call", "transport", "memory", "error", "grpc", "http2", "rt"],
        "layer 5: a connection does not know which pool or server owns it",
    ),
    layer(
        "src/pool",
        &[
            "pool",
            "connection",
            "call",
            "transport",
            "memory",
            "error",
            "grpc",
            "http2",
            "rt",
            "advisor",
        ],
        "layer 6: a pool gives permits to calls; it does not know messages or retry policies",
    ),
    layer(
        "src/client",
        &[
            "client",
            "pool",
            "connection",
            "call",
            "transport",
            "memory",
            "error",
            "grpc",
            "rt",
            "advisor",
            HTTP2_WORDS,
        ],
        "layer 7: what callers use; of HTTP/2 it needs the words for fields and limits only",
    ),
    layer(
        "src/server",
        &[
            "server",
            "connection",
            "call",
            "transport",
            "memory",
            "error",
            "grpc",
            "rt",
            HTTP2_WORDS,
        ],
        "layer 7: what servers use; a server has no pool, no advisor and no client",
    ),
];

/// The names of `http2` that layer 7 may use.
pub(crate) const HTTP2_WORDS: &str =
    "http2::{Fields, FieldRef, ErrorCode, Limits, Head, Role, Template}";

/// The row that decides for a file.
pub(crate) fn layer_of(path: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|row| contains(row.path, path))
}

/// Whether `path` is the file `row` (with or without `.rs`), or is in the folder `row`.
pub(crate) fn contains(row: &str, path: &str) -> bool {
    let rest = path.strip_prefix(row);
    rest.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

/// Files directly in `src/` without a row of their own: they re-export.
pub(crate) fn is_root(path: &str) -> bool {
    path.strip_prefix("src/").is_some_and(|name| !name.contains('/'))
}

/// Known circles of files: none. A new circle fails the test.
pub(crate) const CIRCLES_LEFT: &[&[&str]] = &[];

/// Words that may not occur in the code of some folders.
pub(crate) struct Ban {
    pub(crate) folders: &'static [&'static str],
    /// Files or folders that may.
    pub(crate) except: &'static [&'static str],
    pub(crate) words: &'static [&'static str],
    pub(crate) reason: &'static str,
}

pub(crate) const BANS: [Ban; 10] = [
    Ban {
        folders: &["src/http2", "src/grpc", "src/advisor"],
        except: &[],
        words: &[
            "async",
            "await",
            "Waker",
            "Arc",
            "Mutex",
            "RwLock",
            "Instant::now",
            "tokio",
            "rustls",
            "tracing",
            "std::net",
            "std::thread",
            "thread_local",
        ],
        reason: "no I/O, clock, lock, task or waker here: let the caller pass bytes and time in",
    },
    Ban {
        folders: &["src/http2", "src/grpc", "src/advisor"],
        // flate2's encoders and decoders use `Read` and `Write` over memory.
        except: &["src/grpc/compression.rs"],
        words: &["std::io"],
        reason: "no I/O here",
    },
    Ban {
        folders: &["src/http2"],
        except: &[],
        words: &["http::", "prost", "grpc"],
        reason: "http2 knows bytes and fields; gRPC and the types of `http` belong to grpc",
    },
    Ban {
        folders: &["src"],
        except: &["src/rt"],
        words: &[
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
        reason: "clock, timers, tasks, sockets and random numbers come from src/rt only",
    },
    Ban {
        folders: &["src"],
        except: &["src/rt"],
        words: &["tracing"],
        reason: "a subscriber is user code: rt::log! contains its panics",
    },
    Ban {
        folders: &["src/memory", "src/call"],
        except: &[],
        words: &["tokio", "rustls", "std::net"],
        reason: "no I/O and no runtime here: wake a `Waker`, and let rt keep the time",
    },
    Ban {
        folders: &["src"],
        except: &[],
        words: &["SystemTime", "UNIX_EPOCH"],
        reason: "the wall clock jumps: deadlines, ages and timers use the monotonic clock",
    },
    Ban {
        folders: &["src"],
        // A template's identity is a process-wide counter; no other thread waits for it.
        except: &["src/rt/sync.rs", "src/http2/hpack/prepared.rs"],
        words: &[
            "std::sync::atomic",
            "core::sync::atomic",
            "crossbeam_queue",
            "atomic_waker",
            "loom",
        ],
        reason: "atomics and queues come from src/rt/sync.rs, which replaces them under loom",
    },
    Ban {
        folders: &["src"],
        // A wrong constant path of a method is found at compile time.
        except: &["src/grpc/method.rs"],
        words: &[".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!"],
        reason: "nothing outside tests may panic: return an error",
    },
    Ban {
        folders: &["src"],
        except: &[],
        words: &[
            "Code::InvalidArgument",
            "Code::NotFound",
            "Code::AlreadyExists",
            "Code::FailedPrecondition",
            "Code::Aborted",
            "Code::OutOfRange",
            "Code::DataLoss",
        ],
        reason: "codes that belong to applications: a library never makes them (gRPC status codes)",
    },
];

/// The names that the `mod.rs` of a module exports with `pub use`, each with its full path.
pub(crate) fn exports(module: &str) -> Vec<(String, String)> {
    let sources = files(&format!("src/{module}/mod.rs"), &["rs"]);
    let named = sources.iter().flat_map(names).filter(|named| named.exported);
    named
        .map(|named| {
            let path = named.path.trim_start_matches("crate::").to_owned();
            (format!("{module}::{}", named.name), path)
        })
        .collect()
}

/// Whether one of the rows names `path`, which is spelled without its `crate::`.
pub(crate) fn allowed(path: &str, rows: &[&str], exports: &[(String, String)]) -> bool {
    let first_two = path.splitn(3, "::").take(2).collect::<Vec<_>>().join("::");
    let exported = exports.iter().find(|(name, _)| *name == first_two);
    rows.iter().any(|row| {
        let below = |path: &str| path == *row || path.starts_with(&format!("{row}::"));
        match row.split_once("::") {
            Some((module, "*")) => exported.is_some() && path.starts_with(&format!("{module}::")),
            Some((module, list)) if list.starts_with('{') => path
                .strip_prefix(&format!("{module}::"))
                .and_then(|rest| rest.split("::").next())
                .is_some_and(|name| has_word(list, name)),
            _ => below(path) || exported.is_some_and(|(_, full)| below(full)),
        }
    })
}
