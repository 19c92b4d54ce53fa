//! This crate as a subject: its drivers, below the gRPC layer.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use framewire::error::{Error, Processed};
use framewire::transport::{Connect, ConnectFuture, Connected, ConnectionInfo, Target};
use framewire::unstable::call::reader::{Body, End, Reader};
use framewire::unstable::call::served::ServerCall;
use framewire::unstable::call::state::{Credit, SendEnd, SharedCall};
use framewire::unstable::call::writer::Writer;
use framewire::unstable::connection::dispatch::{Dispatch, Handler, HandlerFuture, Plan};
use framewire::unstable::connection::driver::{ConnectionOptions, Drain, Driver};
use framewire::unstable::connection::handle::Handle;
use framewire::unstable::http2::{ErrorCode, Fields as List, Head, Role};
use framewire::unstable::pool::{Cap, Pool, PoolOptions};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::hpack::Fields;
use super::subject::{Call, Caller, Counters, Failure, Outcome, Response, Running, Subject};

pub(super) struct Framewire;

impl Subject for Framewire {
    fn serve(&self, io: DuplexStream, counters: Arc<Counters>) {
        let now = framewire::unstable::rt::now();
        let info = ConnectionInfo::default();
        let handle = Arc::new(Handle::new(info, None, 256 * 1024, now));
        let options = ConnectionOptions::new(Role::Server);
        let dispatch = Arc::new(Service { handler: Arc::new(Plain(counters)) });
        let drain = Arc::new(Drain::new());
        tokio::spawn(Driver::server(Box::new(io), handle, options, dispatch, drain));
    }

    fn connect(&self, io: DuplexStream) -> Box<dyn Caller> {
        let target = Target::parse("http://localhost:80").expect("a target");
        let connector = Arc::new(Once(Mutex::new(Some(io))));
        let mut options = PoolOptions::new();
        // What others in this process dial does not count.
        options.cap = Some(Cap::new(1024, 1 << 20));
        let pool = Arc::new(Pool::new(target, connector, options));
        pool.connect();
        Box::new(Client { pool })
    }
}

/// Hands out the one pipe there is.
struct Once(Mutex<Option<DuplexStream>>);

impl Connect for Once {
    fn connect(&self, target: Target) -> ConnectFuture {
        let io = self.0.lock().expect("no panic holds this").take();
        Box::pin(async move {
            let Some(io) = io else {
                let gone = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                use framewire::transport::{ConnectError, ConnectPhase};
                return Err(ConnectError::from_io(ConnectPhase::Socket, &target, gone));
            };
            Ok(Connected::new(io))
        })
    }
}

struct Service {
    handler: Arc<dyn Handler>,
}

impl Dispatch for Service {
    fn plan(&self, _head: &Head) -> Plan {
        Plan {
            handler: Arc::clone(&self.handler),
            whole: false,
            grpc: false,
            message_max: usize::MAX,
            encoding: None,
            timeout: None,
        }
    }
}

struct Plain(Arc<Counters>);

impl Handler for Plain {
    fn call(&self, call: ServerCall) -> HandlerFuture {
        let running = Running::new(&self.0);
        Box::pin(async move {
            let _ = serve(&call).await;
            drop(running);
        })
    }
}

fn head(status: &str) -> List {
    let mut fields = List::new();
    fields.push(":status", status);
    fields
}

