//! The part of a path that pauses, cuts, dribbles, or swallows everything.

use crate::child::{Told, say, told_more};
use crate::seed::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

pub fn serve(told: &Told) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let upstream: SocketAddr = told.more.parse().unwrap();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).unwrap();
        let mut lines = told_more();
        let (healed, well) = watch::channel(false);
        let listener = TcpListener::bind(told.listen).await.unwrap();
        say(&format!("listens on {}", listener.local_addr().unwrap()));
        for n in 0.. {
            let (io, _) = tokio::select! {
                accepted = listener.accept() => accepted.unwrap(),
                _ = terminate.recv() => return,
                Some(line) = lines.recv() => {
                    if line == "heal" { healed.send_replace(true); }
                    continue;
                }
            };
            tokio::spawn(flow(io, upstream, Rng::of(told.seed, n), well.clone()));
        }
    });
}

/// What a path does to a flow.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Takes the connection and says nothing.
    Deaf,
    /// Takes the connection and closes it.
    Slams,
    /// Cuts it after so many bytes, with a reset or with FIN.
    Cuts(u64, bool),
    /// Passes nothing for so long, after so many bytes.
    Pauses(u64, Duration),
    /// A byte at a time, for so many bytes.
    Dribbles(u64),
}

async fn flow(io: TcpStream, upstream: SocketAddr, mut rng: Rng, mut well: watch::Receiver<bool>) {
    let fault = match rng.range(0, 99) {
        _ if *well.borrow() => Fault::None,
        0..4 => Fault::Deaf,
        4..8 => Fault::Slams,
        8..24 => Fault::Cuts(rng.range(0, 60_000), rng.per_mille(500)),
        24..50 => {
            let time = Duration::from_millis(rng.range(100, 2500));
            Fault::Pauses(rng.range(0, 30_000), time)
        }
        50..56 => Fault::Dribbles(rng.range(50, 1000)),
        _ => Fault::None,
    };
    if let Fault::Deaf = fault {
        // A path that comes back finds no flow of that name.
        let _ = well.wait_for(|well| *well).await;
        return;
    }
    let Ok(far) = TcpStream::connect(upstream).await else { return };
    if let Fault::Slams = fault {
        return;
    }
    let _ = (io.set_nodelay(true), far.set_nodelay(true));
    let reset = matches!(fault, Fault::Cuts(_, true));
    if reset {
        let zero = Some(Duration::ZERO);
        let _ = (
            socket2::SockRef::from(&io).set_linger(zero),
            socket2::SockRef::from(&far).set_linger(zero),
        );
    }
    let (near_read, near_write) = io.into_split();
    let (far_read, far_write) = far.into_split();
    let cut = Arc::new(AtomicBool::new(false));
    tokio::join!(
        pass(near_read, far_write, fault, Arc::clone(&cut), well.clone()),
        pass(far_read, near_write, fault, cut, well),
    );
}

/// One direction; the fault counts its bytes, and ends when all is well.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: Fault,
    cut: Arc<AtomicBool>,
    well: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16_384];
    let mut passed = 0;
    let mut paused = false;
    loop {
        let fault = if *well.borrow() { Fault::None } else { fault };
        let size = match fault {
            Fault::Dribbles(bytes) if passed < bytes => 1,
            _ => buffer.len(),
        };
        let read = tokio::time::timeout(Duration::from_millis(100), from.read(&mut buffer[..size]));
        let read = match read.await {
            _ if cut.load(Ordering::SeqCst) => return,
            Err(_) => continue,
            Ok(Ok(read)) if read > 0 => read,
            Ok(_) => {
                let _ = to.shutdown().await;
                return;
            }
        };
        match fault {
            Fault::Pauses(bytes, time) if passed >= bytes && !paused => {
                paused = true;
                sleep(time).await;
            }
            Fault::Cuts(bytes, _) if passed >= bytes => {
                cut.store(true, Ordering::SeqCst);
                return;
            }
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            cut.store(true, Ordering::SeqCst);
            return;
        }
        passed += read as u64;
    }
}
