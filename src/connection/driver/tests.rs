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
