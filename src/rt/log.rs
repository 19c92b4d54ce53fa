//! Log events. The subscriber is user code: its panic must end no connection, so it is contained.

/// Writes an event as `tracing`'s macro of that level does. Call it with no lock held.
macro_rules! log {
    ($level:ident, $($event:tt)*) => {{
        let _ = $crate::rt::contain::contain(|| tracing::$level!($($event)*));
    }};
}

pub(crate) use log;
