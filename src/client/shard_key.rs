//! The key of a channel in `Channels`: the parts that two builders must have in common to share it.

use crate::rt::sync::next_id;
use std::fmt;
use std::sync::Arc;

/// A part of a key that is named by its owner, or is like no other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Part {
    /// The crate's own.
    #[default]
    Default,
    /// Equal where the name is.
    Named(Arc<str>),
    /// Equal to its own copies only.
    Unique(u64),
}

impl Part {
    pub(super) fn unique() -> Self {
        Self::Unique(next_id())
    }

    /// Gives it a name, if there is anything to be named.
    pub(super) fn name(&mut self, name: &str) {
        if *self != Self::Default {
            *self = Self::Named(name.into());
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Named(name) => write!(f, "{name:?}"),
            Self::Unique(id) => write!(f, "#{id}"),
        }
    }
}

/// The key of a channel in [`Channels`](crate::client::Channels): what two calls must have in common
/// to share a connection. Keys are compared part by part, never by a hash.
///
/// | part | from |
/// |---|---|
/// | scheme, host, port or Unix path | the target |
/// | `:authority` | the target, or [`ChannelBuilder::authority`] |
/// | TLS identity, roots, verifier | the `ClientTls`: equal for its clones alone, whatever it is replaced by; its server name (SNI) apart |
/// | the way there: proxy, tunnel | [`ChannelBuilder::connector`], equal for none but where [`ChannelBuilder::via`] names it |
/// | resolver | [`ChannelBuilder::resolver`], likewise ([`ChannelBuilder::resolved_by`]) |
/// | interceptors | [`ChannelBuilder::intercept`], likewise ([`ChannelBuilder::intercepted_as`]) |
/// | tenant | [`ChannelBuilder::shard`] |
///
/// Credentials of a single call, such as `authorization`, are metadata and not part of the key. Nor
/// are options, message limits and policies: the channel that was built first determines them.
///
/// [`ChannelBuilder::authority`]: crate::client::ChannelBuilder::authority
/// [`ChannelBuilder::connector`]: crate::client::ChannelBuilder::connector
/// [`ChannelBuilder::via`]: crate::client::ChannelBuilder::via
/// [`ChannelBuilder::resolver`]: crate::client::ChannelBuilder::resolver
/// [`ChannelBuilder::resolved_by`]: crate::client::ChannelBuilder::resolved_by
/// [`ChannelBuilder::intercept`]: crate::client::ChannelBuilder::intercept
/// [`ChannelBuilder::intercepted_as`]: crate::client::ChannelBuilder::intercepted_as
/// [`ChannelBuilder::shard`]: crate::client::ChannelBuilder::shard
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ShardKey {
    /// As it reads: no two targets read alike.
    pub(super) target: String,
    pub(super) authority: String,
    pub(super) tls: Option<(u64, Option<String>)>,
    pub(super) connector: Part,
    pub(super) resolver: Part,
    pub(super) interceptors: Part,
    pub(super) tenant: Option<Arc<str>>,
}

impl ShardKey {
    /// Returns the tenant, if [`ChannelBuilder::shard`](crate::client::ChannelBuilder::shard) named
    /// one.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.target, self.authority)?;
        if let Some((id, name)) = &self.tls {
            write!(f, ", TLS #{id}")?;
            if let Some(name) = name {
                write!(f, " to {name:?}")?;
            }
        }
        if self.connector != Part::Default {
            write!(f, ", via {}", self.connector)?;
        }
        if self.resolver != Part::Default {
            write!(f, ", resolver {}", self.resolver)?;
        }
        if self.interceptors != Part::Default {
            write!(f, ", interceptors {}", self.interceptors)?;
        }
        match &self.tenant {
            Some(tenant) => write!(f, ", tenant {tenant:?}"),
            None => Ok(()),
        }
    }
}
