// SPDX-License-Identifier: Apache-2.0
//! Writing maps into a new user namespace, directly or by the set-user-id helpers of the shadow suite.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bryo_sys::check;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Pid;

use crate::error::{Error, Kind, Result};
use crate::map::{IdMap, Mapping, render};
use crate::rung::Rung;

/// Where the helpers may be. Never taken from `PATH`: they run with privilege, and the path may come from anywhere.
const HELPER_DIRS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// The helpers that write maps of subordinate ids. Source: `newuidmap(1)`, `newgidmap(1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helpers {
    /// The absolute path of `newuidmap`.
    pub newuidmap: PathBuf,
    /// The absolute path of `newgidmap`.
    pub newgidmap: PathBuf,
}

impl Helpers {
    /// Looks for both helpers in the usual directories.
    pub fn find() -> Option<Self> {
        let find = |name| HELPER_DIRS.iter().map(|d| PathBuf::from(d).join(name)).find(|p| p.exists());
        Some(Self { newuidmap: find("newuidmap")?, newgidmap: find("newgidmap")? })
    }
}

/// How the maps of a namespace get written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Writer {
    /// By this process: one id that is the caller's own, or any when the caller is root.
    Direct,
    /// By this process, which has joined the namespace around it and has all capabilities there.
    Around,
    /// By the helpers.
    Helpers(Helpers),
}

impl Writer {
    /// Chooses the way that a map needs.
    ///
    /// # Errors
    ///
    /// [`Kind::MapRefused`] when the map needs helpers that are not there.
    pub fn for_map(map: &IdMap, helpers: Option<&Helpers>) -> Result<Self> {
        let as_root = rustix::process::geteuid().is_root();
        match (map.rung, helpers) {
            (Rung::Single | Rung::Root, _) => Ok(Self::Direct),
            _ if as_root => Ok(Self::Direct),
            (_, Some(helpers)) => Ok(Self::Helpers(helpers.clone())),
            (_, None) => Err(Error::new(Kind::MapRefused, "newuidmap and newgidmap are not installed")),
        }
    }

    /// Writes both maps of a process that waits in a new user namespace. Calls `meanwhile` when all that is left is to
    /// wait for others.
    pub(crate) fn write(&self, pid: Pid, map: &IdMap, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        match self {
            // Without privilege the kernel wants setgroups(2) given up before it takes a group map (CVE-2014-8989).
            Self::Direct => write_direct(pid, map, rustix::process::geteuid().is_root()).and_then(|()| meanwhile()),
            Self::Around => write_direct(pid, map, true).and_then(|()| meanwhile()),
            Self::Helpers(helpers) => {
                // Side by side: each spends its time in starting up.
                let uid = start(&helpers.newuidmap, pid, &map.uids)?;
                let gid = start(&helpers.newgidmap, pid, &map.gids)?;
                meanwhile()?;
                let uid = finish(uid, "newuidmap", &map.uids);
                let gid = finish(gid, "newgidmap", &map.gids);
                uid.and(gid)
            }
        }
    }
}

fn write_direct(pid: Pid, map: &IdMap, privileged: bool) -> Result<()> {
    let pid = pid.as_raw_nonzero();
    if !privileged {
        write_file(&format!("/proc/{pid}/setgroups"), "deny")?;
    }
    write_file(&format!("/proc/{pid}/uid_map"), &render(&map.uids))?;
    write_file(&format!("/proc/{pid}/gid_map"), &render(&map.gids))
}

fn write_file(path: &str, text: &str) -> Result<()> {
    let refused = |e| Error::caused(Kind::MapRefused, format!("cannot map ids {:?}", text.trim_end()), e);
    let fd = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let fd: OwnedFd = check("open", || path.into(), fd).map_err(refused)?;
    check("write", || format!("{path}, {text:?}"), rustix::io::write(fd, text.as_bytes())).map_err(refused)?;
    Ok(())
}

fn start(program: &std::path::Path, pid: Pid, mappings: &[Mapping]) -> Result<Child> {
    let numbers = mappings.iter().flat_map(|m| [m.inside.get(), m.host.get(), m.count]);
    Command::new(program)
        .arg(pid.as_raw_nonzero().to_string())
        .args(numbers.map(|n| n.to_string()))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| Error::new(Kind::MapRefused, format!("cannot start {}: {e}", program.display())))
}

fn finish(child: Child, name: &str, mappings: &[Mapping]) -> Result<()> {
    let failed =
        |why: String| Error::new(Kind::MapRefused, format!("{name} refused {:?}: {why}", render(mappings).trim_end()));
    let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", text.trim().escape_debug(), output.status)))
}
