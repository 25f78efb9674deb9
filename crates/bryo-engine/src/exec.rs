// SPDX-License-Identifier: Apache-2.0
//! `exec`: another process in a container that runs, as who the container is and confined as it is.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bryo_identity::InsideId;
use bryo_identity::map::IdMap;
use bryo_launch::enter::{Entry, enter};
use bryo_launch::plan::{Landlock, TcpPorts};
use bryo_launch::relay::{self, Caller};
use bryo_sys::check;
use bryo_sys::root::Root;
use oci_spec::runtime::{BoxBuilder, Capabilities, LinuxCapabilities, Process, Spec, UserBuilder};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Engine;
use crate::container::{Id, Record};
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::learned::Profile;
use crate::run::Hints;
use crate::users::{self, Accounts, User, Wanted};

/// What is to run, and how.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `name|uid[:group|gid]`; else the container's own user.
    pub user: Option<String>,
    /// `NAME=VALUE`, in order; later ones win.
    pub env: Vec<String>,
    /// Working directory, absolute; else the container's.
    pub workdir: Option<PathBuf>,
    /// Passes standard input on.
    pub interactive: bool,
    /// Gives the process a terminal.
    pub tty: bool,
    /// Leaves the process alone.
    pub detach: bool,
}

impl Engine {
    /// Runs a process in a container that runs, and returns its exit code (0 for one that was left alone), and what it said
    /// on a terminal that it was refused.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::UnknownUser`], and what keeps the process from running.
    pub fn exec(&self, record: &Record, options: &ExecOptions, caller: Caller<'_>) -> Result<(i32, Hints)> {
        record.refuse_paused()?;
        let target = self.payload(record)?;
        let ids = record.identity.map()?;
        let spec = spec(record, options, &ids, Some(caller))?;
        // Then what was read by number was the container's.
        self.process(record)?;
        // Before signals are kept: one that ends this process leaves nothing behind.
        let group = group(record)?;
        let signals = relay::signals();
        signals.block()?;
        let inbox = signals.descriptor()?;
        let entry = Entry {
            spec: &spec,
            ids: &ids,
            container: target.as_fd(),
            interactive: options.interactive,
            detached: options.detach,
            landlock: landlock(record),
            ports: ports(record),
            patience: None,
            group: group.as_ref().map(AsFd::as_fd),
        };
        let mut entered = enter(&entry).map_err(|e| self.not_entered(record, e))?;
        let run = Id::random();
        let tell = |action: &str| Event::of(record, action).with("execID", run.as_str());
        let command = options.command.join(" ");
        let started = ["exec_create", "exec_start"].map(|action| tell(&format!("{action}: {command}")));
        self.journal().write(&started);
        if options.detach {
            entered.leave();
            return Ok((0, Hints::default()));
        }
        let streams = entered.take_streams();
        let relayed = relay::Options {
            caller,
            interactive: options.interactive,
            proxy_signals: true,
            inbox: &inbox,
            asides: &[],
        };
        let seen = relay::run(entered.pidfd(), streams, &relayed, None)?;
        let code = entered.wait()?;
        self.journal().write(&[tell("exec_die").with("exitCode", code.to_string())]);
        Ok((code, seen.into()))
    }

    /// Says why a process could not enter: the container may have ended meanwhile.
    fn not_entered(&self, record: &Record, error: bryo_launch::Error) -> Error {
        let gone = error.errno() == Some(bryo_sys::Errno::SRCH.raw_os_error()) && self.process(record).is_err();
        if gone { Error::new(Kind::NotRunning, format!("container {} has ended", record.name)) } else { error.into() }
    }

    /// Opens a process of the container that has executed a program of it. Below a small init that is its child: the
    /// init itself is this very program, and lets nobody look at it.
    pub(crate) fn payload(&self, record: &Record) -> Result<OwnedFd> {
        let first = self.process(record)?;
        if !record.options.init {
            return Ok(first);
        }
        let child = || children(record.state.pid).first().copied().and_then(Pid::from_raw);
        let number = child();
        let opened = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
        // Asked again: then the number was the child's all the time, and that of its parent the container's.
        let not = || Error::new(Kind::NotRunning, format!("container {} is about to end", record.name));
        opened.filter(|_| number == child() && self.process(record).is_ok()).ok_or_else(not)
    }
}

/// Lists the children of a process of one thread.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|n| n.parse().ok()).collect()
}

/// Brings this process beside the container's control group, if it has one of its own, and returns the group.
pub(crate) fn group(record: &Record) -> Result<Option<OwnedFd>> {
    Ok(record.limits.cgroup.as_deref().map(|path| bryo_cgroup::enter(Path::new(path), &[])).transpose()?)
}

/// What confines the container's own process, and so this one: it is not started with less.
pub(crate) fn landlock(record: &Record) -> Landlock {
    if record.confinement.landlock > 0 { Landlock::Required } else { Landlock::Off }
}

