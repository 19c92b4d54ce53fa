//! A channel: a cheap clone over the pool.

use super::call::{Call, CallTimeline, Options};
use super::retry::{Retries, RetryPolicy};
use super::streaming::{Sender, Streaming};
use crate::error::{Error, Phase};
use crate::grpc::{
    Decode, Encode, Encoding, IntoRequest, Metadata, Method, Request, Response, Status,
};
use crate::grpc::{method::Path, request};
use crate::http2::Template;
use crate::net::connect::{Connect, Scheme, Target, TargetError};
use crate::net::env;
use crate::net::liveness::Preset;
use crate::net::messages::MessageLimits;
use crate::net::pool::{
    self, ChannelState, Finding, Pool, PoolOptions, PoolStats, Resolve, Severity,
};
use crate::net::sync::Mutex;
use crate::net::tcp::TcpConnector;
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
use crate::net::tls::{ClientTls, TlsConnector};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// Sees every call's metadata before it leaves; an error ends the call.
pub type Interceptor = Arc<dyn Fn(&mut Metadata) -> Result<(), Status> + Send + Sync>;

/// A channel to one target. It opens nothing before the first call; clones share everything.
///
/// Dropping the last clone closes the connections once their calls have ended.
#[derive(Clone)]
pub struct Channel {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) limits: MessageLimits,
    scheme: &'static str,
    authority: Box<str>,
    user_agent: Box<str>,
    pub(super) interceptors: Vec<Interceptor>,
    /// Most channels have none.
    retries: Option<Box<Retries>>,
    /// Warnings about the options.
    findings: Vec<Finding>,
    /// One prepared head a method, and the last one used.
    templates: Mutex<Templates>,
}

#[derive(Default)]
struct Templates {
    last: Option<(&'static str, Arc<Template>)>,
    all: HashMap<&'static str, Arc<Template>>,
}

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
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    tls: Option<ClientTls>,
    resolver: Option<Arc<dyn Resolve>>,
    options: PoolOptions,
    limits: MessageLimits,
    path: Option<Preset>,
    user_agent: Option<String>,
    interceptors: Vec<Interceptor>,
    retries: Option<Box<Retries>>,
}

impl ChannelBuilder {
    /// Speaks TLS as configured; the target must say `https`.
    #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects by other means than TCP; TLS, if configured, goes on top of it.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// Finds the addresses behind the target; each becomes an endpoint, and
    /// [`PoolOptions::balance`] spreads calls over them. Without one the target is one endpoint,
    /// and the connector resolves its name.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// How connections are made and behave.
    pub fn options(mut self, options: PoolOptions) -> Self {
        self.options = options;
        self
    }

    /// What is known of the way to the server: [`ChannelBuilder::findings`] compares the options
    /// with it. It changes none of them. Default nothing.
    pub fn path(mut self, path: Preset) -> Self {
        self.path = Some(path);
        self
    }

    /// What contradicts what in the options, or will hurt, as [`ChannelBuilder::build`] finds it;
    /// errors included.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        pool::check(&self.options, &self.limits, self.path.as_ref())
    }

    /// The largest message received, in octets, inflated. Default 4 MiB.
    pub const fn max_receive_message(mut self, octets: usize) -> Self {
        self.limits.receive = octets;
        self
    }

    /// The largest message sent, in octets. Default 2 GiB − 1.
    pub const fn max_send_message(mut self, octets: usize) -> Self {
        self.limits.send = octets;
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

    /// Shows every call's metadata to `f` before it leaves.
    pub fn intercept(
        mut self,
        f: impl Fn(&mut Metadata) -> Result<(), Status> + Send + Sync + 'static,
    ) -> Self {
        self.interceptors.push(Arc::new(f));
        self
    }

    /// Tries unary calls of every method again as `policy` says; [`ChannelBuilder::retry_for`]
    /// goes before it. Only for methods that may run twice.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(None, policy);
        self
    }

    /// Tries unary calls of `/package.Service/Method`, or of all methods of `/package.Service/`,
    /// again as `policy` says.
    pub fn retry_for(mut self, name: &str, policy: RetryPolicy) -> Self {
        self.retries.get_or_insert_default().set(Some(name), policy);
        self
    }

    /// Nothing is tried again while more than half of `max_tokens` (1 to 1000) are spent: a failure
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
        let target = self.target.map_err(BuildError::Target)?;
        let https = target.scheme() == Scheme::Https;
        let connector = self.connector;
        #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
        let connector: Arc<dyn Connect> = match (https, self.tls) {
            (true, Some(tls)) => {
                let inner = connector.unwrap_or_else(|| plain_connector(&target));
                Arc::new(TlsConnector::new(inner, tls))
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
            findings,
            scheme: if https { "https" } else { "http" },
            authority: target.authority().into(),
            user_agent: self.user_agent.map_or_else(|| request::USER_AGENT.into(), Into::into),
            limits: self.limits,
            interceptors: self.interceptors,
            retries: self.retries,
            templates: Mutex::new(Templates::default()),
            pool: Pool::resolved(target, connector, self.resolver, self.options),
        };
        Ok(Channel { inner: Arc::new(inner) })
    }
}

