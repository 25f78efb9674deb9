// SPDX-License-Identifier: Apache-2.0
//! From the runtime spec's words to the kernel's files, and back. Source: the kernel's
//! `Documentation/admin-guide/cgroup-v2.rst`.

use std::collections::BTreeSet;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::tree::Group;

/// A part of the kernel that limits something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Time on processors.
    Cpu,
    /// The choice of processors and memory nodes.
    Cpuset,
    /// The share of disk traffic.
    Io,
    /// Memory and swap.
    Memory,
    /// The number of processes and threads.
    Pids,
}

impl Controller {
    /// All that limits of containers need.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Io, Self::Memory, Self::Pids];

    /// Returns the kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Names what it limits, for people.
    pub fn limits(self) -> &'static str {
        match self {
            Self::Cpu => "processor time",
            Self::Cpuset => "the choice of processors",
            Self::Io => "disk traffic",
            Self::Memory => "memory",
            Self::Pids => "processes",
        }
    }
}

/// What is to be in one of the kernel's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub controller: Controller,
    pub file: &'static str,
    pub value: Value,
}

impl Setting {
    /// Returns the name and value of systemd's property for what only counts beside others. Source:
    /// `systemd.resource-control(5)`.
    pub fn share(&self) -> Option<(&'static str, u64)> {
        match (self.file, &self.value) {
            ("cpu.weight", Value::Number(n)) => Some(("CPUWeight", *n)),
            ("io.weight", Value::DefaultWeight(n)) => Some(("IOWeight", *n)),
            ("memory.low", Value::Bytes(n)) => Some(("MemoryLow", *n)),
            _ => None,
        }
    }
}

/// A value, in the form that the kernel takes it and shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Bytes, of which the kernel keeps whole pages.
    Bytes(u64),
    /// No limit.
    Max,
    /// A number.
    Number(u64),
    /// A share of time: quota in microseconds, if there is one, of a period.
    Bandwidth(Option<u64>, u64),
    /// A weight, where the kernel has one for each device besides.
    DefaultWeight(u64),
    /// A list of numbers and ranges.
    List(String),
}

/// What is asked of the kernel for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(pub Vec<Setting>);

/// The length of a period when none is given. Source: the kernel's default for `cpu.max`.
const PERIOD: u64 = 100_000;

impl Settings {
    /// Translates the resources of a spec.
    pub fn of(resources: &LinuxResources) -> Result<Self> {
        refuse_unknown(resources)?;
        let mut settings = Vec::new();
        let mut set = |controller, file, value| settings.push(Setting { controller, file, value });
        if let Some(memory) = resources.memory() {
            let limit = memory.limit().and_then(|n| u64::try_from(n).ok());
            if let Some(limit) = limit {
                set(Controller::Memory, "memory.max", Value::Bytes(limit));
            }
            match (memory.swap(), limit) {
                // The spec counts memory and swap together, the kernel each by itself.
                (Some(swap), Some(limit)) if swap >= 0 => {
                    let swap = swap.unsigned_abs().saturating_sub(limit);
                    set(Controller::Memory, "memory.swap.max", Value::Bytes(swap));
                }
                (Some(-1), _) => set(Controller::Memory, "memory.swap.max", Value::Max),
                _ => (),
            }
            if let Some(low) = memory.reservation().and_then(|n| u64::try_from(n).ok()) {
                set(Controller::Memory, "memory.low", Value::Bytes(low));
            }
        }
        if let Some(cpu) = resources.cpu() {
            let quota = cpu.quota().and_then(|n| u64::try_from(n).ok());
            if quota.is_some() || cpu.period().is_some() {
                set(Controller::Cpu, "cpu.max", Value::Bandwidth(quota, cpu.period().unwrap_or(PERIOD)));
            }
            if let Some(shares) = cpu.shares() {
                set(Controller::Cpu, "cpu.weight", Value::Number(weight_of_shares(shares)));
            }
            for (list, file) in [(cpu.cpus(), "cpuset.cpus"), (cpu.mems(), "cpuset.mems")] {
                if let Some(list) = list.as_ref() {
                    set(Controller::Cpuset, file, Value::List(list.clone()));
                }
            }
        }
        if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
            let limit = u64::try_from(limit).map_or(Value::Max, Value::Number);
            set(Controller::Pids, "pids.max", limit);
        }
        if let Some(weight) = resources.block_io().as_ref().and_then(oci_spec::runtime::LinuxBlockIo::weight) {
            set(Controller::Io, "io.weight", Value::DefaultWeight(io_weight(weight)));
        }
        Ok(Self(settings))
    }

    /// Returns the controllers that are needed.
    pub fn controllers(&self) -> BTreeSet<Controller> {
        self.0.iter().map(|setting| setting.controller).collect()
    }

    /// Returns what only counts beside others, as systemd's properties.
    pub fn shares(&self) -> Vec<(&'static str, u64)> {
        self.0.iter().filter_map(Setting::share).collect()
    }

    /// Leaves out what needs a controller.
    pub fn without(&mut self, controller: Controller) {
        self.0.retain(|setting| setting.controller != controller);
    }
}

