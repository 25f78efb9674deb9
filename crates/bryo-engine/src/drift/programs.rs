// SPDX-License-Identifier: Apache-2.0
//! What the processes of a container execute, as the kernel says: programs and libraries, by the paths that they were
//! opened by, and where that is. Source: `proc_pid_maps(5)`, `proc_pid_mountinfo(5)`.
//!
//! Read as the caller, who has made the user namespace that the processes are in. Of what is read only names are chosen
//! by the container, and they are compared and shown, never opened.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::Unread;
use crate::exec::children;
use crate::processes::{depth, inside, namespace};

/// How many bytes of one list of a process are read: 65,530 mappings, the kernel's default limit, with a path of usual
/// length.
const LIST_MAX: u64 = 16 << 20;

/// How many files one process is told of.
const FILES_MAX: usize = 10_000;

/// What the processes of one container may cost. Of 4096 of usual size all of it is read.
const BUDGET: Budget = Budget { processes: 4096, bytes: 128 << 20, files: 100_000 };

/// What the kernel adds to the path of a file that has no name any more.
const DELETED: &str = " (deleted)";

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Its number on the host.
    pub pid: i32,
    /// Its number inside.
    pub inside: i32,
    /// What it calls itself.
    pub name: String,
    /// What it executes.
    pub files: Vec<Executed>,
}

/// A file that a process executes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Executed {
    /// The path, or what the kernel shows instead of one.
    pub path: String,
    /// Whether it is the program itself; else a library.
    pub program: bool,
    /// Where it is.
    pub place: Place,
}

/// Where a file is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Place {
    /// In the container's root.
    Root,
    /// On something that is mounted at a path.
    Mount(String),
    /// It has no name any more.
    Deleted,
    /// It never had one: `memfd_create(2)`.
    Memory,
}

/// Looks at the processes of one container, of which the first is the one that its root belongs to.
pub(super) fn of(pids: &[i32], first: i32) -> (Vec<Program>, Vec<Unread>) {
    let mut look = Look::new(first, BUDGET);
    let (mut programs, mut unread) = (Vec::new(), Vec::new());
    for (done, pid) in pids.iter().copied().enumerate() {
        if !look.budget.begin() {
            unread.push(cut(done, pids.len()));
            break;
        }
        // The number may have become another process's in between: then the namespace is another one too.
        let own = namespace(pid);
        let found = look.at(pid);
        if own.is_none() || namespace(pid) != own {
            // A process that is there and whose namespace nobody may ask for cannot be looked into either.
            if std::path::Path::new(&format!("/proc/{pid}")).exists() {
                unread.push(closed(pid, "it may not be looked into"));
            }
            continue;
        }
        match found {
            Ok(Some(program)) => programs.push(program),
            Ok(None) => (),
            Err(e) => unread.push(closed(pid, &e.to_string())),
        }
    }
    (programs, unread)
}

fn closed(pid: i32, why: &str) -> Unread {
    Unread { what: format!("process {pid}"), why: why.to_owned() }
}

fn cut(done: usize, all: usize) -> Unread {
    let why = format!("only {done} of {all} were looked at: all of them execute more than is looked at");
    Unread { what: "processes".to_owned(), why }
}

/// What may still be looked at.
struct Budget {
    processes: usize,
    /// Of the kernel's lists, in bytes.
    bytes: u64,
    files: usize,
}

impl Budget {
    /// Takes one process, if there is anything left for it.
    fn begin(&mut self) -> bool {
        let left = self.processes > 0 && self.bytes > 0 && self.files > 0;
        self.processes = self.processes.saturating_sub(1);
        left
    }

