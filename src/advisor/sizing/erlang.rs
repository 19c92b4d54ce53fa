//! Erlang's two formulas, as a recursion that neither overflows nor loses digits.
//!
//! Calls arrive independently of each other, and each uses one server for some time. `offered` is the mean
//! number of calls in service without any waiting: arrival rate × mean service time, in erlangs.
//!
//! ```
//! use framewire::unstable::advisor::sizing::erlang;
//!
//! // 200 calls per second of 15 ms: 3 erlangs. How many streams, if at most 1 % of the calls may wait?
//! let streams = erlang::search(200.0 * 0.015, |_servers, waiting| waiting <= 0.01);
//! assert_eq!(streams, Some(9));
//! ```

/// The most servers that [`search`] tries: 2^21. No client has that many calls in flight to one target.
pub const SERVERS_MAX: u64 = 1 << 21;

/// The probability below which another server changes nothing measurable. Smaller numbers would become
/// denormal and slow.
const NEGLIGIBLE: f64 = 1e-100;

/// Erlang's recursion, one server at a time.
///
/// `B(0) = 1`, `B(n) = a·B(n-1) / (n + a·B(n-1))`. All terms are positive and no factorial or power occurs,
/// so the rounding error stays within a few units in the last digit for any `n`.
///
/// ```
/// use framewire::unstable::advisor::sizing::erlang::Recursion;
///
/// let mut one = Recursion::new(0.5);
/// one.step();
/// assert_eq!(one.servers(), 1);
/// // With one server, the share of calls that wait is the utilisation.
/// assert!((one.waiting() - 0.5).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recursion {
    offered: f64,
    servers: u64,
    blocking: f64,
}

impl Recursion {
    /// Starts with no server. `offered` must be finite and at least 0.
    #[must_use]
    pub const fn new(offered: f64) -> Self {
        Self { offered, servers: 0, blocking: 1.0 }
    }

    /// Adds one server.
    pub fn step(&mut self) {
        self.servers += 1;
        let carried = self.offered * self.blocking;
        self.blocking = carried / (self.servers as f64 + carried);
    }

    /// Returns the number of servers.
    #[must_use]
    pub const fn servers(&self) -> u64 {
        self.servers
    }

    /// Returns Erlang B: the share of calls that find all servers busy and are lost, 0 to 1.
    #[must_use]
    pub const fn blocking(&self) -> f64 {
        self.blocking
    }

    /// Returns Erlang C: the share of calls that find all servers busy and wait, 0 to 1.
    ///
    /// It is 1 if the servers cannot carry the load, because then the queue never empties.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        let servers = self.servers as f64;
        if self.offered <= 0.0 {
            return 0.0;
        }
        if servers <= self.offered {
            return 1.0;
        }
        let utilisation = self.offered / servers;
        self.blocking / (1.0 - utilisation * (1.0 - self.blocking))
    }
}

/// Runs the recursion up to `servers`; stops early once the probability is negligible.
fn run(offered: f64, servers: u64) -> Recursion {
    let mut recursion = Recursion::new(offered);
    while recursion.servers < servers {
        recursion.step();
        if recursion.blocking < NEGLIGIBLE {
            return Recursion { offered, servers, blocking: 0.0 };
        }
    }
    recursion
}

/// Returns Erlang B for `servers`: the share of calls that are lost, 0 to 1.
///
/// ```
/// use framewire::unstable::advisor::sizing::erlang;
///
/// // 4.46 erlangs on 10 servers lose one call in a hundred.
/// assert!((erlang::blocking(4.46, 10) - 0.01).abs() < 0.0003);
/// ```
#[must_use]
pub fn blocking(offered: f64, servers: u64) -> f64 {
    run(offered, servers).blocking()
}

/// Returns Erlang C for `servers`: the share of calls that wait, 0 to 1.
///
/// ```
/// use framewire::unstable::advisor::sizing::erlang;
///
/// assert!((erlang::waiting(1.0, 2) - 1.0 / 3.0).abs() < 1e-12);
/// assert_eq!(erlang::waiting(5.0, 4), 1.0); // too much load: the queue never empties
/// ```
#[must_use]
pub fn waiting(offered: f64, servers: u64) -> f64 {
    if servers as f64 <= offered {
        return if offered > 0.0 { 1.0 } else { 0.0 };
    }
    run(offered, servers).waiting()
}

