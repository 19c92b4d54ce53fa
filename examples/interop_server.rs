//! The server of gRPC's interop cases.
//!
//! `cargo run --example interop_server -- --port=8080 [--use_tls=true --cert_out=FILE --key_out=FILE]`
//!
//! With TLS it serves the certificate of `examples/data`, which names `localhost`,
//! `*.test.google.fr` and 127.0.0.1, and writes it and its key where the flags say. It prints
//! `listening on ADDRESS` once it serves.

#[path = "interop/shared.rs"]
mod shared;

use framewire::server::{Context, Replies, Requests, Router, Server};
use framewire::tls::ServerTls;
use framewire::{Code, Encoding, Metadata, Response, Status};
use shared::testing::{
    BoolValue, EchoStatus, Empty, PayloadType, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};
use shared::{
    DUPLEX_CALL, ECHO_INITIAL, ECHO_TRAILING, EMPTY_CALL, Flags, INPUT_CALL, OUTPUT_CALL,
    UNARY_CALL, payload, size,
};
use std::error::Error;
use std::time::Duration;

/// Its key is public: see `examples/data/README.md`.
const CERTIFICATE: &str = include_str!("data/localhost.pem");
const KEY: &str = include_str!("data/localhost.key.pem");
/// The largest payload that a caller may ask for.
const LARGEST: usize = 64 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read()?;
    let port = u16::try_from(flags.number("port", 8080)?)?;
    let mut builder = Server::builder(router());
    if flags.is("use_tls") {
        if let Some(file) = flags.get("key_out") {
            std::fs::write(file, KEY)?;
        }
        if let Some(file) = flags.get("cert_out") {
            std::fs::write(file, CERTIFICATE)?;
        }
        let tls = ServerTls::builder().identity_pem(CERTIFICATE, KEY);
        builder = builder.tls(tls.build()?);
    }
    let server = builder.bind(([127, 0, 0, 1], port).into())?;
    let address = server.local_addr().ok_or("no address")?;
    println!("listening on {address}");
    server.wait().await;
    Ok(())
}

fn router() -> Router {
    Router::new()
        .unary(&EMPTY_CALL, |context, _| async move {
            let (initial, trailing) = echoed(&context)?;
            Ok(Response::new(Empty {}).with_metadata(initial).with_trailers(trailing))
        })
        .unary(&UNARY_CALL, unary_call)
        .server_streaming(&OUTPUT_CALL, output_call)
        .client_streaming(&INPUT_CALL, |_, requests| input_call(requests))
        .bidi(&DUPLEX_CALL, duplex_call)
}

async fn unary_call(
    context: Context,
    request: SimpleRequest,
) -> Result<Response<SimpleResponse>, Status> {
    check_type(request.response_type)?;
    check_compressed(request.expect_compressed, context.encoding())?;
    check_status(request.response_status)?;
    let (initial, trailing) = echoed(&context)?;
    let message = SimpleResponse {
        payload: Some(payload(wanted(request.response_size)?)),
        ..SimpleResponse::default()
    };
    let response = Response::new(message).with_metadata(initial).with_trailers(trailing);
    Ok(response.with_encoding(chosen(request.response_compressed)))
}

async fn output_call(
    context: Context,
    request: StreamingOutputCallRequest,
    mut replies: Replies<StreamingOutputCallResponse>,
) -> Result<(), Status> {
    begin(&context, &mut replies)?;
    reply(request, &mut replies).await
}

async fn duplex_call(
    context: Context,
    mut requests: Requests<StreamingOutputCallRequest>,
    mut replies: Replies<StreamingOutputCallResponse>,
) -> Result<(), Status> {
    begin(&context, &mut replies)?;
    while let Some(request) = requests.message().await? {
        reply(request, &mut replies).await?;
    }
    Ok(())
}

async fn input_call(
    mut requests: Requests<StreamingInputCallRequest>,
) -> Result<Response<StreamingInputCallResponse>, Status> {
    let mut sum = 0_usize;
    while let Some(request) = requests.message().await? {
        check_compressed(request.expect_compressed, requests.encoding())?;
        sum = sum.saturating_add(size(request.payload.as_ref()));
    }
    let aggregated_payload_size = i32::try_from(sum).unwrap_or(i32::MAX);
    Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
}

/// Head and trailers of the streaming calls; gzip is announced, so that each message can choose.
fn begin(
    context: &Context,
    replies: &mut Replies<StreamingOutputCallResponse>,
) -> Result<(), Status> {
    let (initial, trailing) = echoed(context)?;
    replies.set_encoding(Encoding::Gzip);
    replies.metadata(&initial)?;
    replies.trailers(&trailing)
}

/// The responses that one request asks for, or the status.
async fn reply(
    request: StreamingOutputCallRequest,
    replies: &mut Replies<StreamingOutputCallResponse>,
) -> Result<(), Status> {
    check_type(request.response_type)?;
    check_status(request.response_status)?;
    for parameters in request.response_parameters {
        if let Ok(interval @ 1..) = u64::try_from(parameters.interval_us) {
            tokio::time::sleep(Duration::from_micros(interval)).await;
        }
        replies.set_encoding(chosen(parameters.compressed));
        let payload = Some(payload(wanted(parameters.size)?));
        replies.send(StreamingOutputCallResponse { payload }).await?;
    }
    Ok(())
}

/// The metadata to send back: before the messages, behind them.
fn echoed(context: &Context) -> Result<(Metadata, Metadata), Status> {
    let broken = |error| Status::new(Code::InvalidArgument, format!("metadata: {error}"));
    let received = context.metadata();
    let (mut initial, mut trailing) = (Metadata::new(), Metadata::new());
    for value in received.get_all(ECHO_INITIAL) {
        initial.append(ECHO_INITIAL, value).map_err(broken)?;
    }
    for value in received.get_all_bin(ECHO_TRAILING) {
        trailing.append_bin(ECHO_TRAILING, &value.map_err(broken)?).map_err(broken)?;
    }
    Ok((initial, trailing))
}

fn chosen(compressed: Option<BoolValue>) -> Encoding {
    match compressed {
        Some(BoolValue { value: true }) => Encoding::Gzip,
        _ => Encoding::Identity,
    }
}

fn wanted(size: i32) -> Result<usize, Status> {
    usize::try_from(size)
        .ok()
        .filter(|size| *size <= LARGEST)
        .ok_or_else(|| Status::new(Code::InvalidArgument, format!("no payload of {size} bytes")))
}

fn check_type(wanted: i32) -> Result<(), Status> {
    if wanted == PayloadType::Compressable as i32 {
        return Ok(());
    }
    Err(Status::new(Code::InvalidArgument, format!("payload type {wanted} is unknown")))
}

fn check_compressed(expected: Option<BoolValue>, came: Encoding) -> Result<(), Status> {
    let Some(BoolValue { value }) = expected else { return Ok(()) };
    if value == (came == Encoding::Gzip) {
        return Ok(());
    }
    Err(Status::new(Code::InvalidArgument, format!("compressed: expected {value}, came {came:?}")))
}

fn check_status(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => {
            let code = u32::try_from(status.code).map_or(Code::Unknown, Code::from_u32);
            Err(Status::new(code, status.message))
        }
        _ => Ok(()),
    }
}
