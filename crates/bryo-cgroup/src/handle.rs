// SPDX-License-Identifier: Apache-2.0
//! A container's group while the container runs: to stop its clock, and to see what it uses.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cgroup::oom_kills;
use crate::error::{Error, Kind, Result};
use crate::tree::Group;

/// The group of a container that runs.
#[derive(Debug)]
pub struct Handle {
    group: Group,
}

/// What a container uses. What the kernel does not count for it is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stats {
    /// Processor time in microseconds.
    pub cpu_usec: Option<u64>,
    /// Of it, in the programs themselves.
    pub cpu_user_usec: Option<u64>,
    /// Of it, in the kernel for them.
    pub cpu_system_usec: Option<u64>,
    /// How often it had to wait for the next period.
    pub throttled: Option<u64>,
    /// How long it had to, in microseconds.
    pub throttled_usec: Option<u64>,
    /// Bytes of memory, with files that are held in it.
    pub memory: Option<u64>,
    /// Of them, of files that were not used for a while: what the kernel takes back first.
    pub memory_inactive_file: Option<u64>,
    /// The most bytes of memory; nothing for no limit.
    pub memory_max: Option<u64>,
    /// Bytes of swap.
    pub swap: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The most of them; nothing for no limit.
    pub pids_max: Option<u64>,
    /// Bytes read from disks.
    pub io_read: Option<u64>,
    /// Bytes written to disks.
    pub io_written: Option<u64>,
    /// How many processes were killed because memory ran out.
    pub oom_kills: u64,
}

impl Handle {
    /// Opens a container's group by its path.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { group: Group::open(path)? })
    }

    /// Stops every process, and returns when none of them runs any more.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the processes go on then.
    pub fn freeze(&self) -> Result<()> {
        self.turn("1")
    }

    /// Lets every process go on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<()> {
        self.turn("0")
    }

    /// Tells whether its processes are stopped, or about to be.
    pub fn is_frozen(&self) -> bool {
        self.group.read("cgroup.freeze").is_ok_and(|text| text.trim() == "1")
    }

    fn turn(&self, to: &str) -> Result<()> {
        /// A process in the midst of disk traffic stops when that is over.
        const PATIENCE: Duration = Duration::from_secs(10);
        let what = if to == "1" { "cannot freeze the container" } else { "cannot thaw the container" };
        let refused = |e| Error::caused(Kind::Refused, what, e);
        self.group.write("cgroup.freeze", to).map_err(refused)?;
        let start = Instant::now();
        loop {
            let events = self.group.read("cgroup.events")?;
            if events.lines().any(|line| line.strip_prefix("frozen ") == Some(to)) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                // Half frozen is neither; what was done is undone.
                let _ = self.group.write("cgroup.freeze", "0");
                return Err(Error::new(Kind::Refused, format!("{what}: it has not happened after ten seconds")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Says what the container uses now.
    pub fn stats(&self) -> Stats {
        let text = |file: &str| self.group.read(file).unwrap_or_default();
        let number = |file: &str| text(file).trim().parse().ok();
        let (cpu, memory, io) = (text("cpu.stat"), text("memory.stat"), text("io.stat"));
        Stats {
            cpu_usec: field(&cpu, "usage_usec"),
            cpu_user_usec: field(&cpu, "user_usec"),
            cpu_system_usec: field(&cpu, "system_usec"),
            throttled: field(&cpu, "nr_throttled"),
            throttled_usec: field(&cpu, "throttled_usec"),
            memory: number("memory.current"),
            memory_inactive_file: field(&memory, "inactive_file"),
            memory_max: number("memory.max"),
            swap: number("memory.swap.current"),
            pids: number("pids.current"),
            pids_max: number("pids.max"),
            io_read: self.group.has("io.stat").then(|| total(&io, "rbytes")),
            io_written: self.group.has("io.stat").then(|| total(&io, "wbytes")),
            oom_kills: oom_kills(&self.group),
        }
    }
}

/// Finds the number behind a word at the beginning of a line.
fn field(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok())
}

/// Adds up a number over all devices: `8:0 rbytes=1 wbytes=2 ...`.
fn total(text: &str, word: &str) -> u64 {
    let numbers = text.split_whitespace().filter_map(|pair| pair.strip_prefix(word)?.strip_prefix('=')?.parse().ok());
    numbers.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read() {
        let cpu = "usage_usec 12\nuser_usec 7\nnr_throttled 3\n";
        assert_eq!((field(cpu, "usage_usec"), field(cpu, "user_usec"), field(cpu, "usage")), (Some(12), Some(7), None));
        let io = "8:0 rbytes=100 wbytes=5 rios=1\n8:16 rbytes=11 wbytes=0\n";
        assert_eq!((total(io, "rbytes"), total(io, "wbytes"), total(io, "bytes")), (111, 5, 0));
    }
}
