//! How calls are spread over endpoints.

/// How calls are spread over the endpoints of a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Balance {
    /// The first endpoint that answers takes every call; the next one is tried when it is lost.
    #[default]
    PickFirst,
    /// The endpoints that are connected take calls in turn.
    RoundRobin,
    /// Of two endpoints drawn at random, the one with fewer calls.
    LeastLoaded,
}
