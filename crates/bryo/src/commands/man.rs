// SPDX-License-Identifier: Apache-2.0
//! `bryo man`, for packagers: a manual page for each command.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{self, Verb};
use crate::context::Context;
use crate::errors::{Error, Result};

/// Write the manual pages into a directory
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The directory, which must exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

impl Verb for Man {
    const NAME: &'static str = "man";
    const ABOUT: &'static str = "Write the manual pages";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        clap_mangen::generate_to(cli::shown(), &self.dir)
            .map_err(|error| Error::io(format!("write manual pages to {}", self.dir.display()), &error))?;
        Ok(ExitCode::SUCCESS)
    }
}
