// SPDX-License-Identifier: Apache-2.0
//! The mounts of a container: those every one has, and those that were asked for.

use bryo_identity::InsideId;
use bryo_launch::plan::{RootFs, Volume};
use oci_spec::runtime::{Mount, MountBuilder};

use super::{Input, absolute, volumes};
use crate::error::{Error, Kind, Result};
use crate::options::Source;

/// The most that `/dev/shm` holds when nobody says otherwise. Source: Docker's `--shm-size`.
const SHM: u64 = 64 << 20;

/// The group `tty`, which terminals belong to in every distribution.
const TTY: InsideId = match InsideId::new(5) {
    Some(id) => id,
    None => InsideId::ROOT,
};

pub(super) fn of(input: &Input<'_>) -> Result<(Vec<Mount>, Vec<Volume>)> {
    let mut mounts = kernel(input)?;
    if let RootFs::Empty { .. } = input.root {
        mounts.extend(super::host::mounts(input)?);
    }
    let mut volumes = volumes(input);
    for asked in outermost_first(&input.options.mounts) {
        visible(asked, &volumes)?;
        mounts.extend(asked_for(asked)?);
    }
    if let Some(profile) = &input.options.profile {
        profile.narrow_mounts(&mut mounts, &mut volumes);
    }
    Ok((mounts, volumes))
}

/// Orders mounts so that none hides another, whatever the order on the command line, as Docker does.
fn outermost_first(asked: &[crate::options::Mount]) -> Vec<&crate::options::Mount> {
    let mut sorted: Vec<_> = asked.iter().collect();
    sorted.sort_by_key(|mount| mount.target.components().count());
    sorted
}

/// Volumes come last, after the image's content below them was looked at; what lies in one would be hidden by it.
fn visible(asked: &crate::options::Mount, volumes: &[Volume]) -> Result<()> {
    let within = |v: &&Volume| asked.target.starts_with(&v.target) && asked.source.volume().is_none();
    match volumes.iter().find(within) {
        None => Ok(()),
        Some(volume) => {
            let (inner, outer) = (asked.target.display(), volume.target.display());
            let why = format!("cannot mount on {inner}: the volume on {outer} would hide it; mount it elsewhere");
            Err(Error::new(Kind::Unsupported, why))
        }
    }
}

/// What the kernel shows, fresh for this container.
fn kernel(input: &Input<'_>) -> Result<Vec<Mount>> {
    // A group that is not in the map cannot own a terminal; the kernel then takes the opener's.
    let tty = input.ids.host_gid(TTY).map(|_| format!("gid={TTY}"));
    let pts =
        ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"].map(str::to_owned).into_iter().chain(tty);
    let shm = format!("size={}", input.options.shm_size.unwrap_or(SHM));
    let mut mounts = vec![
        new("/proc", "proc", ["nosuid", "nodev", "noexec"])?,
        new("/dev", "tmpfs", ["nosuid", "noexec", "mode=0755", "size=64k"])?,
        new("/dev/pts", "devpts", pts)?,
        new("/dev/shm", "tmpfs", ["nosuid", "nodev", "noexec", "mode=1777", &shm])?,
        new("/dev/mqueue", "mqueue", ["nosuid", "nodev", "noexec"])?,
    ];
    if !input.network.is_own() {
        // The kernel makes a new one only for the owner of the network namespace that it shows.
        mounts.push(bind("/sys", "/sys", ["rbind", "ro", "nosuid", "nodev", "noexec"])?);
    } else {
        mounts.push(new("/sys", "sysfs", ["ro", "nosuid", "nodev", "noexec"])?);
        if input.host.unified_cgroup {
            mounts.push(new("/sys/fs/cgroup", "cgroup2", ["ro", "nosuid", "nodev", "noexec"])?);
        }
    }
    Ok(mounts)
}

fn asked_for(asked: &crate::options::Mount) -> Result<Option<Mount>> {
    let read_only = asked.read_only.then_some("ro");
    let target = absolute(&asked.target);
    let target = target.to_string_lossy();
    match &asked.source {
        Source::Volume(_) | Source::Anonymous(_) => Ok(None),
        Source::Bind(source) => {
            let options = ["rbind", "nosuid", "nodev"].into_iter().chain(read_only);
            bind(&target, &source.to_string_lossy(), options).map(Some)
        }
        Source::Tmpfs { size, mode, exec } => {
            let mut options =
                vec!["nosuid".to_owned(), "nodev".to_owned(), format!("mode={:04o}", mode.unwrap_or(0o1777))];
            options.extend(size.map(|s| format!("size={s}")));
            options.extend((!exec).then(|| "noexec".to_owned()));
            options.extend(read_only.map(str::to_owned));
            new(&target, "tmpfs", options).map(Some)
        }
    }
}

/// A new file system.
pub(super) fn new<O: Into<String>>(target: &str, kind: &str, options: impl IntoIterator<Item = O>) -> Result<Mount> {
    let options: Vec<String> = options.into_iter().map(Into::into).collect();
    let mount = MountBuilder::default().destination(target).typ(kind).source(kind).options(options);
    mount.build().map_err(|e| Error::new(Kind::InvalidOption, format!("mount on {target}: {e}")))
}

/// A file or directory of the host.
pub(super) fn bind<O: Into<String>>(target: &str, source: &str, options: impl IntoIterator<Item = O>) -> Result<Mount> {
    let options: Vec<String> = options.into_iter().map(Into::into).collect();
    let mount = MountBuilder::default().destination(target).typ("bind").source(source).options(options);
    mount.build().map_err(|e| Error::new(Kind::InvalidOption, format!("mount on {target}: {e}")))
}
