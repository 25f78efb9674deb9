// SPDX-License-Identifier: Apache-2.0
//! The probe: runs as the escaped process would, looks around, and says what it found.
//!
//! Faces the host as its users have made it: names and contents are theirs. It follows no symbolic link, enters no file
//! system of another machine or of a program, and opens nothing whose opening is an act (devices, pipes, sockets).

mod ledger;
mod mounts;
mod processes;
mod secrets;
mod sockets;
mod walk;

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use bryo_launch::outside::Outside;
use rustix::fs::{Mode, OFlags, access};

use super::answer::Answer;
use super::report::{Findings, Reach};
use ledger::{Ledger, Target};
use mounts::Mounts;
use walk::Walker;

/// How far a probe goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long it looks.
    pub time: Duration,
    /// At how many files and directories it looks.
    pub entries: u64,
    /// How many of each kind it names.
    pub examples: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), entries: 2_000_000, examples: 5 }
    }
}

/// Looks around and says what there is; returns the exit code.
pub(super) fn run(outside: bryo_launch::Result<Outside>, bounds: &Bounds, ids_alone: bool, pipe: OwnedFd) -> i32 {
    let mut pipe = File::from(pipe);
    let outside = match outside {
        Ok(outside) => outside,
        Err(error) => {
            Answer::Failed(error.to_string()).say(&mut pipe);
            return 1;
        }
    };
    let (mut ledger, findings) = look(&outside, bounds);
    Answer::Found(findings).say(&mut pipe);
    if ids_alone {
        return 0;
    }
    match outside.confine() {
        Ok(landlocked) => {
            let landlock = landlocked && is_landlocked();
            // A filter may leave permissions to be asked for, or not; what counts is whether it lets anything be opened.
            let opens = !landlock && opens(Path::new("/"));
            let gains = outside.gains_privileges();
            let counts = Reach::ALL.map(|kind| (kind, left(&mut ledger, kind, opens, gains))).to_vec();
            Answer::Confined { landlock, counts }.say(&mut pipe);
            0
        }
        Err(error) => {
            Answer::Failed(error.to_string()).say(&mut pipe);
            1
        }
    }
}

fn look(outside: &Outside, bounds: &Bounds) -> (Ledger, Findings) {
    let mounts = Mounts::parse(outside.mounts());
    let mut ledger = Ledger::default();
    processes::look(&mut ledger);
    let mut bound = HashSet::new();
    sockets::look(&mut ledger, &mounts, &mut bound);
    let mut walker = Walker::new(&mounts, &mut ledger, bound, Instant::now() + bounds.time, bounds.entries);
    walker.known_secrets();
    walker.kernel();
    walker.files();
    let (entries, complete, skipped) = walker.done();
    let categories = ledger.categories(bounds.examples);
    let findings = Findings { categories, entries, complete, skipped, ..Findings::default() };
    (ledger, findings)
}

/// Landlock is believed when it is seen: the root directory, which anybody may list, cannot be opened.
fn is_landlocked() -> bool {
    let root = rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    root.is_err_and(|e| e == rustix::io::Errno::ACCESS)
}

/// Counts what is left of one kind under the filter and Landlock, where files can be opened or not.
fn left(ledger: &mut Ledger, kind: Reach, can_open: bool, can_gain: bool) -> u64 {
    let found = ledger.take(kind);
    let is_left = |target: &Target| match (kind, target) {
        (Reach::Secrets | Reach::PrivateFiles, Target::Path(path)) => opens(path),
        (Reach::SetIdPrograms, _) => can_open && can_gain,
        // Never opened: Landlock's rules give no right to write where they give none to read, and the filter cannot see
        // which file it is.
        (Reach::WritableFiles | Reach::WritableDirectories | Reach::Devices | Reach::Kernel, _) => can_open,
        (Reach::Sockets, _) => processes::makes(rustix::net::AddressFamily::UNIX),
        (Reach::AbstractSockets, _) => processes::makes(rustix::net::AddressFamily::UNIX),
        (Reach::Ports, _) => processes::makes(rustix::net::AddressFamily::INET),
        (Reach::Signals, Target::Process(pid)) => processes::takes_signals(*pid),
        (Reach::Traces, Target::Process(pid)) => processes::opens(*pid, "mem"),
        (Reach::Environments, Target::Process(pid)) => processes::opens(*pid, "environ"),
        _ => false,
    };
    u64::try_from(found.iter().filter(|target| is_left(target)).count()).unwrap_or(u64::MAX)
}

/// Opens a file or directory for reading, without reading: that leaves no time of access.
fn opens(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).is_ok()
}

/// Tells whether a path exists for this process.
fn exists(path: &Path) -> bool {
    access(path, rustix::fs::Access::EXISTS).is_ok()
}
