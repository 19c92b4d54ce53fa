//! The harness tested on itself: two scripted peers on one pipe, so that an expectation is known
//! to hear what it waits for, and to fail when it does not come.

use super::*;

fn pair() -> (RawPeer, RawPeer) {
    let (left, right) = tokio::io::duplex(65_536);
    (RawPeer::new(left, true), RawPeer::new(right, false))
}

#[tokio::test(start_paused = true)]
async fn peers_understand_each_other() {
    let (mut client, mut server) = pair();
    tokio::join!(client.begin_with(&[]), server.begin_with(&[(MAX_FRAME_SIZE, 20_000)]));
    assert_eq!(client.settings.get(&MAX_FRAME_SIZE), Some(&20_000));
    client.dribbling = true;
    client.send(headers(1, WHOLE, get("/x", &[("k", "v")])).padded(3)).await;
    let (stream, fields) = server.expect_request().await;
    assert_eq!(fields.last(), Some(&("k".into(), "v".into())));
    server.respond(stream, b"body").await;
    assert_eq!(client.expect_response(1).await.body, b"body");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "expected RST_STREAM on 1 with code 0x8, got code 0x1")]
async fn a_wrong_code_is_heard() {
    let (mut client, mut server) = pair();
    server.send(rst_stream(1, PROTOCOL_ERROR)).await;
    client.expect_reset(1, CANCEL).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "got silence")]
async fn an_open_connection_is_not_a_closed_one() {
    let (mut client, mut server) = pair();
    server.send(goaway(0, PROTOCOL_ERROR)).await;
    client.expect_connection_error(PROTOCOL_ERROR).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "inside a field block")]
async fn an_interleaved_block_is_heard() {
    let (mut client, mut server) = pair();
    server.send_all(&[headers(1, NONE, response(200, &[])), ping([0; 8])]).await;
    client.gather(raw::PATIENCE).await;
}

