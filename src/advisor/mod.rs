//! Functions of numbers, without I/O or a clock: how many connections a load needs, and whether a pool
//! slowly runs out of capacity.
//!
//! How many connections do 2000 calls per second of 150 ms need, if the server allows 100 streams?
//!
//! ```
//! use framewire::unstable::advisor::sizing::{Bound, Goal, Load, Sizing};
//! use std::time::Duration;
//!
//! let load = Load::new(2000.0, Duration::from_millis(150));
//! let sizing = Sizing::new(load, 100, None, Goal::default())?;
//! assert_eq!(sizing.offered, 300.0); // calls in flight on average
//! assert_eq!(sizing.connections, 5);
//! assert_eq!(sizing.bound, Bound::Streams);
//! println!("{sizing}"); // every step, in a few lines
//! # Ok::<(), framewire::unstable::advisor::sizing::SizingError>(())
//! ```

pub mod sizing;
pub mod trend;
