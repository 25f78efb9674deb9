// SPDX-License-Identifier: Apache-2.0
//! A process that cannot be mistaken for a later one with the same number.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// The magic number of the file system of pidfds, `PID_FS_MAGIC` of `linux/magic.h` (Linux 6.9).
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// Where the kernel names the boot. Source: `random(4)`.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// Which process a number means: as a record keeps it, to find the process again, or to find that it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessId {
    pid: i32,
    /// Numbers, inodes and start times all begin again with a boot.
    boot: String,
    birth: Birth,
}

/// What no other process of this boot has together with the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
enum Birth {
    /// The inode of its pidfd, which is never used again (Linux 6.9).
    Inode(u64),
    /// The time it was started, in clock ticks since the boot. Until the number comes round again, some have passed.
    StartTime(u64),
}

impl ProcessId {
    /// Describes the process that a pidfd holds, or returns nothing when it has ended.
    pub fn of(pid: Pid, pidfd: impl AsFd) -> Option<Self> {
        let birth = match inode(&pidfd) {
            Some(inode) => Birth::Inode(inode),
            None => Birth::StartTime(start_time(pid, &pidfd)?),
        };
        // Where there is no such file there is one boot for all that anybody can tell.
        let boot = std::fs::read_to_string(BOOT).unwrap_or_default().trim_end().to_owned();
        Some(Self { pid: pid.as_raw_nonzero().get(), boot, birth })
    }

    /// Opens the process, if it is still there and has not ended, whether anybody has reaped it or not; never another
    /// one.
    pub fn open(&self) -> Option<OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // What is compared belongs to the descriptor, and that to one process for good.
        (Self::of(pid, &pidfd).as_ref() == Some(self) && lives(&pidfd)).then_some(pidfd)
    }
}

/// Returns the inode of a pidfd on kernels that give each process one of its own.
fn inode(pidfd: &impl AsFd) -> Option<u64> {
    let own = u64::try_from(rustix::fs::fstatfs(pidfd).ok()?.f_type) == Ok(PID_FS_MAGIC);
    Some(rustix::fs::fstat(pidfd).ok()?.st_ino).filter(|_| own)
}

/// Reads when a process was started. Source: `proc_pid_stat(5)`, field 22.
fn start_time(pid: Pid, pidfd: &impl AsFd) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // As long as it has not ended the number is its own, and so was what was just read.
    lives(pidfd).then(|| field_22(&stat))?
}

fn lives(pidfd: &impl AsFd) -> bool {
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut ended, Some(&now)) == Ok(0)
}

/// Finds the start time behind the program's name, which may hold blanks and brackets.
fn field_22(stat: &[u8]) -> Option<u64> {
    let behind = &stat[stat.iter().rposition(|b| *b == b')')? + 1..];
    std::str::from_utf8(behind).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> (Child, Pid, OwnedFd) {
        let child = Command::new("sleep").arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        (child, pid, pidfd_open(pid, PidfdFlags::empty()).unwrap())
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_is_found_again_until_it_is_gone() {
        let (child, pid, pidfd) = sleeper();
        let text = serde_json::to_string(&ProcessId::of(pid, &pidfd)).unwrap();
        let read: ProcessId = serde_json::from_str(&text).unwrap();
        assert!(read.open().is_some(), "{text}");
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut ended, None).unwrap();
        assert!(read.open().is_none(), "it has ended, and was not reaped");
        end(child);
        assert!(read.open().is_none());
    }

    #[test]
    fn the_same_number_is_not_the_same_process() {
        let (first, pid, pidfd) = sleeper();
        let (second, other, _) = sleeper();
        let id = ProcessId::of(pid, &pidfd).unwrap();
        // What a number looks like that was used again: it is that of another process.
        let reused = ProcessId { pid: other.as_raw_nonzero().get(), ..id.clone() };
        let earlier_boot = ProcessId { boot: "b3a1e0c6-0000-0000-0000-000000000000".into(), ..id.clone() };
        for wrong in [reused, earlier_boot, ProcessId { pid: 0, ..id }] {
            assert!(wrong.open().is_none(), "{wrong:?}");
        }
        [first, second].into_iter().for_each(end);
    }

    #[test]
    fn older_kernels_tell_processes_by_their_start() {
        let (first, pid, pidfd) = sleeper();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let (second, other, later) = sleeper();
        let start = start_time(pid, &pidfd).unwrap();
        assert!(start < start_time(other, &later).unwrap());
        end(first);
        assert_eq!(start_time(pid, &pidfd), None);
        // The number of a process that lives proves nothing about one that has ended.
        assert_eq!(start_time(other, &pidfd), None);
        end(second);
    }

    #[test]
    fn a_programs_name_cannot_forge_a_start_time() {
        let stat =
            b"7 (a) R 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 666) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(field_22(stat), Some(4711));
        assert_eq!(field_22(b"7 (a"), None);
        assert_eq!(field_22(b"7 (a) S 1"), None);
    }
}
