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
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::Streams;
use crate::error::{Context, Kind, Result};
use crate::plan::Plan;
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
pub(super) fn make(plan: &Plan, process: &PreparedProcess) -> Result<(Ends, Streams)> {
    if process.terminal { terminal(process) } else { pipes(plan, process) }
}

fn pipes(plan: &Plan, process: &PreparedProcess) -> Result<(Ends, Streams)> {
    let (stdin, feed) = if plan.interactive {
        let (read, write) = pipe(process)?;
        (read, Some(write))
    } else {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        (check("open", || "/dev/null".into(), null)?, None)
    };
    let (out_read, stdout) = pipe(process)?;
    let (err_read, stderr) = pipe(process)?;
    let theirs = Streams { stdin: feed, stdout: Some(out_read), stderr: Some(err_read), console: None };
    Ok((Ends { stdin, stdout, stderr }, theirs))
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
    let root = Root::open(std::path::Path::new("/"))?;
    let place = root.create_file("/dev/console", Mode::from_raw_mode(0o600)).context(Kind::RootFs, what)?;
    let number = check("ioctl", || "TIOCGPTN".into(), rustix::pty::ptsname(&master, Vec::new()))?;
    let tree = clone_tree(CWD, &number.to_string_lossy(), false).context(Kind::RootFs, what)?;
    attach(tree, place).context(Kind::RootFs, what)?;
    let copy =
        |fd: &OwnedFd| fd.try_clone().map_err(|_| bryo_sys::Error::new("fcntl", "F_DUPFD", bryo_sys::Errno::MFILE));
    let ends = Ends { stdin: copy(&slave)?, stdout: copy(&slave)?, stderr: slave };
    Ok((ends, Streams { console: Some(master), ..Streams::default() }))
}

fn own(fd: &OwnedFd, process: &PreparedProcess) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    Ok(check(
        "fchown",
        || format!("stream, {}:{}", process.uid, process.gid),
        rustix::fs::fchown(fd, Some(uid), Some(gid)),
    )?)
}
