// SPDX-License-Identifier: Apache-2.0
//! `bryo rename`: another name for a container.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;

/// Flags of `bryo rename`.
#[derive(Debug, Args)]
pub struct Rename {
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The new name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Verb for Rename {
    const NAME: &'static str = "rename";
    const ABOUT: &'static str = "Give a container another name";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        engine.rename(&record, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}