#[test]
fn frames_are_written_as_the_rfc_draws_them() {
    let drawn: [(RawFrame, &[u8]); 14] = [
        (data(1, END_STREAM, *b"hi"), b"\0\0\x02\0\x01\0\0\0\x01hi"),
        (headers(3, WHOLE, *b"\x82"), b"\0\0\x01\x01\x05\0\0\0\x03\x82"),
        (headers(3, WITH_PRIORITY, []), b"\0\0\0\x01\x20\0\0\0\x03"),
        (priority(1, 3), b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\x03\x0f"),
        (rst_stream(1, CANCEL), b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08"),
        (settings(&[(ENABLE_PUSH, 1)]), b"\0\0\x06\x04\0\0\0\0\0\0\x02\0\0\0\x01"),
        (settings_ack(), b"\0\0\0\x04\x01\0\0\0\0"),
        (push_promise(1, 2, b"\x82"), b"\0\0\x05\x05\x04\0\0\0\x01\0\0\0\x02\x82"),
        (ping(*b"12345678"), b"\0\0\x08\x06\0\0\0\0\x0012345678"),
        (goaway(5, PROTOCOL_ERROR), b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x05\0\0\0\x01"),
        (window_update(1, MAX_WINDOW), b"\0\0\x04\x08\0\0\0\0\x01\x7f\xff\xff\xff"),
        (continuation(1, END_HEADERS, []), b"\0\0\0\x09\x04\0\0\0\x01"),
        (data(1, NONE, *b"x").padded(2), b"\0\0\x04\0\x08\0\0\0\x01\x02x\0\0"),
        (
            data(1, NONE, []).on(2).reserved().flagged(PADDED).claiming(0x01_02_03),
            b"\x01\x02\x03\0\x08\x80\0\0\x02",
        ),
    ];
    for (frame, bytes) in drawn {
        assert_eq!(wire(&[frame]), bytes);
    }
}

#[test]
fn codes_and_settings_are_the_registered_ones() {
    let codes = [
        NO_ERROR,
        PROTOCOL_ERROR,
        INTERNAL_ERROR,
        FLOW_CONTROL_ERROR,
        STREAM_CLOSED,
        FRAME_SIZE_ERROR,
        REFUSED_STREAM,
        CANCEL,
        COMPRESSION_ERROR,
        ENHANCE_YOUR_CALM,
    ];
    assert_eq!(codes, [0, 1, 2, 3, 5, 6, 7, 8, 9, 11]);
    let settings = [
        HEADER_TABLE_SIZE,
        ENABLE_PUSH,
        MAX_CONCURRENT_STREAMS,
        INITIAL_WINDOW_SIZE,
        MAX_FRAME_SIZE,
        MAX_HEADER_LIST_SIZE,
    ];
    assert_eq!(settings, [1, 2, 3, 4, 5, 6]);
    assert_eq!([CONTINUATION, PUSH_PROMISE, PRIORITY], [9, 5, 2]);
}

#[test]
fn blocks_decode_in_a_foreign_decoder() {
    let mut decoder = fluke_hpack::Decoder::new();
    let long = vec![b'v'; 300];
    let mut bytes = hpack::table_size(4_096);
    bytes.extend(hpack::block(&[("a", "b")]));
    bytes.extend(hpack::literal(b"long", &long));
    bytes.extend(hpack::entered(b"kept", b"here"));
    bytes.extend(hpack::indexed(62));
    bytes.extend(post("/p", &[]));
    let fields = decoder.decode(&bytes).expect("a block that decodes");
    assert_eq!(fields[0], (b"a".to_vec(), b"b".to_vec()));
    assert_eq!(fields[1], (b"long".to_vec(), long));
    assert_eq!(fields[3], (b"kept".to_vec(), b"here".to_vec()));
    assert_eq!(fields[4], (b":method".to_vec(), b"POST".to_vec()));
    assert!(decoder.decode(&hpack::indexed(200)).is_err());
}

#[tokio::test(start_paused = true)]
async fn errors_are_heard_with_their_codes() {
    let (mut client, mut server) = pair();
    server.send_all(&[rst_stream(1, STREAM_CLOSED), rst_stream(3, PROTOCOL_ERROR)]).await;
    client.expect_error(1, STREAM_CLOSED).await;
    tokio::join!(client.expect_malformed(3), answer_ping(&mut server));
    server.send(goaway(7, INTERNAL_ERROR)).await;
    server.shut_down().await;
    assert_eq!(client.expect_connection_error(INTERNAL_ERROR).await, 7);
}

async fn answer_ping(server: &mut RawPeer) {
    server.find("PING", |f| f.kind == PING).await;
}

#[tokio::test(start_paused = true)]
async fn the_service_answers_as_its_table_says() {
    let (mut peer, counters) = serve_counted();
    peer.handshake_with(&[(MAX_HEADER_LIST_SIZE, 10_000)]).await;
    peer.expect_serves(1).await;
    peer.send(headers(3, WHOLE, get("/big/70000", &[]))).await;
    assert_eq!(peer.expect_response(3).await.body.len(), 70_000);
    peer.send_all(&[headers(5, END_HEADERS, post("/echo", &[])), data(5, END_STREAM, *b"x")]).await;
    assert_eq!(peer.expect_response(5).await.body, b"x");
    peer.send(headers(7, WHOLE, get("/none", &[]))).await;
    assert_eq!(peer.expect_message(7).await.status(), "404");
    peer.send(headers(9, WHOLE, get("/hang", &[]))).await;
    peer.expect_alive().await;
    assert_eq!((counters.started(), counters.running()), (5, 1));
    served().await.expect_alive().await;
    serve().expect_settings().await;
}

#[tokio::test(start_paused = true)]
async fn the_client_reports_what_the_peer_sent() {
    let (client, mut peer) = connected().await;
    let call = client.call("POST", "/x", &[("name", "value")], b"body");
    let message = peer.expect_message(1).await;
    assert_eq!((message.field("name"), &message.body[..]), (Some("value"), &b"body"[..]));
    peer.respond(1, b"answer").await;
    let answer = outcome(call).await.expect("response");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"answer"[..]));
    assert_eq!((answer.fields, answer.trailers), (vec![], None));
    let (body, call) = client.open("/y");
    let unread = client.get_unread("/z");
    let (stream, _) = peer.expect_request().await;
    peer.send(rst_stream(stream, REFUSED_STREAM)).await;
    let failure = outcome(call).await.expect_err("reset");
    assert_eq!(failure.reset_code, Some(REFUSED_STREAM), "{}", failure.text);
    assert!(!failure.may_have_been_processed);
    let call = client.get("/a");
    drop((body, unread, call, connect()));
}
