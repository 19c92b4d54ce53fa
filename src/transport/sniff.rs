//! Recognizes protocols by their first bytes, so that errors can name what the client spoke.

/// The 24 bytes that open an HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Enough bytes for every check here.
pub(crate) const ENOUGH: usize = PREFACE.len();

const METHODS: [&[u8]; 8] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT "];

/// Whether a client that sent `bytes` first speaks TLS: a handshake record of TLS 1.x that holds a
/// ClientHello, as far as the bytes go. Fewer than three bytes prove nothing and give `false`.
pub(crate) fn looks_like_tls_client_hello(bytes: &[u8]) -> bool {
    // RFC 8446 §5.1: content type 22, a version of major 3; §4: handshake type 1.
    matches!(bytes, [0x16, 0x03, 0x00..=0x04, rest @ ..] if rest.get(2).is_none_or(|&t| t == 1))
}

/// Whether a client whose first byte is this speaks TLS: no HTTP begins like a handshake record.
pub(crate) const fn begins_tls(first: u8) -> bool {
    // RFC 8446 §5.1: content type 22
    first == 0x16
}

/// Whether `bytes`, at least three of them, begin or are the HTTP/2 preface.
pub(crate) fn looks_like_http2_preface(bytes: &[u8]) -> bool {
    let common = bytes.len().min(PREFACE.len());
    common >= 3 && bytes.get(..common) == PREFACE.get(..common)
}

/// Whether `bytes` begin with an HTTP/1 method.
pub(crate) fn looks_like_http1(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

#[cfg(test)]
mod tests {
    use crate::transport::sniff::*;

    #[test]
    fn verdicts() {
        let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00];
        for end in 3..=hello.len() {
            assert!(looks_like_tls_client_hello(&hello[..end]), "{end}");
        }
        let table: &[(&[u8], bool, bool, bool)] = &[
            (&hello, true, false, false),
            (&hello[..2], false, false, false),
            (&[0x16, 0x03, 0x03, 0, 9, 2], false, false, false),
            (&[0x15, 0x03, 0x03, 0, 2, 2], false, false, false),
            (&[0x16, 0x03, 0x05], false, false, false),
            (PREFACE, false, true, false),
            (b"PRI", false, true, false),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", false, false, false),
            (b"PR", false, false, false),
            (b"GET / HTTP/1.1\r\n", false, false, true),
            (b"POST /a HTTP/1.1\r\n", false, false, true),
            (b"GE", false, false, false),
            (b"", false, false, false),
        ];
        for &(bytes, tls, http2, http1) in table {
            assert_eq!(looks_like_tls_client_hello(bytes), tls, "{bytes:?}");
            assert_eq!(looks_like_http2_preface(bytes), http2, "{bytes:?}");
            assert_eq!(looks_like_http1(bytes), http1, "{bytes:?}");
            if bytes.len() >= 3 && (tls || http2 || http1) {
                assert_eq!(begins_tls(bytes[0]), tls, "{bytes:?}");
            }
        }
    }
}
