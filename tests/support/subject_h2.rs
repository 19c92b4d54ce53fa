//! The `h2` crate as a subject: it proves the harness, and that the tests are not written to fit
//! one engine.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hpack::Fields;
use super::subject::{Call, Caller, Counters, Failure, Outcome, Response, Running, Subject};

pub(super) struct H2;

impl Subject for H2 {
    fn serve(&self, io: DuplexStream, counters: Arc<Counters>) {
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(256).max_header_list_size(16_384);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                let running = Running::new(&counters);
                tokio::spawn(async move {
                    // An error here is the stream's end, which the test sees on the wire.
                    drop(handle(request, respond).await);
                    drop(running);
                });
            }
        });
    }

    fn connect(&self, io: DuplexStream) -> Box<dyn Caller> {
        let (ready, sender) = watch::channel(None);
        tokio::spawn(async move {
            let mut builder = h2::client::Builder::new();
            builder.enable_push(false).max_header_list_size(16_384);
            let Ok((send, connection)) = builder.handshake::<_, Bytes>(io).await else { return };
            ready.send_replace(Some(Ok(send)));
            let end = connection.await.map_err(|e| e.to_string());
            if let Err(text) = end {
                ready.send_replace(Some(Err(text)));
            }
        });
        Box::new(H2Caller { sender })
    }
}

type Sender = Option<Result<h2::client::SendRequest<Bytes>, String>>;

struct H2Caller {
    sender: watch::Receiver<Sender>,
}

impl Caller for H2Caller {
    fn call(&self, call: Call) -> JoinHandle<Outcome> {
        let mut sender = self.sender.clone();
        tokio::spawn(async move {
            let unsent =
                |text: String| Failure { text, reset_code: None, may_have_been_processed: false };
            let found = sender.wait_for(Option::is_some).await;
            let found = found.map_err(|_| unsent("no connection".into()))?.clone();
            let send = found.unwrap_or_else(|| Err("no connection".into())).map_err(unsent)?;
            let mut send = send.ready().await.map_err(|e| unsent(e.to_string()))?;
            let mut request = Request::builder()
                .method(call.method.as_str())
                .uri(format!("http://localhost{}", call.path));
            for (name, value) in &call.fields {
                request = request.header(name, value);
            }
            let request = request.body(()).map_err(|e| unsent(e.to_string()))?;
            let (response, mut stream) = send
                .send_request(request, call.body.is_none())
                .map_err(|e| unsent(e.to_string()))?;
            // Waiting for the connection's next request would hold it open.
            drop(send);
            let reading = async {
                let (head, mut body) = response.await.map_err(failure)?.into_parts();
                if call.unread {
                    std::future::pending::<()>().await;
                }
                let mut bytes = Vec::new();
                while let Some(piece) = body.data().await {
                    let piece = piece.map_err(answered)?;
                    let freed = body.flow_control().release_capacity(piece.len());
                    freed.map_err(answered)?;
                    bytes.extend_from_slice(&piece);
                }
                let trailers = body.trailers().await.map_err(answered)?;
                Ok(Response {
                    status: head.status.as_u16(),
                    fields: fields(&head.headers),
                    body: bytes,
                    trailers: trailers.as_ref().map(fields),
                })
            };
            let Some(mut pieces) = call.body else { return reading.await };
            let mut writing = Box::pin(async move {
                while let Some(piece) = pieces.recv().await {
                    if send_piece(&mut stream, &piece).await.is_err() {
                        return;
                    }
                }
                // The reading side tells of a failure.
                drop(stream.send_data(Bytes::new(), true));
            });
            tokio::pin!(reading);
            let outcome = tokio::select! {
                outcome = &mut reading => outcome,
                () = &mut writing => return reading.await,
            };
            // The response may be whole before the request is; then the request goes on.
            if outcome.is_ok() {
                tokio::spawn(writing);
            }
            outcome
        })
    }
}

fn failure(error: h2::Error) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let above_last_id = error.is_go_away() && error.is_remote();
    Failure {
        reset_code: error.reason().filter(|_| error.is_reset()).map(u32::from),
        may_have_been_processed: !refused && !above_last_id,
        text: error.to_string(),
    }
}

/// A failure after the response had begun, whatever the peer says of it.
fn answered(error: h2::Error) -> Failure {
    Failure { may_have_been_processed: true, ..failure(error) }
}

fn fields(map: &HeaderMap) -> Fields {
    let text = |v: &http::HeaderValue| String::from_utf8_lossy(v.as_bytes()).into_owned();
    map.iter().map(|(n, v)| (n.to_string(), text(v))).collect()
}

async fn send_piece(stream: &mut h2::SendStream<Bytes>, mut piece: &[u8]) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return Ok(()) };
        let now = room?.min(piece.len());
        stream.send_data(Bytes::copy_from_slice(&piece[..now]), false)?;
        piece = &piece[now..];
    }
    Ok(())
}

async fn handle(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let answer = |status| {
        let mut answer = http::Response::new(());
        *answer.status_mut() = status;
        answer
    };
    if path == "/hang" || path == "/drop" {
        poll_fn(|cx| respond.poll_reset(cx)).await?;
    } else if path == "/ok" {
        respond.send_response(answer(StatusCode::OK), true)?;
    } else if path == "/echo" {
        let mut bytes = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            bytes.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await?;
        let mut stream = respond.send_response(answer(StatusCode::OK), false)?;
        send_piece(&mut stream, &bytes).await?;
        match trailers {
            Some(trailers) => stream.send_trailers(trailers)?,
            None => stream.send_data(Bytes::new(), true)?,
        }
    } else if let Some(n) = path.strip_prefix("/big/").and_then(|n| n.parse().ok()) {
        let mut stream = respond.send_response(answer(StatusCode::OK), false)?;
        let mut left: usize = n;
        while left > 0 {
            let now = left.min(16_384);
            send_piece(&mut stream, &vec![b'x'; now]).await?;
            left -= now;
        }
        stream.send_data(Bytes::new(), true)?;
    } else {
        respond.send_response(answer(StatusCode::NOT_FOUND), true)?;
    }
    Ok(())
}
