//! Floor 1: HTTP/2 (RFC 9113) and HPACK (RFC 7541), bytes only.
//!
//! No I/O, clock, lock or waker lives here. The caller lends the buffers and tells the time.

pub mod error;
pub mod fields;
pub mod hpack;

pub use error::ErrorCode;
pub use fields::{FieldRef, Fields};
