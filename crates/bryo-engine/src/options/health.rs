// SPDX-License-Identifier: Apache-2.0
//! Health checks: what is asked of a container, and of its image. Source: Docker's `HEALTHCHECK` instruction and
//! `docker run --health-cmd`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// What is asked of a container about its health; what is not asked is the image's, or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthOptions {
    /// No check, whatever the image says.
    pub disabled: bool,
    /// A line for the container's shell.
    pub command: Option<String>,
    /// Between the end of one check and the beginning of the next.
    pub interval: Option<Duration>,
    /// After this a check has failed.
    pub timeout: Option<Duration>,
    /// How long failures do not count after a start.
    pub start_period: Option<Duration>,
    /// The interval in this period.
    pub start_interval: Option<Duration>,
    /// So many failures in a row make a container unhealthy.
    pub retries: Option<u32>,
}

/// A check, with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Between the end of one check and the beginning of the next.
    pub interval: Duration,
    /// After this a check has failed.
    pub timeout: Duration,
    /// How long failures do not count after a start.
    pub start_period: Duration,
    /// The interval in this period.
    pub start_interval: Duration,
    /// So many failures in a row make a container unhealthy.
    pub retries: u32,
}

/// The image's own words. Source: the Docker image specification, `Healthcheck`; times are nanoseconds, and 0 is the
/// default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfImage {
    test: Vec<String>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

impl HealthOptions {
    /// Decides which check there is, if any. `image` is what the image's configuration has as its `Healthcheck`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for a time with no command to go with, and for an image's check that is none.
    pub fn check(&self, image: Option<&serde_json::Value>) -> Result<Option<Check>> {
        if self.disabled {
            return Ok(None);
        }
        let image = image.map(OfImage::deserialize).transpose();
        let image = image.map_err(|e| Error::new(Kind::InvalidOption, format!("the image's health check: {e}")))?;
        let image = image.unwrap_or_default();
        let shell = |line: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
        let command = match (&self.command, image.test.as_slice()) {
            (Some(line), _) if line == "none" => return Ok(None),
            (Some(line), _) => shell(line),
            (None, [kind, line]) if kind == "CMD-SHELL" => shell(line),
            (None, [kind, command @ ..]) if kind == "CMD" && !command.is_empty() => command.to_vec(),
            // One without a command is no check, and "NONE" takes a base image's away.
            (None, _) if self.asks_for_times() => {
                let why = "the image has no health check; --health-cmd says what to run";
                return Err(Error::new(Kind::InvalidOption, why));
            }
            (None, _) => return Ok(None),
        };
        let time = |asked: Option<Duration>, image: i64, default: u64| {
            let image = u64::try_from(image).ok().filter(|n| *n > 0).map(Duration::from_nanos);
            asked.filter(|d| !d.is_zero()).or(image).unwrap_or(Duration::from_secs(default))
        };
        let retries = self.retries.filter(|n| *n > 0).or(u32::try_from(image.retries).ok().filter(|n| *n > 0));
        Ok(Some(Check {
            command,
            interval: time(self.interval, image.interval, 30),
            timeout: time(self.timeout, image.timeout, 30),
            start_period: time(self.start_period, image.start_period, 0),
            start_interval: time(self.start_interval, image.start_interval, 5),
            retries: retries.unwrap_or(3),
        }))
    }

    fn asks_for_times(&self) -> bool {
        let times = [self.interval, self.timeout, self.start_period, self.start_interval];
        times.iter().any(Option::is_some) || self.retries.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_image_and_the_image_over_the_default() {
        let image = serde_json::json!({"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 5_000_000_000_i64});
        let check = HealthOptions::default().check(Some(&image)).unwrap().unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "curl -f localhost"]);
        assert_eq!(
            (check.interval, check.timeout, check.retries),
            (Duration::from_secs(5), Duration::from_secs(30), 3)
        );
        let flags = HealthOptions { interval: Some(Duration::from_secs(1)), retries: Some(9), ..Default::default() };
        let check = flags.check(Some(&image)).unwrap().unwrap();
        assert_eq!((check.interval, check.retries), (Duration::from_secs(1), 9));
        let own = HealthOptions { command: Some("true".into()), ..Default::default() };
        assert_eq!(own.check(Some(&image)).unwrap().unwrap().command, ["/bin/sh", "-c", "true"]);
    }

    #[test]
    fn there_may_be_no_check() {
        let exec = serde_json::json!({"Test": ["CMD", "/check", "x"]});
        assert_eq!(HealthOptions::default().check(Some(&exec)).unwrap().unwrap().command, ["/check", "x"]);
        for image in
            [serde_json::json!({"Test": ["NONE"]}), serde_json::json!({}), serde_json::json!({"Test": ["CMD"]})]
        {
            assert_eq!(HealthOptions::default().check(Some(&image)).unwrap(), None, "{image}");
        }
        let disabled = HealthOptions { disabled: true, ..Default::default() };
        assert_eq!(disabled.check(Some(&exec)).unwrap(), None);
        let times = HealthOptions { retries: Some(1), ..Default::default() };
        assert!(times.check(None).is_err());
        assert!(HealthOptions::default().check(Some(&serde_json::json!({"Test": 7}))).is_err());
    }
}
