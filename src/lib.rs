//! A gRPC transport for Rust with its own HTTP/2: frames, HPACK, flow control, connection state
//! machines and connection pool, on tokio and rustls.
//!
//! A server and a client that call each other in memory:
//!
//! ```
//! # #[cfg(all(feature = "client", feature = "server"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use framewire::client::Channel;
//! use framewire::server::{Router, Server};
//! use framewire::transport::in_memory;
//! use framewire::{Method, Raw, Request, Response};
//! use std::time::Duration;
//!
//! // `Raw` carries bytes; with the feature `prost`, any prost message takes its place.
//! const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
//!
//! let (connector, listener) = in_memory(64 * 1024);
//! let router = Router::new().unary(&ECHO, |_context, request| async move {
//!     Ok(Response::new(request))
//! });
//! let server = Server::builder(router).serve(listener)?;
//!
//! let channel = Channel::builder("http://echo.local").connector(connector).build()?;
//! let request = Request::new(Raw(b"hello".as_slice().into())).with_timeout(Duration::from_secs(1));
//! let response = channel.unary(&ECHO, request).await?;
//! assert_eq!(&response.into_inner().0[..], b"hello");
//!
//! drop(channel);
//! server.shutdown(Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "client", feature = "server")))]
//! # fn main() {}
//! ```
//!
//! # Map
//!
//! | module | holds |
//! | --- | --- |
//! | [`client`] | [`Channel`](client::Channel), its builder, streams, retry and hedging policies, statistics |
//! | [`server`] | [`Server`](server::Server), [`Router`](server::Router), handlers, graceful shutdown |
//! | [`tls`] | client and server TLS configuration |
//! | [`transport`] | connectors and acceptors: TCP, TLS, Unix sockets, in-memory pipes; socket options |
//! | [`metadata`], [`codec`] | call metadata; how messages are encoded |
//! | [`http`] | header fields of plain HTTP/2 requests and responses |
//! | [`error`] | [`Error`]: what failed, where, who ended it, whether a retry is safe |
//! | [`unstable`] | every layer below, without semver promises |
//!
//! `spec-notes/architecture.md` explains the layers and follows one call through them.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
pub mod client;
pub mod error;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "_net")]
pub mod transport;
pub mod unstable;

/// How messages become bytes: implement [`Encode`](codec::Encode) and [`Decode`](codec::Decode) for your own
/// codec, or use a prost message or [`Raw`].
pub mod codec {
    pub use crate::grpc::codec::{Decode, Encode, EncodeBuf, Raw};
    pub use crate::grpc::compression::Encoding;
}

/// Metadata of calls: the custom header and trailer fields.
pub mod metadata {
    pub use crate::grpc::metadata::{Entry, Metadata, MetadataError};
}

/// TLS configuration of clients and servers, on rustls.
#[cfg(any(feature = "tls-ring", feature = "tls-aws-lc"))]
pub mod tls {
    pub use crate::transport::tls::*;
}

/// Header and trailer fields, for plain HTTP/2 requests and responses.
pub mod http {
    pub use crate::http2::{FieldRef, Fields, Head, OverLimit};
}

#[cfg(feature = "_net")]
pub use connection::engine::Engine;
pub use error::Error;
pub use grpc::{Code, Encoding, IntoRequest, Metadata, Method, Raw, Request, Response, Status};
pub use http2::{LimitError, Limits};
#[cfg(feature = "_net")]
pub use memory::budget::Budget;

// Inside the crate, the layers go by their short names.
#[cfg(feature = "_net")]
pub(crate) use unstable::{advisor, call, connection, memory, pool, rt};
pub(crate) use unstable::{grpc, http2};

/// The README's code, compiled as documentation tests.
#[cfg(all(doctest, feature = "client", feature = "server", feature = "prost"))]
#[doc = include_str!("../README.md")]
pub mod readme {}
