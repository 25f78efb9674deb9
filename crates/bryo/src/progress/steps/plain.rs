// SPDX-License-Identifier: Apache-2.0
//! Steps as lines, in BuildKit's shape.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bryo_build::progress::{Event, Progress};

use super::Step;
use crate::output;

#[derive(Debug, Default)]
pub(super) struct Plain {
    steps: Mutex<Steps>,
}

/// The steps that go on.
#[derive(Debug, Default)]
struct Steps {
    all: BTreeMap<usize, Step>,
    /// The one whose line came last, as long as it goes on.
    last: Option<usize>,
}

impl Plain {
    fn lines(&self, event: Event<'_>) -> String {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let number = event.number();
        if let Event::Begin(number, name) = event {
            steps.all.insert(number, Step::new(number, name));
        }
        let Some(step) = steps.all.get_mut(&number) else { return String::new() };
        let (lines, ends) = of_step(step, event);
        if lines.is_empty() {
            return lines;
        }
        // As BuildKit does: another step's lines begin with its name.
        let mut shown = String::new();
        if let Some(last) = steps.last.filter(|last| *last != number) {
            shown = format!("#{last} ...\n\n");
        }
        if steps.last != Some(number)
            && let Some(step) = steps.all.get(&number)
        {
            shown += &format!("#{number} {}\n", step.shown_name());
        }
        steps.last = (!ends).then_some(number);
        if ends {
            steps.all.remove(&number);
        }
        if matches!(event, Event::Begin(..)) { shown } else { shown + &lines }
    }
}

/// Returns the lines of an event, and whether the step ends with it.
fn of_step(step: &mut Step, event: Event<'_>) -> (String, bool) {
    let number = step.number;
    let line = |text: &str| format!("#{number} {text}\n");
    match event {
        Event::Begin(..) => (line(&step.shown_name()), false),
        Event::Cached(_) => (line("CACHED") + "\n", true),
        Event::Output(_, _, bytes) => (step.take(bytes).iter().map(|text| line(text)).collect(), false),
        Event::Note(_, text) => (line(&output::line(text)), false),
        Event::End(_) => {
            let rest: String = step.flush().iter().map(|text| line(text)).collect();
            (rest + &line(&format!("DONE {:.1}s", step.seconds())) + "\n", true)
        }
        Event::Failed(_, why) => {
            let rest: String = step.flush().iter().map(|text| line(text)).collect();
            (rest + &line(&format!("ERROR: {}", output::line(why))) + &step.failure(), true)
        }
        Event::Canceled(_) => (line("CANCELED") + "\n", true),
    }
}

impl Progress for Plain {
    fn event(&self, event: Event<'_>) {
        output::complain(&self.lines(event));
    }
}

#[cfg(test)]
mod tests {
    use bryo_build::progress::Stream;

    use super::*;

    #[test]
    fn steps_look_like_buildkits() {
        let plain = Plain::default();
        assert_eq!(plain.lines(Event::Begin(5, "[2/3] RUN x")), "#5 [2/3] RUN x\n");
        let said = plain.lines(Event::Output(5, Stream::Out, b"hello\nhalf"));
        assert!(said.starts_with("#5 0.0") && said.ends_with(" hello\n"), "{said}");
        let end = plain.lines(Event::End(5));
        assert!(end.contains(" half\n#5 DONE 0.0s\n\n"), "{end}");
        plain.lines(Event::Begin(6, "y"));
        assert_eq!(plain.lines(Event::Cached(6)), "#6 CACHED\n\n");
    }

    #[test]
    fn steps_beside_each_other_are_told_apart() {
        let plain = Plain::default();
        plain.lines(Event::Begin(1, "a"));
        assert_eq!(plain.lines(Event::Begin(2, "b")), "#1 ...\n\n#2 b\n");
        assert_eq!(plain.lines(Event::Output(1, Stream::Out, b"half")), "");
        let said = plain.lines(Event::Output(1, Stream::Out, b"x\n"));
        assert!(said.starts_with("#2 ...\n\n#1 a\n#1 0.0") && said.ends_with(" halfx\n"), "{said}");
        assert!(plain.lines(Event::End(1)).starts_with("#1 DONE"));
        assert_eq!(plain.lines(Event::Canceled(2)), "#2 b\n#2 CANCELED\n\n");
    }
}
