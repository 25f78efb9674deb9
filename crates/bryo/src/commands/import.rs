// SPDX-License-Identifier: Apache-2.0
//! `bryo import`.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::events::Event;
use bryo_image::archive::{self, Change, ImportOptions};
use bryo_image::reference::Reference;
use bryo_image::registry::Platform;

use super::load;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output;

/// Make an image of a root file system's tar archive
#[derive(Debug, clap::Args)]
pub struct Import {
    /// Change the image's configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// A remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// The platform the image is for: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Print nothing but the image's id; there is nothing else to print
    #[arg(short, long)]
    quiet: bool,
    /// The archive, compressed or not; - is standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The image's name
    #[arg(value_name = "NAME")]
    reference: Option<Reference>,
}

impl Verb for Import {
    const NAME: &'static str = "import";
    const ABOUT: &'static str = "Make an image of a root file system's archive";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let input = load::open(Some(&self.file).filter(|file| file.as_os_str() != "-"))?;
        let engine = context.engine()?;
        let worker = engine.worker()?;
        let options = ImportOptions {
            reference: self.reference,
            changes: self.change,
            message: self.message,
            platform: self.platform,
            limits: context.config()?.limits,
        };
        let record = archive::import(engine.store(), &worker, &mut BufReader::with_capacity(1 << 20, input), &options)
            .map_err(|error| error.within(format!("import {}", self.file.display())))?;
        engine.journal().write(&[Event::of_image(&record, "import")]);
        output::print(&format!("{}\n", record.id()))?;
        Ok(ExitCode::SUCCESS)
    }
}
