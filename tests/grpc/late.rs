//! DATA that was on its way when the server let go of its stream (RFC 9113 §5.1, §5.2): its bytes
//! go back to the connection's window, and nothing else happens.

use crate::memory_pair::{RawMethod, Setup, raw, router};
use crate::peer::{Frame, Peer, framed, request};
use framewire::unstable::grpc::{Method, Response};
use framewire::unstable::http2::frame::FrameType;

/// Answers before it has read anything.
const HASTY: RawMethod = Method::new("/test.Echo/Hasty");
/// DATA of one frame.
const PIECE: usize = 16_384;

/// Why the server let go.
#[derive(Clone, Copy, Debug)]
enum Reason {
    /// The answer was complete before the request.
    Answered,
    /// The deadline passed.
    Expired,
    /// The request broke a limit.
    Refused,
    /// A frame broke a rule of HTTP/2.
    Broken,
}

fn credit(frames: &[Frame]) -> i64 {
    let updates = frames.iter().filter(|f| f.kind == FrameType::WindowUpdate && f.id == 0);
    updates.map(|f| i64::from(f.number())).sum()
}

/// Opens stream 1 and waits until the server has reset it.
async fn let_go(peer: &mut Peer, reason: Reason) {
    let (path, more) = match reason {
        Reason::Answered => ("/test.Echo/Hasty", vec![]),
        Reason::Expired => ("/test.Echo/Up", vec![("grpc-timeout", "50m")]),
        Reason::Refused | Reason::Broken => ("/test.Echo/Up", vec![]),
    };
    peer.headers(1, false, &request(path, &more)).await;
    match reason {
        Reason::Refused => peer.data(1, &[9, 0, 0, 0, 0], false).await,
        Reason::Broken => peer.send(&[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await,
        Reason::Answered | Reason::Expired => {}
    }
    let reset = peer.next(FrameType::RstStream).await;
    assert_eq!(reset.id, 1);
}

/// Sends four windows of DATA on the stream, no more than the window allows at a time; what came
/// back meanwhile.
async fn send_late(peer: &mut Peer, window: i64, end: bool) -> Vec<Frame> {
    let mut room = window;
    let mut heard = Vec::new();
    let pieces = 4 * window / PIECE as i64;
    for piece in 0..pieces {
        while room < PIECE as i64 {
            // Panics after a minute: the connection has run dry.
            let frame = peer.frame().await.expect("the connection ended");
            room += credit(std::slice::from_ref(&frame));
            heard.push(frame);
        }
        room -= PIECE as i64;
        peer.data(1, &[7; PIECE], end && piece + 1 == pieces).await;
    }
    let rest = peer.until_silent().await;
    room += credit(&rest);
    heard.extend(rest);
    // Credit is given in steps; less than half of the window may be owed.
    assert!(room * 2 > window, "{room} of {window}");
    heard
}

#[tokio::test(start_paused = true)]
async fn it_is_credited_and_discarded() {
    for reason in [Reason::Answered, Reason::Expired, Reason::Refused, Reason::Broken] {
        for end in [false, true] {
            let router = router()
                .client_streaming(&HASTY, |_, _| async { Ok(Response::new(raw("at once"))) });
            let pair = Setup::new(router).start();
            let mut peer = Peer::dial(&pair.connector).await;
            let first = peer.until_silent().await;
            let window = 65_535 + credit(&first);
            let_go(&mut peer, reason).await;
            peer.until_silent().await;
            let heard = send_late(&mut peer, window, end).await;
            // PINGs measure the path, whatever becomes of the bytes.
            let harmless = [FrameType::WindowUpdate, FrameType::Ping];
            let none_else = heard.iter().all(|f| f.id == 0 && harmless.contains(&f.kind));
            assert!(none_else, "{reason:?} {end}: {heard:?}");
            // The connection serves the next call.
            peer.headers(3, false, &request("/test.Echo/Unary", &[])).await;
            peer.data(3, &framed(b"next"), true).await;
            let answer = peer.next(FrameType::Data).await;
            assert_eq!((answer.id, answer.payload), (3, framed(b"next")), "{reason:?}");
        }
    }
}
