// SPDX-License-Identifier: Apache-2.0
//! Looking at what a watched thread means: its paths, its sockets, its ids.
//!
//! All of it is what a program says of itself, perhaps to deceive, and may have changed a moment later: it is for telling,
//! and nothing is decided by it. Each thing is read with a limit. The working directory is the host's `/proc`, and the
//! root is the container's.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use bryo_sys::listener::{read_bytes, read_path};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::table::At;

/// The longest text of `/proc` that is read, in bytes.
const STATUS_MAX: u64 = 1 << 14;

/// The longest address of a socket, in bytes. Source: `struct sockaddr_storage`.
const ADDRESS_MAX: usize = 128;

/// Who a thread is, as seen in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Who {
    pub process: i32,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub capabilities: u64,
}

/// An address of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Internet { address: String, port: u16 },
    Path(String),
    Other(u16),
}

/// A thread that has stopped, with the arguments of its call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread<'a> {
    pub tid: i32,
    pub args: &'a [u64; 6],
}

impl Thread<'_> {
    /// Reads who it is.
    pub fn who(&self) -> Who {
        parse_status(&text(&format!("{}/status", self.tid)))
    }

    /// Reads what it calls itself.
    pub fn program(&self) -> String {
        text(&format!("{}/comm", self.tid)).trim_end().to_owned()
    }

    /// Reads an argument that is an `int`.
    #[allow(clippy::cast_possible_truncation)]
    pub fn int(&self, n: usize) -> i32 {
        self.args[n] as i32
    }

    /// Reads a text that an argument points to.
    pub fn string(&self, n: usize) -> Option<String> {
        self.bytes_of_path(n).map(|path| String::from_utf8_lossy(&path).into_owned())
    }

    fn bytes_of_path(&self, n: usize) -> Option<Vec<u8>> {
        read_path(self.tid.unsigned_abs(), self.args[n]).ok()
    }

    /// Reads a number of 64 bits that an argument points to.
    pub fn number(&self, n: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let read = read_bytes(self.tid.unsigned_abs(), self.args[n], &mut bytes);
        (read == Ok(8)).then(|| u64::from_ne_bytes(bytes))
    }

    /// Returns where a file is, as the container names it; links in its last part are not followed.
    pub fn file(&self, at: At) -> Option<String> {
        let (dir, path) = match at {
            At::Fd(n) => return self.descriptor(self.int(n)),
            At::Path(n) => (None, self.bytes_of_path(n)?),
            At::In(dir, n) => (Some(self.int(dir)).filter(|dir| *dir >= 0), self.bytes_of_path(n)?),
        };
        if path.is_empty() {
            return dir.and_then(|dir| self.descriptor(dir));
        }
        let text = String::from_utf8_lossy(&path).into_owned();
        Some(self.resolve(dir, &path).unwrap_or(text))
    }

    /// Tells whether there is nothing at a path.
    pub fn is_missing(&self, path: &str) -> bool {
        let Some(root) = self.own("root") else { return false };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        found.is_err_and(|errno| errno == rustix::io::Errno::NOENT)
    }

    fn resolve(&self, dir: Option<i32>, path: &[u8]) -> Option<String> {
        let end = path.iter().rposition(|b| *b != b'/')?;
        let path = &path[..=end];
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&b"."[..], path),
        };
        let (parent, name) = if matches!(name, b"." | b"..") { (path, &b""[..]) } else { (parent, name) };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = if parent.starts_with(b"/") {
            let root = self.own("root")?;
            rustix::fs::openat2(root, parent, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        } else {
            let from = dir.map_or_else(|| self.own("cwd"), |dir| self.own(&format!("fd/{dir}")))?;
            rustix::fs::openat(from, parent, flags, Mode::empty())
        };
        let opened = opened.ok()?;
        let place = link(&format!("self/fd/{}", opened.as_raw_fd()))?;
        let name = String::from_utf8_lossy(name);
        Some(if name.is_empty() { place } else { format!("{}/{name}", place.trim_end_matches('/')) })
    }

    fn own(&self, what: &str) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, format!("{}/{what}", self.tid), flags, Mode::empty()).ok()
    }

    /// Returns where what a descriptor is of lies.
    pub fn descriptor(&self, fd: i32) -> Option<String> {
        link(&format!("{}/fd/{fd}", self.tid))
    }

    /// Looks at what a descriptor is of.
    pub fn stat(&self, fd: i32) -> Option<Stat> {
        rustix::fs::stat(format!("{}/fd/{fd}", self.tid)).ok()
    }

    /// Returns who a file belongs to.
    pub fn owner(&self, at: At) -> Option<u32> {
        let stat = match at {
            At::Fd(n) => self.stat(self.int(n))?,
            // The root of this process is the container's.
            _ => rustix::fs::stat(self.file(at)?).ok()?,
        };
        Some(stat.st_uid)
    }

    /// Reads an address that arguments point to.
    pub fn address(&self, pointer: usize, length: usize) -> Option<Peer> {
        let length = usize::try_from(self.args[length]).ok()?.min(ADDRESS_MAX);
        let mut bytes = [0; ADDRESS_MAX];
        let read = read_bytes(self.tid.unsigned_abs(), self.args[pointer], bytes.get_mut(..length)?).ok()?;
        parse_address(&bytes[..read])
    }

    /// Says what kind of socket a descriptor is, by the name of its usual protocol.
    pub fn protocol(&self, fd: i32) -> Option<&'static str> {
        use rustix::net::{SocketType, sockopt::socket_type};
        let process = Pid::from_raw(self.who().process)?;
        let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
        let socket = pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()?;
        match socket_type(&socket).ok()? {
            SocketType::STREAM => Some("tcp"),
            SocketType::DGRAM => Some("udp"),
            _ => Some("raw"),
        }
    }
}

