// SPDX-License-Identifier: Apache-2.0
//! `bryo rmi`.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::events::Event;
use bryo_image::store::{ImageRecord, Removed};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Remove images
///
/// A name takes that name away; with the last name, or by id, the image goes, and what only it had on the disk.
#[derive(Debug, clap::Args)]
pub struct Rmi {
    /// Remove an image by id although it has several names, or although a container that has ended was made of it
    #[arg(short, long)]
    force: bool,
    /// Accepted for Docker's sake: there are no parents to keep
    #[arg(long)]
    no_prune: bool,
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Verb for Rmi {
    const NAME: &'static str = "rmi";
    const ABOUT: &'static str = "Remove images";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut failure = None;
        let mut deleted = false;
        for name in &self.images {
            let removed = match remove(&engine, name, self.force) {
                Ok(removed) => removed,
                Err(error) => {
                    failure.replace(error).inspect(Error::print);
                    continue;
                }
            };
            deleted |= removed.deleted.is_some();
            let untagged = removed.untagged.iter().map(|name| format!("Untagged: {}\n", output::line(name)));
            let gone = removed.deleted.iter().map(|id| format!("Deleted: {id}\n"));
            output::print(&untagged.chain(gone).collect::<String>())?;
        }
        if deleted {
            super::gc::sweep(&engine, true)?;
        }
        failure.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Removes a name or an image, unless a container stands on it.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<Removed> {
    let record = engine.store().find(name)?;
    if goes(engine, &record, name)? {
        refuse_used(engine, &record, name, force)?;
    }
    let removed = engine.store().remove(name, force)?;
    let untagged = removed.untagged.iter().map(|name| Event::of_image(&record, "untag").with("name", name.as_str()));
    let deleted = removed.deleted.iter().map(|id| Event::of_image(&record, "delete").with("name", id.to_string()));
    engine.journal().write(&untagged.chain(deleted).collect::<Vec<_>>());
    Ok(removed)
}

/// Tells whether the image goes with this name: it is the last one, or it is no name.
fn goes(engine: &Engine, record: &ImageRecord, name: &str) -> Result<bool> {
    let same = engine.store().images()?.iter().filter(|other| other.manifest == record.manifest).count();
    let by_id = name.parse::<bryo_image::reference::Reference>().map_or(true, |reference| {
        reference.digest().is_some() || record.reference.as_deref() != Some(reference.to_string().as_str())
    });
    Ok(same <= 1 || by_id)
}

fn refuse_used(engine: &Engine, record: &ImageRecord, name: &str, force: bool) -> Result<()> {
    let id = record.id().to_string();
    for container in engine.containers().all() {
        if container.image_id.as_deref() != Some(id.as_str()) {
            continue;
        }
        let runs = engine.containers().is_held(&container.id);
        if runs || !force {
            let state = if runs { "runs on it" } else { "was made of it" };
            let hint = if runs { "rm --force" } else { "rm" };
            let text = format!("remove image {name}: container {} {state}", container.name);
            return Err(Error::message(text).hint(format!("bryo {hint} {}", container.name)));
        }
    }
    Ok(())
}
