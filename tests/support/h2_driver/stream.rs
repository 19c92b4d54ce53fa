//! The two directions of one stream, in either role.

use super::fields::{self, Unsendable};
use bytes::Bytes;
use framewire::error::Error;
use framewire::unstable::call::state::ending::Writers;
use framewire::unstable::call::state::{CallState, SendEnd, SendState};
use framewire::unstable::http2::Fields;
use h2::{RecvStream, SendStream};
use std::collections::VecDeque;
use std::task::{Context, Poll};

/// Our side: what was taken from the slot and waits for the peer's windows.
pub(super) struct Sending {
    stream: SendStream<Bytes>,
    pending: VecDeque<Bytes>,
    bytes: usize,
    /// END_STREAM is with `h2`.
    pub(super) ended: bool,
}

impl Sending {
    pub(super) fn new(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self { stream, pending: VecDeque::new(), bytes: 0, ended }
    }

    pub(super) const fn stream(&mut self) -> &mut SendStream<Bytes> {
        &mut self.stream
    }

    /// Bytes that the windows hold back.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Moves what the slot holds as far as the windows allow; returns a writer that may go on.
    pub(super) fn poll(
        &mut self,
        x: &mut CallState,
        cx: &mut Context<'_>,
    ) -> Result<Writers, Unsendable> {
        if self.ended {
            return Ok(Writers::default());
        }
        self.gather(x.send_mut());
        self.push(matches!(x.send().end(), SendEnd::Finish), cx);
        if self.bytes == 0 && !self.ended {
            self.end(x.send())?;
        }
        x.send_mut().set_in_flight(self.bytes);
        if self.ended {
            x.send_mut().end_was_sent();
        }
        Ok(x.take_writers())
    }

    fn gather(&mut self, out: &mut SendState) {
        out.seal();
        while let Some(chunk) = out.take_chunk() {
            self.bytes += chunk.len();
            self.pending.push_back(chunk);
        }
    }

    fn push(&mut self, finish: bool, cx: &mut Context<'_>) {
        while let Some(front) = self.pending.front_mut() {
            if front.is_empty() {
                self.pending.pop_front();
                continue;
            }
            self.stream.reserve_capacity(self.bytes);
            let mut room = self.stream.capacity();
            if room == 0 {
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(bytes))) => room = bytes,
                    // The reading side tells of a failure.
                    _ => return,
                }
            }
            let piece = front.split_to(room.min(front.len()));
            self.bytes -= piece.len();
            self.ended = finish && self.bytes == 0;
            if self.stream.send_data(piece, self.ended).is_err() {
                self.pending.clear();
                self.bytes = 0;
                self.ended = true;
            }
        }
    }

    fn end(&mut self, out: &SendState) -> Result<(), Unsendable> {
        // An error is a stream that is over: the reading side tells of it.
        match out.end() {
            SendEnd::Open => return Ok(()),
            SendEnd::Finish => drop(self.stream.send_data(Bytes::new(), true)),
            SendEnd::Trailers => drop(self.stream.send_trailers(fields::map(out.trailers())?)),
            SendEnd::Template(template) => {
                drop(self.stream.send_trailers(fields::map(template.fields())?));
            }
        }
        self.ended = true;
        Ok(())
    }
}

/// What came of reading the peer's side.
pub(super) enum Read {
    /// More may come.
    Open,
    /// It has ended; the slot says how.
    Ended,
    /// A whole message is over its limit.
    Over(Error),
    Failed(h2::Error),
}

/// Gives credit for what the caller has read.
pub(super) fn release(stream: &mut RecvStream, bytes: u32) {
    if bytes > 0 {
        // An error is a stream that is over: its credit went back with it.
        drop(stream.flow_control().release_capacity(bytes as usize));
    }
}

/// Moves what has come into the slot.
pub(super) fn read(stream: &mut RecvStream, x: &mut CallState, cx: &mut Context<'_>) -> Read {
    release(stream, x.take_credit().read());
    loop {
        match stream.poll_data(cx) {
            Poll::Pending => return Read::Open,
            Poll::Ready(None) => break,
            Poll::Ready(Some(Err(error))) => return Read::Failed(error),
            Poll::Ready(Some(Ok(data))) => {
                if let Err(error) = x.body_received(&data) {
                    return Read::Over(error);
                }
                if x.spec().whole {
                    release(stream, data.len() as u32);
                }
            }
        }
    }
    match stream.poll_trailers(cx) {
        Poll::Pending => Read::Open,
        Poll::Ready(Err(error)) => Read::Failed(error),
        Poll::Ready(Ok(None)) => {
            x.peer_ended(None);
            Read::Ended
        }
        Poll::Ready(Ok(Some(trailers))) => {
            let mut list = Fields::new();
            fields::list(&trailers, &mut list);
            x.peer_ended(Some(&mut list));
            Read::Ended
        }
    }
}
