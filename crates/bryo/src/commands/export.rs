// SPDX-License-Identifier: Apache-2.0
//! `bryo export`.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_image::archive;

use super::save::to_file;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Write an image's file system into a tar archive
///
/// The owners in the archive are the ids inside, and the order is always the same.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Write FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for Export {
    const NAME: &'static str = "export";
    const ABOUT: &'static str = "Write an image's file system into an archive";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let store = engine.store();
        let image = store.image(&store.find(&self.image)?)?;
        if self.output.is_none() && output::stdout_is_terminal() {
            return Err(Error::message("export to standard output: it is a terminal").hint("-o FILE"));
        }
        let worker = engine.worker()?;
        worker.unpack_missing(store, &image, &context.config()?.limits, &|_| {})?;
        match &self.output {
            Some(file) => to_file(file, |out| Ok(archive::export(store, &worker, &image, out.into())?))?,
            None => {
                let out = std::io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?;
                archive::export(store, &worker, &image, out)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
