// SPDX-License-Identifier: Apache-2.0
//! `bryo df`: what takes the space, in real blocks.

use std::collections::BTreeSet;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::volumes::Volume;
use bryo_image::Digest;
use bryo_image::store::DiskUsage;
use bryo_image::unpack::TreeUsage;
use serde_json::{Value, json};

use super::images::short_id;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, human, template};

/// Show what takes the space
#[derive(Debug, clap::Args)]
pub struct Df {
    /// Show every image, layer, container and volume
    #[arg(short, long)]
    verbose: bool,
    /// Format as json, or by a template such as '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
    /// Prints JSON, a kind a line
    #[arg(long, conflicts_with_all = ["format", "verbose"])]
    json: bool,
}

/// Docker's titles.
const TITLES: template::Titles<'_> = &[("TotalCount", "TOTAL")];

impl Verb for Df {
    const NAME: &'static str = "df";
    const ABOUT: &'static str = "Show what takes the space";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let found = Found::count(&engine)?;
        let format = self.format.as_deref().filter(|format| *format != "table");
        let format = if self.json { Some("json") } else { format };
        let default = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
        let mut out = template::list(format.unwrap_or(default), &found.rows(), TITLES)?;
        if self.verbose {
            out.push_str(&found.details());
        }
        output::print(&out)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What there is, and what it takes.
struct Found {
    usage: DiskUsage,
    containers: Vec<(Record, TreeUsage)>,
    volumes: Vec<(Volume, TreeUsage, usize)>,
    /// Layers that containers stand on.
    layers_in_use: BTreeSet<Digest>,
}

impl Found {
    fn count(engine: &Engine) -> Result<Self> {
        let usage = {
            let worker = engine.worker()?;
            engine.store().df(Some(&worker))?
        };
        let records = engine.containers().all();
        let sizes = engine.sizes(&records, false)?;
        let containers = records.into_iter().zip(sizes).map(|(record, size)| (record, size.own)).collect();
        let volumes = engine.volumes();
        let sizes = if volumes.is_empty() { Vec::new() } else { engine.volume_sizes(&volumes)? };
        let users = engine.volume_users();
        let links = |volume: &Volume| users.get(&volume.name).map_or(0, Vec::len);
        let volumes = volumes.into_iter().zip(sizes).map(|(volume, size)| {
            let links = links(&volume);
            (volume, size, links)
        });
        Ok(Self { usage, containers, volumes: volumes.collect(), layers_in_use: engine.layers_in_use() })
    }

    fn rows(&self) -> Vec<Value> {
        let images: BTreeSet<&str> = self.containers.iter().filter_map(|(r, _)| r.image_id.as_deref()).collect();
        let images_used = self.usage.images.iter().filter(|i| images.contains(i.summary.id.as_str()));
        let free = self.usage.images.iter().filter(|i| !images.contains(i.summary.id.as_str())).map(|i| i.unique).sum();
        let layers = &self.usage.layers;
        let (used, idle): (Vec<_>, Vec<_>) = layers.iter().partition(|l| l.referenced || self.stands_on(&l.name));
        let size = |layers: &[&bryo_image::store::LayerUsage]| layers.iter().filter_map(|l| l.bytes).sum::<u64>();
        let running = self.containers.iter().filter(|(record, _)| record.state.is_active()).count();
        let ended = self.containers.iter().filter(|(record, _)| !record.state.is_active()).map(|(_, s)| s.disk).sum();
        let volumes_used = self.volumes.iter().filter(|(_, _, links)| *links > 0).count();
        let unused = self.volumes.iter().filter(|(_, _, links)| *links == 0).map(|(_, size, _)| size.disk).sum();
        let written = self.containers.iter().map(|(_, size)| size.disk).sum();
        let kept = self.volumes.iter().map(|(_, size, _)| size.disk).sum();
        vec![
            row("Images", self.usage.images.len(), images_used.count(), self.usage.blobs, free),
            row("Unpacked layers", layers.len(), used.len(), size(&used) + size(&idle), size(&idle)),
            row("Interrupted downloads", 0, 0, self.usage.partial, self.usage.partial),
            row("Containers", self.containers.len(), running, written, ended),
            row("Local Volumes", self.volumes.len(), volumes_used, kept, unused),
        ]
    }

    fn stands_on(&self, layer: &str) -> bool {
        let hex = layer.strip_prefix("derived-").unwrap_or(layer);
        self.layers_in_use.iter().any(|digest| digest.hex() == hex)
    }

    fn details(&self) -> String {
        let images = self.usage.images.iter().map(|image| {
            let summary = &image.summary;
            let name = summary.record.reference.clone().unwrap_or_else(|| "<none>".to_owned());
            vec![name, short_id(&summary.id), human::size(summary.size), human::size(image.unique)]
        });
        let layers = self.usage.layers.iter().map(|layer| {
            let bytes = layer.bytes.map_or_else(|| "unknown".to_owned(), human::size);
            let used = if layer.referenced || self.stands_on(&layer.name) { "yes" } else { "no" };
            vec![layer.name.chars().take(20).collect(), layer.ownership_key.clone(), bytes, used.to_owned()]
        });
        let containers = self.containers.iter().map(|(record, size)| {
            let state = record.state.status.clone();
            vec![record.id.short().to_owned(), record.image.clone(), human::size(size.disk), state, record.name.clone()]
        });
        let volumes = self
            .volumes
            .iter()
            .map(|(volume, size, links)| vec![volume.name.clone(), links.to_string(), human::size(size.disk)]);
        [
            output::table(&["IMAGE", "IMAGE ID", "SIZE", "UNIQUE SIZE"], images),
            output::table(&["LAYER", "OWNER", "SIZE", "USED"], layers),
            output::table(&["CONTAINER ID", "IMAGE", "SIZE", "STATE", "NAMES"], containers),
            output::table(&["VOLUME NAME", "LINKS", "SIZE"], volumes),
        ]
        .map(|table| format!("\n{table}"))
        .concat()
    }
}

/// Describes one kind in the words of Docker's `--format`.
fn row(kind: &str, count: usize, active: usize, bytes: u64, free: u64) -> Value {
    let share = (free.min(bytes) * 100).checked_div(bytes).unwrap_or(0);
    let free = if bytes == 0 { human::size(free) } else { format!("{} ({share}%)", human::size(free)) };
    json!({"Type": kind, "TotalCount": count.to_string(), "Active": active.to_string(), "Size": human::size(bytes),
        "Reclaimable": free})
}
