//! The statistics as text for people.

use crate::pool::ChannelState;
use crate::pool::stats::{CapStats, ConnectionState, ConnectionStats, EndpointStats, PoolStats};
use crate::transport::connect::ConnectPhase;
use std::fmt;

/// Tenants with waiting calls in the text; all of them are in [`PoolStats::tenants`].
const TENANTS_SHOWN: usize = 8;

impl PoolStats {
    /// Why there is no connection, or why calls wait although there is one.
    fn why(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capped = self.endpoints.iter().find(|endpoint| endpoint.capped);
        let full = |endpoint: &EndpointStats| endpoint.open >= endpoint.max;
        match self.state {
            ChannelState::Shutdown => f.write_str("the channel is gone"),
            ChannelState::Idle if self.waiting == 0 => {
                f.write_str("no connection; the next call opens one")
            }
            ChannelState::TransientFailure if capped.is_none() => self.why_failed(f),
            _ if capped.is_some() => {
                let by = capped.and_then(|endpoint| endpoint.capped_by);
                let level = self.outer_caps.iter().find(|cap| Some(cap.name) == by);
                let CapStats { name, open, sockets, refused, .. } = *level.unwrap_or(&self.cap);
                write!(
                    f,
                    "the Cap ({name}) delays dials: {open} of {sockets} sockets, {refused} refused"
                )
            }
            ChannelState::Connecting if self.endpoints.is_empty() => {
                f.write_str("the name is being resolved")
            }
            _ if self.dialing() > 0 => write!(f, "dialling {}", self.dialing()),
            _ if self.count(ConnectionState::Handshaking) > 0 => {
                f.write_str("the peer's SETTINGS are awaited")
            }
            ChannelState::Ready if self.waiting > 0 && self.waiting == self.waiting_for_quota => {
                f.write_str("calls wait for their tenants' quotas (Share::max_calls)")
            }
            ChannelState::Ready if self.waiting == 0 => f.write_str("calls get a permit at once"),
            ChannelState::Ready if self.waiting_refused > 0 => {
                let refused = count(self.waiting_refused.into(), "call");
                write!(f, "the peer refused {refused} twice (REFUSED_STREAM)")
            }
            ChannelState::Ready if self.endpoints.iter().any(full) => {
                f.write_str("connections are full, and there are max_connections of them")
            }
            _ if self.endpoints.iter().any(|endpoint| endpoint.retry_in.is_some()) => {
                self.why_failed(f)
            }
            _ => f.write_str("a connection is about to be dialled"),
        }
    }

    fn why_failed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.resolve_error {
            return write!(f, "the name cannot be resolved: {error}");
        }
        let failed = self.endpoints.iter().filter(|endpoint| endpoint.last_error.is_some());
        let Some(next) = failed.min_by_key(|endpoint| endpoint.retry_in) else {
            return f.write_str("a dial failed");
        };
        write!(f, "{} failed in a row", count(next.failures.into(), "dial"))?;
        match next.retry_in {
            Some(wait) => write!(f, ", the next may begin in {wait:.1?}")?,
            None => f.write_str(", the next one runs")?,
        }
        match &next.last_error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// A number with its noun.
fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ChannelState::Idle => "idle",
            ChannelState::Connecting => "connecting",
            ChannelState::Ready => "ready",
            ChannelState::TransientFailure => "transient failure",
            ChannelState::Shutdown => "shut down",
        };
        write!(
            f,
            "{state}, {} in flight, {} waiting: ",
            count(self.calls(), "call"),
            self.waiting
        )?;
        self.why(f)?;
        write!(
            f,
            "\nconnections: {} dialling, {} handshaking, {} active, {} draining",
            self.dialing(),
            self.count(ConnectionState::Handshaking),
            self.count(ConnectionState::Active),
            self.count(ConnectionState::Draining),
        )?;
        for endpoint in &self.endpoints {
            write!(f, "\n  {endpoint}")?;
        }
        for connection in &self.connections {
            write!(f, "\n  {connection}")?;
        }
        let busy = self.tenants.iter().filter(|tenant| tenant.waiting > 0);
        for tenant in busy.take(TENANTS_SHOWN) {
            write!(f, "\n  {tenant}")?;
        }
        f.write_str("\nshared:")?;
        for (i, cap) in std::iter::once(&self.cap).chain(&self.outer_caps).enumerate() {
            write!(f, "{} {cap}", if i == 0 { "" } else { "," })?;
        }
        write!(
            f,
            "; {} of {} KiB of the budget",
            self.budget_used.div_ceil(1024),
            self.budget_limit / 1024,
        )?;
        self.warnings(f)
    }
}

impl PoolStats {
    /// The last warnings.
    fn warnings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((ago, warning)) = &self.exhaustion {
            write!(f, "\n{ago:.0?} ago: {warning}")?;
        }
        if let Some((ago, leak)) = &self.leak {
            write!(f, "\n{ago:.0?} ago: {leak}")?;
        }
        if let Some(limit) = self.path_limit {
            write!(f, "\nthe path drops connections that are silent for {limit:.0?}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CapStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, open, sockets, dials, refused } = *self;
        let dials = count(dials, "dial");
        write!(f, "{open} of {sockets} sockets ({name}), {dials}, {refused} delayed")
    }
}

impl fmt::Display for EndpointStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} of {} open, {} draining",
            self.target, self.open, self.max, self.draining
        )?;
        if let Some((phase, time)) = self.dial {
            let step = match phase {
                ConnectPhase::Resolve => "resolving",
                ConnectPhase::Tls => "in the TLS handshake",
                _ => "dialling",
            };
            write!(f, ", {step} (dial begun {time:.1?} ago)")?;
        }
        if self.http2 == Some(false) {
            f.write_str(", speaks no HTTP/2")?;
        }
        if self.failures > 0 {
            write!(f, ", {} failed in a row", count(self.failures.into(), "dial"))?;
        }
        if let Some(wait) = self.retry_in {
            write!(f, ", next dial in {wait:.1?}")?;
        }
        match &self.last_error {
            Some(error) => write!(f, " ({error})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ConnectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            ConnectionState::Handshaking => "handshaking",
            ConnectionState::Active => "active",
            ConnectionState::Draining => "draining",
        };
        write!(f, "#{} to {}, {state}, {:.1?} old: ", self.id, self.peer, self.age)?;
        write!(f, "{} of {}", self.calls, count(self.limit.into(), "call"))?;
        if self.queued > 0 {
            write!(f, ", {} queued", count(self.queued.into(), "byte"))?;
        }
        if !self.lag.is_zero() {
            write!(f, ", {:.1?} behind", self.lag)?;
        }
        if !self.stalled.is_zero() {
            write!(f, ", {:.1?} without window", self.stalled)?;
        }
        Ok(())
    }
}
