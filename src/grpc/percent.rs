//! The percent-encoding of `grpc-message` (gRPC PROTOCOL-HTTP2 §Responses).

use std::borrow::Cow;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Encodes `text` in at most `limit` bytes; a longer text is cut between two characters.
///
/// Escaped are all bytes outside 0x20–0x7e, the percent sign, and spaces at both ends.
#[must_use]
pub fn encode(text: &str, limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().min(limit));
    let tail = text.trim_end_matches(' ').len();
    for (at, c) in text.char_indices() {
        // RFC 9113 §8.2.1: a field value does not start or end with a blank.
        let edge = c == ' ' && (at == 0 || at >= tail);
        let plain = matches!(c, ' '..='~') && c != '%' && !edge;
        let width = if plain { 1 } else { 3 * c.len_utf8() };
        if out.len() + width > limit {
            break;
        }
        if plain {
            out.push(c as u8);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'%', high, low]);
        }
    }
    // The cut may leave a space at the end.
    out.truncate(out.trim_ascii_end().len());
    out
}

/// Decodes a received value. Never fails.
///
/// A percent sign without two hexadecimal digits stays as it is. Decoded bytes that are not UTF-8 become
/// U+FFFD.
// gRPC PROTOCOL-HTTP2 §Responses: decoding does not discard a message for a bad escape.
#[must_use]
pub fn decode(value: &[u8]) -> Cow<'_, str> {
    if !value.contains(&b'%') {
        return String::from_utf8_lossy(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    Cow::Owned(match String::from_utf8(out) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use crate::grpc::percent::*;

    fn text(value: &str, limit: usize) -> String {
        String::from_utf8(encode(value, limit)).unwrap()
    }

    #[test]
    fn escapes_what_must_be() {
        assert_eq!(text("plain ~ text", 99), "plain ~ text");
        assert_eq!(text("50%", 99), "50%25");
        assert_eq!(text("é\t\x7f", 99), "%C3%A9%09%7F");
        assert_eq!(text("  a b  ", 99), "%20 a b%20%20");
        assert_eq!(text(" ", 99), "%20");
        assert_eq!(text("", 99), "");
    }

    #[test]
    fn cuts_between_characters_and_leaves_no_blank() {
        assert_eq!(text("aé", 6), "a");
        assert_eq!(text("aé", 7), "a%C3%A9");
        assert_eq!(text("ab cd", 3), "ab");
        assert_eq!(text("x", 0), "");
    }

    #[test]
    fn g4_decoding_keeps_bad_escapes() {
        for bad in ["%", "%%", "%zz", "a%2", "%g0", "%-1"] {
            assert_eq!(decode(bad.as_bytes()), bad);
        }
        assert_eq!(decode(b"%%41%4a%4A%"), "%AJJ%");
        assert_eq!(decode(b"%ff%fe"), "\u{fffd}\u{fffd}");
        assert_eq!(decode(b"%C3%A9"), "é");
        assert_eq!(decode(&[0xff]), "\u{fffd}");
        let long = "%41".repeat(1 << 20);
        assert_eq!(decode(long.as_bytes()).len(), 1 << 20);
    }

    #[test]
    fn what_is_sent_reads_back() {
        for value in ["  ", "é%41 \u{0}\u{1f980}", "100%", "\r\n"] {
            assert_eq!(decode(&encode(value, usize::MAX)), value);
        }
    }
}
