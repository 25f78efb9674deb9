// SPDX-License-Identifier: Apache-2.0
//! `bryo config`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Make, show or find the configuration file
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write a file in which every key is explained and none is set
    Init,
    /// Print the configuration that is in force, of all files together
    Show,
    /// Print the names of the files, the strongest last
    Path,
}

impl Verb for Config {
    const NAME: &'static str = "config";
    const ABOUT: &'static str = "Make, show or find the configuration file";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let text = match self.action {
            Action::Init => init(context)?,
            Action::Show => context.config()?.to_toml(),
            Action::Path => context.config_files().iter().map(|file| format!("{}\n", file.display())).collect(),
        };
        output::print(&output::text(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the file, unless there is one.
fn init(context: &Context) -> Result<String> {
    let file = context.own_config_file()?;
    let fail = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Error::message(format!("write {}: it exists already", file.display())).hint("bryo config show")
        }
        _ => Error::io(format!("write {}", file.display()), &error),
    };
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).map_err(fail)?;
    }
    let mut made = File::create_new(&file).map_err(fail)?;
    made.write_all(bryo_engine::config::Config::template().as_bytes()).map_err(fail)?;
    Ok(format!("{}\n", file.display()))
}
