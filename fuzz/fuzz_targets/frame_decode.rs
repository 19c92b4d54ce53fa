//! Any nine bytes and payload: a frame or a rule; what we write of a frame reads back the same.
#![no_main]

use framewire::unstable::http2::frame::{Flags, Frame, FrameHeader, HEADER_LEN, write};
use framewire::unstable::http2::violation::Scope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|wire: &[u8]| {
    let Some(fixed) = wire.first_chunk::<HEADER_LEN>() else { return };
    let mut header = FrameHeader::parse(fixed);
    let payload = &wire[HEADER_LEN..];
    header.length = payload.len() as u32;
    assert_eq!(FrameHeader::parse(&header.bytes()), header);
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
});
