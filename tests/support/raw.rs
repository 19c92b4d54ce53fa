//! A peer that plays one side of HTTP/2 byte by byte, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::*;
use super::hpack::Fields;

/// How long an expectation waits, in virtual time: shorter than any limit of the subject.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Both directions of an in-memory pipe.
pub(crate) trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

/// A frame as the subject wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// The decoded field section, on the frame that ended it.
    pub(crate) fields: Option<Fields>,
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The 32-bit number at `at`; the tests' own mistake if there is none.
    pub(crate) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Heard {
    Frame(Frame),
    Eof,
    Silence,
}

/// A message that the subject sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Message {
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
}

impl Message {
    /// The value of a field, pseudo-header fields included.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn status(&self) -> &str {
        self.field(":status").unwrap_or("none")
    }
}

/// The scripted peer.
pub(crate) struct RawPeer {
    io: Box<dyn Pipe>,
    pub(super) unread: Vec<u8>,
    eof: bool,
    broken: bool,
    decoder: fluke_hpack::Decoder<'static>,
    open_block: Option<(u32, u8, Vec<u8>)>,
    pub(super) inbox: VecDeque<Frame>,
    log: Vec<String>,
    pub(super) pings: u8,
    /// Our own preface is out: before it an acknowledgement would be a fault.
    pub(super) begun: bool,
    pub(super) is_client: bool,
    /// The subject's settings as last received.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// Acknowledge SETTINGS and answer PING without being told.
    pub(crate) polite: bool,
    /// Give back flow-control credit for every DATA frame read.
    pub(crate) crediting: bool,
    /// Write one byte at a time.
    pub(crate) dribbling: bool,
    /// Do not read while writing.
    pub(crate) deaf: bool,
    /// The largest frame the subject may send us.
    pub(crate) max_frame_size: usize,
}

impl RawPeer {
    /// A peer that plays the client towards a server, or the reverse.
    pub(crate) fn new(io: impl Pipe + 'static, is_client: bool) -> Self {
        Self {
            io: Box::new(io),
            unread: Vec::new(),
            eof: false,
            broken: false,
            decoder: fluke_hpack::Decoder::new(),
            open_block: None,
            inbox: VecDeque::new(),
            log: Vec::new(),
            pings: 0,
            begun: false,
            is_client,
            settings: BTreeMap::new(),
            polite: true,
            crediting: true,
            dribbling: false,
            deaf: false,
            max_frame_size: 16_384,
        }
    }

    // ---- writing ----

