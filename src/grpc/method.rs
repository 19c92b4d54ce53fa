//! The path of a method, `/package.Service/Method`, checked once, and the types of its messages.

use std::fmt;
use std::marker::PhantomData;

/// The path of a method, `/package.Service/Method` (gRPC PROTOCOL-HTTP2 §Requests).
///
/// ```
/// use framewire::{Method, Raw};
///
/// const GET: Method<Raw, Raw> = Method::new("/users.v1.Users/Get");
///
/// assert_eq!(GET.path().as_str(), "/users.v1.Users/Get");
/// assert_eq!(GET.path().service(), "users.v1.Users");
/// assert_eq!(GET.path().method(), "Get");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path<'a>(&'a str);

impl<'a> Path<'a> {
    /// Checks a path; `None` unless it is a slash, a service, a slash and a method.
    ///
    /// Both names consist of `a-z A-Z 0-9 . _ - $`. Each method has one spelling only, so routing and
    /// authorisation see the same path.
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

    /// Returns the whole path, as `:path` carries it.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the service, `package.Service`.
    #[must_use]
    pub fn service(self) -> &'a str {
        self.0[1..].split_once('/').map_or("", |(service, _)| service)
    }

    /// Returns the name of the method, `Method`.
    #[must_use]
    pub fn method(self) -> &'a str {
        self.0[1..].split_once('/').map_or("", |(_, method)| method)
    }
}

/// A method: its path, and the types of its request and response messages.
///
/// One constant serves the client and the server:
///
/// ```
/// # #[cfg(all(feature = "client", feature = "server"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use framewire::{client::Channel, server::Router, server::Server, transport::in_memory};
/// use framewire::{Method, Raw, Response};
///
/// const ECHO: Method<Raw, Raw> = Method::new("/example.Echo/Echo");
///
/// let router = Router::new()
///     .unary(&ECHO, |_context, request: Raw| async move { Ok(Response::new(request)) });
/// # let (connector, listener) = in_memory(64 * 1024);
/// # let _server = Server::builder(router).serve(listener)?;
/// # let channel = Channel::builder("http://echo.local").connector(connector).build()?;
/// let response = channel.unary(&ECHO, Raw(b"hello".as_slice().into())).await?;
/// assert_eq!(response.into_inner().0, b"hello".as_slice());
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "client", feature = "server")))]
/// # fn main() {}
/// ```
pub struct Method<Req, Res> {
    path: Path<'static>,
    types: PhantomData<fn(Req) -> Res>,
}

impl<Req, Res> Method<Req, Res> {
    /// Creates the descriptor of a method, usually as a constant.
    ///
    /// # Panics
    /// If the path is not `/package.Service/Method`. In a constant this is an error at compile time.
    ///
    /// ```compile_fail
    /// use framewire::{Method, Raw};
    ///
    /// // The slash at the beginning is missing.
    /// const GET: Method<Raw, Raw> = Method::new("users.v1.Users/Get");
    /// println!("{GET:?}");
    /// ```
    #[must_use]
    pub const fn new(path: &'static str) -> Self {
        match Path::new(path) {
            Some(path) => Self { path, types: PhantomData },
            None => misformed(),
        }
    }

    /// Returns the path.
    #[must_use]
    pub const fn path(&self) -> Path<'static> {
        self.path
    }
}

#[expect(clippy::panic, reason = "a wrong constant, found at compile time")]
const fn misformed() -> ! {
    panic!("the path of a method must have the form /package.Service/Method")
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
