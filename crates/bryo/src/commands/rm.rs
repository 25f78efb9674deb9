// SPDX-License-Identifier: Apache-2.0
//! `bryo rm`: removes containers that have ended.

use std::process::ExitCode;

use bryo_engine::Engine;
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
    /// Removes their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
}

impl Verb for Rm {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.containers {
            match self.remove(&engine, name) {
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

impl Rm {
    fn remove(&self, engine: &Engine, name: &str) -> bryo_engine::error::Result<()> {
        let record = engine.containers().find(name);
        engine.remove_by_name(name, self.force)?;
        match record {
            Ok(record) if self.volumes => engine.remove_anonymous_volumes(&record.options),
            _ => Ok(()),
        }
    }
}
