// SPDX-License-Identifier: Apache-2.0
//! `bryo why-root`: every reason for which an image wants root.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bryo_audit::facts::image::Image as Facts;
use bryo_audit::reasons::{self, Asked, Reason, Remedy};
use bryo_engine::Engine;
use bryo_engine::observe::Observe;
use bryo_engine::observe::sentence::Sentence;
use bryo_engine::options::{Network, RunOptions};
use bryo_engine::run::{Image, Request};
use bryo_image::store::Image as Stored;
use bryo_launch::relay::Caller;
use clap::Args;
use serde::Serialize;

use crate::cli::Verb;
use crate::commands::run;
use crate::commands::start::note;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::{output, pages};

/// Say why an image wants root: every reason with its evidence and its remedy
///
/// Nothing of the image is executed, but with --run: then its program runs as bryo run would run it, as nobody with a
/// read-only root and not as root, while every system call that it is refused is written down and said as a sentence:
/// what it wanted, as which user, and what would satisfy it. What the program says goes to standard error.
///
/// BY says who has something to do about a reason: nobody, harden (bryo run does it
/// for a container, bryo harden for good), or the image's author. Of a container, its own command and user count.
#[derive(Debug, Args)]
pub struct WhyRoot {
    /// How to print the reasons
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Write a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Pull quietly
    #[arg(short, long)]
    quiet: bool,
    /// Run it under observation, and say what it is refused
    #[arg(long)]
    run: bool,
    /// With --run: how many seconds it has, unless it ends before
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600),
        requires = "run")]
    settle: u64,
    /// With --run: its network, private, none or host
    #[arg(long, value_name = "NETWORK", requires = "run", value_parser = network)]
    network: Option<Network>,
    /// With --run: variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE", requires = "run")]
    env: Vec<String>,
    /// An image or a container
    #[arg(value_name = "IMAGE|CONTAINER")]
    target: String,
    /// With --run: a command in place of its own
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true, requires = "run")]
    command: Vec<String>,
}

fn network(text: &str) -> std::result::Result<Network, String> {
    Network::parse(text).ok_or_else(|| format!("{text:?} is not private, none or host"))
}

/// The forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// Everything
    Json,
}

/// What a program is told.
#[derive(Serialize)]
struct Answer<'a> {
    target: &'a str,
    image: String,
    /// How many reasons whom concern.
    by: BTreeMap<&'static str, usize>,
    reasons: &'a [Reason],
}

/// What a program is told of a run.
#[derive(Serialize)]
struct Ran<'a> {
    target: &'a str,
    /// Its exit code, or 128 and the number of the signal that ended it.
    code: i32,
    /// The user and the group inside that it ran as.
    user: String,
    refused: &'a [Sentence],
    /// How many refusals were not written down because there were too many.
    left_out: u64,
}

