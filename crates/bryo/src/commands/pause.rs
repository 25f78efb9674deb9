// SPDX-License-Identifier: Apache-2.0
//! `bryo pause`, `bryo unpause`: containers whose processes stand still.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Verb;
use crate::commands::each::each;
use crate::context::Context;
use crate::errors::Result;

/// Flags of `bryo pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Flags of `bryo unpause`.
#[derive(Debug, Args)]
pub struct Unpause {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Verb for Pause {
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "Freeze all processes of containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        each(&engine, &self.containers, |record| Ok(engine.pause(record)?))
    }
}

impl Verb for Unpause {
    const NAME: &'static str = "unpause";
    const ABOUT: &'static str = "Let paused containers go on";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        each(&engine, &self.containers, |record| Ok(engine.unpause(record)?))
    }
}
