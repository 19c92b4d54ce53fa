//! An authority, whom it signs for, and a server that tells how its callers are connected.

use crate::identity::{Authority, Leaf};
use framewire::client::Channel;
use framewire::server::{Context, Router, Server};
use framewire::tls::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use framewire::transport::ConnectionInfo;
use framewire::transport::{MemoryConnector, in_memory};
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::sync::mpsc;

pub const WHO: Method<Raw, Raw> = Method::new("/test.Who/Am");

/// Trusts the authority, and shows this certificate.
pub fn client_of(authority: &Authority, leaf: &Leaf) -> ClientTlsBuilder {
    let builder = ClientTls::builder().roots_pem(&authority.pem);
    builder.identity_pem(&leaf.pem, leaf.key.serialize_pem())
}

/// Wants certificates of the authority, and shows one.
pub fn server_of(authority: &Authority) -> ServerTlsBuilder {
    let leaf = authority.sign(&["localhost"], |_| {});
    let builder = ServerTls::builder().client_roots_pem(&authority.pem);
    builder.identity_pem(&leaf.pem, leaf.key.serialize_pem())
}

/// The bytes of its certificate.
pub fn der(leaf: &Leaf) -> Vec<u8> {
    CertificateDer::from_pem_slice(leaf.pem.as_bytes()).unwrap().to_vec()
}

/// A server whose one method reports how its caller is connected, and the way to reach it.
pub struct Served {
    pub server: Server,
    pub connector: MemoryConnector,
    pub told: mpsc::Receiver<ConnectionInfo>,
}

pub fn serve(tls: ServerTls) -> Served {
    let (connector, listener) = in_memory(1 << 16);
    let (tell, told) = mpsc::channel();
    let router = Router::new().unary(&WHO, move |context: Context, request| {
        let info = context.connection().unwrap_or_default();
        tell.send(info).unwrap();
        async move { Ok(Response::new(request)) }
    });
    Served { server: Server::builder(router).tls(tls).serve(listener).unwrap(), connector, told }
}

impl Served {
    pub fn channel(&self, tls: &ClientTls) -> Channel {
        let builder = Channel::builder("https://localhost").connector(self.connector.clone());
        builder.tls(tls.clone()).build().unwrap()
    }

    /// What the server knows of the connection that one call of `channel` takes.
    pub async fn ask(&self, channel: &Channel) -> ConnectionInfo {
        channel.unary(&WHO, Request::new(Raw::default())).await.unwrap();
        self.told.try_recv().unwrap()
    }
}