/// The ports that the container may use.
pub(crate) fn ports(record: &Record) -> Option<TcpPorts> {
    record.options.profile.as_ref().and_then(Profile::tcp_ports)
}

/// Makes the container's spec that of the process.
pub(crate) fn spec(record: &Record, options: &ExecOptions, ids: &IdMap, caller: Option<Caller<'_>>) -> Result<Spec> {
    let mut spec = record.spec.clone();
    let missing = || Error::new(Kind::Corrupt, format!("the record of {} has no process", record.name));
    let mut process = spec.process().clone().ok_or_else(missing)?;
    if options.command.first().is_none_or(String::is_empty) {
        return Err(Error::new(Kind::NoCommand, "nothing to run: give a command after the container"));
    }
    let user = options.user.as_deref().map(|user| find_user(record, user)).transpose()?;
    if let Some(user) = &user {
        become_user(&mut process, user, ids)?;
    }
    let home = user.as_ref().map(|user| user.home.as_path());
    let env = environment(process.env().as_deref().unwrap_or_default(), options, home);
    process
        .set_args(Some(options.command.clone()))
        .set_env(Some(env))
        .set_terminal(Some(options.tty))
        .set_console_size(caller.and_then(|caller| console(options, caller)));
    if let Some(workdir) = &options.workdir {
        process.set_cwd(workdir.clone());
    }
    spec.set_process(Some(process));
    Ok(spec)
}

fn console(options: &ExecOptions, caller: Caller<'_>) -> Option<oci_spec::runtime::Box> {
    let (rows, columns) = relay::size_of(caller.stdin).or_else(|| relay::size_of(caller.stdout))?;
    let size = BoxBuilder::default().height(u64::from(rows)).width(u64::from(columns)).build().ok();
    size.filter(|_| options.tty)
}

fn environment(of_container: &[String], options: &ExecOptions, home: Option<&Path>) -> Vec<String> {
    let name = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let mut env = of_container.to_vec();
    let home = home.map(|home| format!("HOME={}", home.display()));
    let term = options.tty.then(|| "TERM=xterm".to_owned());
    for entry in term.into_iter().chain(home).chain(options.env.iter().cloned()) {
        match env.iter_mut().find(|old| name(old) == name(&entry)) {
            Some(old) => *old = entry,
            None => env.push(entry),
        }
    }
    env
}

/// Makes the process another user's, with no capability that the container's own bounding set has not.
fn become_user(process: &mut Process, user: &User, ids: &IdMap) -> Result<()> {
    let known = ids.host_uid(user.uid).is_some() && ids.host_gid(user.gid).is_some();
    if !known {
        let why = format!("user {}:{} does not exist in this container's map of ids", user.uid.get(), user.gid.get());
        return Err(Error::new(Kind::UnknownUser, why));
    }
    let (uid, same) = (user.uid.get(), process.user().uid() == user.uid.get());
    let groups = user.groups.iter().filter(|g| !ids.is_single() && ids.host_gid(**g).is_some());
    let groups: Vec<u32> = groups.copied().map(InsideId::get).collect();
    let inside = UserBuilder::default().uid(uid).gid(user.gid.get()).additional_gids(groups).build();
    process.set_user(inside.map_err(|e| Error::new(Kind::InvalidOption, e.to_string()))?);
    if same {
        return Ok(());
    }
    // Root inside has what the container may have at all; anybody else who is not its own user has nothing.
    let bounding = process.capabilities().as_ref().and_then(|c| c.bounding().clone()).unwrap_or_default();
    let held = if uid == 0 { bounding.clone() } else { Capabilities::default() };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(bounding))
        .set_permitted(Some(held.clone()))
        .set_effective(Some(held))
        .set_inheritable(Some(Capabilities::default()))
        .set_ambient(Some(Capabilities::default()));
    process.set_capabilities(Some(sets));
    Ok(())
}

/// Looks a user up among the accounts that the container has now, whatever they have become.
fn find_user(record: &Record, text: &str) -> Result<User> {
    users::resolve(&Wanted::decide(Some(text), None, false)?, &[], &accounts(record)?)
}

/// Reads the accounts that a container has now.
pub(crate) fn accounts(record: &Record) -> Result<Accounts> {
    /// Longer files of accounts are no files of accounts.
    const MOST: u64 = 1 << 20;
    let own = record.state.pid;
    // A small init lets nobody look at it, but the payload, which is the first that it has started, does.
    let pid = if record.options.init { children(own).first().copied().unwrap_or(own) } else { own };
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).map(Root::from_fd);
    let read = |name: &str| -> Result<Vec<u8>> {
        let root = check("open", || path.clone(), root.as_ref().map_err(|e| *e))?;
        // A pipe in its place would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(file) = root.open_at(Path::new(name), flags, Mode::empty()) else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(file), MOST), &mut bytes);
        read.map_err(|e| Error::io("cannot read", name.as_ref(), e))?;
        Ok(bytes)
    };
    // Numbers mean what they say, with or without an account.
    Ok(Accounts::parse(&read("/etc/passwd")?, &read("/etc/group")?))
}
