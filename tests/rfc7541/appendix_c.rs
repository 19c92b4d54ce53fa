//! The table of RFC 7541 Appendix A and the examples of Appendix C (C.1 and the code of Appendix B stand beside their modules).

use framewire::unstable::http2::hpack::{Decoder, Encoder, Indexing};
use framewire::unstable::http2::{FieldRef, Fields};

use super::{decode, pairs};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in list {
        fields.push(name, value);
    }
    fields
}

/// The entries of the decoder's table, newest first, by asking for every index after the static ones.
fn table(decoder: &mut Decoder) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (62u8..127)
        .map_while(|index| decode(decoder, &[0x80 | index]).ok())
        .map(|one| one.iter().map(|f| (text(f.name), text(f.value))).next().unwrap())
        .collect()
}

fn assert_table(decoder: &mut Decoder, wanted: &[(&str, &str)]) {
    let wanted: Vec<_> = wanted.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    assert_eq!(table(decoder), wanted);
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

const REQUEST_TABLES: [&[(&str, &str)]; 3] = [
    &[(":authority", "www.example.com")],
    &[("cache-control", "no-cache"), (":authority", "www.example.com")],
    &[
        ("custom-key", "custom-value"),
        ("cache-control", "no-cache"),
        (":authority", "www.example.com"),
    ],
];

const DATE_1: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_2: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const LOCATION: &str = "https://www.example.com";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

const RESPONSES: [&[(&str, &str)]; 3] = [
    &[(":status", "302"), ("cache-control", "private"), ("date", DATE_1), ("location", LOCATION)],
    &[(":status", "307"), ("cache-control", "private"), ("date", DATE_1), ("location", LOCATION)],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", DATE_2),
        ("location", LOCATION),
        ("content-encoding", "gzip"),
        ("set-cookie", COOKIE),
    ],
];

const RESPONSE_TABLES: [&[(&str, &str)]; 3] = [
    &[("location", LOCATION), ("date", DATE_1), ("cache-control", "private"), (":status", "302")],
    &[(":status", "307"), ("location", LOCATION), ("date", DATE_1), ("cache-control", "private")],
    &[("set-cookie", COOKIE), ("content-encoding", "gzip"), ("date", DATE_2)],
];

fn assert_decodes(
    table_size: usize,
    blocks: [&str; 3],
    lists: [&[(&str, &str)]; 3],
    tables: [&[(&str, &str)]; 3],
) {
    let mut decoder = Decoder::new(table_size);
    for ((block, list), table) in blocks.iter().zip(lists).zip(tables) {
        assert_eq!(decode(&mut decoder, &unhex(block)).unwrap(), fields(list));
        assert_table(&mut decoder, table);
    }
}

/// Encodes with everything added to the table, as the appendix does.
fn assert_encodes(table_size: usize, blocks: [&str; 3], lists: [&[(&str, &str)]; 3]) {
    let mut encoder = Encoder::new(table_size);
    encoder.begin_block(&mut Vec::new()); // the appendix takes the table's size as agreed
    for (block, list) in blocks.iter().zip(lists) {
        let mut out = Vec::new();
        encoder.begin_block(&mut out);
        for field in &fields(list) {
            encoder.field(field, Indexing::Incremental, &mut out);
        }
        assert_eq!(out, unhex(block));
    }
}

/// Appendix A: the static table, entry by entry, is that of a second implementation.
#[test]
fn a_static_table() {
    let mut other = fluke_hpack::Decoder::new();
    for index in 1..=61 {
        let block = [0x80 | index];
        let ours = decode(&mut Decoder::new(4096), &block).unwrap();
        assert_eq!(pairs(&ours), other.decode(&block).unwrap(), "index {index}");
    }
    assert!(decode(&mut Decoder::new(4096), &[0x80 | 62]).is_err());
}

#[test]
fn c_2_1_literal_with_indexing() {
    let mut decoder = Decoder::new(4096);
    let block = unhex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    let wanted = [("custom-key", "custom-header")];
    assert_eq!(decode(&mut decoder, &block).unwrap(), fields(&wanted));
    assert_table(&mut decoder, &wanted);
}

#[test]
fn c_2_2_literal_without_indexing() {
    let mut decoder = Decoder::new(4096);
    let block = unhex("040c 2f73 616d 706c 652f 7061 7468");
    assert_eq!(decode(&mut decoder, &block).unwrap(), fields(&[(":path", "/sample/path")]));
    assert_table(&mut decoder, &[]);
}

#[test]
fn c_2_3_literal_never_indexed() {
    let mut decoder = Decoder::new(4096);
    let block = unhex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let mut wanted = Fields::new();
    wanted.push_sensitive("password", "secret");
    assert_eq!(decode(&mut decoder, &block).unwrap(), wanted);
    assert_table(&mut decoder, &[]);
}

#[test]
fn c_2_4_indexed() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decode(&mut decoder, &[0x82]).unwrap(), fields(&[(":method", "GET")]));
    assert_table(&mut decoder, &[]);
    let mut out = Vec::new();
    let field = FieldRef { name: b":method", value: b"GET", sensitive: false };
    Encoder::new(4096).field(field, Indexing::Without, &mut out);
    assert_eq!(out, [0x82]);
}

#[test]
fn c_3_requests_without_huffman() {
    let blocks = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    assert_decodes(4096, blocks, REQUESTS, REQUEST_TABLES);
}

#[test]
fn c_4_requests_with_huffman() {
    let blocks = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    assert_decodes(4096, blocks, REQUESTS, REQUEST_TABLES);
    assert_encodes(4096, blocks, REQUESTS);
}

#[test]
fn c_5_responses_without_huffman() {
    let blocks = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a
         3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    assert_decodes(256, blocks, RESPONSES, RESPONSE_TABLES);
}

#[test]
fn c_6_responses_with_huffman() {
    let blocks = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
         4ee5 b106 3d50 07",
    ];
    assert_decodes(256, blocks, RESPONSES, RESPONSE_TABLES);
    // Our encoder sends 307 as it is: the appendix codes it although that saves no byte.
    assert_encodes(256, [blocks[0], "4803 3330 37c1 c0bf", blocks[2]], RESPONSES);
}
