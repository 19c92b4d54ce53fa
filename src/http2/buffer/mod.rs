//! The two buffers that the caller lends to the engine.

mod recv;
mod send;

pub use recv::RecvBuffer;
pub use send::SendBuffer;
