// SPDX-License-Identifier: Apache-2.0
//! How a container lives on: when it is started again, how it is asked to end, what becomes of its output.
//! Source: Docker's `docker run` reference.

use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::options::parse::size;

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its exit code is not 0; at most so many times, if a number is given.
    OnFailure(Option<u32>),
    /// Always, after a boot too, until it is stopped.
    Always,
    /// As `Always`; one that was stopped stays so after a boot.
    UnlessStopped,
}

impl Restart {
    /// Parses `no`, `on-failure[:MAX]`, `always` or `unless-stopped`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid restart policy {text:?}: {why}"));
        match text.split_once(':') {
            None => match text {
                "no" | "" => Ok(Self::No),
                "on-failure" => Ok(Self::OnFailure(None)),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                _ => Err(bad("no, on-failure[:MAX], always and unless-stopped are known")),
            },
            Some(("on-failure", max)) => {
                let max = max.parse().map_err(|_| bad("the number of times is no number"))?;
                Ok(Self::OnFailure((max > 0).then_some(max)))
            }
            Some(_) => Err(bad("only on-failure takes a number of times")),
        }
    }

    /// Tells whether a container that has ended by itself is started again.
    pub fn again(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(max) => code != 0 && max.is_none_or(|max| restarts < max),
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Returns the policy's name, without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure(_) => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// What becomes of a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Log {
    /// Where it goes.
    pub driver: LogDriver,
    /// The size in bytes at which a file is put aside.
    pub max_size: u64,
    /// How many files are kept, the one that is written to included.
    pub max_files: u32,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// To files beside the container, in the form that the kubelet and Podman's `k8s-file` have.
    #[default]
    Local,
    /// Nowhere.
    None,
}

impl Default for Log {
    /// The figures of Docker's `local` driver: a container that talks for ever fills no disk.
    fn default() -> Self {
        Self { driver: LogDriver::Local, max_size: 20 << 20, max_files: 5 }
    }
}

impl Log {
    /// Sets the driver by its name. All names of drivers that keep files mean the same here.
    ///
    /// # Errors
    ///
    /// [`Kind::Unsupported`] for a driver that sends output somewhere else.
    pub fn set_driver(&mut self, name: &str) -> Result<()> {
        self.driver = match name {
            "local" | "json-file" | "k8s-file" | "" => LogDriver::Local,
            "none" => LogDriver::None,
            _ => {
                let why = format!("unknown log driver {name:?}: local (also k8s-file, json-file) and none are known");
                return Err(Error::new(Kind::Unsupported, why));
            }
        };
        Ok(())
    }

    /// Takes one `--log-opt`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for an option that is not known, or a value that is none.
    pub fn set_option(&mut self, text: &str) -> Result<()> {
        /// Below this every line would begin a file.
        const LEAST: u64 = 4096;
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid log option {text:?}: {why}"));
        match text.split_once('=') {
            Some(("max-size", value)) => {
                self.max_size = size(value)?;
                if self.max_size < LEAST {
                    return Err(bad("a file must hold 4096 bytes at least"));
                }
            }
            Some(("max-file", value)) => {
                let count = value.parse().ok().filter(|n| (1..=1000).contains(n));
                self.max_files = count.ok_or_else(|| bad("expected a number from 1 to 1000"))?;
            }
            _ => return Err(bad("max-size=SIZE and max-file=NUMBER are known")),
        }
        Ok(())
    }
}

/// Parses a signal's name, with or without `SIG`, or its number.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for what is no signal.
pub fn stop_signal(text: &str) -> Result<i32> {
    let bad = || Error::new(Kind::InvalidOption, format!("invalid signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number).ok_or_else(bad);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(number.as_raw());
    }
    // Real-time signals are counted from the first one that a C library leaves to programs. Source: `signal(7)`.
    let (first, last) = (34, 64);
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => Some(first),
        (_, Some("")) => Some(last),
        (Some(rest), _) => rest.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()).map(|n| first + n),
        (_, Some(rest)) => rest.strip_prefix('-').and_then(|n| n.parse::<i32>().ok()).map(|n| last - n),
        _ => None,
    };
    real_time.filter(|n| (first..=last).contains(n)).ok_or_else(bad)
}

/// Returns a signal's name, as [`stop_signal`] reads it.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|(_, known)| known.as_raw() == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => number.to_string(),
    }
}

/// The names of `signal(7)`.
const SIGNALS: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// Parses a duration as Go writes it, such as `1m30s` or `500ms`. Source: Go's `time.ParseDuration`.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for what is none.
pub fn duration(text: &str) -> Result<Duration> {
    let bad = || Error::new(Kind::InvalidOption, format!("invalid duration {text:?}: expected one such as 1m30s"));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(bad());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
        let seconds = match &rest[digits..unit] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?).ok_or_else(bad)?;
        rest = &rest[unit..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_dockers() {
        assert_eq!(Restart::parse("on-failure:3").unwrap(), Restart::OnFailure(Some(3)));
        assert_eq!(Restart::parse("on-failure:0").unwrap(), Restart::OnFailure(None));
        assert_eq!(Restart::parse("unless-stopped").unwrap(), Restart::UnlessStopped);
        for bad in ["sometimes", "always:3", "on-failure:x", "on-failure:"] {
            assert!(Restart::parse(bad).is_err(), "{bad}");
        }
        assert!(Restart::OnFailure(Some(2)).again(1, 1) && !Restart::OnFailure(Some(2)).again(1, 2));
        assert!(!Restart::OnFailure(None).again(0, 0) && Restart::Always.again(0, 99) && !Restart::No.again(1, 0));
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("TERM", 15), ("sigquit", 3), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("rtmin", 34), ("rtmax", 64)]
        {
            assert_eq!(stop_signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "SIGWAT", "RTMIN+31", "RTMIN-1", "-9"] {
            assert!(stop_signal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_gos() {
        for (text, ms) in [("1m30s", 90_000), ("500ms", 500), ("1.5s", 1500), ("0", 0), ("0s", 0), ("2h", 7_200_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for bad in ["", "5", "s", "1x", "-1s", "1s2", "99999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn logs_are_bounded() {
        let mut log = Log::default();
        log.set_option("max-size=1m").unwrap();
        log.set_option("max-file=3").unwrap();
        assert_eq!((log.max_size, log.max_files), (1 << 20, 3));
        for bad in ["max-size=1", "max-file=0", "max-file=x", "labels=a", "max-size"] {
            assert!(log.set_option(bad).is_err(), "{bad}");
        }
        assert!(log.set_driver("syslog").is_err());
        log.set_driver("none").unwrap();
        assert_eq!(log.driver, LogDriver::None);
    }
}
