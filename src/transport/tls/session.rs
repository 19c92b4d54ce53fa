//! A client's store of TLS sessions. Each channel has one for each generation of its configuration;
//! connectors without a channel share one per configuration.
//!
//! A pool that dials many connections to one server needs as many tickets as connections. The store of
//! rustls keeps eight per server, whatever its size.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::rt::sync::Mutex;

/// The tickets of session stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// TLS 1.3 tickets received from servers.
    pub received: u64,
    /// Tickets used to resume a session; each is used once.
    pub taken: u64,
    /// Tickets held at present.
    pub held: usize,
}

/// The sum over all stores of one generation, including those that were dropped.
#[derive(Debug, Default)]
pub(super) struct Totals(Mutex<SessionStats>);

impl Totals {
    pub(super) fn read(&self) -> SessionStats {
        *self.0.lock()
    }
}

/// Holds at most `capacity` tickets, and the names of at most as many servers. The oldest are evicted.
#[derive(Debug)]
pub(super) struct SessionStore {
    inner: Mutex<Inner>,
    totals: Arc<Totals>,
}

#[derive(Debug)]
struct Inner {
    capacity: usize,
    servers: HashMap<ServerName<'static>, Sessions>,
    /// Tickets of all servers.
    held: usize,
    /// Counts uses; it orders tickets and servers by age.
    clock: u64,
}

#[derive(Debug, Default)]
struct Sessions {
    used_at: u64,
    key_exchange: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first, each with the count at which it was received.
    tickets: VecDeque<(u64, Tls13ClientSessionValue)>,
}

impl SessionStore {
    pub(super) fn new(capacity: usize, totals: Arc<Totals>) -> Self {
        let inner = Inner { capacity, servers: HashMap::new(), held: 0, clock: 0 };
        Self { inner: Mutex::new(inner), totals }
    }

    /// Raises the capacity; never lowers it.
    pub(super) fn grow(&self, capacity: usize) {
        let mut inner = self.inner.lock();
        inner.capacity = inner.capacity.max(capacity);
    }

    /// Applies `edit` to a server's sessions and evicts what exceeds the capacity.
    fn edit(&self, name: ServerName<'static>, edit: impl FnOnce(&mut Sessions, u64)) {
        let inner = &mut *self.inner.lock();
        inner.clock += 1;
        let (now, held) = (inner.clock, inner.held);
        let sessions = inner.servers.entry(name).or_default();
        sessions.used_at = now;
        let before = sessions.tickets.len();
        edit(sessions, now);
        let received = sessions.tickets.len() - before;
        inner.held += received;
        inner.evict_servers();
        inner.evict_tickets();
        let mut totals = self.totals.0.lock();
        totals.received += received as u64;
        totals.held = (totals.held + inner.held).saturating_sub(held);
    }
}

impl Drop for SessionStore {
    fn drop(&mut self) {
        let held = self.inner.lock().held;
        let mut totals = self.totals.0.lock();
        totals.held = totals.held.saturating_sub(held);
    }
}

impl Inner {
    fn evict_servers(&mut self) {
        while self.servers.len() > self.capacity {
            let oldest = self.servers.iter().min_by_key(|(_, sessions)| sessions.used_at);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            if let Some(sessions) = self.servers.remove(&name) {
                self.held = self.held.saturating_sub(sessions.tickets.len());
            }
        }
    }

    fn evict_tickets(&mut self) {
        while self.held > self.capacity {
            let fronts = self.servers.values_mut().filter(|sessions| !sessions.tickets.is_empty());
            let oldest = fronts.min_by_key(|sessions| sessions.tickets.front().map(|(at, _)| *at));
            let Some(sessions) = oldest else { return };
            sessions.tickets.pop_front();
            self.held -= 1;
        }
    }
}

impl ClientSessionStore for SessionStore {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.edit(server_name, |sessions, _| sessions.key_exchange = Some(group));
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.lock().servers.get(&server_name.to_owned())?.key_exchange
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.edit(server_name, |sessions, _| sessions.tls12 = Some(value));
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.inner.lock().servers.get(&server_name.to_owned())?.tls12.clone()
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        if let Some(sessions) = self.inner.lock().servers.get_mut(server_name) {
            sessions.tls12 = None;
        }
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.edit(server_name, |sessions, now| sessions.tickets.push_back((now, value)));
    }

    /// Returns the newest ticket: it is valid the longest. A ticket is used once (RFC 8446 §C.4).
    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let mut inner = self.inner.lock();
        let (_, ticket) = inner.servers.get_mut(server_name)?.tickets.pop_back()?;
        inner.held = inner.held.saturating_sub(1);
        let mut totals = self.totals.0.lock();
        totals.held = totals.held.saturating_sub(1);
        totals.taken += 1;
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::tls::session::*;

    fn name(n: u32) -> ServerName<'static> {
        ServerName::try_from(format!("h{n}.example")).unwrap()
    }

    #[test]
    fn names_are_bounded() {
        let store = SessionStore::new(2, Arc::default());
        for n in 0..5 {
            store.set_kx_hint(name(n), NamedGroup::X25519);
        }
        let known: Vec<u32> = (0..5).filter(|&n| store.kx_hint(&name(n)).is_some()).collect();
        assert_eq!(known, [3, 4]);
        assert!(store.take_tls13_ticket(&name(4)).is_none());
        assert_eq!(store.totals.read(), SessionStats::default());
    }

    #[test]
    fn a_store_grows_and_does_not_shrink() {
        let store = SessionStore::new(1, Arc::default());
        for capacity in [3, 2] {
            store.grow(capacity);
            for n in 0..5 {
                store.set_kx_hint(name(n), NamedGroup::X25519);
            }
            assert_eq!((0..5).filter(|&n| store.kx_hint(&name(n)).is_some()).count(), 3);
        }
    }

    #[test]
    fn capacity_zero_remembers_nothing() {
        let store = SessionStore::new(0, Arc::default());
        store.set_kx_hint(name(0), NamedGroup::X25519);
        assert!(store.kx_hint(&name(0)).is_none());
    }
}
