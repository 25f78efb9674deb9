// SPDX-License-Identifier: Apache-2.0
//! `bryo policy`: what must hold of containers, and whether it does.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::list::Listing;
use bryo_engine::options::RunOptions;
use bryo_engine::policy::{Answer, Report, Rules};
use bryo_engine::run::Image;

use super::sbom::Target;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::{output, pages, paths};

/// The exit code when a rule does not hold.
const BROKEN: u8 = 1;

/// Say whether the policy lets images and containers start, and go on
///
/// A container is judged as it is now, an image as "bryo run IMAGE" would start it. Ends with 0 if every rule holds, with 1
/// if one does not, and with 125 if the policy or a target cannot be read.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Check {
    /// Judge every container that runs
    #[arg(short, long, group = "what")]
    all: bool,
    /// Show the rules that hold as well, and why
    #[arg(long)]
    explain: bool,
    /// Format as json, or as a table
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// The container, or else the image, by name or id
    #[arg(group = "what", value_name = "CONTAINER|IMAGE")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

impl Verb for Check {
    const NAME: &'static str = "check";
    const ABOUT: &'static str = "Say whether the policy lets images and containers start, and go on";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let reports = if self.all {
            let running = engine.list(&Listing::default())?;
            running.iter().map(|record| Ok(engine.verdict_on_container(record)?)).collect::<Result<Vec<_>>>()?
        } else {
            self.names.iter().map(|name| report(&engine, name)).collect::<Result<Vec<_>>>()?
        };
        pages::write(self.html.as_deref(), || pages::policy::page(&reports))?;
        if self.format == Format::Json {
            output::print(&(output::json(&reports)? + "\n"))?;
        } else {
            output::print(&table(&reports, self.explain))?;
        }
        Ok(code(&reports))
    }
}

/// Judges a container, or an image as it would be started without a flag.
pub(super) fn report(engine: &Engine, name: &str) -> Result<Report> {
    if Image::is_of_host(name) {
        let options = RunOptions { image: name.to_owned(), ..RunOptions::default() };
        return Ok(engine.verdict_on_run(&options, Image::of_host(name)?)?);
    }
    match Target::find(engine, name)? {
        Target::Container(record) => Ok(engine.verdict_on_container(&record)?),
        Target::Image(image, name) => {
            // What it would run is of no matter here, and an image may say nothing of it.
            let options = RunOptions { image: name, command: vec!["true".into()], ..RunOptions::default() };
            Ok(engine.verdict_on_run(&options, Image::Stored(image))?)
        }
        Target::Directory(path) => {
            Err(Error::message(format!("judge {path}: it is a directory")).hint(format!("rootfs:{path}")))
        }
    }
}

/// Shows what every rule says, and ends as a start would.
pub(super) fn explain(reports: &[Report]) -> Result<ExitCode> {
    output::print(&table(reports, true))?;
    Ok(if reports.iter().all(Report::holds) { ExitCode::SUCCESS } else { ExitCode::from(USAGE) })
}

fn code(reports: &[Report]) -> ExitCode {
    if reports.iter().all(Report::holds) { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) }
}

fn table(reports: &[Report], all: bool) -> String {
    let mut rows = Vec::new();
    for report in reports {
        for verdict in report.verdicts.iter().filter(|verdict| all || verdict.answer != Answer::Holds) {
            let place = format!("{}:{}", verdict.file.display(), verdict.line);
            let cells = [&report.target, verdict.rule, verdict.answer.as_str(), &verdict.why, &verdict.remedy, &place];
            rows.push(cells.map(str::to_owned).to_vec());
        }
    }
    let shown = if rows.is_empty() {
        String::new()
    } else {
        output::table(&["TARGET", "RULE", "ANSWER", "WHY", "REMEDY", "WRITTEN IN"], rows) + "\n"
    };
    let sum = |report: &Report| {
        let target = output::line(&report.target).into_owned();
        match (report.verdicts.len(), report.broken().count()) {
            (0, _) => format!("{target}: there is no policy\n"),
            (rules, 0) => format!("{target}: {rules} rules hold\n"),
            (rules, broken) => format!("{target}: {broken} of {rules} rules do not hold\n"),
        }
    };
    shown + &reports.iter().map(sum).collect::<String>()
}

/// Write a file in which every rule is explained and none is in force
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The file; without it your own policy, which is in force
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
}

impl Verb for Init {
    const NAME: &'static str = "init";
    const ABOUT: &'static str = "Write a file in which every rule is explained and none is in force";

    fn run(self, _: &Context) -> Result<ExitCode> {
        let file = self.file.map_or_else(paths::policy, Ok)?;
        let fail = |error: std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => Error::message(format!("write {}: it exists already", file.display())),
            _ => Error::io(format!("write {}", file.display()), &error),
        };
        if let Some(dir) = file.parent() {
            std::fs::create_dir_all(dir).map_err(fail)?;
        }
        File::create_new(&file).and_then(|mut made| made.write_all(Rules::template().as_bytes())).map_err(fail)?;
        output::print(&format!("{}\n", output::line(&file.display().to_string())))?;
        Ok(ExitCode::SUCCESS)
    }
}
