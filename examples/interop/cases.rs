//! The interop cases, each against one channel.

use super::shared::testing::{
    BoolValue, EchoStatus, Empty, ResponseParameters, SimpleRequest, StreamingInputCallRequest,
    StreamingOutputCallRequest,
};
use super::shared::{
    DUPLEX_CALL, ECHO_INITIAL, ECHO_TRAILING, EMPTY_CALL, INPUT_CALL, OUTPUT_CALL, UNARY_CALL,
    payload, size,
};
use framewire::client::{Channel, HttpRequest};
use framewire::error::Error;
use framewire::unstable::http2::ErrorCode;
use framewire::{Code, Encoding, Metadata, Method, Request};
use std::time::Duration;

/// What was wrong, if anything.
pub(crate) type Outcome = Result<(), String>;

pub(crate) const UNIMPLEMENTED_METHOD: Method<Empty, Empty> =
    Method::new("/grpc.testing.TestService/UnimplementedCall");
pub(crate) const UNIMPLEMENTED_SERVICE: Method<Empty, Empty> =
    Method::new("/grpc.testing.UnimplementedService/UnimplementedCall");

/// Blanks at the ends and characters of every length.
pub(crate) const SPECIAL_MESSAGE: &str =
    "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";

const REQUEST_SIZE: usize = 271_828;
const RESPONSE_SIZE: usize = 314_159;

fn say(error: Error) -> String {
    error.to_string()
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Outcome {
    if got == wanted { Ok(()) } else { Err(format!("{what}: {got:?} instead of {wanted:?}")) }
}

fn code_of<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|error| error.code())
}

/// The request of the large cases.
pub(crate) fn large() -> SimpleRequest {
    SimpleRequest {
        response_size: RESPONSE_SIZE as i32,
        payload: Some(payload(REQUEST_SIZE)),
        ..SimpleRequest::default()
    }
}

fn output(sizes: &[i32]) -> StreamingOutputCallRequest {
    let each = |size: &i32| ResponseParameters { size: *size, ..ResponseParameters::default() };
    StreamingOutputCallRequest {
        response_parameters: sizes.iter().map(each).collect(),
        ..StreamingOutputCallRequest::default()
    }
}

fn input(bytes: usize, compressed: Option<bool>) -> StreamingInputCallRequest {
    StreamingInputCallRequest {
        payload: Some(payload(bytes)),
        expect_compressed: compressed.map(|value| BoolValue { value }),
    }
}

pub(crate) async fn empty_unary(channel: &Channel) -> Outcome {
    channel.unary(&EMPTY_CALL, Empty {}).await.map(|_| ()).map_err(say)
}

/// A large unary call; how its answer was encoded.
async fn large_call(
    channel: &Channel,
    request: impl framewire::IntoRequest<SimpleRequest>,
) -> Result<Option<Encoding>, Error> {
    let response = channel.unary(&UNARY_CALL, request).await?;
    let payload = response.get_ref().payload.as_ref();
    if size(payload) != RESPONSE_SIZE || payload.is_some_and(|p| p.body.iter().any(|o| *o != 0)) {
        let text = format!("the payload is not {RESPONSE_SIZE} zeros");
        return Err(Error::local(framewire::error::Kind::Protocol, Code::DataLoss, text));
    }
    Ok(response.encoding())
}

pub(crate) async fn large_unary(channel: &Channel) -> Outcome {
    large_call(channel, large()).await.map(|_| ()).map_err(say)
}

pub(crate) async fn client_compressed_unary(channel: &Channel, probe: bool) -> Outcome {
    let request = |value| SimpleRequest { expect_compressed: Some(BoolValue { value }), ..large() };
    if probe {
        let refused = large_call(channel, request(true)).await;
        equal("the probe", code_of(refused), Some(Code::InvalidArgument))?;
    }
    let compressed = Request::new(request(true)).with_encoding(Encoding::Gzip);
    large_call(channel, compressed).await.map_err(say)?;
    large_call(channel, request(false)).await.map(|_| ()).map_err(say)
}

pub(crate) async fn server_compressed_unary(channel: &Channel) -> Outcome {
    for (value, encoding) in [(true, Encoding::Gzip), (false, Encoding::Identity)] {
        let request = SimpleRequest { response_compressed: Some(BoolValue { value }), ..large() };
        let came = large_call(channel, request).await.map_err(say)?;
        equal("the encoding of the response", came, Some(encoding))?;
    }
    Ok(())
}

pub(crate) async fn client_streaming(channel: &Channel) -> Outcome {
    let (mut sender, streaming) = channel.client_streaming(&INPUT_CALL, ()).map_err(say)?;
    for bytes in [27_182, 8, 1828, 45_904] {
        sender.send(input(bytes, None)).await.map_err(say)?;
    }
    sender.finish().map_err(say)?;
    let sum = streaming.one().await.map_err(say)?.into_inner();
    equal("the sum", sum.aggregated_payload_size, 74_922)
}

