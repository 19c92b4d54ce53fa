use crate::transport::target::TargetErrorKind as Kind;
use crate::transport::target::*;

#[test]
fn accepted() {
    let table: &[(&str, Scheme, &str, u16, &str)] = &[
        ("http://a.example", Scheme::Http, "a.example", 80, "a.example"),
        ("https://a.example/", Scheme::Https, "a.example", 443, "a.example"),
        ("HTTPS://A.Example:8443", Scheme::Https, "a.example", 8443, "a.example:8443"),
        ("https://a.example:443", Scheme::Https, "a.example", 443, "a.example:443"),
        ("http://a.example:", Scheme::Http, "a.example", 80, "a.example"),
        ("http://127.0.0.1:50051", Scheme::Http, "127.0.0.1", 50051, "127.0.0.1:50051"),
        ("http://[::1]", Scheme::Http, "::1", 80, "[::1]"),
        ("http://[2001:DB8::1]:1/", Scheme::Http, "2001:db8::1", 1, "[2001:db8::1]:1"),
        ("http://my_service.ns:65535", Scheme::Http, "my_service.ns", 65535, "my_service.ns:65535"),
        ("http://a.example.:80", Scheme::Http, "a.example.", 80, "a.example.:80"),
    ];
    for &(uri, scheme, host, port, authority) in table {
        let target = Target::parse(uri).unwrap_or_else(|e| panic!("{e}"));
        let got = (target.scheme(), target.host(), target.port(), target.authority());
        assert_eq!(got, (scheme, host, port, authority), "{uri}");
        assert_eq!(target.unix_path(), None);
        // The displayed text can be parsed again and gives the same target.
        let again: Target = target.to_string().parse().unwrap();
        assert_eq!((again.host(), again.port()), (host, port), "{uri}");
    }
}

#[test]
fn unix() {
    for (uri, path) in [
        ("unix:/run/a.sock", "/run/a.sock"),
        ("unix:///run/a.sock", "/run/a.sock"),
        ("unix:rel/a.sock", "rel/a.sock"),
    ] {
        let target = Target::parse(uri).unwrap();
        assert_eq!(target.unix_path(), Some(Path::new(path)), "{uri}");
        assert_eq!((target.scheme(), target.authority()), (Scheme::Http, "localhost"));
    }
    assert_eq!(Target::parse("unix:").unwrap_err().kind(), &Kind::MissingHost);
    assert_eq!(Target::parse("unix://").unwrap_err().kind(), &Kind::MissingHost);
}

#[test]
fn refused() {
    let table: &[(&str, Kind)] = &[
        ("", Kind::Empty),
        ("localhost:50051", Kind::MissingScheme),
        ("a.example", Kind::MissingScheme),
        ("[::1]:50051", Kind::MissingScheme),
        ("://a", Kind::MissingScheme),
        ("dns:a.example", Kind::UnsupportedScheme(Some("dns"))),
        ("dns:///a.example", Kind::UnsupportedScheme(Some("dns"))),
        ("grpc://a", Kind::UnsupportedScheme(Some("grpc"))),
        ("hunter2://a", Kind::UnsupportedScheme(None)),
        ("http://", Kind::MissingHost),
        ("http://:80", Kind::MissingHost),
        ("https:///", Kind::MissingHost),
        ("http://user:pw@a", Kind::UserInfo),
        ("http://a/b", Kind::PathNotAllowed),
        ("http://a?b", Kind::PathNotAllowed),
        ("http://a/#b", Kind::PathNotAllowed),
        ("http://a b", Kind::InvalidHost),
        ("http://ä.example", Kind::InvalidHost),
        ("http://a%41", Kind::InvalidHost),
        ("http://10.0.0.256", Kind::InvalidHost),
        ("http://::1", Kind::UnbracketedIpv6),
        ("http://fe80::1:80", Kind::UnbracketedIpv6),
        ("http://[::1", Kind::InvalidIpv6),
        ("http://[fe80::1%eth0]", Kind::InvalidIpv6),
        ("http://[1.2.3.4]", Kind::InvalidIpv6),
        ("http://[::1]80", Kind::InvalidPort),
        ("http://a:0", Kind::InvalidPort),
        ("http://a:65536", Kind::InvalidPort),
        ("http://a:+80", Kind::InvalidPort),
        ("http://a:80x", Kind::InvalidPort),
    ];
    for (uri, kind) in table {
        match Target::parse(uri) {
            Err(error) => assert_eq!(error.kind(), kind, "{uri}"),
            Ok(target) => panic!("{uri} gave {target:?}"),
        }
    }
}

#[test]
fn a_bare_address_is_told_what_to_write() {
    assert_eq!(
        Target::parse("localhost:50051").unwrap_err().to_string(),
        "invalid target for localhost:50051: the scheme is missing; write \
         \"https://localhost:50051\" for TLS or \"http://localhost:50051\" for plaintext"
    );
}

#[test]
fn the_authority_can_be_replaced() {
    let target = Target::parse("http://10.0.0.1:80").unwrap();
    let named = target.clone().with_authority("Svc.example:9").unwrap();
    assert_eq!((named.host(), named.authority()), ("10.0.0.1", "svc.example:9"));
    assert!(target.clone().with_authority("a/b").is_err());
    assert!(target.with_authority("").is_err());
}
