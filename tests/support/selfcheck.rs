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
