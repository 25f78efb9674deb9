// SPDX-License-Identifier: Apache-2.0
//! Who is in a network now: a directory with a file for each address that is in use.
//!
//! A file is called by its address and locked (`flock(2)`) by whoever supervises the container. The kernel gives the
//! lock back when that process ends, however it ends, so that a file that is not locked says nothing any more, and its
//! address is free. Nobody asks a daemon: the resolvers of other containers read the files themselves.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use bryo_sys::{Errno, Result, check};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};

/// Longer files are none of ours.
const MOST: u64 = 16 << 10;

/// The magic number of the file system of namespaces, `NSFS_MAGIC` of `linux/magic.h`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its id.
    pub id: String,
    /// The names that it is found by, in lower case; the first is its own.
    pub names: Vec<String>,
    holder: Holder,
}

/// Where the network's namespace can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    pid: u32,
    fd: u32,
    inode: u64,
}

impl Member {
    /// Opens the network's namespace, which the member's supervisor holds; nothing when it is gone.
    pub fn namespace(&self) -> Option<OwnedFd> {
        let Holder { pid, fd, inode } = self.holder;
        let opened = rustix::fs::open(format!("/proc/{pid}/fd/{fd}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // Whoever has the number now: what it holds is the namespace, or something else.
        opened.ok().filter(|opened| inode_of(opened.as_fd()) == Some(inode))
    }

    fn parse(address: Ipv4Addr, text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let id = lines.next()?.to_owned();
        let mut numbers = lines.next()?.split(' ');
        let mut number = || numbers.next()?.parse::<u64>().ok();
        let (pid, fd, inode) = (u32::try_from(number()?).ok()?, u32::try_from(number()?).ok()?, number()?);
        // What a shorter text was filled up with.
        let names = lines.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some(Self { address, id, names, holder: Holder { pid, fd, inode } })
    }
}

/// Writes what a member's file says.
fn describe<'a>(id: &str, holder: Holder, names: impl Iterator<Item = &'a str>) -> String {
    let Holder { pid, fd, inode } = holder;
    names.fold(format!("{id}\n{pid} {fd} {inode}\n"), |mut text, name| {
        let _ = writeln!(text, "{}", name.to_ascii_lowercase());
        text
    })
}

/// Gives the container with an id another name, the first of those by which it is found. Whoever supervises it need not
/// know: the next query finds what is written.
///
/// Nobody else may choose addresses or rename meanwhile.
///
/// # Errors
///
/// When the directory or the file cannot be read or written.
pub fn rename(directory: BorrowedFd<'_>, id: &str, name: &str) -> Result<()> {
    for member in all(directory)?.into_iter().filter(|member| member.id == id) {
        let path = member.address.to_string();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = check("open", || path.clone(), rustix::fs::openat(directory, &path, flags, Mode::empty()))?;
        let length = check("fstat", || path.clone(), rustix::fs::fstat(&file))?.st_size;
        let others = member.names.iter().skip(1).map(String::as_str);
        let mut text = describe(&member.id, member.holder, std::iter::once(name).chain(others));
        // In one step, and never shorter: who reads meanwhile finds the one or the other.
        let missing = usize::try_from(length).unwrap_or(0).saturating_sub(text.len());
        text.extend(std::iter::repeat_n('\n', missing));
        check("pwrite64", || path, rustix::io::pwrite(&file, text.as_bytes(), 0))?;
    }
    Ok(())
}

/// Returns the number of a namespace.
fn inode_of(namespace: BorrowedFd<'_>) -> Option<u64> {
    let kind = rustix::fs::fstatfs(namespace).ok()?.f_type;
    let inode = rustix::fs::fstat(namespace).ok()?.st_ino;
    (u64::try_from(kind) == Ok(NSFS_MAGIC)).then_some(inode)
}

/// Returns the members whose supervisors live.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn all(directory: BorrowedFd<'_>) -> Result<Vec<Member>> {
    let entries = check("getdents64", String::new, Dir::read_from(directory))?;
    let addresses = entries.filter_map(|e| e.ok()?.file_name().to_str().ok()?.parse::<Ipv4Addr>().ok());
    Ok(addresses.filter_map(|address| at(directory, address)).collect())
}

/// Removes what supervisors that were killed have left.
///
/// # Errors
///
/// When the directory cannot be read or written.
pub fn sweep(directory: BorrowedFd<'_>) -> Result<()> {
    let entries = check("getdents64", String::new, Dir::read_from(directory))?;
    let mut addresses = entries.filter_map(|e| e.ok()?.file_name().to_str().ok()?.parse::<Ipv4Addr>().ok());
    // An address that can be taken is nobody's, and is given back at once.
    addresses.try_for_each(|address| Lease::take(directory, address).map(drop))
}

/// Returns the member that has an address.
pub fn at(directory: BorrowedFd<'_>, address: Ipv4Addr) -> Option<Member> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, address.to_string(), flags, Mode::empty()).ok()?;
    let free = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared);
    if free != Err(Errno::WOULDBLOCK) {
        return None;
    }
    let mut text = String::new();
    File::from(file).take(MOST).read_to_string(&mut text).ok()?;
    Member::parse(address, &text)
}

