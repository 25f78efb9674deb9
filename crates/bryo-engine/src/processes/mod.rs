// SPDX-License-Identifier: Apache-2.0
//! The processes of a container, as the host's `/proc` has them. Source: `proc(5)`.
//!
//! A process is a container's when it is in its pid namespace, however it came there, or in one below it: whoever is in
//! such a one descends from somebody who is in the one above. The one that cannot be asked is the small init, which has
//! executed no program; it is known by its number.

mod stats;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use bryo_identity::map::IdMap;
use bryo_identity::{HostId, InsideId};

pub use stats::{Meter, Usage, machine_memory};

use crate::Engine;
use crate::container::Record;
use crate::error::Result;
use crate::exec::{accounts, children};
use crate::users::Accounts;

/// Clock ticks in a second, as the kernel shows them to everybody. Source: `USER_HZ` of `asm-generic/param.h`.
const TICKS: u64 = 100;

/// One process.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    /// Its parent's number on the host.
    pub parent: i32,
    /// Its number inside.
    pub inside: i32,
    /// The user inside, by name or by number.
    pub user: String,
    /// The user's number inside; nothing for one that is not in the map.
    pub uid: Option<u32>,
    /// The user's number on the host.
    pub host_uid: u32,
    /// The group inside, by name or by number.
    pub group: String,
    /// The group's number inside.
    pub gid: Option<u32>,
    /// The group's number on the host.
    pub host_gid: u32,
    /// The letter of its state.
    pub state: char,
    /// Its terminal, by number among those of the container.
    pub terminal: Option<u32>,
    /// When it was started, in seconds since 1970.
    pub started: i64,
    /// How long ago that was.
    pub age: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// How nice it is.
    pub nice: i32,
    /// Threads.
    pub threads: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// The program's name.
    pub name: String,
    /// The program and its arguments; nothing for what has none any more.
    pub arguments: Vec<String>,
}

impl Engine {
    /// Lists the processes of a container, by number.
    ///
    /// # Errors
    ///
    /// [`crate::error::Kind::NotRunning`].
    pub fn processes(&self, record: &Record) -> Result<Vec<Process>> {
        self.process(record)?;
        let ids = record.identity.map()?;
        // Without accounts there are numbers.
        let accounts = accounts(record).unwrap_or_default();
        let boot = Boot::read();
        let depth = depth(record.state.pid);
        let found = members(record).into_iter().filter_map(|pid| Process::read(pid, &ids, &accounts, (&boot, depth)));
        Ok(found.collect())
    }
}

/// Returns the numbers of the processes in a container's pid namespace, and in those below it.
fn members(record: &Record) -> Vec<i32> {
    Everybody::look().with(record.state.pid)
}

/// The processes of the machine that may be asked.
#[derive(Debug, Default)]
pub(crate) struct Everybody {
    /// By their pid namespaces.
    namespaces: BTreeMap<PathBuf, Vec<i32>>,
    /// By their parents: those that are not in this process's own namespace, among them those that may not be asked.
    children: BTreeMap<i32, Vec<i32>>,
}

impl Everybody {
    /// Looks once, for as many containers as there are.
    pub fn look() -> Self {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mine = namespace(std::process::id().cast_signed());
        let mut found = Self::default();
        for pid in all {
            let own = namespace(pid);
            if own.is_none() || own != mine {
                let parent = Stat::read(pid).and_then(|stat| stat.number(4));
                parent.into_iter().for_each(|parent| found.children.entry(parent).or_default().push(pid));
            }
            if let Some(own) = own {
                found.namespaces.entry(own).or_default().push(pid);
            }
        }
        found
    }

