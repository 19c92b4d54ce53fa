//! Layer 2: the gRPC protocol over HTTP/2, without I/O.
//!
//! What the protocol says about bytes lives here: how a message is framed, what a call's fields
//! mean, which status an ending maps to. Nothing here reads a clock, a socket or a task; the floors
//! above lend buffers and pass durations.

pub mod codec;
pub mod compression;
pub mod envelope;
pub mod message;
pub mod metadata;
pub mod method;
pub mod percent;
pub mod request;
pub mod response;
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