/// Returns the fewest servers that carry the load and for which `enough(servers, waiting)` is true.
///
/// `None` if [`SERVERS_MAX`] are not enough; `Some(0)` without load.
pub fn search(offered: f64, mut enough: impl FnMut(u64, f64) -> bool) -> Option<u64> {
    if offered <= 0.0 {
        return Some(0);
    }
    let mut recursion = Recursion::new(offered);
    while recursion.servers < SERVERS_MAX {
        recursion.step();
        let servers = recursion.servers;
        if servers as f64 <= offered {
            continue;
        }
        let nothing = recursion.blocking < NEGLIGIBLE;
        if nothing || enough(servers, recursion.waiting()) {
            return Some(servers);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::advisor::sizing::erlang::*;

    fn close(got: f64, want: f64, tolerance: f64) {
        assert!((got - want).abs() <= tolerance, "got {got}, want {want} give or take {tolerance}");
    }

    /// Loads that lose one call in a hundred, from the printed tables of Erlang B.
    #[test]
    fn blocking_agrees_with_the_printed_tables() {
        let table = [(1, 0.0101), (2, 0.153), (5, 1.36), (10, 4.46), (20, 12.0), (50, 37.9)];
        for (servers, offered) in table {
            close(blocking(offered, servers), 0.01, 0.0003);
        }
        close(blocking(84.06, 100), 0.01, 0.0001);
        close(blocking(10.0, 10), 0.2146, 0.0001);
    }

    /// Small cases whose value is a plain fraction.
    #[test]
    fn small_cases_are_exact() {
        // One server: the share of calls that wait is the utilisation itself.
        for offered in [0.1, 0.5, 0.9] {
            close(waiting(offered, 1), offered, 1e-15);
        }
        close(waiting(1.0, 2), 1.0 / 3.0, 1e-15);
        close(waiting(2.0, 3), 4.0 / 9.0, 1e-15);
        close(blocking(1.0, 2), 1.0 / 5.0, 1e-15);
        close(blocking(2.0, 3), 4.0 / 19.0, 1e-15);
    }

    /// 200 calls/s of 15 ms mean, and 800 calls/s of 8 ms: the rows by which pools are often
    /// explained, computed.
    #[test]
    fn the_two_rows() {
        let rows = [
            (3.0, 4, 0.51, 0.005),
            (3.0, 8, 0.013, 0.0005),
            (3.0, 9, 0.004, 0.0005),
            (3.0, 12, 0.0001, 0.00005),
            (6.4, 8, 0.458, 0.0005),
            (6.4, 10, 0.142, 0.0005),
            (6.4, 12, 0.035, 0.0005),
            (6.4, 14, 0.007, 0.0005),
        ];
        for (offered, servers, want, tolerance) in rows {
            close(waiting(offered, servers), want, tolerance);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(waiting(0.0, 0), 0.0);
        assert_eq!(waiting(0.0, 5), 0.0);
        assert_eq!(waiting(5.0, 5), 1.0);
        assert_eq!(waiting(5.0, 0), 1.0);
        assert_eq!(waiting(3.0, u64::MAX), 0.0, "what changes nothing is not computed");
        assert_eq!(search(0.0, |_, _| false), Some(0));
        assert_eq!(search(f64::from(u32::MAX), |_, _| true), None);
    }

    /// Halfin and Whitt: with `a + β√a` servers for a large load, the share that waits tends to
    /// `1 / (1 + βΦ(β)/φ(β))`.
    #[test]
    fn a_million_servers_keep_their_digits() {
        let table = [(0.8413447 / 0.2419707, 1.0), (0.9772499 / 0.0539910, 2.0)];
        for (ratio, beta) in table {
            let offered: f64 = 1_000_000.0;
            let servers = (offered + beta * offered.sqrt()) as u64;
            let limit = 1.0 / (1.0 + beta * ratio);
            close(waiting(offered, servers), limit, 0.002);
        }
    }

    #[test]
    fn more_servers_wait_less_and_more_load_waits_more() {
        for offered in [0.5, 3.0, 40.0, 900.0] {
            let first = offered as u64 + 1;
            let row: Vec<f64> = (first..first + 60).map(|n| waiting(offered, n)).collect();
            assert!(row.windows(2).all(|pair| pair[1] < pair[0]), "{offered}: {row:?}");
            assert!(waiting(offered * 1.01, first + 5) > waiting(offered, first + 5));
        }
    }

    #[test]
    fn the_search_finds_the_first_that_satisfies() {
        for (offered, epsilon) in [(3.0, 0.01), (6.4, 0.01), (6.4, 0.2), (5000.0, 1e-6)] {
            let found = search(offered, |_, waiting| waiting <= epsilon).unwrap();
            assert!(waiting(offered, found) <= epsilon);
            assert!(waiting(offered, found - 1) > epsilon);
        }
        // Nobody can be satisfied with nothing at all: the search ends where nothing is left.
        let found = search(1000.0, |_, waiting| waiting <= 0.0).unwrap();
        assert!((1000..4000).contains(&found), "{found}");
    }
}