fn plain_connector(target: &Target) -> Arc<dyn Connect> {
    #[cfg(unix)]
    if target.unix_path().is_some() {
        return Arc::new(crate::net::unix::UnixConnector);
    }
    let _ = target;
    Arc::new(TcpConnector::new())
}

impl Channel {
    /// Begins a channel to a target: `https://host:port`, `http://host:port` or `unix:path`.
    pub fn builder(target: &str) -> ChannelBuilder {
        ChannelBuilder {
            target: Target::parse(target),
            connector: None,
            #[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
            tls: None,
            resolver: None,
            options: PoolOptions::new(),
            limits: MessageLimits::new(),
            path: None,
            user_agent: None,
            interceptors: Vec::new(),
            retries: None,
        }
    }

    /// One request, one response.
    ///
    /// # Errors
    /// The peer's status, or why there is none; see [`Error`].
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream with CANCEL; the connection lives on.
    pub async fn unary<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> Result<Response<Res>, Error> {
        let request = request.into_request();
        let (response, _) = self.unary_attempts(method.path(), request).await?;
        Ok(response)
    }

    /// One attempt, or as many as the method's policy allows.
    async fn unary_attempts<Req: Encode, Res: Decode>(
        &self,
        path: Path<'static>,
        request: Request<Req>,
    ) -> Result<(Response<Res>, CallTimeline), Error> {
        if let Some(retries) = &self.inner.retries
            && let Some(policy) = retries.of(path.as_str())
        {
            // Boxed: a future that few calls need should not make that of all others larger.
            return Box::pin(self.unary_retried(path, request, retries, policy)).await;
        }
        let mut call = self.whole_request(path, request, true)?;
        call.whole_response(self.inner.limits.receive).await
    }

