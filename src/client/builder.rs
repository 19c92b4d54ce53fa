//! How a channel is put together, and what may be wrong with that.

use crate::call::messages::MessageLimits;
use crate::client::channel::{Channel, Inner, Interceptor, Templates};
use crate::client::policy::{HedgePolicy, Policy, Retries, RetryPolicy};
use crate::client::shard_key::{Part, ShardKey};
use crate::connection::keepalive::Preset;
use crate::grpc::{Metadata, Status, request};
use crate::memory::replay::ReplayBudget;
use crate::pool;
use crate::pool::{Cap, Finding, Pool, PoolOptions, Resolve, Severity};
use crate::rt::sync::Mutex;
use crate::transport::connect::{Connect, Scheme, Target, TargetError};
use crate::transport::tcp::TcpConnector;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::transport::tls::{ClientTls, TlsConnector};
use std::fmt;
use std::sync::Arc;

/// Why a channel cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The target cannot be read.
    Target(TargetError),
    /// `https` needs a TLS configuration: [`ChannelBuilder::tls`].
    TlsMissing,
    /// A TLS configuration was given, but the target says `http`.
    TlsUnused,
    /// Options that contradict each other: every error that was found.
    Options(Vec<Finding>),
    /// A [`Channels`](super::Channels) has as many channels as it may, all in use.
    TooManyShards {
        /// How many.
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
                "a TLS configuration was given, but the target says http; write https, or leave it \
                 out",
            ),
            Self::TooManyShards { most } => write!(
                f,
                "there are {most} channels with other keys, as many as allowed, and all are in use \
                 (Channels::new)"
            ),
            Self::Options(findings) => {
                for (i, finding) in findings.iter().enumerate() {
                    write!(f, "{}{finding}", if i == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for BuildError {}

/// How a channel is to be.
#[must_use]
pub struct ChannelBuilder {
    target: Result<Target, TargetError>,
    connector: Option<Arc<dyn Connect>>,
    connector_part: Part,
    resolver_part: Part,
    interceptors_part: Part,
    shard: Option<Arc<str>>,
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<ClientTls>,
    resolver: Option<Arc<dyn Resolve>>,
    options: PoolOptions,
    limits: MessageLimits,
    path: Option<Preset>,
    /// The options take their times from it.
    follow_path: bool,
    user_agent: Option<String>,
    interceptors: Vec<Interceptor>,
    retries: Option<Box<Retries>>,
}

impl Channel {
    /// Begins a channel to a target: `https://host:port`, `http://host:port` or `unix:path`.
    pub fn builder(target: &str) -> ChannelBuilder {
        ChannelBuilder::new(target)
    }
}

impl ChannelBuilder {
    /// Begins a channel to `target`.
    fn new(target: &str) -> Self {
        Self {
            target: Target::parse(target),
            connector: None,
            connector_part: Part::Default,
            resolver_part: Part::Default,
            interceptors_part: Part::Default,
            shard: None,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
            resolver: None,
            options: PoolOptions::new(),
            limits: MessageLimits::new(),
            path: None,
            follow_path: false,
            user_agent: None,
            interceptors: Vec::new(),
            retries: None,
        }
    }

    /// Speaks TLS as configured; the target must say `https`.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects by other means than TCP; TLS, if configured, goes on top of it.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Some(Arc::new(connector));
        self.connector_part = Part::unique();
        self
    }

    /// Finds the addresses behind the target; each becomes an endpoint, and
    /// [`PoolOptions::balance`] spreads calls over them. Without one the target is one endpoint,
    /// and the connector resolves its name.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self.resolver_part = Part::unique();
        self
    }

    /// Names the way that the [`ChannelBuilder::connector`] given before takes: channels of
    /// [`Channels`](super::Channels) that differ in nothing but connectors of one name may share
    /// connections. Connectors without a name never do.
    pub fn via(mut self, name: &str) -> Self {
        self.connector_part.name(name);
        self
    }

    /// As [`ChannelBuilder::via`], for the [`ChannelBuilder::resolver`] given before.
    pub fn resolved_by(mut self, name: &str) -> Self {
        self.resolver_part.name(name);
        self
    }

    /// As [`ChannelBuilder::via`], for the interceptors given before: calls of one caller must not
    /// get another's credentials.
    pub fn intercepted_as(mut self, name: &str) -> Self {
        self.interceptors_part.name(name);
        self
    }

    /// Whose connections these are: [`Channels`](super::Channels) keeps those of other names apart.
    pub fn shard(mut self, tenant: &str) -> Self {
        self.shard = Some(tenant.into());
        self
    }

    /// What the channel may share with others of [`Channels`](super::Channels).
    ///
    /// # Errors
    /// The target cannot be read.
    pub fn shard_key(&self) -> Result<ShardKey, BuildError> {
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        let tls = self.tls.as_ref().map(|tls| (tls.id(), tls.server_name_text()));
        #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
        let tls = None;
        let target = self.target.as_ref().map_err(|error| BuildError::Target(error.clone()))?;
        Ok(ShardKey {
            target: target.to_string(),
            authority: target.authority().to_owned(),
            tls,
            connector: self.connector_part.clone(),
            resolver: self.resolver_part.clone(),
            interceptors: self.interceptors_part.clone(),
            tenant: self.shard.clone(),
        })
    }

    pub(super) fn cap_if_none(mut self, cap: Arc<Cap>) -> Self {
        self.options.cap.get_or_insert(cap);
        self
    }

    /// How connections are made and behave.
    pub fn options(mut self, options: PoolOptions) -> Self {
        self.options = options;
        self
    }

    /// Takes the times from a preset, as [`PoolOptions::liveness`] and
    /// [`ChannelBuilder::path`] together, whatever [`ChannelBuilder::options`] says of them before
    /// or after.
    pub fn environment(mut self, preset: Preset) -> Self {
        self.follow_path = true;
        self.path = Some(preset);
        self
    }

    /// What is known of the way to the server: [`ChannelBuilder::findings`] compares the options
    /// with it. It changes none of them. Default nothing.
    pub fn path(mut self, path: Preset) -> Self {
        self.path = Some(path);
        self
    }

    /// The options, with the times of the environment where one was named.
    fn settled(&self) -> PoolOptions {
        let options = self.options.clone();
        match self.path.as_ref().filter(|_| self.follow_path) {
            Some(preset) => options.liveness(preset),
            None => options,
        }
    }

    /// What contradicts what in the options, or will hurt, as [`ChannelBuilder::build`] finds it;
    /// errors included.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        pool::check(&self.settled(), &self.limits, self.path.as_ref())
    }

    /// The largest message received, in bytes, inflated. Default 4 MiB.
    pub const fn max_receive_message(mut self, bytes: usize) -> Self {
        self.limits.receive = bytes;
        self
    }

    /// Sets the largest body of a response to [`Channel::http`], in bytes. Default: the limit of
    /// [`ChannelBuilder::max_receive_message`]. A larger one ends the call with RESOURCE_EXHAUSTED,
    /// kind `Limit`.
    pub const fn max_http_body(mut self, bytes: usize) -> Self {
        self.limits.http_body = Some(bytes);
        self
    }

    /// The largest message sent, in bytes. Default 2 GiB − 1.
    pub const fn max_send_message(mut self, bytes: usize) -> Self {
        self.limits.send = bytes;
        self
    }

    /// The `:authority` of requests, `host` or `host:port`; dialling and TLS keep the target's
    /// host. What cannot be read is an error of [`ChannelBuilder::build`].
    pub fn authority(mut self, authority: &str) -> Self {
        self.target = self.target.and_then(|target| target.with_authority(authority));
        self
    }

    /// Put in front of this crate's own `user-agent`.
    pub fn user_agent(mut self, name: &str) -> Self {
        self.user_agent = Some(format!("{name} {}", request::USER_AGENT));
        self
    }

    /// Shows every call's metadata to `f` before it leaves: once a call, whatever attempts follow.
    pub fn intercept(
        mut self,
        f: impl Fn(&mut Metadata) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.interceptors.push(Arc::new(f));
        self.interceptors_part = Part::unique();
        self
    }

    /// Tries calls of every method again as `policy` says; [`ChannelBuilder::retry_for`] and
    /// [`ChannelBuilder::hedge_for`] go before it. Only for methods that may run twice. A method has
    /// one policy, for retries or for hedges: the one said last.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(None, Policy::Retry(policy));
        self
    }

    /// Tries calls of `/package.Service/Method`, or of all methods of `/package.Service/`, again as
    /// `policy` says.
    pub fn retry_for(mut self, name: &str, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(Some(name), Policy::Retry(policy));
        self
    }

    /// Sends unary calls of every method once more as `policy` says when the answer is late, to a
    /// connection with room to spare; [`ChannelBuilder::hedge_for`] and
    /// [`ChannelBuilder::retry_for`] go before it. Only for methods that may run twice at the same
    /// time.
    pub fn hedge(mut self, policy: HedgePolicy) -> Self {
        self.retries.get_or_insert_default().set(None, Policy::Hedge(policy));
        self
    }

    /// As [`ChannelBuilder::hedge`], for `/package.Service/Method`, or all methods of
    /// `/package.Service/`.
    pub fn hedge_for(mut self, name: &str, policy: HedgePolicy) -> Self {
        self.retries.get_or_insert_default().set(Some(name), Policy::Hedge(policy));
        self
    }

    /// Nothing is tried again or hedged while more than half of `max_tokens` (1 to 1000) are spent: a failure
    /// that a policy covers spends one, any other end earns `ratio`. Off by default.
    pub fn retry_throttle(mut self, max_tokens: u32, ratio: f64) -> Self {
        self.retries.get_or_insert_default().throttle(max_tokens, ratio);
        self
    }

    /// Builds the channel; nothing is connected. Options that work, though not as they read, are
    /// logged once as warnings and kept in [`Channel::findings`].
    ///
    /// # Errors
    /// What contradicts what.
    pub fn build(self) -> Result<Channel, BuildError> {
        let (errors, findings): (Vec<_>, Vec<_>) =
            self.findings().into_iter().partition(|finding| finding.severity == Severity::Error);
        let options = self.settled();
        let target = self.target.map_err(BuildError::Target)?;
        let https = target.scheme() == Scheme::Https;
        let connector = self.connector;
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        let connector: Arc<dyn Connect> = match (https, self.tls) {
            (true, Some(tls)) => {
                let inner = connector.unwrap_or_else(|| plain_connector(&target));
                Arc::new(TlsConnector::apart(inner, tls))
            }
            (true, None) => return Err(BuildError::TlsMissing),
            (false, Some(_)) => return Err(BuildError::TlsUnused),
            (false, None) => connector.unwrap_or_else(|| plain_connector(&target)),
        };
        #[cfg(not(any(feature = "tls-ring", feature = "tls-aws-lc")))]
        let connector: Arc<dyn Connect> = match https {
            true => return Err(BuildError::TlsMissing),
            false => connector.unwrap_or_else(|| plain_connector(&target)),
        };
        if !errors.is_empty() {
            return Err(BuildError::Options(errors));
        }
        for finding in &findings {
            tracing::warn!(%target, %finding, "options of a channel");
        }
        let inner = Inner {
            tenant: None,
            findings: findings.into(),
            scheme: if https { "https" } else { "http" },
            authority: target.authority().into(),
            user_agent: self.user_agent.map_or_else(|| request::USER_AGENT.into(), Into::into),
            limits: self.limits,
            interceptors: self.interceptors.into(),
            keep: ReplayBudget::new(options.keep_bytes, options.keep_total_bytes),
            retries: self.retries.map(Into::into),
            templates: Arc::new(Mutex::new(Templates::default())),
            pool: Arc::new(Pool::resolved(target, connector, self.resolver, options)),
        };
        Ok(Channel { inner: Arc::new(inner) })
    }
}

fn plain_connector(target: &Target) -> Arc<dyn Connect> {
    #[cfg(unix)]
    if target.unix_path().is_some() {
        return Arc::new(crate::transport::unix::UnixConnector);
    }
    let _ = target;
    Arc::new(TcpConnector::new())
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("target", &self.target).finish_non_exhaustive()
    }
}
