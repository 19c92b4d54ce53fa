//! An authority, whom it signs for, and a server that tells how its callers are connected.

use framewire::client::Channel;
use framewire::server::{Context, Router, Server};
use framewire::tls::{ClientTls, ClientTlsBuilder, ServerTls, ServerTlsBuilder};
use framewire::transport::ConnectionInfo;
use framewire::transport::{MemoryConnector, in_memory};
use framewire::unstable::grpc::{Method, Raw, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::sync::mpsc;

pub const WHO: Method<Raw, Raw> = Method::new("/test.Who/Am");

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

pub struct Leaf {
    pub der: Vec<u8>,
    pub pem: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn sign(&self, name: &str) -> Leaf {
        self.sign_all(&[name])
    }

    pub fn sign_all(&self, names: &[&str]) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = certificate.der().to_vec();
        Leaf { der, pem: certificate.pem(), key: key.serialize_pem() }
    }

    pub fn client(&self, leaf: &Leaf) -> ClientTlsBuilder {
        ClientTls::builder().roots_pem(&self.pem).identity_pem(&leaf.pem, &leaf.key)
    }

    pub fn server(&self) -> ServerTlsBuilder {
        let leaf = self.sign("localhost");
        ServerTls::builder().identity_pem(&leaf.pem, &leaf.key).client_roots_pem(&self.pem)
    }
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
