//! HTTP/2 by hand: a server on blocking sockets, without a runtime, on the engine alone.
//!
//! `cargo run --example bare_core -- 127.0.0.1:8080`, then
//! `curl --http2-prior-knowledge -d hello http://127.0.0.1:8080/`.
//!
//! The driver moves bytes, passes the time, returns credit for what it has read, and takes streams that
//! are over. Everything against floods is in the engine: it refuses streams, ends the connection, and reads
//! nothing while its answers wait.

use framewire::Limits;
use framewire::unstable::http2::{
    Connection, ConnectionError, Event, Fields, Payload, RecvBuffer, Role, SendBuffer, SendHead,
    StreamKey,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The longest silence of a client.
const SILENCE: Duration = Duration::from_secs(60);
/// The largest body that is kept, in bytes.
const BODY_MAX: usize = 64 * 1024;

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for io in listener.incoming() {
        let io = io?;
        std::thread::spawn(move || {
            if let Err(error) = Server::new(io).run() {
                println!("a connection ended: {error}");
            }
        });
    }
    Ok(())
}

/// One connection. What is kept with each stream is the body of its request.
struct Server {
    io: TcpStream,
    conn: Connection<Vec<u8>>,
    input: RecvBuffer,
    output: SendBuffer,
}

/// What an event asks for. The event borrows from the connection, so it is done with first.
enum Then {
    Nothing,
    /// So many bytes of a body were read; `true` after the last ones.
    Read(StreamKey, u32, bool),
    Answer(StreamKey),
    Drop(StreamKey),
}

impl Server {
    fn new(io: TcpStream) -> Self {
        let conn = Connection::new(Role::Server, Limits::server(), Instant::now());
        Self { io, conn, input: RecvBuffer::new(), output: SendBuffer::new() }
    }

    fn run(mut self) -> std::io::Result<()> {
        self.io.set_nodelay(true)?;
        self.conn.start(&mut self.output);
        loop {
            let ended = self.events();
            self.conn.schedule(&mut self.output, BODY_MAX, Instant::now());
            let full = self.conn.control_full(&self.output);
            // Also GOAWAY, if the connection has ended.
            self.write()?;
            match ended {
                Err(error) => return Err(std::io::Error::other(error)),
                // DATA waits that did not fit, or frames whose answers have left by now.
                Ok(()) if self.conn.wants_send() || full => continue,
                Ok(()) => {}
            }
            if !self.read()? {
                return Ok(());
            }
        }
    }

    /// Handles everything that has arrived.
    fn events(&mut self) -> Result<(), ConnectionError> {
        loop {
            let now = Instant::now();
            let event = self.conn.next_event(&mut self.input, &mut self.output, now)?;
            let then = match event {
                None => return Ok(()),
                Some(Event::Head { key, end_stream: true, .. } | Event::Trailers { key, .. }) => {
                    Then::Answer(key)
                }
                Some(Event::Data { key, user, data, end_stream }) => {
                    let kept = data.len().min(BODY_MAX - user.len());
                    user.extend_from_slice(&data[..kept]);
                    Then::Read(key, data.len() as u32, end_stream)
                }
                Some(Event::Reset { key, .. }) => Then::Drop(key),
                Some(_) => Then::Nothing,
            };
            match then {
                Then::Nothing => {}
                Then::Read(key, bytes, end) => {
                    self.conn.release(&mut self.output, key, bytes, now);
                    if end {
                        self.answer(key);
                    }
                }
                Then::Answer(key) => self.answer(key),
                Then::Drop(key) => drop(self.conn.take(key, &mut self.output)),
            }
            self.take_closed();
        }
    }

    /// Sends the body back.
    fn answer(&mut self, key: StreamKey) {
        let body = self.conn.user_mut(key).map(std::mem::take).unwrap_or_default();
        let mut fields = Fields::new();
        fields.push(":status", "200");
        let head = SendHead { template: None, extra: &fields };
        // It fails only if the client has reset the stream.
        let _ = self.conn.send_head(&mut self.output, key, head, body.is_empty());
        if !body.is_empty() {
            let body = Payload::Shared(body.into());
            let _ = self.conn.send_data(&mut self.output, key, body, true, Instant::now());
        }
    }

    /// Takes the streams that are over, so that they no longer count.
    fn take_closed(&mut self) {
        for key in self.conn.keys() {
            if self.conn.is_closed(key) {
                self.conn.take(key, &mut self.output);
            }
        }
    }

    fn write(&mut self) -> std::io::Result<()> {
        while !self.output.is_empty() {
            let n = self.io.write(self.output.slices().next().unwrap_or_default())?;
            self.output.advance(n);
        }
        Ok(())
    }

    /// Waits for bytes, at most until the engine asks for a look at the time. Returns `false` at the end.
    fn read(&mut self) -> std::io::Result<bool> {
        let now = Instant::now();
        let wait = self.conn.poll_timeout().map_or(SILENCE, |at| at.saturating_duration_since(now));
        self.io.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
        match self.io.read(self.input.spare(self.conn.wanted())) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.input.filled(n);
                Ok(true)
            }
            // `next_event` looks at the time.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(wait < SILENCE)
            }
            Err(error) => Err(error),
        }
    }
}
