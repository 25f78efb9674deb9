// SPDX-License-Identifier: Apache-2.0
//! Steps as a view that changes: those that have ended scroll away above it, and in it is every step that goes on, with
//! what it has said last.
//!
//! ```text
//!  => [one 1/2] FROM localhost/base                                 0.0s
//! [+] Building 3.2s (1/3)
//!  => [one 2/2] RUN make                                            3.1s
//!  => => # 0.204 cc -c a.c
//!  => [two 2/2] RUN make test                                       3.0s
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bryo_build::progress::{Event, Progress};
use unicode_width::UnicodeWidthChar;

use super::Step;

/// The most lines that are shown of what a step says.
const SHOWN: usize = 6;

/// How long the view stays as it is, at least.
const STILL: Duration = Duration::from_millis(66);

/// What is assumed of something that is no terminal, in columns and rows.
const SIZE: (usize, usize) = (80, 24);

pub(super) struct Live<W = io::Stderr> {
    view: Mutex<View<W>>,
}

struct View<W> {
    out: W,
    size: fn() -> (usize, usize),
    begun: Instant,
    steps: BTreeMap<usize, Step>,
    /// How many steps have ended.
    ended: usize,
    /// What is to be shown above the view, and stays.
    above: String,
    /// How many lines the view has on the screen.
    height: usize,
    /// When it was drawn.
    drawn: Option<Instant>,
}

impl Live {
    pub(super) fn new() -> Self {
        Self::on(io::stderr(), size)
    }
}

impl<W: Write> Live<W> {
    fn on(out: W, size: fn() -> (usize, usize)) -> Self {
        let view = View {
            out,
            size,
            begun: Instant::now(),
            steps: BTreeMap::new(),
            ended: 0,
            above: String::new(),
            height: 0,
            drawn: None,
        };
        Self { view: Mutex::new(view) }
    }
}

/// Returns the size of the terminal, in columns and rows.
fn size() -> (usize, usize) {
    let found = rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 20 && size.ws_row > 4);
    found.map_or(SIZE, |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

impl<W: Write> View<W> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Begin(number, name) => drop(self.steps.insert(number, Step::new(number, name))),
            Event::Output(number, _, bytes) => {
                if let Some(step) = self.steps.get_mut(&number) {
                    step.take(bytes);
                }
            }
            Event::Note(number, text) => {
                if let Some(step) = self.steps.get_mut(&number) {
                    step.take(format!("{text}\n").as_bytes());
                }
            }
            Event::Cached(number) => self.end(number, "CACHED", "CACHED", false),
            Event::End(number) => self.end(number, "", "", false),
            Event::Failed(number, _) => self.end(number, "ERROR", "", true),
            Event::Canceled(number) => self.end(number, "CANCELED", "", false),
        }
    }

    /// Ends a step: its line stays, what it has said goes, unless it has failed.
    fn end(&mut self, number: usize, mark: &str, time: &str, failed: bool) {
        let Some(mut step) = self.steps.remove(&number) else { return };
        self.ended += 1;
        step.flush();
        let time = if time.is_empty() { format!("{:.1}s", step.seconds()) } else { String::new() };
        let mark = if mark.is_empty() { String::new() } else { format!("{mark} ") };
        self.above += &spread(&format!(" => {mark}{}", step.shown_name()), &time, (self.size)().0);
        if failed {
            self.above += &step.failure();
        }
    }

    /// Returns what goes on, in lines that are no longer than the terminal is wide, and no more than it is high.
    fn lines(&self) -> Vec<String> {
        if self.steps.is_empty() {
            return Vec::new();
        }
        let (columns, rows) = (self.size)();
        let (ended, all) = (self.ended, self.ended + self.steps.len());
        let mut lines = vec![format!("[+] Building {:.1}s ({ended}/{all})\n", self.begun.elapsed().as_secs_f64())];
        let room = rows.saturating_sub(2);
        let shown = (room.saturating_sub(self.steps.len()) / self.steps.len()).min(SHOWN);
        for step in self.steps.values().take(room) {
            lines.push(spread(&format!(" => {}", step.shown_name()), &format!("{:.1}s", step.seconds()), columns));
            let from = step.last.len().saturating_sub(shown);
            lines.extend(step.last[from..].iter().map(|line| spread(&format!(" => => # {line}"), "", columns)));
        }
        lines
    }

    fn draw(&mut self, now: bool) {
        if !now && self.drawn.is_some_and(|drawn| drawn.elapsed() < STILL) {
            return;
        }
        let mut text = match self.height {
            0 => String::new(),
            height => format!("\x1b[{height}A\x1b[J"),
        };
        text += &std::mem::take(&mut self.above);
        let lines = self.lines();
        self.height = lines.len();
        lines.iter().for_each(|line| text += line);
        self.drawn = Some(Instant::now());
        // A terminal that is gone is no reason to stop.
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// Returns a line with a text at its left and one at its right; the left one is cut where there is no room.
fn spread(left: &str, right: &str, columns: usize) -> String {
    // The last column stays empty: some terminals begin a new line there.
    let room = columns.saturating_sub(right.len() + 2);
    let (mut shown, mut width) = (String::new(), 0);
    for c in left.chars().map(|c| if c == '\t' { ' ' } else { c }) {
        width += c.width().unwrap_or(0);
        if width > room {
            break;
        }
        shown.push(c);
    }
    if right.is_empty() {
        return format!("{}\n", shown.trim_end());
    }
    let blank = room.saturating_sub(width.min(room)) + 1;
    format!("{shown}{:blank$}{right}\n", "")
}

impl<W: Write + Send> Progress for Live<W> {
    fn event(&self, event: Event<'_>) {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let first = view.steps.is_empty();
        view.event(event);
        // The last step's end is the end of the view.
        let now = first || view.steps.is_empty();
        view.draw(now);
    }

    fn follows_time(&self) -> bool {
        true
    }

    fn tick(&self) {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).draw(false);
    }
}

