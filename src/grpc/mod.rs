//! Floor 2: gRPC over HTTP/2, no I/O.