/// An address that is this process's until it ends or drops this.
#[derive(Debug)]
pub struct Lease {
    directory: OwnedFd,
    file: File,
    address: Ipv4Addr,
}

impl Lease {
    /// Takes an address; nothing when somebody has it.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
    pub fn take(directory: BorrowedFd<'_>, address: Ipv4Addr) -> Result<Option<Self>> {
        let name = address.to_string();
        let what = || name.clone();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let file = rustix::fs::openat(directory, &name, flags, Mode::from_raw_mode(0o644));
            let file = check("open", what, file)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                locked => check("flock", what, locked)?,
            }
            // The one before may have removed it between the two.
            let ours = check("fstat", what, rustix::fs::fstat(&file))?.st_ino;
            let there = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW);
            if !there.is_ok_and(|there| there.st_ino == ours) {
                continue;
            }
            let directory = check("dup", what, rustix::io::fcntl_dupfd_cloexec(directory, 3))?;
            return Ok(Some(Self { directory, file: File::from(file), address }));
        }
    }

    /// Returns the address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Writes down who has it, and where the network's namespace is held: by this process, as this descriptor.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn describe(&mut self, id: &str, names: &[String], namespace: BorrowedFd<'_>) -> std::io::Result<()> {
        use std::os::fd::AsRawFd;
        let holder = Holder {
            pid: std::process::id(),
            fd: namespace.as_raw_fd().unsigned_abs(),
            inode: inode_of(namespace).unwrap_or(0),
        };
        let text = describe(id, holder, names.iter().map(String::as_str));
        // Those who read it are nobody, and the caller's mask is for the caller's files.
        self.file.set_permissions(Permissions::from_mode(0o644))?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the lock goes, so that it cannot be that of the next.
        let _ = rustix::fs::unlinkat(&self.directory, self.address.to_string(), AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn directory() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    fn own_network() -> OwnedFd {
        rustix::fs::open("/proc/self/ns/net", OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn an_address_has_one_holder_and_is_free_afterwards() {
        let (dir, fd) = directory();
        let lease = Lease::take(fd.as_fd(), ADDRESS).unwrap().unwrap();
        assert!(Lease::take(fd.as_fd(), ADDRESS).unwrap().is_none());
        drop(lease);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Lease::take(fd.as_fd(), ADDRESS).unwrap().is_some());
    }

    #[test]
    fn members_are_those_whose_files_are_locked() {
        let (dir, fd) = directory();
        let network = own_network();
        let mut lease = Lease::take(fd.as_fd(), ADDRESS).unwrap().unwrap();
        lease.describe("0123", &["Web".into(), "www".into()], network.as_fd()).unwrap();
        // What a killed supervisor has left.
        std::fs::write(dir.path().join("10.0.0.3"), "4567\n1 2 3\nweb\n").unwrap();
        std::fs::write(dir.path().join("notes"), "no address").unwrap();
        let members = all(fd.as_fd()).unwrap();
        assert_eq!(members.len(), 1, "{members:?}");
        sweep(fd.as_fd()).unwrap();
        let left = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<std::collections::BTreeSet<_>>(), ["10.0.0.2".into(), "notes".into()].into());
        assert_eq!((members[0].id.as_str(), members[0].names.join(" ")), ("0123", "web www".into()));
        let opened = members[0].namespace().unwrap();
        assert_eq!(inode_of(opened.as_fd()), inode_of(network.as_fd()));
        // The number stands for something else now.
        let number = std::os::fd::AsRawFd::as_raw_fd(&network);
        drop(network);
        let mut other = members[0].clone();
        other.holder.fd = number.cast_unsigned();
        other.holder.inode += 1;
        assert!(other.namespace().is_none());
    }

    #[test]
    fn a_member_is_renamed_while_it_is_there() {
        let (_dir, fd) = directory();
        let network = own_network();
        let mut lease = Lease::take(fd.as_fd(), ADDRESS).unwrap().unwrap();
        lease.describe("0123", &["a-rather-long-name".into(), "www".into()], network.as_fd()).unwrap();
        for name in ["b", "another-name-that-is-longer-than-the-first"] {
            rename(fd.as_fd(), "0123", name).unwrap();
            rename(fd.as_fd(), "4567", "nobody").unwrap();
            let member = at(fd.as_fd(), ADDRESS).unwrap();
            assert_eq!((member.id.as_str(), member.names), ("0123", vec![name.to_owned(), "www".into()]));
        }
        assert!(at(fd.as_fd(), ADDRESS).unwrap().namespace().is_some());
    }

    #[test]
    fn a_damaged_file_is_no_member() {
        for text in ["", "id", "id\n1 2\n", "id\n1 2 x\n", "id\n-1 2 3\n", "id\n99999999999 2 3\n"] {
            assert_eq!(Member::parse(ADDRESS, text), None, "{text:?}");
        }
    }
}
