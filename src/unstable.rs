//! The layers below the stable surface, for tests, benches, fuzzing and the curious.
//!
//! Nothing here keeps a semver promise: names and behaviour may change in any release.

#[cfg(feature = "_net")]
#[path = "advisor/mod.rs"]
pub mod advisor;
#[cfg(feature = "_net")]
#[path = "call/mod.rs"]
pub mod call;
#[cfg(feature = "_net")]
#[path = "connection/mod.rs"]
pub mod connection;
#[path = "grpc/mod.rs"]
pub mod grpc;
#[path = "http2/mod.rs"]
pub mod http2;
#[cfg(feature = "_net")]
#[path = "memory/mod.rs"]
pub mod memory;
#[cfg(feature = "_net")]
#[path = "pool/mod.rs"]
pub mod pool;
#[cfg(feature = "_net")]
#[path = "rt/mod.rs"]
pub mod rt;
