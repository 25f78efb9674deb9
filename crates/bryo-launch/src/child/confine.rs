// SPDX-License-Identifier: Apache-2.0
//! Stage 3: give up everything the payload must not have.
//!
//! The order is forced. The keyring, limits and the bounding set need capabilities or system calls that are gone
//! later; groups go before the group id and that before the user id, each needing what the next gives up; the
//! remaining capabilities go when no step needs them; `no_new_privs` is what lets Landlock and seccomp be applied
//! without privilege; the filter is last, because it forbids most of the above. Where new privileges are allowed on
//! request, filter and Landlock come while the capabilities for them are still held.

use std::os::fd::AsFd;

use bryo_sys::listener::Listener;
use bryo_sys::{Errno, check};
use rustix::fs::Mode;
use rustix::process::{Gid, Signal, Uid};

use crate::child::landlock;
use crate::error::{Context, Error, Kind, Result};
use crate::prepare::PreparedProcess;
use crate::sync::ChildEnd;

/// Ties this process to its parent's life: a foreground container does not outlive the command that runs it.
pub(crate) fn die_with_parent() -> Result<()> {
    let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    Ok(check("prctl", || "PR_SET_PDEATHSIG, SIGKILL".into(), set)?)
}

/// Lets nobody inside look into this process, whose memory is still a copy of the caller's. The kernel does so by
/// itself when the ids change, and they do not where root inside is the caller.
pub(crate) fn undumpable() -> Result<()> {
    let none = rustix::process::DumpableBehavior::NotDumpable;
    Ok(check("prctl", || "PR_SET_DUMPABLE, 0".into(), rustix::process::set_dumpable_behavior(none))?)
}

/// Starts a session of its own, with its terminal if it has one.
pub(super) fn session(process: &PreparedProcess) -> Result<()> {
    check("setsid", String::new, rustix::process::setsid())?;
    if process.terminal {
        let set = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin());
        check("ioctl", || "TIOCSCTTY".into(), set).context(Kind::System, || "cannot take the terminal".into())?;
    }
    Ok(())
}

/// Closes every descriptor but the standard streams and the socket to the parent: no destructor of another may run
/// afterwards. Not left to `execve`, which still sees them, so that a path of the image could lead through
/// `/proc/self/fd` to the host.
pub(super) fn close_others(sync: &ChildEnd) -> Result<()> {
    bryo_sys::fd::close_all_but(&[sync.0.as_fd()])
        .context(Kind::Confinement, || "cannot close the other descriptors".into())
}

/// Applies everything, up to and including the system call filter.
pub(super) fn apply(process: &PreparedProcess) -> Result<()> {
    keyring()?;
    for (resource, limit) in &process.rlimits {
        let set = rustix::process::setrlimit(*resource, *limit);
        check("setrlimit", || format!("{resource:?}, {limit:?}"), set).context(Kind::Confinement, || {
            "cannot set a limit; the caller's own hard limit cannot be exceeded".into()
        })?;
    }
    rustix::process::umask(Mode::from_raw_mode(process.umask));
    process.caps.drop_bounding()?;
    if process.no_new_privileges {
        check("prctl", || "PR_SET_NO_NEW_PRIVS".into(), rustix::thread::set_no_new_privs(true))
            .context(Kind::Confinement, || "cannot give up new privileges".into())?;
    } else {
        // Only with capabilities can a process be filtered that may still gain some; they go in the next steps.
        landlock::restrict(&process.manner)?;
        filter(process)?;
    }
    become_user(process)?;
    process.caps.apply()?;
    // A kernel that lets everything be dumped (`fs.suid_dumpable`) forgets it with every change of ids.
    undumpable()?;
    // The change of ids cleared it; a container must not outlive its parent because it changed its user.
    if !process.manner.detached {
        die_with_parent()?;
    }
    enter_directory(process)?;
    signals()?;
    if process.no_new_privileges {
        landlock::restrict(&process.manner)?;
        filter(process)?;
    }
    Ok(())
}

/// Takes on the authority of a process without what confines it further, its filter and Landlock.
pub(crate) fn identity(process: &PreparedProcess) -> Result<()> {
    keyring()?;
    process.caps.drop_bounding()?;
    check("prctl", || "PR_SET_NO_NEW_PRIVS".into(), rustix::thread::set_no_new_privs(true))
        .context(Kind::Confinement, || "cannot give up new privileges".into())?;
    become_user(process)?;
    process.caps.apply()?;
    undumpable()?;
    die_with_parent()?;
    signals()
}

/// Installs the system call filter, if there is one.
pub(crate) fn filter(process: &PreparedProcess) -> Result<()> {
    match &process.seccomp {
        Some(program) => bryo_sys::seccomp::install(&program.filters, program.flags)
            .context(Kind::Confinement, || "cannot install the system call filter".into()),
        None => Ok(()),
    }
}

/// Lets another process answer changes of owners. The filter stands beside the other one, and of two the kernel obeys
/// the stricter: what that one refuses is refused.
pub(super) fn emulate_ids(sync: &ChildEnd) -> Result<()> {
    let listener = Listener::install(&crate::seccomp::emulated_ids());
    let told = listener.and_then(|listener| sync.listener(&listener));
    told.context(Kind::Confinement, || "cannot have changes of owners answered".into())
}

/// The caller's keys stay with the caller. A kernel without keyrings has none to give away.
fn keyring() -> Result<()> {
    match bryo_sys::process::new_session_keyring() {
        Err(e) if e.errno() != Errno::NOSYS => {
            Err(Error::sys(Kind::Confinement, "cannot leave the caller's keyring", &e))
        }
        _ => Ok(()),
    }
}

fn become_user(process: &PreparedProcess) -> Result<()> {
    let what = || format!("cannot become user {}:{}", process.uid, process.gid);
    let groups: Vec<Gid> = process.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    if !process.manner.single_id {
        let set = rustix::thread::set_thread_groups(&groups);
        check("setgroups", || format!("{:?}", process.groups), set).context(Kind::Confinement, what)?;
    } else if !groups.is_empty() {
        return Err(Error::new(Kind::Confinement, "with a single id there are no supplementary groups"));
    }
    // Without this the change to another user would clear the capabilities that were asked for.
    if !process.caps.permitted.is_empty() {
        check("prctl", || "PR_SET_KEEPCAPS".into(), rustix::thread::set_keep_capabilities(true))?;
    }
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    check("setresgid", || process.gid.to_string(), rustix::thread::set_thread_res_gid(gid, gid, gid))
        .context(Kind::Confinement, what)?;
    check("setresuid", || process.uid.to_string(), rustix::thread::set_thread_res_uid(uid, uid, uid))
        .context(Kind::Confinement, what)
}

/// Enters the working directory as the run user, and makes sure that it is one (CVE-2024-21626).
fn enter_directory(process: &PreparedProcess) -> Result<()> {
    let what = || format!("working directory {}", process.cwd.display());
    check("chdir", || process.cwd.display().to_string(), rustix::process::chdir(&process.cwd))
        .context(Kind::WorkingDirectory, what)?;
    let cwd =
        check("getcwd", String::new, rustix::process::getcwd(Vec::new())).context(Kind::WorkingDirectory, what)?;
    if cwd.to_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(Error::new(Kind::WorkingDirectory, format!("{} lies outside the container", process.cwd.display())))
}

/// Gives the payload every signal unblocked and with its default action.
fn signals() -> Result<()> {
    bryo_sys::signal::reset_all();
    Ok(bryo_sys::signal::SignalSet::empty().block()?)
}
