//! What the wire-level tests share: frames by hand, a scripted peer, and the subject under test.

mod expect;
pub(crate) mod frame;
pub(crate) mod hpack;
pub(crate) mod raw;
mod selfcheck;
pub(crate) mod subject;
mod subject_framewire;
mod subject_h2;

pub(crate) use frame::*;
pub(crate) use hpack::{get, post, response};
pub(crate) use raw::RawPeer;
pub(crate) use subject::{connect, connected, outcome, serve, serve_counted, served};
