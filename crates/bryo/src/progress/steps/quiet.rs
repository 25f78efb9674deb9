// SPDX-License-Identifier: Apache-2.0
//! Nothing of steps that go well, and of the one that fails the last of what it has said: without it nobody could tell why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bryo_build::progress::{Event, Progress};

use super::Step;
use crate::output;

#[derive(Debug, Default)]
pub(super) struct Quiet {
    steps: Mutex<BTreeMap<usize, Step>>,
}

impl Quiet {
    /// Returns what is shown.
    fn shown(&self, event: Event<'_>) -> Option<String> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begin(number, name) => drop(steps.insert(number, Step::new(number, name))),
            Event::Output(number, _, bytes) => drop(steps.get_mut(&number)?.take(bytes)),
            Event::Note(..) => (),
            Event::Cached(number) | Event::End(number) | Event::Canceled(number) => drop(steps.remove(&number)),
            Event::Failed(number, _) => {
                let mut step = steps.remove(&number)?;
                step.flush();
                return Some(step.failure());
            }
        }
        None
    }
}

impl Progress for Quiet {
    fn event(&self, event: Event<'_>) {
        if let Some(text) = self.shown(event) {
            output::complain(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use bryo_build::progress::Stream;

    use super::*;

    #[test]
    fn only_the_step_that_fails_has_said_something() {
        let quiet = Quiet::default();
        for number in 1..3 {
            assert_eq!(quiet.shown(Event::Begin(number, "RUN x")), None);
            assert_eq!(quiet.shown(Event::Output(number, Stream::Out, b"words\nhalf")), None);
        }
        assert_eq!(quiet.shown(Event::End(1)), None);
        let said = quiet.shown(Event::Failed(2, "it ended with 1")).unwrap();
        assert!(
            said.starts_with("------\n > RUN x:\n") && said.contains(" words\n") && said.contains(" half\n"),
            "{said}"
        );
    }
}
