// SPDX-License-Identifier: Apache-2.0
//! Executing the payload where Landlock does not keep the kernel from opening this very program for it.
//!
//! `/proc/self/exe` is bryo itself here. A name of the image that leads there, as the program, the interpreter of a
//! script, the loader of either, or one that the host has registered for it, would have bryo's file run inside, and hand
//! the container a way to it (CVE-2019-5736). Looking at the names before does not help where something in the
//! container runs already and changes them meanwhile. So this process becomes another program first, one of a few
//! instructions, that nobody else has: then it is that which the link leads to.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use bryo_sys::exec::{StringArray, execveat};
use bryo_sys::mount::{Attr, Change, NewFs, set_attr};
use bryo_sys::trampoline::{FD, program};
use bryo_sys::{Errno, check};
use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::FdFlags;

use crate::child::write_all;
use crate::error::{Context, Error, Kind, Result};
use crate::prepare::PreparedProcess;
use crate::sync::ChildEnd;

/// The program, ready to be executed.
pub(super) struct Trampoline<'a> {
    program: OwnedFd,
    sync: &'a ChildEnd,
    /// The socket under the program's number, when it has another.
    copy: Option<OwnedFd>,
}

impl<'a> Trampoline<'a> {
    /// Makes it. No descriptor but the standard streams and the socket may be open.
    pub fn make(sync: &'a ChildEnd) -> Result<Self> {
        let what = || "cannot make the program that executes the payload".to_owned();
        let copy = match sync.0.as_raw_fd() {
            FD => None,
            _ => Some(rustix::io::fcntl_dupfd_cloexec(&sync.0, FD)),
        };
        let copy = check("fcntl", || "F_DUPFD_CLOEXEC".into(), copy.transpose()).context(Kind::Confinement, what)?;
        if copy.as_ref().is_some_and(|copy| copy.as_raw_fd() != FD) {
            return Err(Error::new(Kind::Confinement, format!("{}: descriptor {FD} is in use", what())));
        }
        // A file system of its own, and no file in memory: that may be forbidden to be executed (`memfd_create(2)`).
        let fs = NewFs::open("tmpfs")?.mount(Attr::NOSUID | Attr::NODEV).context(Kind::Confinement, what)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // Whoever cannot read it cannot look into the process that it becomes either.
        let file = rustix::fs::openat(&fs, "payload", flags, Mode::from_raw_mode(0o111));
        let file = check("openat", || "payload".into(), file).context(Kind::Confinement, what)?;
        check("write", || "payload".into(), write_all(&file, &program())).context(Kind::Confinement, what)?;
        drop(file);
        set_attr(&fs, Change::set(Attr::RDONLY)).context(Kind::Confinement, what)?;
        let program = rustix::fs::openat(&fs, "payload", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let program = check("openat", || "payload".into(), program).context(Kind::Confinement, what)?;
        Ok(Self { program, sync, copy })
    }

    /// Executes it, to execute a path. Returns only what keeps that from being tried; what the kernel says to it then,
    /// the parent hears.
    pub fn execute(&self, path: &CStr, process: &PreparedProcess) -> bryo_sys::Error {
        if let Err(error) = executable(path).and_then(|()| self.announce(path)) {
            return error;
        }
        let args = std::iter::once(path.to_owned()).chain(process.args.strings().iter().cloned());
        execveat(&self.program, &StringArray::new(args.collect()), &process.env)
    }

    /// Tells the parent what comes, and leaves the socket open to the program.
    fn announce(&self, path: &CStr) -> bryo_sys::Result<()> {
        self.sync.executes(path)?;
        let socket = self.copy.as_ref().unwrap_or(&self.sync.0);
        check("fcntl", || "F_SETFD, 0".into(), rustix::io::fcntl_setfd(socket, FdFlags::empty()))
    }
}

/// Tells why a path cannot be executed, as far as that can be told without trying: only one can be tried.
fn executable(path: &CStr) -> bryo_sys::Result<()> {
    let look = || -> rustix::io::Result<()> {
        let kind = FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode);
        rustix::fs::access(path, Access::EXEC_OK)?;
        if kind == FileType::RegularFile { Ok(()) } else { Err(Errno::ACCESS) }
    };
    check("execve", || path.to_string_lossy().into_owned(), look())
}
