// SPDX-License-Identifier: Apache-2.0
//! `bryo logs`: what a container has said.

use std::io::Write;
use std::process::ExitCode;

use bryo_engine::logs::{Line, LogOptions};
use bryo_engine::monitor::log::Stream;
use clap::Args;
use jiff::Timestamp;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};

/// Flags of `bryo logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Goes on until the container has ended
    #[arg(short, long)]
    follow: bool,
    /// Shows what was said since then: a time such as 2026-01-02T13:23:37Z, or a while ago such as 42m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Shows what was said before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Shows so many lines from the end, or "all"
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Shows when each line was said
    #[arg(short, long)]
    timestamps: bool,
}

impl Verb for Logs {
    const NAME: &'static str = "logs";
    const ABOUT: &'static str = "Show what a container has said";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let now = Timestamp::now();
        let options = LogOptions {
            follow: self.follow,
            since: self.since.as_deref().map(|text| time(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| time(text, now)).transpose()?,
            tail: self.tail()?,
        };
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        let mut printer = Printer { timestamps: self.timestamps, fresh: [true; 2], failure: None };
        engine.logs(&record, &options, &mut |line| printer.print(line))?;
        printer.failure.map_or(Ok(ExitCode::SUCCESS), |error| Err(Error::Output(error)))
    }
}

impl Logs {
    /// All lines is what every word but a number means to Docker, `-1` included.
    fn tail(&self) -> Result<Option<u64>> {
        match self.tail.as_str() {
            "all" | "-1" | "" => Ok(None),
            text => match text.parse() {
                Ok(lines) => Ok(Some(lines)),
                Err(_) => Err(Error::message(format!("invalid --tail {text:?}: expected a number, or all"))),
            },
        }
    }
}

/// Reads a time: in RFC 3339, in seconds since 1970, or as a duration ago.
pub(super) fn time(text: &str, now: Timestamp) -> Result<Timestamp> {
    let bad = || Error::message(format!("invalid time {text:?}: expected one such as 2026-01-02T13:23:37Z, or 42m"));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let whole = std::time::Duration::try_from_secs_f64(seconds).map_err(|_| bad())?;
        let epoch = Timestamp::UNIX_EPOCH;
        return epoch.checked_add(whole).map_err(|_| bad());
    }
    // Without a zone it is in that of the log itself.
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        return jiff::tz::TimeZone::UTC.to_timestamp(time).map_err(|_| bad());
    }
    let ago = bryo_engine::options::duration(text).map_err(|_| bad())?;
    now.checked_sub(ago).map_err(|_| bad())
}

/// Writes each stream to its own, byte by byte as it was said: a log is data, and goes where its output would have gone.
struct Printer {
    timestamps: bool,
    /// For each stream, whether a new line begins.
    fresh: [bool; 2],
    failure: Option<std::io::Error>,
}

impl Printer {
    fn print(&mut self, line: Line<'_>) -> bool {
        let written = match line.stream {
            Stream::Stdout => self.write(&mut std::io::stdout().lock(), line, 0),
            Stream::Stderr => self.write(&mut std::io::stderr().lock(), line, 1),
        };
        self.failure = written.err();
        self.failure.is_none()
    }

    fn write(&mut self, out: &mut impl Write, line: Line<'_>, stream: usize) -> std::io::Result<()> {
        if self.timestamps && self.fresh[stream] {
            write!(out, "{} ", line.time)?;
        }
        self.fresh[stream] = line.ends;
        out.write_all(line.text)?;
        if line.ends {
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_durations_ago() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(time("42m", now).unwrap().to_string(), "2026-01-01T23:18:00Z");
        assert_eq!(time("2026-01-01T10:00:00Z", now).unwrap().to_string(), "2026-01-01T10:00:00Z");
        assert_eq!(time("2026-01-01T10:00:00", now).unwrap().to_string(), "2026-01-01T10:00:00Z");
        assert_eq!(time("1767225600.5", now).unwrap().to_string(), "2026-01-01T00:00:00.5Z");
        assert!(time("yesterday", now).is_err());
    }
}
