//! SETTINGS, PING, GOAWAY, RST_STREAM and WINDOW_UPDATE from the peer.

use crate::http2::bdp;
use crate::http2::buffer::SendBuffer;
use crate::http2::connection::abuse::weight;
use crate::http2::connection::event::Cause;
use crate::http2::connection::lifecycle::GoAway;
use crate::http2::connection::recv::{Fatal, Step, StepResult};
use crate::http2::connection::{Connection, Role};
use crate::http2::error::ErrorCode;
use crate::http2::frame::payload::settings_entries;
use crate::http2::frame::write;
use crate::http2::settings::HEADER_TABLE_SIZE;
use crate::http2::stream::{Blocked, Ended, Stream};
use crate::http2::stream_id::StreamId;
use crate::http2::violation::Violation;
use std::time::Instant;

/// The bytes of GOAWAY debug data that are kept.
const DEBUG_BYTES: usize = 1024;

impl<T: Default> Connection<T> {
    pub(super) fn recv_settings(
        &mut self,
        ack: bool,
        entries: &[u8],
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        let connection = StreamId::CONNECTION;
        self.wasted(weight::ANSWERED, connection, now)?;
        if ack {
            // An acknowledgement of nothing changes nothing.
            if self.settings_sent > 0 {
                self.settings_sent -= 1;
                self.settings_acknowledged();
            }
            return Ok(Step::More);
        }
        if entries.len() / 6 > self.limits.settings_entries {
            return Err(Fatal(Violation::SettingsEntries, connection));
        }
        let before = self.peer;
        // RFC 9113 §6.5.3: values are applied in the order they appear
        for (id, value) in settings_entries(entries) {
            self.peer.apply(id, value).map_err(|rule| Fatal(rule, connection))?;
            // RFC 7541 §4.2: of several sizes, the smallest one is signalled as well
            if id == HEADER_TABLE_SIZE {
                self.encoder.set_peer_table_size(value);
            }
        }
        // RFC 9113 §6.5.2: a server must not announce push
        if self.role == Role::Client && settings_entries(entries).any(|entry| entry == (2, 1)) {
            return Err(Fatal(Violation::SettingsEnablePush, connection));
        }
        let shift =
            i64::from(self.peer.initial_window_size) - i64::from(before.initial_window_size);
        if shift != 0 {
            self.wasted(weight::SHIFT * self.streams.len() as u64, connection, now)?;
            self.shift_windows(shift)?;
        }
        // RFC 9113 §6.5.3: acknowledge as soon as the values are applied
        write::settings_ack(out.tail());
        self.answers.add(out);
        let first = !self.life.is_handshaken();
        self.life.settings_received();
        Ok(Step::Settings { first })
    }

    // RFC 9113 §6.5.3: our values bind the peer from its acknowledgement on
    fn settings_acknowledged(&mut self) {
        self.window_slack = 0;
        self.decoder.set_table_size_max(self.limits.header_table_bytes);
    }

    // RFC 9113 §6.9.2: a changed initial window shifts every stream's window
    fn shift_windows(&mut self, shift: i64) -> Result<(), Fatal> {
        let mut woken = Vec::new();
        // A stream on which this side sends no more has no window.
        let sending = |stream: &Stream<T>| stream.state.can_send();
        for (key, stream) in self.streams.iter_mut().filter(|(_, stream)| sending(stream)) {
            if !stream.send_window.shift(shift) {
                return Err(Fatal(Violation::SettingsWindowOverflow, stream.id));
            }
            if stream.pending.is_some() && stream.send_window.available() > 0 {
                woken.push(key);
            }
        }
        for key in woken {
            self.enqueue(key);
        }
        Ok(())
    }

    pub(super) fn recv_ping(
        &mut self,
        ack: bool,
        opaque: [u8; 8],
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        if !ack {
            let charged = self.abuse.ping(&self.limits, now);
            charged.map_err(|rule| Fatal(rule, StreamId::CONNECTION))?;
            // RFC 9113 §6.7: a PING is answered with the same bytes
            write::ping(out.tail(), true, opaque);
            self.answers.add(out);
            return Ok(Step::More);
        }
        self.wasted(weight::FRAME, StreamId::CONNECTION, now)?;
        if opaque != bdp::OPAQUE {
            // Nothing begins by an acknowledgement that was not asked for.
            let asked = self.pings.iter().position(|sent| *sent == opaque);
            return Ok(asked.map_or(Step::More, |at| Step::Pong(self.pings.remove(at))));
        }
        if !self.bdp.is_running() {
            return Ok(Step::More);
        }
        let max = self.limits.connection_window_max;
        if let Some(wanted) = self.bdp.answered(now, self.recv_window.target(), max) {
            self.growth_wanted = Some(wanted - self.recv_window.target());
        }
        self.stats.bdp_samples += 1;
        Ok(Step::More)
    }

