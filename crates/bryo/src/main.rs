// SPDX-License-Identifier: Apache-2.0
//! Containers without root: the command line.
//!
//! The only crate that prints, reads the environment and decides exit codes. Everything else is below, in libraries.
//! Trusts: the calling user. Faces: text of images, registries and containers, which is escaped before it is printed.
//!
//! The process has one thread until the children that need it so exist (see `context`), and does nothing before the
//! command that the command at hand does not need: `run` is measured in single milliseconds.

// Comments on flags are the help that is shown: brackets mean what can be left out.
#![allow(rustdoc::broken_intra_doc_links)]

mod args;
mod cli;
mod commands;
mod context;
mod errors;
mod output;
mod pages;
mod paths;
mod progress;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os().collect())
}
