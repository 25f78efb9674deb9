// SPDX-License-Identifier: Apache-2.0
//! `bryo rm`: removes containers that have ended.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Ends containers that run, and passes over those that do not exist
    #[arg(short, long)]
    force: bool,
}

impl Verb for Rm {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.containers {
            match engine.remove_by_name(name, self.force) {
                Ok(()) => output::print(&format!("{}\n", output::line(name)))?,
                Err(error) => {
                    Error::from(error).print();
                    failed = true;
                }
            }
        }
        if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
    }
}
