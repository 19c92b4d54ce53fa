//! A calculation as text, for people.

use super::{Bound, Sizing, Wait};
use std::fmt;

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(most) => write!(f, "at most {:.3} % of the calls wait", most * 100.0),
            Self::Mean(most) => write!(f, "the mean wait is at most {most:.2?}"),
            Self::Quantile(share, most) => {
                write!(f, "{:.2} % of the calls wait at most {most:.2?}", share * 100.0)
            }
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streams => "calls in flight decide",
            Self::Up => "the bytes of requests decide",
            Self::Down => "the bytes of responses decide",
            Self::Min => "the minimum; the load needs no more",
            Self::Max => "the maximum; the load needs more",
        })
    }
}

impl fmt::Display for Sizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, bound, load, goal, .. } = self;
        writeln!(f, "connections: {connections} ({bound})")?;
        writeln!(
            f,
            "load: {:.1} calls/s x {:.2?} = {:.2} calls in flight",
            load.rate, load.mean, self.offered
        )?;
        writeln!(
            f,
            "streams: {} so that {}; {} with {:.0} % headroom; at {} per connection: {} connections",
            self.streams_needed,
            goal.wait,
            self.streams_wanted,
            goal.headroom * 100.0,
            self.streams_per_connection,
            self.for_streams
        )?;
        for (name, rate, count) in
            [("up", self.rate_up, self.for_up), ("down", self.rate_down, self.for_down)]
        {
            // One connection is enough for the bytes: how fast it could be decides nothing.
            if count > 1 {
                writeln!(
                    f,
                    "bytes {name}: {:.3} MB/s per connection: {count} connections",
                    rate / 1e6
                )?;
            }
        }
        write!(
            f,
            "result: {} streams, {:.1} % in use, {:.3} % of the calls wait, ",
            self.servers,
            self.utilisation * 100.0,
            self.waits * 100.0
        )?;
        match self.mean_wait {
            Some(wait) => write!(f, "{wait:.2?} on average"),
            None => f.write_str("longer and longer: the load is too high"),
        }
    }
}
