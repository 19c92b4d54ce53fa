//! `/package.Service/Method`, checked once, with the types of its messages.

use std::fmt;
use std::marker::PhantomData;

/// The path of a method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// Checks a path: a slash, a service, a slash, a method; one canonical form for routing and
    /// for authorisation.
    // gRPC PROTOCOL-HTTP2 §Requests: Path is "/" Service-Name "/" {method name}
    #[must_use]
    pub const fn new(path: &'a str) -> Option<Self> {
        let bytes = path.as_bytes();
        if bytes.len() < 4 || bytes[0] != b'/' {
            return None;
        }
        let mut slash = 0;
        let mut i = 1;
        while i < bytes.len() {
            match bytes[i] {
                b'/' if slash == 0 && i > 1 => slash = i,
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'$' => {}
                _ => return None,
            }
            i += 1;
        }
        if slash == 0 || slash + 1 == bytes.len() { None } else { Some(Self(path)) }
    }

    /// As it stands on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// `package.Service`.
    #[must_use]
    pub fn service(self) -> &'a str {
        self.0[1..].split_once('/').map_or("", |(service, _)| service)
    }

    /// `Method`.
    #[must_use]
    pub fn method(self) -> &'a str {
        self.0[1..].split_once('/').map_or("", |(_, method)| method)
    }
}

/// A method: its path, and the types of its request and response messages.
pub struct Method<Req, Res> {
    path: Path<'static>,
    types: PhantomData<fn(Req) -> Res>,
}

impl<Req, Res> Method<Req, Res> {
    /// A method's descriptor, usually a constant.
    ///
    /// # Panics
    /// When the path is not `/package.Service/Method`; in a constant, at compile time.
    #[must_use]
    pub const fn new(path: &'static str) -> Self {
        match Path::new(path) {
            Some(path) => Self { path, types: PhantomData },
            None => misformed(),
        }
    }

    /// The path.
    #[must_use]
    pub const fn path(&self) -> Path<'static> {
        self.path
    }
}

#[expect(clippy::panic, reason = "a wrong constant, found at compile time")]
const fn misformed() -> ! {
    panic!("a method's path is /package.Service/Method")
}

impl<Req, Res> Clone for Method<Req, Res> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Res> Copy for Method<Req, Res> {}

impl<Req, Res> fmt::Debug for Method<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({})", self.path.as_str())
    }
}

#[cfg(test)]
mod tests {
    use crate::grpc::method::*;

    #[test]
    fn attack_path_confusion() {
        for bad in [
            "",
            "/",
            "//",
            "/a",
            "/a/",
            "//a",
            "a.B/C",
            "/a/b/c",
            "*",
            "/a.B/%43",
            "/a.B/C\0",
            "/a.B/C?x",
            "/a.B//C",
            "//pkg.Svc/Method",
            "/a b/C",
            "/ä/C",
        ] {
            assert!(Path::new(bad).is_none(), "{bad:?}");
        }
        let path = Path::new("/pkg.Svc/Method").unwrap();
        assert_eq!((path.service(), path.method()), ("pkg.Svc", "Method"));
        assert!(Path::new("/a/b").is_some());
    }
}