/// Tells whether somebody needs more than a file's permissions give to everybody, its group or its owner.
pub(super) fn lacks(stat: &Stat, who: &Who, wanted: u32) -> bool {
    let shift = if stat.st_uid == who.uid {
        6
    } else if stat.st_gid == who.gid || who.groups.contains(&stat.st_gid) {
        3
    } else {
        0
    };
    // Whoever made it may have it open with more than its mode.
    stat.st_uid != who.uid && stat.st_mode >> shift & wanted != wanted
}

/// Tells what kind of file it is.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn link(path: &str) -> Option<String> {
    let target = rustix::fs::readlink(path, Vec::new()).ok()?;
    let text = target.to_string_lossy().into_owned();
    Some(text.strip_suffix(" (deleted)").map_or(text.clone(), str::to_owned))
}

fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = std::io::Read::read_to_end(&mut std::io::Read::take(file, STATUS_MAX), &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads `/proc/PID/status`. Source: `proc_pid_status(5)`.
fn parse_status(text: &str) -> Who {
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace()
    };
    // Real, effective, saved, of the file system.
    let effective = |name| line(name).nth(1).and_then(|n| n.parse().ok()).unwrap_or(u32::MAX);
    Who {
        process: line("Tgid").next().and_then(|n| n.parse().ok()).unwrap_or(0),
        uid: effective("Uid"),
        gid: effective("Gid"),
        groups: line("Groups").filter_map(|n| n.parse().ok()).collect(),
        capabilities: line("CapEff").next().and_then(|n| u64::from_str_radix(n, 16).ok()).unwrap_or(0),
    }
}

/// Reads an address. Source: `ip(7)`, `ipv6(7)`, `unix(7)`.
fn parse_address(bytes: &[u8]) -> Option<Peer> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    Some(match family {
        1 => {
            let name = bytes.get(2..)?;
            let end = name.iter().skip(1).position(|b| *b == 0).map_or(name.len(), |end| end + 1);
            match name.first() {
                // An abstract name, or none.
                None | Some(0) => Peer::Other(family),
                Some(_) => Peer::Path(String::from_utf8_lossy(&name[..end]).into_owned()),
            }
        }
        2 => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Peer::Internet { address: Ipv4Addr::from(address).to_string(), port: port()? }
        }
        10 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Peer::Internet { address: Ipv6Addr::from(address).to_canonical().to_string(), port: port()? }
        }
        other => Peer::Other(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_effective_ids() {
        let text =
            "Name:\tsh\nTgid:\t12\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t00000000000000c1\n";
        let who = Who { process: 12, uid: 2, gid: 6, groups: vec![9, 10], capabilities: 0xc1 };
        assert_eq!(parse_status(text), who);
        assert_eq!(parse_status("").uid, u32::MAX);
    }

    #[test]
    fn addresses_are_read_whole_or_not() {
        let internet = |address: &str, port| Some(Peer::Internet { address: address.into(), port });
        assert_eq!(parse_address(&[2, 0, 0, 80, 127, 0, 0, 1]), internet("127.0.0.1", 80));
        assert_eq!(parse_address(&[2, 0, 0, 80, 127]), None);
        let mut six = vec![10, 0, 1, 187, 0, 0, 0, 0];
        six.extend(Ipv6Addr::LOCALHOST.octets());
        assert_eq!(parse_address(&six), internet("::1", 443));
        assert_eq!(parse_address(b"\x01\x00/run/a\0junk"), Some(Peer::Path("/run/a".into())));
        assert_eq!(parse_address(b"\x01\x00\0hidden"), Some(Peer::Other(1)));
        assert_eq!(parse_address(&[1]), None);
    }
}
