//! `grpc-timeout` (gRPC PROTOCOL-HTTP2 §Requests): at most eight digits and a unit.

use std::fmt;
use std::time::Duration;

/// The name of the field.
pub const NAME: &str = "grpc-timeout";

// gRPC PROTOCOL-HTTP2 §Requests: TimeoutValue is at most 8 digits.
const DIGITS: usize = 8;
const MAX_VALUE: u128 = 99_999_999;

/// The units: nanoseconds and letter, finest first.
const UNITS: [(u128, u8); 6] = [
    (1, b'n'),
    (1_000, b'u'),
    (1_000_000, b'm'),
    (1_000_000_000, b'S'),
    (60_000_000_000, b'M'),
    (3_600_000_000_000, b'H'),
];

/// A timeout in its wire form, without an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    buf: [u8; DIGITS + 1],
    start: u8,
}

impl Encoded {
    /// Returns the digits and the unit.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(usize::from(self.start)..).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// Encodes `timeout` in the finest unit that holds it in eight digits.
///
/// The value is rounded up, so that the server's deadline is never before the client's. It is at least
/// `1n`, because the grammar has no zero, and at most 99,999,999 hours.
#[must_use]
pub fn encode(timeout: Duration) -> Encoded {
    let nanos = timeout.as_nanos().max(1);
    let fits = UNITS.iter().map(|&(unit, letter)| (nanos.div_ceil(unit), letter));
    let (value, letter) =
        fits.into_iter().find(|&(value, _)| value <= MAX_VALUE).unwrap_or((MAX_VALUE, b'H'));
    let mut buf = [letter; DIGITS + 1];
    let mut start = DIGITS;
    let mut rest = value;
    while rest > 0 && start > 0 {
        start -= 1;
        buf[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Encoded { buf, start: start as u8 }
}

/// A malformed `grpc-timeout`. It is an error of its call, not of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutError;

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("grpc-timeout is not 1 to 8 digits and one of H M S m u n")
    }
}

impl std::error::Error for TimeoutError {}

/// Parses a received `grpc-timeout`.
///
/// Zero is accepted: the deadline of such a call has passed already.
///
/// # Errors
///
/// [`TimeoutError`] unless the value is one to eight digits and a unit.
pub fn parse(value: &[u8]) -> Result<Duration, TimeoutError> {
    let Some((letter, digits)) = value.split_last() else { return Err(TimeoutError) };
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return Err(TimeoutError);
    }
    // Eight digits fit 32 bits, and 99,999,999 hours fit Duration: nothing here can overflow.
    let value = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(match letter {
        b'n' => Duration::from_nanos(value),
        b'u' => Duration::from_micros(value),
        b'm' => Duration::from_millis(value),
        b'S' => Duration::from_secs(value),
        b'M' => Duration::from_secs(value * 60),
        b'H' => Duration::from_secs(value * 3600),
        _ => return Err(TimeoutError),
    })
}

#[cfg(test)]
mod tests {
    use crate::grpc::timeout::*;

    fn text(timeout: Duration) -> String {
        String::from_utf8(encode(timeout).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn finest_unit_that_fits_rounded_up() {
        assert_eq!(text(Duration::ZERO), "1n");
        assert_eq!(text(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(text(Duration::from_nanos(100_000_000)), "100000u");
        assert_eq!(text(Duration::from_nanos(100_000_001)), "100001u");
        assert_eq!(text(Duration::from_secs(10)), "10000000u");
        assert_eq!(text(Duration::from_secs(100)), "100000m");
        assert_eq!(text(Duration::from_secs(100_000)), "100000S");
        assert_eq!(text(Duration::from_secs(100_000_001)), "1666667M");
        assert_eq!(text(Duration::MAX), "99999999H");
    }

    #[test]
    fn what_is_sent_reads_back_not_shorter_and_close() {
        for shift in 0..64 {
            for off in [0, 1, 12_345] {
                let sent = Duration::from_nanos((1_u64 << shift).saturating_add(off));
                let back = parse(encode(sent).as_bytes()).unwrap();
                assert!(back >= sent, "{sent:?} {back:?}");
                assert!((back - sent).as_nanos() * 1_000 <= sent.as_nanos(), "{sent:?} {back:?}");
            }
        }
    }

    #[test]
    fn g6_timeout_values() {
        let hours = Duration::from_secs(99_999_999 * 3600);
        assert_eq!(parse(b"99999999H"), Ok(hours));
        assert_eq!(parse(b"0n"), Ok(Duration::ZERO));
        assert_eq!(parse(b"00000001M"), Ok(Duration::from_secs(60)));
        assert_eq!(parse(b"7m"), Ok(Duration::from_millis(7)));
        assert_eq!(parse(b"7u"), Ok(Duration::from_micros(7)));
        assert_eq!(parse(b"7S"), Ok(Duration::from_secs(7)));
        let broken: [&[u8]; 10] =
            [b"", b"1", b"H", b"-1S", b"+1S", b"123456789S", b"1s", b"1.5S", b" 1S", b"1S "];
        for value in broken {
            assert_eq!(parse(value), Err(TimeoutError), "{}", value.escape_ascii());
        }
    }
}
