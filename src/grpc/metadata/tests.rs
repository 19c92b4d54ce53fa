use crate::grpc::metadata::*;

fn received(fields: &[(&str, &str)]) -> Metadata {
    let mut list = Fields::new();
    for (name, value) in fields {
        list.push(name, value);
    }
    Metadata::from_received(list)
}

#[test]
fn keeps_order_and_several_values() {
    let mut metadata = Metadata::new();
    metadata.append("a", "1").unwrap();
    metadata.append("b", "  2 ").unwrap();
    metadata.append("a", "3").unwrap();
    assert_eq!(metadata.get("a"), Some("1"));
    assert_eq!(metadata.get_all("a").collect::<Vec<_>>(), ["1", "3"]);
    assert_eq!(metadata.get("b"), Some("2"));
    metadata.insert("a", "4").unwrap();
    assert_eq!(metadata.iter().map(|e| e.key()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!((metadata.remove("a"), metadata.remove("a"), metadata.len()), (1, 0, 1));
    assert!(metadata.contains("b") && !metadata.contains("a"));
}

#[test]
fn g11_keys_and_values_that_would_split_a_section_are_refused() {
    let mut metadata = Metadata::new();
    for key in ["", "Upper", "a b", "a:b", "a\r\nb", "ä", "a\0"] {
        assert_eq!(metadata.append(key, "v"), Err(MetadataError::InvalidKey), "{key:?}");
    }
    for value in ["a\rb", "a\nb", "a\0b", "\t", "ä", "\x7f"] {
        assert_eq!(metadata.append("k", value), Err(MetadataError::InvalidValue), "{value:?}");
    }
    assert!(metadata.is_empty() && metadata.into_fields().is_empty());
}

#[test]
fn reserved_keys_are_refused() {
    let names = [
        ":path",
        ":whatever",
        "te",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "content-type",
        "content-length",
        "user-agent",
        "grpc-timeout",
        "grpc-status",
        "grpc-message",
        "grpc-encoding",
        "grpc-of-the-future",
    ];
    let mut metadata = Metadata::new();
    for name in names {
        assert_eq!(metadata.append(name, "v"), Err(MetadataError::ReservedKey), "{name}");
    }
    assert_eq!(
        metadata.append_bin("grpc-status-details-bin", b"v"),
        Err(MetadataError::ReservedKey)
    );
    metadata.append("grpc-retry-pushback-ms", "7").unwrap();
    metadata.append_bin("grpc-trace-bin", b"t").unwrap();
    metadata.append("teapot", "short").unwrap();
}

#[test]
fn kinds_do_not_mix_and_a_failed_insert_keeps_the_old() {
    let mut metadata = Metadata::new();
    metadata.append("k", "old").unwrap();
    assert_eq!(metadata.append("k-bin", "v"), Err(MetadataError::WrongKind));
    assert_eq!(metadata.append_bin("k", b"v"), Err(MetadataError::WrongKind));
    assert_eq!(metadata.insert("k", "\n"), Err(MetadataError::InvalidValue));
    assert_eq!(metadata.get("k"), Some("old"));
    assert_eq!(metadata.append("k", &"x".repeat(MAX_VALUE + 1)), Err(MetadataError::TooLong));
    assert_eq!(metadata.append(&"k".repeat(MAX_KEY + 1), ""), Err(MetadataError::TooLong));
}

#[test]
fn binary_values_go_out_unpadded_and_come_back() {
    let mut metadata = Metadata::new();
    for value in [&b""[..], b"a", b"ab", b"abc", &[0, 255, 254]] {
        metadata.append_bin("x-bin", value).unwrap();
    }
    let fields = metadata.into_fields();
    assert!(fields.iter().all(|f| !f.value.contains(&b'=')));
    let back = Metadata::from_received(fields);
    let values: Vec<_> = back.get_all_bin("x-bin").map(Result::unwrap).collect();
    assert_eq!(values, [&b""[..], b"a", b"ab", b"abc", &[0, 255, 254]]);
    assert_eq!(back.get("x-bin"), None);
}

#[test]
fn g5_bin_padded_unpadded_joined_and_broken() {
    let metadata = received(&[("x-bin", "YQ==,YQ, YWI=,!!!,YWJj"), ("y-bin", "!!!"), ("z", "ok")]);
    let values: Vec<_> = metadata.get_all_bin("x-bin").collect();
    let ok = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    let broken = Err(MetadataError::InvalidBase64);
    assert_eq!(values, [ok("a"), ok("a"), ok("ab"), broken.clone(), ok("abc")]);
    assert_eq!(metadata.get_bin("y-bin"), Some(broken));
    assert_eq!(metadata.get("z"), Some("ok"));
    assert_eq!(metadata.get_bin("none-bin"), None);
    assert_eq!(metadata.get_bin("z"), None);
}

#[test]
fn transport_fields_are_passed_over() {
    let metadata = received(&[
        (":path", "/a/b"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "x/1"),
        ("grpc-timeout", "1S"),
        ("grpc-later", "1"),
        ("mine", "1"),
    ]);
    let keys: Vec<_> = metadata.iter().map(|e| e.key()).collect();
    assert_eq!(keys, ["user-agent", "grpc-later", "mine"]);
    assert_eq!((metadata.get(":path"), metadata.get("te")), (None, None));
    let passed_on = metadata.into_fields();
    assert_eq!(passed_on.iter().map(|f| f.name).collect::<Vec<_>>(), [b"mine"]);
}

#[test]
fn received_bytes_beyond_ascii_do_no_harm() {
    let mut fields = Fields::new();
    fields.push("k", [0xff, 0xfe]);
    fields.push("k", "good");
    let metadata = Metadata::from_received(fields);
    assert_eq!(metadata.get("k"), Some("good"));
    assert_eq!(metadata.iter().next().unwrap().as_wire(), [0xff, 0xfe]);
}

#[test]
fn g26_secrets_are_never_printed() {
    let mut metadata = Metadata::new();
    metadata.append_sensitive("api-key", "hunter2").unwrap();
    metadata.append_bin_sensitive("key-bin", b"hunter2").unwrap();
    metadata.append("authorization", "Bearer hunter2").unwrap();
    metadata.append("plain", "seen").unwrap();
    let text = format!("{metadata:?}");
    assert!(!text.contains("hunter2") && !text.contains(&encode_bin(b"hunter2")), "{text}");
    assert!(text.contains("plain: <4 bytes>"), "{text}");
    let map = metadata.to_header_map();
    assert!(map["api-key"].is_sensitive() && !format!("{map:?}").contains("\"hunter2\""));
}

#[test]
fn bridge_to_http_and_back() {
    let mut metadata = Metadata::new();
    metadata.append("a", "1").unwrap();
    metadata.append("a", "2").unwrap();
    metadata.append_sensitive("s", "x").unwrap();
    metadata.append_bin("b-bin", b"\0\xff").unwrap();
    let map = metadata.to_header_map();
    assert_eq!(map.get_all("a").iter().count(), 2);
    let back = Metadata::from_header_map(&map).unwrap();
    assert_eq!(back, metadata);
    assert!(back.iter().any(|e| e.key() == "s" && e.is_sensitive()));

    let mut map = HeaderMap::new();
    map.insert("te", HeaderValue::from_static("trailers"));
    assert_eq!(Metadata::from_header_map(&map), Err(MetadataError::ReservedKey));
    let mut map = HeaderMap::new();
    map.insert("x-bin", HeaderValue::from_static("!!!"));
    assert_eq!(Metadata::from_header_map(&map), Err(MetadataError::InvalidBase64));
}
