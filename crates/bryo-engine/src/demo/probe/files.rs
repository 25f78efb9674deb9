// SPDX-License-Identifier: Apache-2.0
//! Attempts on files: the image's, the host's, the kernel's.

use std::fs::OpenOptions;
use std::path::Path;

use super::{Attempt, Ending, HostFacts};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "write-root",
        tried: "write to the root file system",
        gains: "a lasting place in the container",
        make: write_root,
    },
    Attempt {
        id: "change-program",
        tried: "change an installed program",
        gains: "code in whatever starts it next",
        make: change_program,
    },
    Attempt { id: "read-shadow", tried: "read /etc/shadow", gains: "password hashes", make: read_shadow },
    Attempt {
        id: "read-home",
        tried: "read the caller's home and other files of the host",
        gains: "keys, tokens, documents",
        make: read_canaries,
    },
    Attempt {
        id: "write-proc-sys",
        tried: "write to /proc/sys (core_pattern)",
        gains: "a program run as root of the host",
        make: |_| writable(&["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe"]),
    },
    Attempt {
        id: "sysrq",
        tried: "write to /proc/sysrq-trigger",
        gains: "reboots and crashes of the host",
        make: |_| writable(&["/proc/sysrq-trigger"]),
    },
    Attempt {
        id: "kernel-memory",
        tried: "read the kernel's memory (/proc/kcore, /dev/mem)",
        gains: "every secret of the host",
        make: |_| readable(&["/proc/kcore", "/dev/mem", "/dev/kmem"]),
    },
    Attempt {
        id: "write-sys",
        tried: "write to /sys",
        gains: "control over devices and the kernel",
        make: |_| writable(&["/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run"]),
    },
    Attempt {
        id: "write-cgroup",
        tried: "write to the control groups",
        gains: "its own limits lifted, a way out on version 1",
        make: |_| writable(&["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/cgroup.subtree_control"]),
    },
];

/// Tries to open each path. A success counts most, then a refusal, and least that there is no such file.
fn worst(paths: &[&str], open: impl Fn(&str) -> std::io::Result<()>) -> Ending {
    let mut last = Ending::Absent("nothing to try it on".into());
    for path in paths {
        match Ending::of_io(open(path)) {
            Ending::Possible(_) => return Ending::Possible((*path).to_owned()),
            other if matches!(&last, Ending::Refused(why) if why != "ENOENT") => drop(other),
            other => last = other,
        }
    }
    last
}

fn writable(paths: &[&str]) -> Ending {
    // Opening is the test; nothing is written.
    worst(paths, |path| OpenOptions::new().write(true).open(path).map(drop))
}

fn readable(paths: &[&str]) -> Ending {
    worst(paths, |path| std::fs::File::open(path).map(drop))
}

fn write_root(_: &HostFacts) -> Ending {
    worst(&["/", "/usr", "/etc", "/bin", "/lib"], |directory| {
        let path = Path::new(directory).join(".bryo-demo");
        OpenOptions::new().write(true).create_new(true).open(&path)?;
        std::fs::remove_file(&path)
    })
}

fn change_program(_: &HostFacts) -> Ending {
    let programs = ["/bin/sh", "/bin/busybox", "/usr/bin/env", "/bin/ls"];
    let there: Vec<&str> = programs.into_iter().filter(|p| Path::new(p).exists()).collect();
    writable(&there)
}

fn read_shadow(_: &HostFacts) -> Ending {
    match std::fs::read_to_string("/etc/shadow") {
        // Without a password there is nothing to gain: `*` and `!` stand for none. Source: `shadow(5)`.
        Ok(text) if !text.lines().any(|l| l.split(':').nth(1).is_some_and(|hash| hash.starts_with('$'))) => {
            Ending::Refused("no password in it".into())
        }
        result => Ending::of_io(result),
    }
}

/// Looks for files that the demo has put on the host, each with a word in it.
fn read_canaries(facts: &HostFacts) -> Ending {
    let mut last = Ending::Absent("the demo could put no file there".into());
    for path in &facts.canaries {
        match std::fs::read_to_string(path) {
            Ok(text) if text.contains(&facts.word) => return Ending::Possible(path.display().to_string()),
            // A file of the image that happens to have the name.
            Ok(_) => last = Ending::Refused("ENOENT".into()),
            Err(e) => last = Ending::of_io::<()>(Err(e)),
        }
    }
    last
}
