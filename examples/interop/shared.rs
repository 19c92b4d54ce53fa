//! What the interop client and the interop server share: methods, payloads, flags.

#[path = "../../proto/rust/testing.rs"]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod testing;

use framewire::Method;
use std::collections::HashMap;
use testing::{
    Empty, Payload, SimpleRequest, SimpleResponse, StreamingInputCallRequest,
    StreamingInputCallResponse, StreamingOutputCallRequest, StreamingOutputCallResponse,
};

pub(crate) const EMPTY_CALL: Method<Empty, Empty> =
    Method::new("/grpc.testing.TestService/EmptyCall");
pub(crate) const UNARY_CALL: Method<SimpleRequest, SimpleResponse> =
    Method::new("/grpc.testing.TestService/UnaryCall");
pub(crate) const OUTPUT_CALL: Method<StreamingOutputCallRequest, StreamingOutputCallResponse> =
    Method::new("/grpc.testing.TestService/StreamingOutputCall");
pub(crate) const INPUT_CALL: Method<StreamingInputCallRequest, StreamingInputCallResponse> =
    Method::new("/grpc.testing.TestService/StreamingInputCall");
pub(crate) const DUPLEX_CALL: Method<StreamingOutputCallRequest, StreamingOutputCallResponse> =
    Method::new("/grpc.testing.TestService/FullDuplexCall");

/// The metadata that a server sends back before the messages.
pub(crate) const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
/// The metadata that a server sends back behind them.
pub(crate) const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// As many zeros.
pub(crate) fn payload(bytes: usize) -> Payload {
    Payload { body: vec![0; bytes].into(), ..Payload::default() }
}

/// The bytes that a message carries.
pub(crate) fn size(payload: Option<&Payload>) -> usize {
    payload.map_or(0, |payload| payload.body.len())
}

/// `--name=value` and `--name value`; a name alone is `true`.
pub(crate) struct Flags(HashMap<String, String>);

impl Flags {
    pub(crate) fn read() -> Result<Self, String> {
        let mut flags = HashMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--") else {
                return Err(format!("{word} is not a flag"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => {
                    let value = words.next_if(|next| !next.starts_with("--"));
                    (flag.to_owned(), value.unwrap_or_else(|| "true".to_owned()))
                }
            };
            flags.insert(name, value);
        }
        Ok(Self(flags))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number, or `default` where the flag is absent.
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        match self.get(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| format!("--{name}={value} is no number")),
        }
    }
}
