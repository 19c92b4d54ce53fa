//! The Huffman code for strings (RFC 7541 §5.2, Appendix B).

use crate::http2::hpack::HpackError;
use crate::http2::hpack::huffman_table::{CODES, EOS, FAST, FAST_BITS, GROUPS, LEN_MAX, SORTED};

/// The length of the shortest code, in bits. It limits how much a string grows when decoded.
const LEN_MIN: usize = 5;

/// Returns the bytes of `string` when Huffman-coded, including padding (RFC 7541 §5.2).
#[inline]
#[must_use]
pub fn encoded_len(string: &[u8]) -> usize {
    let bits: usize = string.iter().map(|&byte| CODES[byte as usize].1 as usize).sum();
    bits.div_ceil(8)
}

/// Appends `string`, Huffman-coded and padded, to `out`.
pub fn encode(string: &[u8], out: &mut Vec<u8>) {
    // Pending bits are right-aligned in `acc`; fewer than 32 wait between two symbols.
    let mut acc = 0u64;
    let mut pending = 0u32;
    for &byte in string {
        let (code, len) = CODES[byte as usize];
        acc = acc << len | u64::from(code);
        pending += u32::from(len);
        if pending >= 32 {
            pending -= 32;
            out.extend_from_slice(&((acc >> pending) as u32).to_be_bytes());
        }
    }
    // RFC 7541 §5.2: the last byte is filled with the most significant bits of EOS, all ones.
    let padding = pending.wrapping_neg() % 8;
    acc = acc << padding | ((1 << padding) - 1);
    pending += padding;
    while pending > 0 {
        pending -= 8;
        out.push((acc >> pending) as u8);
    }
}

/// Decodes the whole of `coded` and appends the string to `out`.
///
/// `out` grows by at most 8/5 of the length of `coded`, even if decoding fails.
///
/// # Errors
///
/// If the string contains EOS, or its padding is longer than seven bits or not all ones (RFC 7541 §5.2).
pub fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    let start = out.len();
    // One byte to spare: symbols are stored in pairs, of which the second may not count.
    out.resize(start + coded.len() * 8 / LEN_MIN + 2, 0);
    let mut written = start;
    let result = decode_into(coded, out, &mut written);
    out.truncate(written);
    result
}

fn decode_into(mut coded: &[u8], out: &mut [u8], written: &mut usize) -> Result<(), HpackError> {
    // The next bit is the highest of `acc`; `filled` bits count, those behind them are already the
    // next ones of `coded` or zero.
    let mut acc = 0u64;
    let mut filled = 0u32;
    let mut at = *written;
    'refill: while let Some(bytes) = coded.first_chunk::<8>() {
        acc |= u64::from_be_bytes(*bytes) >> filled;
        let taken = (63 - filled) / 8;
        filled += taken * 8;
        coded = &coded[taken as usize..];
        // At least 56 bits are there: enough for one code of any length or four looks of 12 bits.
        for _ in 0..4 {
            let fast = FAST[(acc >> (64 - FAST_BITS)) as usize];
            if fast.first_len == 0 {
                if filled < LEN_MAX as u32 {
                    continue 'refill;
                }
                let (symbol, len) = long_code(acc);
                // RFC 7541 §5.2: a string that contains EOS is an error.
                if symbol == EOS {
                    *written = at;
                    return Err(HpackError::HuffmanEos);
                }
                out[at] = symbol as u8;
                at += 1;
                acc <<= len;
                filled -= len;
                continue 'refill;
            }
            out[at..at + 2].copy_from_slice(&fast.symbols);
            at += fast.count();
            acc <<= fast.len();
            filled -= fast.len();
        }
    }
    *written = at;
    decode_tail(acc, filled, coded, out, written)
}

/// Decodes the last bytes, fewer than eight, one symbol at a time.
fn decode_tail(
    mut acc: u64,
    mut filled: u32,
    coded: &[u8],
    out: &mut [u8],
    written: &mut usize,
) -> Result<(), HpackError> {
    let mut coded = coded.iter();
    loop {
        while filled <= 56
            && let Some(&byte) = coded.next()
        {
            acc |= u64::from(byte) << (56 - filled);
            filled += 8;
        }
        // Ones behind the end make an unfinished code visible: it takes more bits than there are.
        if coded.as_slice().is_empty() {
            acc |= u64::MAX.checked_shr(filled).unwrap_or(0);
        }
        let ones = acc.leading_ones() >= filled;
        if ones && filled < 8 {
            return Ok(());
        }
        let fast = FAST[(acc >> (64 - FAST_BITS)) as usize];
        let (symbol, len) = match fast.first_len {
            0 => long_code(acc),
            len => (u16::from(fast.symbols[0]), u32::from(len)),
        };
        if len > filled {
            // RFC 7541 §5.2: padding over 7 bits, or other than the first bits of EOS, is an error.
            return Err(if ones {
                HpackError::HuffmanPaddingTooLong
            } else {
                HpackError::HuffmanPaddingNotOnes
            });
        }
        // RFC 7541 §5.2: a string that contains EOS is an error.
        if symbol == EOS {
            return Err(HpackError::HuffmanEos);
        }
        out[*written] = symbol as u8;
        *written += 1;
        acc <<= len;
        filled -= len;
    }
}

