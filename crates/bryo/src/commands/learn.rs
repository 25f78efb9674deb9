// SPDX-License-Identifier: Apache-2.0
//! `bryo learn`: one observed run gives the least profile.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bryo_engine::Engine;
use bryo_engine::learned::{Break, Profile};
use bryo_engine::observe::{Observation, Observe};
use bryo_engine::options::RunOptions;
use bryo_image::reference::Reference;
use clap::{Args, Command, FromArgMatches};

use crate::args::RunArgs;
use crate::cli::Verb;
use crate::commands::run;
use crate::commands::start::note;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, pages};

/// Where a profile goes when nobody says.
const FILE: &str = "bryo-profile.json";

/// Run a program under observation, and write down the least that it needs
///
/// The words after -- are a bryo run in the foreground. Its system calls, the capabilities that they succeeded by, the
/// directories that it wrote in, the TCP and UDP ports that it bound and reached for, and its devices become a profile,
/// which bryo run --profile FILE enforces. What one run did not do is not in it: --merge adds to a profile that is there.
///
/// --from turns a profile into other words without a run.
///
/// Ends as the program does.
#[derive(Debug, Args)]
pub struct Learn {
    /// Write to FILE; else a profile to bryo-profile.json, and other formats to standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Add to the profile that is in the file already
    #[arg(long)]
    merge: bool,
    /// What to write
    #[arg(short, long, value_name = "FORMAT", default_value = "profile")]
    format: Format,
    /// Write a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// How many seconds it may run; without it until it ends
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    settle: Option<u64>,
    /// Run nothing, and take the profile from FILE
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["merge", "settle", "words"])]
    from: Option<PathBuf>,
    /// The run: run [FLAGS] IMAGE [COMMAND]
    #[arg(value_name = "RUN", last = true, required_unless_present = "from")]
    words: Vec<String>,
}

/// The forms of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For --profile and --merge
    Profile,
    /// A seccomp profile in Docker's form
    Seccomp,
    /// Flags of bryo run
    Flags,
    /// A pod and a network policy
    Kubernetes,
}

impl Verb for Learn {
    const NAME: &'static str = "learn";
    const ABOUT: &'static str = "Run a program under observation, and write down the least that it needs";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.merge && self.format != Format::Profile {
            return Err(Error::message("--merge adds to a profile: leave --format out, and turn it with --from then"));
        }
        if let Some(file) = &self.from {
            self.write(&read(file)?, &[])?;
            return Ok(ExitCode::SUCCESS);
        }
        let before = if self.merge { Some(read(self.file())?) } else { None };
        let observe = Observe { limit: self.settle.map(Duration::from_secs) };
        let fits = |engine: &Engine, options: &RunOptions| before.as_ref().map_or(Ok(()), |p| fits(engine, p, options));
        let (outcome, options, profile) = run::observed(parse(&self.words)?, context, observe, &fits)?;
        if profile.is_some() {
            note("--profile was not enforced: what it refuses would not have been learned");
        }
        let Some(observed) = outcome.observed else { return Ok(code(outcome.code)) };
        let missed = missed(&observed.seen);
        missed.iter().for_each(|line| note(&format!("{line}; the profile may lack something")));
        let learned = Profile::of(&observed, &options.image, options.user.is_some());
        self.write(&before.map_or(learned.clone(), |before| before.merged(learned)), &missed)?;
        Ok(code(outcome.code))
    }
}

impl Learn {
    fn file(&self) -> &Path {
        self.output.as_deref().unwrap_or(Path::new(FILE))
    }

    fn write(&self, profile: &Profile, missed: &[String]) -> Result<()> {
        pages::write(self.html.as_deref(), || pages::learn::page(profile, missed))?;
        let text = match self.format {
            Format::Profile => output::json(profile)?,
            Format::Seccomp => profile.seccomp().map_err(|e| Error::message(e.to_string()))?,
            Format::Flags => profile.flags(),
            Format::Kubernetes => profile.kubernetes(),
        };
        let apart = self.format != Format::Profile || self.from.is_some();
        if self.output.is_none() && apart {
            return output::print(&text);
        }
        let file = self.file();
        std::fs::write(file, text).map_err(|e| Error::io(format!("write {}", file.display()), &e))?;
        note(&format!("the profile is in {}", file.display()));
        Ok(())
    }
}

/// Refuses to add what another image needs to a profile: it would permit both more than either needs.
fn fits(engine: &Engine, before: &Profile, options: &RunOptions) -> Result<()> {
    let (old, new) = (before.image.as_str(), options.image.as_str());
    let name = |text: &str| text.parse::<Reference>().ok().map(|reference| reference.to_string());
    let digest = |text: &str| engine.store().find(text).ok().map(|record| record.manifest.to_string());
    let same = |name: &dyn Fn(&str) -> Option<String>| name(old).is_some_and(|old| name(new) == Some(old));
    if old == new || same(&name) || same(&digest) {
        return Ok(());
    }
    let shown = |text: &str| match digest(text) {
        Some(digest) => format!("{text} ({digest})"),
        None => text.to_owned(),
    };
    let why = format!("--merge: the profile is of {}, and this is {}", shown(old), shown(new));
    Err(Error::message(why).hint("bryo learn -o OTHER.json -- run IMAGE, a profile for each"))
}

fn read(file: &Path) -> Result<Profile> {
    let text = std::fs::read(file).map_err(|e| Error::io(format!("read {}", file.display()), &e))?;
    Ok(Profile::parse(&text)?)
}

/// Reads the words of a run as the command line does.
fn parse(words: &[String]) -> Result<RunArgs> {
    if words.first().is_none_or(|word| word != RunArgs::NAME) {
        return Err(Error::message("what is learned from is a run").hint("bryo learn -- run IMAGE"));
    }
    let command = RunArgs::augment_args(Command::new("bryo run"));
    let parsed = command.try_get_matches_from(words).and_then(|matches| RunArgs::from_arg_matches(&matches));
    parsed.map_err(Error::Usage)
}

/// Runs without enforcing a profile, and says what that would have refused.
pub(super) fn would_break(args: RunArgs, context: &Context) -> Result<ExitCode> {
    let (outcome, _, profile) = run::observed(args, context, Observe::default(), &|_, _| Ok(()))?;
    let observed = outcome.observed.as_ref();
    let breaks = profile.zip(observed).map_or_else(Vec::new, |(profile, observed)| profile.breaks(observed));
    for Break { kind, what } in &breaks {
        note(&format!("the profile would refuse: {kind} {}", output::line(what)));
    }
    let missed = observed.map_or_else(Vec::new, |observed| missed(&observed.seen));
    missed.iter().for_each(|line| note(&format!("{line}: what the profile makes of that is unknown")));
    let sound = breaks.is_empty() && missed.is_empty();
    if sound {
        note("the profile would refuse nothing");
    }
    Ok(code(if sound || outcome.code != 0 { outcome.code } else { 1 }))
}

/// Says what was not seen.
fn missed(seen: &Observation) -> Vec<String> {
    let mut missed = Vec::new();
    if seen.left_out > 0 {
        missed.push(format!("{} things were too many to be written down", seen.left_out));
    }
    if seen.unwatched > 0 {
        missed.push(format!("{} processes were made so that nobody can watch them (CLONE_UNTRACED)", seen.unwatched));
    }
    missed
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
