// SPDX-License-Identifier: Apache-2.0
//! Trying things out in children: what the kernel does is the only answer that counts.
//!
//! Files in `/proc/sys` say what should be allowed; security modules, filters of surrounding containers and file
//! systems say no later, each in its own place. So a child does what a container's start does, and reports the step
//! that failed. It changes nothing that outlives it, but for a scratch directory that is removed again.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bryo_identity::map::{IdMap, RunIds};
use bryo_identity::rung::{Host, Rung};
use bryo_identity::userns::{self, Inside, Request};
use bryo_launch::overlay::Overlay;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use bryo_sys::mount::{Attr, NewFs, clone_tree, set_idmap};
use bryo_sys::{Errno, check};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::pipe::PipeFlags;

/// How a step failed.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// The step.
    pub step: Step,
    /// What the kernel answered, if it was the kernel.
    pub errno: Option<Errno>,
    /// The failure in words.
    pub message: String,
}

/// The steps of the trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Making the namespaces.
    Namespace,
    /// Writing the map.
    Map,
    /// Becoming root inside.
    Become,
    /// Taking the mounts out of the host's sight.
    Private,
    /// Mounting a file system in memory.
    Tmpfs,
    /// Mounting a new `/proc`.
    Proc,
    /// Making the directories of an overlay.
    Directories,
    /// Mounting an overlay.
    Overlay,
    /// Changing files in the overlay.
    Change,
    /// Mapping the ids of a mount.
    Idmap,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Namespace,
        Self::Map,
        Self::Become,
        Self::Private,
        Self::Tmpfs,
        Self::Proc,
        Self::Directories,
        Self::Overlay,
        Self::Change,
        Self::Idmap,
    ];

    fn failed(self, error: &bryo_sys::Error) -> Failed {
        Failed { step: self, errno: Some(error.errno()), message: error.to_string() }
    }
}

type Tried = Result<(), Failed>;

/// Makes all namespaces with one id mapped and mounts in them, which needs no helper.
pub(super) fn mounts(host: &Host) -> Tried {
    let map = IdMap::single(host.caller, RunIds::ROOT);
    let all =
        Namespaces::MOUNT | Namespaces::PID | Namespaces::NET | Namespaces::IPC | Namespaces::UTS | Namespaces::CGROUP;
    in_child(Request { map: &map, helpers: None, namespaces: all }, |inside| {
        entered(&inside)?;
        // The one call that is mount(2)'s own, of which security modules know.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        check("mount", || "/, MS_REC|MS_PRIVATE".into(), rustix::mount::mount_change("/", private))
            .map_err(|e| Step::Private.failed(&e))?;
        mount("tmpfs").map_err(|e| Step::Tmpfs.failed(&e))?;
        mount("proc").map_err(|e| Step::Proc.failed(&e))
    })
}

/// Makes a user namespace with the map that containers get.
pub(super) fn map(host: &Host, map: &IdMap) -> Tried {
    let request = Request { map, helpers: host.helpers.as_ref(), namespaces: Namespaces::empty() };
    in_child(request, |inside| entered(&inside))
}

/// Mounts an overlay below a directory and removes a file in it, as a container does.
pub(super) fn overlay(host: &Host, map: &IdMap, below: &Path) -> Tried {
    let scratch = below.join(format!(".bryo-doctor-{}", std::process::id()));
    let made = rustix::fs::mkdir(&scratch, Mode::from_raw_mode(0o777))
        // The umask must not cut it: it is a subordinate id that writes here.
        .and_then(|()| rustix::fs::chmod(&scratch, Mode::from_raw_mode(0o777)));
    check("mkdir", || scratch.display().to_string(), made).map_err(|e| Step::Directories.failed(&e))?;
    let request = Request { map, helpers: host.helpers.as_ref(), namespaces: Namespaces::MOUNT };
    let tried = in_child(request, |inside| {
        // Before the change of ids: only the caller can come here.
        let scratch = open(CWD, &scratch).map_err(|e| Step::Directories.failed(&e))?;
        entered(&inside)?;
        let tried = overlay_in(&scratch);
        // Whatever stays behind here makes the removal below fail, and is found again by name.
        let _ = bryo_sys::tree::remove_content(&scratch);
        tried
    });
    // As above: an empty directory with a telling name is no harm.
    let _ = rustix::fs::rmdir(&scratch);
    tried
}

fn overlay_in(scratch: &OwnedFd) -> Tried {
    let directory = |name: &str| -> bryo_sys::Result<OwnedFd> {
        check("mkdirat", || name.into(), rustix::fs::mkdirat(scratch, name, Mode::from_raw_mode(0o755)))?;
        open(scratch, name)
    };
    let failed = |e: bryo_sys::Error| Step::Directories.failed(&e);
    let (lower, upper, work) =
        (directory("lower").map_err(failed)?, directory("upper").map_err(failed)?, directory("work").map_err(failed)?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&lower, "file", flags, Mode::from_raw_mode(0o644));
    check("openat", || "file".into(), file).map_err(failed)?;
    let mounted = Overlay { lowers: &[lower], upper: Some((upper, work)), volatile: true }.mount(Attr::NODEV);
    let mounted = mounted.map_err(|e| Step::Overlay.failed(&e))?;
    // A removal leaves a device file in the upper layer, which is where file systems and filters object.
    let removed = rustix::fs::unlinkat(&mounted, "file", rustix::fs::AtFlags::empty());
    check("unlinkat", || "file".into(), removed).map_err(|e| Step::Change.failed(&e))
}

