// SPDX-License-Identifier: Apache-2.0
//! Steps as lines, in BuildKit's shape.

use std::sync::{Mutex, PoisonError};

use bryo_build::progress::{Event, Progress};

use super::Step;
use crate::output;

#[derive(Debug, Default)]
pub(super) struct Plain {
    step: Mutex<Option<Step>>,
}

impl Plain {
    fn lines(&self, event: Event<'_>) -> String {
        let mut current = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Begin(number, name) = event {
            let step = Step::new(number, name);
            let line = format!("#{number} {}\n", step.shown_name());
            *current = Some(step);
            return line;
        }
        let Some(step) = current.as_mut() else { return String::new() };
        let number = step.number;
        let line = |text: &str| format!("#{number} {text}\n");
        match event {
            Event::Begin(..) => String::new(),
            Event::Cached(_) => line("CACHED") + "\n",
            Event::Output(_, _, bytes) => step.take(bytes).iter().map(|text| line(text)).collect(),
            Event::Note(_, text) => line(&output::line(text)),
            Event::End(_) => {
                let rest: String = step.flush().iter().map(|text| line(text)).collect();
                rest + &line(&format!("DONE {:.1}s", step.seconds())) + "\n"
            }
            Event::Failed(_, why) => {
                let rest: String = step.flush().iter().map(|text| line(text)).collect();
                rest + &line(&format!("ERROR: {}", output::line(why))) + &step.failure()
            }
        }
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
}
