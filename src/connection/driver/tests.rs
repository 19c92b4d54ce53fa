use crate::connection::driver::*;
use crate::connection::handle::{ConnectionEvent, Owner, Refusal};
use crate::connection::permits::Reading;
use crate::rt::sync::Mutex;
use crate::transport::connect::ConnectionInfo;

/// What a connection reported to its pool.
#[derive(Default)]
struct Told {
    moved: Mutex<Vec<Arc<SharedCall>>>,
    draining: Mutex<bool>,
}

impl Owner for Told {
    fn redispatch(&self, call: Arc<SharedCall>) {
        self.moved.lock().push(call);
    }

    fn refused(&self, _: &Arc<Handle>, call: Arc<SharedCall>, _: Refusal) {
        self.redispatch(call);
    }

    fn changed(&self, _handle: &Arc<Handle>, change: ConnectionEvent) {
        if matches!(change, ConnectionEvent::Draining) {
            *self.draining.lock() = true;
        }
    }

    fn released(&self, _handle: &Arc<Handle>, _reading: Reading) {}
}

/// Stream identifiers that are used up: the calls that find none left move, one that waited for
/// the peer's limit among them; no later one comes, and the connection ends with its last stream.
#[tokio::test(start_paused = true)]
async fn spent_identifiers_move_the_calls() {
    for limit in [100, 1] {
        let (near, _far) = tokio::io::duplex(64 * 1024);
        let told = Arc::new(Told::default());
        let owner: Arc<dyn Owner> = told.clone();
        let info =
            ConnectionInfo { peer: None, local: None, tls: None, timings: Default::default() };
        let now = rt::now();
        let handle = Arc::new(Handle::new(info, Some(owner), 65_535, now));
        let mut options = ConnectionOptions::new(Role::Client);
        options.limits.streams_before_settings = limit;
        let mut driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
        driver.running().core.conn.set_next_stream_id(crate::http2::StreamId::MAX);
        let calls = [SharedCall::new(now), SharedCall::new(now)];
        for call in &calls {
            call.lock().send_mut().set_head(None, &crate::http2::Fields::new());
            Handle::submit(handle.reserve().unwrap(), Arc::clone(call));
        }
        tokio::spawn(driver);
        rt::sleep(Duration::from_millis(1)).await;
        assert!(calls[0].lock().stream().is_some(), "the last identifier is used");
        let moved = told.moved.lock().clone();
        assert_eq!(moved.len(), 1, "limit {limit}");
        assert!(Arc::ptr_eq(&moved[0], &calls[1]), "limit {limit}");
        assert!(!handle.is_accepting() && *told.draining.lock());
    }
}

/// A connection that is to close does not keep the calls that wait for the peer's limit.
#[tokio::test(start_paused = true)]
async fn a_goodbye_moves_the_calls_that_wait() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let told = Arc::new(Told::default());
    let owner: Arc<dyn Owner> = told.clone();
    let now = rt::now();
    let info = ConnectionInfo::default();
    let handle = Arc::new(Handle::new(info, Some(owner), 65_535, now));
    let mut options = ConnectionOptions::new(Role::Client);
    options.limits.streams_before_settings = 1;
    let driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
    let calls = [SharedCall::new(now), SharedCall::new(now)];
    for call in &calls {
        call.lock().send_mut().set_head(None, &crate::http2::Fields::new());
        Handle::submit(handle.reserve().unwrap(), Arc::clone(call));
    }
    tokio::spawn(driver);
    // The peer's SETTINGS: one stream at a time.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
    tokio::io::AsyncWriteExt::write_all(&mut far, &settings).await.unwrap();
    rt::sleep(Duration::from_millis(1)).await;
    assert!(calls[0].lock().stream().is_some() && told.moved.lock().is_empty());
    handle.goodbye();
    rt::sleep(Duration::from_millis(1)).await;
    let moved = told.moved.lock().clone();
    assert_eq!(moved.len(), 1);
    assert!(Arc::ptr_eq(&moved[0], &calls[1]));
    assert_eq!(handle.life().read().calls, 1, "the other one goes on");
}

