// SPDX-License-Identifier: Apache-2.0
//! Which directories are state, and which are the system's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::tree::Tree;

/// Directories of the system, with all that is below them. What stands in `/usr` is the image's program.
const SYSTEM: [&str; 12] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/boot", "/proc", "/sys", "/dev"];

/// Directories that are no state themselves, though what is below them may be.
const PARENTS: [&str; 4] = ["/", "/opt", "/home", "/mnt"];

/// Below these of the system, images keep programs of their own with their data.
const OWN: [&str; 2] = ["/usr/src", "/usr/local"];

/// What belongs to the system below those, all the same. Source: Filesystem Hierarchy Standard 3.0, 4.9.
const LOCAL: [&str; 11] = [
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/games",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/libexec",
    "/usr/local/man",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/local/src",
];

/// What package managers and their scripts know: whoever can write there decides what the next `apt` of root installs.
pub const PACKAGES: [&str; 21] = [
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/rpm",
    "/var/lib/rpm-state",
    "/var/lib/dnf",
    "/var/lib/yum",
    "/var/lib/zypp",
    "/var/lib/pacman",
    "/var/lib/apk",
    "/var/lib/ucf",
    "/var/lib/pam",
    "/var/lib/systemd/deb-systemd-helper-enabled",
    "/var/backups",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/cache/ldconfig",
    "/var/cache/apk",
    "/var/cache/dnf",
    "/var/cache/yum",
    "/var/cache/zypp",
    "/var/db/pkg",
];

/// What is there to be read, what the machine keeps about itself, and what only root's own programs write: in an image
/// that is hardened it stays root's.
pub const KEPT: [&str; 33] = [
    "/srv",
    "/var/www",
    "/var/mail",
    "/var/spool/mail",
    "/var/spool/cron",
    "/var/spool/anacron",
    "/var/local",
    "/var/opt",
    "/var/games",
    "/var/empty",
    "/var/crash",
    "/var/db/sudo",
    "/var/lib/sudo",
    "/var/lib/systemd",
    "/var/lib/dbus",
    "/var/lib/misc",
    "/var/lib/polkit-1",
    "/var/lib/python",
    "/var/lib/logrotate",
    "/var/lib/initramfs-tools",
    "/var/lib/private",
    "/var/cache/private",
    "/var/log/private",
    "/var/log/journal",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/log/faillog",
    "/var/log/apt",
    "/var/log/dpkg.log",
    "/var/log/alternatives.log",
    "/var/log/bootstrap.log",
    "/var/log/fontconfig.log",
];

/// Holds both what package managers know and state of services, so that they are taken apart.
const MIXED: [&str; 3] = ["/var/lib", "/var/cache", "/var/db"];

/// Hold directories of others, and services make new ones in them.
pub(super) const SHARED: [&str; 4] = ["/var", "/var/lib", "/var/cache", "/var/db"];

/// Tells whether a real path is a directory of the system, or below one.
pub(super) fn is_system(path: &Path) -> bool {
    let local = LOCAL.iter().any(|local| path.starts_with(local));
    let own = !local && OWN.iter().any(|own| path.starts_with(own) && path != Path::new(own));
    PARENTS.iter().any(|p| path == Path::new(p)) || (!own && SYSTEM.iter().any(|s| path.starts_with(s)))
}

/// Tells whether a real path of a declared volume is one that must stay the system's. Some images keep a volume in
/// `/etc` or `/usr`; that is their word, but not for the directories that hold the programs.
pub(super) fn is_core(path: &Path) -> bool {
    const WHOLE: [&str; 12] = [
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/boot",
        "/proc",
        "/sys",
        "/dev",
        "/usr/bin",
        "/usr/sbin",
    ];
    const ITSELF: [&str; 9] = [
        "/",
        "/usr",
        "/etc",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/usr/local/lib",
    ];
    WHOLE.iter().any(|s| path.starts_with(s)) || ITSELF.iter().any(|s| path == Path::new(s))
}

/// What is kept in one image.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// What is kept, by its own path and by its real one.
    pub paths: BTreeSet<PathBuf>,
    /// The directories that hold some of it.
    pub above: BTreeSet<PathBuf>,
}

impl Kept {
    /// Finds it.
    pub fn of(tree: &Tree) -> Self {
        let mut kept = Self::default();
        for path in KEPT.map(Path::new) {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Ok(own) = tree.real(parent).map(|parent| parent.path.join(name)) else { continue };
            if !matches!(tree.look(&own), Ok(Some(_))) {
                continue;
            }
            let real = tree.real(path).map(|real| real.path).unwrap_or_else(|_| own.clone());
            let above = [&own, &real].into_iter().flat_map(|path| path.ancestors().skip(1));
            kept.above.extend(above.filter(|up| up.parent().is_some()).map(Path::to_owned));
            kept.paths.extend([own, real]);
        }
        kept
    }
}

/// Returns the real paths of the directories that package managers keep.
pub(super) fn packages(tree: &Tree) -> BTreeSet<PathBuf> {
    PACKAGES.iter().filter_map(|path| Some(tree.real(Path::new(path)).ok()?.path)).collect()
}

/// Returns the directories below `/var` that services write to: all but those of package managers.
pub(super) fn variable(tree: &Tree) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in tree.directories(Path::new("/var")) {
        if MIXED.iter().any(|mixed| name == Path::new(mixed)) {
            found.extend(tree.directories(&name));
        } else {
            found.push(name);
        }
    }
    let packages = packages(tree);
    found.retain(|path| !packages.contains(path));
    found
}

/// Takes out what lies in another one, and sorts.
pub(super) fn outermost(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    // In this order a directory comes before all that is in it.
    for path in paths.into_iter().collect::<BTreeSet<_>>() {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_no_state() {
        for path in [
            "/",
            "/usr",
            "/usr/lib/x",
            "/bin",
            "/etc/ssl",
            "/proc/1",
            "/opt",
            "/home",
            "/usr/src",
            "/usr/local",
            "/usr/local/lib/x",
        ] {
            assert!(is_system(Path::new(path)), "{path}");
        }
        for path in
            ["/var", "/srv", "/opt/app", "/usr/src/app", "/usr/local/tomcat", "/app", "/binary", "/home/me", "/data"]
        {
            assert!(!is_system(Path::new(path)), "{path}");
        }
        for path in ["/", "/usr/bin", "/usr/bin/x", "/etc", "/lib/x", "/dev/shm", "/usr/local"] {
            assert!(is_core(Path::new(path)), "{path}");
        }
        for path in ["/etc/nginx", "/usr/share/html", "/usr/local/data", "/data", "/var"] {
            assert!(!is_core(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn no_state_lies_in_another() {
        let paths = ["/srv/a", "/var/tmp", "/srv", "/var", "/srv-b", "/srv/a/b"].map(PathBuf::from);
        assert_eq!(outermost(paths), ["/srv", "/srv-b", "/var"].map(PathBuf::from));
    }
}
