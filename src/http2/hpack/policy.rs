//! Decides which fields enter the dynamic table.

use crate::http2::FieldRef;
use crate::http2::hpack::DEFAULT_TABLE_SIZE;

/// The representation of a field that is not in the tables (RFC 7541 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Indexing {
    /// Literal, added to the dynamic table (§6.2.1).
    Incremental,
    /// Literal, not added (§6.2.2). A field that is in the tables is still sent as an index.
    Without,
    /// Literal, never added by any hop (§6.2.3), and never sent as an index.
    Never,
}

/// The shortest `authorization` value that is indexed, in bytes: a value of that length cannot be guessed
/// from the sizes of blocks.
const AUTHORIZATION_MIN: usize = 32;

/// Returns how this crate indexes `field` in a table of [`DEFAULT_TABLE_SIZE`].
///
/// | field | indexing |
/// | --- | --- |
/// | marked sensitive; `cookie`, `set-cookie`, `proxy-authorization` | never |
/// | `authorization` below 32 bytes | never |
/// | `authorization` of 32 bytes or more, up to half of the table | incremental |
/// | values that change with each call: `grpc-timeout`, `traceparent`, `grpc-message`, `date`, … | without |
/// | `grpc-status` other than 0 | without |
/// | names ending in `-bin`; values above a quarter of the table | without |
/// | everything else | incremental |
///
/// A long `authorization` may be indexed, because a connection never mixes identities: only a caller that
/// has the value already could probe the table for it (RFC 7541 §7.1).
#[must_use]
pub fn default_indexing(field: FieldRef<'_>) -> Indexing {
    indexing(field, DEFAULT_TABLE_SIZE)
}

/// The default policy in a table of at most `table_size` bytes.
pub(super) fn indexing(field: FieldRef<'_>, table_size: usize) -> Indexing {
    if is_secret(field) {
        return Indexing::Never;
    }
    match field.name {
        b"authorization" if field.value.len() <= table_size / 2 => Indexing::Incremental,
        b"grpc-status" if field.value != b"0" => Indexing::Without,
        b"grpc-timeout" | b"traceparent" | b"tracestate" | b"grpc-message" | b"content-length"
        | b"date" | b"x-request-id" => Indexing::Without,
        name if name.ends_with(b"-bin") => Indexing::Without,
        _ if field.value.len() > table_size / 4 => Indexing::Without,
        _ => Indexing::Incremental,
    }
}

/// Whether the default policy never indexes `field`.
#[inline]
pub(super) fn is_secret(field: FieldRef<'_>) -> bool {
    // RFC 7541 §7.1.3: what must not be guessed by its size stays out of every table.
    field.sensitive
        || match field.name {
            b"cookie" | b"set-cookie" | b"proxy-authorization" => true,
            b"authorization" => field.value.len() < AUTHORIZATION_MIN,
            _ => false,
        }
}

/// Whether the values of `name` rarely change on one connection, so that a first sight is enough.
pub(super) fn is_stable(name: &[u8]) -> bool {
    matches!(
        name,
        b":authority"
            | b":method"
            | b":path"
            | b":scheme"
            | b":status"
            | b"accept-encoding"
            | b"authorization"
            | b"content-encoding"
            | b"content-type"
            | b"grpc-accept-encoding"
            | b"grpc-encoding"
            | b"grpc-status"
            | b"server"
            | b"te"
            | b"user-agent"
    )
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::policy::*;

    fn policy(name: &str, value: &[u8]) -> Indexing {
        default_indexing(FieldRef { name: name.as_bytes(), value, sensitive: false })
    }

    #[test]
    fn secrets_are_never_indexed() {
        for name in ["cookie", "set-cookie", "proxy-authorization"] {
            assert_eq!(policy(name, &[b'x'; 100]), Indexing::Never);
        }
        let marked = FieldRef { name: b":path", value: b"/", sensitive: true };
        assert_eq!(default_indexing(marked), Indexing::Never);
    }

    #[test]
    fn authorization_is_indexed_from_32_bytes_to_half_of_the_table() {
        assert_eq!(policy("authorization", &[b'x'; 31]), Indexing::Never);
        assert_eq!(policy("authorization", &[b'x'; 32]), Indexing::Incremental);
        assert_eq!(policy("authorization", &[b'x'; 2048]), Indexing::Incremental);
        assert_eq!(policy("authorization", &[b'x'; 2049]), Indexing::Without);
    }

    #[test]
    fn volatile_and_large_values_stay_out() {
        for name in [
            "grpc-timeout",
            "traceparent",
            "tracestate",
            "grpc-message",
            "grpc-status-details-bin",
            "grpc-trace-bin",
            "content-length",
            "date",
            "x-request-id",
            "anything-bin",
        ] {
            assert_eq!(policy(name, b"1"), Indexing::Without, "{name}");
        }
        assert_eq!(policy("grpc-status", b"13"), Indexing::Without);
        assert_eq!(policy("grpc-status", b"0"), Indexing::Incremental);
        assert_eq!(policy("x-custom", &[b'x'; 1024]), Indexing::Incremental);
        assert_eq!(policy("x-custom", &[b'x'; 1025]), Indexing::Without);
    }
}
