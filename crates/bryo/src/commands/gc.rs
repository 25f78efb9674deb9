// SPDX-License-Identifier: Apache-2.0
//! `bryo gc`, `bryo system prune`, `bryo image prune`: giving disk space back.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_image::Kind;
use bryo_image::store::{GcOptions, GcReport};

use super::rmi;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human};

/// Remove what nothing refers to
///
/// Blobs and unpacked layers of no image, interrupted downloads, and what killed processes left. Images and containers
/// stay.
#[derive(Debug, clap::Args)]
pub struct Gc {
    /// Keep interrupted downloads, so that they can be resumed
    #[arg(long)]
    keep_partial: bool,
}

/// Remove images without a name
#[derive(Debug, clap::Args)]
pub struct PruneImages {
    /// Remove all images that no container was made of
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Remove containers that have ended, images without a name, and what nothing refers to
#[derive(Debug, clap::Args)]
pub struct Prune {
    /// Remove all images that no container was made of
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for Gc {
    const NAME: &'static str = "gc";
    const ABOUT: &'static str = "Remove what nothing refers to";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let containers = engine.collect()?;
        let report = collect(&engine, self.keep_partial)?;
        output::print(&tell(&report, containers))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb for PruneImages {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove images without a name";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let what = if self.all { "all images that no container was made of" } else { "all images without a name" };
        confirm(self.force, what)?;
        let engine = context.engine()?;
        prune_images(&engine, self.all)?;
        let report = collect(&engine, true)?;
        output::print(&tell(&report, 0))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb for Prune {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove what has ended and what nothing refers to";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let images = if self.all { "all images that no container was made of" } else { "images without a name" };
        confirm(self.force, &format!("all containers that have ended, and {images}"))?;
        let engine = context.engine()?;
        let mut containers = engine.collect()?;
        for record in engine.containers().all() {
            if engine.containers().is_held(&record.id) {
                continue;
            }
            engine.remove(&record)?;
            containers += 1;
        }
        prune_images(&engine, self.all)?;
        let report = collect(&engine, false)?;
        output::print(&tell(&report, containers))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Collects after images were removed. Somebody who adds an image at this moment is no failure: the next collection
/// finds the same.
pub fn sweep(engine: &Engine, keep_partial: bool) -> Result<()> {
    match collect(engine, keep_partial) {
        Err(Error::Engine(error)) if error.kind() == bryo_engine::error::Kind::Image(Kind::Busy) => Ok(()),
        other => other.map(drop),
    }
}

fn collect(engine: &Engine, keep_partial: bool) -> Result<GcReport> {
    let options = GcOptions { keep_partial, layers_in_use: engine.layers_in_use() };
    let worker = engine.worker()?;
    Ok(engine.store().gc(&options, Some(&worker))?)
}

fn prune_images(engine: &Engine, all: bool) -> Result<()> {
    let used: Vec<String> = engine.containers().all().into_iter().filter_map(|record| record.image_id).collect();
    for record in engine.store().images()? {
        let id = record.id().to_string();
        if (all || record.reference.is_none()) && !used.contains(&id) {
            let name = record.reference.as_deref().unwrap_or(&id);
            match rmi::remove(engine, name, true) {
                // By id all its names went at once.
                Err(Error::Engine(error)) if error.kind() == bryo_engine::error::Kind::Image(Kind::NotFound) => {}
                other => drop(other?),
            }
        }
    }
    Ok(())
}

fn tell(report: &GcReport, containers: usize) -> String {
    format!(
        "removed {containers} containers, {} layers, {} blobs, {} leftovers: {} of blobs\n",
        report.layers,
        report.blobs,
        report.leftovers,
        human::size(report.bytes)
    )
}

/// Asks a person. Where nobody can answer, the flag is the answer.
pub(super) fn confirm(force: bool, what: &str) -> Result<()> {
    if force {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::message(format!("remove {what}: nobody can be asked here")).hint("--force"));
    }
    output::complain(&format!("This removes {what}. Go on? [y/N] "));
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(|error| Error::io("read the answer", &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::message("nothing was removed")),
    }
}
