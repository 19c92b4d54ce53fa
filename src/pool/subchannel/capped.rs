//! A dial waits for its turn at the cap.

use crate::pool::Shared;
use crate::pool::cap::{Capped, Need, Socket};
use crate::pool::counters::Count;
use crate::pool::subchannel::Subchannel;
use crate::pool::subchannel::claim::Claim;
use crate::rt;

impl Claim {
    /// Takes a socket and a token of the cap, in the order of its line. `None` when nobody needs a
    /// connection any more.
    pub(super) async fn socket(&self) -> Option<Socket> {
        let (shared, subchannel) = (&*self.shared, &*self.subchannel);
        let mut need = shared.need(subchannel);
        let mut place = shared.cap.join(need, &subchannel.news, rt::now());
        let mut waited = false;
        let mut limit = std::pin::pin!(rt::sleep(shared.options.dial_time));
        loop {
            let now = rt::now();
            let Some(capped) = place.look(need, now) else { return place.turn().await };
            subchannel.lifecycle().set_capped(capped, need);
            if !std::mem::replace(&mut waited, true) {
                shared.counters.note(Count::DialsPutOff);
                shared.publish();
            }
            if shared.cap.is_short() {
                shared.make_way(&capped, now);
            }
            tokio::select! {
                biased;
                socket = place.turn() => return socket,
                () = subchannel.news.notified() => {}
                () = rt::sleep_until(capped.until.unwrap_or(now)), if capped.until.is_some() => continue,
                () = &mut limit => {
                    let again = rt::now() + shared.options.dial_time;
                    limit.as_mut().reset(tokio::time::Instant::from_std(again));
                    // Nobody waits for what is only kept.
                    if need != Need::Kept {
                        shared.starved(subchannel, &capped);
                    }
                }
            }
            if !shared.is_wanted(subchannel) {
                return None;
            }
            need = shared.need(subchannel);
        }
    }
}

impl Shared {
    /// A dial has waited at the cap for as long as it may take: without a connection, the calls that wait
    /// fail, except those with `wait_for_ready`.
    fn starved(&self, subchannel: &Subchannel, capped: &Capped) {
        if self.is_connected() {
            return;
        }
        let error = capped.error(&subchannel.target, self.options.dial_time);
        crate::rt::log!(debug, %error, "no dial may begin");
        for candidate in self.candidates().iter() {
            // Those that nobody dials would have to wait in the same line.
            let mut lifecycle = candidate.subchannel.lifecycle();
            let this = candidate.subchannel.id() == subchannel.id();
            if this || !(lifecycle.is_dialing() || lifecycle.is_shut_down()) {
                let before = lifecycle.starve(error.clone());
                drop(lifecycle);
                drop(before);
            }
        }
        self.publish();
        if let Some(error) = self.unreachable() {
            self.fail_fast(&error);
        }
    }
}