    pub(super) fn recv_goaway(
        &mut self,
        last_stream_id: StreamId,
        code: ErrorCode,
        debug: &[u8],
        now: Instant,
    ) -> StepResult {
        self.wasted(weight::ANSWERED, StreamId::CONNECTION, now)?;
        if !self.life.goaway_received(GoAway { last_stream_id, code }) {
            return Err(Fatal(Violation::GoAwayIncreased, StreamId::CONNECTION));
        }
        self.goaway_debug.clear();
        self.goaway_debug.extend_from_slice(debug.get(..DEBUG_BYTES).unwrap_or(debug));
        Ok(Step::GoAway { last_stream_id, code })
    }

    pub(super) fn recv_reset(&mut self, id: StreamId, code: ErrorCode, now: Instant) -> StepResult {
        self.wasted(weight::FRAME, id, now)?;
        let Some(key) = self.streams.key(id) else {
            // RFC 9113 §6.4: RST_STREAM on an idle stream is a connection error
            return match self.late(id) {
                Err(Some(rule @ (Violation::FrameOnIdle | Violation::StreamIdParity))) => {
                    Err(Fatal(rule, id))
                }
                _ => Ok(Step::More),
            };
        };
        let Some(stream) = self.streams.get(key) else { return Ok(Step::More) };
        if stream.state.is_closed() {
            return Ok(Step::More);
        }
        self.stats.resets_received += 1;
        self.wasted_stream(Some(key), id, now)?;
        self.close_stream(key, Ended::ResetByPeer);
        Ok(Step::Reset { key, cause: Cause::ByPeer(code) })
    }

    pub(super) fn recv_window_update(
        &mut self,
        id: StreamId,
        increment: u32,
        out: &mut SendBuffer,
        now: Instant,
    ) -> StepResult {
        self.wasted(weight::FRAME, id, now)?;
        if id.is_connection() {
            // RFC 9113 §6.9: an increment of 0 on the connection is a connection error
            if increment == 0 {
                return Err(Fatal(Violation::WindowUpdateZero, id));
            }
            if !self.send_window.grant(increment) {
                return Err(Fatal(Violation::ConnectionWindowOverflow, id));
            }
            self.end_connection_stall(now);
            return Ok(Step::More);
        }
        let Some(key) = self.streams.key(id) else {
            return match self.late(id) {
                Err(Some(rule @ (Violation::FrameOnIdle | Violation::StreamIdParity))) => {
                    Err(Fatal(rule, id))
                }
                // RFC 9113 §5.1: WINDOW_UPDATE may arrive after the stream ended
                _ => Ok(Step::More),
            };
        };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(Step::More) };
        if stream.state.is_closed() {
            return Ok(Step::More);
        }
        // RFC 9113 §6.9: an increment of 0 on a stream is a stream error
        if increment == 0 {
            return self.violated(Violation::WindowUpdateZeroOnStream, id, out, now);
        }
        // RFC 9113 §6.9.1: a window over 2^31-1 ends the stream
        if !stream.send_window.grant(increment) {
            return self.violated(Violation::StreamWindowOverflow, id, out, now);
        }
        if stream.pending.is_some() && stream.send_window.available() > 0 {
            self.enqueue(key);
        }
        Ok(Step::More)
    }
}

impl<T> Connection<T> {
    pub(super) fn end_connection_stall(&mut self, now: Instant) {
        if let Some(since) = self.stalled_since.take() {
            self.stats.connection_stalled += now.saturating_duration_since(since);
        }
        for key in &self.ready {
            if let Some(stream) = self.streams.get_mut(*key)
                && stream.blocked == Blocked::ConnectionWindow
            {
                stream.blocked = Blocked::Queue;
                if !stream.touched {
                    stream.touched = true;
                    self.touched.push(*key);
                }
            }
        }
    }
}
