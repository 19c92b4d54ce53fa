//! A channel: a cheap clone over the pool.

use crate::call::messages::MessageLimits;
use crate::call::state::SendState;
use crate::client::builder::ChannelBuilder;
use crate::client::call::{Call, CallTimeline, Options};
use crate::client::hedge::{HedgePolicy, Race};
use crate::client::retry::{Policy, Retries, announce_previous};
use crate::client::streaming::{Sender, Streaming};
use crate::error::{Error, Phase};
use crate::grpc::method::Path;
use crate::grpc::request;
use crate::grpc::{
    Decode, Encode, Encoding, IntoRequest, Metadata, Method, Request, Response, Status,
};
use crate::http2::Template;
use crate::memory::replay::ReplayBudget;
use crate::pool::{ChannelState, Finding, Pool, PoolAdvice, PoolStats, Share, Tenant};
use crate::rt;
use crate::rt::sync::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
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

/// What clones share; a tenant's has its own, over the same pool.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) pool: Arc<Pool>,
    /// Whose calls these are, if several share the channel.
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) limits: MessageLimits,
    pub(super) scheme: &'static str,
    pub(super) authority: Arc<str>,
    pub(super) user_agent: Arc<str>,
    pub(super) interceptors: Arc<[Interceptor]>,
    /// Of requests that were handed to a connection.
    pub(super) keep: Arc<ReplayBudget>,
    /// Most channels have none.
    pub(super) retries: Option<Arc<Retries>>,
    /// Warnings about the options.
    pub(super) findings: Arc<[Finding]>,
    /// One prepared head a method, and the last one used.
    pub(super) templates: Arc<Mutex<Templates>>,
}

#[derive(Default)]
pub(super) struct Templates {
    last: Option<(&'static str, Arc<Template>)>,
    all: HashMap<&'static str, Arc<Template>>,
}

impl Channel {
    /// Begins a channel to a target: `https://host:port`, `http://host:port` or `unix:path`.
    pub fn builder(target: &str) -> ChannelBuilder {
        ChannelBuilder::new(target)
    }

    /// One request, one response.
    ///
    /// # Errors
    /// The peer's status, or why there is none; see [`Error`].
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream with CANCEL; the connection lives on.
    #[track_caller]
    pub fn unary<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> impl Future<Output = Result<Response<Res>, Error>> {
        let (path, request) = (method.path(), request.into_request().begun_here());
        async move { Ok(self.unary_attempts(path, request).await?.0) }
    }

    /// One attempt, or as many as the method's policy allows.
    async fn unary_attempts<Req: Encode, Res: Decode>(
        &self,
        path: Path<'static>,
        request: Request<Req>,
    ) -> Result<(Response<Res>, CallTimeline), Error> {
        if let Some(retries) = &self.inner.retries
            && let Some(Policy::Hedge(policy)) = retries.of(path.as_str())
        {
            // Boxed: a future that few calls need should not make that of all others larger.
            return Box::pin(self.unary_hedged(path, request, policy)).await;
        }
        let mut call = self.whole_request(path, request, true)?;
        call.whole_response(self.inner.limits.receive).await
    }

    /// As [`Channel::unary`], with where the time went: the phases add up to the time from the
    /// first poll of this future to its result.
    ///
    /// # Errors
    /// As [`Channel::unary`].
    #[track_caller]
    pub fn unary_timed<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> impl Future<Output = Result<(Response<Res>, CallTimeline), Error>> {
        let (path, request) = (method.path(), request.into_request().begun_here());
        async move {
            let (response, mut timeline) = self.unary_attempts(path, request).await?;
            timeline.enter(Phase::Caller, rt::now());
            Ok((response, timeline))
        }
    }

