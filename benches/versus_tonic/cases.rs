//! What is measured.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Calls that each task makes one after the other; with the fields of a real call or without.
    Unary { in_flight: usize, real_head: bool },
    /// One stream from the server.
    ServerStream,
    /// Round trips on one stream.
    PingPong,
}

#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub name: &'static str,
    pub shape: Shape,
    pub payload: usize,
    pub tls: bool,
}

const fn unary(name: &'static str, in_flight: usize, real_head: bool, tls: bool) -> Case {
    Case { name, shape: Shape::Unary { in_flight, real_head }, payload: 100, tls }
}

const fn stream(name: &'static str, payload: usize, tls: bool) -> Case {
    Case { name, shape: Shape::ServerStream, payload, tls }
}

const fn ping_pong(name: &'static str, tls: bool) -> Case {
    Case { name, shape: Shape::PingPong, payload: 100, tls }
}

pub const CASES: [Case; 16] = [
    unary("unary-1", 1, false, false),
    unary("unary-16", 16, false, false),
    unary("unary-100", 100, false, false),
    unary("unary-1000", 1000, false, false),
    unary("real-head-100", 100, true, false),
    stream("stream-64k", 64 * 1024, false),
    stream("stream-1k", 1024, false),
    ping_pong("ping-pong", false),
    unary("tls-unary-1", 1, false, true),
    unary("tls-unary-16", 16, false, true),
    unary("tls-unary-100", 100, false, true),
    unary("tls-unary-1000", 1000, false, true),
    unary("tls-real-head-100", 100, true, true),
    stream("tls-stream-64k", 64 * 1024, true),
    stream("tls-stream-1k", 1024, true),
    ping_pong("tls-ping-pong", true),
];

pub fn find(name: &str) -> Option<Case> {
    CASES.iter().copied().find(|case| case.name == name)
}
