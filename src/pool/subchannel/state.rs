//! The connectivity states of a subchannel and of a channel, and the transitions between them.
//!
//! The state says whether the endpoint is reachable. Connections and the dial in flight are
//! attributes: a dial beside a ready connection does not change the state.

/// The connectivity state of a channel or of one of its subchannels, with gRPC's names.
/// `Channel::state` returns it.
///
/// The list is closed: gRPC has these five states.
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn main() -> Result<(), framewire::client::BuildError> {
/// use framewire::client::{Channel, ChannelState};
///
/// let channel = Channel::builder("http://users.local:80").build()?;
/// match *channel.state().borrow() {
///     ChannelState::Ready => println!("connected"),
///     ChannelState::TransientFailure => println!("backing off"),
///     other => println!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "client"))]
/// # fn main() {}
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ChannelState {
    /// No connection, and no dial in flight.
    Idle,
    /// A dial is in flight: name, socket, TLS, and the peer's SETTINGS.
    Connecting,
    /// At least one connection has received its peer's SETTINGS.
    Ready,
    /// The last dial failed. The channel dials again after a backoff, and stays in this state until a
    /// dial succeeds.
    TransientFailure,
    /// The channel is closed, or the resolver no longer names the address.
    Shutdown,
}

/// What happens to a subchannel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The dial task starts. It may have to wait for its backoff first.
    ConnectRequested,
    /// The dial begins to connect.
    BackoffElapsed,
    /// The last dial failed, and nothing else is connecting.
    DialFailed,
    /// The dial ended without a connection and without a failure, and nothing else is connecting.
    DialDropped,
    /// A connection is ready.
    SettingsReceived,
    /// A connection takes no more calls, and none that is ready remains.
    ConnectionLost(Remaining),
    /// The address is no longer named, or the channel is closed.
    Removed,
}

/// What a subchannel without a ready connection has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remaining {
    /// A dial or a handshake is in flight.
    Attempt,
    /// The last dial failed.
    Failure,
    /// Neither.
    Nothing,
}

/// Returns the state after an event; `None` if the event cannot happen in that state.
pub(super) const fn next(state: ChannelState, event: Event) -> Option<ChannelState> {
    use ChannelState::{Connecting, Idle, Ready, Shutdown, TransientFailure};
    use Event::*;
    Some(match (state, event) {
        (_, Removed) => Shutdown,
        (Shutdown, ConnectRequested) => return None,
        // A dial or a connection that outlives the removal ends without effect.
        (Shutdown, _) => Shutdown,
        (Idle, ConnectRequested) => Connecting,
        (same, ConnectRequested) => same,
        (Idle, DialFailed) => TransientFailure,
        // Without a dial or a connection, none can end.
        (Idle, _) => return None,
        (TransientFailure, BackoffElapsed) => Connecting,
        (TransientFailure, DialFailed) => TransientFailure,
        (TransientFailure, DialDropped) => Idle,
        (TransientFailure, _) => return None,
        (same, BackoffElapsed) => same,
        (Ready, DialFailed | DialDropped) => Ready,
        (_, DialFailed) => TransientFailure,
        (_, DialDropped) => Idle,
        (_, SettingsReceived) => Ready,
        (_, ConnectionLost(Remaining::Attempt)) => Connecting,
        (_, ConnectionLost(Remaining::Failure)) => TransientFailure,
        (_, ConnectionLost(Remaining::Nothing)) => Idle,
    })
}

/// Returns the state of a channel by gRPC's rule: READY if a subchannel is, else CONNECTING, else
/// IDLE, else TRANSIENT_FAILURE. A channel without subchannels is in the state of the resolution.
pub(crate) fn aggregate(
    states: impl Iterator<Item = ChannelState>,
    resolution: ChannelState,
) -> ChannelState {
    let rank = |state: &ChannelState| match state {
        ChannelState::Ready => 0,
        ChannelState::Connecting => 1,
        ChannelState::Idle => 2,
        ChannelState::TransientFailure => 3,
        ChannelState::Shutdown => 4,
    };
    states.min_by_key(rank).unwrap_or(resolution)
}

#[cfg(test)]
mod tests {
    use crate::pool::subchannel::state::ChannelState::{
        Connecting as C, Idle as I, Ready as R, Shutdown as S, TransientFailure as T,
    };
    use crate::pool::subchannel::state::*;

    /// Every pair: the columns are the states in the order of `STATES`.
    const TABLE: [(Event, [Option<ChannelState>; 5]); 9] = [
        (Event::ConnectRequested, [Some(C), Some(C), Some(R), Some(T), None]),
        (Event::BackoffElapsed, [None, Some(C), Some(R), Some(C), Some(S)]),
        (Event::DialFailed, [Some(T), Some(T), Some(R), Some(T), Some(S)]),
        (Event::DialDropped, [None, Some(I), Some(R), Some(I), Some(S)]),
        (Event::SettingsReceived, [None, Some(R), Some(R), None, Some(S)]),
        (Event::ConnectionLost(Remaining::Attempt), [None, Some(C), Some(C), None, Some(S)]),
        (Event::ConnectionLost(Remaining::Failure), [None, Some(T), Some(T), None, Some(S)]),
        (Event::ConnectionLost(Remaining::Nothing), [None, Some(I), Some(I), None, Some(S)]),
        (Event::Removed, [Some(S); 5]),
    ];
    const STATES: [ChannelState; 5] = [I, C, R, T, S];

    #[test]
    fn every_pair_of_state_and_event() {
        for (event, row) in TABLE {
            for (state, expected) in STATES.into_iter().zip(row) {
                assert_eq!(next(state, event), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn the_channel_follows_its_subchannels() {
        let cases: [(&[ChannelState], ChannelState, ChannelState); 10] = [
            (&[], I, I),
            (&[], C, C),
            (&[], T, T),
            (&[T, C, R, I], I, R),
            (&[T, I, C], I, C),
            (&[T, I, T], I, I),
            (&[T, T], I, T),
            (&[I], T, I),
            (&[S, T], I, T),
            (&[S, S], I, S),
        ];
        for (states, resolution, expected) in cases {
            let state = aggregate(states.iter().copied(), resolution);
            assert_eq!(state, expected, "{states:?} {resolution:?}");
        }
    }
}
