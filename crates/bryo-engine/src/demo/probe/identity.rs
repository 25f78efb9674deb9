// SPDX-License-Identifier: Apache-2.0
//! Attempts to become somebody else.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bryo_sys::Errno;
use bryo_sys::attempt::Attempt as Call;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Attempt, Ending, HostFacts};

pub(super) const ATTEMPTS: &[Attempt] = &[
    Attempt {
        id: "become-root",
        tried: "become root with setuid(0)",
        gains: "every file of the container",
        make: |_| Ending::of(rustix::thread::set_thread_uid(Uid::ROOT), &[]),
    },
    Attempt {
        id: "become-root-group",
        tried: "join the group root with setgid(0)",
        gains: "the files of root's group",
        make: |_| Ending::of(rustix::thread::set_thread_gid(Gid::ROOT), &[]),
    },
    Attempt {
        id: "setuid-file",
        tried: "become root by a setuid file (su, mount, ...)",
        gains: "root through a hole in an old program",
        make: setuid_file,
    },
    Attempt {
        id: "capabilities",
        tried: "hold or take capabilities",
        gains: "pieces of root's power",
        make: capabilities,
    },
    Attempt {
        id: "new-privileges",
        tried: "gain privileges at execve (no_new_privs)",
        gains: "set-user-id files and file capabilities work",
        make: |_| match rustix::thread::no_new_privs() {
            Ok(true) => Ending::Refused("no_new_privs is set".into()),
            _ => Ending::Possible("no_new_privs is not set".into()),
        },
    },
    Attempt {
        id: "user-namespace",
        tried: "be root in a user namespace of its own (unshare)",
        gains: "most of the kernel's recent holes",
        make: |_| Ending::of(Call::UnshareUser.make(), &[]),
    },
    Attempt {
        id: "setns",
        tried: "enter another namespace (setns)",
        gains: "the view of another process",
        make: |_| Ending::of(Call::Setns.make(), &[Errno::BADF]),
    },
];

fn capabilities(_: &HostFacts) -> Ending {
    let held = rustix::thread::capabilities(None).unwrap_or(CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    });
    let all = held.effective | held.permitted | held.inheritable;
    if !all.is_empty() {
        return Ending::Possible(format!("holds {}", all.iter().count()));
    }
    let full = CapabilitySets {
        effective: CapabilitySet::all(),
        permitted: CapabilitySet::all(),
        inheritable: CapabilitySet::empty(),
    };
    Ending::of(rustix::thread::set_capabilities(None, full), &[])
}

/// Where distributions keep programs with the set-user-id bit.
const PLACES: [&str; 6] = ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/lib/openssh"];

/// How many such programs are started at most.
const AT_MOST: usize = 12;

fn setuid_file(_: &HostFacts) -> Ending {
    if rustix::process::geteuid().is_root() {
        return Ending::Possible("it is root already".into());
    }
    let files = setuid_files();
    if files.is_empty() {
        return Ending::Absent("this image has none".into());
    }
    for file in files.iter().take(AT_MOST) {
        if becomes_root(file) {
            return Ending::Possible(format!("{} runs as root", file.display()));
        }
    }
    Ending::Refused(format!("{} ran without root", files.len().min(AT_MOST)))
}

fn setuid_files() -> Vec<PathBuf> {
    let mut seen = std::collections::HashSet::new();
    let entries = PLACES.iter().filter_map(|p| std::fs::read_dir(p).ok()).flatten().filter_map(Result::ok);
    let marked = entries.filter_map(|e| {
        let meta = std::fs::metadata(e.path()).ok()?;
        (meta.is_file() && meta.mode() & 0o4000 != 0 && seen.insert((meta.dev(), meta.ino()))).then(|| e.path())
    });
    marked.collect()
}

/// Starts a program and looks at its effective user id from outside, while it runs and after its end.
fn becomes_root(program: &std::path::Path) -> bool {
    let child =
        Command::new(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(mut child) = child else { return false };
    // `spawn` returns after execve; the entry stays until `wait`, so that no moment is too late.
    let status = format!("/proc/{}/status", child.id());
    let mut root = false;
    for _ in 0..5 {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let ids = text.lines().find_map(|l| l.strip_prefix("Uid:")).unwrap_or_default();
        root = root || ids.split_whitespace().skip(1).any(|id| id == "0");
        std::thread::sleep(Duration::from_millis(2));
    }
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
    root
}