/// Refuses what control groups of version 2 do not do, or this crate does not.
fn refuse_unknown(resources: &LinuxResources) -> Result<()> {
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let io = resources.block_io().as_ref();
    let devices = |io: &oci_spec::runtime::LinuxBlockIo| {
        io.weight_device().is_some()
            || io.throttle_read_bps_device().is_some()
            || io.throttle_write_bps_device().is_some()
            || io.throttle_read_iops_device().is_some()
            || io.throttle_write_iops_device().is_some()
    };
    let asked = [
        ("devices", resources.devices().as_ref().is_some_and(|d| !d.is_empty())),
        ("hugepageLimits", resources.hugepage_limits().as_ref().is_some_and(|h| !h.is_empty())),
        ("network", resources.network().is_some()),
        ("rdma", resources.rdma().as_ref().is_some_and(|r| !r.is_empty())),
        ("unified", resources.unified().as_ref().is_some_and(|u| !u.is_empty())),
        ("memory.swappiness", memory.is_some_and(|m| m.swappiness().is_some())),
        ("memory.kernelTCP", memory.is_some_and(|m| m.kernel_tcp().is_some())),
        ("memory.disableOOMKiller", memory.is_some_and(|m| m.disable_oom_killer() == Some(true))),
        ("cpu.realtime", cpu.is_some_and(|c| c.realtime_runtime().is_some() || c.realtime_period().is_some())),
        ("cpu.idle", cpu.is_some_and(|c| c.idle().is_some_and(|n| n != 0))),
        ("cpu.burst", cpu.is_some_and(|c| c.burst().is_some_and(|n| n != 0))),
        ("blockIO devices", io.is_some_and(devices)),
        ("blockIO.leafWeight", io.is_some_and(|io| io.leaf_weight().is_some())),
    ];
    match asked.iter().find(|(_, is)| *is) {
        Some((name, _)) => Err(Error::new(Kind::Unsupported, format!("linux.resources: {name} cannot be enforced"))),
        None => Ok(()),
    }
}

/// Translates shares, of which 1024 are the default, to a weight, of which 100 are. Source: the curve through the
/// smallest, the usual and the largest value of both that OCI runtimes have agreed upon.
fn weight_of_shares(shares: u64) -> u64 {
    const MOST: u32 = 10_000;
    let log = f64::from(u32::try_from(shares.clamp(2, 262_144)).unwrap_or(u32::MAX)).log2();
    let weight = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
    u64::from((1..MOST).find(|n| f64::from(*n) >= weight).unwrap_or(MOST))
}

/// Translates a block weight (10 to 1000) to the kernel's (1 to 10000). Source: the conversion of OCI runtimes.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

impl Value {
    /// Writes it as the kernel takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(n) | Self::Number(n) => n.to_string(),
            Self::Max => "max".into(),
            Self::Bandwidth(quota, period) => {
                format!("{} {period}", quota.map_or_else(|| "max".into(), |q| q.to_string()))
            }
            Self::DefaultWeight(n) => format!("default {n}"),
            Self::List(list) => list.clone(),
        }
    }

    /// Tells whether what the kernel shows is this.
    pub fn is(&self, shown: &str) -> bool {
        let shown = shown.trim();
        match self {
            Self::Bytes(n) => {
                /// The largest page of a machine that Linux runs on.
                const PAGE: u64 = 65536;
                shown.parse().is_ok_and(|shown: u64| shown <= *n && n - shown < PAGE)
            }
            // One line for each device may follow.
            Self::DefaultWeight(_) => shown.lines().next() == Some(&self.text()),
            Self::List(list) => parse_list(list).is_some() && parse_list(list) == parse_list(shown),
            Self::Max | Self::Number(_) | Self::Bandwidth(..) => shown == self.text(),
        }
    }
}

/// Parses a list of numbers and ranges such as `0-2,7`. Source: `cpuset(7)`, "List format".
pub(crate) fn parse_list(text: &str) -> Option<BTreeSet<u32>> {
    /// More processors than any machine has.
    const MOST: u32 = 8192;
    let mut set = BTreeSet::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// What holds for a container, as the kernel says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Enforced {
    /// The control group, seen from the host's tree; nothing where there is none of the container's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of swap, without the memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<u64>,
    /// Bytes of memory that are taken last when it runs short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// Microseconds of processor time in each period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<u64>,
    /// The length of a period in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    /// The share of processor time, 100 being everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u64>,
    /// The processors that may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// Processes and threads: of the container with a control group, else of each of its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// The share of disk traffic, 100 being everybody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u64>,
}

