//! A scripted HTTP/2 peer: it does what the test says, right or wrong.

use framewire::transport::Accept;
use framewire::transport::BoxedIo;
use framewire::transport::{Connect, Target};
use framewire::transport::{MemoryConnector, MemoryListener};
use framewire::unstable::http2::frame::header::{Flags, FrameHeader, FrameType, HEADER_LEN};
use framewire::unstable::http2::frame::write;
use framewire::unstable::http2::hpack::{DEFAULT_TABLE_SIZE, Decoder, Encoder, FieldSink};
use framewire::unstable::http2::{ErrorCode, Fields, StreamId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it came; HEADERS with their fields.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: FrameType,
    pub flags: Flags,
    pub id: u32,
    pub payload: Vec<u8>,
    pub fields: Vec<(String, String)>,
}

impl Frame {
    pub fn ends(&self) -> bool {
        self.flags.has(Flags::END_STREAM)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first number of the payload: an error code, an increment.
    pub fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

#[derive(Default)]
struct Sink(Vec<(String, String)>);

impl FieldSink for Sink {
    fn field(&mut self, name: &[u8], value: &[u8], _never_indexed: bool) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

/// The other end of a connection. SETTINGS and PING are answered by themselves.
pub struct Peer {
    io: BoxedIo,
    encoder: Encoder,
    decoder: Decoder,
}

impl Peer {
    /// Accepts a connection, reads its preface and sends SETTINGS.
    pub async fn accept(listener: &mut MemoryListener, settings: &[(u16, u32)]) -> Self {
        Self::accept_late(listener, settings, std::time::Duration::ZERO).await
    }

    /// As [`Peer::accept`], with a pause before SETTINGS.
    pub async fn accept_late(
        listener: &mut MemoryListener,
        settings: &[(u16, u32)],
        pause: std::time::Duration,
    ) -> Self {
        let mut peer = Self::over(listener.accept().await.unwrap().io);
        peer.preface().await;
        tokio::time::sleep(pause).await;
        peer.settings(settings).await;
        peer
    }

    /// Reads the preface.
    pub async fn preface(&mut self) {
        let mut preface = [0; PREFACE.len()];
        self.io.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
    }

    /// Dials a server: preface and SETTINGS of a client.
    pub async fn dial(connector: &MemoryConnector) -> Self {
        let target = Target::parse("http://test").unwrap();
        let mut peer = Self::over(connector.connect(target).await.unwrap().io);
        peer.send(PREFACE).await;
        peer.settings(&[]).await;
        peer
    }

    pub fn over(io: BoxedIo) -> Self {
        let (encoder, decoder) =
            (Encoder::new(DEFAULT_TABLE_SIZE), Decoder::new(DEFAULT_TABLE_SIZE));
        Self { io, encoder, decoder }
    }

    pub async fn settings(&mut self, entries: &[(u16, u32)]) {
        let mut out = Vec::new();
        write::settings(&mut out, entries.iter().copied());
        self.send(&out).await;
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// The next frame, `None` at the end of the connection. Waits for a minute at most.
    pub async fn frame(&mut self) -> Option<Frame> {
        let minute = std::time::Duration::from_secs(60);
        tokio::time::timeout(minute, self.frame_at_leisure()).await.expect("no frame came")
    }

    /// As [`Peer::frame`], without a limit of time.
    pub async fn frame_at_leisure(&mut self) -> Option<Frame> {
        let (frame, answer) = self.read().await?;
        if !answer.is_empty() {
            // A peer that has just gone needs no answer.
            let _ = self.io.write_all(&answer).await;
        }
        Some(frame)
    }

    /// The next frame, however long it takes, with nothing answered; `None` at the end.
    pub async fn unanswered(&mut self) -> Option<Frame> {
        self.read().await.map(|(frame, _)| frame)
    }

    /// Answers a PING.
    pub async fn pong(&mut self, ping: &Frame) {
        let mut out = Vec::new();
        write::ping(&mut out, true, ping.payload[..].try_into().unwrap());
        self.send(&out).await;
    }

    /// A frame, and what is owed for it.
    async fn read(&mut self) -> Option<(Frame, Vec<u8>)> {
        let mut head = [0; HEADER_LEN];
        self.io.read_exact(&mut head).await.ok()?;
        let header = FrameHeader::parse(&head);
        let mut payload = vec![0; header.length as usize];
        self.io.read_exact(&mut payload).await.ok()?;
        let acked = header.flags.has(Flags::ACK);
        let mut fields = Sink::default();
        let mut answer = Vec::new();
        match header.frame_type {
            FrameType::Headers => self.decoder.decode(&payload, &mut fields).unwrap(),
            FrameType::Settings if !acked => write::settings_ack(&mut answer),
            FrameType::Ping if !acked => {
                write::ping(&mut answer, true, payload[..].try_into().unwrap());
            }
            _ => {}
        }
        let (kind, flags, id) = (header.frame_type, header.flags, header.stream_id.value());
        Some((Frame { kind, flags, id, payload, fields: fields.0 }, answer))
    }

    /// The next frame of a kind; the others are passed over.
    pub async fn next(&mut self, kind: FrameType) -> Frame {
        self.next_of(&[kind]).await
    }

    /// The next frame of one of these kinds; the others are passed over.
    pub async fn next_of(&mut self, kinds: &[FrameType]) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection ended");
            if kinds.contains(&frame.kind) {
                return frame;
            }
        }
    }

    /// As [`Peer::next`]; `note` sees every frame on the way.
    pub async fn next_noting<R>(
        &mut self,
        kind: FrameType,
        note: &mut impl FnMut(&[Frame]) -> R,
    ) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection ended");
            note(std::slice::from_ref(&frame));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Frames until the connection is silent for a second.
    pub async fn until_silent(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let second = std::time::Duration::from_secs(1);
        while let Ok(Some(frame)) = tokio::time::timeout(second, self.frame()).await {
            frames.push(frame);
        }
        frames
    }

    pub async fn headers<S: AsRef<[u8]>>(&mut self, id: u32, end: bool, fields: &[(S, S)]) {
        let mut list = Fields::new();
        for (name, value) in fields {
            list.push(name, value);
        }
        let mut out = Vec::new();
        write::headers(&mut out, StreamId::new(id), end, 16_384, |block| {
            self.encoder.encode(&list, block);
        });
        self.send(&out).await;
    }

    /// The head of a gRPC response.
    pub async fn response(&mut self, id: u32) {
        self.headers(id, false, &[(":status", "200"), ("content-type", "application/grpc")]).await;
    }

    pub async fn data(&mut self, id: u32, bytes: &[u8], end: bool) {
        let mut out = Vec::new();
        write::data_header(&mut out, StreamId::new(id), bytes.len() as u32, end);
        out.extend_from_slice(bytes);
        self.send(&out).await;
    }

    /// A whole response that carries one message.
    pub async fn answer(&mut self, id: u32, message: &[u8]) {
        self.response(id).await;
        self.data(id, &framed(message), false).await;
        self.headers(id, true, &[("grpc-status", "0")]).await;
    }

    pub async fn reset(&mut self, id: u32, code: ErrorCode) {
        let mut out = Vec::new();
        write::rst_stream(&mut out, StreamId::new(id), code);
        self.send(&out).await;
    }

    pub async fn window(&mut self, id: u32, bytes: u32) {
        let mut out = Vec::new();
        write::window_update(&mut out, StreamId::new(id), bytes);
        self.send(&out).await;
    }

    pub async fn goaway(&mut self, last: u32, code: ErrorCode, debug: &str) {
        let mut out = Vec::new();
        write::goaway(&mut out, StreamId::new(last), code, debug);
        self.send(&out).await;
    }
}

/// A Length-Prefixed-Message.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// The fields of a gRPC request.
pub fn request(path: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let stable = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ];
    stable.iter().chain(more).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}
