//! One call of a client: filled, sent on its way, and given up when dropped.

use crate::call::Permit;
use crate::call::attempt::Pushback;
use crate::call::quota::TenantPermit;
use crate::call::reader::Reader;
use crate::call::recv::not_grpc;
use crate::call::state::{CallSpec, RecvEnd, RecvState, SendEnd, SendState, SharedCall};
use crate::call::timeline::Timeline;
use crate::call::writer::Writer;
use crate::client::channel::Channel;
use crate::client::policy::Policy;
use crate::client::retry::Retrying;
use crate::connection::handle::Handle;
use crate::error::{Error, Initiator, Kind, Processed};
use crate::grpc::codec;
use crate::grpc::codec::Decode;
use crate::grpc::method::Path;
use crate::grpc::{Encoding, Metadata, Request, Response, Status, message, response};
use crate::http2::Fields;
use crate::http2::Template;
use crate::rt;
use crate::rt::contain::{Panicked, contain};
use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Where a call's time went.
pub type CallTimeline = Timeline;

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    timeout: Option<Duration>,
    wait_for_ready: bool,
    encoding: Encoding,
    whole: bool,
    /// Somebody else reads the messages.
    opaque: bool,
    /// One of several attempts at a time.
    race: bool,
    /// Where in the caller's code it was begun.
    site: Option<&'static Location<'static>>,
}

impl Options {
    pub(super) fn of<T>(request: &Request<T>, whole: bool) -> Self {
        Self {
            timeout: request.timeout(),
            wait_for_ready: request.wait_for_ready(),
            encoding: request.encoding(),
            whole,
            opaque: false,
            race: false,
            site: request.site(),
        }
    }

    /// For a request whose response somebody else reads, message by message, in whatever encoding.
    #[cfg(feature = "tower")]
    pub(super) fn passed_on(timeout: Option<Duration>) -> Self {
        let mut request = Request::new(());
        if let Some(timeout) = timeout {
            request = request.with_timeout(timeout);
        }
        Self { opaque: true, ..Self::of(&request, false) }
    }

    /// As one of several attempts at a time, with the time that is left.
    pub(super) const fn in_race(self, timeout: Option<Duration>) -> Self {
        Self { race: true, timeout, ..self }
    }
}

/// A call that was sent on its way. Dropped before its end, it is cancelled.
#[derive(Debug)]
pub(super) struct Call {
    channel: Channel,
    /// `None` once it was returned to the pool.
    shared: Option<Arc<SharedCall>>,
}

impl Call {
    /// Prepares a call and submits it. `body` writes a whole request, or nothing for a stream.
    pub(super) fn start(
        channel: &Channel,
        path: Path<'static>,
        metadata: Metadata,
        options: Options,
        body: impl FnOnce(&mut SendState) -> Result<(), Status>,
    ) -> Result<Self, Error> {
        let extra = Self::extra(channel, metadata, options)?;
        let call = Self::grpc(channel, path, &extra, options, body)?;
        call.send();
        Ok(call)
    }

    /// What a head has beside the stable fields, once the interceptors have seen the metadata.
    pub(super) fn extra(
        channel: &Channel,
        mut metadata: Metadata,
        options: Options,
    ) -> Result<Fields, Error> {
        Self::intercept(channel, &mut metadata)?;
        let mut extra = Fields::new();
        if let Some(name) = announce(options.encoding) {
            extra.push("grpc-encoding", name);
        }
        metadata.append_to(&mut extra);
        Ok(extra)
    }

    /// Shows the metadata of a call to the interceptors.
    pub(super) fn intercept(channel: &Channel, metadata: &mut Metadata) -> Result<(), Error> {
        for interceptor in channel.inner.interceptors.iter() {
            contain(|| interceptor(metadata))
                .map_err(|Panicked| panicked("an interceptor", Processed::No))?
                .map_err(local)?;
        }
        Ok(())
    }

    /// A call that is still to be sent. `body` writes a whole request, or nothing for a stream.
    pub(super) fn grpc(
        channel: &Channel,
        path: Path<'static>,
        extra: &Fields,
        options: Options,
        body: impl FnOnce(&mut SendState) -> Result<(), Status>,
    ) -> Result<Self, Error> {
        let template = channel.template(path);
        let call = Self::fill(channel, Some(template), extra, options, true, |out| {
            let empty = out.waiting();
            body(out)?;
            Ok(out.waiting() > empty)
        })?;
        call.retry_by_policy(path.as_str());
        Ok(call)
    }

