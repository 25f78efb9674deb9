// SPDX-License-Identifier: Apache-2.0
//! `bryo create`: a container that is started later.

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::args::{Environment, RunArgs};
use crate::cli::Verb;
use crate::commands::{run, start};
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// The command line of `bryo create`: that of `run`.
#[derive(Debug)]
pub struct Create(RunArgs);

impl Args for Create {
    fn augment_args(command: Command) -> Command {
        RunArgs::augment_args(command).override_usage("bryo create [OPTIONS] IMAGE [COMMAND [ARG]...]")
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Create {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        RunArgs::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Verb for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Make a container without starting it";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let (quiet, replace) = (self.0.quiet(), self.0.replace());
        let here = std::env::current_dir().map_err(|e| Error::io("working directory", &e))?;
        let variable = |name: &str| std::env::var(name).ok();
        let options = self.0.options(&Environment { here: &here, variable: &variable })?;
        let engine = context.engine()?;
        let image = run::find(context, &engine, &options, quiet)?;
        if let (true, Some(name)) = (replace, &options.name) {
            engine.make_way(name)?;
        }
        let created = engine.create(&options, image, &start::note)?;
        output::print(&format!("{}\n", created.id))?;
        Ok(ExitCode::SUCCESS)
    }
}
