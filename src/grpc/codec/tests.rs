use crate::grpc::codec::buf::SHARE;
use crate::grpc::codec::*;
use bytes::BufMut;

/// Announces `.0` bytes and writes the others: copied, or shared.
struct Liar(usize, &'static [u8], Bytes);

impl Encode for Liar {
    fn encoded_len(&self) -> usize {
        self.0
    }

    fn encode(&self, out: &mut EncodeBuf<'_>) {
        out.put_slice(self.1);
        out.put_shared(self.2.clone());
    }
}

#[test]
fn a_codec_that_announces_another_length_is_internal() {
    let large = Bytes::from(vec![7; SHARE]);
    for encoding in [Encoding::Identity, Encoding::Gzip] {
        for (announced, shared) in [
            (2, Bytes::new()),
            (4, Bytes::new()),
            (0, Bytes::new()),
            (3, large.clone()),
            (SHARE, large.clone()),
            (SHARE + 4, large.clone()),
        ] {
            let mut out = b"kept".to_vec();
            let liar = Liar(announced, b"abc", shared);
            let status = encode_message(&liar, encoding, usize::MAX, &mut out).unwrap_err();
            assert_eq!(status.code(), Code::Internal, "{announced}");
            assert_eq!(out, b"kept", "{announced}");
        }
    }
}

#[test]
fn the_shared_end_is_not_copied_and_order_is_kept() {
    let large = Bytes::from(vec![7; SHARE]);
    let mut out = b"kept".to_vec();
    let honest = Liar(3 + SHARE, b"abc", large.clone());
    let shared = encode_message(&honest, Encoding::Identity, usize::MAX, &mut out);
    let shared = shared.unwrap().unwrap();
    assert_eq!(shared.as_ptr(), large.as_ptr());
    assert_eq!(out, [&b"kept\0"[..], &(SHARE as u32 + 3).to_be_bytes(), b"abc"].concat());

    struct Twice(Bytes);
    impl Encode for Twice {
        fn encoded_len(&self) -> usize {
            2 * self.0.len() + 1
        }
        fn encode(&self, out: &mut EncodeBuf<'_>) {
            out.put_shared(self.0.clone());
            out.copied().put_u8(1);
            out.put_shared(self.0.clone());
        }
    }
    let mut out = Vec::new();
    let shared = encode_message(&Twice(large.clone()), Encoding::Identity, usize::MAX, &mut out);
    assert_eq!(shared.unwrap().unwrap().as_ptr(), large.as_ptr());
    assert_eq!(out[PREFIX..], [&large[..], &[1]].concat());
}

#[test]
fn raw_shares_what_it_received() {
    let payload = Bytes::from(vec![7; 3]);
    assert_eq!(Raw::decode(payload.clone()).unwrap().0.as_ptr(), payload.as_ptr());
    assert_eq!(Raw::decode(&payload[..]).unwrap().0, payload);
}

#[test]
fn an_empty_message_is_a_prefix() {
    let mut out = Vec::new();
    let empty = Raw::default();
    assert_eq!(encode_message(&empty, Encoding::Identity, 0, &mut out).unwrap(), None);
    assert_eq!(out, [0; PREFIX]);
}
