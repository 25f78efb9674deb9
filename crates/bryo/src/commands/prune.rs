// SPDX-License-Identifier: Apache-2.0
//! `bryo container prune`, `bryo image prune`, `bryo system prune`: giving back what nobody uses.

use std::collections::BTreeMap;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_engine::list::LabelFilter;
use bryo_image::store::ImageRecord;
use clap::Args;
use jiff::Timestamp;

use super::gc::{collect, confirm};
use super::{logs, network, rmi, volume};
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human};

/// What is said of filters.
const FILTERS: &str = "until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]";

/// Flags of `bryo container prune`.
#[derive(Debug, Args)]
pub struct PruneContainers {
    /// Removes only containers that fit: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Does not ask
    #[arg(short, long)]
    force: bool,
}

/// Flags of `bryo image prune`.
#[derive(Debug, Args)]
pub struct PruneImages {
    /// Removes all images that no container was made of
    #[arg(short, long)]
    all: bool,
    /// Removes only images that fit: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Does not ask
    #[arg(short, long)]
    force: bool,
}

/// Flags of `bryo system prune`.
#[derive(Debug, Args)]
pub struct PruneSystem {
    /// Removes all images that no container was made of
    #[arg(short, long)]
    all: bool,
    /// Removes only what fits: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Does not ask
    #[arg(short, long)]
    force: bool,
    /// Removes anonymous volumes that no container names, too
    #[arg(long)]
    volumes: bool,
}

/// Flags of `bryo builder prune`.
#[derive(Debug, Args)]
pub struct PruneBuilds {
    /// Does not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for PruneBuilds {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove what builds keep";

    fn run(self, context: &Context) -> Result<ExitCode> {
        confirm(self.force, "what builds keep: layers of steps, and directories that steps share")?;
        let engine = context.engine()?;
        let before = on_disk(&engine)?;
        engine.forget_builds()?;
        collect(&engine, true)?;
        reclaimed(before.saturating_sub(on_disk(&engine)?))
    }
}

impl Verb for PruneContainers {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove containers that do not run";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = Filters::parse(&self.filter)?;
        confirm(self.force, "all containers that do not run")?;
        let (ids, freed) = containers(&context.engine()?, &filters)?;
        output::print(&volume::deleted("Containers", &ids))?;
        reclaimed(freed)
    }
}

impl Verb for PruneImages {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove images without a name";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = Filters::parse(&self.filter)?;
        let what = if self.all { "all images that no container was made of" } else { "all images without a name" };
        confirm(self.force, what)?;
        let (lines, freed) = images(&context.engine()?, self.all, &filters, true)?;
        output::print(&volume::deleted("Images", &lines))?;
        reclaimed(freed)
    }
}

impl Verb for PruneSystem {
    const NAME: &'static str = "prune";
    const ABOUT: &'static str = "Remove what does not run and what nothing refers to";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let filters = Filters::parse(&self.filter)?;
        if self.volumes && filters.until.is_some() {
            // As Docker does: a volume that was made long ago may have been written to a moment ago.
            let text = "the filter \"until\" says nothing of volumes, and does not go with --volumes";
            return Err(Error::message(text).hint("bryo system prune with the filter, and bryo volume prune"));
        }
        let mut what = vec!["all containers that do not run", "all networks that no container uses"];
        if self.volumes {
            what.push("all anonymous volumes that no container names");
        }
        what.push(if self.all { "all images that no container was made of" } else { "all images without a name" });
        // Nothing of it has a label.
        let builds = self.filter.is_empty();
        if builds {
            what.push("what builds keep");
        }
        confirm(self.force, &format!("{}, and what nothing refers to", what.join(", ")))?;
        let engine = context.engine()?;
        let (ids, mut freed) = containers(&engine, &filters)?;
        output::print(&volume::deleted("Containers", &ids))?;
        output::print(&volume::deleted("Networks", &network::prune(&engine, &filters)?))?;
        if self.volumes {
            let (names, bytes) = volume::prune(&engine, &filters.labels, false)?;
            freed += bytes;
            output::print(&volume::deleted("Volumes", &names))?;
        }
        if builds {
            engine.forget_builds()?;
        }
        let (lines, bytes) = images(&engine, self.all, &filters, false)?;
        output::print(&volume::deleted("Images", &lines))?;
        reclaimed(freed + bytes)
    }
}