async fn serve(call: &ServerCall) -> Result<(), ()> {
    let path = call.with_head(|head| String::from_utf8_lossy(head.path()).into_owned());
    let writer = call.writer();
    if path == "/hang" || path == "/drop" {
        call.cancelled().await;
    } else if path == "/ok" {
        writer.finish(SendEnd::Finish, None).map_err(drop)?;
        writer.head(None, &head("200")).map_err(drop)?;
    } else if path == "/echo" {
        let (body, end) = read(&call.reader()).await.map_err(drop)?;
        writer.head(None, &head("200")).map_err(drop)?;
        writer.send(&mut Vec::new(), Some(body.freeze())).map_err(drop)?;
        match end {
            End::Trailers(fields) => writer.finish(SendEnd::Trailers, Some(&fields)),
            End::Finished => writer.finish(SendEnd::Finish, None),
        }
        .map_err(drop)?;
    } else if let Some(n) = path.strip_prefix("/big/").and_then(|n| n.parse().ok()) {
        writer.head(None, &head("200")).map_err(drop)?;
        let mut left: usize = n;
        while left > 0 {
            let now = left.min(16_384);
            writer.ready().await.map_err(drop)?;
            writer.send(&mut Vec::new(), Some(Bytes::from(vec![b'x'; now]))).map_err(drop)?;
            left -= now;
        }
        writer.finish(SendEnd::Finish, None).map_err(drop)?;
    } else {
        writer.finish(SendEnd::Finish, None).map_err(drop)?;
        writer.head(None, &head("404")).map_err(drop)?;
    }
    Ok(())
}

/// The whole body, credited as it is taken.
async fn read(reader: &Reader) -> Result<(BytesMut, End), Error> {
    let mut all = BytesMut::new();
    let mut piece = BytesMut::new();
    let mut read = Credit::default();
    loop {
        match poll_fn(|cx| reader.poll_body(cx, &mut piece, std::mem::take(&mut read))).await? {
            Body::Bytes => {
                read.released_unread = piece.len() as u32;
                all.extend_from_slice(&piece);
                piece.clear();
            }
            Body::End => return Ok((all, reader.end().expect("it has ended")?)),
        }
    }
}

struct Client {
    pool: Arc<Pool>,
}

impl Caller for Client {
    fn call(&self, call: Call) -> JoinHandle<Outcome> {
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move { exchange(&pool, call).await })
    }
}

/// Cancels the exchange when the test drops the call.
struct Guard(Arc<SharedCall>);

impl Drop for Guard {
    fn drop(&mut self) {
        Writer::new(Arc::clone(&self.0)).cancel(ErrorCode::CANCEL);
    }
}

async fn exchange(pool: &Pool, call: Call) -> Outcome {
    let slot = pool.call(framewire::unstable::rt::now());
    {
        let mut x = slot.lock();
        let mut fields = framewire::unstable::http2::Fields::new();
        fields.push(":method", &call.method);
        fields.push(":scheme", "http");
        fields.push(":path", &call.path);
        fields.push(":authority", "localhost");
        for (name, value) in &call.fields {
            fields.push(name, value);
        }
        x.send_mut().set_head(None, &fields);
        if call.body.is_none() {
            x.send_mut().set_end(SendEnd::Finish);
        }
    }
    let guard = Guard(Arc::clone(&slot));
    pool.submit(Arc::clone(&slot));
    let writer = Writer::new(Arc::clone(&slot));
    let writing = async {
        let Some(mut pieces) = call.body else { return };
        while let Some(mut piece) = pieces.recv().await {
            if writer.ready().await.is_err() {
                return;
            }
            let _ = writer.send(&mut piece, None);
        }
        let _ = writer.finish(SendEnd::Finish, None);
    };
    let reader = Reader::new(Arc::clone(&slot));
    let reading = async {
        let (status, fields) = poll_fn(|cx| {
            reader.poll_head(cx, |inc| (inc.head().status(), pairs(inc.head().fields())))
        })
        .await
        .map_err(failure)?;
        if call.unread {
            std::future::pending::<()>().await;
        }
        let (body, end) = read(&reader).await.map_err(failure)?;
        let trailers = match end {
            End::Trailers(list) => Some(pairs(&list)),
            End::Finished => None,
        };
        Ok(Response { status, fields, body: body.to_vec(), trailers })
    };
    let writing = async {
        writing.await;
        std::future::pending().await
    };
    let outcome = tokio::select! {
        outcome = reading => outcome,
        outcome = writing => outcome,
    };
    drop(guard);
    outcome
}

fn pairs(list: &List) -> Fields {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    list.iter().map(|field| (text(field.name), text(field.value))).collect()
}

fn failure(error: Error) -> Failure {
    Failure {
        reset_code: error.h2_code().map(|code| code.0),
        may_have_been_processed: error.processed() != Processed::No,
        text: error.to_string(),
    }
}
