// SPDX-License-Identifier: Apache-2.0
//! What a container may use at most: Docker's words, and what they mean in the runtime spec. Source: Docker's
//! `docker run` reference, "Runtime constraints on resources".

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::options::size;

/// The limits that were asked for. What is not set is not limited, but for the number of processes, which has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together.
    pub memory_swap: Option<Swap>,
    /// Bytes of memory that are taken last when it runs short.
    pub memory_reservation: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<u64>,
    /// The length of a period in microseconds.
    pub cpu_period: Option<u64>,
    /// The share of processor time when others want some too; 1024 is everybody's.
    pub cpu_shares: Option<u64>,
    /// The processors that may be used, as a list of numbers and ranges.
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Pids,
    /// The share of disk traffic when others want some too, from 10 to 1000.
    pub block_weight: Option<u16>,
    /// Gives the container a control group of its own also without a limit.
    pub own_group: bool,
}

/// How much memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// As much as there is.
    Unlimited,
    /// So many bytes.
    Total(u64),
}

/// How many processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pids {
    /// As many as the site says.
    #[default]
    Default,
    /// As many as the host lets the caller have.
    Unlimited,
    /// So many.
    Most(u64),
}

/// The length of a period when none is given, in microseconds. Source: the kernel's default.
const PERIOD: u64 = 100_000;

/// The least memory in which anything runs. Source: Docker's.
const LEAST_MEMORY: u64 = 6 << 20;

impl Limits {
    /// Names the flags that were given.
    pub fn flags(&self) -> Vec<&'static str> {
        let flags = [
            ("--memory", self.memory.is_some()),
            ("--memory-swap", self.memory_swap.is_some()),
            ("--memory-reservation", self.memory_reservation.is_some()),
            ("--cpus", self.cpu_quota.is_some()),
            ("--cpu-shares", self.cpu_shares.is_some()),
            ("--cpuset-cpus", self.cpuset_cpus.is_some()),
            ("--cpuset-mems", self.cpuset_mems.is_some()),
            ("--pids-limit", matches!(self.pids, Pids::Most(_))),
            ("--blkio-weight", self.block_weight.is_some()),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }

    /// The flags of the command line that [`Limits::set`] takes, in the order in which it wants them.
    pub const FLAGS: [&str; 12] = [
        "memory",
        "memory-swap",
        "memory-reservation",
        "cpus",
        "cpu-shares",
        "cpu-period",
        "cpu-quota",
        "cpuset-cpus",
        "cpuset-mems",
        "pids-limit",
        "blkio-weight",
        "cgroups",
    ];

    /// Takes the value of a flag; an empty one asks for nothing, and so does 0.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for what is not understood or out of range.
    pub fn set(&mut self, flag: &str, text: &str) -> Result<()> {
        let value = Text { flag, text };
        match flag {
            _ if text.is_empty() => (),
            "memory" => self.memory = value.bytes(LEAST_MEMORY)?,
            "memory-swap" => {
                self.memory_swap = match text {
                    "-1" => Some(Swap::Unlimited),
                    _ => value.bytes(LEAST_MEMORY)?.map(Swap::Total),
                }
            }
            "memory-reservation" => self.memory_reservation = value.bytes(LEAST_MEMORY)?,
            "cpus" => {
                let quota = value.processors()?;
                (self.cpu_quota, self.cpu_period) = (quota, quota.map(|_| PERIOD));
            }
            "cpu-shares" => self.cpu_shares = value.number(2..=262_144)?,
            "cpu-period" => value.alone(&mut self.cpu_period, value.number(1000..=1_000_000)?)?,
            "cpu-quota" if text == "-1" => (),
            "cpu-quota" => value.alone(&mut self.cpu_quota, value.number(1000..=u64::MAX / 2000)?)?,
            "cpuset-cpus" => self.cpuset_cpus = Some(value.list()?),
            "cpuset-mems" => self.cpuset_mems = Some(value.list()?),
            "pids-limit" => self.pids = value.processes()?,
            "blkio-weight" => self.block_weight = value.number(10..=1000)?.and_then(|n| u16::try_from(n).ok()),
            "cgroups" => {
                self.own_group = match text {
                    "enabled" => true,
                    "disabled" => false,
                    _ => return Err(value.bad("enabled and disabled are known")),
                }
            }
            _ => return Err(Error::new(Kind::InvalidOption, format!("there is no limit --{flag}"))),
        }
        Ok(())
    }

