// SPDX-License-Identifier: Apache-2.0
//! `bryo inspect`: everything about containers, images and volumes, as JSON of Docker's shape.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_image::reference::Reference;
use bryo_image::store::{ImageRecord, Store};
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

/// Show everything about containers, images or volumes
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// Look for this kind only
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Sort>,
    #[command(flatten)]
    what: What,
}

/// Show everything about images
#[derive(Debug, clap::Args)]
pub struct InspectImage {
    #[command(flatten)]
    what: What,
}

/// Show everything about containers
#[derive(Debug, clap::Args)]
pub struct InspectContainer {
    #[command(flatten)]
    what: What,
}

/// Show everything about volumes
#[derive(Debug, clap::Args)]
pub struct InspectVolume {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct What {
    /// Format as json, or by a template such as '{{.Id}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// What is meant, by name or id
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// A container
    Container,
    /// An image
    Image,
    /// A volume
    Volume,
}

impl Verb for Inspect {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show everything about containers, images or volumes";

    fn run(self, context: &Context) -> Result<ExitCode> {
        self.what.run(context, self.kind)
    }
}

impl Verb for InspectImage {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show everything about images";

    fn run(self, context: &Context) -> Result<ExitCode> {
        self.what.run(context, Some(Sort::Image))
    }
}

impl Verb for InspectContainer {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show everything about containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        self.what.run(context, Some(Sort::Container))
    }
}

impl Verb for InspectVolume {
    const NAME: &'static str = "inspect";
    const ABOUT: &'static str = "Show everything about volumes";

    fn run(self, context: &Context) -> Result<ExitCode> {
        self.what.run(context, Some(Sort::Volume))
    }
}

impl What {
    /// Prints what was found also when something was not.
    fn run(&self, context: &Context, kind: Option<Sort>) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut found = Vec::new();
        let mut failure = None;
        for name in &self.names {
            match find(&engine, name, kind) {
                Ok(value) => found.push(value),
                Err(error) => {
                    failure.replace(error).inspect(Error::print);
                }
            }
        }
        let text = match &self.format {
            Some(format) => found.iter().map(|value| template::one(format, value)).collect::<Result<String>>()?,
            None => output::json(&found)?,
        };
        output::print(&text)?;
        failure.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}

/// Finds a container, else an image, else a volume.
fn find(engine: &Engine, name: &str, kind: Option<Sort>) -> Result<Value> {
    let wanted = |sort: Sort| kind.is_none_or(|kind| kind == sort);
    let show = |value: serde_json::Result<Value>| value.map_err(|e| Error::message(format!("show {name}: {e}")));
    if wanted(Sort::Container) {
        match engine.containers().find(name) {
            Ok(record) => return Ok(engine.inspect(&record)?),
            Err(error) if error.kind() == Kind::NoSuchContainer && kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    if wanted(Sort::Image) {
        match engine.store().find(name) {
            Ok(record) => return image(engine.store(), &record),
            Err(error) if error.kind() == bryo_image::Kind::NotFound && kind.is_none() => {}
            Err(error) => return Err(error.into()),
        }
    }
    match engine.volume(name) {
        Ok(volume) => show(serde_json::to_value(volume)),
        Err(error) if error.kind() == Kind::NoSuchVolume && kind.is_none() => {
            let hint = "bryo ps -a for containers, bryo images for images, bryo volume ls for volumes";
            Err(Error::message(format!("find {name:?}: no such container, image or volume")).hint(hint))
        }
        Err(error) => Err(error.into()),
    }
}

/// Describes an image in the words of Docker's API. The configuration is shown as it is, with what bryo does not know.
fn image(store: &Store, record: &ImageRecord) -> Result<Value> {
    let image = store.image(record)?;
    let (_, config) = store.documents(record)?;
    let config: Value =
        serde_json::from_slice(&config).map_err(|error| Error::message(format!("show {}: {error}", record.id())))?;
    let mut tags = Vec::new();
    let mut digests = Vec::new();
    for other in store.images()?.iter().filter(|other| other.manifest == record.manifest) {
        let Some(name) = &other.reference else { continue };
        let Ok(reference) = name.parse::<Reference>() else { continue };
        if reference.tag().is_some() {
            tags.push(name.clone());
        }
        let known_as = other.source.as_ref().unwrap_or(&other.manifest);
        digests.push(format!("{}@{known_as}", reference.repository()));
    }
    digests.sort();
    digests.dedup();
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum::<u64>() + record.size;
    let layers: Vec<&str> = image.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let last_comment = image.history().last().and_then(|step| step.comment.clone()).unwrap_or_default();
    let history = config.get("history").cloned().unwrap_or_else(|| json!([]));
    Ok(json!({
        "Id": image.config_digest.to_string(),
        "Digest": record.manifest.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": last_comment,
        "Created": text("created"),
        "Author": text("author"),
        "Config": config.get("config").cloned().unwrap_or_else(|| json!({})),
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "Size": size,
        "ManifestType": record.media_type,
        "RootFS": {"Type": "layers", "Layers": layers},
        "History": history,
    }))
}
