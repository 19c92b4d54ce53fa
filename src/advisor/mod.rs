//! Pure functions on numbers: how many connections a load wants, and what its trend is.

pub mod sizing;
pub mod trend;