    /// Refuses limits that contradict one another.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`].
    pub fn check(&self) -> Result<()> {
        let bad = |why: &str| Err(Error::new(Kind::InvalidOption, why));
        match (self.memory, self.memory_swap) {
            (None, Some(Swap::Total(_))) => {
                return bad("--memory-swap counts memory and swap together: give --memory as well");
            }
            (Some(memory), Some(Swap::Total(total))) if total < memory => {
                return bad("--memory-swap counts memory and swap together: it cannot be less than --memory");
            }
            _ => (),
        }
        if self.memory.zip(self.memory_reservation).is_some_and(|(most, kept)| kept > most) {
            return bad("--memory-reservation cannot be more than --memory");
        }
        Ok(())
    }

    /// Says it in the words of the runtime spec, with the site's number of processes where none is asked for; nothing
    /// when a control group would have nothing to do.
    pub fn resources(&self, pids: Option<u64>) -> Option<LinuxResources> {
        // Swap is no limit without memory.
        let memory_swap = self.memory.and(self.memory_swap);
        let asked = Self { pids: Pids::Default, memory_swap, ..self.clone() } != Self::default();
        if !asked && !matches!(self.pids, Pids::Most(_)) {
            return None;
        }
        let mut resources = LinuxResources::default();
        let pids = match self.pids {
            Pids::Default => pids,
            Pids::Unlimited => None,
            Pids::Most(n) => Some(n),
        };
        let pids = pids.and_then(|n| LinuxPidsBuilder::default().limit(signed(n)).build().ok());
        resources
            .set_devices(None)
            .set_memory(self.memory_words())
            .set_cpu(self.cpu_words())
            .set_pids(pids)
            .set_block_io(self.block_weight.map(|weight| {
                let mut io = LinuxBlockIo::default();
                io.set_weight(Some(weight));
                io
            }));
        Some(resources)
    }

    fn memory_words(&self) -> Option<LinuxMemory> {
        if self.memory.is_none() && self.memory_reservation.is_none() {
            return None;
        }
        let swap = match (self.memory_swap, self.memory) {
            (Some(Swap::Unlimited), Some(_)) => Some(-1),
            (Some(Swap::Total(total)), _) => Some(signed(total)),
            // As much swap as memory, when nobody says otherwise.
            (None, Some(memory)) => Some(signed(memory.saturating_mul(2))),
            (_, None) => None,
        };
        let mut memory = LinuxMemory::default();
        memory.set_limit(self.memory.map(signed)).set_swap(swap).set_reservation(self.memory_reservation.map(signed));
        Some(memory)
    }

    fn cpu_words(&self) -> Option<LinuxCpu> {
        let mut cpu = LinuxCpu::default();
        cpu.set_quota(self.cpu_quota.map(signed))
            .set_period(self.cpu_period)
            .set_shares(self.cpu_shares)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone());
        (cpu != LinuxCpu::default()).then_some(cpu)
    }
}

/// The spec's numbers have a sign, of which no use is made.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The value of a flag.
struct Text<'a> {
    flag: &'a str,
    text: &'a str,
}

