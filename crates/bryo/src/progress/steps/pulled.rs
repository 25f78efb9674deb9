// SPDX-License-Identifier: Apache-2.0
//! What a pull tells, as part of the step that wants the image.

use bryo_build::progress::{Event as StepEvent, Progress as Steps};
use bryo_image::progress::{Event, Progress};

use crate::progress::Way;
use crate::progress::lines::Lines;

/// Tells of a pull in a step.
pub struct Pulled<'a> {
    told: Option<&'a (dyn Steps + Sync)>,
    number: usize,
    lines: Lines,
}

impl<'a> Pulled<'a> {
    /// Tells somebody, or nobody, of what happens in the step of that number.
    pub fn new(told: Option<&'a (dyn Steps + Sync)>, number: usize) -> Self {
        Self { told, number, lines: Lines::new(Way::Pull) }
    }
}

impl Progress for Pulled<'_> {
    fn event(&self, event: Event<'_>) {
        let Some(told) = self.told else { return };
        match self.lines.line(event) {
            Some(line) => told.event(StepEvent::Note(self.number, &line)),
            None => told.tick(),
        }
    }
}
