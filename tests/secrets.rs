//! No error, `Display` or `Debug` repeats a secret: PEM text, credentials, paths and queries of
//! targets, values of metadata, messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[expect(dead_code, reason = "a log tells more than this test asks")]
#[path = "support/log.rs"]
mod log;

use bytes::Bytes;
use framewire::client::{Channel, HttpRequest};
use framewire::server::{Context, HttpReply, Router, Server};
use framewire::tls::{ClientTls, ServerTls, TlsConfigError};
use framewire::transport::Target;
use framewire::transport::in_memory;
use framewire::unstable::grpc::{Code, Metadata, Method, Raw, Request, Response, Status};
use framewire::unstable::http2::Fields;
use log::Log;
use rcgen::{CertificateParams, KeyPair};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

const SECRET: &str = "hunter2Secret";

/// The text in the forms in which `Debug` shows bytes.
fn forms(secret: &str) -> Vec<String> {
    let numbers = |bytes: &[u8]| {
        let list: Vec<_> = bytes.iter().map(u8::to_string).collect();
        list.join(", ")
    };
    vec![secret.to_owned(), secret.to_lowercase(), numbers(secret.as_bytes())]
}

#[track_caller]
fn silent(text: &str, secret: &str, case: &str) {
    for form in forms(secret) {
        assert!(!text.contains(&form), "{case}: {form:?} stands in: {text}");
    }
}

/// `Debug`, also the long form, and of errors the causes.
#[track_caller]
fn silent_debug(value: &impl Debug, secret: &str, case: &str) {
    silent(&format!("{value:?}"), secret, case);
    let long = format!("{value:#?}");
    silent(&long.split_whitespace().collect::<Vec<_>>().join(" "), secret, case);
}