impl Text<'_> {
    fn bad(&self, why: &str) -> Error {
        Error::new(Kind::InvalidOption, format!("invalid --{} {:?}: {why}", self.flag, self.text))
    }

    fn bytes(&self, least: u64) -> Result<Option<u64>> {
        match size(self.text)? {
            0 => Ok(None),
            n if n < least => Err(self.bad("less than 6m is too little for anything to run")),
            n => Ok(Some(n)),
        }
    }

    /// Sets what `--cpus` may have set.
    fn alone(&self, place: &mut Option<u64>, value: Option<u64>) -> Result<()> {
        if value.is_some() && place.is_some() {
            return Err(self.bad("--cpus says both period and quota; leave one of them out"));
        }
        *place = value.or(*place);
        Ok(())
    }

    fn number(&self, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>> {
        match self.text.parse() {
            Ok(0) => Ok(None),
            Ok(n) if range.contains(&n) => Ok(Some(n)),
            _ => Err(self.bad(&format!("expected a number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A number of processors, as the time in a period that so many have.
    fn processors(&self) -> Result<Option<u64>> {
        let bad = || self.bad("expected a number of processors from 0.01, such as 1.5");
        let (whole, part) = self.text.split_once('.').unwrap_or((self.text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) || part.len() > 9 {
            return Err(bad());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        // A period has a hundred thousand microseconds: five digits behind the point.
        let part: u64 = format!("{part:0<5}")[..5].parse().map_err(|_| bad())?;
        match whole.checked_mul(PERIOD).and_then(|time| time.checked_add(part)).ok_or_else(bad)? {
            0 if self.text.bytes().all(|b| matches!(b, b'0' | b'.')) => Ok(None),
            time if (1000..=u64::MAX / 2000).contains(&time) => Ok(Some(time)),
            _ => Err(bad()),
        }
    }

    fn processes(&self) -> Result<Pids> {
        match self.text.parse::<i64>() {
            Ok(-1 | 0) => Ok(Pids::Unlimited),
            Ok(n) if n > 0 => Ok(Pids::Most(n.unsigned_abs())),
            _ => Err(self.bad("expected a number, or -1 for no limit")),
        }
    }

    /// A list of numbers and ranges, such as `0-2,7`.
    fn list(&self) -> Result<String> {
        let number = |text: &str| text.parse::<u16>().ok();
        let plain = self.text.split(',').all(|part| match part.split_once('-') {
            Some((first, last)) => number(first).zip(number(last)).is_some_and(|(first, last)| first <= last),
            None => number(part).is_some(),
        });
        if plain { Ok(self.text.to_owned()) } else { Err(self.bad("expected numbers and ranges, such as 0-2,7")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(flags: &[(&str, &str)]) -> Result<Limits> {
        let mut limits = Limits::default();
        flags.iter().try_for_each(|(flag, text)| limits.set(flag, text))?;
        limits.check().map(|()| limits)
    }

    fn words(flags: &[(&str, &str)]) -> serde_json::Value {
        serde_json::to_value(limits(flags).unwrap().resources(Some(2048))).unwrap()
    }

    #[test]
    fn nothing_asked_is_nothing_limited() {
        for flags in [
            &[][..],
            &[("memory", "0"), ("memory-swap", "-1"), ("cpus", "0.0"), ("cpu-quota", "-1"), ("cpu-period", "0")],
            &[("pids-limit", "-1")],
            &[("pids-limit", "0"), ("cpuset-cpus", ""), ("blkio-weight", "0"), ("cgroups", "disabled")],
        ] {
            assert_eq!(words(flags), serde_json::Value::Null, "{flags:?}");
        }
    }

    #[test]
    fn memory_comes_with_as_much_swap() {
        let memory = |flags: &[(&str, &str)]| words(flags)["memory"].clone();
        let m = 1_i64 << 20;
        assert_eq!(memory(&[("memory", "32m")]), serde_json::json!({"limit": 32 * m, "swap": 64 * m}));
        assert_eq!(memory(&[("memory", "32m"), ("memory-swap", "32m")])["swap"], 32 * m);
        assert_eq!(memory(&[("memory", "32m"), ("memory-swap", "-1")])["swap"], -1);
        assert_eq!(memory(&[("memory-reservation", "8m")]), serde_json::json!({"reservation": 8 * m}));
    }

    #[test]
    fn processors_are_time_in_a_period() {
        for (text, quota) in [("1.5", 150_000), (".5", 50_000), ("2", 200_000), ("0.01", 1000), ("1.234567", 123_456)] {
            let limits = limits(&[("cpus", text)]).unwrap();
            assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(quota), Some(100_000)), "{text}");
        }
        for bad in ["0.001", "-1", "x", "1e3", ".", "99999999999999999999"] {
            assert!(limits(&[("cpus", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn processes_have_a_default_beside_other_limits() {
        assert_eq!(words(&[("cpus", "1")])["pids"]["limit"], 2048);
        assert_eq!(words(&[("cpus", "1"), ("pids-limit", "7")])["pids"]["limit"], 7);
        assert_eq!(words(&[("cpus", "1"), ("pids-limit", "-1")])["pids"], serde_json::Value::Null);
        assert_eq!(words(&[("pids-limit", "50")]), serde_json::json!({"pids": {"limit": 50}}));
        assert_eq!(words(&[("cgroups", "enabled")]), serde_json::json!({"pids": {"limit": 2048}}));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [
            &[("memory", "1m")][..],
            &[("memory", "lots")],
            &[("memory-swap", "1g")],
            &[("memory", "1g"), ("memory-swap", "512m")],
            &[("memory", "32m"), ("memory-reservation", "64m")],
            &[("cpu-shares", "1")],
            &[("cpu-quota", "10")],
            &[("cpu-period", "2000000")],
            &[("cpus", "1"), ("cpu-quota", "5000")],
            &[("cpus", "1"), ("cpu-period", "5000")],
            &[("cpuset-cpus", "0-")],
            &[("cpuset-cpus", "3-1")],
            &[("cpuset-mems", "all")],
            &[("pids-limit", "-2")],
            &[("pids-limit", "many")],
            &[("blkio-weight", "5")],
            &[("cgroups", "split")],
        ] {
            assert_eq!(limits(flags).unwrap_err().kind(), Kind::InvalidOption, "{flags:?}");
        }
    }

    #[test]
    fn every_flag_is_known() {
        for flag in Limits::FLAGS {
            assert!(Limits::default().set(flag, "").is_ok(), "{flag}");
            assert!(Limits::default().set(flag, "wat").is_err(), "{flag}");
        }
    }
}
