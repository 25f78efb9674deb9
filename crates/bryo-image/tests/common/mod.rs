// SPDX-License-Identifier: Apache-2.0
//! A runner of one thread, since a process with threads cannot make a user namespace, and what its tests share.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, dead_code, missing_docs)]

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use bryo_identity::map::{IdMap, RunIds};
use bryo_identity::rung::{Host, Rung};
use bryo_image::store::Store;
use bryo_image::unpack::Worker;
use bryo_tests::skip;

pub type Test = (&'static str, fn());

/// Lists functions under their names, as `TESTS`.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::common::Test] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;

/// Runs the tests whose names contain the first argument, one after the other.
pub fn run(tests: &[Test]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in tests {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            print!("test {name} ... ");
            std::io::stdout().flush().unwrap();
            test();
            println!("ok");
        }
    }
}

/// Returns this host's map, or the single one.
pub fn map(single: bool) -> IdMap {
    let host = Host::probe();
    let rung = if single { Rung::Single } else { host.rung() };
    host.map(rung, RunIds::NONROOT).unwrap()
}

pub fn worker(store: &Store, single: bool) -> Worker {
    let host = Host::probe();
    Worker::start(store, &map(single), host.helpers.as_ref()).unwrap()
}

pub fn bytes_fd(bytes: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file.into()
}

/// Runs a program and returns its output, or `None`, which is a skip, if it is not installed.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    if !skip::have(program) {
        return None;
    }
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {errors}");
    Some(String::from_utf8(done.stdout).unwrap())
}

/// Counts the entries of a directory.
pub fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}