    /// Lets the retry policy of the method, if it has one, decide on each attempt.
    pub(super) fn retry_by_policy(&self, path: &str) {
        if let (Some(retries), Some(shared)) = (&self.channel.inner.retries, &self.shared)
            && let Some(Policy::Retry(policy)) = retries.of(path)
        {
            Retrying::start(&self.channel, shared, policy);
        }
    }

    /// A call that is still to be sent. `body` returns whether the request is whole.
    pub(super) fn fill(
        channel: &Channel,
        template: Option<Arc<Template>>,
        extra: &Fields,
        options: Options,
        grpc: bool,
        body: impl FnOnce(&mut SendState) -> Result<bool, Status>,
    ) -> Result<Self, Error> {
        let now = rt::now();
        let mut shared = channel.inner.pool.call(now);
        let limits = &channel.inner.limits;
        let spec = CallSpec {
            deadline: options.timeout.and_then(|timeout| now.checked_add(timeout)),
            wait_for_ready: options.wait_for_ready,
            grpc,
            whole: options.whole,
            opaque: options.opaque,
            wake_at_head: options.race,
            message_max: match (options.whole, grpc) {
                (true, true) => limits.receive,
                (true, false) => limits.http_body_max(),
                (false, _) => usize::MAX,
            },
            site: options.site,
        };
        // Nobody else has the call, so no lock is held while a codec writes its body.
        let x = shared.alone().ok_or_else(gone)?;
        x.prepare(spec);
        let send = x.send_mut();
        let written = contain(|| body(send)).map_err(|Panicked| panicked(ENCODE, Processed::No))?;
        if written.map_err(local)? {
            send.keep_whole(&channel.inner.keep);
            send.set_end(SendEnd::Finish);
        } else {
            send.keep_stream(&channel.inner.keep);
        }
        send.set_head(template, extra);
        Ok(Self { channel: channel.clone(), shared: Some(shared) })
    }

    /// Sends it on its way, once.
    pub(super) fn send(&self) {
        let Some(shared) = self.shared.clone() else { return };
        let inner = &self.channel.inner;
        match &inner.tenant {
            None => inner.pool.submit(shared),
            Some(tenant) => inner.pool.submit_for(shared, tenant),
        }
    }

    /// Sends it as a hedge, on the place and with its tenant's seat that were found for it.
    pub(super) fn send_on(&self, place: Permit, seat: Option<TenantPermit>) {
        if let Some(shared) = &self.shared {
            shared.lock().set_hedge(seat);
            Handle::submit(place, Arc::clone(shared));
        }
    }

    pub(super) const fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(super) fn shared(&self) -> Option<&Arc<SharedCall>> {
        self.shared.as_ref()
    }

    pub(super) fn reader(&self) -> Option<Reader> {
        self.shared.clone().map(Reader::new)
    }

    pub(super) fn writer(&self) -> Option<Writer> {
        self.shared.clone().map(Writer::new)
    }

    /// Waits for a unary response and reads it.
    pub(super) async fn whole_response<M: Decode>(
        &mut self,
        max: usize,
    ) -> Result<(Response<M>, Timeline), Error> {
        let mut timer = pin!(None);
        poll_fn(|cx| self.poll_end(timer.as_mut(), cx)).await?;
        let Some(mut shared) = self.shared.take() else { return Err(gone()) };
        let timeline = shared.lock().timeline().clone();
        let read = shared.read_alone(|recv| read_whole(recv, max));
        let read = read.map_err(|error| shared.lock().located(error, rt::now()));
        self.channel.inner.pool.give_back(shared);
        Ok((read?, timeline))
    }

