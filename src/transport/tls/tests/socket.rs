//! The handle of the socket below TLS.

use crate::transport::socket::SocketHandle;
use crate::transport::tls::tests::*;

fn nodelay(handle: &SocketHandle) -> Option<bool> {
    #[cfg(unix)]
    return handle.with(|socket| socket2::SockRef::from(&socket).tcp_nodelay().unwrap());
    #[cfg(windows)]
    return handle.with(|socket| socket2::SockRef::from(&socket).tcp_nodelay().unwrap());
}

#[tokio::test]
async fn the_socket_is_seen_through_tls_and_ends_with_the_connection() {
    let authority = Authority::new();
    let (client, server) = (authority.client().build().unwrap(), authority.server());
    let (mut acceptor, target) = pair().await;
    let connector = TlsConnector::new(TcpConnector::new(), client);
    let accepting = async {
        let (io, parts) = acceptor.accept().await.unwrap().into_parts();
        let (io, _) = accept(io, &server).await.unwrap();
        Connected::from_parts(io, parts)
    };
    let (dialled, accepted) = tokio::join!(connector.connect(target), accepting);
    for connected in [dialled.unwrap(), accepted] {
        let handle = connected.socket.clone().unwrap();
        assert_eq!(nodelay(&handle), Some(true));
        // A handle keeps no socket open.
        drop(connected);
        assert_eq!(nodelay(&handle), None);
    }
}
