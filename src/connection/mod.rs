//! Layer 5: the task that owns one HTTP/2 connection, and the handle that everybody else uses.

pub mod check;
pub mod cost;
pub mod counters;
pub mod dispatch;
pub mod driver;
pub mod engine;
pub mod event;
pub mod handle;
pub mod keepalive;
#[cfg(all(test, framewire_loom))]
mod loom_tests;
pub mod mailbox;
mod memory;
pub mod options;
pub mod permits;
