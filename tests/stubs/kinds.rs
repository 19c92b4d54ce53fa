//! The four kinds of calls, between every pair of our transport and tonic's.

use crate::{bounded, channel, ours, tonic_channel, tonics};
use stub_tests::pb::echo_client::EchoClient;
use stub_tests::{EchoRequest, echo};
use tonic::client::GrpcService;
use tonic::codec::CompressionEncoding::{self, Gzip, Zstd};
use tonic::codegen::tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::{Body, Bytes, StdError, tokio_stream};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

/// Bytes that neither compress to nothing nor hide a shift.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

async fn all_kinds<T>(transport: T, encoding: Option<CompressionEncoding>)
where
    T: GrpcService<tonic::body::Body> + Clone + Send + 'static,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
    T::Future: Send,
{
    let mut client = EchoClient::new(transport).max_decoding_message_size(8 << 20);
    if let Some(encoding) = encoding {
        client = client.send_compressed(encoding).accept_compressed(encoding);
    }
    unary(&mut client).await;
    streams(&mut client).await;
}

async fn unary<T>(client: &mut EchoClient<T>)
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    for len in [0, 1, 100, 70_000, 3 << 20] {
        let sent = pattern(len);
        let mut request = Request::new(echo(sent.clone()));
        request.metadata_mut().insert("x-asked", "yes".parse().unwrap());
        request.metadata_mut().insert_bin("x-asked-bin", MetadataValue::from_bytes(&[0, 255]));
        let response = client.unary(request).await.unwrap();
        assert_eq!(response.metadata().get("x-initial").unwrap(), "yes");
        let bin = response.metadata().get_bin("x-initial-bin").unwrap();
        assert_eq!(bin.to_bytes().unwrap(), [0, 255].as_slice());
        assert!(response.get_ref().payload == sent, "{len} bytes came back changed");
    }
    let failing = EchoRequest {
        fail_code: Code::NotFound as u32,
        fail_message: "no user 42 in M\u{fc}nchen".into(),
        ..EchoRequest::default()
    };
    let status = client.unary(failing).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no user 42 in M\u{fc}nchen"));
    assert_eq!(status.details(), [8, 5, 255, 0]);
}

async fn streams<T>(client: &mut EchoClient<T>)
where
    T: GrpcService<tonic::body::Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as Body>::Error: Into<StdError> + Send,
{
    let wanted = EchoRequest {
        payload: pattern(50_000).into(),
        count: 30,
        fail_code: Code::Aborted as u32,
        fail_message: "enough".into(),
        ..EchoRequest::default()
    };
    let mut replies = client.server_stream(wanted).await.unwrap().into_inner();
    for _ in 0..30 {
        assert_eq!(replies.message().await.unwrap().unwrap().payload.len(), 50_000);
    }
    let status = replies.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "enough"));

    let requests = (0..40u8).map(|n| echo(vec![n; 30_000]));
    let last = client.client_stream(tokio_stream::iter(requests)).await.unwrap();
    assert_eq!(last.into_inner().payload, vec![39u8; 30_000]);

    // Each request is sent after the reply to the one before it.
    let (send, requests) = tokio::sync::mpsc::unbounded_channel();
    send.send(echo("0")).unwrap();
    let requests = UnboundedReceiverStream::new(requests);
    let mut replies = client.bidi(requests).await.unwrap().into_inner();
    for n in 0..50 {
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.payload, n.to_string());
        send.send(echo((n + 1).to_string())).unwrap();
    }
    drop(send);
    assert_eq!(replies.message().await.unwrap().unwrap().payload, "50");
    assert!(replies.message().await.unwrap().is_none());
}

#[tokio::test]
async fn our_channel_and_our_server() {
    for encoding in [None, Some(Gzip), Some(Zstd)] {
        let (_server, target) = ours();
        bounded(all_kinds(channel(&target), encoding)).await;
    }
}

#[tokio::test]
async fn our_channel_and_tonics_server() {
    for encoding in [None, Some(Gzip), Some(Zstd)] {
        let target = tonics().await;
        bounded(all_kinds(channel(&target), encoding)).await;
    }
}

#[tokio::test]
async fn tonics_channel_and_our_server() {
    for encoding in [None, Some(Gzip), Some(Zstd)] {
        let (_server, target) = ours();
        bounded(all_kinds(tonic_channel(&target).await, encoding)).await;
    }
}

#[tokio::test]
async fn an_interceptor_of_tonic_and_one_of_the_channel() {
    let (_server, target) = ours();
    let channel = framewire::client::Channel::builder(&target)
        .intercept(|metadata| {
            assert_eq!(metadata.get("x-from-stub"), Some("here"));
            metadata.insert("x-asked", "by the channel").map_err(|error| {
                framewire::Status::new(framewire::Code::Internal, error.to_string())
            })
        })
        .build()
        .unwrap();
    let mut client = EchoClient::with_interceptor(channel, |mut request: Request<()>| {
        request.metadata_mut().insert("x-from-stub", "here".parse().unwrap());
        Ok::<_, Status>(request)
    });
    let response = client.unary(echo("a")).await.unwrap();
    assert_eq!(response.metadata().get("x-initial").unwrap(), "by the channel");
}
