// SPDX-License-Identifier: Apache-2.0
//! `bryo gc`: giving back what nothing refers to.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_image::Kind;
use bryo_image::store::{GcOptions, GcReport};

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

/// Collects after images were removed, if it can be done now. Somebody who adds an image at this moment is no failure,
/// and neither is another image that cannot be read, of which `bryo system check` tells: a later collection finds the
/// same.
pub fn sweep(engine: &Engine, keep_partial: bool) -> Result<()> {
    match collect(engine, keep_partial) {
        Err(Error::Engine(error)) if must_wait(error.kind()) => Ok(()),
        other => other.map(drop),
    }
}

/// Tells whether a collection has removed nothing because it was not known what is referred to.
fn must_wait(kind: bryo_engine::error::Kind) -> bool {
    let bryo_engine::error::Kind::Image(kind) = kind else { return false };
    matches!(kind, Kind::Busy | Kind::Corrupt | Kind::DigestMismatch | Kind::NotFound)
}

/// Collects blobs and layers that nothing refers to, and interrupted downloads unless they are kept.
pub(super) fn collect(engine: &Engine, keep_partial: bool) -> Result<GcReport> {
    let (layers_in_use, blobs_in_use) = (engine.layers_in_use(), engine.blobs_in_use());
    let options = GcOptions { keep_partial, layers_in_use, blobs_in_use };
    let worker = engine.worker()?;
    Ok(engine.store().gc(&options, Some(&worker))?)
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
