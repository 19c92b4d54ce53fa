//! A call's permit among those that its tenant may have in flight.
//!
//! It belongs to the call, not to a connection: a call that moves keeps it, and gives it back once,
//! when it has ended, whatever the end.

use std::fmt;
use std::sync::Arc;

/// Whose calls are counted.
pub trait TenantQuota: Send + Sync + 'static {
    /// Tells quotas of a pool apart.
    fn id(&self) -> u64;
    /// What people call it.
    fn label(&self) -> &str;
    /// One of its calls has ended. Serves nobody yet.
    fn leave(&self);
    /// Sees to it that a call which may go on now does.
    fn serve(&self);
}

/// One call's permit: asked for, then taken. Dropping it returns it; drop it with no lock held.
pub struct TenantPermit {
    quota: Arc<dyn TenantQuota>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Asked,
    Taken,
    Left,
}

impl TenantPermit {
    /// Creates a permit that is asked for, or `taken` already.
    #[must_use]
    pub fn new(quota: Arc<dyn TenantQuota>, taken: bool) -> Self {
        Self { quota, state: if taken { State::Taken } else { State::Asked } }
    }

    /// Whose it is.
    #[must_use]
    pub fn quota(&self) -> &dyn TenantQuota {
        &*self.quota
    }

    /// Returns whether the tenant's quota counts the call.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.state == State::Taken
    }

    /// The quota has counted the call; `false` if it had before.
    pub fn take(&mut self) -> bool {
        let asked = self.state == State::Asked;
        if asked {
            self.state = State::Taken;
        }
        asked
    }

    /// The call has ended, but who comes next is decided when what is returned is dropped: a place
    /// that the call gives back in between is then shared out with this permit in the count.
    #[must_use]
    pub fn leave(mut self) -> Self {
        if self.state == State::Taken {
            self.state = State::Left;
            self.quota.leave();
        }
        self
    }
}

impl Drop for TenantPermit {
    fn drop(&mut self) {
        if self.state == State::Taken {
            self.quota.leave();
        }
        if self.state != State::Asked {
            self.quota.serve();
        }
    }
}

impl fmt::Debug for TenantPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantPermit")
            .field("tenant", &self.quota.label())
            .field("state", &self.state)
            .finish()
    }
}

#[cfg(all(test, not(framewire_loom)))]
mod tests {
    use crate::call::quota::*;
    use crate::rt::sync::Mutex;

    #[derive(Default)]
    struct Told(Mutex<Vec<&'static str>>);

    impl TenantQuota for Told {
        fn id(&self) -> u64 {
            1
        }
        fn label(&self) -> &str {
            "a"
        }
        fn leave(&self) {
            self.0.lock().push("leave");
        }
        fn serve(&self) {
            self.0.lock().push("serve");
        }
    }

    #[test]
    fn a_permit_is_returned_once_and_only_if_taken() {
        let told = Arc::new(Told::default());
        let of = |taken| TenantPermit::new(told.clone(), taken);
        let heard = || std::mem::take(&mut *told.0.lock());
        drop(of(false));
        drop(of(false).leave());
        assert!(heard().is_empty());
        drop(of(true));
        assert_eq!(heard(), ["leave", "serve"]);
        let mut permit = of(false);
        assert!(permit.take() && !permit.take() && permit.is_taken());
        let left = permit.leave();
        assert_eq!(heard(), ["leave"]);
        drop(left.leave());
        assert_eq!(heard(), ["serve"]);
    }
}
