//! Why a channel cannot be built.

use crate::connection::check::write_lines;
use crate::pool::Finding;
use crate::transport::target::TargetError;
use std::fmt;

/// Why [`ChannelBuilder::build`](crate::client::ChannelBuilder::build) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The target, or the authority, is not valid.
    Target(TargetError),
    /// The target says `https`, but
    /// [`ChannelBuilder::tls`](crate::client::ChannelBuilder::tls) was not called.
    TlsMissing,
    /// A TLS configuration was given, but the target says `http`.
    TlsUnused,
    /// Options contradict each other or cannot work: every error that was found.
    Options(Vec<Finding>),
    /// A [`Channels`](crate::client::Channels) has its maximum number of channels, all in use.
    TooManyShards {
        /// The maximum.
        most: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => error.fmt(f),
            Self::TlsMissing => f.write_str(
                "the target says https, but no TLS configuration was given (ChannelBuilder::tls)",
            ),
            Self::TlsUnused => f.write_str(
                "a TLS configuration was given, but the target says http; use https in the target, \
                 or remove the TLS configuration",
            ),
            Self::TooManyShards { most } => write!(
                f,
                "all {most} channels that Channels::new allows are in use; raise the limit, or drop \
                 channels that are no longer needed"
            ),
            Self::Options(findings) => write_lines(findings, f),
        }
    }
}

impl std::error::Error for BuildError {}
