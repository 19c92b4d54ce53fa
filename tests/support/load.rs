//! Calls at a steady rate on the real clock, and how they ended.

use super::process::{WORK, work};
use framewire::client::Channel;
use framewire::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A channel under load. Its calls have no deadline and take up to 20 ms at the server.
pub struct Load {
    stop: Arc<AtomicBool>,
    begun: JoinHandle<u32>,
    ended: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<(u32, Error)>>>,
}

impl Load {
    /// Begins `rate` calls a second with identifiers from `first` on: those that are due by the
    /// clock, so that a busy machine makes bursts and not fewer calls.
    pub fn start(channel: Channel, rate: u32, first: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicUsize::new(0));
        let failed = Arc::new(Mutex::new(Vec::new()));
        let begin = {
            let (ended, failed) = (Arc::clone(&ended), Arc::clone(&failed));
            move |id: u32| {
                let (channel, ended) = (channel.clone(), Arc::clone(&ended));
                let failed = Arc::clone(&failed);
                tokio::spawn(async move {
                    let milliseconds = [0, 1, 5, 20][id as usize % 4];
                    if let Err(error) = channel.unary(&WORK, work(id, milliseconds)).await {
                        failed.lock().unwrap().push((id, error));
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        };
        let stopped = Arc::clone(&stop);
        let begun = tokio::spawn(async move {
            let started = Instant::now();
            let mut begun = 0;
            while !stopped.load(Ordering::SeqCst) {
                let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u32;
                while begun < due {
                    begin(first + begun);
                    begun += 1;
                }
                sleep(Duration::from_millis(1)).await;
            }
            begun
        });
        Self { stop, begun, ended, failed }
    }

    /// How many calls were begun, and which of them failed, once all have ended.
    pub async fn stop(self, patience: Duration) -> (u32, Vec<(u32, Error)>) {
        self.stop.store(true, Ordering::SeqCst);
        let begun = self.begun.await.unwrap();
        let late = Instant::now() + patience;
        while self.ended.load(Ordering::SeqCst) < begun as usize {
            let ended = self.ended.load(Ordering::SeqCst);
            assert!(Instant::now() < late, "{ended} of {begun} calls ended");
            sleep(Duration::from_millis(5)).await;
        }
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        (begun, failed)
    }

    /// As [`Load::stop`]; none failed.
    pub async fn stop_unharmed(self, patience: Duration) -> u32 {
        let (begun, failed) = self.stop(patience).await;
        if let Some((id, error)) = failed.first() {
            panic!("{} of {begun} calls failed, the first is {id}: {error}", failed.len());
        }
        begun
    }
}
