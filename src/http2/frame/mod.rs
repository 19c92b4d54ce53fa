//! Frames (RFC 9113 §4 and §6): bytes in, meaning out, and back. No state of a connection.
//!
//! A HEADERS frame carries *a field block*, bytes; what they mean is HPACK's business.

pub mod header;
pub mod payload;
pub mod write;

pub use header::{Flags, FrameHeader, FrameType, HEADER_LEN};
pub use payload::Frame;
