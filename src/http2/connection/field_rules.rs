//! The rules for names and values of fields (RFC 9113 §8.2, RFC 9113 §8.6).

use crate::http2::fields::Fields;
use crate::http2::violation::Violation;

pub(super) const fn is_token(byte: u8) -> bool {
    NAME_BYTES[byte.to_ascii_lowercase() as usize]
}

/// Returns the rule that a field to be sent breaks, if any; the same rules hold for both sides.
pub(super) fn check_sent(fields: &Fields) -> Result<(), Violation> {
    let mut regular = false;
    for field in fields {
        if field.name.first() == Some(&b':') {
            if regular {
                return Err(Violation::PseudoAfterRegular);
            }
        } else {
            regular = true;
            check_name(field.name)?;
            check_connection_specific(field.name, field.value)?;
        }
        check_value(field.value)?;
    }
    Ok(())
}

// RFC 9113 §8.2.1: NUL, LF and CR are nowhere in a value, blanks not at its ends
pub(super) fn check_value(value: &[u8]) -> Result<(), Violation> {
    check_bytes(value)?;
    if has_blanks(value) { Err(Violation::FieldValue) } else { Ok(()) }
}

/// Checks that a value has no byte that is forbidden everywhere.
pub(super) fn check_bytes(value: &[u8]) -> Result<(), Violation> {
    // Without a branch each: the loop becomes a few wide instructions.
    let broken = value.iter().fold(false, |bad, o| bad | matches!(o, 0 | b'\n' | b'\r'));
    if broken { Err(Violation::FieldValue) } else { Ok(()) }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns whether a value begins or ends with a blank.
pub(super) fn has_blanks(value: &[u8]) -> bool {
    let edge = |o: Option<&u8>| o.is_some_and(|o| is_blank(*o));
    edge(value.first()) || edge(value.last())
}

/// Returns a value without the blanks at its ends.
pub(super) fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

/// Returns whether blanks at the ends of the values of a message with this content-type are stripped:
/// `spec-notes/exceptions.md` says why.
pub(super) fn is_lenient_type(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t')))
}

/// Returns whether the value is a scheme (RFC 3986 §3.1).
pub(super) fn is_scheme(value: &[u8]) -> bool {
    let rest = |o: &u8| o.is_ascii_alphanumeric() || matches!(o, b'+' | b'-' | b'.');
    value.first().is_some_and(u8::is_ascii_alphabetic) && value.iter().all(rest)
}

// RFC 9113 §8.2.1: names are lower case and visible, without a colon
pub(super) fn check_name(name: &[u8]) -> Result<(), Violation> {
    let good = !name.is_empty() && name.iter().fold(true, |ok, o| ok & NAME_BYTES[usize::from(*o)]);
    if good { Ok(()) } else { Err(Violation::FieldName) }
}

pub(super) fn check_connection_specific(name: &[u8], value: &[u8]) -> Result<(), Violation> {
    match name {
        // RFC 9113 §8.2.2: connection-specific fields make a message malformed
        b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Err(Violation::ConnectionSpecificField)
        }
        // RFC 9113 §8.2.2: te may only say trailers
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(Violation::Te),
        _ => Ok(()),
    }
}

/// Parses three digits from 100 to 999, except 101.
// RFC 9113 §8.6: HTTP/2 removes support for the 101 status code
pub(super) fn status(value: &[u8]) -> Result<u16, Violation> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = value else {
        return Err(Violation::Status);
    };
    let code = u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0');
    if code == 101 { Err(Violation::Status) } else { Ok(code) }
}

/// Bytes of a field name: `token` of RFC 9110 in lower case.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let allowed = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut i = 0;
    while i < allowed.len() {
        table[allowed[i] as usize] = true;
        i += 1;
    }
    table
};
