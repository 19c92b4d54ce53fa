use crate::http2::hpack::decoder::*;

#[derive(Default)]
struct List(Vec<(Vec<u8>, Vec<u8>, bool)>);

impl FieldSink for List {
    fn field(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        self.0.push((name.to_vec(), value.to_vec(), never_indexed));
    }
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut list = List::default();
    decoder.decode(block, &mut list)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ok(list.0.into_iter().map(|(name, value, _)| (text(name), text(value))).collect())
}

fn error(block: &[u8]) -> HpackError {
    decode(&mut Decoder::new(4096), block).unwrap_err()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn index_zero_is_refused() {
    assert_eq!(error(&[0x80]), HpackError::IndexZero);
    assert_eq!(error(&[0x82, 0x80]), HpackError::IndexZero);
}

#[test]
fn index_out_of_range_is_refused_in_every_representation() {
    assert_eq!(error(&[0x80 | 62]), HpackError::IndexOutOfRange);
    assert_eq!(error(&[0x40 | 62, 0]), HpackError::IndexOutOfRange);
    assert_eq!(error(&[0x0f, 62 - 15, 0]), HpackError::IndexOutOfRange);
    assert_eq!(error(&[0x1f, 62 - 15, 0]), HpackError::IndexOutOfRange);
    let mut decoder = Decoder::new(4096);
    // Adds one entry, refers to it, then to the one behind it.
    assert_eq!(decode(&mut decoder, &[0x40, 1, b'a', 1, b'b', 0x80 | 62]).unwrap().len(), 2);
    assert_eq!(decode(&mut decoder, &[0x80 | 63]), Err(HpackError::IndexOutOfRange));
    assert_eq!(
        decode(&mut decoder, &[0xff, 0x80, 0xff, 0xff, 0xff, 0x0f]),
        Err(HpackError::IndexOutOfRange)
    );
}

#[test]
fn integers_are_bounded_in_every_representation() {
    for first in [0xff, 0x7f, 0x3f, 0x1f, 0x0f] {
        assert_eq!(
            error(&[first, 0x80, 0x80, 0x80, 0x80, 0x80, 0]),
            HpackError::IntegerOverflow,
            "{first:#x}"
        );
        assert_eq!(error(&[first]), HpackError::IntegerTruncated, "{first:#x}");
    }
    assert_eq!(
        error(&[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        HpackError::IntegerOverflow,
        "length of a string"
    );
}

#[test]
fn strings_must_be_complete() {
    assert_eq!(error(&[0x00]), HpackError::IntegerTruncated);
    assert_eq!(error(&[0x00, 2, b'a']), HpackError::StringTruncated);
    assert_eq!(error(&[0x00, 1, b'a']), HpackError::IntegerTruncated);
    assert_eq!(error(&[0x00, 1, b'a', 1]), HpackError::StringTruncated);
    assert_eq!(error(&[0x00, 0x82, 0x1f]), HpackError::StringTruncated);
}

#[test]
fn a_huge_length_is_refused_before_anything_is_reserved() {
    let mut decoder = Decoder::new(4096);
    let block = [0x00, 0xff, 0x80, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(decode(&mut decoder, &block), Err(HpackError::StringTruncated));
    assert_eq!((decoder.name.capacity(), decoder.value.capacity()), (0, 0));
}

#[test]
fn huffman_errors_surface() {
    assert_eq!(error(&[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), HpackError::HuffmanEos);
    assert_eq!(error(&[0x00, 0x82, 0x07, 0xff, 0]), HpackError::HuffmanPaddingTooLong);
    assert_eq!(error(&[0x00, 1, b'a', 0x81, 0x06]), HpackError::HuffmanPaddingNotOnes);
}

#[test]
fn size_updates_stand_at_the_start_only() {
    assert_eq!(error(&[0x82, 0x20]), HpackError::SizeUpdateNotAtStart);
    assert_eq!(error(&[0x20, 0x82, 0x20]), HpackError::SizeUpdateNotAtStart);
}

#[test]
fn at_most_two_size_updates() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f, 0x82]).unwrap().len(), 1);
    assert_eq!(error(&[0x20, 0x20, 0x20]), HpackError::SizeUpdateRepeated);
}

#[test]
fn a_size_update_may_reach_the_limit_and_not_exceed_it() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, &[0x3f, 0xe1, 0x1f]), Ok(vec![]));
    assert_eq!(decode(&mut decoder, &[0x3f, 0xe2, 0x1f]), Err(HpackError::SizeUpdateAboveLimit));
    decoder.set_table_size_max(4097);
    assert_eq!(decode(&mut decoder, &[0x3f, 0xe2, 0x1f]), Ok(vec![]));
}