/// The symbol at the top of `acc` and its length, for a code longer than [`FAST_BITS`].
#[cold]
fn long_code(acc: u64) -> (u16, u32) {
    for (len, group) in GROUPS.iter().enumerate().skip(FAST_BITS as usize + 1) {
        let nth = ((acc >> (64 - len)) as u32).wrapping_sub(group.first_code);
        if nth < group.count {
            return (SORTED[(group.first_symbol + nth) as usize], len as u32);
        }
    }
    // The code is complete, so some length matched; EOS ends the string if that were untrue.
    (EOS, LEN_MAX as u32)
}

#[cfg(test)]
mod tests {
    use crate::http2::hpack::huffman::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = b"before".to_vec();
        decode(coded, &mut out).map(|()| out.split_off(6))
    }

    fn encoded(string: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(string, &mut out);
        assert_eq!(out.len(), encoded_len(string));
        out
    }

    #[test]
    fn example_of_the_appendix() {
        // RFC 7541 §C.4.1: www.example.com.
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(encoded(b"www.example.com"), coded);
        assert_eq!(decoded(&coded), Ok(b"www.example.com".to_vec()));
    }

    #[test]
    fn every_byte_at_every_bit_offset_round_trips() {
        for byte in 0..=255u8 {
            for before in 0..9 {
                for after in 0..5 {
                    let mut string = vec![b'0'; before];
                    string.push(byte);
                    string.extend(std::iter::repeat_n(b'z', after));
                    assert_eq!(decoded(&encoded(&string)), Ok(string));
                }
            }
        }
    }

    #[test]
    fn the_empty_string_has_no_bytes() {
        assert_eq!(encoded(b""), b"");
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn decoding_grows_by_eight_fifths_at_most() {
        let string = vec![b'0'; 4000];
        assert_eq!(encoded(&string).len(), 2500);
        assert_eq!(decoded(&encoded(&string)), Ok(string));
    }

    #[test]
    fn padding_of_eight_bits_is_refused() {
        assert_eq!(decoded(&[0xff]), Err(HpackError::HuffmanPaddingTooLong));
        for len in 0..40 {
            let mut coded = encoded(&vec![b'&'; len]); // 8 bits each: no padding of its own
            coded.push(0xff);
            assert_eq!(decoded(&coded), Err(HpackError::HuffmanPaddingTooLong), "{len}");
            coded.extend([0xff, 0xff]);
            assert_eq!(decoded(&coded), Err(HpackError::HuffmanPaddingTooLong), "{len}");
        }
    }

    #[test]
    fn padding_of_seven_ones_is_accepted_and_any_zero_in_it_refused() {
        // '0' thrice and '*' make 15 + 8 = 23 bits; '0' alone leaves three bits.
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        for tail in 0..7u8 {
            assert_eq!(decoded(&[tail]), Err(HpackError::HuffmanPaddingNotOnes), "{tail:03b}");
        }
        let mut coded = encoded(b"00005"); // 26 bits leave six
        assert_eq!(decoded(&coded), Ok(b"00005".to_vec()));
        coded[3] &= 0b1111_1110;
        assert_eq!(decoded(&coded), Err(HpackError::HuffmanPaddingNotOnes));
    }

    #[test]
    fn a_code_cut_short_is_refused() {
        let coded = encoded(&[22]); // 30 bits
        for cut in 1..coded.len() {
            assert!(decoded(&coded[..cut]).is_err());
        }
    }

    #[test]
    fn eos_is_refused_wherever_it_stands() {
        assert_eq!(decoded(&[0xff; 4]), Err(HpackError::HuffmanEos));
        assert_eq!(decoded(&[0xff; 12]), Err(HpackError::HuffmanEos));
        for len in 0..20 {
            let mut coded = encoded(&vec![b'&'; len]);
            coded.extend([0xff; 4]);
            assert_eq!(decoded(&coded), Err(HpackError::HuffmanEos), "{len}");
        }
    }

    #[test]
    fn agrees_with_a_second_decoder() {
        let all: Vec<u8> = (0..=255).collect();
        let mut block = vec![0x00, 0x01, b'n'];
        let coded = encoded(&all);
        super::super::integer::encode(coded.len(), 7, 0x80, &mut block);
        block.extend(coded);
        let fields = fluke_hpack::Decoder::new().decode(&block).unwrap();
        assert_eq!(fields, [(b"n".to_vec(), all)]);
    }
}
