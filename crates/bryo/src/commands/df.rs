// SPDX-License-Identifier: Apache-2.0
//! `bryo df`: what takes the space, in real blocks.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::images::short_id;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, human, template};

/// Show what takes the space
#[derive(Debug, clap::Args)]
pub struct Df {
    /// Show every image and every layer
    #[arg(short, long)]
    verbose: bool,
    /// Format as json, or by a template such as '{{.Type}} {{.Size}}'
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
}

impl Verb for Df {
    const NAME: &'static str = "df";
    const ABOUT: &'static str = "Show what takes the space";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let worker = engine.worker()?;
        let usage = engine.store().df(Some(&worker))?;
        let layers: u64 = usage.layers.iter().filter_map(|layer| layer.bytes).sum();
        let idle = usage.layers.iter().filter(|layer| !layer.referenced).filter_map(|layer| layer.bytes).sum();
        let row = |kind: &str, count: usize, bytes: u64, free: u64| {
            json!({"Type": kind, "TotalCount": count.to_string(), "Size": human::size(bytes),
                "Reclaimable": human::size(free)})
        };
        let rows = [
            row("Images", usage.images.len(), usage.blobs, 0),
            row("Unpacked layers", usage.layers.len(), layers, idle),
            row("Interrupted downloads", 0, usage.partial, usage.partial),
            row("Containers", engine.containers().all().len(), 0, 0),
        ];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut out = match &self.format {
            Some(format) => template::list(format, &rows, &[])?,
            None => {
                let fields = ["Type", "TotalCount", "Size", "Reclaimable"];
                let cells = rows.iter().map(|row| fields.iter().map(|name| text(&row[*name])).collect());
                output::table(&["TYPE", "TOTAL", "SIZE", "RECLAIMABLE"], cells)
            }
        };
        if self.verbose {
            let images = usage.images.iter().map(|image| {
                let summary = &image.summary;
                let name = summary.record.reference.clone().unwrap_or_else(|| "<none>".to_owned());
                vec![name, short_id(&summary.id), human::size(summary.size), human::size(image.unique)]
            });
            let layers = usage.layers.iter().map(|layer| {
                let bytes = layer.bytes.map_or_else(|| "unknown".to_owned(), human::size);
                let used = if layer.referenced { "yes" } else { "no" };
                vec![layer.name.chars().take(20).collect(), layer.ownership_key.clone(), bytes, used.to_owned()]
            });
            out.push('\n');
            out.push_str(&output::table(&["IMAGE", "IMAGE ID", "SIZE", "UNIQUE SIZE"], images));
            out.push('\n');
            out.push_str(&output::table(&["LAYER", "OWNER", "SIZE", "USED"], layers));
        }
        output::print(&out)?;
        Ok(ExitCode::SUCCESS)
    }
}
