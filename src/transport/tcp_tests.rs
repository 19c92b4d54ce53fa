use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn families_alternate() {
    let mixed =
        interleave(["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(addr).to_vec());
    assert_eq!(mixed, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(addr));
    let mixed = interleave(["1.1.1.1:1", "[::1]:1"].map(addr).to_vec());
    assert_eq!(mixed, ["1.1.1.1:1", "[::1]:1"].map(addr));
    assert_eq!(interleave(Vec::new()), Vec::<SocketAddr>::new());
}

/// A dial that plays a part by its port: 1 hangs, 2 fails at once, 3 answers after 100 ms,
/// 4 answers at once.
async fn scripted(addr: SocketAddr) -> io::Result<SocketAddr> {
    match addr.port() {
        1 => std::future::pending().await,
        2 => Err(io::ErrorKind::ConnectionRefused.into()),
        3 => {
            rt::sleep(Duration::from_millis(100)).await;
            Ok(addr)
        }
        _ => Ok(addr),
    }
}

async fn timed_race(ports: &[u16]) -> (Result<u16, Vec<u16>>, u128) {
    let addresses = ports.iter().map(|&port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
    let start = rt::now();
    let won = race(addresses, scripted, || rt::sleep(ATTEMPT_DELAY)).await;
    let took = (rt::now() - start).as_millis();
    let won = won
        .map(|addr| addr.port())
        .map_err(|failures| failures.iter().map(|(addr, _)| addr.port()).collect());
    (won, took)
}

#[tokio::test(start_paused = true)]
async fn a_dead_address_costs_one_delay() {
    let (won, took) = timed_race(&[1, 4]).await;
    assert_eq!(won, Ok(4));
    assert!((250..=252).contains(&took), "{took} ms");
    let (won, took) = timed_race(&[1, 1, 3]).await;
    assert_eq!(won, Ok(3));
    assert!((600..=604).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_nothing() {
    let (won, took) = timed_race(&[2, 2, 4]).await;
    assert_eq!((won, took), (Ok(4), 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_within_the_delay_starts_no_second_dial() {
    let (won, took) = timed_race(&[3, 4]).await;
    assert_eq!(won, Ok(3));
    assert!((100..=101).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn all_refusals_are_reported() {
    let (won, _) = timed_race(&[2, 2]).await;
    assert_eq!(won, Err(vec![2, 2]));
    assert_eq!(timed_race(&[]).await.0, Err(vec![]));
}

#[tokio::test]
async fn options_are_set_on_both_ends() {
    let listener = rt::listen_tcp(addr("127.0.0.1:0")).unwrap();
    let there = listener.local_addr().unwrap();
    let options = SocketOptions::default();
    let client = rt::connect_tcp(there, |socket| options.apply(socket)).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    options.apply(&server).unwrap();
    for stream in [&client, &server] {
        assert!(stream.nodelay().unwrap());
        let socket = socket2::SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_user_timeout().unwrap(), None, "the system decides");
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(2));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_user_timeout_is_set_where_it_is_asked_for() {
    let listener = rt::listen_tcp(addr("127.0.0.1:0")).unwrap();
    let wanted = Some(Duration::from_secs(7));
    let options = SocketOptions::new().with_user_timeout(wanted);
    let client = rt::connect_tcp(listener.local_addr().unwrap(), |socket| options.apply(socket))
        .await
        .unwrap();
    assert_eq!(socket2::SockRef::from(&client).tcp_user_timeout().unwrap(), wanted);
}

#[tokio::test]
async fn connector_meets_acceptor() {
    let mut acceptor = TcpAcceptor::bind(addr("127.0.0.1:0")).unwrap();
    let there = acceptor.local_addr().unwrap();
    let target = Target::parse(&format!("http://{there}")).unwrap();
    let mut client = TcpConnector::new().connect(target).await.unwrap();
    let mut server = acceptor.accept().await.unwrap();
    assert_eq!(client.info.peer, Some(PeerAddr::Tcp(there)));
    assert_eq!(client.info.local, server.info.peer);
    client.io.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    server.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
}

#[tokio::test]
async fn a_refused_dial_says_so() {
    let listener = rt::listen_tcp(addr("127.0.0.1:0")).unwrap();
    let there = listener.local_addr().unwrap();
    drop(listener);
    let target = Target::parse(&format!("http://{there}")).unwrap();
    let error = TcpConnector::new().connect(target.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.phase()), (ConnectErrorKind::Refused, ConnectPhase::Socket));
    assert!(error.to_string().contains(&there.to_string()), "{error}");
}

#[tokio::test]
async fn a_unix_target_is_refused() {
    let target = Target::parse("unix:/nowhere").unwrap();
    let error = TcpConnector::new().connect(target).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Unsupported);
}

/// Short reads, full reads, pauses and a full send buffer: each byte arrives once, and the end.
#[tokio::test]
async fn a_shared_stream_loses_no_byte_and_no_wakeup() {
    let mut acceptor = TcpAcceptor::bind(addr("127.0.0.1:0")).unwrap();
    let there = acceptor.local_addr().unwrap();
    let target = Target::parse(&format!("http://{there}")).unwrap();
    let mut client = TcpConnector::new().connect(target).await.unwrap();
    let mut server = acceptor.accept().await.unwrap();
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let expected = sent.clone();
    let writing = async {
        let (slow, fast) = sent.split_at(5_000);
        for piece in slow.chunks(100) {
            client.io.write_all(piece).await.unwrap();
            rt::sleep(Duration::from_micros(500)).await;
        }
        client.io.write_all(fast).await.unwrap();
        client.io.shutdown().await.unwrap();
        let mut answer = [0; 1];
        client.io.read_exact(&mut answer).await.unwrap();
    };
    let reading = async {
        let (mut got, mut sizes) = (Vec::new(), [1, 100, 4096, 1 << 20].into_iter().cycle());
        loop {
            let mut bytes = vec![0; sizes.next().unwrap()];
            match server.io.read(&mut bytes).await.unwrap() {
                0 => break,
                read => got.extend_from_slice(&bytes[..read]),
            }
        }
        assert!(got == expected);
        server.io.write_all(b"!").await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(writing, reading) })
        .await
        .unwrap();
}

/// A channel without a resolver has the addresses from its connector, through wrappers as well.
#[tokio::test]
async fn a_connector_says_the_addresses_of_a_name() {
    let (name, at) = (Target::parse("http://127.0.0.1:5").unwrap(), addr("127.0.0.1:5"));
    let connector = TcpConnector::new();
    assert_eq!(connector.addresses(&name).unwrap().await.unwrap(), [at]);
    assert!(connector.addresses(&name.at(at)).is_none(), "one address is what is dialled");
    assert!(connector.addresses(&Target::parse("unix:a.sock").unwrap()).is_none());
    #[cfg(feature = "tls-ring")]
    {
        let tls = crate::transport::tls::ClientTls::builder();
        let root = include_str!("tls/tests/data/root.pem");
        let tls = tls.roots_pem(root).build().unwrap();
        let connector = std::sync::Arc::new(crate::transport::TlsConnector::new(connector, tls));
        let name = Target::parse("https://127.0.0.1:5").unwrap();
        assert_eq!(connector.addresses(&name).unwrap().await.unwrap(), [at]);
    }
}
