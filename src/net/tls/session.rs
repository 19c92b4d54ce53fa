//! The client's store of TLS sessions, one for all connections of one generation of a configuration.
//!
//! A pool that dials many connections to one server wants as many tickets as connections; rustls'
//! own store keeps eight a server whatever its size.

use std::collections::{HashMap, VecDeque};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::net::sync::Mutex;

/// What a store has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// TLS 1.3 tickets that servers sent.
    pub received: u64,
    /// Tickets taken out to resume with, each once.
    pub taken: u64,
    /// Tickets held now.
    pub held: usize,
}

/// Holds at most `capacity` tickets, and names of at most as many servers; the oldest go first.
#[derive(Debug)]
pub(super) struct SessionStore {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    servers: HashMap<ServerName<'static>, Sessions>,
    stats: SessionStats,
    /// Counts uses: the order of tickets and servers.
    clock: u64,
}

#[derive(Debug, Default)]
struct Sessions {
    used_at: u64,
    key_exchange: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    /// Oldest first, each with when it came.
    tickets: VecDeque<(u64, Tls13ClientSessionValue)>,
}

impl SessionStore {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::new(Inner::default()) }
    }

    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn stats(&self) -> SessionStats {
        self.inner.lock().stats
    }

    fn edit(&self, name: ServerName<'static>, edit: impl FnOnce(&mut Sessions)) {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let sessions = inner.servers.entry(name).or_default();
        sessions.used_at = now;
        edit(sessions);
        inner.evict_servers(self.capacity);
    }
}

impl Inner {
    fn evict_servers(&mut self, capacity: usize) {
        while self.servers.len() > capacity {
            let oldest = self.servers.iter().min_by_key(|(_, sessions)| sessions.used_at);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            if let Some(sessions) = self.servers.remove(&name) {
                self.stats.held = self.stats.held.saturating_sub(sessions.tickets.len());
            }
        }
    }

    fn evict_tickets(&mut self, capacity: usize) {
        while self.stats.held > capacity {
            let fronts = self.servers.values_mut().filter(|sessions| !sessions.tickets.is_empty());
            let oldest = fronts.min_by_key(|sessions| sessions.tickets.front().map(|(at, _)| *at));
            let Some(sessions) = oldest else { return };
            sessions.tickets.pop_front();
            self.stats.held -= 1;
        }
    }
}

impl ClientSessionStore for SessionStore {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.edit(server_name, |sessions| sessions.key_exchange = Some(group));
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.lock().servers.get(&server_name.to_owned())?.key_exchange
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.edit(server_name, |sessions| sessions.tls12 = Some(value));
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
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let sessions = inner.servers.entry(server_name).or_default();
        sessions.used_at = now;
        sessions.tickets.push_back((now, value));
        inner.stats.held += 1;
        inner.stats.received += 1;
        inner.evict_servers(self.capacity);
        inner.evict_tickets(self.capacity);
    }

    /// The newest: it has the longest life left. A ticket is used once (RFC 8446 §C.4).
    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let mut inner = self.inner.lock();
        let (_, ticket) = inner.servers.get_mut(server_name)?.tickets.pop_back()?;
        inner.stats.held = inner.stats.held.saturating_sub(1);
        inner.stats.taken += 1;
        Some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> ServerName<'static> {
        ServerName::try_from(format!("h{n}.example")).unwrap()
    }

    #[test]
    fn names_are_bounded() {
        let store = SessionStore::new(2);
        for n in 0..5 {
            store.set_kx_hint(name(n), NamedGroup::X25519);
        }
        let known: Vec<u32> = (0..5).filter(|&n| store.kx_hint(&name(n)).is_some()).collect();
        assert_eq!(known, [3, 4]);
        assert!(store.take_tls13_ticket(&name(4)).is_none());
        assert_eq!(store.stats(), SessionStats::default());
    }

    #[test]
    fn capacity_zero_remembers_nothing() {
        let store = SessionStore::new(0);
        store.set_kx_hint(name(0), NamedGroup::X25519);
        assert!(store.kx_hint(&name(0)).is_none());
    }
}
