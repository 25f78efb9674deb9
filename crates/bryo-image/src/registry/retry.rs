// SPDX-License-Identifier: Apache-2.0
//! Which failures of a transfer may go away, and how long to wait for that.

use std::time::Duration;

use crate::error::Error;

/// How often and after which pauses a transfer is tried again.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The attempts that may fail in a row; a transfer that got on starts to count anew.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, also if a server asks for more.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(60) }
    }
}

/// Whether another attempt can help.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hope {
    /// The same request will get the same answer.
    None,
    /// Nobody listens there. Worth a retry only if somebody did a moment ago.
    Refused,
    /// The server or the line had a bad moment.
    Transient,
    /// The server named the pause it wants.
    After(Duration),
}

/// An error together with whether another attempt can help.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) error: Error,
    pub(super) hope: Hope,
}

impl Failure {
    pub(super) fn transient(error: Error) -> Self {
        Self { error, hope: Hope::Transient }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, hope: Hope::None }
    }
}

/// The failures in a row of one transfer.
#[derive(Debug)]
pub(super) struct Attempts {
    policy: RetryPolicy,
    failed: u32,
}

impl Attempts {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failed: 0 }
    }

    /// Forgets earlier failures, since the transfer got on.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Returns the number of the attempt that would be next.
    pub(super) fn next(&self) -> u32 {
        self.failed + 1
    }

    /// Records a failure and returns the pause before the next attempt, or `None` to give up.
    pub(super) fn failed(&mut self, hope: Hope, connected_before: bool) -> Option<Duration> {
        self.failed += 1;
        if self.failed >= self.policy.attempts {
            return None;
        }
        let doubled = self.policy.first_pause.saturating_mul(1 << (self.failed - 1).min(16));
        match hope {
            Hope::None => None,
            Hope::Refused if !connected_before => None,
            Hope::Refused | Hope::Transient => Some(doubled.min(self.policy.longest_pause)),
            Hope::After(asked) if asked <= self.policy.longest_pause => Some(asked.max(doubled)),
            Hope::After(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let mut attempts = Attempts::new(RetryPolicy {
            attempts: 4,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(3),
        });
        let pauses: Vec<_> = (0..4).map(|_| attempts.failed(Hope::Transient, false).map(|d| d.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(3), None]);
        attempts.progressed();
        assert_eq!(attempts.failed(Hope::Transient, false), Some(Duration::from_secs(1)));
    }

    #[test]
    fn hopeless_failures_are_not_repeated() {
        let mut attempts = Attempts::new(RetryPolicy::default());
        assert_eq!(attempts.failed(Hope::None, true), None);
        assert_eq!(attempts.failed(Hope::Refused, false), None);
        assert!(attempts.failed(Hope::Refused, true).is_some());
    }

    #[test]
    fn a_server_may_name_the_pause_within_reason() {
        let mut attempts = Attempts::new(RetryPolicy::default());
        assert_eq!(attempts.failed(Hope::After(Duration::from_secs(7)), false), Some(Duration::from_secs(7)));
        assert_eq!(attempts.failed(Hope::After(Duration::from_secs(3600)), false), None);
    }
}
