//! Building a channel; limits and times are set in `options.rs`.

use crate::call::messages::MessageLimits;
use crate::client::build_error::BuildError;
use crate::client::channel::{Channel, Inner, Interceptor, Templates};
use crate::client::policy::{HedgePolicy, Policy, Retries, RetryPolicy};
use crate::client::settings::Settings;
use crate::client::shard_key::{Part, ShardKey};
use crate::connection::check::split;
use crate::connection::keepalive::Preset;
use crate::grpc::{Metadata, Status};
use crate::memory::replay::ReplayBudget;
use crate::pool;
use crate::pool::{Cap, Finding, Pool, PoolOptions, Resolve};
use crate::rt::sync::Mutex;
use crate::transport::connect::{Connect, Target};
use crate::transport::target::{Scheme, TargetError};
use crate::transport::tcp::TcpConnector;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::transport::tls::{ClientTls, TlsConnector};
use std::fmt;
use std::sync::Arc;

/// Builder for a [`Channel`]; [`Channel::builder`] creates one.
///
/// Without further options the channel connects by TCP, to one endpoint, with at most 4
/// connections. [`ChannelBuilder::build`] connects nothing and returns an error if options
/// contradict each other.
///
/// # Runtime
/// Building needs no tokio runtime. Where the channel's tasks run is said at [`Channel`];
/// [`ChannelBuilder::executor`] binds them to one.
///
/// ```no_run
/// use framewire::client::Channel;
/// use framewire::tls::ClientTls;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = Channel::builder("https://users.example:443")
///     .tls(ClientTls::builder().build()?)
///     .connect_timeout(Duration::from_secs(5))
///     .max_connections(8)
///     .user_agent("billing/2.1")
///     .build()?;
/// # Ok(())
/// # }
/// ```
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
    pub(super) settings: Settings,
    pub(super) limits: MessageLimits,
    path: Option<Preset>,
    /// The options take their times from `path`.
    follow_path: bool,
    interceptors: Vec<Interceptor>,
    retries: Option<Box<Retries>>,
}

impl Channel {
    /// Begins a channel to a target: `https://host:port`, `http://host:port` or `unix:path`.
    ///
    /// A target that is not valid is an error of [`ChannelBuilder::build`].
    ///
    /// ```
    /// use framewire::client::{BuildError, Channel};
    ///
    /// let channel = Channel::builder("http://users.local:80").build()?;
    /// assert!(matches!(
    ///     Channel::builder("ftp://users.local").build(),
    ///     Err(BuildError::Target(_))
    /// ));
    /// # Ok::<(), BuildError>(())
    /// ```
    pub fn builder(target: &str) -> ChannelBuilder {
        ChannelBuilder::new(target)
    }
}

