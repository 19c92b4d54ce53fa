//! The Echo service as tonic generates and serves it.

use bytes::Bytes;
use std::pin::Pin;
use std::time::Duration;
use tonic::codegen::tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

/// The code of the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/tonic.md")]
pub mod guide {}

/// What tonic generates of `echo.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod pb {
    tonic::include_proto!("framewire.bench.v1");
}

use pb::echo_server::Echo;
pub use pb::{EchoRequest, EchoResponse};

/// A service that does what its requests say. It sends `x-asked` and `x-asked-bin` back.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoService;

/// A request that is echoed.
pub fn echo(payload: impl Into<Bytes>) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

async fn answer(request: EchoRequest) -> Result<EchoResponse, Status> {
    if request.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(request.delay_ms.into())).await;
    }
    if request.fail_code != 0 {
        let code = Code::from_i32(request.fail_code.cast_signed());
        return Err(Status::with_details(
            code,
            request.fail_message,
            Bytes::from_static(&[8, 5, 255, 0]),
        ));
    }
    let payload = match request.response_size {
        0 => request.payload,
        size => vec![0; size as usize].into(),
    };
    Ok(EchoResponse { payload })
}

fn asked<T>(request: &Request<T>, mut response: Response<EchoResponse>) -> Response<EchoResponse> {
    if let Some(value) = request.metadata().get("x-asked") {
        response.metadata_mut().insert("x-initial", value.clone());
    }
    if let Some(value) = request.metadata().get_bin("x-asked-bin") {
        response.metadata_mut().insert_bin("x-initial-bin", value.clone());
    }
    response
}

type Replies = Pin<Box<dyn Stream<Item = Result<EchoResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for EchoService {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let message = answer(request.get_ref().clone()).await?;
        Ok(asked(&request, Response::new(message)))
    }

    type ServerStreamStream = Replies;

    async fn server_stream(
        &self,
        request: Request<EchoRequest>,
    ) -> Result<Response<Replies>, Status> {
        let request = request.into_inner();
        let count = request.count as usize;
        let each = EchoRequest { fail_code: 0, ..request.clone() };
        let replies = tonic::codegen::tokio_stream::iter(std::iter::repeat_n(each, count));
        let end = (request.fail_code != 0).then_some(request);
        let end = tonic::codegen::tokio_stream::iter(end);
        Ok(Response::new(Box::pin(replies.chain(end).then(answer))))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoResponse>, Status> {
        let mut requests = request.into_inner();
        let mut last = EchoRequest::default();
        while let Some(request) = requests.message().await? {
            last = request;
        }
        Ok(Response::new(answer(last).await?))
    }

    type BidiStream = Replies;

    async fn bidi(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let replies = request.into_inner().then(|request| async { answer(request?).await });
        Ok(Response::new(Box::pin(replies)))
    }
}