#[cfg(test)]
mod tests {
    use bryo_build::progress::Stream;

    use super::*;

    fn told(events: &[Event<'_>]) -> (String, String) {
        let live = Live::on(Vec::new(), || (40, 10));
        events.iter().for_each(|event| live.event(*event));
        let mut view = live.view.into_inner().unwrap();
        let lines = view.lines().concat();
        view.draw(true);
        (String::from_utf8(view.out).unwrap(), lines)
    }

    #[test]
    fn every_step_that_goes_on_has_a_line_and_what_it_said_last() {
        let mut events = vec![Event::Begin(1, "[a 1/2] FROM x"), Event::End(1)];
        events.extend([Event::Begin(2, "[a 2/2] RUN a"), Event::Begin(3, "[b 2/2] RUN \x1b[2J"), Event::Cached(7)]);
        let said: Vec<String> = (0..9).map(|n| format!("line {n}\n")).collect();
        events.extend(said.iter().map(|line| Event::Output(2, Stream::Out, line.as_bytes())));
        let (text, lines) = told(&events);
        assert!(text.contains(" => [a 1/2] FROM x"), "{text}");
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines[0].starts_with("[+] Building 0.") && lines[0].ends_with("(1/3)"), "{lines:?}");
        assert!(lines[1].starts_with(" => [a 2/2] RUN a ") && lines[1].ends_with("s") && lines[1].len() == 39);
        // Three lines each, so that the view is not higher than the screen.
        assert!(lines[2].ends_with(" line 6") && lines[4].ends_with(" line 8"), "{lines:?}");
        assert!(lines[5].starts_with(" => [b 2/2] RUN \\u{1b}[2J"), "{lines:?}");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn what_has_failed_is_shown_again_and_nothing_is_left_of_the_view() {
        let (text, lines) = told(&[
            Event::Begin(1, "RUN x"),
            Event::Output(1, Stream::Err, b"why"),
            Event::Begin(2, "RUN y"),
            Event::Canceled(2),
            Event::Failed(1, "no"),
        ]);
        assert!(text.contains(" => CANCELED RUN y") && text.contains(" => ERROR RUN x"), "{text}");
        assert!(text.contains("------\n > RUN x:\n0.0") && text.ends_with("why\n------\n"), "{text}");
        assert_eq!(lines, "");
    }

    #[test]
    fn lines_are_as_wide_as_the_terminal() {
        assert_eq!(spread("abc", "1.0s", 12), "abc    1.0s\n");
        assert_eq!(spread("abcdefghijk", "1.0s", 12), "abcdef 1.0s\n");
        assert_eq!(spread("宽宽宽宽宽", "1.0s", 12), "宽宽宽 1.0s\n");
        assert_eq!(spread("a\tb  ", "", 12), "a b\n");
    }
}
