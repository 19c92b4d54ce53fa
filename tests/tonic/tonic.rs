//! Our client against a tonic server, a tonic client against our server, over plaintext and TLS.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod peer;
mod server;

use std::future::Future;
use std::time::Duration;

#[path = "../../proto/rust/bench.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bench;

use bench::{EchoRequest, EchoResponse};

/// Bytes of the large message.
const LARGE: usize = 3 << 20;
/// The code and text of the refused call, and the bytes of its details.
const TEXT: &str = "no user 42 in München";
const DETAILS: &[u8] = b"\x08\x05\xff\x00";
/// Metadata sent by the client, and sent back before and behind the messages.
const ASKED: &str = "x-asked";
const ASKED_BIN: &str = "x-asked-bin";
const INITIAL: &str = "x-initial";
const TRAILING: &str = "x-trailing-bin";

/// Certificate and key of `localhost`, as DER and as PEM.
struct Pair {
    cert: rcgen::Certificate,
    key: rcgen::KeyPair,
}

fn pair() -> Pair {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    Pair { cert: issued.cert, key: issued.signing_key }
}

fn echo(payload: impl Into<bytes::Bytes>) -> EchoRequest {
    EchoRequest { payload: payload.into(), ..EchoRequest::default() }
}

fn reply(payload: bytes::Bytes) -> EchoResponse {
    EchoResponse { payload }
}

/// Bytes that neither compress to nothing nor hide a shift.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 % 251) as u8).collect()
}

/// A test that hangs fails.
async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
}
