// SPDX-License-Identifier: Apache-2.0
//! `bryo demo`: a probe tries what must not be possible, and a table says what came of it.

use std::process::ExitCode;

use bryo_engine::demo::probe::{self, Ending, Outcome};
use bryo_engine::demo::{Input, Report};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::args::{Environment, RunArgs};
use crate::cli::Verb;
use crate::commands::run;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// The command line of `bryo demo`: that of `run`, without a command.
#[derive(Debug)]
pub struct Demo {
    run: RunArgs,
    json: bool,
}

impl Args for Demo {
    fn augment_args(command: Command) -> Command {
        RunArgs::augment_args(command)
            .mut_arg("image_and_command", |arg| arg.required(false).default_value("host:"))
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON"))
            .override_usage("bryo demo [OPTIONS] [IMAGE]")
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Demo {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        Ok(Self { run: RunArgs::from_arg_matches(matches)?, json: matches.get_flag("json") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        self.json = matches.get_flag("json");
        self.run.update_from_arg_matches(matches)
    }
}

impl Verb for Demo {
    const NAME: &'static str = "demo";
    const ABOUT: &'static str = "Try what a container must not be able to do, and show what comes of it";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let quiet = self.run.quiet();
        let here = std::env::current_dir().map_err(|e| Error::io("working directory", &e))?;
        let variable = |name: &str| std::env::var(name).ok();
        let options = self.run.options(&Environment { here: &here, variable: &variable })?;
        let engine = context.engine()?;
        let image = run::find(context, &engine, &options, quiet)?;
        let program = std::env::current_exe().map_err(|e| Error::io("this program", &e))?;
        let home = std::env::home_dir();
        let note = |line: &str| output::complain(&format!("bryo: {}\n", output::line(line)));
        let report = engine.demonstrate(Input { options, home: home.as_deref(), program: &program }, image, &note)?;
        output::print(&if self.json { output::json(&report)? } else { render(&report, output::stdout_is_terminal()) })?;
        Ok(ExitCode::from(u8::from(!report.refused)))
    }
}

/// The probe itself, as it runs inside a container.
#[derive(Debug, Args)]
pub struct Probe {
    /// What the demonstration tells the probe
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Verb for Probe {
    const NAME: &'static str = "__probe";
    const ABOUT: &'static str = "Try what a container must not be able to do, from inside";

    fn run(self, _: &Context) -> Result<ExitCode> {
        output::print(&probe::run(&self.words).map_err(Error::message)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn render(report: &Report, colours: bool) -> String {
    let outcomes = &report.findings.outcomes;
    let titles = ("TRIED", "WHAT HAPPENED");
    let longest = |title: &str, cell: fn(&Outcome) -> usize| outcomes.iter().map(cell).fold(title.len(), usize::max);
    let tried = longest(titles.0, |o| output::line(&o.tried).chars().count());
    let answer = longest(titles.1, |o| detail(o).chars().count());
    let mut text = format!("{:<tried$}   {:<answer$}   VERDICT\n", titles.0, titles.1);
    for outcome in outcomes {
        let (word, colour) = match outcome.ending {
            Ending::Refused(_) => ("refused", 32),
            Ending::Possible(_) => ("POSSIBLE", 31),
            Ending::Absent(_) => ("not here", 2),
        };
        let word = if colours { format!("\u{1b}[{colour}m{word}\u{1b}[0m") } else { word.to_owned() };
        text += &format!("{:<tried$}   {:<answer$}   {word}\n", output::line(&outcome.tried), detail(outcome));
        if matches!(outcome.ending, Ending::Possible(_)) {
            text += &format!("    gains: {}\n", output::line(&outcome.gains));
        }
    }
    text + &summary(report)
}

fn summary(report: &Report) -> String {
    let findings = &report.findings;
    let possible = findings.outcomes.iter().filter(|o| matches!(o.ending, Ending::Possible(_))).count();
    let host = findings.host_uid.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let verdict = match possible {
        0 => "everything was refused".to_owned(),
        n => format!("{n} of {} were possible", findings.outcomes.len()),
    };
    format!("\ninside: user {}, group {}\non the host: user {host}\n{verdict}\n", findings.uid, findings.gid)
}

fn detail(outcome: &Outcome) -> String {
    let (Ending::Refused(text) | Ending::Possible(text) | Ending::Absent(text)) = &outcome.ending;
    output::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bryo_engine::demo::probe::Findings;

    #[test]
    fn what_was_possible_stands_out_and_says_why_it_matters() {
        let outcome =
            |ending| Outcome { id: "a".into(), tried: "mount".into(), gains: "files\u{1b}[2J".into(), ending };
        let outcomes = vec![
            outcome(Ending::Refused("EPERM".into())),
            outcome(Ending::Possible("it succeeded".into())),
            outcome(Ending::Absent("no tool".into())),
        ];
        let findings = Findings { uid: 65532, gid: 65532, host_uid: Some(165_532), outcomes };
        let text = render(&Report { findings, refused: false }, false);
        assert!(text.contains("mount   EPERM           refused\n"), "{text}");
        assert!(text.contains("mount   it succeeded    POSSIBLE\n    gains: files\\u{1b}[2J\n"), "{text}");
        assert!(text.contains("on the host: user 165532\n1 of 3 were possible\n"), "{text}");
    }
}
