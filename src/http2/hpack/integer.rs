//! Integers with a prefix (RFC 7541 §5.1).

use crate::http2::hpack::HpackError;

/// Continuation bytes an integer may have: five carry 35 bits, so any `u32` fits.
const CONTINUATIONS_MAX: u32 = 5;

/// Writes `value` with a prefix of `prefix` bits (1 to 8); `first` is the rest of the first byte.
#[inline]
pub(super) fn encode(value: usize, prefix: u32, first: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Takes an integer with a prefix of `prefix` bits (1 to 8) off the front of `block`.
#[inline]
pub(super) fn decode(block: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (&first, rest) = block.split_first().ok_or(HpackError::IntegerTruncated)?;
    *block = rest;
    let mask = (1u32 << prefix) - 1;
    let value = u32::from(first) & mask;
    if value < mask {
        return Ok(value as usize);
    }
    continuation(block, mask)
}

fn continuation(block: &mut &[u8], mask: u32) -> Result<usize, HpackError> {
    let mut value = u64::from(mask);
    for at in 0..CONTINUATIONS_MAX {
        let (&byte, rest) = block.split_first().ok_or(HpackError::IntegerTruncated)?;
        *block = rest;
        value += u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // RFC 7541 §5.1: an integer above what the implementation allows is a decoding error.
            let value = u32::try_from(value).map_err(|_| HpackError::IntegerOverflow)?;
            return Ok(value as usize);
        }
    }
    // RFC 7541 §5.1: endless zero-valued continuations are bounded as well as large values.
    Err(HpackError::IntegerOverflow)
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::integer::*;

    fn decoded(mut block: &[u8], prefix: u32) -> Result<(usize, usize), HpackError> {
        let len = block.len();
        decode(&mut block, prefix).map(|value| (value, len - block.len()))
    }

    #[test]
    fn examples_of_the_appendix() {
        // RFC 7541 §C.1: 10 and 1337 with a 5-bit prefix, 42 with an 8-bit prefix.
        for (value, prefix, bytes) in
            [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a])]
        {
            let mut out = Vec::new();
            encode(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decoded(bytes, prefix), Ok((value, bytes.len())));
        }
    }

    #[test]
    fn boundaries_round_trip_with_every_prefix() {
        for prefix in 1..=8 {
            let mask = (1usize << prefix) - 1;
            for value in [0, 1, mask - 1, mask, mask + 1, mask + 127, mask + 128, u32::MAX as usize]
            {
                let mut out = Vec::new();
                encode(value, prefix, 0, &mut out);
                assert_eq!(decoded(&out, prefix), Ok((value, out.len())), "{value} in {prefix}");
            }
        }
    }

    #[test]
    fn the_largest_value_is_2_to_32_less_1() {
        let largest = [0xff, 0x80, 0xfe, 0xff, 0xff, 0x0f];
        assert_eq!(decoded(&largest, 8), Ok((u32::MAX as usize, 6)));
        let above = [0xff, 0x81, 0xfe, 0xff, 0xff, 0x0f];
        assert_eq!(decoded(&above, 8), Err(HpackError::IntegerOverflow));
        assert_eq!(
            decoded(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 8),
            Err(HpackError::IntegerOverflow)
        );
    }

    #[test]
    fn five_continuation_bytes_and_no_more() {
        assert_eq!(decoded(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00], 5), Ok((31, 6)));
        assert_eq!(
            decoded(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 5),
            Err(HpackError::IntegerOverflow)
        );
    }

    #[test]
    fn an_integer_that_does_not_end_is_truncated() {
        for cut in [&[][..], &[0x1f], &[0x1f, 0x80], &[0x1f, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(decoded(cut, 5), Err(HpackError::IntegerTruncated));
        }
    }
}
