// SPDX-License-Identifier: Apache-2.0
//! `bryo attach`: the caller's terminal and a container that runs by itself.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bryo_engine::attach::{AttachOptions, Keys, Left};
use bryo_launch::relay::Caller;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;

/// Flags of `bryo attach`.
#[derive(Debug, Args)]
pub struct Attach {
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Passes no standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Passes signals on (default true)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    sig_proxy: Option<bool>,
}

impl Verb for Attach {
    const NAME: &'static str = "attach";
    const ABOUT: &'static str = "Attach to a container that runs";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        let options = AttachOptions {
            input: !self.no_stdin && record.options.interactive,
            // What was started in the background may be typed to by one after the other, as in Docker.
            ends_input: false,
            proxy_signals: self.sig_proxy != Some(false),
            detach_keys: self.detach_keys.as_deref().map(Keys::parse).transpose()?.unwrap_or_default(),
        };
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let caller = Caller { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
        Ok(match engine.attach(&record, caller, &options)? {
            Left::Ended(code, _) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
            Left::Detached => ExitCode::SUCCESS,
        })
    }
}
