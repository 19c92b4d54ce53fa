//! The calls of a channel: the four kinds of gRPC.

use crate::call::state::SendState;
use crate::client::call::{Call, CallTimeline, Options};
use crate::client::channel::Channel;
use crate::client::hedge::Race;
use crate::client::policy::{HedgePolicy, Policy};
use crate::client::retry::announce_previous;
use crate::client::streaming::{Sender, Streaming};
use crate::error::{Error, Phase};
use crate::grpc::codec;
use crate::grpc::method::Path;
use crate::grpc::{
    Decode, Encode, Encoding, IntoRequest, Metadata, Method, Request, Response, Status,
};
use crate::rt;
use std::future::poll_fn;

impl Channel {
    /// One request, one response.
    ///
    /// # Errors
    /// The peer's status, or why there is none; see [`Error`]. A codec or interceptor that panics is
    /// INTERNAL, [`Kind::Panicked`](crate::error::Kind::Panicked).
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream with CANCEL; the connection lives on.
    ///
    /// # Runtime
    /// The future keeps the deadline of the request: the call ends at it even if the runtime of its
    /// connection does not run. A call with a deadline that is polled outside a tokio runtime with a timer
    /// fails with [`Kind::Misuse`](crate::error::Kind::Misuse) when it must wait. A call that is not polled
    /// ends about a second after its deadline.
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
        let body = |out: &mut SendState| {
            let written = self.write_whole(&message, encoding, out);
            // Here and not by our caller: its drop is user code, and a panic of it would leak the call.
            drop(message);
            written
        };
        Call::start(self, path, metadata, options, body)
    }

    fn write_whole<Req: Encode>(
        &self,
        message: &Req,
        encoding: Encoding,
        out: &mut SendState,
    ) -> Result<(), Status> {
        let max = self.inner.limits.send;
        let large = codec::encode_message(message, encoding, max, out.tail())?;
        out.settle();
        if let Some(large) = large {
            out.chain(large);
        }
        Ok(())
    }
}

/// Message and metadata; the encoding, when there is one, joins the metadata's fields.
fn split<T>(request: Request<T>) -> (T, Metadata) {
    let mut request = request;
    let metadata = std::mem::take(request.metadata_mut());
    (request.into_inner(), metadata)
}