pub(crate) async fn client_compressed_streaming(channel: &Channel, probe: bool) -> Outcome {
    if probe {
        let (mut sender, streaming) = channel.client_streaming(&INPUT_CALL, ()).map_err(say)?;
        sender.send(input(27_182, Some(true))).await.map_err(say)?;
        // The server may have answered already; then nothing is left to be ended.
        let _ = sender.finish();
        let refused = streaming.one().await;
        equal("the probe", code_of(refused), Some(Code::InvalidArgument))?;
    }
    let request = Request::new(()).with_encoding(Encoding::Gzip);
    let (mut sender, streaming) = channel.client_streaming(&INPUT_CALL, request).map_err(say)?;
    sender.send(input(27_182, Some(true))).await.map_err(say)?;
    sender.set_encoding(Encoding::Identity);
    sender.send(input(45_904, Some(false))).await.map_err(say)?;
    sender.finish().map_err(say)?;
    let sum = streaming.one().await.map_err(say)?.into_inner();
    equal("the sum", sum.aggregated_payload_size, 73_086)
}

pub(crate) async fn server_streaming(channel: &Channel) -> Outcome {
    let sizes = [31_415, 9, 2653, 58_979];
    let mut stream = channel.server_streaming(&OUTPUT_CALL, output(&sizes)).map_err(say)?;
    let mut got = Vec::new();
    while let Some(message) = stream.message().await.map_err(say)? {
        got.push(size(message.payload.as_ref()) as i32);
    }
    equal("the sizes", got, sizes.to_vec())
}

pub(crate) async fn server_compressed_streaming(channel: &Channel) -> Outcome {
    let wanted = [(31_415, Encoding::Gzip), (92_653, Encoding::Identity)];
    let mut request = output(&wanted.map(|(size, _)| size));
    for (parameters, (_, encoding)) in request.response_parameters.iter_mut().zip(wanted) {
        parameters.compressed = Some(BoolValue { value: encoding == Encoding::Gzip });
    }
    let mut stream = channel.server_streaming(&OUTPUT_CALL, request).map_err(say)?;
    let mut got = Vec::new();
    while let Some(message) = stream.message().await.map_err(say)? {
        got.push((size(message.payload.as_ref()) as i32, stream.encoding()));
    }
    equal("sizes and encodings", got, wanted.to_vec())
}

pub(crate) async fn ping_pong(channel: &Channel) -> Outcome {
    let (mut sender, mut streaming) = channel.bidi(&DUPLEX_CALL, ()).map_err(say)?;
    for (asked, bytes) in [(31_415, 27_182), (9, 8), (2653, 1828), (58_979, 45_904)] {
        let request =
            StreamingOutputCallRequest { payload: Some(payload(bytes)), ..output(&[asked]) };
        sender.send(request).await.map_err(say)?;
        let answer = streaming.message().await.map_err(say)?.ok_or("the stream ended early")?;
        equal("the size", size(answer.payload.as_ref()) as i32, asked)?;
    }
    sender.finish().map_err(say)?;
    let more = streaming.message().await.map_err(say)?;
    equal("messages behind the last", more.is_some(), false)
}

pub(crate) async fn empty_stream(channel: &Channel) -> Outcome {
    let (sender, mut streaming) = channel.bidi(&DUPLEX_CALL, ()).map_err(say)?;
    sender.finish().map_err(say)?;
    let message = streaming.message().await.map_err(say)?;
    equal("messages", message.is_some(), false)
}

fn check_echo(initial: &Metadata, trailing: &Metadata) -> Outcome {
    equal("initial metadata", initial.get(ECHO_INITIAL), Some("test_initial_metadata_value"))?;
    let value = trailing.get_bin(ECHO_TRAILING).transpose().map_err(|error| error.to_string())?;
    equal("trailing metadata", value.as_deref(), Some(&[0xab, 0xab, 0xab][..]))
}