    /// A unary call with several attempts at a time.
    async fn unary_hedged<Req: Encode, Res: Decode>(
        &self,
        path: Path<'static>,
        request: Request<Req>,
        policy: &HedgePolicy,
    ) -> Result<(Response<Res>, CallTimeline), Error> {
        let encoding = request.encoding();
        let deadline = request.timeout().and_then(|timeout| rt::now().checked_add(timeout));
        let options = Options::of(&request, true);
        let (message, metadata) = split(request);
        let extra = Call::extra(self, metadata, options)?;
        let mut race = Race::start(self, policy, deadline, |previous| {
            let left = deadline.map(|at| at.saturating_duration_since(rt::now()));
            let mut extra = extra.clone();
            announce_previous(&mut extra, previous);
            Call::grpc(self, path, &extra, options.in_race(left), |out| {
                self.write_whole(&message, encoding, out)
            })
        })?;
        let mut call = poll_fn(|cx| race.poll(cx)).await?;
        let result = call.whole_response(self.inner.limits.receive).await;
        race.note(result.as_ref().err());
        result.map_err(|error| race.told(error))
    }

    /// One request, many responses.
    ///
    /// # Errors
    /// What is wrong with the request itself; everything else comes from the stream.
    #[track_caller]
    pub fn server_streaming<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<Req>,
    ) -> Result<Streaming<Res>, Error> {
        let request = request.into_request().begun_here();
        let call = self.whole_request(method.path(), request, false)?;
        Ok(Streaming::new(call, self.inner.limits.receive))
    }

    /// Many requests, one response: send, finish, then await the response.
    ///
    /// # Errors
    /// What is wrong with the metadata; everything else comes from the two halves.
    #[track_caller]
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
    #[track_caller]
    pub fn bidi<Req: Encode, Res: Decode>(
        &self,
        method: &Method<Req, Res>,
        request: impl IntoRequest<()>,
    ) -> Result<(Sender<Req>, Streaming<Res>), Error> {
        let request = request.into_request().begun_here();
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
        let body = |out: &mut SendState| self.write_whole(message, encoding, out);
        Call::start(self, path, metadata, options, body)
    }

    fn write_whole<Req: Encode>(
        &self,
        message: &Req,
        encoding: Encoding,
        out: &mut SendState,
    ) -> Result<(), Status> {
        let max = self.inner.limits.send;
        let large = crate::grpc::codec::encode_message(message, encoding, max, out.tail())?;
        out.settle();
        if let Some(large) = large {
            out.chain(large);
        }
        Ok(())
    }

    /// The same channel for a tenant that shares it with others: connections, sessions and options
    /// are those of this one, its calls wait in a line of their own and are bounded by `share`. So
    /// many small tenants need no connections of their own, and none of them delays another beyond
    /// its share. Tenants that must not meet on a connection are kept apart by
    /// [`Channels`](super::Channels).
    ///
    /// The label names the tenant: who names it again gets the same lines and counts, and `share`
    /// holds from then on. A tenant is forgotten once its channels are dropped and its calls have
    /// ended. A tenant of a tenant's channel is one of the channel's.
    ///
    /// Calls beyond [`Share::max_calls`] wait, and those beyond [`Share::max_waiting`] fail with
    /// RESOURCE_EXHAUSTED; one whose deadline cannot be met fails at once with DEADLINE_EXCEEDED.
    /// A call that moves, or that a policy tries again, keeps its seat.
    #[must_use]
    pub fn tenant(&self, label: &str, share: Share) -> Self {
        let tenant = Some(self.inner.pool.tenant(label, share));
        Self { inner: Arc::new(Inner { tenant, ..Inner::clone(&self.inner) }) }
    }

    /// Whether nobody but one holder knows the channel, and it has no connection.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.inner) == 1
            && Arc::strong_count(&self.inner.pool) == 1
            && self.inner.pool.connections().is_empty()
            && self.inner.pool.waiting() == 0
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

    /// How many connections the load of the last half minute or so wants, with the arithmetic
    /// spelled out; see [`Pool::advice`]. `None` before anything was measured.
    #[must_use]
    pub fn advice(&self) -> Option<PoolAdvice> {
        self.inner.pool.advice()
    }

    /// Replaces the connections that were made before the last `ClientTls::replace`; says how many
    /// there are. Younger ones are ready before they take no more calls, and calls under way end as they would.
    pub fn drain_replaced(&self) -> usize {
        self.inner.pool.drain_replaced()
    }

    /// Warnings about the channel's options, found when it was built.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.inner.findings
    }

    /// The connections that live.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<crate::connection::handle::Handle>> {
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

/// How the encoding is announced.
pub(super) fn announce(encoding: Encoding) -> Option<&'static str> {
    (encoding != Encoding::Identity).then(|| encoding.name())
}