fn dropped(inbox: bool) -> (Arc<SharedCall>, Arc<Handle>) {
    let (near, _far) = tokio::io::duplex(1024);
    let now = rt::now();
    let handle = Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, now));
    let options = ConnectionOptions::new(Role::Client);
    let mut driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
    let call = SharedCall::new(now);
    Handle::submit(handle.reserve().unwrap(), Arc::clone(&call));
    if inbox {
        // As when the driver yields between taking calls and beginning them.
        handle.mailbox().drain(&mut driver.running().inbox);
    } else {
        let other = Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, now));
        let permit = call.lock().sent_back(now);
        drop(permit);
        Handle::submit(other.reserve().unwrap(), Arc::clone(&call));
    }
    drop(driver);
    (call, handle)
}

/// A runtime that ends drops a driver at any time. What it has taken and not begun ends.
#[tokio::test]
async fn a_dropped_driver_ends_the_calls_in_its_inbox() {
    let (call, handle) = dropped(true);
    let failure = call.lock().failure().cloned().expect("the call has ended");
    assert_eq!(failure.processed(), crate::error::Processed::No);
    assert!(failure.to_string().contains("the connection's task was dropped"), "{failure}");
    assert_eq!(handle.life().read().calls, 0);
}

/// A call that was in its mailbox and has moved belongs to another connection.
#[tokio::test]
async fn a_dropped_driver_leaves_the_calls_that_have_moved() {
    let (call, handle) = dropped(false);
    let x = call.lock();
    assert!(!x.is_over() && x.permit().is_some() && !x.is_carried_by(handle.id()));
}

/// A call that a connection had queued can be begun by another one.
#[test]
fn a_settled_call_is_pending() {
    let told = Arc::new(Told::default());
    let now = Instant::now();
    let handle = Handle::new(ConnectionInfo::default(), Some(told.clone()), 65_535, now);
    let handle = Arc::new(handle);
    let call = SharedCall::new(now);
    Handle::submit(handle.reserve().unwrap(), Arc::clone(&call));
    call.lock().parked(crate::error::Phase::StreamQuota, now);
    handle.settle(handle.mailbox().close());
    assert_eq!(call.lock().stage(), crate::call::state::Stage::Pending);
    assert_eq!((told.moved.lock().len(), handle.life().read().calls), (1, 0));
}

/// What the peer does not take bounds what is read from it: its next requests would only add answers.
#[tokio::test]
async fn reading_pauses_while_the_peer_takes_nothing() {
    let (near, _far) = tokio::io::duplex(1024);
    let handle = Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, rt::now()));
    let options = ConnectionOptions::new(Role::Client);
    let mut driver = Driver::client(Box::new(near), handle, options);
    let core = &mut driver.running().core;
    let left = 2 * flush::OUT_FULL - core.out.len();
    core.out.tail().extend(std::iter::repeat_n(0, left - 1));
    assert!(core.may_read());
    core.out.tail().push(0);
    assert!(!core.may_read());
    core.out.advance(1);
    assert!(core.may_read());
    core.conn.close();
    assert!(!core.may_read(), "nothing is read once the connection is over");
}

/// A byte stream that refuses what is written from some time on.
struct Refusing {
    io: tokio::io::DuplexStream,
    refuses: Arc<std::sync::atomic::AtomicBool>,
}

