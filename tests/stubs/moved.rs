//! A small service that was written for tonic's transport: only what builds the transport has changed.

use framewire::client::Channel;
use framewire::server::{Router, Server};
use framewire::tls::{ClientTls, ServerTls};
use std::time::Duration;
use stub_tests::pb::echo_client::EchoClient;
use stub_tests::pb::echo_server::EchoServer;
use stub_tests::{EchoRequest, EchoService, echo};
use tonic::service::{Routes, interceptor};
use tonic::{Code, Request, Status};

fn authenticate(request: Request<()>) -> Result<Request<()>, Status> {
    match request.metadata().get("authorization") {
        Some(token) if token == "Bearer secret" => Ok(request),
        _ => Err(Status::unauthenticated("no token")),
    }
}

#[tokio::test]
async fn tls_layers_interceptors_health_and_a_drain() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (cert, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<EchoServer<EchoService>>().await;

    let routes =
        Routes::new(health).add_service(EchoServer::with_interceptor(EchoService, authenticate));
    let service = tower::ServiceBuilder::new()
        .layer(tower_http::trace::TraceLayer::new_for_grpc())
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(100))
        .service(routes);
    let server = Server::builder(Router::new().tower("/", service))
        .tls(ServerTls::builder().identity_pem(&cert, &key).build().unwrap())
        .max_concurrent_streams(64)
        .bind("127.0.0.1:0".parse().unwrap())
        .unwrap();

    let target = format!("https://localhost:{}", server.local_addr().unwrap().port());
    let tls = ClientTls::builder().roots_pem(&cert).build().unwrap();
    let channel = Channel::builder(&target).tls(tls).build().unwrap();
    channel.warm(1).await.unwrap();

    let token = interceptor::InterceptorLayer::new(|mut request: Request<()>| {
        request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
        Ok(request)
    });
    let mut client =
        EchoClient::new(tower::ServiceBuilder::new().layer(token).service(channel.clone()));
    let reply = client.unary(echo("bob")).await.unwrap();
    assert_eq!(reply.into_inner().payload, "bob");
    let wanted = EchoRequest { count: 3, ..echo("bob") };
    let mut replies = client.server_stream(wanted).await.unwrap().into_inner();
    while replies.message().await.unwrap().is_some() {}
    let status = EchoClient::new(channel).unary(echo("eve")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "no token"));
    drop(client);
    let report = server.shutdown(Duration::from_secs(50)).await;
    assert_eq!((report.forced, report.undelivered), (0, 0));
}