    /// Reads one of the kernel's lists.
    fn read(&mut self, path: &str) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LIST_MAX).read_to_end(&mut bytes)?;
        self.bytes = self.bytes.saturating_sub(bytes.len() as u64);
        if bytes.len() as u64 == LIST_MAX {
            return Err(std::io::Error::other(format!("{path} is longer than what is looked at")));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// The look at the processes of one container.
struct Look {
    budget: Budget,
    /// The device of the container's root, if that is known.
    root: Option<String>,
    /// How many pid namespaces the container is below this one.
    depth: usize,
    /// What is mounted in each mount namespace.
    spaces: BTreeMap<PathBuf, Mounts>,
}

impl Look {
    /// Learns where the container's root is from its first process. It is an overlay in any case: another kind of file
    /// system, which that process has gone to by itself, is not the image's.
    fn new(first: i32, budget: Budget) -> Self {
        let mut look = Self { budget, root: None, depth: depth(first), spaces: BTreeMap::new() };
        for pid in [first].into_iter().chain(children(first)) {
            let Ok(mounts) = Mounts::read(pid, &mut look.budget) else { continue };
            look.root = mounts.overlay();
            // Whoever has changed its root sees less of what is mounted than the first does.
            if let Ok(space) = std::fs::read_link(format!("/proc/{pid}/ns/mnt")) {
                look.spaces.insert(space, mounts);
            }
            break;
        }
        look
    }

    /// Reads one process; nothing for one that is over, or that has no program.
    fn at(&mut self, pid: i32) -> std::io::Result<Option<Program>> {
        let exe = match std::fs::read_link(format!("/proc/{pid}/exe")) {
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound) => return Ok(None),
            // ESRCH: it has just ended.
            Err(e) if e.raw_os_error() == Some(bryo_sys::Errno::SRCH.raw_os_error()) => return Ok(None),
            other => other?,
        };
        let maps = self.budget.read(&format!("/proc/{pid}/maps"))?;
        let exe = exe.to_string_lossy().into_owned();
        let mut paths: BTreeSet<(String, bool)> = BTreeSet::new();
        for path in executed(&maps).filter(|path| *path != exe) {
            if paths.len() == FILES_MAX {
                return Err(std::io::Error::other("it executes more files than are looked at"));
            }
            paths.insert((path, false));
        }
        paths.insert((exe, true));
        self.budget.files = self.budget.files.saturating_sub(paths.len());
        let space = std::fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
        let mounts = match self.spaces.entry(space) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Mounts::read(pid, &mut self.budget)?),
        };
        let root = self.root.as_deref();
        let files = paths.into_iter().map(|(path, program)| mounts.place(path, program, root)).collect();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let name = status.lines().find_map(|line| line.strip_prefix("Name:")).unwrap_or_default().trim().to_owned();
        Ok(Some(Program { pid, inside: inside(&status, self.depth), name, files }))
    }
}