    /// As [`Channel::unary`], with where the time went: the phases add up to the time from the
    /// first poll of this future to its result.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    pub async fn unary_timed<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> Result<(Response<Res>, CallTimeline), Error> {
        let request = request.into_request();
        let (response, mut timeline) = self.unary_attempts(method.path(), request).await?;
        timeline.enter(Phase::Caller, env::now());
        Ok((response, timeline))
    }

    /// A unary call that may be tried again: the deadline holds for all attempts together.
    async fn unary_retried<Req: Encode, Res: Decode>(
        &self,
        path: Path<'static>,
        request: Request<Req>,
        retries: &Retries,
        policy: &RetryPolicy,
    ) -> Result<(Response<Res>, CallTimeline), Error> {
        let encoding = request.encoding();
        let deadline = request.timeout().and_then(|timeout| env::now().checked_add(timeout));
        let options = Options::of(&request, true);
        let (message, metadata) = split(request);
        let mut made = 0;
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(env::now()));
            let options = options.again(made, left);
            let mut call = self.start_whole(path, &message, metadata.clone(), encoding, options)?;
            let result = call.whole_response(self.inner.limits.receive).await;
            made += 1;
            let Err(error) = &result else {
                retries.note(false);
                return result;
            };
            let answer = call.answer();
            let refused = answer.pushback == Some(None);
            let covered = policy.covers(error);
            let allowed = retries.note(covered || refused);
            if !covered || refused || !allowed || answer.committed || made >= policy.attempts() {
                return result;
            }
            let pause = match answer.pushback {
                Some(Some(pause)) => pause,
                _ => self.inner.pool.jitter(policy.pause(made + 1), 0.2),
            };
            if deadline.is_some_and(|at| env::now() + pause >= at) {
                return result;
            }
            tracing::debug!(%error, attempt = made + 1, "tried again by policy");
            env::sleep(pause).await;
        }
    }

    /// One request, many responses.
    ///
    /// # Errors
    /// What is wrong with the request itself; everything else comes from the stream.
    pub fn server_streaming<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> Result<Streaming<Res>, Error> {
        let call = self.whole_request(method.path(), request.into_request(), false)?;
        Ok(Streaming::new(call, self.inner.limits.receive))
    }

    /// Many requests, one response: send, finish, then await the response.
    ///
    /// # Errors
    /// What is wrong with the metadata; everything else comes from the two halves.
    pub fn client_streaming<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<()>,
    ) -> Result<(Sender<Req>, Streaming<Res>), Error> {
        self.bidi(method, request)
    }

    /// Many requests, many responses, in any order.
    ///
    /// # Errors
    /// What is wrong with the metadata; everything else comes from the two halves.
    pub fn bidi<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<()>,
    ) -> Result<(Sender<Req>, Streaming<Res>), Error> {
        let request = request.into_request();
        let encoding = request.encoding();
        let options = Options::of(&request, false);
        let (_, metadata) = split(request);
        let call = Call::start(self, method.path(), metadata, options, |_| Ok(()))?;
        let sender = Sender::new(&call, encoding, self.inner.limits.send);
        Ok((sender, Streaming::new(call, self.inner.limits.receive)))
    }

    fn whole_request<Req: Encode>(
        &self,
        path: Path<'static>,
        request: Request<Req>,
        whole: bool,
    ) -> Result<Call, Error> {
        let encoding = request.encoding();
        let options = Options::of(&request, whole);
        let (message, metadata) = split(request);
        self.start_whole(path, &message, metadata, encoding, options)
    }

    fn start_whole<Req: Encode>(
        &self,
        path: Path<'static>,
        message: &Req,
        metadata: Metadata,
        encoding: Encoding,
        options: Options,
    ) -> Result<Call, Error> {
        let max = self.inner.limits.send;
        Call::start(self, path, metadata, options, |out| {
            let large = crate::grpc::codec::encode_message(message, encoding, max, out.tail())?;
            out.settle();
            if let Some(large) = large {
                out.chain(large);
            }
            Ok(())
        })
    }

    /// Connects without waiting for a call. Watch [`Channel::state`] for the outcome.
    pub fn connect(&self) {
        self.inner.pool.connect();
    }

    /// Connects until `connections` to each endpoint are proved through TLS, ALPN and the peer's
    /// SETTINGS, and keeps them; see [`Pool::warm`].
    ///
    /// # Errors
    /// Why the endpoints are out of reach. The channel goes on trying.
    pub async fn warm(&self, connections: u32) -> Result<(), Error> {
        self.inner.pool.warm(connections).await
    }

    /// Calls that wait for a place on a connection.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.inner.pool.waiting()
    }

    /// The channel's state, to be watched.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<ChannelState> {
        self.inner.pool.watch()
    }

    /// What the channel does at this instant, and why: connections, calls that wait, dials, bounds.
    /// Printed, it is a few lines for people. It takes short locks; ask it often, but not per call.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.inner.pool.stats()
    }

    /// Warnings about the channel's options, found when it was built.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.inner.findings
    }

    /// The connections that live.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<crate::net::handle::Handle>> {
        self.inner.pool.connections()
    }

    /// The prepared head of a method on this channel.
    pub(super) fn template(&self, path: Path<'static>) -> Arc<Template> {
        let mut templates = self.inner.templates.lock();
        if let Some((last, template)) = &templates.last
            && std::ptr::eq(*last, path.as_str())
        {
            return Arc::clone(template);
        }
        let inner = &*self.inner;
        let template = Arc::clone(templates.all.entry(path.as_str()).or_insert_with(|| {
            let fields = request::head(path, inner.scheme, &inner.authority, &inner.user_agent);
            Arc::new(Template::new(fields))
        }));
        templates.last = Some((path.as_str(), Arc::clone(&template)));
        template
    }

    pub(super) fn scheme_and_authority(&self) -> (&'static str, &str) {
        (self.inner.scheme, &self.inner.authority)
    }
}

/// Message and metadata; the encoding, when there is one, joins the metadata's fields.
fn split<T>(request: Request<T>) -> (T, Metadata) {
    let mut request = request;
    let metadata = std::mem::take(request.metadata_mut());
    (request.into_inner(), metadata)
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("pool", &self.inner.pool).finish_non_exhaustive()
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("target", &self.target).finish_non_exhaustive()
    }
}

/// How the encoding is announced.
pub(super) fn announce(encoding: Encoding) -> Option<&'static str> {
    (encoding != Encoding::Identity).then(|| encoding.name())
}
