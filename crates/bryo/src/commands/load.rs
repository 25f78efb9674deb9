// SPDX-License-Identifier: Apache-2.0
//! `bryo load`.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::events::Event;
use bryo_image::archive::{self, LoadOptions};
use bryo_image::registry::Platform;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Load images from an archive, as docker save, podman save or bryo save write it
///
/// Both kinds are understood, docker-archive and oci-archive, compressed or not.
#[derive(Debug, clap::Args)]
pub struct Load {
    /// Read FILE instead of standard input
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Choose the images for this platform: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

impl Verb for Load {
    const NAME: &'static str = "load";
    const ABOUT: &'static str = "Load images from an archive";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let file = open(self.input.as_ref())?;
        let engine = context.engine()?;
        let worker = engine.worker()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let options = LoadOptions { limits: context.config()?.limits, platform };
        let name = self.input.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
        let loaded = archive::load_archive(engine.store(), &worker, file, &options)
            .map_err(|error| error.within(format!("load {name}")))?;
        engine.journal().write(&loaded.iter().map(|record| Event::of_image(record, "load")).collect::<Vec<_>>());
        if !self.quiet {
            let lines = loaded.iter().map(|record| match &record.reference {
                Some(reference) => format!("Loaded image: {}\n", output::line(reference)),
                None => format!("Loaded image ID: {}\n", record.id()),
            });
            output::print(&lines.collect::<String>())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Opens the archive; a terminal is none.
pub fn open(path: Option<&PathBuf>) -> Result<File> {
    if let Some(path) = path {
        return File::open(path).map_err(|error| Error::io(format!("open {}", path.display()), &error));
    }
    let stdin = std::io::stdin();
    if rustix::termios::isatty(&stdin) {
        return Err(Error::message("load from standard input: it is a terminal").hint("bryo load -i FILE"));
    }
    let fd = stdin.as_fd().try_clone_to_owned().map_err(|error| Error::io("read standard input", &error))?;
    Ok(File::from(fd))
}
