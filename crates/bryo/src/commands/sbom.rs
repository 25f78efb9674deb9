// SPDX-License-Identifier: Apache-2.0
//! `bryo sbom`: what is installed in an image, a container or a directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::error::Kind;
use bryo_packages::inventory::Inventory;
use bryo_packages::sbom::{Subject, cyclonedx, spdx};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, pages};

/// Flags of `bryo sbom`.
#[derive(Debug, Args)]
pub struct Sbom {
    /// How it is written
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Writes a page of HTML to FILE too, which needs nothing else
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Lists the files of each package, where its database has them
    #[arg(long)]
    files: bool,
    /// The container, or else the image, by name or id; or a directory, by a path that begins with a dot or a slash
    #[arg(value_name = "CONTAINER|IMAGE|DIR")]
    name: String,
}

/// How a bill of materials is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// CycloneDX 1.6
    CyclonedxJson,
    /// SPDX 2.3
    SpdxJson,
    /// A line for each package
    Table,
}

impl Verb for Sbom {
    const NAME: &'static str = "sbom";
    const ABOUT: &'static str = "List the packages in an image, a container or a directory";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let target = Target::find(&engine, &self.name)?;
        let inventory = target.inventory(&engine, self.files)?;
        pages::write(self.html.as_deref(), || pages::sbom::page(&target.subject().name, &inventory))?;
        let text = match self.output {
            Format::CyclonedxJson => output::json(&cyclonedx(&target.subject(), &inventory))?,
            Format::SpdxJson => output::json(&spdx(&target.subject(), &inventory))?,
            Format::Table => table(&inventory),
        };
        output::print(&text)?;
        complain(&self.name, &inventory);
        Ok(ExitCode::SUCCESS)
    }
}

/// What is looked at.
pub(super) enum Target {
    Container(Box<Record>),
    Image(Box<bryo_image::store::Image>, String),
    Directory(String),
}

impl Target {
    /// Finds a container, or else an image, of a name. What looks like a path is a directory.
    pub fn find(engine: &Engine, name: &str) -> Result<Self> {
        if name.starts_with(['/', '.']) {
            return Ok(Self::Directory(name.to_owned()));
        }
        match engine.containers().find(name) {
            Err(error) if error.kind() == Kind::NoSuchContainer => (),
            other => return Ok(Self::Container(Box::new(other?))),
        }
        match engine.store().find(name) {
            Err(error) if error.kind() == bryo_image::Kind::NotFound => {
                let why = format!("find {name:?}: no such container or image");
                Err(Error::message(why)
                    .hint("bryo ps -a for containers, bryo images for images, ./DIR for a directory"))
            }
            other => {
                let record = other?;
                let image = engine.store().image(&record)?;
                let name = record.reference.as_ref().map_or_else(|| name.to_owned(), ToString::to_string);
                Ok(Self::Image(Box::new(image), name))
            }
        }
    }

    /// Lists its packages.
    pub fn inventory(&self, engine: &Engine, files: bool) -> Result<Inventory> {
        Ok(match self {
            Self::Container(record) => engine.packages_of_container(record, files)?.inventory,
            Self::Image(image, _) => engine.packages_of_image(image, files)?,
            Self::Directory(path) => engine.packages_of_directory(Path::new(path), files)?,
        })
    }

    /// Returns the names that others may call it by.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Container(record) => {
                let mut names = vec![record.name.clone(), record.image.clone()];
                names.extend(record.image_id.clone());
                names
            }
            Self::Image(image, name) => {
                vec![name.clone(), image.manifest_digest.to_string(), image.config_digest.to_string()]
            }
            Self::Directory(path) => vec![path.clone()],
        }
    }

    fn subject(&self) -> Subject {
        let (name, version) = match self {
            Self::Container(record) => (record.name.clone(), Some(record.id.to_string())),
            Self::Image(image, name) => (name.clone(), Some(image.manifest_digest.to_string())),
            Self::Directory(path) => (path.clone(), None),
        };
        Subject { name, version, container: !matches!(self, Self::Directory(_)), time: now() }
    }
}

/// Returns the time in whole seconds.
pub(super) fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string()
}

fn table(inventory: &Inventory) -> String {
    let rows = inventory.items.iter().map(|item| {
        let package = &item.package;
        let place = item.locations.first().map_or_else(String::new, |path| format!("/{path}"));
        let arch = package.arch.clone().unwrap_or_default();
        vec![package.kind.name().to_owned(), package.name.clone(), package.version.clone(), arch, place]
    });
    output::table(&["TYPE", "NAME", "VERSION", "ARCH", "FOUND IN"], rows)
}

/// Says what could not be read, and that nothing was found.
pub(super) fn complain(name: &str, inventory: &Inventory) {
    for problem in &inventory.problems {
        let text = format!("bryo: {name}: /{}: {}", problem.path, problem.why);
        output::complain(&format!("{}\n", output::line(&text)));
    }
    if inventory.is_unscannable() {
        let text = format!("bryo: {name}: no package database and no list of modules: what is in it is unknown");
        output::complain(&format!("{}\n", output::line(&text)));
    }
}
