//! Nothing in a call's fields panics, and what we write reads back.

use std::time::Duration;

use framewire::unstable::grpc::method::Path;
use framewire::unstable::grpc::{Code, Metadata, Status, percent, response, timeout};
use framewire::unstable::http2::Fields;

const NAMES: [&str; 14] = [
    ":method",
    ":path",
    ":status",
    ":authority",
    "host",
    "content-type",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "x-bin",
    "x",
];

type Lines = Vec<(u8, Vec<u8>)>;

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Some(input) = crate::input::read::<(Lines, String, Vec<u8>, u64, u16, bool)>(bytes) else {
        return;
    };
    let (lines, text, bytes, nanos, limit, end_stream) = input;
    received(&lines, end_stream);

    let duration = Duration::from_nanos(nanos);
    let back = timeout::parse(timeout::encode(duration).as_bytes()).expect("own timeout");
    assert!(back >= duration && back > Duration::ZERO);
    if let Ok(parsed) = timeout::parse(&bytes) {
        let again = timeout::parse(timeout::encode(parsed).as_bytes()).expect("own timeout");
        assert!(again >= parsed);
    }

    let wire = percent::encode(&text, usize::MAX);
    assert!(wire.iter().all(|byte| matches!(byte, 0x20..=0x7e)));
    assert_eq!(wire, wire.trim_ascii());
    assert_eq!(percent::decode(&wire), text);
    let cut = percent::encode(&text, usize::from(limit));
    assert!(cut.len() <= usize::from(limit));
    assert!(text.starts_with(&*percent::decode(&cut)));
    let _ = percent::decode(&bytes);

    if let Some(path) = std::str::from_utf8(&bytes).ok().and_then(Path::new) {
        assert_eq!(format!("/{}/{}", path.service(), path.method()).as_bytes(), bytes);
        assert_eq!(bytes.iter().filter(|byte| **byte == b'/').count(), 2);
    }
    sent(text, &bytes, limit);
}

fn received(lines: &Lines, end_stream: bool) {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.push(NAMES[usize::from(*name) % NAMES.len()], value);
    }
    if let Some(status) = Status::from_trailers(&fields) {
        assert!(!status.to_string().contains(['\n', '\r', '\u{1b}']));
    }
    let head = framewire::unstable::http2::Head::default();
    let trailers = Some(&fields).filter(|_| end_stream);
    if response::check_end(&head, trailers).is_ok() {
        assert_eq!(fields.get("grpc-status").map(Code::parse), Some(Code::Ok));
    }
    let metadata = Metadata::from_received(fields);
    for entry in metadata.iter() {
        assert!(entry.key().starts_with('x'));
        entry.bytes().for_each(drop);
        let _ = format!("{entry:?}");
    }
    let _ = (metadata.to_header_map(), metadata.get("x"), metadata.get_bin("x-bin"));
}

fn sent(text: String, bytes: &[u8], limit: u16) {
    let mut metadata = Metadata::new();
    let taken = metadata.append("x", &text).is_ok();
    assert_eq!(metadata.get("x"), taken.then_some(text.trim()));
    metadata.append_bin("x-bin", bytes).expect("any bytes");
    assert_eq!(metadata.get_bin("x-bin").expect("present").expect("own base64"), bytes);
    let _ = metadata.append(&text, "v");
    let map = metadata.to_header_map();
    assert_eq!(Metadata::from_header_map(&map).expect("own entries").len(), metadata.len());

    let status =
        Status::new(Code::Aborted, text).with_details(bytes.to_vec()).with_metadata(metadata);
    let mut fields = Fields::new();
    status.to_trailers(&mut fields, usize::MAX);
    assert_eq!(Status::from_trailers(&fields).as_ref(), Some(&status));
    fields.clear();
    status.to_trailers(&mut fields, usize::from(limit));
    assert!(fields.len() == 1 || fields.list_size() <= usize::from(limit));
}
