// SPDX-License-Identifier: Apache-2.0
//! `bryo harden`: an image that is nobody's by its own word, and the proof that it does what it did.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bryo_audit::reasons::{self, Call};
use bryo_engine::Engine;
use bryo_engine::events::Event;
use bryo_engine::harden::proof::{Proof, ProofOptions};
use bryo_engine::harden::{self, HardenOptions, Hardened, dockerfile, kubernetes};
use bryo_image::reference::Reference;
use bryo_image::store::{Image, ImageRecord};
use clap::Args;
use serde::Serialize;

use crate::cli::Verb;
use crate::commands::build::values;
use crate::commands::{gc, rmi, why_root};
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::pages::harden::Told;
use crate::{output, pages};

/// Make an image that does not want root, and prove that it does the same
///
/// The new image has one more layer: state directories and the data in them belong to a numeric USER, which is in its
/// account files. No program of the image is changed; one that the start calls to become another user gets another one
/// of that name before it on PATH. Directives and flags by which a known service fails without root are taken out, and
/// named. The same image gives the same digest: it is as old as its base, or as
/// SOURCE_DATE_EPOCH says.
///
/// Then both images run side by side without a network: the old one as root with a writable root, the new one as its
/// user with a read-only root. State, health, ports, answers and logs are compared. Only if nothing differs does the new
/// image get its name.
///
/// Ends with 0 if it is proven, with 1 if not, and with 125 if no image could be made.
#[derive(Debug, Args)]
pub struct Harden {
    /// The new image's name
    #[arg(short, long, value_name = "NAME")]
    tag: Reference,
    /// The user: UID, UID:GID or a name of the image; else 65532, or the image's own one that is not root
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Leave the group out of USER, so that engines give the user the groups that its services have
    #[arg(long)]
    groups: bool,
    /// Write a Dockerfile to FILE that makes the same
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    dockerfile: Option<PathBuf>,
    /// Write a pod for Kubernetes to FILE that runs it, with its security context and volumes
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    kubernetes: Option<PathBuf>,
    /// Set a variable in both containers of the proof
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// How many seconds both have to start
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    settle: u64,
    /// How to print the report
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Write a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Pull quietly
    #[arg(short, long)]
    quiet: bool,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A command in place of the images' own, for the proof
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The forms of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// Everything
    Json,
}

/// What a program is told.
#[derive(Serialize)]
struct Report<'a> {
    image: String,
    digest: String,
    /// The name, if it got it.
    name: Option<String>,
    base: String,
    user: &'a str,
    groups: &'a [u32],
    writable: &'a [PathBuf],
    programs: &'a [PathBuf],
    taken_out: &'a [String],
    notes: &'a [String],
    proven: bool,
    proof: &'a Proof,
}

impl Verb for Harden {
    const NAME: &'static str = "harden";
    const ABOUT: &'static str = "Make an image that does not want root, and prove that it does the same";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.tag.digest().is_some() {
            return Err(Error::message(format!("{}: a digest is not given, it follows from the content", self.tag)));
        }
        let engine = context.engine()?;
        let base = why_root::stored(context, &engine, &self.image, self.quiet)?;
        let asked = Asked {
            user: self.user.as_deref(),
            groups: self.groups,
            epoch: epoch()?,
            proof: ProofOptions {
                settle: Duration::from_secs(self.settle),
                env: self.env.clone(),
                command: self.command.clone(),
            },
        };
        let tried = harden(&engine, &base, &asked)?;
        if tried.proof.holds() {
            self.publish(&engine, &tried)?;
        }
        pages::write(self.html.as_deref(), || {
            let (name, hardened) = (self.tag.to_string(), &tried.hardened);
            let writable = hardened.facts.state.iter().map(|path| path.display().to_string()).collect();
            let lines = [&tried.taken_out[..], &tried.notes].concat();
            let told = Told { name: &name, base: &self.image, user: &hardened.user, writable, notes: &lines };
            pages::harden::page(&told, &tried.proof)
        })?;
        output::print(&match self.format {
            Format::Table => tried.table() + &tried.verdict(&self.tag.to_string()) + "\n",
            Format::Json => output::json(&self.report(&base, &tried))? + "\n",
        })?;
        Ok(ExitCode::from(u8::from(!tried.proof.holds())))
    }
}

/// What is asked for, besides an image.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub user: Option<&'a str>,
    pub groups: bool,
    /// When the image is made, in seconds since the epoch; else when its base was.
    pub epoch: Option<u64>,
    pub proof: ProofOptions,
}

/// An image that was made and compared. It has no name yet; if the proof does not hold it is gone again.
#[derive(Debug)]
pub(super) struct Tried {
    pub hardened: Hardened,
    pub proof: Proof,
    taken_out: Vec<String>,
    notes: Vec<String>,
}

