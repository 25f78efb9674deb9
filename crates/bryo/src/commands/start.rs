// SPDX-License-Identifier: Apache-2.0
//! `bryo start`: containers that were made, or that have ended.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::attach::{AttachOptions, Keys, Left};
use bryo_engine::container::Record;
use bryo_engine::error::Kind;
use bryo_engine::list::{Filter, Listing};
use bryo_engine::monitor::Started;
use bryo_launch::relay::{Caller, size_of};
use clap::Args;

use crate::cli::Verb;
use crate::commands::run::words;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Names, ids, or beginnings of ids
    #[arg(required_unless_present_any = ["all", "filter"], value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Starts all that do not run, in the order in which they were made
    #[arg(long, conflicts_with_all = ["containers", "attach", "interactive"])]
    all: bool,
    /// Starts all that fit, as "bryo ps" has it: restart-policy=, should-start-on-boot=, name=, label=...
    #[arg(short, long, value_name = "FILTER", conflicts_with_all = ["containers", "attach", "interactive"])]
    filter: Vec<String>,
    /// Shows what the container says, until it ends, and ends with its exit code
    #[arg(short, long)]
    attach: bool,
    /// Passes standard input on as well
    #[arg(short, long)]
    interactive: bool,
    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Passes signals on (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    sig_proxy: Option<bool>,
}

impl Verb for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "Start containers that do not run";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        if self.attach || self.interactive {
            let [name] = self.containers.as_slice() else {
                return Err(Error::message("only one container can be attached to at a time"));
            };
            let record = engine.containers().find(name)?;
            let keys = self.detach_keys.as_deref().map(Keys::parse).transpose()?.unwrap_or_default();
            let options = AttachOptions {
                input: self.interactive && record.options.interactive,
                ends_input: true,
                proxy_signals: self.sig_proxy != Some(false),
                detach_keys: keys,
            };
            return attached(&engine, &record, &options, |client, size| {
                Ok(engine.start(&record, Some(client), size, &note)?)
            });
        }
        start_each(&self.names(&engine)?, |name| {
            let record = engine.containers().find(name)?;
            start(&engine, &record)
        })
    }
}

impl Start {
    /// Returns the containers to start: those that were named, or those that fit.
    fn names(self, engine: &Engine) -> Result<Vec<String>> {
        if !self.all && self.filter.is_empty() {
            return Ok(self.containers);
        }
        let filters = self.filter.iter().map(|text| text.parse()).collect::<std::result::Result<Vec<Filter>, _>>()?;
        let found = engine.list(&Listing { all: true, last: None, filters })?;
        // Those that others share something with were made before them.
        Ok(found.into_iter().rev().filter(|record| !record.state.is_active()).map(|record| record.name).collect())
    }
}

/// Starts one container; one that runs is left alone, as Docker does.
pub(super) fn start(engine: &Engine, record: &Record) -> Result<Started> {
    match engine.start(record, None, None, &note) {
        Err(error) if error.kind() == Kind::Running => Ok(Started::Running),
        other => Ok(other?),
    }
}

/// Starts containers one after the other and prints their names. One that fails does not keep the others from their
/// turn; the exit code is that of a failure then.
pub(super) fn start_each(names: &[String], start: impl Fn(&str) -> Result<Started>) -> Result<ExitCode> {
    let own = rustix::process::getpid();
    let mut failed = false;
    for name in names {
        match start(name) {
            Ok(Started::Running) => output::print(&format!("{}\n", output::line(name)))?,
            Ok(Started::Failed(_)) => failed = true,
            // The process that was to supervise the container: it tells, and ends.
            Err(error) if rustix::process::getpid() != own => return Err(error),
            Err(error) => {
                error.print();
                failed = true;
            }
        }
    }
    if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
}

/// Starts a container with the caller attached, and ends as it does.
pub(super) fn attached(
    engine: &Engine,
    record: &Record,
    options: &AttachOptions,
    start: impl FnOnce(std::os::fd::OwnedFd, Option<(u16, u16)>) -> Result<Started>,
) -> Result<ExitCode> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let (ours, theirs) = bryo_engine::attach::connection()?;
    let size = size_of(caller.stdin).or_else(|| size_of(caller.stdout));
    match start(theirs, size)? {
        Started::Running => match engine.attached(record, ours, caller, options)? {
            Left::Ended(code, hints) => {
                if code != 0 && output::draws() {
                    words(hints, code, &record.options).iter().for_each(|line| note(line));
                }
                Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
            }
            Left::Detached => Ok(ExitCode::SUCCESS),
        },
        Started::Failed(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// Prints what is worth knowing about a start.
pub(super) fn note(line: &str) {
    output::complain(&format!("bryo: {}\n", output::line(line)));
}