impl tokio::io::AsyncRead for Refusing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Refusing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.refuses.load(std::sync::atomic::Ordering::SeqCst) {
            return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A peer that answers a call, says that it has not processed the next one, and closes: this side finds that
/// by a write, before it has read any of that. The answer counts all the same, and the peer's end or a
/// second ends the rest.
#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_read_after_a_write_has_failed() {
    for closes in [true, false] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let refuses = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let io = Refusing { io: near, refuses: refuses.clone() };
        let told = Arc::new(Told::default());
        let owner: Arc<dyn Owner> = told.clone();
        let now = rt::now();
        let info = ConnectionInfo::default();
        let handle = Arc::new(Handle::new(info, Some(owner), 65_535, now));
        let options = ConnectionOptions::new(Role::Client);
        let driver = Driver::client(Box::new(io), Arc::clone(&handle), options);
        let calls: Vec<_> = (0..4).map(|_| SharedCall::new(now)).collect();
        let [answered, open, disowned, late] = &calls[..] else { unreachable!() };
        for call in &calls {
            call.lock().send_mut().set_head(None, &crate::http2::Fields::new());
        }
        let permits = [(); 4].map(|()| handle.reserve().unwrap());
        let [first, second, third, fourth] = permits;
        Handle::submit(first, answered.clone());
        Handle::submit(second, open.clone());
        Handle::submit(third, disowned.clone());
        let task = tokio::spawn(driver);
        let write = async |far: &mut tokio::io::DuplexStream, bytes: &[u8]| {
            tokio::io::AsyncWriteExt::write_all(far, bytes).await.unwrap();
        };
        write(&mut far, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        rt::sleep(Duration::from_millis(1)).await;
        assert!(handle.is_ready() && calls[..3].iter().all(|call| call.lock().stream().is_some()));

        refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        // HEADERS with :status 200, DATA with END_STREAM, GOAWAY with stream 3 as the last one.
        write(&mut far, &[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88]).await;
        write(&mut far, &[0, 0, 2, 0, 1, 0, 0, 0, 1, b'o', b'k']).await;
        write(&mut far, &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0]).await;
        if closes {
            drop(far);
        }
        // Enough to be written before anything is read.
        let writer = crate::call::writer::Writer::new(open.clone());
        writer.send(&mut vec![7; 10_000], None).unwrap();
        Handle::submit(fourth, late.clone());
        rt::sleep(Duration::from_millis(1)).await;
        {
            let x = answered.lock();
            assert!(x.is_over() && x.failure().is_none() && x.recv().body()[..] == *b"ok");
        }
        assert!(handle.reserve().is_err() && *told.draining.lock());
        let moved = told.moved.lock().clone();
        assert!(moved.len() == 1 && Arc::ptr_eq(&moved[0], late));
        // Its request is not kept for another connection.
        let failure = disowned.lock().failure().cloned().expect("the peer has disowned it");
        assert_eq!(failure.processed(), crate::error::Processed::No);
        assert_eq!(open.lock().is_over(), closes);
        rt::sleep(Duration::from_secs(2)).await;
        let failure = open.lock().failure().cloned().expect("the connection is lost");
        assert!(failure.to_string().contains("broken pipe"), "{failure}");
        assert_eq!(failure.processed(), crate::error::Processed::Maybe);
        task.await.unwrap();
    }
}

/// While much is unread, readers report by themselves: the streams of a connection are asked for what they have not
/// reported when that begins, and not for every frame.
#[tokio::test(start_paused = true)]
async fn streams_are_asked_for_credit_once() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let now = rt::now();
    let handle = Arc::new(Handle::new(ConnectionInfo::default(), None, 65_535, now));
    let mut options = ConnectionOptions::new(Role::Client);
    options.limits.unread_free_bytes = 10;
    let driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
    let call = SharedCall::new(now);
    call.lock().send_mut().set_head(None, &crate::http2::Fields::new());
    Handle::submit(handle.reserve().unwrap(), Arc::clone(&call));
    tokio::spawn(driver);
    // SETTINGS, `:status: 200` on stream 1, and DATA of 20 bytes.
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
    let mut data = vec![0, 0, 20, 0, 0, 0, 0, 0, 1];
    data.extend([7; 20]);
    bytes.extend(&data);
    let credit = crate::call::Credit { released_unread: 1, ..crate::call::Credit::NONE };
    let mut news = call.lock().note_read(credit);
    assert!(news.take().is_none(), "it is not worth a report");
    for asked in [true, false, false] {
        tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await.unwrap();
        rt::sleep(Duration::from_millis(1)).await;
        bytes.clone_from(&data);
        let left = call.lock().take_credit();
        assert_eq!(left.bytes() == 0, asked);
        // As a reader that found out too late that it is to report.
        let news = call.lock().note_read(credit);
        assert!(news.is_some(), "it is worth a report");
    }
}
