// SPDX-License-Identifier: Apache-2.0
//! Owners, where one id owns everything on the host.
//!
//! ```text
//! a step, root inside                    an agent among the step's mounts
//! chown(path, 5, 6) ── its filter ─────> finds the file as the step would, makes it root's, writes "5:6" down beside it
//!         0 or errno <──────────────────
//! setuid(5), getuid() ─────────────────> remembers, and says so
//! ```
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | agent, child of the build | the step's user and mount namespace, the host's processes | root inside, with capabilities over files and to look into processes | yes: its parent had one thread | the step, by its calls | when nobody is left to make one, or its parent ends it |
//!
//! The step chooses paths, and may change what is at them at any moment. What the agent does to a file the step could do
//! itself: it has the same ids in the same namespaces, and no call is ever let through on the word of what was looked at.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use bryo_identity::map::IdMap;
use bryo_image::record;
use bryo_launch::plan::Plan;
use bryo_sys::check;
use bryo_sys::listener::{Asked, Call, Listener, Place as At, read_path};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::files::directory;
use super::people::People;
use crate::Engine;
use crate::agent::{self, Agent, Place};
use crate::error::Result;

/// Tells whether the owners of a plan's files are written down and not set: root gives files away, and there is nobody
/// to give them to.
pub(super) fn emulated(plan: &Plan) -> bool {
    let root = plan.spec.process().as_ref().is_some_and(|process| process.user().uid() == 0);
    plan.ids.is_single() && root
}

impl Engine {
    /// Answers the changes of owners of a step that runs, until the agent is dropped.
    pub(super) fn emulate_owners(&self, ids: &IdMap, process: BorrowedFd<'_>, listener: Listener) -> Result<Agent<()>> {
        // The step's own processes are looked up among the host's, by the numbers that they have there.
        let open = || directory(Path::new("/proc"));
        agent::start(Place::Container(ids, process), [listener.into()], open, |processes, [listener]| {
            let listener = Listener::from(listener);
            keep_rights()?;
            check("fchdir", || "/proc".into(), rustix::process::fchdir(&processes))?;
            let mut people = People::default();
            while let Some(call) = listener.next()? {
                let answer = answer(&call, &listener, &mut people);
                listener.answer(&call, answer)?;
            }
            Ok(())
        })
    }
}

/// Keeps what it takes to find a file for somebody, and to have it.
fn keep_rights() -> Result<()> {
    let kept = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER | CapabilitySet::SYS_PTRACE;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(check("capset", || format!("{kept:?}"), rustix::thread::set_capabilities(None, sets))?)
}

fn answer(call: &Call, listener: &Listener, people: &mut People) -> rustix::io::Result<u32> {
    let wanted = match call.asked()? {
        Asked::Chown(wanted) => wanted,
        asked => return people.answer(call, asked, || listener.waits(call)),
    };
    let file = open(call, wanted.file)?;
    // Only now it is sure that what was looked at was the caller's and not that of another one with its number.
    if !listener.waits(call) {
        return Err(Errno::SRCH);
    }
    if people.is_root(call)? { own(&file, wanted.uid, wanted.gid).map(|()| 0) } else { Err(Errno::PERM) }
}

/// Opens what the caller means: below its root, from where it is.
fn open(call: &Call, place: At) -> rustix::io::Result<OwnedFd> {
    let (dir, path, follow, may_be_empty) = match place {
        At::Descriptor(number) => return open_descriptor(call, number),
        At::Path { dir, address, follow, may_be_empty } => {
            (dir, read_path(call.thread, address)?, follow, may_be_empty)
        }
    };
    if path.is_empty() {
        return if may_be_empty { open_descriptor(call, dir) } else { Err(Errno::NOENT) };
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    if path[0] == b'/' {
        let root = of(call, "root")?;
        return rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    }
    rustix::fs::openat(open_descriptor(call, dir)?, path, flags, Mode::empty())
}

/// Opens what a descriptor of the caller is of; without one, where it is.
fn open_descriptor(call: &Call, number: Option<i32>) -> rustix::io::Result<OwnedFd> {
    match number {
        None => of(call, "cwd"),
        Some(number) if number < 0 => Err(Errno::BADF),
        Some(number) => of(call, &format!("fd/{number}")).map_err(|e| if e == Errno::NOENT { Errno::BADF } else { e }),
    }
}

/// Opens something of the caller's.
fn of(call: &Call, what: &str) -> rustix::io::Result<OwnedFd> {
    let path = PathBuf::from(call.thread.to_string()).join(what);
    rustix::fs::openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a file the one id's, which is for the kernel to refuse, and writes down whose it is to be. A half that is missing
/// stays as it is.
fn own(file: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> rustix::io::Result<()> {
    let (ours, our_group) = (uid.map(|_| Uid::ROOT), gid.map(|_| Gid::ROOT));
    rustix::fs::chownat(file, "", ours, our_group, AtFlags::EMPTY_PATH)?;
    let found = rustix::fs::fstat(file)?;
    if !matches!(FileType::from_raw_mode(found.st_mode), FileType::RegularFile | FileType::Directory) {
        return Ok(());
    }
    // A descriptor of a place has no attributes; what it is of has them, by this name.
    let name = self_name(file.as_fd());
    let mut value = [0; 32];
    let before = rustix::fs::getxattr(&name, record::OWNER, &mut value[..]).ok();
    let before = before.and_then(|len| record::parse(&value[..len])).unwrap_or_default();
    let after = (uid.unwrap_or(before.0), gid.unwrap_or(before.1));
    let written = match after {
        _ if after == before => Ok(()),
        (0, 0) => rustix::fs::removexattr(&name, record::OWNER),
        _ => rustix::fs::setxattr(&name, record::OWNER, record::text(after).as_bytes(), XattrFlags::empty()),
    };
    // What has no attributes, such as a file in memory, is in no layer either.
    if written == Err(Errno::OPNOTSUPP) { Ok(()) } else { written }
}

fn self_name(file: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from("self/fd").join(file.as_raw_fd().to_string())
}
