// SPDX-License-Identifier: Apache-2.0
//! `bryo doctor`: what this host offers, what is lost without it, and the line that mends it.

use std::process::ExitCode;

use bryo_engine::doctor::{self, Check, DoctorInput, Report, State};
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::{output, paths};

/// Examines this host: what it offers to containers, what is lost by each lack, and the line that mends it.
///
/// What can be tried is tried. Exits with 1 if no container can run at all.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Verb for Doctor {
    const NAME: &'static str = "doctor";
    const ABOUT: &'static str = "Say what this host offers and what mends what it lacks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let report = doctor::examine(&DoctorInput { store: context.data()?, runtime: paths::session() });
        output::print(&if self.json { output::json(&report)? } else { render(&report, output::stdout_is_terminal()) })?;
        Ok(ExitCode::from(u8::from(!report.usable)))
    }
}

fn render(report: &Report, colours: bool) -> String {
    let width = report.checks.iter().map(|c| c.title.len()).max().unwrap_or(0);
    let mut text: String = report.checks.iter().map(|c| paragraph(c, width, colours)).collect();
    text += &format!("\nrung: {}: {}\n", report.rung, report.identity);
    text += if report.usable { "containers can run\n" } else { "no container can run here\n" };
    text
}

fn paragraph(check: &Check, width: usize, colours: bool) -> String {
    let (word, colour) = match check.state {
        State::Ok => ("ok", 32),
        State::Degraded => ("degraded", 33),
        State::Missing => ("missing", 31),
    };
    let mark = if colours { format!("\u{1b}[{colour}m{word:<8}\u{1b}[0m") } else { format!("{word:<8}") };
    let mut text = format!("{mark}  {:<width$}  {}\n", check.title, output::line(&check.found));
    // Under the column of what was found, so that a remedy stands out and can be pasted.
    let indent = " ".repeat(width + 12);
    for (label, line) in [("lost", &check.loses), ("try ", &check.remedy)] {
        if let Some(line) = line {
            text += &format!("{indent}{label}: {}\n", output::line(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_shown_with_its_remedy_and_no_colour_in_a_pipe() {
        let check = Check {
            id: "pasta",
            title: "pasta",
            state: State::Degraded,
            vital: false,
            found: "not installed\u{1b}[2J".into(),
            loses: Some("the network".into()),
            remedy: Some("sudo apt install passt".into()),
        };
        let text = paragraph(&check, 8, false);
        assert!(text.starts_with("degraded  pasta     not installed\\u{1b}[2J\n"), "{text}");
        assert!(text.contains("lost: the network\n") && text.contains("try : sudo apt install passt\n"), "{text}");
        assert!(paragraph(&check, 8, true).starts_with("\u{1b}[33mdegraded"));
    }
}