    /// Returns the numbers of those in the pid namespace of a container's first process, that one, and all that descend
    /// from any of them, in order.
    pub fn with(&self, first: i32) -> Vec<i32> {
        let own = [first].into_iter().chain(children(first)).find_map(namespace);
        let mut left = own.and_then(|own| self.namespaces.get(&own).cloned()).unwrap_or_default();
        left.push(first);
        let mut found = BTreeSet::new();
        while let Some(pid) = left.pop() {
            if found.insert(pid) {
                left.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        found.into_iter().collect()
    }
}

/// Says in how many pid namespaces below that of `/proc` a process is.
pub(crate) fn depth(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    numbers(&status).count().saturating_sub(1)
}

/// Reads from a process's status which number it has in the namespace that lies so deep; 0 for one that has none there.
/// In a namespace below that one it has further numbers.
pub(crate) fn inside(status: &str, depth: usize) -> i32 {
    numbers(status).nth(depth).unwrap_or(0)
}

/// Reads the numbers of a process in all its namespaces, the outermost first.
fn numbers(status: &str) -> impl Iterator<Item = i32> {
    let list = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    list.split_whitespace().filter_map(|number| number.parse().ok())
}

/// Names the pid namespace of a process; nothing for one that is gone or may not be asked.
pub(crate) fn namespace(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// When this machine was booted, and how long ago.
struct Boot {
    at: i64,
    uptime: Duration,
}

impl Boot {
    fn read() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let at = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let uptime = uptime.split_whitespace().next().and_then(|n| n.parse().ok());
        let uptime = uptime.and_then(|n| Duration::try_from_secs_f64(n).ok()).unwrap_or_default();
        Self { at: at.unwrap_or_default(), uptime }
    }
}

/// The fields of `/proc/PID/stat` behind the name.
struct Stat {
    name: String,
    fields: Vec<String>,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Takes a line apart. The name is the program's own word, and may hold blanks and brackets.
    fn parse(line: &[u8]) -> Option<Self> {
        let (open, close) = (line.iter().position(|b| *b == b'(')?, line.iter().rposition(|b| *b == b')')?);
        let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let fields = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        Some(Self { name, fields: fields.split_ascii_whitespace().map(str::to_owned).collect() })
    }

    /// Returns a field by its number in the manual.
    fn number<T: std::str::FromStr>(&self, field: usize) -> Option<T> {
        self.fields.get(field.checked_sub(3)?)?.parse().ok()
    }

    fn time(&self, field: usize) -> Duration {
        Duration::from_millis(self.number::<u64>(field).unwrap_or(0).saturating_mul(1000 / TICKS))
    }
}

impl Process {
    /// Reads one, for a container so many namespaces below; nothing for one that has ended.
    fn read(pid: i32, ids: &IdMap, accounts: &Accounts, (boot, depth): (&Boot, usize)) -> Option<Self> {
        let stat = Stat::read(pid)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let inside = inside(&status, depth);
        let status: BTreeMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
        // Real, effective, saved, of file systems.
        let id = |key: &str| status.get(key)?.split_whitespace().nth(1)?.parse::<u32>().ok();
        let (host_uid, host_gid) = (id("Uid")?, id("Gid")?);
        let uid = HostId::new(host_uid).and_then(|id| ids.inside_uid(id));
        let gid = HostId::new(host_gid).and_then(|id| ids.inside_gid(id));
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = command.strip_suffix(b"\0").unwrap_or(&command).split(|b| *b == 0);
        let number = |id: Option<InsideId>| id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let start = stat.time(22);
        Some(Self {
            pid,
            parent: stat.number(4)?,
            inside,
            user: uid.and_then(|id| accounts.by_uid(id)).map_or_else(|| number(uid), |account| account.name.clone()),
            uid: uid.map(InsideId::get),
            host_uid,
            group: gid.and_then(|id| accounts.group_by_gid(id)).map_or_else(|| number(gid), |group| group.name.clone()),
            gid: gid.map(InsideId::get),
            host_gid,
            state: stat.fields.first().and_then(|field| field.chars().next()).unwrap_or('?'),
            terminal: terminal(stat.number(7)?),
            started: boot.at.saturating_add_unsigned(start.as_secs()),
            age: boot.uptime.saturating_sub(start),
            cpu: stat.time(14) + stat.time(15),
            nice: stat.number(19).unwrap_or(0),
            threads: stat.number(20).unwrap_or(0),
            virtual_bytes: stat.number(23).unwrap_or(0),
            resident_bytes: status.get("VmRSS").map_or(0, |text| kilobytes(text)),
            name: stat.name,
            arguments: if command.is_empty() {
                Vec::new()
            } else {
                words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
            },
        })
    }

    /// Returns the program and its arguments, or its name in brackets for what has none.
    pub fn command(&self) -> String {
        if self.arguments.is_empty() { format!("[{}]", self.name) } else { self.arguments.join(" ") }
    }
}

/// Reads a number of kilobytes.
fn kilobytes(text: &str) -> u64 {
    text.trim().strip_suffix("kB").and_then(|n| n.trim().parse::<u64>().ok()).unwrap_or(0).saturating_mul(1024)
}

/// Reads the number of a pseudo terminal from that of its device. Source: the kernel's `admin-guide/devices.txt`.
fn terminal(device: i64) -> Option<u32> {
    let device = u32::try_from(device).ok()?;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    (136..=143).contains(&major).then(|| (major - 136) * 256 + minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_cannot_forge_a_line() {
        let line = b"7 (a) R 99 (b) S 1 2 3 34817 5 6 7 8 9 10 200 50 13 14 15 -5 4 18 4711 1000 20";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.name.as_str(), stat.number::<i32>(4)), ("a) R 99 (b", Some(1)));
        assert_eq!((stat.time(14), stat.number::<i32>(19)), (Duration::from_secs(2), Some(-5)));
        assert_eq!((terminal(stat.number(7).unwrap()), stat.number::<u64>(99)), (Some(1), None));
        assert!(Stat::parse(b"7 (a").is_none() && Stat::parse(b"").is_none());
        assert_eq!((terminal(0), terminal(-1), terminal(0x8803)), (None, None, Some(3)));
    }

    #[test]
    fn whoever_descends_from_a_member_is_one_whatever_namespace_it_is_in() {
        let space = |n: u32| PathBuf::from(format!("pid:[{n}]"));
        let me = std::process::id().cast_signed();
        let own = namespace(me).unwrap();
        let everybody = Everybody {
            namespaces: [(own, vec![me]), (space(1), vec![101, 102])].into(),
            // 102 is in a namespace below, 104 in one below that, 105 may not be asked; 201 is somebody else's.
            children: [(me, vec![101]), (101, vec![102]), (102, vec![104, 105]), (200, vec![201])].into(),
        };
        assert_eq!(
            everybody.with(me),
            [me, 101, 102, 104, 105].into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_number_inside_is_that_of_the_containers_own_namespace() {
        let status = "Name:\tx\nNSpid:\t4711\t12\t1\nVmRSS: 1 kB\n";
        assert_eq!([0, 1, 2, 3].map(|depth| inside(status, depth)), [4711, 12, 1, 0]);
        assert_eq!(inside("Name:\tx\n", 0), 0);
        assert_eq!(depth(std::process::id().cast_signed()), 0);
    }
}
