// SPDX-License-Identifier: Apache-2.0
//! Progress as bars, one a layer. They are drawn by whoever reports: there is no thread that ticks.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bryo_image::Digest;
use bryo_image::progress::{Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Way, short};
use crate::output;

const RUNNING: &str = "{prefix}  {bar:30}  {bytes:>10} / {total_bytes:<10} {msg}";
const ENDED: &str = "{prefix}  {msg}";
/// More bars than this are more than a screen; the other layers are transferred unseen.
const BARS_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Bars {
    way: Way,
    area: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    pub(super) fn new(way: Way) -> Self {
        let area = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        Self { way, area, layers: Mutex::default() }
    }

    fn add(&self, digest: &Digest, size: u64) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if layers.len() >= BARS_MAX || layers.contains_key(digest) {
            return;
        }
        let bar = self.area.add(ProgressBar::new(size));
        bar.set_style(style(RUNNING));
        bar.set_prefix(short(digest).to_owned());
        bar.set_message("waiting");
        layers.insert(digest.clone(), bar);
    }

    fn with(&self, digest: &Digest, change: impl FnOnce(&ProgressBar)) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = layers.get(digest) {
            change(bar);
        }
    }

    fn end(&self, digest: &Digest, word: &'static str) {
        self.with(digest, |bar| {
            bar.set_style(style(ENDED));
            bar.finish_with_message(word);
        });
    }

    fn say(&self, text: &str) {
        // A terminal that is gone is no reason to stop a transfer.
        let _ = self.area.println(output::line(text));
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Resolved { reference, layers, .. } => {
                self.say(&format!("{} {reference}", if self.way == Way::Pull { "pulling" } else { "pushing" }));
                for layer in layers {
                    self.add(layer.digest, layer.size);
                }
            }
            Event::LayerExists { digest } => self.end(digest, "already there"),
            Event::LayerStart { digest, resumed, .. } => self.with(digest, |bar| {
                bar.set_position(resumed);
                bar.set_message("");
            }),
            Event::LayerProgress { digest, done } => self.with(digest, |bar| bar.set_position(done)),
            Event::LayerVerified { digest } if self.way == Way::Pull => self.with(digest, |bar| {
                bar.set_position(bar.length().unwrap_or_default());
                bar.set_message("unpacking");
            }),
            Event::LayerDone { digest } => self.end(digest, "done"),
            Event::Retry { object, attempt, pause, reason } => {
                self.say(&format!("{object}: {reason}; attempt {attempt} in {:.1} s", pause.as_secs_f64()));
            }
            Event::Done { manifest, .. } => self.say(&format!("digest: {manifest}")),
            _ => {}
        }
    }
}

impl Drop for Bars {
    /// Goes on below the bars.
    fn drop(&mut self) {
        if !self.layers.lock().unwrap_or_else(PoisonError::into_inner).is_empty() && !self.area.is_hidden() {
            output::complain("\n");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file, and tested.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [RUNNING, ENDED] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn there_are_never_more_bars_than_a_screen_holds() {
        let bars = Bars::new(Way::Pull);
        bars.area.set_draw_target(ProgressDrawTarget::hidden());
        for n in 0..100_u8 {
            bars.add(&Digest::sha256_of(&[n]), 1);
        }
        assert_eq!(bars.layers.lock().unwrap().len(), BARS_MAX);
        bars.event(Event::LayerDone { digest: &Digest::sha256_of(b"of no bar") });
    }
}