impl Enforced {
    /// Reads what the kernel has for a group. A file that is not there limits nothing.
    pub(crate) fn read(group: &Group) -> Self {
        let text = |file: &str| group.read(file).ok().map(|text| text.trim().to_owned());
        let number = |file: &str| text(file)?.parse().ok();
        let some = |file: &str| text(file).filter(|list| !list.is_empty());
        let bandwidth = text("cpu.max").unwrap_or_default();
        let (quota, period) = bandwidth.split_once(' ').unwrap_or_default();
        let quota: Option<u64> = quota.parse().ok();
        Self {
            cgroup: Some(group.path().display().to_string()),
            memory: number("memory.max"),
            swap: number("memory.swap.max"),
            memory_reservation: number("memory.low").filter(|n| *n > 0),
            cpu_quota: quota,
            cpu_period: quota.and_then(|_| period.parse().ok()),
            cpu_weight: number("cpu.weight"),
            cpuset_cpus: some("cpuset.cpus"),
            cpuset_mems: some("cpuset.mems"),
            pids: number("pids.max"),
            io_weight: text("io.weight").and_then(|t| t.lines().next()?.strip_prefix("default ")?.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxPidsBuilder};

    use super::*;

    fn files(resources: &LinuxResources) -> Vec<(&'static str, String)> {
        let settings = Settings::of(resources).unwrap();
        settings.0.iter().map(|setting| (setting.file, setting.value.text())).collect()
    }

    fn memory(limit: Option<i64>, swap: Option<i64>) -> LinuxResources {
        let mut memory = LinuxMemory::default();
        memory.set_limit(limit).set_swap(swap);
        let mut resources = LinuxResources::default();
        resources.set_memory(Some(memory)).set_devices(None);
        resources
    }

    fn pids(limit: i64) -> LinuxPids {
        LinuxPidsBuilder::default().limit(limit).build().unwrap()
    }

    #[test]
    fn swap_is_counted_without_memory() {
        let pair = |max: &str, swap: &str| vec![("memory.max", max.to_owned()), ("memory.swap.max", swap.to_owned())];
        assert_eq!(files(&memory(Some(100), Some(150))), pair("100", "50"));
        assert_eq!(files(&memory(Some(100), Some(100))), pair("100", "0"));
        assert_eq!(files(&memory(Some(100), Some(-1))), pair("100", "max"));
        assert_eq!(files(&memory(Some(100), None)), [("memory.max", "100".to_owned())]);
    }

    #[test]
    fn every_word_has_its_file() {
        let (mut cpu, mut io, mut resources) =
            (LinuxCpu::default(), LinuxBlockIo::default(), LinuxResources::default());
        cpu.set_quota(Some(50_000)).set_shares(Some(1024)).set_cpus(Some("0-1".into())).set_mems(Some("0".into()));
        io.set_weight(Some(1000));
        resources.set_cpu(Some(cpu)).set_block_io(Some(io)).set_pids(Some(pids(50)));
        let expected = [
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "100"),
            ("cpuset.cpus", "0-1"),
            ("cpuset.mems", "0"),
            ("pids.max", "50"),
            ("io.weight", "default 10000"),
        ];
        assert_eq!(files(&resources), expected.map(|(file, value)| (file, value.to_owned())));
        let shares = Settings::of(&resources).unwrap().shares();
        assert_eq!(shares, [("CPUWeight", 100), ("IOWeight", 10_000)]);
        let needed = Settings::of(&resources).unwrap().controllers();
        assert_eq!(needed, [Controller::Cpu, Controller::Cpuset, Controller::Io, Controller::Pids].into());
    }

    #[test]
    fn the_usual_share_is_the_usual_weight() {
        let weights = [0, 2, 512, 1024, 2048, 262_144, u64::MAX].map(weight_of_shares);
        assert_eq!(weights, [1, 1, 59, 100, 174, 10_000, 10_000]);
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let mut swappy = memory(Some(1), None);
        let mut inner = LinuxMemory::default();
        inner.set_swappiness(Some(10));
        swappy.set_memory(Some(inner));
        let mut unified = LinuxResources::default();
        unified.set_unified(Some([("memory.high".to_owned(), "1".to_owned())].into()));
        for resources in [swappy, unified] {
            assert_eq!(Settings::of(&resources).unwrap_err().kind(), Kind::Unsupported);
        }
    }

    #[test]
    fn what_the_kernel_shows_is_compared_with_what_was_asked() {
        assert!(Value::Bytes(33_554_432).is("33554432\n") && Value::Bytes(33_554_433).is("33554432"));
        assert!(!Value::Bytes(33_554_432).is("max"));
        assert!(Value::List("1,0".into()).is("0-1") && !Value::List("0-2".into()).is("0-1"));
        assert!(Value::DefaultWeight(7).is("default 7\n8:0 100\n") && !Value::DefaultWeight(7).is("default 100"));
        assert!(Value::Bandwidth(None, 100_000).is("max 100000\n"));
    }

    #[test]
    fn lists_are_numbers_and_ranges() {
        assert_eq!(parse_list("0-2,7").unwrap(), [0, 1, 2, 7].into());
        for bad in ["", "a", "2-1", "0-99999999", "0,,1", "-1", "0-"] {
            assert!(parse_list(bad).is_none(), "{bad}");
        }
    }
}
