//! Layer 2: what this process may hold for its peers.

pub mod budget;
pub mod replay;
pub mod unsent;