#[track_caller]
fn silent_error(error: &(dyn std::error::Error + 'static), secret: &str, case: &str) {
    let mut error = Some(error);
    while let Some(at) = error {
        silent(&at.to_string(), secret, case);
        silent_debug(&at, secret, case);
        error = at.source();
    }
}

// ---- PEM --------------------------------------------------------------------------------------

struct Pair {
    certificate: String,
    key: String,
}

fn pair() -> Pair {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    Pair { certificate, key: key.serialize_pem() }
}

fn without_line(pem: &str, unwanted: impl Fn(&str) -> bool) -> String {
    pem.lines().filter(|line| !unwanted(line)).map(|line| format!("{line}\n")).collect()
}

fn cut_end(pem: &str) -> String {
    without_line(pem, |line| line.contains("END"))
}

/// RFC 1421 §4.6.1: the header lines of a key that OpenSSL encrypted.
fn headed(pem: &str) -> String {
    pem.replacen('\n', &format!("\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES,{SECRET}\n\n"), 1)
}

/// Broken texts made of one good text, each with a word that the error must say.
fn broken(pem: &str, label: &str) -> Vec<(&'static str, String, &'static str)> {
    let line = pem.lines().nth(1).unwrap();
    let labelled = |new: &str| pem.replace(label, new);
    vec![
        ("newlines lost", pem.replace('\n', ""), "line 1 "),
        ("newlines became blanks", pem.replace('\n', " "), "line 1 "),
        ("newlines were escaped", pem.replace('\n', "\\n"), "line 1 "),
        ("newlines lost behind a comment", format!("# x\n{}", pem.replace('\n', "")), "line 2 "),
        ("no newline before the end", pem.replace("\n-----END", "-----END"), "BEGIN or END line"),
        ("text before the section", format!("key: {}", pem.replace('\n', "")), "line 1 "),
        ("no BEGIN line", without_line(pem, |line| line.contains("BEGIN")), "BEGIN"),
        ("no END line", without_line(pem, |line| line.contains("END")), "END line"),
        ("another END line", pem.replace(&format!("END {label}"), "END X"), "END line"),
        ("base64 that is cut", pem.replace(line, &line[..line.len() - 3]), "not complete"),
        ("base64 and a stranger", pem.replace(line, &format!("{line}*")), "line 2 "),
        ("a label that nobody knows", labelled("TOP SECRET"), "another kind"),
        ("a secret as the label", labelled(SECRET), "another kind"),
        ("a trusted certificate", labelled("TRUSTED CERTIFICATE"), "openssl x509"),
        ("an encrypted key", labelled("ENCRYPTED PRIVATE KEY"), "openssl pkey"),
        ("certificates of another form", labelled("PKCS7"), "openssl pkcs7"),
        ("an old label", labelled("X509 CERTIFICATE"), "openssl x509"),
        ("indentation", pem.replace("-----BEGIN", "  -----BEGIN"), "without indentation"),
        ("two sections, one END line", format!("{}{pem}", cut_end(pem)), "END line"),
        ("two sections, a newline lost", format!("{}{pem}", pem.trim_end()), "BEGIN or END line"),
        ("a header of an encrypted key", headed(pem), "decrypt it"),
        ("padding in the middle", pem.replacen('\n', "\nAA==", 1), "not complete"),
        ("nothing but a secret", SECRET.to_owned(), "BEGIN"),
        ("nothing", String::new(), "BEGIN"),
    ]
}

/// Every run of 16 characters in the text's base64.
fn pieces(pem: &str) -> Vec<String> {
    let body = without_line(pem, |line| line.starts_with("-----"));
    let body: Vec<char> = body.chars().filter(|c| !c.is_whitespace()).collect();
    body.windows(16).step_by(5).map(|piece| piece.iter().collect()).collect()
}

#[track_caller]
fn silent_pem(error: &TlsConfigError, pem: &str, case: &str) {
    for piece in pieces(pem) {
        silent_error(error, &piece, case);
    }
    silent_error(error, SECRET, case);
    silent_error(error, "TOP SECRET", case);
}

#[test]
fn a_broken_pem_is_not_repeated() {
    let good = pair();
    for (case, text, word) in broken(&good.certificate, "CERTIFICATE") {
        let builders = [
            ClientTls::builder().roots_pem(&text).build().err(),
            ClientTls::builder().identity_pem(&text, &good.key).build().err(),
            ServerTls::builder().identity_pem(&text, &good.key).build().err(),
            ServerTls::builder()
                .identity_pem(&good.certificate, &good.key)
                .client_roots_pem(&text)
                .build()
                .err(),
        ];
        for error in builders {
            let error = error.unwrap_or_else(|| panic!("{case} was read"));
            silent_pem(&error, &good.certificate, case);
            silent_pem(&error, &good.key, case);
            assert!(error.to_string().contains(word), "{case}: {error}");
        }
    }
    for (case, text, word) in broken(&good.key, "PRIVATE KEY") {
        let client = ClientTls::builder().roots_pem(&good.certificate);
        let client = client.identity_pem(&good.certificate, &text);
        let server = ServerTls::builder().identity_pem(&good.certificate, &text);
        for piece in pieces(&good.key) {
            silent_debug(&client, &piece, case);
            silent_debug(&server, &piece, case);
        }
        for error in [client.build().err(), server.build().err()] {
            let error = error.unwrap_or_else(|| panic!("{case} was read"));
            silent_pem(&error, &good.key, case);
            assert!(error.to_string().contains(word), "{case}: {error}");
        }
    }
}

/// What is not ASCII text at all, and what only looks broken.
#[test]
fn encodings_of_a_pem() {
    let good = pair();
    let wide = |text: &str, little: bool| {
        let mark = std::iter::once(0xfeff).chain(text.encode_utf16());
        let bytes = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        mark.flat_map(bytes).collect::<Vec<u8>>()
    };
    let der: Vec<u8> = KeyPair::generate().unwrap().serialize_der();
    let cases = [
        (wide(&good.key, true), "the PEM text is UTF-16; save it as ASCII or UTF-8"),
        (wide(&good.key, false), "the PEM text is UTF-16; save it as ASCII or UTF-8"),
        (
            der,
            "the bytes are DER or PKCS #12, and PEM text is expected; convert them with openssl, \
               or use the setter for DER",
        ),
    ];
    for (bytes, want) in cases {
        let server = ServerTls::builder().identity_pem(&good.certificate, &bytes).build();
        let text = "TLS configuration: identity's key: ";
        assert_eq!(server.unwrap_err().to_string(), format!("{text}{want}"));
        let error = ClientTls::builder().roots_pem(&bytes).build().unwrap_err();
        silent_pem(&error, &good.key, want);
        assert_eq!(error.to_string(), format!("TLS configuration: roots: {want}"));
    }
    let error = ServerTls::builder().identity_der(&good.certificate, &good.key).build();
    let error = error.unwrap_err();
    silent_pem(&error, &good.key, "PEM as DER");
    assert!(error.to_string().contains("PEM text, and DER is expected"), "{error}");
    // These are read: Windows' line ends and byte order mark, old line ends, comments.
    let also: [fn(&str) -> String; 4] = [
        |pem| pem.replace('\n', "\r\n"),
        |pem| format!("\u{feff}{pem}"),
        |pem| pem.replace('\n', "\r"),
        |pem| format!("# a comment\n\n{pem}\n\nanother\n"),
    ];
    for change in also {
        let (chain, key) = (change(&good.certificate), change(&good.key));
        ServerTls::builder().identity_pem(&chain, &key).build().unwrap();
        // One file with both, in either order.
        let (first, last) = (format!("{chain}{key}"), format!("{}{chain}", key));
        ServerTls::builder().identity_pem(&first, &last).build().unwrap();
    }
}

#[test]
fn chain_and_key_that_are_swapped_are_told_and_not_repeated() {
    let good = pair();
    let error = ServerTls::builder().identity_pem(&good.key, &good.certificate).build();
    let error = error.unwrap_err();
    silent_pem(&error, &good.key, "swapped");
    let line = "TLS configuration: identity: line 1 of the PEM text begins a private key; a \
                CERTIFICATE is expected, so chain and key may have been swapped";
    assert_eq!(error.to_string(), line);
    let twice = ServerTls::builder().identity_pem(&good.certificate, &good.certificate).build();
    let text = twice.unwrap_err().to_string();
    assert!(text.ends_with("begins CERTIFICATE; a PRIVATE KEY is expected"), "{text}");
    // A key that belongs to another certificate, and DER that is none.
    let other = pair();
    let error = ServerTls::builder().identity_pem(&good.certificate, &other.key).build();
    silent_pem(&error.unwrap_err(), &other.key, "another's key");
    let error = ServerTls::builder().identity_der(SECRET, SECRET).build().unwrap_err();
    silent_error(&error, SECRET, "DER");
    let error = ClientTls::builder().root_der(SECRET).build().unwrap_err();
    silent_error(&error, SECRET, "DER");
}

#[test]
fn a_text_that_is_no_server_name_is_not_repeated() {
    let name = format!("user:{SECRET}@host/");
    let builder = ClientTls::builder().server_name(&name);
    silent_debug(&builder, SECRET, "server name");
    silent_error(&builder.build().unwrap_err(), SECRET, "server name");
    let builder = ClientTls::builder().server_name("a.example");
    assert!(format!("{builder:?}").contains("a.example"), "{builder:?}");
}

// ---- targets ----------------------------------------------------------------------------------

#[test]
fn credentials_paths_and_queries_of_a_target_are_not_repeated() {
    let s = SECRET;
    let targets = [
        format!("http://user:{s}@a.example:80"),
        format!("https://{s}@a.example"),
        format!("http://user:8080/{s}@a.example"),
        format!("http://user:80{s}@a.example/path"),
        format!("http://a.example/{s}"),
        format!("http://a.example/x?token={s}"),
        format!("http://a.example?token={s}"),
        format!("http://a.example#{s}"),
        format!("http://user%3A{s}%40a.example"),
        format!("http://a.example:{s}"),
        format!("http://[{s}]:80"),
        format!("http://[::1]{s}"),
        format!("http://a b {s}"),
        format!("user:{s}@a.example:80"),
        format!("a.example:80/{s}"),
        format!("//user:{s}@a.example"),
        format!("{s}://a.example"),
        format!("user:{s}://a.example"),
        format!("http:user:{s}@a.example"),
        format!("grpc://user:{s}@a.example"),
        format!("dns:///user:{s}@a.example"),
        format!("dns:{s}?"),
        format!("unix:/{s}\0"),
        format!("\u{e4}{s}://"),
        s.to_owned(),
        format!("eyJhbGciOi.{s}.c2ln"),
        format!("Bearer {s}"),
        format!("https://a.example:443@{s}"),
        format!("https://a.example/%3Ftoken%3D{s}"),
        format!("https://a.example%2F{s}"),
        format!("https://{s}%40a.example"),
        format!("https://a.example\\{s}"),
        format!("https://a.example:443:{s}"),
        format!("https:////{s}@a.example"),
        format!("http://[v1.{s}]"),
        format!("http://[fe80::1%{s}]"),
    ];
    for uri in &targets {
        let error = Target::parse(uri).expect_err(uri);
        silent_error(&error, s, uri);
        silent_debug(error.kind(), s, uri);
        let builder = Channel::builder(uri);
        silent_debug(&builder, s, uri);
        silent_error(&builder.build().expect_err(uri), s, uri);
        let other = Target::parse("http://a.example").unwrap();
        if let Err(error) = other.with_authority(uri) {
            silent_error(&error, s, uri);
        }
    }
    // Host and port are named where they can be told from the rest.
    let text = Target::parse(&format!("https://a.example:8443/{s}")).unwrap_err().to_string();
    assert!(text.starts_with("invalid target for a.example:8443: "), "{text}");
    let builder = Channel::builder("http://a.example").authority(&format!("u:{s}@b.example"));
    silent_debug(&builder, s, "authority");
    silent_error(&builder.build().unwrap_err(), s, "authority");
}

// ---- metadata and messages ----------------------------------------------------------------------

fn secrets() -> Metadata {
    let mut metadata = Metadata::new();
    for key in ["authorization", "cookie", "x-api-key", "x-session"] {
        metadata.append(key, SECRET).unwrap();
    }
    metadata.append_sensitive("x-marked", SECRET).unwrap();
    metadata.append_bin("x-key-bin", SECRET.as_bytes()).unwrap();
    metadata
}

/// The secret, and the secret as a binary value travels.
#[track_caller]
fn silent_values(value: &impl Debug, case: &str) {
    silent_debug(value, SECRET, case);
    silent_debug(value, "aHVudGVyMlNlY3JldA", case);
}

#[test]
fn values_of_metadata_are_not_printed() {
    let metadata = secrets();
    silent_values(&metadata, "metadata");
    for entry in metadata.iter() {
        silent_values(&entry, entry.key());
    }
    let text = format!("{metadata:?}");
    assert!(text.contains("x-api-key: <13 bytes>"), "names and lengths may stand there: {text}");
    let request = Request::new(Raw(Bytes::from_static(SECRET.as_bytes()))).with_metadata(secrets());
    silent_values(&request, "request");
    silent_values(&Response::new(()).with_metadata(secrets()), "response");
    let status = Status::new(Code::Internal, "no").with_details(SECRET.as_bytes().to_vec());
    let status = status.with_metadata(secrets());
    silent_values(&status, "status");
    let error = framewire::error::Error::from_peer(status);
    silent_error(&error, SECRET, "error");
    let plain = HttpRequest::new("GET", &format!("/x?token={SECRET}")).with_body(SECRET);
    silent_values(&plain.with_field("x-api-key", SECRET), "plain request");
    silent_values(&HttpReply::new(200).with_field("set-cookie", SECRET).with_body(SECRET), "reply");
    let mut fields = Fields::new();
    fields.push(":path", format!("/x?token={SECRET}"));
    fields.push_sensitive("a", SECRET);
    fields.push("b", SECRET);
    silent_values(&fields, "fields");
    let mut refused = Metadata::new();
    for (key, value) in [(SECRET, "x"), ("x", "\u{7f}hunter2Secret"), ("x-bin", SECRET)] {
        silent_error(&refused.append(key, value).unwrap_err(), SECRET, key);
    }
}

/// What goes wrong is logged without the values of metadata, the queries of paths and the messages.
#[tokio::test]
async fn logs_have_no_secret() {
    // One thread: the log of this thread is that of all tasks of the test.
    let log = Log::new();
    let router = Router::new()
        .unary(&TELL, |_, _: Raw| async {
            Err::<Response<Raw>, _>(Status::new(Code::Unavailable, "no"))
        })
        .http("/pages", |_request| async { panic!("on purpose") });
    let (connector, listener) = in_memory(1 << 16);
    let server = Server::builder(router).serve(listener).unwrap();
    let retry = framewire::client::RetryPolicy::new(2).on(Code::Unavailable);
    let builder = Channel::builder("http://a.example").connector(connector).retry(retry);
    let channel = builder.build().unwrap();
    let request = || {
        let message = Raw(Bytes::from_static(SECRET.as_bytes()));
        Request::new(message).with_metadata(secrets())
    };
    silent_error(&channel.unary(&TELL, request()).await.unwrap_err(), SECRET, "a call");
    let panics = HttpRequest::new("POST", &format!("/pages?token={SECRET}")).with_body(SECRET);
    silent_values(&channel.http(panics.with_field("authorization", SECRET)).await, "a panic");
    for query in ["/pages/none", "/none.At/All"] {
        let request = HttpRequest::new("POST", &format!("{query}?token={SECRET}"));
        let request = request.with_field("content-type", "application/grpc");
        silent_values(&channel.http(request).await, "no such path");
    }
    server.shutdown(std::time::Duration::from_secs(1)).await;
    drop(channel);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let text = log.text();
    assert!(text.contains("panicked") && text.contains("/pages"), "something was logged: {text}");
    assert!(text.contains("retried by policy"), "{text}");
    silent_values(&format_args!("{text}"), "the log");
}

const TELL: Method<Raw, Raw> = Method::new("/secrets.Secrets/Tell");

/// A call under way holds its head, its message and its metadata on both sides.
#[tokio::test]
async fn a_call_under_way_prints_no_secret() {
    let seen = Arc::new(Mutex::new(String::new()));
    let note = Arc::clone(&seen);
    let router = Router::new().unary(&TELL, move |context: Context, request: Raw| {
        *note.lock().unwrap() = format!("{context:?} {context:#?} {request:?}");
        async move {
            Ok(Response::new(Raw(Bytes::from_static(SECRET.as_bytes()))).with_metadata(secrets()))
        }
    });
    let (connector, listener) = in_memory(1 << 16);
    let _server = Server::builder(router).serve(listener).unwrap();
    let builder = Channel::builder("http://a.example").connector(connector);
    silent_values(&builder, "builder");
    let channel = builder.build().unwrap();
    let mut request = Request::new(Raw(Bytes::from_static(SECRET.as_bytes())));
    *request.metadata_mut() = secrets();
    let response = channel.unary(&TELL, request).await.unwrap();
    silent_values(&response, "response");
    silent_values(&channel, "channel");
    silent_values(&channel.stats(), "stats");
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains("x-api-key"), "the handler saw the call: {seen}");
    silent_values(&format_args!("{seen}"), "the handler's side");
    let lost = channel.http(HttpRequest::new("POST", &format!("/a/b?token={SECRET}"))).await;
    silent_values(&lost.unwrap(), "plain response");
    let s = SECRET;
    for request in [
        HttpRequest::new(&format!("GET {s}"), "/x"),
        HttpRequest::new("GET", &format!("x{s}")),
        HttpRequest::new("GET", &format!("/x {s}")),
        HttpRequest::new("GET", "/x").with_field(&format!("a {s}"), "1"),
        HttpRequest::new("GET", "/x").with_field(&s.to_uppercase(), "1"),
        HttpRequest::new("GET", "/x").with_field("a", &format!("{s}\r\nb: 1")),
        HttpRequest::new("GET", "/x").with_field("connection", s),
        HttpRequest::new("GET", "/x").with_field("content-length", s),
        HttpRequest::new("GET", "/x").with_field(":authority", &format!("u:{s}@b")),
    ] {
        silent_debug(&request, SECRET, "a request that is not valid");
        if let Err(error) = channel.http(request).await {
            silent_error(&error, SECRET, "a request that is not valid");
            silent(&error.to_string(), &SECRET.to_uppercase(), "a request that is not valid");
        }
    }
    let unknown = Method::<Raw, Raw>::new("/secrets.Secrets/None");
    let error = channel.unary(&unknown, Raw::default()).await.unwrap_err();
    silent_error(&error, SECRET, "unknown method");
}
