use crate::connection::driver::*;
use crate::connection::handle::{Change, Home};
use crate::connection::mailbox::Policy;
use crate::connection::permits::Reading;
use crate::rt::sync::Mutex;
use crate::transport::connect::ConnectionInfo;

/// What a connection told its pool.
#[derive(Default)]
struct Told {
    moved: Mutex<Vec<Arc<Slot>>>,
    draining: Mutex<bool>,
}

impl Home for Told {
    fn redispatch(&self, slot: Arc<Slot>) {
        self.moved.lock().push(slot);
    }

    fn changed(&self, _handle: &Arc<Handle>, change: Change) {
        if matches!(change, Change::Draining) {
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
        let home: Arc<dyn Home> = told.clone();
        let info =
            ConnectionInfo { peer: None, local: None, tls: None, timings: Default::default() };
        let now = rt::now();
        let handle = Arc::new(Handle::new(info, Some(home), Policy::default(), 65_535, now));
        let mut options = DriverOptions::new(Role::Client);
        options.limits.streams_before_settings = limit;
        let mut driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
        driver.core.conn.set_next_stream_id(crate::http2::StreamId::MAX);
        let slots = [Slot::new(now), Slot::new(now)];
        for slot in &slots {
            slot.lock().out.head = crate::call::state::HeadState::Ready;
            Handle::submit(handle.reserve().unwrap(), Arc::clone(slot));
        }
        tokio::spawn(driver);
        rt::sleep(Duration::from_millis(1)).await;
        assert!(slots[0].lock().key.is_some(), "the last identifier is used");
        let moved = told.moved.lock().clone();
        assert_eq!(moved.len(), 1, "limit {limit}");
        assert!(Arc::ptr_eq(&moved[0], &slots[1]), "limit {limit}");
        assert!(!handle.is_accepting() && *told.draining.lock());
    }
}

/// A connection that is to close does not keep the calls that wait for the peer's limit.
#[tokio::test(start_paused = true)]
async fn a_goodbye_moves_the_calls_that_wait() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let told = Arc::new(Told::default());
    let home: Arc<dyn Home> = told.clone();
    let now = rt::now();
    let info = ConnectionInfo::default();
    let handle = Arc::new(Handle::new(info, Some(home), Policy::default(), 65_535, now));
    let mut options = DriverOptions::new(Role::Client);
    options.limits.streams_before_settings = 1;
    let driver = Driver::client(Box::new(near), Arc::clone(&handle), options);
    let slots = [Slot::new(now), Slot::new(now)];
    for slot in &slots {
        slot.lock().out.head = crate::call::state::HeadState::Ready;
        Handle::submit(handle.reserve().unwrap(), Arc::clone(slot));
    }
    tokio::spawn(driver);
    // The peer's SETTINGS: one stream at a time.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];
    tokio::io::AsyncWriteExt::write_all(&mut far, &settings).await.unwrap();
    rt::sleep(Duration::from_millis(1)).await;
    assert!(slots[0].lock().key.is_some() && told.moved.lock().is_empty());
    handle.goodbye();
    rt::sleep(Duration::from_millis(1)).await;
    let moved = told.moved.lock().clone();
    assert_eq!(moved.len(), 1);
    assert!(Arc::ptr_eq(&moved[0], &slots[1]));
    assert_eq!(handle.life().read().calls, 1, "the other one goes on");
}
