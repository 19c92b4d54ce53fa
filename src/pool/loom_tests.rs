//! Models of the pool's flags that are claimed and released; `connection/loom_tests.rs` says how to run
//! them. The one of the call queue is in `queue.rs`.

use crate::call::state::SharedCall;
use crate::connection::handle::Handle;
use crate::pool::maintenance::Running;
use crate::pool::queue::{Arrival, CallQueue};
use crate::pool::subchannel::IdleConnections;
use crate::rt;
use crate::transport::connect::ConnectionInfo;
use loom::thread;
use std::sync::Arc;

fn model(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn idle_connection() -> (Arc<IdleConnections>, Arc<Handle>) {
    let handle = Handle::new(ConnectionInfo::default(), None, 65_535, rt::now());
    (Arc::new(IdleConnections::new(2)), Arc::new(handle))
}

/// idle/close: a connection that becomes idle while it closes is not left in the queue.
#[test]
fn loom_idle_close() {
    model(|| {
        let (idle, connection) = idle_connection();
        let released = {
            let (idle, connection) = (Arc::clone(&idle), Arc::clone(&connection));
            thread::spawn(move || idle.push(&connection))
        };
        connection.stop_accepting();
        idle.remove(&connection);
        released.join().unwrap();
        assert!(idle.pop().is_none(), "the queue keeps a closed connection");
    });
}

/// idle/checkout: a connection whose last call ends while another thread takes it out of the queue is in
/// the queue again once nobody uses it.
#[test]
fn loom_idle_checkout() {
    model(|| {
        let (idle, connection) = idle_connection();
        // It is in the queue although a call uses it, as after a pick that did not look there.
        idle.push(&connection);
        assert!(connection.life().reserve(1).is_ok());
        let release = |idle: &IdleConnections, connection: &Arc<Handle>| {
            if connection.life().release().calls == 0 {
                idle.push(connection);
            }
        };
        let other = {
            let idle = Arc::clone(&idle);
            thread::spawn(move || {
                if let Some(connection) = idle.pop()
                    && connection.life().reserve(1).is_ok()
                {
                    release(&idle, &connection);
                }
            })
        };
        release(&idle, &connection);
        other.join().unwrap();
        assert!(idle.pop().is_some(), "an idle connection is in no queue");
    });
}

/// wait/maintain: a call that begins to wait while the maintenance task ends has a task that looks after
/// its deadline.
#[test]
fn loom_wait_maintain() {
    let now = rt::now();
    model(move || {
        let (running, queue) = (Arc::new(Running::new()), Arc::new(CallQueue::new(9)));
        assert!(running.start());
        let task = {
            let (running, queue) = (Arc::clone(&running), Arc::clone(&queue));
            // Whether the task goes on.
            thread::spawn(move || !queue.is_empty() || !running.end(|| !queue.is_empty()))
        };
        assert!(queue.join(SharedCall::new(now), Arrival::New, None, None).is_ok());
        let started = running.start();
        let goes_on = task.join().unwrap();
        assert!(started || goes_on, "nobody looks after the call");
        assert!(!(started && goes_on), "two tasks");
    });
}
