// SPDX-License-Identifier: Apache-2.0
//! Steps as a view that changes: a line for each, and below each that goes on what it has said last.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bryo_build::progress::{Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Step;
use crate::output;

/// How many lines are shown of what a step says.
const SHOWN: usize = 6;

pub(super) struct Live {
    area: MultiProgress,
    current: Mutex<BTreeMap<usize, (Step, Vec<ProgressBar>)>>,
}

impl Live {
    pub(super) fn new() -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        Self { area, current: Mutex::default() }
    }

    /// Ends a step: its line stays, what it has said goes.
    fn end(&self, number: usize, word: Option<&str>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((step, bars)) = current.remove(&number) else { return };
        bars.iter().for_each(ProgressBar::finish_and_clear);
        let time = word.map_or_else(|| format!("{:.1}s", step.seconds()), str::to_owned);
        let mark = if word == Some("ERROR") { "=> ERROR" } else { "=>" };
        let time = if word == Some("ERROR") { format!("{:.1}s", step.seconds()) } else { time };
        // A terminal that is gone is no reason to stop.
        let _ = self.area.println(format!(" {mark} {}  {time}", step.shown_name()));
        if word == Some("ERROR") {
            let _ = self.area.println(step.failure().trim_end());
        }
    }

    fn bar(&self, text: String, after: Option<&ProgressBar>) -> ProgressBar {
        let bar = ProgressBar::new_spinner();
        let bar = match after {
            Some(after) => self.area.insert_after(after, bar),
            None => self.area.add(bar),
        };
        // The template is a constant.
        bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(text);
        bar.tick();
        bar
    }
}

impl Progress for Live {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Begin(number, name) => {
                let step = Step::new(number, name);
                let bar = self.bar(format!(" => {}", step.shown_name()), None);
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.insert(number, (step, vec![bar]));
            }
            Event::Output(number, _, bytes) => {
                let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                let Some((step, bars)) = current.get_mut(&number) else { return };
                if step.take(bytes).is_empty() {
                    return;
                }
                bars[0].set_message(format!(" => {}  {:.1}s", step.shown_name(), step.seconds()));
                let from = step.last.len().saturating_sub(SHOWN);
                for (n, line) in step.last[from..].iter().enumerate() {
                    let line = format!(" => => # {line}");
                    match bars.get(n + 1) {
                        Some(bar) => bar.set_message(line),
                        None => bars.push(self.bar(line, bars.last())),
                    }
                }
            }
            Event::Note(_, text) => {
                let _ = self.area.println(format!(" => => {}", output::line(text)));
            }
            Event::Cached(number) => self.end(number, Some("CACHED")),
            Event::End(number) => self.end(number, None),
            Event::Failed(number, _) => self.end(number, Some("ERROR")),
            Event::Canceled(number) => self.end(number, Some("CANCELED")),
        }
    }
}
