// SPDX-License-Identifier: Apache-2.0
//! What the host's `/proc` says about a process: the judge of every claim about identity and confinement.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::eventually;

/// A process, by its id on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process(pub u32);

/// A line of `mountinfo`. Source: `proc_pid_mountinfo(5)`.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it is, seen from the process' root.
    pub point: String,
    /// Per-mount options, such as `ro`, `nosuid`.
    pub options: Vec<String>,
    /// Propagation and other optional fields.
    pub tags: Vec<String>,
    /// File system type.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Process {
    /// Finds the process with exactly these arguments; waits for it.
    #[track_caller]
    pub fn with_args(args: &[&str]) -> Self {
        eventually(&format!("a process {args:?}"), || Self::find(args))
    }

    /// Finds the process with exactly these arguments, if it is there now.
    pub fn find(args: &[&str]) -> Option<Self> {
        let wanted: Vec<u8> = args.iter().flat_map(|a| a.bytes().chain([0])).collect();
        Self::every().into_iter().find(|p| p.read("cmdline").is_some_and(|c| c.as_bytes() == wanted))
    }

    /// Lists all processes.
    pub fn every() -> Vec<Self> {
        let entries = fs::read_dir("/proc").unwrap();
        entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok().map(Process)).collect()
    }

    fn path(self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.0.to_string()).join(file)
    }

    /// Reads one of its files, if it may be read and is text.
    pub fn read(self, file: &str) -> Option<String> {
        String::from_utf8(fs::read(self.path(file)).ok()?).ok()
    }

    /// Tells whether it still is there and not a zombie.
    pub fn lives(self) -> bool {
        self.read("status").is_some_and(|s| !s.contains("\nState:\tZ"))
    }

    /// Tells whether it is the network helper, whose program for this processor has a name of its own.
    pub fn is_pasta(self) -> bool {
        self.read("comm").is_some_and(|c| c.starts_with("pasta") || c.starts_with("passt"))
    }

    /// Reads a field of its status.
    #[track_caller]
    pub fn status(self, field: &str) -> String {
        let status = self.read("status").unwrap_or_else(|| panic!("process {} is gone", self.0));
        let line = status.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
    }

    /// Reads its real, effective, saved and file-system user (or group) ids on the host.
    #[track_caller]
    pub fn ids(self, field: &str) -> Vec<u32> {
        self.status(field).split_whitespace().map(|n| n.parse().unwrap()).collect()
    }

    /// Reads its user (`uid_map`) or group (`gid_map`) map: inside, host, count.
    #[track_caller]
    pub fn map(self, file: &str) -> Vec<[u32; 3]> {
        let text = self.read(file).unwrap();
        text.lines()
            .map(|l| {
                let n: Vec<u32> = l.split_whitespace().map(|n| n.parse().unwrap()).collect();
                [n[0], n[1], n[2]]
            })
            .collect()
    }

    /// Reads where one of its namespaces is, such as `user:[4026531837]`.
    pub fn namespace(self, name: &str) -> String {
        fs::read_link(self.path("ns").join(name)).map_or_else(|e| e.to_string(), |p| p.display().to_string())
    }

    /// Reads its mounts by mount point; the last one at a point is what is seen.
    #[track_caller]
    pub fn mounts(self) -> BTreeMap<String, Mount> {
        let text = self.read("mountinfo").unwrap_or_else(|| panic!("cannot read the mounts of {}", self.0));
        text.lines().map(parse_mount).map(|m| (m.point.clone(), m)).collect()
    }

    /// Lists its open descriptors and what they are.
    pub fn descriptors(self) -> BTreeMap<u32, String> {
        let Ok(entries) = fs::read_dir(self.path("fd")) else { return self.descriptors_as_its_root() };
        let one = |e: fs::DirEntry| {
            let number = e.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(e.path()).ok()?.display().to_string()))
        };
        entries.filter_map(|e| one(e.ok()?)).collect()
    }

    /// Lists its open descriptors as root of its own user namespace, whom its id on the host does not keep out.
    fn descriptors_as_its_root(self) -> BTreeMap<u32, String> {
        let mut command = Command::new("nsenter");
        command.args(["-U", "-S", "0", "-G", "0", "-t", &self.0.to_string(), "find"]).arg(self.path("fd"));
        let Ok(listed) = command.args(["-type", "l", "-printf", "%f %l\\0"]).output() else { return BTreeMap::new() };
        let text = String::from_utf8_lossy(&listed.stdout);
        let one = |line: &str| line.split_once(' ').and_then(|(n, what)| Some((n.parse().ok()?, what.to_owned())));
        text.split('\0').filter_map(one).collect()
    }

    /// Lists its children, if it has one thread.
    pub fn children(self) -> Vec<Self> {
        let list = self.read(&format!("task/{}/children", self.0)).unwrap_or_default();
        list.split_whitespace().filter_map(|n| n.parse().ok().map(Self)).collect()
    }

    /// Sends it a signal; one that has ended needs none.
    pub fn signal(self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, signal);
        }
    }

    /// Returns its parent.
    #[track_caller]
    pub fn parent(self) -> Self {
        Self(self.status("PPid").parse().unwrap())
    }
}

fn parse_mount(line: &str) -> Mount {
    let fields: Vec<&str> = line.split(' ').collect();
    let dash = fields.iter().position(|f| *f == "-").unwrap();
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Mount {
        point: fields[4].to_owned(),
        options: list(fields[5]),
        tags: fields[6..dash].iter().map(|s| (*s).to_owned()).collect(),
        kind: fields[dash + 1].to_owned(),
        source: fields[dash + 2].to_owned(),
        super_options: list(fields[dash + 3]),
    }
}

impl Mount {
    /// Tells whether it has an option, per mount or of the file system.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.super_options).any(|o| o == option)
    }
}

/// Returns a number of seconds that no other `sleep` of the tests sleeps: the mark by which a payload is found.
pub fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = u64::from(std::process::id()) * 1000 + u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
    (1_000_000 + own).to_string()
}
