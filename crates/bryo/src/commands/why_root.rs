// SPDX-License-Identifier: Apache-2.0
//! `bryo why-root`: every reason for which an image wants root.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_audit::facts::image::Image as Facts;
use bryo_audit::reasons::{self, Asked, Reason, Remedy};
use bryo_engine::Engine;
use bryo_engine::options::RunOptions;
use bryo_engine::run::Image;
use bryo_image::store::Image as Stored;
use clap::Args;
use serde::Serialize;

use crate::cli::Verb;
use crate::commands::run;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::{output, pages};

/// Say why an image wants root: every reason with its evidence and its remedy
///
/// Nothing of the image is executed. BY says who has something to do about a reason: nobody, harden (bryo run does it
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
    /// An image or a container
    #[arg(value_name = "IMAGE|CONTAINER")]
    target: String,
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

impl Verb for WhyRoot {
    const NAME: &'static str = "why-root";
    const ABOUT: &'static str = "Say why an image wants root";
    const FAILURE: u8 = USAGE;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
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