fn reclaimed(bytes: u64) -> Result<ExitCode> {
    output::print(&format!("Total reclaimed space: {}\n", human::size(bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// Removes containers that do not run: their ids, and the bytes on disk that are free again.
fn containers(engine: &Engine, filters: &Filters) -> Result<(Vec<String>, u64)> {
    let mut records = engine.containers().all();
    records.retain(|record| !record.state.is_active() && !engine.containers().is_held(&record.id));
    records.retain(|record| filters.hold_for(&record.labels, Some(&record.created)));
    let sizes = engine.sizes(&records, false)?;
    let (mut ids, mut freed, mut failure) = (Vec::new(), 0, None);
    for (record, size) in records.iter().zip(sizes) {
        match engine.remove(record) {
            Ok(()) => {
                ids.push(record.id.to_string());
                freed += size.own.disk;
            }
            // Somebody has started or removed it meanwhile.
            Err(error) if matches!(error.kind(), Kind::Running | Kind::NoSuchContainer) => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    // What a killed run has left is no container, and goes as well.
    engine.collect()?;
    failure.map_or(Ok((ids, freed)), |error| Err(error.into()))
}

/// Removes images without a name, or all that no container was made of, and what nothing refers to: lines as Docker has
/// them, and the bytes on disk that are free again.
fn images(engine: &Engine, all: bool, filters: &Filters, keep_partial: bool) -> Result<(Vec<String>, u64)> {
    let before = on_disk(engine)?;
    let used: Vec<String> = engine.containers().all().into_iter().filter_map(|record| record.image_id).collect();
    let mut lines = Vec::new();
    for record in engine.store().images()? {
        let id = record.id().to_string();
        let wanted = (all || record.reference.is_none()) && !used.contains(&id);
        if !wanted || !filters.hold_for_image(engine, &record) {
            continue;
        }
        let name = record.reference.as_deref().unwrap_or(&id);
        match rmi::remove(engine, name, true) {
            // By id all its names went at once.
            Err(Error::Engine(error)) if error.kind() == Kind::Image(bryo_image::Kind::NotFound) => {}
            other => {
                let removed = other?;
                lines.extend(removed.untagged.iter().map(|name| format!("untagged: {name}")));
                lines.extend(removed.deleted.iter().map(|id| format!("deleted: {id}")));
            }
        }
    }
    collect(engine, keep_partial)?;
    Ok((lines, before.saturating_sub(on_disk(engine)?)))
}

/// Counts what images take on disk: blobs, unpacked layers and interrupted downloads.
fn on_disk(engine: &Engine) -> Result<u64> {
    let worker = engine.worker()?;
    let usage = engine.store().df(Some(&worker))?;
    Ok(usage.blobs + usage.partial + usage.layers.iter().filter_map(|layer| layer.bytes).sum::<u64>())
}

/// What must hold for what is removed.
#[derive(Debug, Default)]
pub(super) struct Filters {
    labels: Vec<LabelFilter>,
    until: Option<Timestamp>,
}

impl Filters {
    pub(super) fn parse(texts: &[String]) -> Result<Self> {
        let mut filters = Self::default();
        for text in texts {
            match text.split_once('=') {
                Some(("until", value)) => filters.until = Some(logs::time(value, Timestamp::now())?),
                Some(("label", value)) => filters.labels.push(LabelFilter::new(value)),
                Some(("label!", value)) => filters.labels.push(LabelFilter::not(value)),
                _ => return Err(Error::message(format!("invalid filter {text:?}: {FILTERS} are known"))),
            }
        }
        Ok(filters)
    }

    /// Tells whether something was made before the time that was given; what has no time was.
    fn is_old(&self, made: Option<&str>) -> bool {
        let made = made.and_then(|made| made.parse::<Timestamp>().ok());
        self.until.is_none_or(|until| made.is_none_or(|made| made < until))
    }

    /// Tells whether they hold for something that has labels, and was made at a time.
    pub(super) fn hold_for(&self, labels: &BTreeMap<String, String>, created: Option<&str>) -> bool {
        self.labels.iter().all(|label| label.holds(labels)) && self.is_old(created)
    }

    fn hold_for_image(&self, engine: &Engine, record: &ImageRecord) -> bool {
        if self.labels.is_empty() && self.until.is_none() {
            return true;
        }
        // Of what cannot be read nothing is known, and it stays.
        let Ok(image) = engine.store().image(record) else { return false };
        let labels = image.config.config().as_ref().and_then(|config| config.labels().clone()).unwrap_or_default();
        let labels = labels.into_iter().collect();
        self.hold_for(&labels, image.config.created().as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_strict_and_times_are_limits() {
        let filters = Filters::parse(&["until=2026-01-02T00:00:00Z".into(), "label!=keep".into()]).unwrap();
        assert!(filters.is_old(Some("2026-01-01T23:59:59Z")) && !filters.is_old(Some("2026-01-02T00:00:00Z")));
        assert!(filters.is_old(None) && filters.is_old(Some("never")));
        for bad in ["", "until", "until=soon", "name=x", "label"] {
            assert!(Filters::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
