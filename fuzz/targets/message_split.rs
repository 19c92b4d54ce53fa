//! However the bytes of a stream are cut, the same messages come out, and the same error.

use framewire::unstable::grpc::codec::{Inflate, Raw, decode_payload};
use framewire::unstable::grpc::message::{Message, MessageError, PREFIX, Splitter, parse_one};
use framewire::unstable::grpc::{Encoding, compression};

const MAX: usize = 4096;

type Outcome = (Vec<Message>, Result<(), MessageError>);

/// What the bytes say, straight from the definition, without a splitter.
fn oracle(mut wire: &[u8]) -> Outcome {
    let mut messages = Vec::new();
    while wire.len() >= PREFIX {
        let len = u32::from_be_bytes([wire[1], wire[2], wire[3], wire[4]]) as usize;
        if wire[0] > 1 {
            return (messages, Err(MessageError::BadFlag(wire[0])));
        }
        if len > MAX {
            return (messages, Err(MessageError::TooLarge { len, max: MAX }));
        }
        let Some((payload, rest)) = wire[PREFIX..].split_at_checked(len) else {
            let missing = len - (wire.len() - PREFIX);
            return (messages, Err(MessageError::Truncated { missing }));
        };
        messages.push(Message { compressed: wire[0] == 1, payload: payload.to_vec().into() });
        wire = rest;
    }
    let missing = PREFIX - wire.len();
    let end = if wire.is_empty() { Ok(()) } else { Err(MessageError::Truncated { missing }) };
    (messages, end)
}

fn split(wire: &[u8], cuts: &[u8], drain_late: bool) -> Outcome {
    let mut splitter = Splitter::new(MAX);
    let (mut messages, mut rest, mut at) = (Vec::new(), wire, 0);
    let mut arrived = 0;
    while !rest.is_empty() {
        let step = cuts.get(at % cuts.len().max(1)).map_or(7, |cut| usize::from(*cut) + 1);
        at += 1;
        let (chunk, tail) = rest.split_at(step.min(rest.len()));
        rest = tail;
        splitter.push(chunk);
        arrived += chunk.len();
        assert!(splitter.len() <= arrived);
        assert!(splitter.capacity() <= 2 * arrived + (128 << 10));
        if drain_late {
            continue;
        }
        loop {
            match splitter.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    loop {
        match splitter.next() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, splitter.finish()),
            Err(error) => return (messages, Err(error)),
        }
    }
}

/// Judges one input of the fuzzer.
pub(crate) fn run(bytes: &[u8]) {
    let Some(input) = crate::input::read::<(Vec<u8>, Vec<u8>, bool)>(bytes) else { return };
    let (wire, cuts, drain_late) = input;
    let expected = oracle(&wire);
    assert_eq!(split(&wire, &cuts, drain_late), expected);

    let one = parse_one(&wire, MAX);
    assert_eq!(one.is_some(), expected.1.is_ok() && expected.0.len() == 1);
    if let Some((compressed, range)) = one {
        let message = expected.0[0].clone();
        assert_eq!((compressed, &wire[range.clone()]), (message.compressed, &message.payload[..]));
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let payload = &wire[range.clone()];
            let inflate = Inflate { encoding, max: MAX, grant: &mut |_| true };
            let plain = decode_payload::<Raw>(payload, compressed, inflate);
            assert!(plain.as_ref().is_ok_and(|plain| plain.0.len() <= MAX) || plain.is_err());
        }
    }
    if let Ok(plain) = compression::decompress(Encoding::Gzip, &wire, MAX, &mut |_| true) {
        let mut packed = Vec::new();
        compression::compress(Encoding::Gzip, &plain, &mut packed).expect("gzip is built in");
        let max = plain.len();
        let again = compression::decompress(Encoding::Gzip, &packed, max, &mut |_| true);
        assert_eq!(again, Ok(plain));
    }
}