pub(crate) async fn custom_metadata(channel: &Channel) -> Outcome {
    let mut metadata = Metadata::new();
    let wrong = |error: framewire::unstable::grpc::MetadataError| error.to_string();
    metadata.append(ECHO_INITIAL, "test_initial_metadata_value").map_err(wrong)?;
    metadata.append_bin(ECHO_TRAILING, &[0xab, 0xab, 0xab]).map_err(wrong)?;

    let request = Request::new(large()).with_metadata(metadata.clone());
    let response = channel.unary(&UNARY_CALL, request).await.map_err(say)?;
    check_echo(response.metadata(), response.trailers())?;

    let request = Request::new(()).with_metadata(metadata);
    let (mut sender, mut streaming) = channel.bidi(&DUPLEX_CALL, request).map_err(say)?;
    let payload = Some(payload(REQUEST_SIZE));
    let message = StreamingOutputCallRequest { payload, ..output(&[RESPONSE_SIZE as i32]) };
    sender.send(message).await.map_err(say)?;
    sender.finish().map_err(say)?;
    let initial = streaming.metadata().await.map_err(say)?.clone();
    let answer = streaming.message().await.map_err(say)?.ok_or("no response")?;
    equal("the size", size(answer.payload.as_ref()), RESPONSE_SIZE)?;
    equal("a second response", streaming.message().await.map_err(say)?.is_some(), false)?;
    check_echo(&initial, streaming.trailers())
}

/// The status of a call that must not go well.
fn check_status<T>(result: Result<T, Error>, message: &str) -> Outcome {
    let Err(error) = result else { return Err("the call went well".to_owned()) };
    equal("the code", error.code(), Code::Unknown)?;
    equal("the message", error.status().message(), message)
}

pub(crate) async fn echo_status(channel: &Channel, message: &str) -> Outcome {
    let status = EchoStatus { code: 2, message: message.to_owned() };
    let request =
        SimpleRequest { response_status: Some(status.clone()), ..SimpleRequest::default() };
    check_status(channel.unary(&UNARY_CALL, request).await, message)?;
    // The special message is asked of unary calls only, but holds for every call.
    let (mut sender, mut streaming) = channel.bidi(&DUPLEX_CALL, ()).map_err(say)?;
    let request = StreamingOutputCallRequest { response_status: Some(status), ..output(&[]) };
    sender.send(request).await.map_err(say)?;
    let _ = sender.finish();
    check_status(streaming.message().await, message)
}

/// A text with a blank at its end: some servers send it as it is.
pub(crate) async fn status_text_edges(channel: &Channel) -> Outcome {
    let status = EchoStatus { code: 5, message: "no such user: ".to_owned() };
    let request = SimpleRequest { response_status: Some(status), ..SimpleRequest::default() };
    let Err(error) = channel.unary(&UNARY_CALL, request).await else {
        return Err("the call went well".to_owned());
    };
    equal("the code", error.code(), Code::NotFound)?;
    equal("the message", error.status().message().trim_end(), "no such user:")
}

pub(crate) async fn unimplemented(channel: &Channel, method: &Method<Empty, Empty>) -> Outcome {
    let result = channel.unary(method, Empty {}).await;
    equal("the code", code_of(result), Some(Code::Unimplemented))
}

pub(crate) async fn cancel_after_begin(channel: &Channel) -> Outcome {
    let (sender, streaming) = channel.client_streaming(&INPUT_CALL, ()).map_err(say)?;
    sender.cancel(ErrorCode::CANCEL);
    equal("the code", code_of(streaming.one().await), Some(Code::Cancelled))
}

pub(crate) async fn cancel_after_first_response(channel: &Channel) -> Outcome {
    let (mut sender, mut streaming) = channel.bidi(&DUPLEX_CALL, ()).map_err(say)?;
    let request =
        StreamingOutputCallRequest { payload: Some(payload(27_182)), ..output(&[31_415]) };
    sender.send(request).await.map_err(say)?;
    let answer = streaming.message().await.map_err(say)?.ok_or("no response")?;
    equal("the size", size(answer.payload.as_ref()), 31_415)?;
    sender.cancel(ErrorCode::CANCEL);
    equal("the code", code_of(streaming.message().await), Some(Code::Cancelled))
}

pub(crate) async fn timeout_on_sleeping_server(channel: &Channel) -> Outcome {
    let request = Request::new(()).with_timeout(Duration::from_millis(1));
    let (mut sender, mut streaming) = channel.bidi(&DUPLEX_CALL, request).map_err(say)?;
    let message = StreamingOutputCallRequest { payload: Some(payload(27_182)), ..output(&[]) };
    // The deadline may pass before the message is accepted.
    let _ = sender.send(message).await;
    equal("the code", code_of(streaming.message().await), Some(Code::DeadlineExceeded))
}

/// No gRPC: a POST whose body comes back.
pub(crate) async fn plain_echo(channel: &Channel) -> Outcome {
    for bytes in [1, 1000, 100_000, 1_000_000] {
        let body: Vec<u8> = (0..bytes).map(|i: u32| (i % 251) as u8).collect();
        let request = HttpRequest::new("POST", "/").with_body(body.clone());
        let response =
            channel.http(request.with_timeout(Duration::from_secs(10))).await.map_err(say)?;
        equal("the HTTP status", response.status, 200)?;
        equal("bytes", response.body.len(), body.len())?;
        equal("the body's content", response.body[..] == body[..], true)?;
    }
    Ok(())
}
