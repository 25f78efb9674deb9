// SPDX-License-Identifier: Apache-2.0
//! What a container uses: by its control group where it has one of its own, else by its processes.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::{Stat, members};
use crate::Engine;
use crate::container::Record;
use crate::error::Result;

/// What a container uses, or has used until now. What cannot be known is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// The most bytes of memory that it can have.
    pub memory_limit: Option<u64>,
    /// Bytes that came from its network, and that went there.
    pub network: Option<(u64, u64)>,
    /// Bytes that were read from disks, and written.
    pub block: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// Measures a container again and again.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<(Instant, Duration)>,
}

impl Meter {
    /// Returns the share of one processor that was used since the last time, in percent; nothing the first time.
    pub fn share(&mut self, usage: &Usage) -> Option<f64> {
        let now = (Instant::now(), usage.cpu?);
        let (then, before) = self.last.replace(now)?;
        let (wall, used) = (now.0.duration_since(then).as_secs_f64(), now.1.saturating_sub(before).as_secs_f64());
        (wall > 0.0).then(|| used * 100.0 / wall)
    }
}

impl Engine {
    /// Says what a container uses.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::NotRunning`].
    pub fn usage(&self, record: &Record) -> Result<Usage> {
        self.process(record)?;
        let network = match record.confinement.network.as_str() {
            // What it uses of these is used by others as well.
            "host" | "container" => None,
            _ => network(record.state.pid),
        };
        let usage = match self.group(record) {
            Ok(group) => {
                let stats = group.stats();
                // Files that nobody has used for a while are the machine's to take, not the container's.
                let used = |memory: u64| memory.saturating_sub(stats.memory_inactive_file.unwrap_or(0));
                Usage {
                    cpu: stats.cpu_usec.map(Duration::from_micros),
                    memory: stats.memory.map(used),
                    memory_limit: stats.memory_max,
                    block: stats.io_read.zip(stats.io_written),
                    pids: stats.pids,
                    network: None,
                }
            }
            Err(_) => Usage::default(),
        };
        // What the group does not count the processes tell.
        let by_processes = Sum::of(&members(record));
        Ok(Usage {
            cpu: usage.cpu.or(Some(by_processes.cpu)),
            memory: usage.memory.or(by_processes.memory),
            memory_limit: usage.memory_limit.or_else(machine_memory),
            network,
            block: usage.block,
            pids: usage.pids.or(Some(by_processes.threads)),
        })
    }
}

/// What the processes that live use together. Of those that have ended, their parents have the processor time, and
/// nobody the rest.
#[derive(Debug, Default)]
struct Sum {
    cpu: Duration,
    memory: Option<u64>,
    threads: u64,
}

impl Sum {
    fn of(pids: &[i32]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let Some(stat) = Stat::read(*pid) else { continue };
            sum.cpu += (14..=17).map(|field| stat.time(field)).sum::<Duration>();
            sum.threads += stat.number::<u64>(20).unwrap_or(0);
            // Shared pages are counted in parts, so that the sum is what they take together.
            let pages = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            if let Some(bytes) = field(&pages, "Pss:") {
                sum.memory = Some(sum.memory.unwrap_or(0) + bytes);
            }
        }
        sum
    }
}

/// Returns the memory of the machine in bytes, as it was when it was asked for first. Source: `proc_meminfo(5)`.
pub fn machine_memory() -> Option<u64> {
    static TOTAL: LazyLock<Option<u64>> =
        LazyLock::new(|| field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:"));
    *TOTAL
}

/// Reads a line of kilobytes.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Adds up what went through the interfaces of a network, but for the loopback.
fn network(pid: i32) -> Option<(u64, u64)> {
    sum(&std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?)
}

fn sum(text: &str) -> Option<(u64, u64)> {
    let mut total = (0_u64, 0_u64);
    for line in text.lines().skip(2) {
        let (name, numbers) = line.split_once(':')?;
        if name.trim() != "lo" {
            let mut numbers = numbers.split_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
            total.0 = total.0.saturating_add(numbers.next()?);
            total.1 = total.1.saturating_add(numbers.nth(7)?);
        }
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let dev = "Inter-|   Receive |  Transmit\n face |bytes ...\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n\
                   tap0: 100 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0\n  eth1:11 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(sum(dev), Some((111, 32)));
        assert_eq!(sum("a\nb\n"), Some((0, 0)));
        assert_eq!(field("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal:"), Some(16384));
        assert_eq!(field("MemTotal: x kB\n", "MemTotal:"), None);
    }

    #[test]
    fn a_share_is_of_the_time_between() {
        let mut meter = Meter::default();
        let usage = |ms| Usage { cpu: Some(Duration::from_millis(ms)), ..Usage::default() };
        assert_eq!(meter.share(&usage(1000)), None);
        std::thread::sleep(Duration::from_millis(20));
        let share = meter.share(&usage(1010)).unwrap();
        assert!(share > 0.0 && share <= 50.0, "{share}");
        assert_eq!(meter.share(&Usage::default()), None);
    }
}
