//! Blocks of any bytes through our decoder and through h2's, which must agree.
//!
//! An input is a sequence of blocks, each a length byte and that many bytes; 255 takes the rest.
//! Differences that are meant, and end the comparison:
//! - h2 refuses names and values that HTTP forbids while it decodes; we leave that to the floor above;
//! - h2 refuses integers of more than four continuation bytes, we of more than five;
//! - h2 takes any number of size updates, we two.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use framewire::unstable::http2::hpack::{Decoder, FieldSink, HpackError};
use framewire::unstable::http2::{FieldRef, Fields};
use futures_core::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct Wire(BytesMut);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let len = into.remaining().min(self.0.len());
        into.put_slice(&self.0.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

enum Verdict {
    Fields(Box<h2::frame::Pseudo>, HeaderMap),
    /// The block was decoded, the message it makes refused.
    Malformed,
    Refused,
}

struct Oracle(h2::Codec<Wire, Bytes>);

impl Oracle {
    fn new() -> Self {
        let mut codec = h2::Codec::new(Wire::default());
        codec.set_max_recv_header_list_size(1 << 24);
        Self(codec)
    }

    fn decode(&mut self, block: &[u8]) -> Verdict {
        let [_, high, middle, low] = (block.len() as u32).to_be_bytes();
        let wire = &mut self.0.get_mut().0;
        wire.extend_from_slice(&[high, middle, low, 0x1, 0x4, 0, 0, 0, 1]);
        wire.extend_from_slice(block);
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.0).poll_next(&mut context) {
            Poll::Ready(Some(Ok(h2::frame::Frame::Headers(headers)))) => {
                assert!(!headers.is_over_size());
                let (pseudo, fields) = headers.into_parts();
                Verdict::Fields(Box::new(pseudo), fields)
            }
            Poll::Ready(Some(Err(h2::proto::Error::Reset(..)))) => Verdict::Malformed,
            Poll::Ready(Some(Err(_))) => Verdict::Refused,
            other => panic!("no verdict: {other:?}"),
        }
    }
}

#[derive(Default)]
struct Collect(Fields);

impl FieldSink for Collect {
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.0.push_ref(FieldRef { name, value, sensitive: never_indexed });
    }
}

/// Whether HTTP, as h2 sees it while decoding, has no objection to the field.
fn is_valid(field: FieldRef<'_>) -> bool {
    match field.name {
        b":authority" | b":scheme" | b":path" | b":protocol" => {
            std::str::from_utf8(field.value).is_ok()
        }
        b":method" => Method::from_bytes(field.value).is_ok(),
        b":status" => StatusCode::from_bytes(field.value).is_ok(),
        name => {
            HeaderName::from_lowercase(name).is_ok() && HeaderValue::from_bytes(field.value).is_ok()
        }
    }
}

fn has_long_integer(block: &[u8]) -> bool {
    block.windows(5).any(|w| w[1..].iter().all(|byte| byte & 0x80 != 0))
}

fn assert_same(ours: &Fields, pseudo: &h2::frame::Pseudo, fields: &HeaderMap) {
    let mut wanted = HeaderMap::new();
    for field in ours {
        if field.name.first() == Some(&b':') {
            let theirs = match field.name {
                b":authority" => pseudo.authority.as_deref(),
                b":scheme" => pseudo.scheme.as_deref(),
                b":path" => pseudo.path.as_deref(),
                b":protocol" => pseudo.protocol.as_ref().map(|s| s.as_str()),
                b":method" => pseudo.method.as_ref().map(|s| s.as_str()),
                _ => pseudo.status.as_ref().map(|s| s.as_str()),
            };
            assert_eq!(theirs.map(str::as_bytes), Some(field.value));
        } else {
            let name = HeaderName::from_lowercase(field.name).unwrap();
            wanted.append(name, HeaderValue::from_bytes(field.value).unwrap());
        }
    }
    assert_eq!(&wanted, fields);
}

/// Judges one input of the fuzzer.
pub(crate) fn run(data: &[u8]) {
    let mut rest = data;
    let mut decoder = Decoder::new(4096);
    let mut oracle = Oracle::new();
    while let Some((&len, after)) = rest.split_first() {
        let len = if len == 255 { after.len() } else { usize::from(len).min(after.len()) };
        let (block, after) = after.split_at(len);
        rest = after;
        let mut sink = Collect::default();
        let ours = decoder.decode(block, &mut sink);
        let all_valid = sink.0.iter().all(is_valid);
        match (ours, oracle.decode(block)) {
            (Ok(()), Verdict::Fields(pseudo, fields)) => assert_same(&sink.0, &pseudo, &fields),
            (Ok(()), Verdict::Malformed) => {}
            (Ok(()), Verdict::Refused) => {
                assert!(!all_valid || has_long_integer(block), "only h2 refuses {block:02x?}");
                return;
            }
            (Err(_), Verdict::Refused) | (Err(HpackError::SizeUpdateRepeated), _) => return,
            (Err(error), _) => panic!("only we refuse {block:02x?}: {error}"),
        }
    }
}
