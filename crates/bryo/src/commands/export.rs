// SPDX-License-Identifier: Apache-2.0
//! `bryo export`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_image::archive;
use bryo_image::unpack::Unreadable;

use super::save::to_file;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Write the file system of a container, or of an image, into a tar archive
///
/// The owners in the archive are the ids inside, and the order is always the same. What is mounted in a container is not
/// in the archive.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Write FILE instead of standard output
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// The container, or else the image, by name or id
    #[arg(value_name = "CONTAINER|IMAGE")]
    name: String,
}

impl Verb for Export {
    const NAME: &'static str = "export";
    const ABOUT: &'static str = "Write the file system of a container or image into an archive";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.output.is_none() && output::stdout_is_terminal() {
            return Err(Error::message("export to standard output: it is a terminal").hint("-o FILE"));
        }
        let container = match engine.containers().find(&self.name) {
            Err(error) if error.kind() == Kind::NoSuchContainer => None,
            other => Some(other?),
        };
        match container {
            Some(record) => {
                let unreadable = self.write(|out| Ok(engine.export(&record, out)?))?;
                if unreadable.count > 0 {
                    let Unreadable { count, first } = unreadable;
                    let text =
                        format!("bryo: {count} files are left out, which the container may not read: {first:?}\n");
                    output::complain(&text);
                }
            }
            None => self.image(context, &engine)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Export {
    fn image(&self, context: &Context, engine: &Engine) -> Result<()> {
        let store = engine.store();
        let image = match store.find(&self.name) {
            Err(error) if error.kind() == bryo_image::Kind::NotFound => {
                let why = format!("export {:?}: no such container or image", self.name);
                return Err(Error::message(why).hint("bryo ps -a for containers, bryo images for images"));
            }
            other => store.image(&other?)?,
        };
        let worker = engine.worker()?;
        worker.unpack_missing(store, &image, &context.config()?.limits, &|_| {})?;
        self.write(|out| Ok(archive::export(store, &worker, &image, out)?))
    }

    fn write<T>(&self, write: impl FnOnce(OwnedFd) -> Result<T>) -> Result<T> {
        match &self.output {
            Some(file) => to_file(file, |out| write(out.into())),
            None => write(std::io::stdout().as_fd().try_clone_to_owned().map_err(Error::Output)?),
        }
    }
}
