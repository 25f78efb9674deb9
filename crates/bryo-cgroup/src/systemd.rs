// SPDX-License-Identifier: Apache-2.0
//! Asking systemd: for a scope of the caller's own, and for the way of a process into a unit. Source:
//! `org.freedesktop.systemd1(5)`, systemd's `CONTROL_GROUP_INTERFACE.md`.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use crate::bus::{Bus, refused};
use crate::error::{Error, Kind, Result};
use crate::wire::{Message, Method};

/// Tells whether systemd runs this machine. Source: `sd_booted(3)`.
pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Where the caller's manager listens. Not looked up in the environment, so that a job without a session finds it too.
fn socket() -> PathBuf {
    match rustix::process::geteuid() {
        uid if uid.is_root() => "/run/systemd/private".into(),
        uid => format!("/run/user/{}/systemd/private", uid.as_raw()).into(),
    }
}

fn connect<'a>(stop: &'a [BorrowedFd<'a>]) -> Result<Bus<'a>> {
    let path = socket();
    match Bus::connect(&path, stop) {
        Ok(bus) => bus,
        Err(_) if !is_running() => {
            Err(Error::new(Kind::NoPlace, "no control group is yours, and there is no systemd to ask for one"))
        }
        Err(e)
            if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied) =>
        {
            Err(Error::new(Kind::NoManager, format!("no systemd manager runs for you ({}: {e})", path.display())))
        }
        Err(e) => Err(refused(&format!("{}: {e}", path.display()))),
    }
}

fn manager<'a>(member: &'a str, signature: &'a str) -> Method<'a> {
    Method {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member,
        signature,
    }
}

/// A scope to be.
pub(crate) struct Scope<'a> {
    pub unit: &'a str,
    /// What systemd shows of it.
    pub description: &'a str,
    /// What counts beside other units, by the names of systemd's properties.
    pub shares: &'a [(&'static str, u64)],
}

/// Moves this process into a new scope whose content is the caller's own business.
pub(crate) fn start_scope(scope: &Scope<'_>, stop: &[BorrowedFd<'_>]) -> Result<()> {
    let Scope { unit, description, shares } = scope;
    let mut bus = connect(stop)?;
    let (answer, signals) = bus.call(manager("StartTransientUnit", "ssa(sv)a(sa(sv))"), |body| {
        body.string(unit);
        // One of that name is somebody else's.
        body.string("fail");
        body.array(8, |properties| {
            properties.property("Description", "s", |w| w.string(description));
            properties.property("Delegate", "b", |w| w.u32(1));
            for (name, value) in *shares {
                properties.property(name, "t", |w| w.u64(*value));
            }
            // Nothing is kept of one that failed.
            properties.property("CollectMode", "s", |w| w.string("inactive-or-failed"));
            properties.property("PIDs", "au", |w| w.array(4, |pids| pids.u32(std::process::id())));
        });
        // No further units.
        body.array(8, |_| ());
    })?;
    let job = answer.strings()?.into_iter().next().ok_or_else(|| refused("it names no job"))?;
    let mut signals = signals.into_iter();
    loop {
        let message = match signals.next() {
            Some(signal) => signal,
            None => bus.message()?,
        };
        match result_of(&message, &job).as_deref() {
            None => (),
            Some("done") => return Ok(()),
            Some(other) => return Err(refused(&format!("the start of {unit} ended as {other:?}"))),
        }
    }
}

/// Reads how a job ended from a signal, if it says so: its number, its path, its unit and its result.
fn result_of(message: &Message, job: &str) -> Option<String> {
    if message.member != "JobRemoved" {
        return None;
    }
    match message.strings().ok()?.as_slice() {
        [path, _, result] if path == job => Some(result.clone()),
        _ => None,
    }
}

/// Tells whether a unit's content is its own business. Managers of users do not mark its group before systemd 254.
pub(crate) fn is_delegated(unit: &str, stop: &[BorrowedFd<'_>]) -> Result<bool> {
    let mut bus = connect(stop)?;
    let (answer, _) = bus.call(manager("GetUnit", "s"), |body| body.string(unit))?;
    let object = answer.strings()?.into_iter().next().ok_or_else(|| refused("it does not know the unit"))?;
    let kind = if unit.ends_with(".scope") { "Scope" } else { "Service" };
    let get = Method { path: &object, interface: "org.freedesktop.DBus.Properties", ..manager("Get", "ss") };
    let (answer, _) = bus.call(get, |body| {
        body.string(&format!("org.freedesktop.systemd1.{kind}"));
        body.string("Delegate");
    })?;
    Ok(answer.truth()? == Some(true))
}

/// Moves this process into a group below a unit that is the caller's own business. For a way that the kernel does not
/// give the caller: the group above both is not the caller's.
pub(crate) fn attach(unit: &str, below: &str, stop: &[BorrowedFd<'_>]) -> Result<()> {
    connect(stop)?
        .call(manager("AttachProcessesToUnit", "ssau"), |body| {
            body.string(unit);
            body.string(below);
            body.array(4, |pids| pids.u32(std::process::id()));
        })
        .map(drop)
}

/// Splits the path of a group into the unit that it is in and the way from there. The innermost unit is meant, which
/// is of the caller's own manager.
pub(crate) fn unit_of(path: &Path) -> Option<(String, String)> {
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).filter(|name| *name != "/").collect();
    let at = names.iter().rposition(|name| name.ends_with(".scope") || name.ends_with(".service"))?;
    let below: String = names[at + 1..].iter().map(|name| format!("/{name}")).collect();
    Some((names[at].to_owned(), if below.is_empty() { "/".into() } else { below }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_through_its_innermost_unit() {
        let unit = |path: &str| unit_of(Path::new(path));
        let pair = |unit: &str, below: &str| Some((unit.to_owned(), below.to_owned()));
        let user = "/user.slice/user-1001.slice/user@1001.service";
        assert_eq!(unit(&format!("{user}/app.slice/bryo-1.scope/a/b")), pair("bryo-1.scope", "/a/b"));
        assert_eq!(unit(&format!("{user}/app.slice/x.service")), pair("x.service", "/"));
        assert_eq!(unit("/plain/group"), None);
    }
}
