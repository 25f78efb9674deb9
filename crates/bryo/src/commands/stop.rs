// SPDX-License-Identifier: Apache-2.0
//! `bryo stop`, `bryo kill`, `bryo restart`, `bryo wait`: how containers end.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::error::Kind;
use bryo_engine::events::Event;
use bryo_engine::monitor::Started;
use bryo_engine::options::stop_signal;
use clap::Args;
use rustix::process::Signal;

use crate::cli::Verb;
use crate::commands::each::each;
use crate::commands::start::{start, start_each};
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;

/// Flags of `bryo stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Seconds that it has to end before it is killed (default 10)
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    time: Option<i64>,
    /// Signal that asks it to end
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Passes over containers that do not exist
    #[arg(short, long)]
    ignore: bool,
}

/// Flags of `bryo restart`.
#[derive(Debug, Args)]
pub struct Restart {
    #[command(flatten)]
    stop: Stop,
}

/// Flags of `bryo kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
}

/// Flags of `bryo wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// Names, ids, or beginnings of ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    /// A negative time is Docker's word for as long as it takes.
    fn grace(&self) -> Option<u64> {
        self.time.map(|time| u64::try_from(time).unwrap_or(u64::from(u32::MAX)))
    }
}

/// Reads a signal by name or number.
fn signal(text: &str) -> Result<Signal> {
    let number = stop_signal(text)?;
    bryo_engine::options::numbered(number).ok_or_else(|| Error::message(format!("invalid signal {text:?}")))
}

fn missing(engine: &Engine, name: &str) -> bool {
    engine.containers().find(name).is_err_and(|error| error.kind() == Kind::NoSuchContainer)
}

impl Verb for Stop {
    const NAME: &'static str = "stop";
    const ABOUT: &'static str = "Ask containers to end, and kill those that do not";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let signal = self.signal.as_deref().map(signal).transpose()?;
        let there = |name: &&String| !self.ignore || !missing(&engine, name);
        let names: Vec<String> = self.containers.iter().filter(there).cloned().collect();
        each(&engine, &names, |record| Ok(engine.stop(record, signal, self.grace())?))
    }
}

impl Verb for Restart {
    const NAME: &'static str = "restart";
    const ABOUT: &'static str = "Stop containers and start them again";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let signal = self.stop.signal.as_deref().map(signal).transpose()?;
        start_each(&self.stop.containers, |name| {
            let record = engine.containers().find(name)?;
            engine.stop_to_start(&record, signal, self.stop.grace())?;
            let started = start(&engine, &record)?;
            if matches!(started, Started::Running) {
                engine.journal().write(&[Event::of(&record, "restart")]);
            }
            Ok(started)
        })
    }
}

impl Verb for Kill {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "Send a signal to containers";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let signal = signal(&self.signal)?;
        each(&engine, &self.containers, |record| Ok(engine.kill(record, signal)?))
    }
}

impl Verb for Wait {
    const NAME: &'static str = "wait";
    const ABOUT: &'static str = "Wait until containers have ended, and print their exit codes";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.containers {
            match engine.containers().find(name).and_then(|record| engine.wait(&record)) {
                Ok(code) => output::print(&format!("{code}\n"))?,
                Err(error) => {
                    Error::from(error).print();
                    failed = true;
                }
            }
        }
        if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
    }
}