/// Makes a hardened image and compares it with its base. Nothing is left of one that is not proven.
pub(super) fn harden(engine: &Engine, base: &Image, asked: &Asked<'_>) -> Result<Tried> {
    let facts = why_root::read(engine, base)?;
    let calls = reasons::drops(&facts);
    let bare = calls.iter().filter(|call| !call.guarded && !call.program.contains('/'));
    let options = HardenOptions {
        user: asked.user.map(str::to_owned),
        droppers: bare.map(|call| call.program.clone()).collect(),
        taken: reasons::taken_out(&facts),
        given: reasons::given(&facts),
        groups: asked.groups,
        epoch: asked.epoch,
    };
    let hardened = engine.harden(base, &options)?;
    let proof = engine.prove(base, &hardened.image, &asked.proof);
    if !hardened.already && !proof.as_ref().is_ok_and(Proof::holds) {
        discard(engine, &hardened.record)?;
    }
    let notes = notes(&hardened, &calls, asked.groups);
    Ok(Tried { proof: proof?, taken_out: hardened.taken.told(), hardened, notes })
}

/// Removes an image that has no name.
pub(super) fn discard(engine: &Engine, record: &ImageRecord) -> Result<()> {
    let named = |other: &ImageRecord| other.manifest == record.manifest && other.reference.is_some();
    if !engine.store().images()?.iter().any(named) {
        rmi::remove(engine, &record.id().to_string(), true)?;
        gc::sweep(engine, true)?;
    }
    Ok(())
}

impl Tried {
    /// Shows what was compared, and what is left to do.
    pub fn table(&self) -> String {
        let row = |item: &bryo_engine::harden::proof::Item| {
            vec![item.what.clone(), item.verdict.as_str().to_owned(), item.old.clone(), item.new.clone()]
        };
        let mut text =
            output::table(&["COMPARED", "VERDICT", "AS IT WAS", "HARDENED"], self.proof.items.iter().map(row));
        text.push('\n');
        for line in &self.taken_out {
            text += &format!("{}\n", output::line(line));
        }
        for note in &self.notes {
            text += &format!("note: {}\n", output::line(note));
        }
        text
    }

    /// Says in a line what has come of it.
    pub fn verdict(&self, name: &str) -> String {
        let (id, user) = (self.hardened.record.id(), &self.hardened.user);
        match self.proof.holds() {
            true if self.hardened.already => {
                format!("{name}: {id}, USER {user}: hardened already, and nothing is changed")
            }
            false if self.hardened.already => {
                format!("not proven: {id} with USER {user} was hardened already, and does not get the name {name}")
            }
            true => format!("{name}: {id}, USER {user}: does the same"),
            false => format!("not proven: the image with USER {user} is gone again"),
        }
    }
}

/// Gives an image a name.
pub(super) fn tag(engine: &Engine, record: &ImageRecord, name: &str) -> Result<()> {
    engine.store().tag(record, name)?;
    engine.journal().write(&[Event::of_image(record, "tag").with("name", name)]);
    Ok(())
}

/// Says what is left to do.
fn notes(hardened: &Hardened, calls: &[Call], with_groups: bool) -> Vec<String> {
    let mut notes = Vec::new();
    for call in calls.iter().filter(|call| !call.guarded && call.program.contains('/')) {
        let place = call.at.as_ref().map_or_else(String::new, |(file, line)| format!("{file}:{line}: "));
        notes.push(format!("{place}{} is called by its path and fails without root", call.program));
    }
    if !hardened.facts.groups.is_empty() && !with_groups {
        let groups: Vec<String> = hardened.facts.groups.iter().map(u32::to_string).collect();
        let groups = groups.join(", ");
        notes.push(format!("the groups {groups}, which bryo run gives the user, are not given here: --groups does"));
    }
    notes
}

impl Harden {
    /// Names the image, and writes the documents about it.
    fn publish(&self, engine: &Engine, Tried { hardened, proof, .. }: &Tried) -> Result<()> {
        let name = self.tag.to_string();
        tag(engine, &hardened.record, &name)?;
        let filled = if self.kubernetes.is_some() { engine.filled(&hardened.image)? } else { BTreeSet::new() };
        let (base_name, name) = (self.image.as_str(), name.as_str());
        let told = harden::Told { base_name, name, written: &proof.written, listens: &proof.listens, filled: &filled };
        if let Some(file) = &self.dockerfile {
            write(file, &dockerfile(hardened, &told))?;
        }
        if let Some(file) = &self.kubernetes {
            write(file, &kubernetes(hardened, &told))?;
        }
        Ok(())
    }

    fn report<'a>(&self, base: &Image, Tried { hardened, proof, taken_out, notes }: &'a Tried) -> Report<'a> {
        Report {
            image: hardened.record.id().to_string(),
            digest: hardened.record.manifest.to_string(),
            name: proof.holds().then(|| self.tag.to_string()),
            base: base.manifest_digest.to_string(),
            user: &hardened.user,
            groups: &hardened.facts.groups,
            writable: &hardened.facts.state,
            programs: &hardened.programs,
            taken_out,
            notes,
            proven: proof.holds(),
            proof,
        }
    }
}

/// Reads the time of a reproducible result from the environment.
fn epoch() -> Result<Option<u64>> {
    let said = std::env::var(values::EPOCH).ok();
    values::epoch(&said.into_iter().map(|text| (values::EPOCH.to_owned(), text)).collect())
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|error| Error::io(format!("write {}", file.display()), &error))
}