#[test]
fn a_lowered_limit_must_be_answered() {
    let mut decoder = Decoder::new(4096);
    decoder.set_table_size_max(64);
    assert_eq!(decode(&mut decoder, &[0x82]), Err(HpackError::SizeUpdateMissing));
    assert_eq!(decode(&mut decoder, &[]), Err(HpackError::SizeUpdateMissing));
    assert_eq!(decode(&mut decoder, &[0x3f, 34]), Err(HpackError::SizeUpdateAboveLimit));
    assert_eq!(decode(&mut decoder, &[0x3f, 33, 0x82]).unwrap().len(), 1);
    assert_eq!(decode(&mut decoder, &[0x82]).unwrap().len(), 1, "answered once");
}

#[test]
fn the_smallest_limit_between_two_blocks_must_be_answered() {
    let mut decoder = Decoder::new(4096);
    decoder.set_table_size_max(16);
    decoder.set_table_size_max(4096);
    assert_eq!(decode(&mut decoder, &[0x3f, 0xe1, 0x1f, 0x82]), Err(HpackError::SizeUpdateMissing));
    assert_eq!(decode(&mut decoder, &[0x31, 0x82]), Err(HpackError::SizeUpdateMissing));
    assert_eq!(decode(&mut decoder, &[0x30, 0x3f, 0xe1, 0x1f, 0x82]).unwrap().len(), 1);
}

#[test]
fn a_limit_still_above_the_table_asks_for_nothing() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, &[0x20]), Ok(vec![]));
    decoder.set_table_size_max(1000);
    assert_eq!(decode(&mut decoder, &[0x82]).unwrap().len(), 1);
}

#[test]
fn a_reduction_evicts_at_once() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &[0x40, 1, b'a', 1, b'1', 0x40, 1, b'b', 1, b'2']).unwrap();
    assert_eq!(decode(&mut decoder, &[0x3f, 34 - 31, 0xbe]), Ok(vec![pair("b", "2")]));
    assert_eq!(decode(&mut decoder, &[0xbf]), Err(HpackError::IndexOutOfRange));
    assert_eq!(decode(&mut decoder, &[0x20, 0xbe]), Err(HpackError::IndexOutOfRange));
}

#[test]
fn only_a_literal_never_indexed_is_marked_so() {
    let mut decoder = Decoder::new(4096);
    let mut list = List::default();
    let block = [0x10, 1, b'a', 0, 0x00, 1, b'b', 0, 0x40, 1, b'c', 0, 0xbe, 0x12, 1, b'd'];
    decoder.decode(&block, &mut list).unwrap();
    let marks: Vec<bool> = list.0.iter().map(|field| field.2).collect();
    assert_eq!(marks, [true, false, false, false, true]);
    assert_eq!(list.0[4].0, b":method");
}

#[test]
fn the_generation_stands_while_the_table_does() {
    let mut decoder = Decoder::new(4096);
    decode(&mut decoder, &[0x40, 1, b'a', 0]).unwrap();
    let generation = decoder.generation();
    decode(&mut decoder, &[0xbe, 0x82, 0x00, 1, b'b', 0, 0x10, 1, b'b', 0]).unwrap();
    assert_eq!(decoder.generation(), generation);
    decode(&mut decoder, &[0x40, 1, b'a', 0]).unwrap();
    assert_ne!(decoder.generation(), generation);
}

#[test]
fn the_name_of_an_entry_evicted_for_the_new_one_is_kept() {
    let mut decoder = Decoder::new(34);
    let block = [0x40, 1, b'a', 1, b'1', 0x7e, 1, b'2', 0xbe];
    let wanted = [pair("a", "1"), pair("a", "2"), pair("a", "2")];
    assert_eq!(decode(&mut decoder, &block).unwrap(), wanted);
}

#[test]
fn every_rule_is_a_compression_error_and_has_a_name_of_its_own() {
    let rules = [
        HpackError::IndexZero,
        HpackError::IndexOutOfRange,
        HpackError::IntegerOverflow,
        HpackError::IntegerTruncated,
        HpackError::StringTruncated,
        HpackError::HuffmanEos,
        HpackError::HuffmanPaddingTooLong,
        HpackError::HuffmanPaddingNotOnes,
        HpackError::SizeUpdateNotAtStart,
        HpackError::SizeUpdateRepeated,
        HpackError::SizeUpdateAboveLimit,
        HpackError::SizeUpdateMissing,
    ];
    let texts: std::collections::HashSet<String> = rules.iter().map(|e| e.to_string()).collect();
    assert_eq!(texts.len(), rules.len());
    assert!(rules.iter().all(|e| e.code() == crate::http2::ErrorCode::COMPRESSION_ERROR));
}
