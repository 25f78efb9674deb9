// SPDX-License-Identifier: Apache-2.0
//! `bryo cp`: files between a container and the host.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bryo_engine::copy::{CopyOptions, Local};
use bryo_image::carry::Carried;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human};

/// Flags of `bryo cp`.
#[derive(Debug, Args)]
#[command(override_usage = "bryo cp [OPTIONS] CONTAINER:PATH PATH|-\n       bryo cp [OPTIONS] PATH|- CONTAINER:PATH")]
pub struct Cp {
    /// Keeps the owners' numbers; without it files belong to the container's user, and on the host to you
    #[arg(short, long)]
    archive: bool,
    /// Copies what a link leads to, where the source is one
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Does not say what was copied
    #[arg(short, long)]
    quiet: bool,
    /// What is copied: CONTAINER:PATH, PATH, or - for a tar archive from standard input
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes: CONTAINER:PATH, PATH, or - for a tar archive to standard output
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

impl Verb for Cp {
    const NAME: &'static str = "cp";
    const ABOUT: &'static str = "Copy files between a container and the host";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let options = CopyOptions { follow: self.follow_link, archive: self.archive };
        let (carried, where_to) = match (split(&self.source), split(&self.destination)) {
            (Some((name, path)), None) => {
                let engine = context.engine()?;
                let record = engine.containers().find(name)?;
                (engine.copy_out(&record, path, self.output()?, options)?, &self.destination)
            }
            (None, Some((name, path))) => {
                let engine = context.engine()?;
                let record = engine.containers().find(name)?;
                (engine.copy_in(&record, self.input()?, path, options)?, &self.destination)
            }
            (Some(_), Some(_)) => {
                let why = "copying between containers is not supported";
                return Err(Error::message(why).hint("bryo cp ONE:PATH - | bryo cp - OTHER:PATH"));
            }
            (None, None) => return Err(Error::message("cp: one of the two must be CONTAINER:PATH")),
        };
        self.tell(&carried, where_to);
        Ok(ExitCode::SUCCESS)
    }
}

impl Cp {
    fn input(&self) -> Result<Local<'_>> {
        if self.source != "-" {
            return Ok(Local::Path(&self.source));
        }
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        Ok(Local::Stream(input.map_err(|error| Error::io("standard input", &error))?))
    }

    fn output(&self) -> Result<Local<'_>> {
        if self.destination != "-" {
            return Ok(Local::Path(&self.destination));
        }
        if output::stdout_is_terminal() {
            return Err(Error::message("cp to standard output: it is a terminal").hint("bryo cp ... - > FILE"));
        }
        let output = std::io::stdout().as_fd().try_clone_to_owned();
        Ok(Local::Stream(output.map_err(Error::Output)?))
    }

    fn tell(&self, carried: &Carried, where_to: &str) {
        if carried.devices > 0 {
            let text = format!("bryo: {} devices were left out: only root of the host makes them\n", carried.devices);
            output::complain(&text);
        }
        if !self.quiet && self.destination != "-" {
            let size = human::size(carried.bytes);
            output::complain(&format!("Successfully copied {size} to {}\n", output::line(where_to)));
        }
    }
}

/// Splits `CONTAINER:PATH`. What begins with a slash or a dot is a path of the host. Source: Docker.
fn split(text: &str) -> Option<(&str, &str)> {
    let (name, path) = text.split_once(':')?;
    (!name.is_empty() && !name.starts_with('.') && !text.starts_with('/')).then_some((name, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_makes_it_a_containers_path() {
        assert_eq!(split("web:/etc/passwd"), Some(("web", "/etc/passwd")));
        assert_eq!(split("web:"), Some(("web", "")));
        for local in ["/a:b", "./a:b", "../a:b", "a/b", "-", ":x"] {
            assert_eq!(split(local), None, "{local}");
        }
    }
}
