// SPDX-License-Identifier: Apache-2.0
//! Progress as lines: for logs and pipes. Only what changes a layer's state is a line; the bytes between are not.

use bryo_image::progress::{Event, Progress};

use super::{Way, short};
use crate::output::{self, human};

#[derive(Debug)]
pub(super) struct Lines {
    way: Way,
}

impl Lines {
    pub(super) fn new(way: Way) -> Self {
        Self { way }
    }

    pub(super) fn line(&self, event: Event<'_>) -> Option<String> {
        let line = match event {
            Event::Resolved { reference, layers, .. } => {
                let total = layers.iter().map(|layer| layer.size).sum();
                let verb = if self.way == Way::Pull { "pulling" } else { "pushing" };
                format!("{verb} {reference}: {} layers, {}", layers.len(), human::size(total))
            }
            Event::LayerExists { digest } => format!("{}: already there", short(digest)),
            Event::LayerStart { digest, resumed: 0, total } => {
                format!("{}: {}", short(digest), human::size(total))
            }
            Event::LayerStart { digest, resumed, total } if resumed < total => {
                format!("{}: {}, going on at {}", short(digest), human::size(total), human::size(resumed))
            }
            Event::LayerDone { digest } => format!("{}: done", short(digest)),
            Event::Retry { object, attempt, pause, reason } => {
                format!("{object}: {reason}; attempt {attempt} in {:.1} s", pause.as_secs_f64())
            }
            Event::Done { manifest, .. } => format!("digest: {manifest}"),
            _ => return None,
        };
        Some(line)
    }
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if let Some(line) = self.line(event) {
            output::complain(&format!("{}\n", output::line(&line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bryo_image::Digest;

    use super::*;

    #[test]
    fn states_are_lines_and_bytes_are_not() {
        let digest = Digest::sha256_of(b"");
        let lines = Lines::new(Way::Pull);
        assert_eq!(lines.line(Event::LayerProgress { digest: &digest, done: 1 }), None);
        assert_eq!(lines.line(Event::LayerDone { digest: &digest }).unwrap(), "e3b0c44298fc: done");
        let start = Event::LayerStart { digest: &digest, resumed: 1000, total: 2000 };
        assert_eq!(lines.line(start).unwrap(), "e3b0c44298fc: 2kB, going on at 1kB");
        let retry = Event::Retry { object: "x", attempt: 2, pause: Duration::from_millis(1500), reason: "reset" };
        assert_eq!(lines.line(retry).unwrap(), "x: reset; attempt 2 in 1.5 s");
    }
}