    /// Waits until the response begins or the call ends.
    pub(super) fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = &self.shared else { return Poll::Ready(()) };
        let mut x = shared.lock();
        if x.has_head() || x.end().is_some() {
            return Poll::Ready(());
        }
        let before = x.wait_read(cx);
        drop(x);
        drop(before);
        Poll::Pending
    }

    /// How the call failed, if it did so before its response began, and what the peer says of another
    /// attempt.
    pub(super) fn failure(&self) -> Option<(Error, Option<Pushback>)> {
        let x = self.shared.as_ref()?.lock();
        if x.recv().has_begun() {
            return None;
        }
        let error = x.recv().outcome().err()?;
        Some((x.located(error, rt::now()), Pushback::of(x.recv())))
    }

    /// The connection on which it has its place.
    pub(super) fn connection(&self) -> Option<u64> {
        let x = self.shared.as_ref()?.lock();
        x.permit().map(|permit| permit.carrier().id())
    }

    /// Whether its head was ever written.
    pub(super) fn is_sent(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.lock().attempts() > 0)
    }

    /// Where its time went, up to now.
    pub(super) fn timeline(&self) -> Option<Timeline> {
        self.shared.as_ref().map(|shared| shared.lock().timeline().clone())
    }

    /// Its time goes on from that of an attempt before it.
    pub(super) fn go_on_from(&self, before: Option<&Timeline>, now: Instant) {
        if let (Some(shared), Some(before)) = (&self.shared, before) {
            shared.lock().continue_from(before, now);
        }
    }

    /// When it must have ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.shared.as_ref()?.lock().deadline()
    }

    /// The call has ended: nothing is left to cancel.
    pub(super) fn done(&mut self) {
        self.shared = None;
    }
}

/// How the encoding is announced.
fn announce(encoding: Encoding) -> Option<&'static str> {
    (encoding != Encoding::Identity).then(|| encoding.name())
}

/// User code that may panic.
pub(super) const ENCODE: &str = "the codec of a request";
pub(super) const DECODE: &str = "the codec of a response";

/// Head, one message, trailers. No lock is held.
fn read_whole<M: Decode>(inc: &mut RecvState, max: usize) -> Result<Response<M>, Error> {
    if let Some(RecvEnd::Failed(error)) = inc.end() {
        // A head that is not gRPC says more than how the body behind it failed.
        if inc.is_head_ready() {
            inc.encoding().map_err(not_grpc)?;
        }
        return Err(error.clone());
    }
    let encoding = inc.encoding().map_err(not_grpc)?;
    response::check_end(inc.head(), inc.trailers()).map_err(Error::from_peer)?;
    let Some((compressed, payload)) = message::parse_one(inc.body(), max) else {
        return Err(not_one_message(inc.body(), max));
    };
    let decode = || codec::decode_whole(inc.body_mut(), payload, compressed, encoding, max);
    let decoded = contain(decode).map_err(|Panicked| panicked(DECODE, Processed::Yes))?;
    let decoded = decoded.map_err(broken)?;
    let metadata = response::take_metadata(inc.head_mut().fields_mut());
    let trailing = response::take_metadata(inc.trailers_mut());
    let came = if compressed { encoding } else { Encoding::Identity };
    let response = Response::new(decoded).with_metadata(metadata).with_trailers(trailing);
    Ok(response.with_encoding(came))
}

pub(super) fn broken(status: Status) -> Error {
    let status = status.or_internal("the codec of a response returned an error whose code is OK");
    Error::new(Kind::Protocol, status, Initiator::Remote, Processed::Yes)
}

fn local(status: Status) -> Error {
    Error::new(Kind::Misuse, status, Initiator::Local, Processed::No)
}

/// The error of a call whose user code panicked on this side.
#[cold]
pub(super) fn panicked(what: &str, processed: Processed) -> Error {
    crate::rt::log!(error, "{what} panicked");
    let status = Status::new(crate::grpc::Code::Internal, format!("{what} panicked"));
    Error::new(Kind::Panicked, status, Initiator::Local, processed)
}

pub(super) fn gone() -> Error {
    Error::local(Kind::Misuse, crate::grpc::Code::Internal, "the call has been read to its end")
}

/// What is wrong with a unary response that is not exactly one message.
fn not_one_message(body: &[u8], max: usize) -> Error {
    broken(message::not_one(
        body,
        max,
        "the peer answered OK without a message",
        "the peer answered a unary call with more than one message",
    ))
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let stopped = shared.lock().abandon_call();
        if stopped.finish(&shared) {
            let inner = &self.channel.inner;
            inner.pool.forget(&shared, inner.tenant.as_ref());
        }
    }
}
