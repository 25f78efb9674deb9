// SPDX-License-Identifier: Apache-2.0
//! What the processes of a container execute, as the kernel says: programs and libraries, by the paths that they were
//! opened by, and where that is. Source: `proc_pid_maps(5)`, `proc_pid_mountinfo(5)`.
//!
//! Read as the caller, who has made the user namespace that the processes are in. Of what is read only names are chosen
//! by the container, and they are compared and shown, never opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;

use super::Unread;
use crate::processes::namespace;

/// How many bytes of one process's list of mappings are read: 65,530 of them, the kernel's default limit, with a path of
/// usual length.
const MAPS_MAX: u64 = 16 << 20;

/// How many files one process is told of.
const FILES_MAX: usize = 10_000;

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

/// Looks at the processes of one container.
pub(super) fn of(pids: impl Iterator<Item = i32>) -> (Vec<Program>, Vec<Unread>) {
    let (mut programs, mut unread) = (Vec::new(), Vec::new());
    let mut mounts = BTreeMap::new();
    for pid in pids {
        // The number may have become another process's in between: then the namespace is another one too.
        let own = namespace(pid);
        let found = read(pid, &mut mounts);
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

/// Reads one; nothing for one that is over, or that has no program.
fn read(pid: i32, mounts: &mut BTreeMap<std::path::PathBuf, Mounts>) -> std::io::Result<Option<Program>> {
    let exe = match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound) => return Ok(None),
        // ESRCH: it has just ended.
        Err(e) if e.raw_os_error() == Some(bryo_sys::Errno::SRCH.raw_os_error()) => return Ok(None),
        other => other?,
    };
    let mut maps = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_MAX).read_to_end(&mut maps)?;
    if maps.len() as u64 == MAPS_MAX {
        return Err(std::io::Error::other("it maps more than is looked at"));
    }
    let space = std::fs::read_link(format!("/proc/{pid}/ns/mnt"))?;
    let known = match mounts.entry(space) {
        std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
        std::collections::btree_map::Entry::Vacant(new) => new.insert(Mounts::read(pid)?),
    };
    let exe = exe.to_string_lossy().into_owned();
    let mut paths: BTreeSet<(String, bool)> = BTreeSet::new();
    for path in executed(&String::from_utf8_lossy(&maps)).filter(|path| *path != exe) {
        if paths.len() == FILES_MAX {
            return Err(std::io::Error::other("it executes more files than are looked at"));
        }
        paths.insert((path, false));
    }
    paths.insert((exe, true));
    let files = paths.into_iter().map(|(path, program)| known.place(path, program)).collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |key: &str| status.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()));
    Ok(Some(Program {
        pid,
        inside: field("NSpid:").and_then(|list| list.split_whitespace().last()?.parse().ok()).unwrap_or(0),
        name: field("Name:").unwrap_or_default(),
        files,
    }))
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

/// The mounts that processes see: the device of the root, and what else is mounted where.
#[derive(Debug)]
struct Mounts {
    root: String,
    all: Vec<(String, String)>,
}

impl Mounts {
    fn read(pid: i32) -> std::io::Result<Self> {
        let mut text = String::new();
        File::open(format!("/proc/{pid}/mountinfo"))?.take(MAPS_MAX).read_to_string(&mut text)?;
        if text.len() as u64 == MAPS_MAX {
            return Err(std::io::Error::other("it has more mounts than are looked at"));
        }
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let one = |line: &str| {
            let mut fields = line.split(' ').skip(2);
            let device = fields.next()?.to_owned();
            Some((unescaped(fields.nth(1)?), device))
        };
        let all: Vec<(String, String)> = text.lines().filter_map(one).collect();
        let root = all.iter().rev().find(|(at, _)| at == "/").map(|(_, device)| device.clone()).unwrap_or_default();
        Self { root, all }
    }

    /// Says where a file is. A file whose name ends in the kernel's words for a deleted one passes for one.
    fn place(&self, path: String, program: bool) -> Executed {
        if path.starts_with("/memfd:") {
            return Executed { path, program, place: Place::Memory };
        }
        if let Some(path) = path.strip_suffix(DELETED) {
            return Executed { path: path.to_owned(), program, place: Place::Deleted };
        }
        // Of two at one place the later hides the earlier.
        let covers = |at: &str| at == "/" || path == at || path.strip_prefix(at).is_some_and(|r| r.starts_with('/'));
        let above = self.all.iter().filter(|(at, _)| covers(at)).max_by_key(|(at, _)| at.len());
        let place = match above {
            Some((_, device)) if *device == self.root => Place::Root,
            Some((at, _)) => Place::Mount(at.clone()),
            None => Place::Root,
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
        let place = |path: &str| mounts.place(path.to_owned(), true).place;
        assert_eq!(place("/usr/bin/x"), Place::Root);
        assert_eq!(place("/tmp/x"), Place::Root);
        assert_eq!(place("/data/x"), Place::Mount("/data".into()));
        assert_eq!(place("/database/x"), Place::Root);
        assert_eq!(place("/with blank/x"), Place::Mount("/with blank".into()));
        assert_eq!(place("/memfd:x (deleted)"), Place::Memory);
        assert_eq!(place("/data/x (deleted)"), Place::Deleted);
    }
}
