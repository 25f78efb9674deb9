// SPDX-License-Identifier: Apache-2.0
//! Standard streams of the payload: pipes or a terminal made inside, owned by the run user.
//!
//! The payload never holds a descriptor of the caller. A terminal passed in could be typed into (`TIOCSTI`), a
//! directory could be walked out of, and a pipe of the caller's could not be opened again by its name: services that
//! log to `/dev/stdout` need to own what is behind it.

use std::os::fd::OwnedFd;

use bryo_sys::check;
use bryo_sys::mount::{attach, clone_tree};
use bryo_sys::root::Root;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::Streams;
use crate::error::{Context, Error, Kind, Result};
use crate::prepare::PreparedProcess;

/// The payload's ends.
#[derive(Debug)]
pub(super) struct Ends {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Ends {
    /// Makes them descriptors 0, 1 and 2.
    pub fn install(self) -> Result<()> {
        check("dup2", || "0".into(), rustix::stdio::dup2_stdin(&self.stdin))?;
        check("dup2", || "1".into(), rustix::stdio::dup2_stdout(&self.stdout))?;
        check("dup2", || "2".into(), rustix::stdio::dup2_stderr(&self.stderr))?;
        Ok(())
    }
}

/// Makes the streams; the second result is the caller's side.
pub(super) fn make(process: &PreparedProcess) -> Result<(Ends, Streams)> {
    if process.manner.detached {
        return Ok((
            Ends { stdin: null(OFlags::RDONLY)?, stdout: null(OFlags::WRONLY)?, stderr: null(OFlags::WRONLY)? },
            Streams::default(),
        ));
    }
    if process.terminal { terminal(process) } else { pipes(process) }
}

fn pipes(process: &PreparedProcess) -> Result<(Ends, Streams)> {
    let (stdin, feed) = if process.manner.interactive {
        let (read, write) = pipe(process)?;
        (read, Some(write))
    } else {
        (null(OFlags::RDONLY)?, None)
    };
    let (out_read, stdout) = pipe(process)?;
    let (err_read, stderr) = pipe(process)?;
    let theirs = Streams { stdin: feed, stdout: Some(out_read), stderr: Some(err_read), console: None };
    Ok((Ends { stdin, stdout, stderr }, theirs))
}

/// Opens the null device, and makes sure that it is: in a container that runs, what has its name may wait for ever.
pub(super) fn null(access: OFlags) -> Result<OwnedFd> {
    /// Source: the kernel's `admin-guide/devices.txt`.
    const NULL: (u32, u32) = (1, 3);
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = check("open", || "/dev/null".into(), rustix::fs::open("/dev/null", flags, Mode::empty()))?;
    let stat = check("fstat", || "/dev/null".into(), rustix::fs::fstat(&fd))?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == NULL {
        return Ok(fd);
    }
    Err(Error::new(Kind::RootFs, "/dev/null in the container is not the null device"))
}

fn pipe(process: &PreparedProcess) -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    // Both ends are one inode.
    own(&read, process)?;
    Ok((read, write))
}

fn terminal(process: &PreparedProcess) -> Result<(Ends, Streams)> {
    let what = || "cannot make a terminal".to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty());
    let master = check("open", || "/dev/pts/ptmx".into(), master).context(Kind::RootFs, what)?;
    check("ioctl", || "TIOCSPTLCK".into(), rustix::pty::unlockpt(&master)).context(Kind::RootFs, what)?;
    // By the master, not by a path that might have been replaced (CVE-2025-52565).
    let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, open);
    let slave = check("ioctl", || "TIOCGPTPEER".into(), slave).context(Kind::RootFs, what)?;
    own(&slave, process)?;
    if let Some((ws_row, ws_col)) = process.console_size {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        check("ioctl", || "TIOCSWINSZ".into(), rustix::termios::tcsetwinsize(&slave, size))?;
    }
    let copy =
        |fd: &OwnedFd| fd.try_clone().map_err(|_| bryo_sys::Error::new("fcntl", "F_DUPFD", bryo_sys::Errno::MFILE));
    let ends = Ends { stdin: copy(&slave)?, stdout: copy(&slave)?, stderr: slave };
    Ok((ends, Streams { console: Some(master), ..Streams::default() }))
}

/// Shows a terminal as the container's console.
pub(super) fn bind_console(master: &OwnedFd) -> Result<()> {
    let what = || "cannot make a terminal".to_owned();
    let root = Root::open(std::path::Path::new("/"))?;
    let place = root.create_file("/dev/console", Mode::from_raw_mode(0o600)).context(Kind::RootFs, what)?;
    let number = check("ioctl", || "TIOCGPTN".into(), rustix::pty::ptsname(master, Vec::new()))?;
    let tree = clone_tree(CWD, &number.to_string_lossy(), false).context(Kind::RootFs, what)?;
    attach(tree, place).context(Kind::RootFs, what)
}

fn own(fd: &OwnedFd, process: &PreparedProcess) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    Ok(check(
        "fchown",
        || format!("stream, {}:{}", process.uid, process.gid),
        rustix::fs::fchown(fd, Some(uid), Some(gid)),
    )?)
}
