// SPDX-License-Identifier: Apache-2.0
//! Pull and push against a real registry, and against servers that lie, break off and refuse.
//!
//! Each test is a process of its own, run by this file's `main`: the unpacking process can only be made by a
//! process with one thread.

// A harness of its own is not known as a test to the lints.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod access;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod fixture;
mod hostile;
mod servers;
mod tokens;
mod transfer;

use std::process::{Command, ExitCode};

use common::Test;

const CHOSEN: &str = "BRYO_REGISTRY_TEST";

fn main() -> ExitCode {
    let all = [access::TESTS, faults::TESTS, hostile::TESTS, tokens::TESTS, transfer::TESTS].concat();
    if let Ok(chosen) = std::env::var(CHOSEN) {
        if chosen == "victim" {
            faults::victim();
            return ExitCode::SUCCESS;
        }
        let (_, test) = all.iter().find(|(name, _)| *name == chosen).expect("the parent names a test");
        test();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|text| !text.starts_with('-')).collect();
    let wanted: Vec<Test> = all
        .into_iter()
        .filter(|(name, _)| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())))
        .collect();
    if arguments.iter().any(|text| text == "--list") {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let failed: Vec<&str> = wanted.iter().filter(|(name, _)| !run(name)).map(|(name, _)| *name).collect();
    println!("\ntest result: {} passed; {} failed", wanted.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(name: &str) -> bool {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).env(CHOSEN, name).output().unwrap();
    let passed = output.status.success();
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    if !passed {
        println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    passed
}
