// SPDX-License-Identifier: Apache-2.0
//! `bryo completion`.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::cli::{self, Verb};
use crate::context::Context;
use crate::errors::Result;
use crate::output;

/// Print a script that completes bryo's commands and flags in a shell
///
/// For bash: bryo completion bash > ~/.local/share/bash-completion/completions/bryo
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Verb for Completion {
    const NAME: &'static str = "completion";
    const ABOUT: &'static str = "Print a completion script for a shell";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut cli::shown(), "bryo", &mut script);
        output::print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