/// Maps the ids of a mount of a directory, as root's containers need it.
pub(super) fn idmapped(host: &Host, below: &Path) -> Tried {
    let failed = |e: bryo_sys::Error| Step::Idmap.failed(&e);
    let maps = host.slot(0, RunIds::NONROOT).and_then(|from| Ok(from.translation(&host.slot(1, RunIds::NONROOT)?)));
    let map = maps.map_err(|e| identity(Step::Map, &e))?;
    let request = Request { map: &map, helpers: None, namespaces: Namespaces::empty() };
    // The process only holds the namespace, and ends by the drop.
    let holder = userns::spawn(request, |_| {
        loop {
            std::thread::park();
        }
    });
    let holder = holder.map_err(|e| identity(Step::Map, &e))?;
    let path = format!("/proc/{}/ns/user", holder.pid().as_raw_nonzero());
    let namespace = rustix::fs::openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let namespace = check("open", || path, namespace).map_err(failed)?;
    let tree = clone_tree(CWD, &below.to_string_lossy(), false).map_err(failed)?;
    set_idmap(&tree, &namespace).map_err(failed)
}

/// Looks for the place where containers would have their control groups. The child may be moved there; with its end the
/// place is gone again.
pub(super) fn group() -> Result<bryo_cgroup::Place, (bryo_cgroup::Kind, String)> {
    let lost = |why: String| (bryo_cgroup::Kind::System, why);
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (read, write) = check("pipe2", String::new, pipe).map_err(|e| lost(e.to_string()))?;
    match fork_into(Namespaces::empty()).map_err(|e| lost(e.to_string()))? {
        Fork::Child => {
            let found = bryo_cgroup::survey().map_err(|e| (e.kind(), e.to_string()));
            let report = serde_json::to_vec(&found).unwrap_or_default();
            // Should the report not get through, it is missed.
            let _ = rustix::io::write(&write, &report);
            exit_now(0)
        }
        Fork::Parent { pid, pidfd } => {
            drop(write);
            let child = userns::Child::adopt(pid, pidfd);
            let mut report = Vec::new();
            let read = std::io::Read::read_to_end(&mut std::fs::File::from(read), &mut report);
            child.wait().map_err(|e| lost(e.to_string()))?;
            read.map_err(|e| lost(e.to_string()))?;
            serde_json::from_slice(&report).unwrap_or_else(|_| Err(lost("the trial said nothing".into())))
        }
    }
}

/// Finds the directory in which a store is or would be made.
pub(super) fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/")).to_path_buf()
}

fn mount(kind: &'static str) -> bryo_sys::Result<()> {
    NewFs::open(kind)?.mount(Attr::NOSUID | Attr::NODEV | Attr::NOEXEC).map(drop)
}

fn open(dir: impl std::os::fd::AsFd, name: impl AsRef<Path>) -> bryo_sys::Result<OwnedFd> {
    let name = name.as_ref();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    check("openat", || name.display().to_string(), rustix::fs::openat(dir, name, flags, Mode::empty()))
}

fn entered(inside: &Inside) -> Tried {
    inside.become_root().map_err(|e| identity(Step::Become, &e))
}

fn identity(step: Step, error: &bryo_identity::Error) -> Failed {
    let step = match error.kind() {
        bryo_identity::Kind::NoUserNamespace => Step::Namespace,
        bryo_identity::Kind::MapRefused => Step::Map,
        _ => step,
    };
    Failed { step, errno: error.errno(), message: error.to_string() }
}

/// Runs a trial in a child and brings its failure home.
fn in_child(request: Request<'_>, body: impl FnOnce(Inside) -> Tried) -> Tried {
    let pipe = rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let (read, write) = check("pipe2", String::new, pipe).map_err(|e| Step::Namespace.failed(&e))?;
    let child = userns::spawn(request, |inside| match body(inside) {
        Ok(()) => 0,
        Err(failed) => {
            // Should the report not get through, the exit code still tells that there was one.
            let _ = rustix::io::write(&write, &encode(&failed));
            1
        }
    });
    let child = child.map_err(|e| identity(Step::Namespace, &e))?;
    drop(write);
    let code = child.wait().map_err(|e| identity(Step::Namespace, &e))?;
    if code == 0 {
        return Ok(());
    }
    let mut report = [0; 1024];
    let n = rustix::io::retry_on_intr(|| rustix::io::read(&read, &mut report)).unwrap_or(0);
    let lost = || Failed { step: Step::Namespace, errno: None, message: format!("the trial ended with {code}") };
    Err(decode(&report[..n]).unwrap_or_else(lost))
}

fn encode(failed: &Failed) -> Vec<u8> {
    let step = Step::ALL.iter().position(|s| *s == failed.step).unwrap_or(0);
    let errno = failed.errno.map_or(0, Errno::raw_os_error);
    let mut text = format!("{step} {errno} {}", failed.message).into_bytes();
    text.truncate(1024);
    text
}

fn decode(report: &[u8]) -> Option<Failed> {
    let text = String::from_utf8_lossy(report);
    let mut parts = text.splitn(3, ' ');
    let step = *Step::ALL.get(parts.next()?.parse::<usize>().ok()?)?;
    let errno = parts.next()?.parse::<i32>().ok()?;
    let errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
    Some(Failed { step, errno, message: parts.next()?.to_owned() })
}

/// Returns the map that containers get on this host without further words.
pub(super) fn default_map(host: &Host) -> bryo_identity::Result<IdMap> {
    match host.rung() {
        Rung::Root => host.slot(0, RunIds::NONROOT),
        rung => host.map(rung, RunIds::NONROOT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_home_whole() {
        for step in Step::ALL {
            let sent = Failed { step, errno: Some(Errno::PERM), message: "mount(a, b): no".into() };
            let got = decode(&encode(&sent)).unwrap();
            assert_eq!((got.step, got.errno, got.message), (sent.step, sent.errno, sent.message));
        }
        assert!(decode(b"").is_none() && decode(b"99 0 x").is_none());
    }
}
