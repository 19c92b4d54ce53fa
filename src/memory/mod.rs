//! Layer 2: limits on the memory that this process holds for its peers.

pub mod budget;
pub mod inflated;
pub mod queued;
pub mod replay;
