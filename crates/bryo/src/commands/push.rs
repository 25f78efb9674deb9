// SPDX-License-Identifier: Apache-2.0
//! `bryo push`.

use std::process::ExitCode;

use bryo_engine::events::{Event, Type};
use bryo_image::archive::{SaveFormat, save_layout_dir, save_plain_dir};
use bryo_image::push::PushOptions;
use bryo_image::reference::{Reference, Source};

use super::pull::Tls;
use super::save::write_archive;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;
use crate::progress::{self, Way};

/// Send an image to a registry, an archive or a directory
///
/// Without DESTINATION the image goes to the registry that its name names. DESTINATION is another name, or one with a
/// transport: docker://NAME, oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE, dir:DIR.
#[derive(Debug, clap::Args)]
pub struct Push {
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    tls: Tls,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where it goes
    #[arg(value_name = "DESTINATION")]
    destination: Option<Source>,
}

impl Verb for Push {
    const NAME: &'static str = "push";
    const ABOUT: &'static str = "Send an image to a registry, an archive or a directory";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = context.store()?;
        let record = store.find(&self.image)?;
        let destination = match &self.destination {
            Some(destination) => destination.clone(),
            None => Source::Registry(self.image.parse()?),
        };
        let records = std::slice::from_ref(&record);
        match &destination {
            Source::Registry(target) => {
                self.send(context, &store, &record, target)?;
                let pushed = Event::now(Type::Image, "push", target.to_string()).with("name", target.repository());
                context.journal()?.write(&[pushed]);
            }
            Source::OciLayout { dir, tag } => save_layout_dir(&store, &record, dir, tag.as_deref())?,
            Source::Dir(dir) => save_plain_dir(&store, &record, dir)?,
            Source::OciArchive { file, tag: None } => write_archive(&store, records, SaveFormat::OciArchive, file)?,
            Source::DockerArchive { file, reference: None } => {
                write_archive(&store, records, SaveFormat::DockerArchive, file)?;
            }
            other => return Err(Error::message(format!("push to {other}: not a place that takes images"))),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Push {
    fn send(
        &self,
        context: &Context,
        store: &bryo_image::store::Store,
        record: &bryo_image::store::ImageRecord,
        target: &Reference,
    ) -> Result<()> {
        let registry = context.registry(self.tls.insecure(target))?;
        let progress = progress::reporter(self.quiet, Way::Push);
        let options = PushOptions { registry, ..PushOptions::default() };
        let digest = bryo_image::push::push(store, record, target, &options, progress.as_ref())?;
        output::print(&format!("{digest}\n"))
    }
}
