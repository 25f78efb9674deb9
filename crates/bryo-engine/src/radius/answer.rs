// SPDX-License-Identifier: Apache-2.0
//! What the probe says, line by line: what it found, and what of it is left under the filter and Landlock.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::probe::Bounds;
use super::report::{Findings, Reach};
use crate::error::{Error, Kind, Result};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It never became what it should.
    Failed(String),
    /// What it found with ids and capabilities alone.
    Found(Findings),
    /// What is left under the filter and Landlock.
    Confined {
        /// Whether Landlock was seen to refuse.
        landlock: bool,
        /// How many of each.
        counts: Vec<(Reach, u64)>,
    },
}

impl Answer {
    /// Says it. Nothing can be done when that fails: who should hear it is gone.
    pub(super) fn say(&self, pipe: &mut std::fs::File) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let _ = pipe.write_all(&line);
        }
    }
}

/// How long the probe may take beyond the time that it has for looking: it counts, and looks a second time.
const GRACE: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const LONGEST: usize = 256 << 20;

/// Listens until the probe has ended.
///
/// # Errors
///
/// What the pipe answers; inside, what the probe complains of.
pub(super) fn hear(pipe: &OwnedFd, bounds: &Bounds) -> std::io::Result<Result<Findings>> {
    let end = Instant::now() + bounds.time * 2 + GRACE;
    let mut text = Vec::new();
    let mut file = std::fs::File::from(pipe.try_clone()?);
    let mut buffer = vec![0; 1 << 16];
    let in_time = loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let ready = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(pipe, PollFlags::IN)], left.as_ref()))?;
        if ready == 0 {
            break false;
        }
        match file.read(&mut buffer)? {
            0 => break true,
            n => text.extend_from_slice(&buffer[..n]),
        }
        if text.len() > LONGEST {
            break false;
        }
    };
    Ok(understand(&text, in_time))
}

fn understand(text: &[u8], in_time: bool) -> Result<Findings> {
    let failed = |why: String| Error::new(Kind::Io, why);
    let mut found = None;
    for line in text.split_inclusive(|b| *b == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Answer::Failed(why)) => return Err(failed(format!("cannot send a probe out: {why}"))),
            Ok(Answer::Found(findings)) => found = Some(findings),
            Ok(Answer::Confined { landlock, counts }) => {
                if let Some(found) = &mut found {
                    found.confine(landlock, &counts);
                }
            }
            // The last line of one that was ended.
            Err(_) => break,
        }
    }
    found.ok_or_else(|| match in_time {
        true => failed("the probe ended before it had looked around".into()),
        false => failed("the probe did not come back in time: a file system of this host may not answer".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_that_is_ended_by_its_filter_has_still_found_what_it_found() {
        let mut text = serde_json::to_vec(&Answer::Found(Findings::default())).unwrap();
        text.push(b'\n');
        assert_eq!(understand(&text, true).unwrap(), Findings::default());
        let whole = text.len();
        text.extend_from_slice(b"{\"Confi");
        assert_eq!(understand(&text, true).unwrap(), Findings::default());
        let error = understand(&text[..whole / 2], true).unwrap_err();
        assert!(error.to_string().contains("ended before"), "{error}");
        assert!(understand(b"", false).unwrap_err().to_string().contains("in time"));
    }

    #[test]
    fn why_it_could_not_go_is_passed_on() {
        let text = serde_json::to_vec(&Answer::Failed("no ids".into())).unwrap();
        assert!(understand(&text, true).unwrap_err().to_string().contains("no ids"));
    }
}