impl ChannelBuilder {
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
            settings: Settings::default(),
            limits: MessageLimits::new(),
            path: None,
            follow_path: false,
            interceptors: Vec::new(),
            retries: None,
        }
    }

    /// Sets the TLS configuration; the target must say `https`. Default none: the target must say
    /// `http`.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how connections are made. Default TCP, or a Unix socket for `unix:path`. TLS, if
    /// configured, goes on top of it.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Some(Arc::new(connector));
        self.connector_part = Part::unique();
        self
    }

    /// Sets how the addresses behind the target are found; each becomes an endpoint, and
    /// [`ChannelBuilder::balance`] spreads calls over them. Default none: the target is one endpoint,
    /// and the connector resolves its name.
    ///
    /// ```
    /// use framewire::client::{Balance, Channel, Static};
    ///
    /// let replicas = Static(vec!["10.0.0.1:80".parse()?, "10.0.0.2:80".parse()?]);
    /// let channel = Channel::builder("http://users.local:80")
    ///     .resolver(replicas)
    ///     .balance(Balance::RoundRobin)
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self.resolver_part = Part::unique();
        self
    }

    /// Names the [`ChannelBuilder::connector`] that was set before: in
    /// [`Channels`](super::Channels), builders with connectors of the same name may get the same
    /// channel. Builders with connectors without a name never do.
    pub fn via(mut self, name: &str) -> Self {
        self.connector_part.name(name);
        self
    }

    /// Names the [`ChannelBuilder::resolver`] that was set before; see [`ChannelBuilder::via`].
    pub fn resolved_by(mut self, name: &str) -> Self {
        self.resolver_part.name(name);
        self
    }

    /// Names the interceptors that were set before; see [`ChannelBuilder::via`]. Two builders must
    /// use one name only if their interceptors attach the same credentials.
    pub fn intercepted_as(mut self, name: &str) -> Self {
        self.interceptors_part.name(name);
        self
    }

    /// Sets the tenant whose connections these are: [`Channels`](super::Channels) keeps the channels
    /// of different tenants separate. Default none.
    pub fn shard(mut self, tenant: &str) -> Self {
        self.shard = Some(tenant.into());
        self
    }

    /// Returns the key by which [`Channels`](super::Channels) finds the channel.
    ///
    /// # Errors
    /// [`BuildError::Target`] if the target is not valid.
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
        self.settings.fallback_cap = Some(cap);
        self
    }

    /// Takes idle, keepalive and probe times from a preset, and compares the other options with it
    /// as [`ChannelBuilder::path`]. Times that a setter was given, before or after, stay. Default
    /// none.
    ///
    /// | preset | idle timeout | keepalive | probe after |
    /// |---|---|---|---|
    /// | plain, Kubernetes | 300 s | off | 60 s |
    /// | AWS NLB | 339.5 s | 320 s | 60 s |
    /// | AWS ALB | 54 s | off | 45 s |
    /// | cloud | the limit less 6 s or 3 % | 320 s if that is below the limit | 60 s, at most ¾ of the limit |
    ///
    /// ```
    /// use framewire::client::{Channel, Preset};
    ///
    /// let builder = Channel::builder("http://users.local:80").environment(Preset::aws_nlb());
    /// assert!(builder.findings().is_empty());
    /// ```
    pub fn environment(mut self, preset: Preset) -> Self {
        self.follow_path = true;
        self.path = Some(preset);
        self
    }

    /// Compares the options with what is known of the network path; the findings are warnings.
    /// Changes no option. Default none.
    pub fn path(mut self, path: Preset) -> Self {
        self.path = Some(path);
        self
    }

    /// Returns the pool's options, with the times of the environment where one was named.
    fn pool_options(&self) -> PoolOptions {
        self.settings.pool_options(self.path.as_ref().filter(|_| self.follow_path))
    }

    /// Returns what is wrong with the options: errors, for which [`ChannelBuilder::build`] fails, and
    /// warnings, with which it builds.
    ///
    /// ```
    /// use framewire::client::{Channel, Severity};
    ///
    /// let findings = Channel::builder("http://users.local:80").max_connections(0).findings();
    /// assert_eq!(findings[0].severity, Severity::Error);
    /// assert_eq!(findings[0].what, "max_connections is 0");
    /// ```
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = pool::check(&self.pool_options(), &self.limits, self.path.as_ref());
        findings.extend(self.settings.findings());
        findings.extend(self.retries.iter().flat_map(|retries| retries.findings()));
        findings
    }

    /// Sets the `:authority` of requests, `host` or `host:port`. Default the target's. Dialling and
    /// TLS keep the target's host. One that is not valid is an error of [`ChannelBuilder::build`].
    pub fn authority(mut self, authority: &str) -> Self {
        self.target = self.target.and_then(|target| target.with_authority(authority));
        self
    }

    /// Adds an interceptor: it sees, and may change, the metadata of every call before it is sent,
    /// once per call, not per attempt. An error ends the call with that status.
    ///
    /// ```
    /// use framewire::client::Channel;
    ///
    /// let channel = Channel::builder("http://users.local:80")
    ///     .intercept(|metadata| {
    ///         metadata.insert("x-request-source", "billing").map_err(|error| {
    ///             framewire::Status::new(framewire::Code::Internal, error.to_string())
    ///         })?;
    ///         Ok(())
    ///     })
    ///     .build()?;
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    pub fn intercept(
        mut self,
        f: impl Fn(&mut Metadata) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.interceptors.push(Arc::new(f));
        self.interceptors_part = Part::unique();
        self
    }

    /// Sets the retry policy of all methods without a policy of their own
    /// ([`ChannelBuilder::retry_for`], [`ChannelBuilder::hedge_for`]). Only for methods that may run
    /// twice. A method has one policy, for retries or for hedges: the last one that was set. Default
    /// none.
    ///
    /// ```
    /// use framewire::Code;
    /// use framewire::client::{Channel, RetryPolicy};
    ///
    /// let channel = Channel::builder("http://users.local:80")
    ///     .retry_for("/users.v1.Users/Get", RetryPolicy::new(3).on(Code::Unavailable))
    ///     .build()?;
    /// # Ok::<(), framewire::client::BuildError>(())
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(None, Policy::Retry(policy));
        self
    }

    /// Sets the retry policy of `/package.Service/Method`, or of all methods of
    /// `/package.Service/`. Any other name is an error of [`ChannelBuilder::build`].
    pub fn retry_for(mut self, name: &str, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(Some(name), Policy::Retry(policy));
        self
    }

    /// Sets the hedging policy of the unary calls of all methods without a policy of their own: it
    /// sends a call again, on a connection below its soft target, when the response is late. Only
    /// for methods that may run twice at the same time. Default none.
    pub fn hedge(mut self, policy: HedgePolicy) -> Self {
        self.retries.get_or_insert_default().set(None, Policy::Hedge(policy));
        self
    }

    /// Sets the hedging policy of `/package.Service/Method`, or of all methods of
    /// `/package.Service/`; see [`ChannelBuilder::hedge`].
    pub fn hedge_for(mut self, name: &str, policy: HedgePolicy) -> Self {
        self.retries.get_or_insert_default().set(Some(name), Policy::Hedge(policy));
        self
    }

    /// Stops retries and hedges while half of `max_tokens` or more are spent (gRFC A6, retry throttling).
    /// A failure that a policy covers spends one token, a success returns `ratio` tokens, and any other
    /// failure changes nothing. Default off. `max_tokens` outside of 1 to 1000 and a `ratio` below 0.001
    /// are errors of [`ChannelBuilder::build`].
    pub fn retry_throttle(mut self, max_tokens: u32, ratio: f64) -> Self {
        self.retries.get_or_insert_default().throttle(max_tokens, ratio);
        self
    }

    /// Builds the channel. It connects nothing. Warnings about the options are logged once and kept
    /// in [`Channel::findings`].
    ///
    /// # Errors
    /// - [`BuildError::Target`] if target or authority is not valid;
    /// - [`BuildError::TlsMissing`] and [`BuildError::TlsUnused`] if target and
    ///   [`ChannelBuilder::tls`] do not agree;
    /// - [`BuildError::Options`] if options contradict each other or cannot work.
    pub fn build(self) -> Result<Channel, BuildError> {
        let (errors, findings) = split(self.findings());
        let options = self.pool_options();
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
            crate::rt::log!(warn, %target, %finding, "options of a channel");
        }
        let inner = Inner {
            tenant: None,
            findings: findings.into(),
            scheme: if https { "https" } else { "http" },
            authority: target.authority().into(),
            user_agent: self.settings.user_agent().into(),
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
