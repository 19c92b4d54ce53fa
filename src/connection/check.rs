//! Options that contradict each other or will hurt, found before they do: the findings, and the
//! options of one connection.
//!
//! An error cannot be meant; a warning works, but not as its author would expect. The texts name the
//! setters of `client` and `server`.

use crate::connection::options::ConnectionOptions;
use crate::http2::LimitError;
use std::fmt;
use std::time::Duration;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The options work, but not as they read. The channel or server is built.
    Warning,
    /// The options cannot work. The channel or server is not built.
    Error,
}

/// Something about the options of a channel or server.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// Whether the channel or server is built all the same.
    pub severity: Severity,
    /// The options, by the names of their setters, and their values.
    pub what: String,
    /// What would come of it.
    pub why: String,
    /// What to set.
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, what, why, instead } = self;
        let severity = match severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {what}: {why}; instead: {instead}")
    }
}

/// Writes findings, a line each.
pub(crate) fn write_lines(findings: &[Finding], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (i, finding) in findings.iter().enumerate() {
        write!(f, "{}{finding}", if i == 0 { "" } else { "\n" })?;
    }
    Ok(())
}

/// Separates errors from warnings.
pub(crate) fn split(findings: Vec<Finding>) -> (Vec<Finding>, Vec<Finding>) {
    findings.into_iter().partition(|finding| finding.severity == Severity::Error)
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, what: String, why: &str, instead: String) {
        self.0.push(Finding { severity, what, why: why.to_owned(), instead });
    }

    pub(crate) fn error(&mut self, what: String, why: &str, instead: impl Into<String>) {
        self.add(Severity::Error, what, why, instead.into());
    }

    pub(crate) fn warn(&mut self, what: String, why: &str, instead: impl Into<String>) {
        self.add(Severity::Warning, what, why, instead.into());
    }

    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.0
    }

    /// Looks through the options of one connection.
    pub(crate) fn connection(&mut self, options: &ConnectionOptions) {
        self.times(options);
        self.windows(options);
        if options.keepalive_without_calls && options.keepalive.is_none() {
            self.warn(
                "keepalive_without_calls is on and keepalive_time is off".into(),
                "no PING is sent, with or without calls",
                "a keepalive_time, or no keepalive_without_calls",
            );
        }
        if options.max_age_grace.is_some() && options.max_age.is_none() {
            self.warn(
                "max_connection_age_grace is set and max_connection_age is not".into(),
                "no connection reaches an age after which the grace could begin",
                "a max_connection_age, or no max_connection_age_grace",
            );
        }
        for LimitError { field, value, min, max, why, .. } in options.limits.errors() {
            // Windows have setters of their own.
            let name = match field {
                "stream_window" | "connection_window" => field.to_owned(),
                field => format!("Limits::{field}"),
            };
            let instead = match max {
                u64::MAX => format!("{field} of at least {min}"),
                max => format!("{field} from {min} to {max}"),
            };
            self.error(format!("{name} is {value}"), why, instead);
        }
    }

    /// Times after which a connection ends: none may be zero.
    fn times(&mut self, options: &ConnectionOptions) {
        let stall = options.write_stall_time.unwrap_or(Duration::MAX);
        let fields: [(&str, Duration, &str, &str); 5] = [
            (
                "Advanced::settings_timeout",
                options.settings_time,
                "every connection ends before its peer's SETTINGS can arrive",
                "some seconds",
            ),
            (
                "Advanced::doubt's time",
                options.doubt.after,
                "a PING leaves with every call",
                "some seconds; the default is 10 s",
            ),
            (
                "Advanced::doubt's time for an answer",
                options.doubt.answer,
                "no peer can answer, and every connection is replaced",
                "some seconds; the default is 10 s",
            ),
            (
                "keepalive_timeout",
                options.keepalive_timeout,
                "every connection with a keepalive_time ends before its peer can answer",
                "some seconds; the default is 20 s",
            ),
            (
                "Advanced::write_stall_timeout",
                stall,
                "every connection ends when its socket's buffer is full once",
                "None, or a minute",
            ),
        ];
        for (name, time, why, instead) in fields {
            if time.is_zero() {
                self.error(format!("{name} is 0"), why, format!("{name} of {instead}"));
            }
        }
    }

    /// Windows and the bytes that are there for them.
    fn windows(&mut self, options: &ConnectionOptions) {
        let limits = &options.limits;
        let (stream, whole) = (limits.stream_window, limits.connection_window);
        if whole < stream {
            self.warn(
                format!("connection_window {whole} is below stream_window {stream}"),
                "one stream whose reader is slow stops all others, and no stream can use its window",
                format!("connection_window of at least {stream}, better several times that"),
            );
        }
        let budget = options.budget.as_ref().map(|budget| budget.limit());
        if let Some(bytes) = budget.filter(|bytes| *bytes < u64::from(whole)) {
            self.warn(
                format!("budget {bytes} is below connection_window {whole}"),
                "it is not enough for one connection: all begin with windows of 64 KiB",
                format!("a Budget of several times {whole}, or a smaller connection_window"),
            );
        }
    }
}
