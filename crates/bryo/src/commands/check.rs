// SPDX-License-Identifier: Apache-2.0
//! `bryo system check`: whether everything is there that should be, and nothing else.

use std::process::ExitCode;

use bryo_engine::check::Findings;
use bryo_image::Digest;
use clap::Args;

use super::gc::sweep;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human};

/// Flags of `bryo system check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Does not read and hash every blob again
    #[arg(short, long)]
    quick: bool,
    /// Removes what nothing refers to, and blobs that are damaged, so that they are fetched again
    #[arg(short, long)]
    repair: bool,
}

impl Verb for Check {
    const NAME: &'static str = "check";
    const ABOUT: &'static str = "Check that images, layers, containers and volumes are whole";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut findings = engine.check(!self.quick)?;
        let mut out = tell(&findings);
        if self.repair && (findings.has_orphans() || !findings.store.damaged.is_empty()) {
            for digest in &findings.store.damaged {
                engine.store().remove_damaged(digest)?;
            }
            engine.collect()?;
            // What an image refers to that cannot be read is unknown, and everything stays.
            sweep(&engine, false)?;
            findings = engine.check(false)?;
            out += "repaired what can be\n";
            out += &tell(&findings);
        }
        out += &sum(&findings);
        output::print(&out)?;
        if findings.is_whole() {
            return Ok(ExitCode::SUCCESS);
        }
        Err(Error::message("the store is not whole").hint(remedy(&findings)))
    }
}

/// Says what mends the first of what is wrong.
fn remedy(findings: &Findings) -> String {
    let store = &findings.store;
    let of_image = |name: &str| {
        let shown = output::line(name);
        match name.parse::<Digest>() {
            Ok(_) => format!("bryo load, if there is an archive of it; else bryo rmi {shown}"),
            Err(_) => format!("bryo pull {shown} or bryo load, which bring what is missing; else bryo rmi {shown}"),
        }
    };
    let image = store.unreadable.first().map(|(name, _)| name).or(store.missing.first().map(|(name, _)| name));
    if let Some((digest, _)) = store.unreadable_blobs.first() {
        return format!("look at the disk, and at who may read blob {digest}");
    }
    if !store.damaged.is_empty() {
        return "bryo system check --repair, and then bryo pull or bryo load".to_owned();
    }
    if let Some(name) = image {
        return of_image(name);
    }
    let name = findings.groundless.first().map_or("CONTAINER", |(name, _)| name.as_str());
    format!("bryo pull the image of container {name} again; else bryo rm {name}")
}

/// A line for each thing that was found.
fn tell(findings: &Findings) -> String {
    let store = &findings.store;
    let mut lines = Vec::new();
    lines.extend(store.damaged.iter().map(|digest| format!("damaged blob: {digest}")));
    let unreadable = store.unreadable_blobs.iter();
    lines.extend(unreadable.map(|(digest, why)| format!("blob {digest} cannot be read: {why}")));
    lines.extend(store.unreadable.iter().map(|(name, why)| format!("image {name} cannot be read: {why}")));
    lines.extend(store.missing.iter().map(|(name, digest)| format!("image {name} lacks blob {digest}")));
    lines.extend(findings.groundless.iter().map(|(name, layer)| format!("container {name} lacks layer {layer}")));
    lines.extend(store.orphaned_blobs.iter().map(|(d, size)| format!("orphaned blob: {d}, {}", human::size(*size))));
    lines.extend(store.orphaned_layers.iter().map(|name| format!("orphaned layer: {name}")));
    lines.extend(store.leftovers.iter().map(|path| format!("left behind: {}", path.display())));
    lines.extend(findings.abandoned.iter().map(|id| format!("left behind of a container: {id}")));
    lines.extend(findings.volumes_left.iter().map(|name| format!("left behind of a volume: {name}")));
    lines.iter().map(|line| format!("{}\n", output::line(line))).collect()
}

fn sum(findings: &Findings) -> String {
    let Findings { store, containers, volumes, .. } = findings;
    let state = match (findings.is_whole(), findings.has_orphans()) {
        (true, false) => "everything is whole",
        (true, true) => "everything is whole, and some things nobody refers to",
        (false, _) => "not everything is whole",
    };
    format!("{} blobs, {} layers, {containers} containers, {volumes} volumes: {state}\n", store.blobs, store.layers)
}
