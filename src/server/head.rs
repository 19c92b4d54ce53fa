//! The heads of gRPC responses, and the encoding that they announce.

use crate::call::state::RecvState;
use crate::grpc::{Encoding, response};
use crate::http2::{Head, Template};
use std::sync::{Arc, LazyLock};

static HEAD: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::head(Encoding::Identity))));
static GZIP_HEAD: LazyLock<Arc<Template>> =
    LazyLock::new(|| Arc::new(Template::new(response::head(Encoding::Gzip))));

pub(super) fn head_template(encoding: Encoding) -> Arc<Template> {
    match encoding {
        Encoding::Identity => Arc::clone(&HEAD),
        Encoding::Gzip => Arc::clone(&GZIP_HEAD),
    }
}

/// Returns the encoding of the request if the caller accepts it for responses, else identity.
pub(super) fn usual_encoding(request: &RecvState) -> Encoding {
    match announced_encoding(request) {
        Encoding::Identity => Encoding::Identity,
        asked if accepts(request.head(), asked) => asked,
        _ => Encoding::Identity,
    }
}

/// Returns the encoding of the compressed messages of a request.
pub(super) fn announced_encoding(request: &RecvState) -> Encoding {
    request.checked_encoding().unwrap_or_else(|| {
        let announced = request.head().fields().get("grpc-encoding");
        announced.and_then(Encoding::parse).unwrap_or_default()
    })
}

/// Returns whether the caller accepts an encoding.
pub(super) fn accepts(head: &Head, encoding: Encoding) -> bool {
    let accepted = head.fields().get("grpc-accept-encoding").unwrap_or_default();
    encoding == Encoding::Identity || encoding.is_in(accepted)
}