    /// Writes bytes, reading meanwhile so that neither side waits for the other. An end already
    /// closed is no fault here: what follows will say so. False: no byte more was taken.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        let step = if self.dribbling { 1 } else { bytes.len().max(1) };
        for piece in bytes.chunks(step) {
            if !self.write_piece(piece).await {
                return false;
            }
            if self.dribbling {
                tokio::task::yield_now().await;
            }
        }
        true
    }

    async fn write_piece(&mut self, mut piece: &[u8]) -> bool {
        let mut scratch = vec![0; 16_384];
        while !piece.is_empty() && !self.broken {
            let (mut reader, mut writer) = tokio::io::split(&mut self.io);
            let hears = !self.deaf && !self.eof;
            let wrote = timeout(PATIENCE, async {
                tokio::select! {
                    biased;
                    n = writer.write(piece) => Some(n),
                    n = reader.read(&mut scratch), if hears => {
                        match n {
                            Ok(n) if n > 0 => self.unread.extend_from_slice(&scratch[..n]),
                            _ => self.eof = true,
                        }
                        None
                    }
                }
            })
            .await;
            match wrote {
                Ok(Some(Ok(n))) if n > 0 => piece = &piece[n..],
                Ok(Some(_)) => self.broken = true,
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        !self.broken
    }

    pub(crate) async fn send(&mut self, frame: RawFrame) {
        self.send_bytes(&frame.bytes()).await;
    }

    /// Several frames in one write.
    pub(crate) async fn send_all(&mut self, frames: &[RawFrame]) {
        self.send_bytes(&wire(frames)).await;
    }

    /// Ends our direction of the pipe.
    pub(crate) async fn shut_down(&mut self) {
        self.io.shutdown().await.expect("shutdown of the pipe");
    }

    // ---- reading ----

    /// The next frame not yet looked at, in the order of the wire.
    pub(crate) async fn hear(&mut self, patience: Duration) -> Heard {
        match self.inbox.pop_front() {
            Some(frame) => Heard::Frame(frame),
            None => self.hear_wire(patience).await,
        }
    }

    pub(super) async fn fill(&mut self, at_least: usize, patience: Duration) -> Option<Heard> {
        let mut scratch = vec![0; 65_536];
        while self.unread.len() < at_least {
            if self.eof {
                return Some(Heard::Eof);
            }
            match timeout(patience, self.io.read(&mut scratch)).await {
                Ok(Ok(n)) if n > 0 => self.unread.extend_from_slice(&scratch[..n]),
                Ok(_) => self.eof = true,
                Err(_) => return Some(Heard::Silence),
            }
        }
        None
    }

    async fn hear_wire(&mut self, patience: Duration) -> Heard {
        if let Some(other) = self.fill(9, patience).await {
            return other;
        }
        let head: [u8; 9] = self.unread[..9].try_into().expect("nine bytes");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if let Some(other) = self.fill(9 + length, patience).await {
            return other;
        }
        let payload = self.unread[9..9 + length].to_vec();
        self.unread.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut frame = Frame { kind: head[3], flags: head[4], stream, payload, fields: None };
        self.audit(&frame);
        self.decode(&mut frame);
        self.log.push(format!(
            "type {} flags {:#x} stream {} length {length} {:02x?} {:?}",
            frame.kind,
            frame.flags,
            stream,
            &frame.payload[..length.min(32)],
            frame.fields
        ));
        self.react(&frame).await;
        Heard::Frame(frame)
    }

    /// What holds of every frame the subject ever sends.
    fn audit(&self, frame: &Frame) {
        assert!(
            frame.payload.len() <= self.max_frame_size,
            "§4.2: frame over our limit: {frame:?}"
        );
        assert_eq!(frame.stream >> 31, 0, "§4.1: the reserved bit is sent as 0");
        if let Some((stream, _, _)) = self.open_block {
            let same = frame.kind == CONTINUATION && frame.stream == stream;
            assert!(same, "§4.3: {frame:?} inside a field block of stream {stream}");
        }
        if frame.kind == WINDOW_UPDATE {
            assert_ne!(frame.word(0), 0, "§6.9: an increment of 0 was sent");
        }
        if frame.kind == SETTINGS {
            assert_eq!(frame.stream, 0, "§6.5: SETTINGS on a stream");
            assert_eq!(frame.payload.len() % 6, 0, "§6.5: length of SETTINGS");
        }
    }

    fn decode(&mut self, frame: &mut Frame) {
        let end = frame.flags & END_HEADERS != 0;
        match frame.kind {
            HEADERS => {
                let mut from = 0;
                let mut to = frame.payload.len();
                if frame.flags & PADDED != 0 {
                    to -= usize::from(frame.payload[0]);
                    from += 1;
                }
                if frame.flags & WITH_PRIORITY != 0 {
                    from += 5;
                }
                let block = frame.payload[from..to].to_vec();
                self.open_block = Some((frame.stream, frame.flags, block));
            }
            CONTINUATION => {
                let (_, flags, block) = self.open_block.as_mut().expect("§6.10: no open block");
                block.extend_from_slice(&frame.payload);
                // The last frame of a block stands for the whole of it.
                if end {
                    frame.flags |= *flags & END_STREAM;
                    frame.kind = HEADERS;
                }
            }
            _ => return,
        }
        if end {
            let (_, _, block) = self.open_block.take().expect("an open block");
            let fields = self.decoder.decode(&block).expect("RFC 7541: a block that decodes");
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            frame.fields = Some(fields.iter().map(|(n, v)| (text(n), text(v))).collect());
        }
    }

    async fn react(&mut self, frame: &Frame) {
        if frame.kind == SETTINGS && frame.flags & ACK == 0 {
            for entry in frame.payload.chunks(6) {
                let id = u16::from_be_bytes([entry[0], entry[1]]);
                let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
                self.settings.insert(id, value);
            }
            if self.polite && self.begun {
                Box::pin(self.send(settings_ack())).await;
            }
        }
        if frame.kind == PING && frame.flags & ACK == 0 && self.polite {
            let answer = self::frame(PING, ACK, 0, frame.payload.clone());
            Box::pin(self.send(answer)).await;
        }
        if frame.kind == DATA && self.crediting && !frame.payload.is_empty() {
            let n = frame.payload.len() as u32;
            let mut credit = vec![window_update(0, n)];
            if !frame.ends_stream() {
                credit.push(window_update(frame.stream, n));
            }
            Box::pin(self.send_all(&credit)).await;
        }
    }

    /// Ends the test with all that was heard.
    pub(crate) fn fail(&self, wanted: &str, got: &str) -> ! {
        let from = self.log.len().saturating_sub(20);
        panic!("expected {wanted}, got {got}; heard:\n  {}", self.log[from..].join("\n  "))
    }

    /// Waits for a frame that fits and keeps the others for later expectations. A GOAWAY with an
    /// error, or the end of the connection, ends the wait and the test.
    pub(crate) async fn find(&mut self, wanted: &str, fits: impl Fn(&Frame) -> bool) -> Frame {
        if let Some(at) = self.inbox.iter().position(&fits) {
            return self.inbox.remove(at).expect("a frame at its position");
        }
        loop {
            match self.hear_wire(PATIENCE).await {
                Heard::Frame(frame) if fits(&frame) => return frame,
                Heard::Frame(frame) if frame.kind == GOAWAY && frame.word(4) != NO_ERROR => {
                    self.fail(wanted, "a connection error");
                }
                Heard::Frame(frame) => self.inbox.push_back(frame),
                Heard::Eof => self.fail(wanted, "the end of the connection"),
                Heard::Silence => self.fail(wanted, "silence"),
            }
        }
    }

    /// Reads what there is until nothing comes for `quiet`, and looks whether any frame fits.
    pub(crate) async fn gather(&mut self, quiet: Duration) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Heard::Frame(frame) = self.hear(quiet).await {
            all.push(frame);
        }
        all
    }
}
