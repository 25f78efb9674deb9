// SPDX-License-Identifier: Apache-2.0
//! The control group of a container, from its making to its end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bryo_sys::Errno;
use oci_spec::runtime::LinuxResources;

use crate::base::{Base, SUPERVISOR, join};
use crate::error::{Error, Kind, Result};
use crate::resources::{Controller, Enforced, Setting, Settings, Value, parse_list};
use crate::systemd::Scope;
use crate::tree::Group;

/// What a container's group is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its name, which no other container has: `bryo-` and some digits.
    pub name: &'a str,
    /// What systemd shows of it.
    pub description: &'a str,
    /// The limits.
    pub resources: &'a LinuxResources,
    /// Nobody has asked for the limit of processes, so that it may be missing.
    pub pids_by_default: bool,
    /// When one of these can be read, the caller wants no more.
    pub stop: &'a [BorrowedFd<'a>],
}

/// A container's group. Dropping it removes it.
#[derive(Debug)]
pub struct Cgroup {
    base: Group,
    group: Group,
    enforced: Enforced,
}

impl Cgroup {
    /// Makes the group with its limits. This process is in the group beside it afterwards, and can bear a child in it.
    ///
    /// # Errors
    ///
    /// What keeps a limit from being enforced; nothing is left behind then.
    pub fn make(request: Request<'_>) -> Result<Self> {
        let mut settings = Settings::of(request.resources)?;
        let unit = format!("{}.scope", request.name);
        let shares = settings.shares();
        let scope = Scope { unit: &unit, description: request.description, shares: &shares };
        let base = Base::find(&scope, request.stop)?;
        if request.pids_by_default && base.describe()?.lacking.contains(&Controller::Pids) {
            settings.without(Controller::Pids);
        }
        base.prepare(&settings.controllers())?;
        // One that an earlier run could not remove.
        give_up(&base.group, request.name);
        let group = base.group.make(request.name)?;
        let mut made = Self { base: base.group, group, enforced: Enforced::default() };
        settings.0.iter().try_for_each(|setting| made.set(setting))?;
        if made.base.name() == unit {
            // In a scope of its own a container has nobody to share with; the scope has.
            settings
                .0
                .iter()
                .filter(|s| s.share().is_some())
                .try_for_each(|setting| made.compare(&made.base, setting))?;
        }
        made.enforced = Enforced::read(&made.group);
        Ok(made)
    }

    /// Writes a limit and reads it back.
    fn set(&self, setting: &Setting) -> Result<()> {
        let value = setting.value.text();
        let what = format!("cannot limit {}", setting.controller.limits());
        if !self.group.has(setting.file) {
            return self.missing(setting, &what);
        }
        self.group.write(setting.file, &value).map_err(|e| Error::caused(Kind::Refused, &what, e))?;
        self.compare(&self.group, setting)?;
        self.effective(setting, &what)
    }

    /// Looks whether a group has what is wanted.
    fn compare(&self, group: &Group, setting: &Setting) -> Result<()> {
        let shown = group.read(setting.file)?;
        if setting.value.is(&shown) {
            return Ok(());
        }
        let (limits, path) = (setting.controller.limits(), group.path().display());
        let (shown, value) = (shown.trim(), setting.value.text());
        let why = format!("cannot limit {limits}: {} of {path} has {shown:?} in place of {value:?}", setting.file);
        Err(Error::new(Kind::Refused, why))
    }

    /// Says what a file means that is not there although its controller is.
    fn missing(&self, setting: &Setting, what: &str) -> Result<()> {
        match (setting.file, &setting.value) {
            // No swap is used where there is none, and where it is not counted there is none to lift either.
            ("memory.swap.max", Value::Max) => Ok(()),
            ("memory.swap.max", _) if !has_swap() => Ok(()),
            ("memory.swap.max", _) => {
                Err(Error::new(Kind::NoSwap, format!("{what}: this kernel does not count what is swapped")))
            }
            (file, _) => Err(Error::new(Kind::NotInKernel, format!("{what}: this kernel has no {file}"))),
        }
    }

    /// Looks whether a choice of processors holds: the kernel takes the name of one that the groups above do not have.
    fn effective(&self, setting: &Setting, what: &str) -> Result<()> {
        let Value::List(list) = &setting.value else { return Ok(()) };
        let shown = self.group.read(&format!("{}.effective", setting.file))?;
        if parse_list(&shown) == parse_list(list) {
            return Ok(());
        }
        let why = format!("{what}: of {list} in {} you may use {:?}", setting.file, shown.trim());
        Err(Error::new(Kind::Refused, why))
    }

    /// Returns the directory, for a child to be born in it.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    /// Returns the path in the tree.
    pub fn path(&self) -> &Path {
        self.group.path()
    }

    /// Returns what the kernel said holds.
    pub fn enforced(&self) -> &Enforced {
        &self.enforced
    }

    /// Tells whether the kernel has killed a process in it because memory ran out.
    pub fn oom_killed(&self) -> bool {
        oom_kills(&self.group) > 0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What cannot be removed now is found by the next collection, by its name.
        give_up(&self.base, self.group.name());
    }
}

/// Returns how many processes the kernel has killed because memory ran out.
pub(crate) fn oom_kills(group: &Group) -> u64 {
    let events = group.read("memory.events").unwrap_or_default();
    let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    kills.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Tells whether the machine has memory to swap to.
fn has_swap() -> bool {
    std::fs::read_to_string("/proc/swaps").unwrap_or_default().lines().count() > 1
}

/// Brings this process beside a container's group, and returns the group for a child to be born in it.
///
/// # Errors
///
/// When the group is gone, or the way there is closed.
pub fn enter(path: &Path, stop: &[BorrowedFd<'_>]) -> Result<OwnedFd> {
    let group = Group::open(path)?;
    let base = group.parent()?.ok_or_else(|| Error::new(Kind::System, "a container is not in the tree's root"))?;
    join(&base, stop)?;
    Ok(group.into_directory())
}

/// Removes a container's group that nobody supervises any more; one that is not there is no failure, and what cannot
/// be removed stays.
pub fn remove(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str());
    if let (Some(name), Some(Ok(base))) = (name.filter(|name| is_container(name)), path.parent().map(Group::open)) {
        give_up(&base, name);
    }
}

/// Removes the groups of containers that are nobody's, where the caller has a place of its own that outlives them.
pub fn sweep(in_use: impl Fn(&str) -> bool) {
    let Some(base) = Base::of_caller() else { return };
    let Ok(entries) = rustix::fs::Dir::read_from(&base.group) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if is_container(name) && !in_use(name) {
            // A group with processes is not removed by the kernel.
            let _ = base.group.remove(name);
        }
    }
}

fn is_container(name: &str) -> bool {
    name.starts_with("bryo-") && name != SUPERVISOR
}

/// Removes a group as soon as its last process is reaped.
fn give_up(base: &Group, name: &str) {
    /// Whoever reaps what is orphaned takes a moment.
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        match base.remove(name) {
            Err(e) if e.errno() == Errno::BUSY => std::thread::sleep(Duration::from_millis(2)),
            // It is gone, or not the caller's.
            _ => return,
        }
    }
}
