//! The formula of `SECURITY.md`, from the limits.

use framewire::Limits;

/// Bytes of one outgoing buffer: 512 KiB, a DATA frame or a head above that, and the credit for a peer that sends
/// without reading, which is read until 1 MiB waits; all of it in pieces that are three quarters full.
const OUTGOING: usize = 3 * 512 * 1024;
/// The socket, the task, timers and counters of a connection, TLS included.
const BASE: usize = 32 * 1024;
/// A call with its state, its handler's task, and what is queued of small messages.
const CALL: usize = 16 * 1024;
/// The window that HTTP/2 grants before any SETTINGS; it is not charged to the budget.
const WINDOW: usize = 65_535;
/// Bytes of an entry of a table beside its name and value, as a multiple of what RFC 7541 counts.
const TABLE: usize = 3;

/// What one connection holds, part by part: its name in the text, the limit in words, and the bytes.
pub fn parts(limits: &Limits) -> Vec<(&'static str, &'static str, usize)> {
    let frame = (limits.frame_bytes as usize).next_power_of_two() * 2;
    let controls = limits.control_frames_queued as usize * 64;
    vec![
        ("task, socket, timers, TLS", "", BASE),
        ("received bytes before they are parsed", "2 × `frame_bytes`", frame),
        ("a field block that has not ended", "4 × `header_list_bytes`", limits.header_list_fatal()),
        (
            "both HPACK tables",
            "2 × 3 × `header_table_bytes`",
            2 * TABLE * limits.header_table_bytes,
        ),
        ("the initial window of RFC 9113", "", WINDOW),
        ("outgoing frames", "3 × 512 KiB", OUTGOING),
        ("answers to control frames", "64 × `control_frames_queued`", controls),
        ("identifiers of ended streams", "16 × `recent_streams`", 16 * limits.recent_streams),
    ]
}

/// Bytes that one connection holds beside its streams and the budget.
pub fn connection(limits: &Limits) -> usize {
    parts(limits).iter().map(|(_, _, bytes)| bytes).sum()
}

/// Bytes that one stream holds beside the budget, with so many header lists of the largest size; it has
/// two at most, the head and the trailers.
pub fn stream(limits: &Limits, lists: usize) -> usize {
    CALL + lists * limits.header_list_bytes * 3 / 2
}

/// Bytes that all connections hold of messages and queues.
pub fn messages(budget: u64) -> usize {
    (budget + (budget / 2).max(8 << 20)) as usize
}

/// Bytes of a message that proceeds although the budget is spent, one on each connection.
pub const MESSAGE: usize = 4 << 20;

/// The section of `SECURITY.md`.
pub fn text(limits: &Limits) -> String {
    let rows: String = parts(limits)
        .iter()
        .map(|(what, limit, bytes)| format!("| {what} | {limit} | {} |\n", kib(*bytes)))
        .collect();
    let (connection, stream) = (kib(connection(limits)), kib(stream(limits, 2)));
    format!(
        "\
Whatever its peers do, a process holds for them at most

```text
budget + max(budget / 2, 8 MiB) + connections × (C + M) + streams × S
```

bytes of heap, beside what its own handlers and callers hold. With the default `Limits`:

| bytes | of | default |
| --- | --- | --- |
| C | a connection | {connection} |
| S | a stream: a call, its head and its trailers (16 KiB + 3 × `header_list_bytes`) | {stream} |
| M | the one message that proceeds although the budget is spent (`max_receive_message`) | {} |
| budget | `framewire::Budget` | a quarter of the memory limit |
| connections | of a server: `ServerBuilder::max_connections` | {} |
| streams | of a connection: `Limits::concurrent_streams` | {} |

C is the sum of

| part | limit | default |
| --- | --- | --- |
{rows}",
        kib(MESSAGE),
        8192,
        limits.concurrent_streams,
    )
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
