// SPDX-License-Identifier: Apache-2.0
//! `bryo exec`: another process in a container that runs.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use bryo_engine::exec::ExecOptions;
use bryo_engine::options::env_file;
use bryo_launch::relay::Caller;
use clap::Args;

use crate::cli::Verb;
use crate::commands::installs;
use crate::commands::start::note;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Pass standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Leave the process alone
    #[arg(long, short)]
    detach: bool,
    /// User inside: NAME|UID[:GROUP|GID]; the container's own if it is not given
    #[arg(long, short, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Variable of the environment; NAME alone takes the caller's value
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// File of NAME=VALUE lines
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Refused: a process never has more than its container
    #[arg(long, hide = true)]
    privileged: bool,
    /// Name, id, or beginning of an id, and the program with its arguments
    #[arg(value_name = "CONTAINER COMMAND", required = true, num_args = 2.., trailing_var_arg = true)]
    container_and_command: Vec<String>,
}

impl Verb for Exec {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "Run another process in a container that runs";
    // Docker and Podman end with it when the process did not start.
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.privileged {
            let why = "--privileged: a process has what its container has, and never more; nothing was started";
            return Err(Error::message(why).hint("bryo run --privileged, for a container with more"));
        }
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        if self.tty && self.interactive && !self.detach && !rustix::termios::isatty(caller.stdin) {
            let why = "the input is not a terminal, and -t with -i needs one";
            return Err(Error::message(why).hint("-i alone, to pass a pipe on"));
        }
        let env = self.environment()?;
        if let Some(relative) = self.workdir.as_ref().filter(|dir| !dir.is_absolute()) {
            let why = format!("invalid working directory {}: it must be an absolute path", relative.display());
            return Err(Error::message(why));
        }
        let engine = context.engine()?;
        let mut words = self.container_and_command.into_iter();
        let record = engine.containers().find(&words.next().unwrap_or_default())?;
        let options = ExecOptions {
            command: words.collect(),
            user: self.user.filter(|user| !user.is_empty()),
            env,
            workdir: self.workdir,
            interactive: self.interactive && !self.detach,
            tty: self.tty && !self.detach,
            detach: self.detach,
        };
        let (code, hints) = engine.exec(&record, &options, caller)?;
        let line = installs::hint(&options.command, hints).filter(|_| code != 0 && output::draws());
        line.iter().for_each(|line| note(line));
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
    }
}

impl Exec {
    fn environment(&self) -> Result<Vec<String>> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut env = Vec::new();
        for file in &self.env_file {
            let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("read {}", file.display()), &e))?;
            env.extend(env_file(&text, variable)?);
        }
        for entry in &self.env {
            let (name, value) = entry.split_once('=').map_or((entry.as_str(), None), |(n, v)| (n, Some(v.to_owned())));
            if name.is_empty() || name.contains(char::is_whitespace) || entry.contains('\0') {
                return Err(Error::message(format!(
                    "invalid variable {entry:?}: expected NAME=VALUE, or a NAME of yours"
                )));
            }
            env.extend(value.or_else(|| variable(name)).map(|value| format!("{name}={value}")));
        }
        Ok(env)
    }
}