impl Verb for WhyRoot {
    const NAME: &'static str = "why-root";
    const ABOUT: &'static str = "Say why an image wants root";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.run {
            return self.observe(context, &engine);
        }
        let (image, asked) = self.find(context, &engine)?;
        let found = reasons::reasons(&read(&engine, &image)?, &asked);
        pages::write(self.html.as_deref(), || pages::why_root::page(&self.target, &found))?;
        let text = match self.format {
            Format::Table => table(&self.target, &found),
            Format::Json => {
                let image = image.manifest_digest.to_string();
                output::json(&Answer { target: &self.target, image, by: count(&found), reasons: &found })? + "\n"
            }
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl WhyRoot {
    /// Runs it, and says what it was refused.
    fn observe(&self, context: &Context, engine: &Engine) -> Result<ExitCode> {
        let (options, image) = self.asked(context, engine)?;
        let nothing = std::fs::File::open("/dev/null").map_err(|e| Error::io("open /dev/null", &e))?;
        let stderr = std::io::stderr();
        // Standard output is for the answer alone.
        let caller = Caller { stdin: nothing.as_fd(), stdout: stderr.as_fd(), stderr: stderr.as_fd() };
        let observe = Some(Observe { limit: Some(Duration::from_secs(self.settle)) });
        let outcome =
            engine.run(&Request { options: &options, caller, notifier: None, observe, note: &note }, image)?;
        let Some(observed) = outcome.observed else { return Ok(ExitCode::SUCCESS) };
        let refused = observed.sentences();
        let user = observed.spec.process().as_ref().map(|p| format!("{}:{}", p.user().uid(), p.user().gid()));
        let ran = Ran {
            target: &self.target,
            code: outcome.code,
            user: user.unwrap_or_default(),
            refused: &refused,
            left_out: observed.seen.left_out + observed.seen.unwatched,
        };
        pages::write(self.html.as_deref(), || pages::why_root::refused(&self.target, &refused))?;
        output::print(&match self.format {
            Format::Table => said(&ran),
            Format::Json => output::json(&ran)?,
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// Returns what is to be run, and of what: a container's own words, or an image's.
    fn asked(&self, context: &Context, engine: &Engine) -> Result<(RunOptions, Image)> {
        let (mut options, image) = match engine.containers().find(&self.target) {
            Ok(record) => {
                let (image, _) = self.find(context, engine)?;
                (record.options, Image::Stored(image))
            }
            Err(_) => {
                let options = RunOptions { image: self.target.clone(), ..RunOptions::default() };
                let image = run::find(context, engine, &options, self.quiet)?;
                (options, image)
            }
        };
        if !self.command.is_empty() {
            options.command.clone_from(&self.command);
        }
        options.network = self.network.or(options.network);
        options.env.extend(self.env.iter().cloned());
        // Beside the container itself, if it runs: without its name, its ports and its terminal.
        let RunOptions { name, publish, publish_all, remove, interactive, tty, init, cidfile, .. } = &mut options;
        (*name, *cidfile, *publish_all, *remove) = (None, None, false, true);
        (*interactive, *tty, *init) = (false, false, false);
        publish.clear();
        Ok((options, image))
    }

    /// Finds a container's image, or an image, which is pulled where that is the policy.
    fn find(&self, context: &Context, engine: &Engine) -> Result<(Box<Stored>, Asked)> {
        if let Ok(record) = engine.containers().find(&self.target) {
            let Some(image) = engine.containers().image(&record.id)? else {
                return Err(Error::message(format!("container {} is made of no image", record.name)));
            };
            let asked = Asked { words: Some(record.command.clone()), user: record.options.user.clone() };
            return Ok((Box::new(image), asked));
        }
        Ok((stored(context, engine, &self.target, self.quiet)?, Asked::default()))
    }
}

/// Finds an image, which is pulled where that is the policy.
pub(super) fn stored(context: &Context, engine: &Engine, name: &str, quiet: bool) -> Result<Box<Stored>> {
    match run::find(context, engine, &RunOptions { image: name.to_owned(), ..RunOptions::default() }, quiet)? {
        Image::Stored(image) => Ok(image),
        Image::Rootfs(_) | Image::Host => Err(Error::message(format!("{name} is no image"))),
    }
}

/// Reads the facts about an image that its reasons stand on.
pub(super) fn read(engine: &Engine, image: &Stored) -> Result<Facts> {
    let config = engine.store().read_blob(&image.config_digest, CONFIG_MAX)?;
    let name = image.reference.clone().unwrap_or_else(|| image.manifest_digest.to_string());
    Ok(Facts::read_with(engine.store(), image, &config, &name, &reasons::wanted)?)
}

/// The longest configuration of an image, in bytes.
const CONFIG_MAX: u64 = 8 << 20;

fn count(found: &[Reason]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for by in [Remedy::Author, Remedy::Harden, Remedy::Nobody] {
        counts.insert(by.as_str(), found.iter().filter(|reason| reason.by == by).count());
    }
    counts
}

/// Says the refusals of a run, each as a sentence.
fn said(ran: &Ran<'_>) -> String {
    let mut text = String::new();
    for sentence in ran.refused {
        let Sentence { wanted, as_user, program, calls, errno, count, remedy } = sentence;
        let times = if *count == 1 { String::new() } else { format!(", {count} times") };
        let calls = calls.join(", ");
        let line = format!("{program} wanted to {wanted}, as {as_user}: {calls} was refused with {errno}{times}");
        text += &format!("{}\n    {}\n", output::line(&line), output::line(remedy));
    }
    let more = if ran.left_out == 0 { String::new() } else { format!(" ({} more were left out)", ran.left_out) };
    let summary = match ran.refused.len() {
        0 => "it was refused nothing".to_owned(),
        1 => "it was refused one thing".to_owned(),
        n => format!("it was refused {n} things"),
    };
    format!("{text}{}: ran as {}, ended with {}: {summary}{more}\n", output::line(ran.target), ran.user, ran.code)
}

fn table(target: &str, found: &[Reason]) -> String {
    let rows = found.iter().map(|reason| {
        let file = reason.file.clone().unwrap_or_default();
        let place = reason.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}"));
        let owner = [&reason.owner, &reason.mode].map(|text| text.as_deref().unwrap_or_default()).join(" ");
        vec![
            reason.cause.as_str().to_owned(),
            reason.by.as_str().to_owned(),
            place,
            owner.trim().to_owned(),
            reason.package.clone().unwrap_or_default(),
            reason.evidence.clone(),
            reason.remedy.clone(),
        ]
    });
    let counts = count(found);
    let summary = match found.len() {
        0 => "nothing says that it wants root".to_owned(),
        n => format!(
            "{n} reasons: {} for bryo harden, {} for its author, {} for nobody",
            counts["harden"], counts["author"], counts["nobody"]
        ),
    };
    let table = match found {
        [] => String::new(),
        _ => output::table(&["REASON", "BY", "WHERE", "OWNER, MODE", "PACKAGE", "EVIDENCE", "REMEDY"], rows) + "\n",
    };
    format!("{table}{}: {summary}\n", output::line(target))
}
