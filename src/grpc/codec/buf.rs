//! Where an encoded message goes.
//!
//! hot: no allocation except the memory of the message.

use crate::grpc::message::PREFIX;
use crate::grpc::status::{Code, Status};
use bytes::{BufMut, Bytes};
use std::fmt;

/// Bytes from which on [`EncodeBuf::put_shared`] passes memory by reference instead of copying it.
pub(super) const SHARE: usize = 4096;

/// Collects the bytes of one encoded message.
///
/// Bytes are copied into the memory of the call, or passed by reference if they are shared memory
/// of 4 KiB or more.
pub struct EncodeBuf<'a> {
    copied: &'a mut Vec<u8>,
    /// The last shared part. It follows `copied`.
    shared: Option<Bytes>,
    /// The message's prefix, until the first byte is written.
    prefix: Option<[u8; PREFIX]>,
    /// The length that the message announced.
    announced: usize,
}

impl<'a> EncodeBuf<'a> {
    pub(super) const fn new(
        copied: &'a mut Vec<u8>,
        prefix: [u8; PREFIX],
        announced: usize,
    ) -> Self {
        Self { copied, shared: None, prefix: Some(prefix), announced }
    }

    /// Returns the memory that bytes are copied into, with capacity for the announced length.
    #[inline]
    pub fn copied(&mut self) -> &mut impl BufMut {
        self.memory()
    }

    #[inline]
    pub(super) fn memory(&mut self) -> &mut Vec<u8> {
        match self.prefix.take() {
            Some(prefix) => {
                self.copied.reserve(PREFIX + self.announced);
                self.copied.extend_from_slice(&prefix);
            }
            // What follows a shared part needs it in order. Only the last one is not copied.
            None => {
                if let Some(shared) = self.shared.take() {
                    self.copied.extend_from_slice(&shared);
                }
            }
        }
        self.copied
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put_slice(&mut self, bytes: &[u8]) {
        self.memory().extend_from_slice(bytes);
    }

    /// Appends `bytes`: by reference if they are at least 4 KiB and end the message, as a copy
    /// otherwise. Later versions may copy less.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE {
            self.put_slice(&bytes);
            return;
        }
        match self.prefix.take() {
            Some(prefix) => self.copied.extend_from_slice(&prefix),
            None => {
                if let Some(shared) = self.shared.take() {
                    self.copied.extend_from_slice(&shared);
                }
            }
        }
        self.shared = Some(bytes);
    }

    /// Ends the message, whose first byte is at `start`, and returns its shared end.
    #[inline]
    pub(super) fn finish(mut self, start: usize) -> Result<Option<Bytes>, Status> {
        if let Some(prefix) = self.prefix.take() {
            self.copied.extend_from_slice(&prefix);
        }
        let shared = self.shared.as_ref().map_or(0, Bytes::len);
        let written = self.copied.len().wrapping_sub(start).wrapping_add(shared);
        if written == self.announced {
            return Ok(self.shared);
        }
        Err(wrong_length(self.announced, written))
    }
}

/// Prints lengths: the message may be a secret.
impl fmt::Debug for EncodeBuf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodeBuf")
            .field("copied", &self.copied.len())
            .field("shared", &self.shared.as_ref().map(Bytes::len))
            .field("announced", &self.announced)
            .finish()
    }
}

#[cold]
fn wrong_length(announced: usize, written: usize) -> Status {
    Status::new(
        Code::Internal,
        format!(
            "the codec announced a message of {announced} bytes and wrote {written}; \
             Encode::encode must write as many bytes as Encode::encoded_len returns"
        ),
    )
}
