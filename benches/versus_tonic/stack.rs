//! What both stacks must be able to do, so that the measuring code is the same for both.

use bytes::Bytes;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// The requests' `user-agent` prefix on both stacks.
pub const USER_AGENT: &str = "checkout-service/2.7.1";
/// A bearer token of a usual size.
const AUTHORIZATION_OCTETS: usize = 700;

/// The fields of a real call: some stable, one that is new with every call.
#[derive(Clone, Debug)]
pub struct RealHead {
    pub timeout: Duration,
    pub authorization: String,
    pub traceparent: String,
    pub tenant: &'static str,
    pub region: &'static str,
}

impl RealHead {
    pub fn new() -> Self {
        let mut authorization = String::from("Bearer ");
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        while authorization.len() < AUTHORIZATION_OCTETS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            authorization.push(char::from(alphabet[(state >> 58) as usize]));
        }
        Self {
            timeout: Duration::from_secs(5),
            authorization,
            traceparent: String::new(),
            tenant: "tenant-000042",
            region: "eu-central-1",
        }
    }

    /// Makes the volatile fields new.
    pub fn vary(&mut self, n: u64) {
        let span = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.traceparent = format!("00-{span:016x}{n:016x}-{span:016x}-01");
        // Milliseconds that differ from call to call, as a budget handed down does.
        self.timeout = Duration::from_millis(4000 + n % 1000);
    }
}

/// One connection to the server.
pub trait Client: Clone + Send + Sync + 'static {
    /// One echo; the answer's payload.
    fn unary(
        &mut self,
        payload: Bytes,
        head: Option<&RealHead>,
    ) -> impl Future<Output = Result<Bytes, BoxError>> + Send;

    /// One stream of echoes, until `go_on` says no; it is told each payload's bytes.
    fn server_stream(
        &mut self,
        payload: Bytes,
        go_on: impl FnMut(usize) -> bool + Send,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Round trips on one stream, until `go_on` says no.
    fn ping_pong(
        &mut self,
        payload: Bytes,
        go_on: impl FnMut(usize) -> bool + Send,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Where certificate and key lie, both in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub certificate: String,
    pub key: String,
}

impl TlsFiles {
    pub fn read(&self) -> std::io::Result<(String, String)> {
        Ok((std::fs::read_to_string(&self.certificate)?, std::fs::read_to_string(&self.key)?))
    }
}
