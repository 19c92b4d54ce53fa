//! Any nine bytes and payload: a frame or a rule, as h2 judges it; what we write of a frame reads back the same.
//!
//! Where the two may differ: h2 leaves it to its callers that RST_STREAM has a stream and GOAWAY has none, and
//! refuses a WINDOW_UPDATE of 0 and settings out of their range here already.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use framewire::unstable::http2::frame::{Flags, Frame, FrameHeader, HEADER_LEN, write};
use framewire::unstable::http2::violation::{Scope, Violation};
use futures_core::Stream;
use h2::frame as theirs;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One frame to read.
struct Wire(Vec<u8>);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let len = into.remaining().min(self.0.len());
        into.put_slice(&self.0[..len]);
        self.0.drain(..len);
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

/// What h2 makes of the frame; `None` if it refuses it.
fn oracle(header: FrameHeader, payload: &[u8]) -> Option<theirs::Frame> {
    let mut codec: h2::Codec<_, Bytes> = h2::Codec::new(Wire([&header.bytes(), payload].concat()));
    match Pin::new(&mut codec).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(frame))) => Some(frame),
        Poll::Ready(Some(Err(_))) => None,
        other => panic!("no verdict: {other:?}"),
    }
}

fn settings_entries(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> + '_ {
    let word = |b: &[u8]| b.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    payload.chunks(6).map(move |entry| (word(&entry[..2]) as u16, word(&entry[2..])))
}

/// The last value of a setting.
fn setting(entries: &[u8], id: u16) -> Option<u32> {
    settings_entries(entries).filter(|(one, _)| *one == id).last().map(|(_, value)| value)
}

fn is_in_range(entries: &[u8]) -> bool {
    settings_entries(entries).all(|(id, value)| match id {
        2 | 8 => value <= 1,
        4 => value <= 0x7fff_ffff,
        5 => (16_384..=0x00ff_ffff).contains(&value),
        _ => true,
    })
}

/// Frames without a field block, judged by both.
fn compare(header: FrameHeader, payload: &[u8], ours: Result<Frame<'_>, Violation>) {
    // h2 takes no more until it is told to.
    if payload.len() > 16_384 {
        return;
    }
    match ours {
        Ok(Frame::Headers { .. } | Frame::PushPromise { .. } | Frame::Continuation { .. }) => {
            return;
        }
        Ok(Frame::Unknown { .. }) => return,
        // h2 forbids what RFC 9113 has given up: a stream that depends on itself.
        Ok(Frame::Priority { .. }) => return,
        Ok(Frame::WindowUpdate { increment: 0, .. }) => {
            return assert!(oracle(header, payload).is_none());
        }
        Ok(Frame::Settings { entries, .. }) if !is_in_range(entries) => {
            return assert!(oracle(header, payload).is_none());
        }
        Err(Violation::RstStreamOnConnection | Violation::GoAwayOnStream) => return,
        Err(_) => return assert!(oracle(header, payload).is_none(), "only we refuse {ours:?}"),
        Ok(_) => {}
    }
    let (ours, theirs) = (ours.expect("a frame"), oracle(header, payload));
    let theirs = theirs.unwrap_or_else(|| panic!("only h2 refuses {ours:?}"));
    let id = header.stream_id.value();
    match (ours, theirs) {
        (Frame::Data { data, end_stream, .. }, theirs::Frame::Data(frame)) => {
            assert_eq!((data, end_stream), (&frame.payload()[..], frame.is_end_stream()));
            assert_eq!(id, u32::from(frame.stream_id()));
        }
        (Frame::RstStream { code, .. }, theirs::Frame::Reset(frame)) => {
            assert_eq!((id, code.0), (frame.stream_id().into(), frame.reason().into()));
        }
        (Frame::Settings { ack, entries }, theirs::Frame::Settings(frame)) => {
            assert_eq!(ack, frame.is_ack());
            let said = [1, 3, 4, 5, 6].map(|id| setting(entries, id));
            let heard = [
                frame.header_table_size(),
                frame.max_concurrent_streams(),
                frame.initial_window_size(),
                frame.max_frame_size(),
                frame.max_header_list_size(),
            ];
            assert_eq!(said, heard);
            assert_eq!(setting(entries, 2), frame.is_push_enabled().map(u32::from));
        }
        (Frame::Ping { ack, opaque }, theirs::Frame::Ping(frame)) => {
            assert_eq!((ack, &opaque), (frame.is_ack(), frame.payload()));
        }
        (Frame::GoAway { last_stream_id, code, debug }, theirs::Frame::GoAway(frame)) => {
            assert_eq!(last_stream_id.value(), u32::from(frame.last_stream_id()));
            assert_eq!((code.0, debug), (frame.reason().into(), &frame.debug_data()[..]));
        }
        (Frame::WindowUpdate { increment, .. }, theirs::Frame::WindowUpdate(frame)) => {
            assert_eq!((id, increment), (frame.stream_id().into(), frame.size_increment()));
        }
        (ours, theirs) => panic!("{ours:?} is {theirs:?} to h2"),
    }
}

/// Judges one input of the fuzzer.
pub(crate) fn run(wire: &[u8]) {
    let Some(fixed) = wire.first_chunk::<HEADER_LEN>() else { return };
    let mut header = FrameHeader::parse(fixed);
    let payload = &wire[HEADER_LEN..];
    header.length = payload.len() as u32;
    assert_eq!(FrameHeader::parse(&header.bytes()), header);
    compare(header, payload, Frame::parse(header, payload));
    let frame = match Frame::parse(header, payload) {
        Ok(frame) => frame,
        Err(rule) => {
            assert!(matches!(rule.scope(), Scope::Connection | Scope::Stream));
            return;
        }
    };
    assert!(!format!("{frame:?}").is_empty());
    let mut out = Vec::new();
    match frame {
        Frame::RstStream { stream_id, code } => write::rst_stream(&mut out, stream_id, code),
        Frame::Ping { ack, opaque } => write::ping(&mut out, ack, opaque),
        Frame::WindowUpdate { stream_id, increment } => {
            write::window_update(&mut out, stream_id, increment);
        }
        Frame::Data { stream_id, data, end_stream, .. } => {
            write::data_header(&mut out, stream_id, data.len() as u32, end_stream);
            out.extend_from_slice(data);
        }
        Frame::Headers { stream_id, fragment, end_stream, .. } => {
            write::headers(&mut out, stream_id, end_stream, 16_384, |b| {
                b.extend_from_slice(fragment)
            });
        }
        _ => return,
    }
    let again = FrameHeader::parse(out.first_chunk().expect("a header"));
    if again.flags.has(Flags::END_HEADERS) || out.len() < 16_384 {
        let again = Frame::parse(again, &out[HEADER_LEN..]).expect("our own frame");
        match (frame, again) {
            (Frame::Data { data: a, .. }, Frame::Data { data: b, .. }) => assert_eq!(a, b),
            (Frame::Headers { fragment: a, .. }, Frame::Headers { fragment: b, .. }) => {
                assert_eq!(a, b);
            }
            (a, b) => assert_eq!(a, b),
        }
    }
}
