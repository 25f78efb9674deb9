// SPDX-License-Identifier: Apache-2.0
//! The place where the caller may make groups: its own group where that is delegated, else a scope from systemd.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use bryo_sys::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::resources::Controller;
use crate::systemd::{self, Scope};
use crate::tree::{Group, own_path};

/// The group of whoever supervises containers, beside theirs: the kernel wants no processes where groups are.
pub(crate) const SUPERVISOR: &str = "bryo-supervisor";

/// A group that is the caller's own business, with this process in it or in its supervisors' group.
#[derive(Debug)]
pub(crate) struct Base {
    pub group: Group,
}

/// Where a caller's containers would have their groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The path in the tree.
    pub path: String,
    /// The controllers that it has, by the kernel's names.
    pub controllers: Vec<String>,
    /// The controllers that limits need and that it does not have.
    pub lacking: Vec<Controller>,
    /// Those of them that the kernel does not have either.
    pub unknown: Vec<Controller>,
}

impl Base {
    /// Finds the place. This process may be in another group afterwards.
    pub fn find(scope: &Scope<'_>, stop: &[BorrowedFd<'_>]) -> Result<Self> {
        if let Some(base) = Self::own(stop)? {
            return Ok(base);
        }
        systemd::start_scope(scope, stop)?;
        let group = Group::own()?;
        if group.name() != scope.unit || !group.is_writable() {
            let why = format!("systemd started {}, and this process is in {}", scope.unit, group.path().display());
            return Err(Error::new(Kind::Refused, why));
        }
        Ok(Self { group })
    }

    /// Returns the caller's own group where that is its business, or the one above where it supervises another already.
    fn own(stop: &[BorrowedFd<'_>]) -> Result<Option<Self>> {
        let own = Group::own()?;
        if own.name() == SUPERVISOR
            && let Some(group) = own.parent()?
        {
            // That group is only made where this was found out.
            return Ok(group.is_writable().then_some(Self { group }));
        }
        if !own.is_writable() {
            return Ok(None);
        }
        // Without systemd nobody else manages what the caller can write, as in a container that is given its groups.
        let given = own.is_marked_delegated()
            || !systemd::is_running()
            || match systemd::unit_of(own.path()) {
                Some((unit, below)) if below == "/" => systemd::is_delegated(&unit, stop)?,
                _ => false,
            };
        Ok(given.then_some(Self { group: own }))
    }

    /// Looks for the caller's own place as [`own`](Self::own) does, without an opinion on why there is none.
    pub fn of_caller() -> Option<Self> {
        Self::own(&[]).ok().flatten()
    }

    /// Says what the place has.
    pub fn describe(&self) -> Result<Place> {
        let controllers = self.group.controllers("cgroup.controllers")?;
        let lacks = |list: &[String], c: Controller| !list.iter().any(|name| name == c.name());
        let lacking: Vec<_> = Controller::ALL.into_iter().filter(|c| lacks(&controllers, *c)).collect();
        let of_kernel = Group::open("/".as_ref())?.controllers("cgroup.controllers")?;
        let unknown = lacking.iter().copied().filter(|c| lacks(&of_kernel, *c)).collect();
        Ok(Place { path: self.group.path().display().to_string(), controllers, lacking, unknown })
    }

    /// Makes the place fit for containers: supervisors in a group of their own, controllers switched on for those
    /// beside it.
    pub fn prepare(&self, needed: &BTreeSet<Controller>) -> Result<()> {
        let place = self.describe()?;
        let missing = |among: &[Controller]| needed.iter().copied().filter(|c| among.contains(c)).collect::<Vec<_>>();
        if let missing @ [_, ..] = missing(&place.unknown).as_slice() {
            return Err(lack(Kind::NotInKernel, missing, "which this kernel does not have"));
        }
        if let missing @ [_, ..] = missing(&place.lacking).as_slice() {
            return Err(lack(Kind::NotDelegated, missing, "which is not delegated to you"));
        }
        if !self.group.is_root() {
            self.move_aside()?;
        }
        // What is not asked for is wanted for the figures that it keeps; it is no loss.
        for controller in Controller::ALL.into_iter().filter(|c| !place.lacking.contains(c)) {
            match self.group.write("cgroup.subtree_control", &format!("+{}", controller.name())) {
                Err(error) if needed.contains(&controller) => {
                    let why = format!("cannot limit {}", controller.limits());
                    return Err(Error::caused(Kind::Refused, why, error));
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Puts every process of the place into the supervisors' group.
    fn move_aside(&self) -> Result<()> {
        /// Processes that are made meanwhile are met at the next look.
        const ATTEMPTS: u32 = 32;
        let supervisors = self.group.make(SUPERVISOR)?;
        for _ in 0..ATTEMPTS {
            let processes = self.group.read("cgroup.procs")?;
            if processes.trim().is_empty() {
                return Ok(());
            }
            for process in processes.lines() {
                match supervisors.write("cgroup.procs", process) {
                    // It has ended.
                    Ok(()) => (),
                    Err(e) if e.errno() == Errno::SRCH => (),
                    Err(e) => return Err(Error::caused(Kind::Refused, "cannot make room for a container", e)),
                }
            }
        }
        let path = self.group.path().display();
        Err(Error::new(Kind::Refused, format!("cannot make room for a container: {path} is never without a process")))
    }
}

fn lack(kind: Kind, missing: &[Controller], why: &str) -> Error {
    let limits: Vec<_> = missing.iter().map(|c| c.limits()).collect();
    let names: Vec<_> = missing.iter().map(|c| c.name()).collect();
    let (noun, why) = match names.len() {
        1 => ("controller", why.to_owned()),
        _ => ("controllers", why.replace("which is", "which are")),
    };
    let why = format!("cannot limit {}: it needs the {noun} {}, {why}", limits.join(" and "), names.join(" and "));
    Error::new(kind, why)
}

/// Finds out where the caller's containers would have their groups. This process may be in another group afterwards,
/// so that it is one for a child, which ends and leaves nothing behind.
///
/// # Errors
///
/// Why there is no such place.
pub fn survey() -> Result<Place> {
    let unit = format!("bryo-survey-{}.scope", std::process::id());
    let scope = Scope { unit: &unit, description: "bryo looks what it is given", shares: &[] };
    Base::find(&scope, &[])?.describe()
}

/// Brings this process where it can put a child into a container's group.
pub(crate) fn join(base: &Group, stop: &[BorrowedFd<'_>]) -> Result<()> {
    if own_path()?.starts_with(base.path()) {
        return Ok(());
    }
    let supervisors = base.child(SUPERVISOR)?;
    let direct = supervisors.write("cgroup.procs", "0");
    match (direct, systemd::unit_of(supervisors.path())) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some((unit, below))) => systemd::attach(&unit, &below, stop),
        (Err(error), None) => Err(Error::caused(Kind::Refused, "cannot join the container's control group", error)),
    }
}
