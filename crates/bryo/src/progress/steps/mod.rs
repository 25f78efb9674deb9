// SPDX-License-Identifier: Apache-2.0
//! The steps of a build, on standard error: as lines, as a view that changes, as JSON.

mod json;
mod live;
mod plain;
mod pulled;
mod quiet;

use std::time::Instant;

use bryo_build::progress::Progress;

use crate::output;

pub use pulled::Pulled;

/// How the steps of a build are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// A view that changes on a terminal, else lines
    Auto,
    /// Lines, as they come
    Plain,
    /// A view that changes
    Tty,
    /// An object of JSON a line, as BuildKit writes them
    Rawjson,
    /// Nothing, but what a step has said that fails
    Quiet,
}

/// Chooses how steps are shown. Starts no thread.
pub fn reporter(form: Form) -> Box<dyn Progress + Sync> {
    match form {
        Form::Auto if output::draws() => Box::new(live::Live::new()),
        Form::Tty => Box::new(live::Live::new()),
        Form::Auto | Form::Plain => Box::new(plain::Plain::default()),
        Form::Rawjson => Box::new(json::Json::default()),
        Form::Quiet => Box::new(quiet::Quiet::default()),
    }
}

/// A step that goes on.
#[derive(Debug)]
struct Step {
    number: usize,
    name: String,
    begun: Instant,
    /// What it has said of a line that has no end yet.
    rest: Vec<u8>,
    /// The last lines that it has said, to be shown again if it fails.
    last: Vec<String>,
}

impl Step {
    /// How many lines are shown again.
    const LAST: usize = 10;
    /// The longest line that is waited for, in bytes.
    const LINE: usize = 16 << 10;

    fn new(number: usize, name: &str) -> Self {
        Self { number, name: name.to_owned(), begun: Instant::now(), rest: Vec::new(), last: Vec::new() }
    }

    /// Takes what the step says, and returns the lines that have an end.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            lines.push(self.line(&line));
        }
        if self.rest.len() > Self::LINE {
            lines.extend(self.flush());
        }
        lines
    }

    /// Returns the line that has no end.
    fn flush(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| self.line(&rest))
    }

    fn line(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        // What a program draws over a line is the last of it.
        let shown = output::line(text.rsplit('\r').next().unwrap_or(text)).replace("\\t", "\t");
        let line = format!("{:.3} {shown}", self.seconds());
        if self.last.len() == Self::LAST {
            self.last.remove(0);
        }
        self.last.push(line.clone());
        line
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Returns what is shown again of a step that has failed.
    fn failure(&self) -> String {
        let rule = "------\n";
        let lines: String = self.last.iter().map(|line| format!("{line}\n")).collect();
        format!("{rule} > {}:\n{lines}{rule}", self.shown_name())
    }

    fn shown_name(&self) -> String {
        output::line(&self.name).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shown_when_they_end() {
        let mut step = Step::new(1, "RUN x");
        assert_eq!(step.take(b"a"), [""; 0]);
        let lines = step.take(b"b\nc\r\n10%\r20%\nd\x1b[2J");
        let texts: Vec<&str> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(texts, ["ab", "c", "20%"]);
        assert!(step.flush().unwrap().ends_with("d\\u{1b}[2J"));
        assert_eq!(step.flush(), None);
        assert!(step.failure().starts_with("------\n > RUN x:\n") && step.failure().contains(" 20%\n"));
    }

    #[test]
    fn a_line_without_an_end_is_shown_before_it_fills_the_memory() {
        let mut step = Step::new(1, "x");
        assert_eq!(step.take(&vec![b'x'; Step::LINE + 1]).len(), 1);
        for n in 0..100 {
            step.take(format!("{n}\n").as_bytes());
        }
        assert_eq!(step.last.len(), Step::LAST);
    }
}
