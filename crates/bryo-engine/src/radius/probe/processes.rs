// SPDX-License-Identifier: Apache-2.0
//! Processes: who may get a signal, whose memory and environment may be read.
//!
//! Signal 0 is checked as any other and is not sent (`kill(2)`). Opening `/proc/PID/mem` for reading is what the kernel
//! checks as an attachment (`ptrace(2)`, `PTRACE_MODE_ATTACH_FSCREDS`); nothing is read.

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, getpid, getppid, test_kill_process};

use super::super::report::Reach;
use super::ledger::{Found, Ledger, Target};

pub(super) fn look(ledger: &mut Ledger) {
    let own = [Some(getpid()), getppid()];
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // The probe and the bryo that waits for it would not be there.
    for pid in pids.filter(|pid| !own.iter().flatten().any(|own| own.as_raw_nonzero().get() == *pid)) {
        let reached = [
            (Reach::Signals, takes_signals(pid)),
            (Reach::Traces, opens(pid, "mem")),
            (Reach::Environments, opens(pid, "environ")),
        ];
        for (kind, _) in reached.iter().filter(|(_, is)| *is) {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let weight = if pid == 1 { 100 } else { weight(name.trim_end()) };
            ledger.add(
                *kind,
                Found {
                    target: Target::Process(pid),
                    what: format!("{pid} {}", name.trim_end()),
                    why: "",
                    weight,
                    everybody: false,
                    own: false,
                },
            );
        }
    }
}

/// Agents, engines and managers are worth more than what they start.
fn weight(name: &str) -> u8 {
    let known = ["agent", "systemd", "dockerd", "containerd", "sshd", "conmon", "bryo", "dbus"];
    if known.iter().any(|known| name.contains(known)) { 80 } else { 40 }
}

pub(super) fn takes_signals(pid: i32) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

pub(super) fn opens(pid: i32, file: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(format!("/proc/{pid}/{file}"), flags, Mode::empty()).is_ok()
}

/// Tells whether sockets of a family can be made at all.
pub(super) fn makes(family: AddressFamily) -> bool {
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).is_ok()
}
