//! Layer 1: HTTP/2 (RFC 9113) and HPACK (RFC 7541), bytes only.
//!
//! This layer has no I/O, clock, lock or waker. The caller lends the buffers and passes the time.
//!
//! # How to drive a connection
//!
//! 1. [`Connection::new`], then [`Connection::start`] writes the preface.
//! 2. Read bytes into [`RecvBuffer::spare`], report them with [`RecvBuffer::filled`], then call
//!    [`Connection::next_event`] until it returns `None`. An event borrows from the buffer, so it must be
//!    dropped before the next call.
//! 3. Send: [`Connection::open`], [`Connection::send_head`], [`Connection::send_data`],
//!    [`Connection::send_trailers`], [`Connection::reset`]. Each leaves finished frames in the
//!    [`SendBuffer`]; DATA that the windows do not allow waits inside.
//! 4. [`Connection::schedule`] frames waiting DATA. Write [`SendBuffer::slices`], and note what left
//!    with [`SendBuffer::advance`].
//! 5. [`Connection::release`] returns credit for bytes that were read. A driver with a memory budget
//!    splits it into [`Connection::assemble`] and [`Connection::credit`], and opens windows ahead with
//!    [`Connection::prefetch`]. [`Connection::take`] removes a stream that is over.
//! 6. [`Connection::handle_timeout`] when [`Connection::poll_timeout`] has come.
//!
//! Every call leaves the connection in a consistent state. A driver needs nothing else against floods:
//! [`Connection::next_event`] refuses streams, ends the connection and waits for the transport by itself.
//! `examples/bare_core.rs` is a whole server on blocking sockets.

pub mod bdp;
pub mod buffer;
pub mod connection;
pub mod error;
pub mod fields;
pub mod flow;
pub mod frame;
pub mod hpack;
pub mod limits;
pub mod settings;
pub mod stats;
pub mod stream;
pub mod stream_id;
pub mod violation;

pub use buffer::{RecvBuffer, SendBuffer};
pub use connection::{
    Cause, Connection, Event, Head, OpenRefusal, OverLimit, Payload, Role, SendError, SendHead,
};
pub use error::ErrorCode;
pub use fields::{FIELD_OVERHEAD, FieldRef, Fields, Mark};
pub use hpack::Template;
pub use limits::{LimitError, Limits};
pub use stats::Stats;
pub use stream::{Blocked, StreamKey};
pub use stream_id::StreamId;
pub use violation::{ConnectionError, Violation};
