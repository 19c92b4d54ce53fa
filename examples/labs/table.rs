//! A table for the terminal: what was measured, and a column for each contender.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

/// Prints a line; nobody need read it to the end.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Rows of words under a head; the first column says what, the others are contenders.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// A table of these contenders.
    pub(crate) fn new<S: Into<String>>(contenders: impl IntoIterator<Item = S>) -> Self {
        let mut head = vec![String::new()];
        head.extend(contenders.into_iter().map(Into::into));
        Self { head, rows: Vec::new(), notes: Vec::new() }
    }

    /// One more row: what, and what was seen of each contender.
    pub(crate) fn row<S: Into<String>>(
        &mut self,
        what: impl Into<String>,
        cells: impl IntoIterator<Item = S>,
    ) {
        let mut row = vec![what.into()];
        row.extend(cells.into_iter().map(Into::into));
        self.rows.push(row);
    }

    /// A line below the table: under which conditions the numbers hold.
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// Prints it; each column is as wide as its widest cell.
    pub(crate) fn print(&self) {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let columns = all().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let mut text = String::new();
            for (i, width) in widths.iter().copied().enumerate() {
                let cell = row.get(i).map_or("", String::as_str);
                // What is counted stands to the right, what is said to the left.
                text += &match i {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            say(text.trim_end());
        };
        line(&self.head);
        say("-".repeat(widths.iter().sum::<usize>() + 2 * (columns.max(1) - 1)));
        self.rows.iter().for_each(line);
        say("");
        for note in &self.notes {
            say(format!("({note})"));
        }
    }
}

/// A whole number, its thousands apart.
pub(crate) fn count(value: impl Into<f64>) -> String {
    let digits = format!("{:.0}", value.into());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in milliseconds, or in microseconds if it is short.
pub(crate) fn time(value: Duration) -> String {
    let micros = value.as_secs_f64() * 1e6;
    match micros {
        ..1000.0 => format!("{micros:.0} µs"),
        ..100_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{} ms", count(micros / 1e3)),
    }
}

/// Milliseconds, for a chart.
pub(crate) fn millis(value: Duration) -> f64 {
    value.as_secs_f64() * 1e3
}

/// The value below which this share of them lies; zero of none. Sorts them.
pub(crate) fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or_default()
}

/// The middle one of a few numbers.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