/// Lists the files that are mapped to be executed. What has no file begins with no slash.
fn executed(maps: &str) -> impl Iterator<Item = String> {
    maps.lines().filter_map(|line| {
        let mut rest = line;
        let mut next = || {
            rest = rest.trim_start_matches(' ');
            let (field, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = behind;
            field
        };
        let (_, rights) = (next(), next());
        let executable = rights.as_bytes().get(2) == Some(&b'x');
        // The offset, the device and the inode.
        for _ in 0..3 {
            next();
        }
        let path = rest.trim_start_matches(' ');
        // Memory that a process shares with itself, and segments of System V: no file that anybody has put there.
        let nameless = path == "/dev/zero (deleted)" || is_segment(path);
        (executable && path.starts_with('/') && !nameless).then(|| unescaped(path))
    })
}

/// Tells whether a name is that of a segment of System V: its key in eight digits.
fn is_segment(path: &str) -> bool {
    let key = path.strip_prefix("/SYSV").and_then(|rest| rest.strip_suffix(DELETED));
    key.is_some_and(|key| key.len() == 8 && key.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Reads what the kernel writes as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) if *byte == b'\\' => {
                out.push(code);
                rest = &behind[3..];
            }
            _ => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is mounted where, and which file system that is, as a process sees it; the later of two at one place is on top.
#[derive(Debug)]
struct Mounts(Vec<Mounted>);

#[derive(Debug)]
struct Mounted {
    at: String,
    device: String,
    /// The type of the file system.
    kind: String,
}

impl Mounts {
    fn read(pid: i32, budget: &mut Budget) -> std::io::Result<Self> {
        Ok(Self::parse(&budget.read(&format!("/proc/{pid}/mountinfo"))?))
    }

    fn parse(text: &str) -> Self {
        let one = |line: &str| {
            let (fields, behind) = line.split_once(" - ")?;
            let mut fields = fields.split(' ').skip(2);
            let device = fields.next()?.to_owned();
            let kind = behind.split(' ').next()?.to_owned();
            Some(Mounted { at: unescaped(fields.nth(1)?), device, kind })
        };
        Self(text.lines().filter_map(one).collect())
    }

    /// Returns the device of the root, if it is an overlay: the kernel's or that of a program.
    fn overlay(&self) -> Option<String> {
        let root = self.0.iter().rev().find(|mounted| mounted.at == "/")?;
        root.kind.contains("overlay").then(|| root.device.clone())
    }

    /// Says where a file is, if the container's root is on a device. A file whose name ends in the kernel's words for a
    /// deleted one passes for one.
    fn place(&self, path: String, program: bool, root: Option<&str>) -> Executed {
        if path.starts_with("/memfd:") {
            return Executed { path, program, place: Place::Memory };
        }
        if let Some(path) = path.strip_suffix(DELETED) {
            return Executed { path: path.to_owned(), program, place: Place::Deleted };
        }
        // Of two at one place the later hides the earlier.
        let covers = |at: &str| at == "/" || path == at || path.strip_prefix(at).is_some_and(|r| r.starts_with('/'));
        let above = self.0.iter().filter(|mounted| covers(&mounted.at)).max_by_key(|mounted| mounted.at.len());
        let place = match above {
            Some(mounted) if Some(mounted.device.as_str()) == root => Place::Root,
            // Where nothing is shown to be mounted it sees another root than its namespace has.
            above => Place::Mount(above.map_or("/", |mounted| &mounted.at).to_owned()),
        };
        Executed { path, program, place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a b\n\
        00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/data\n\
        7f0-7f1 r-xp 00000000 00:01 2070 /memfd:x y (deleted)\n\
        7f2-7f3 r-xp 00000000 00:01 2071 /tmp/l\\012x.so (deleted)\n\
        7f4-7f5 rwxp 00000000 00:00 0 \n\
        7f6-7f7 r-xs 00000000 00:01 1 /dev/zero (deleted)\n\
        7ff-800 r-xp 00000000 00:00 0                    [vdso]\n";

    #[test]
    fn what_is_executed_is_told_by_its_path() {
        let found: Vec<String> = executed(MAPS).collect();
        assert_eq!(found, ["/usr/bin/a b", "/memfd:x y (deleted)", "/tmp/l\nx.so (deleted)"]);
    }

    #[test]
    fn a_file_is_where_the_longest_mount_is() {
        let mounts = Mounts::parse(
            "1 0 0:30 / / ro - overlay o o\n2 1 0:30 /tmp /tmp rw - overlay o o\n\
            3 1 0:31 / /data rw - tmpfs t rw\n4 1 8:1 /x /with\\040blank rw - ext4 d rw\n",
        );
        let root = mounts.overlay();
        let place = |path: &str| mounts.place(path.to_owned(), true, root.as_deref()).place;
        assert_eq!(place("/usr/bin/x"), Place::Root);
        assert_eq!(place("/tmp/x"), Place::Root);
        assert_eq!(place("/data/x"), Place::Mount("/data".into()));
        assert_eq!(place("/database/x"), Place::Root);
        assert_eq!(place("/with blank/x"), Place::Mount("/with blank".into()));
        assert_eq!(place("/memfd:x (deleted)"), Place::Memory);
        assert_eq!(place("/data/x (deleted)"), Place::Deleted);
    }

    /// A process that has made itself another root, and one that has been sent to one.
    #[test]
    fn a_root_that_is_not_the_containers_is_a_mount() {
        let of_container = Mounts::parse("1 0 0:30 / / ro - overlay o o\n").overlay();
        assert_eq!(of_container.as_deref(), Some("0:30"));
        let place = |table: &str| Mounts::parse(table).place("/bin/x".to_owned(), true, of_container.as_deref()).place;
        assert_eq!(place("1 0 0:30 / / ro shared:1 - overlay o o\n"), Place::Root);
        for table in ["9 8 0:44 / / rw - tmpfs t rw\n", "9 8 0:45 / / rw - overlay o rw\n", ""] {
            assert_eq!(place(table), Place::Mount("/".into()), "{table}");
        }
        // The first process itself: then nothing is the image's.
        let gone = Mounts::parse("9 8 0:44 / / rw - tmpfs t rw\n");
        assert_eq!(gone.place("/bin/x".into(), true, gone.overlay().as_deref()).place, Place::Mount("/".into()));
    }

    #[test]
    fn what_is_beyond_the_budget_is_not_looked_at() {
        let mut budget = Budget { processes: 2, bytes: 1, files: 1 };
        assert!(budget.begin());
        budget.read("/proc/self/mountinfo").unwrap();
        assert!(!budget.begin(), "its bytes are used up");
        let mut budget = Budget { processes: 1, bytes: 1, files: 1 };
        assert!(budget.begin() && !budget.begin());

        let me = std::process::id().cast_signed();
        let many = vec![me; BUDGET.processes + 3];
        let (programs, unread) = of(&many, me);
        assert!(programs.len() <= BUDGET.processes && !programs.is_empty());
        assert!(unread.iter().any(|one| one.what == "processes" && one.why.contains(&many.len().to_string())));
    }
}
