//! Layer 2: the gRPC protocol over HTTP/2, without I/O.
//!
//! This layer knows how a message is framed, what the fields of a call mean, and which status each end
//! of a call maps to. It reads no clock and no socket, and spawns no task: the layers above lend
//! buffers and pass durations.

pub mod codec;
pub mod compression;
pub mod envelope;
#[cfg(feature = "tower")]
pub mod header_map;
pub mod message;
pub mod metadata;
pub mod method;
pub mod percent;
pub mod request;
pub mod response;
pub(crate) mod shown;
pub mod status;
pub mod status_map;
pub mod timeout;

pub use codec::{Decode, Encode, Raw};
pub use compression::Encoding;
pub use envelope::{IntoRequest, Request, Response};
pub use message::{Message, MessageError, Splitter};
pub use metadata::{Metadata, MetadataError};
pub use method::Method;
pub use status::{Code, Status};
