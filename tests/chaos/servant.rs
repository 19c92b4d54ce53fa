//! The part of a server of ours.

use crate::child::{Log, Note, Told, descriptors, say, told_more};
use crate::messages::{Act, Answer, Ask, BIDI, DOWN, Message, UNARY, UP};
use framewire::server::{Replies, Requests, Router, Server};
use framewire::tls::ServerTls;
use framewire::{Budget, Code, Response, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Time that calls in flight have at SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// Bytes that the server may hold of messages.
const BUDGET: u64 = 32 << 20;

/// What handlers share: where they note their calls, and how many of them there are.
struct Book {
    log: Log,
    running: AtomicI64,
}

/// One handler at work.
struct Work(Arc<Book>, u64);

impl Work {
    fn begin(book: &Arc<Book>, id: u64) -> Self {
        book.log.note(id, Note::Ran);
        book.running.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(book), id)
    }

    async fn act(&self, message: &Message) -> Result<(), Status> {
        if message.milliseconds > 0 {
            tokio::time::sleep(Duration::from_millis(message.milliseconds.into())).await;
        }
        assert!(message.act != Act::HandlerPanics, "chaos: in a handler");
        if message.act == Act::Unavailable {
            return Err(Status::new(Code::Unavailable, "as the call asked"));
        }
        Ok(())
    }

    fn done(&self) {
        self.0.log.note(self.1, Note::Done);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn down(book: Arc<Book>, ask: Ask, mut replies: Replies<Answer>) -> Result<(), Status> {
    let work = Work::begin(&book, ask.0.id);
    for count in 0..ask.0.count {
        work.act(&ask.0).await?;
        replies.send(Answer(Message { count, ..ask.0.clone() })).await?;
    }
    work.done();
    Ok(())
}

async fn up(book: Arc<Book>, mut requests: Requests<Ask>) -> Result<Response<Answer>, Status> {
    let mut work = None;
    let mut count = 0;
    let mut last = None;
    while let Some(ask) = requests.message().await? {
        let work = work.get_or_insert_with(|| Work::begin(&book, ask.0.id));
        work.act(&ask.0).await?;
        count += 1;
        last = Some(ask.0);
    }
    let last = last.ok_or_else(|| Status::new(Code::InvalidArgument, "no message"))?;
    work.iter().for_each(Work::done);
    Ok(Response::new(Answer(Message { count, ..last })))
}

async fn bidi(
    book: Arc<Book>,
    mut requests: Requests<Ask>,
    mut replies: Replies<Answer>,
) -> Result<(), Status> {
    let mut work = None;
    while let Some(ask) = requests.message().await? {
        let work = work.get_or_insert_with(|| Work::begin(&book, ask.0.id));
        work.act(&ask.0).await?;
        replies.send(Answer(ask.0)).await?;
    }
    work.iter().for_each(Work::done);
    Ok(())
}

fn router(book: &Arc<Book>) -> Router {
    let books = || (Arc::clone(book), Arc::clone(book), Arc::clone(book), Arc::clone(book));
    let (one, two, three, four) = books();
    Router::new()
        .unary(&UNARY, move |_, ask: Ask| {
            let book = Arc::clone(&one);
            async move {
                let work = Work::begin(&book, ask.0.id);
                work.act(&ask.0).await?;
                work.done();
                Ok(Response::new(Answer(ask.0)))
            }
        })
        .server_streaming(&DOWN, move |_, ask, replies| down(Arc::clone(&two), ask, replies))
        .client_streaming(&UP, move |_, requests| up(Arc::clone(&three), requests))
        .bidi(&BIDI, move |_, requests, replies| bidi(Arc::clone(&four), requests, replies))
}

/// Serves until SIGTERM; says what is left at its end.
pub fn serve(told: &Told) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let mut lines = told_more();
        let before = descriptors();
        let book = Arc::new(Book { log: Log::open(&told.log), running: AtomicI64::new(0) });
        let budget = Budget::new(BUDGET);
        let builder = Server::builder(router(&book)).budget(Arc::clone(&budget));
        let mut builder = builder.max_concurrent_streams(64);
        for word in told.more.split_whitespace() {
            match word.split_once('=').unwrap() {
                ("tls", folder) => {
                    let file = |name| std::fs::read(format!("{folder}/{name}")).unwrap();
                    let tls = ServerTls::builder().identity_pem(file("chain"), file("key"));
                    builder = builder.tls(tls.build().unwrap());
                }
                ("age", seconds) => {
                    let age = Duration::from_secs_f64(seconds.parse().unwrap());
                    builder = builder.max_connection_age(age).max_connection_age_grace(GRACE);
                }
                (other, _) => panic!("{other}?"),
            }
        }
        let server = builder.bind(told.listen).unwrap();
        say(&format!("listens on {}", server.local_addr().unwrap()));
        let handle = server.handle();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                Some(line) = lines.recv() => if line == "gauges" {
                    let running = book.running.load(Ordering::SeqCst);
                    let (connections, used) = (handle.connections(), budget.used());
                    say(&format!("gauges {running} {connections} {used}"));
                }
            }
        }
        let report = server.shutdown(GRACE).await;
        drop(handle);
        // The listener and the log are the same as before; tasks end a moment after what they wait for.
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let left = || {
            let running = book.running.load(Ordering::SeqCst);
            (running, tasks(), descriptors().saturating_sub(before + 1), budget.used())
        };
        crate::child::until(Duration::from_secs(2), async || left() == (0, 0, 0, 0)).await;
        let (running, tasks, sockets, used) = left();
        say(&format!("ends {} {running} {tasks} {sockets} {used}", report.forced));
    });
}
