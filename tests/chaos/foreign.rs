//! The part of a server of another make, the `h2` crate, that refuses streams, says GOAWAY in both of
//! its forms, and resets.

use crate::child::{Log, Note, Told, say, told_more};
use crate::messages::{Act, BIDI, DOWN, Message, UP};
use crate::seed::Rng;
use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

pub fn serve(told: &Told) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let mut lines = told_more();
        let log = Arc::new(Log::open(&told.log));
        let healed = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind(told.listen).await.unwrap();
        say(&format!("listens on {}", listener.local_addr().unwrap()));
        for n in 0.. {
            let (io, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                // The crate asserts that nothing is dropped in the middle.
                _ = terminate.recv() => std::process::exit(0),
                Some(line) = lines.recv() => {
                    if line == "heal" { healed.store(true, Ordering::SeqCst) }
                    continue;
                }
            };
            let rng = Rng::of(told.seed, n);
            tokio::spawn(connection(io, rng, Arc::clone(&log), Arc::clone(&healed)));
        }
    });
}

async fn connection(io: TcpStream, mut rng: Rng, log: Arc<Log>, healed: Arc<AtomicBool>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(rng.pick(&[1, 8, 100]));
    builder.initial_window_size(rng.pick(&[16_384, 65_535, 1 << 20]));
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    // After so many streams it says that it goes.
    let life = rng.range(5, 200);
    let abrupt = rng.per_mille(400);
    let mut streams = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let well = healed.load(Ordering::SeqCst);
        streams += 1;
        if !well && rng.per_mille(80) {
            // RFC 9113 §8.7: nothing of it was processed.
            respond.send_reset(Reason::REFUSED_STREAM);
        } else {
            let reset = !well && rng.per_mille(20);
            tokio::spawn(stream(request, respond, reset, Arc::clone(&log)));
        }
        if !well && streams == life {
            if abrupt {
                connection
                    .abrupt_shutdown(rng.pick(&[Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM]));
            } else {
                connection.graceful_shutdown();
            }
        }
    }
}

async fn stream(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    reset: bool,
    log: Arc<Log>,
) {
    let path = request.uri().path().to_owned();
    let mut body =
        Messages { body: request.into_body(), buffer: BytesMut::new(), compressed: false };
    let first = match body.next().await {
        Some(first) => first,
        None if body.compressed => return unimplemented(respond),
        None => return,
    };
    log.note(first.id, Note::Ran);
    if reset {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    }
    let head = Response::builder().status(200).header("content-type", "application/grpc");
    let Ok(mut send) = respond.send_response(head.body(()).unwrap(), false) else { return };
    let status = match first.act {
        Act::Unavailable => "14",
        Act::HandlerPanics | Act::DecodeAsk | Act::EncodeAnswer => "13",
        _ => "0",
    };
    if status == "0" && answer(&path, first, &mut body, &mut send).await.is_none() {
        return;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    let _ = send.send_trailers(trailers);
}

/// What a server without gzip says.
fn unimplemented(mut respond: SendResponse<Bytes>) {
    let head = Response::builder().status(200).header("content-type", "application/grpc");
    let head = head.header("grpc-status", "12").header("grpc-accept-encoding", "identity");
    let _ = respond.send_response(head.body(()).unwrap(), true);
}

async fn answer(
    path: &str,
    first: Message,
    body: &mut Messages,
    send: &mut SendStream<Bytes>,
) -> Option<()> {
    let wait = Duration::from_millis(first.milliseconds.into());
    let mut next = Some(first);
    let mut count = 0;
    while let Some(message) = next {
        tokio::time::sleep(wait).await;
        count += 1;
        if path == DOWN.path().as_str() {
            for count in 0..message.count {
                write(send, Message { count, ..message.clone() }.framed()).await?;
            }
            return Some(());
        }
        if path == BIDI.path().as_str() {
            write(send, message.framed()).await?;
        }
        next = body.next().await;
        if path != BIDI.path().as_str() && next.is_none() {
            let count = if path == UP.path().as_str() { count } else { message.count };
            write(send, Message { count, ..message }.framed()).await?;
        }
    }
    Some(())
}

/// Within the windows of the peer.
async fn write(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> Option<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|cx| send.poll_capacity(cx)).await?.ok()?;
        let part = bytes.split_to(capacity.min(bytes.len()));
        send.send_data(part, false).ok()?;
    }
    Some(())
}

struct Messages {
    body: RecvStream,
    buffer: BytesMut,
    compressed: bool,
}

impl Messages {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(prefix) = self.buffer.get(1..5) {
                let length = u32::from_be_bytes(prefix.try_into().unwrap()) as usize;
                self.compressed = self.buffer[0] != 0;
                if self.compressed {
                    return None;
                }
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    return Message::read(self.buffer.split_to(length));
                }
            }
            let data = self.body.data().await?.ok()?;
            self.body.flow_control().release_capacity(data.len()).ok()?;
            self.buffer.extend_from_slice(&data);
        }
    }
}
