// SPDX-License-Identifier: Apache-2.0
//! `host:`: this machine's own system as the root of a container, read-only, with nothing personal in it.
//!
//! An empty root in memory, with the system's directories bound in: programs, libraries, data, and `/etc`. What is
//! not listed is not there: no home, no `/root`, no `/var` but the package database, no `/run` and so no socket. In
//! `/etc`, what holds secrets or describes accounts is masked, although its modes keep nobody's hands off it already.

use std::path::{Path, PathBuf};

use bryo_launch::plan::{GeneratedFile, RootFs};
use oci_spec::runtime::Mount;

use super::mounts::{bind, new};
use super::{Input, Planned};
use crate::derive::Facts;
use crate::error::Result;

/// Directories that are shown when the host has them.
const SHOWN: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"];

/// More that is shown, deeper in the tree.
const SHOWN_BELOW: [&str; 4] = ["/nix/store", "/gnu/store", "/var/lib/dpkg", "/etc"];

/// What is hidden in `/etc`.
pub(super) const MASKED: [&str; 22] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/security/opasswd",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/pki/tls/private",
    "/etc/letsencrypt",
    "/etc/docker",
    "/etc/containers",
    "/etc/kubernetes",
    "/etc/wireguard",
    "/etc/NetworkManager/system-connections",
    "/etc/krb5.keytab",
    "/etc/cron.d",
];

/// What was found on the host: which of the directories are real, and which are links.
#[derive(Debug, Clone, Default)]
pub struct HostTree {
    links: Vec<(PathBuf, PathBuf)>,
    shown: Vec<PathBuf>,
}

impl HostTree {
    /// Looks at the host.
    pub fn probe() -> Self {
        let mut tree = Self::default();
        for path in SHOWN.iter().chain(&SHOWN_BELOW).map(PathBuf::from) {
            match std::fs::symlink_metadata(&path) {
                // `/bin` and its like, where everything has moved below `/usr`.
                Ok(found) if found.is_symlink() => {
                    tree.links.extend(std::fs::read_link(&path).ok().map(|to| (path, to)));
                }
                Ok(found) if found.is_dir() => tree.shown.push(path),
                _ => (),
            }
        }
        tree
    }

    /// Returns the root that [`mounts`] fills.
    pub fn root(&self, facts: &Facts) -> RootFs {
        let mut directories: Vec<(PathBuf, u32)> =
            ["/proc", "/sys", "/dev", "/run", "/var", "/home"].iter().map(|d| (PathBuf::from(d), 0o755)).collect();
        directories.extend(["/tmp", "/var/tmp"].iter().map(|d| (PathBuf::from(d), 0o1777)));
        directories.push((facts.home.clone(), 0o755));
        directories.extend(self.shown.iter().map(|d| (d.clone(), 0o755)));
        RootFs::Empty { links: self.links.clone(), directories }
    }
}

/// Binds the host's directories and puts memory where a program may want to write.
pub(super) fn mounts(input: &Input<'_>) -> Result<Vec<Mount>> {
    let RootFs::Empty { directories, .. } = &input.root else { return Ok(Vec::new()) };
    let mut mounts = Vec::new();
    for path in SHOWN.iter().chain(&SHOWN_BELOW) {
        if directories.iter().any(|(d, _)| d == Path::new(path)) {
            mounts.push(bind(path, path, ["rbind", "ro", "nosuid", "nodev"])?);
        }
    }
    let owner = [format!("uid={}", input.facts.uid), format!("gid={}", input.facts.gid)];
    let writable = |mode: &str| {
        let fixed = ["nosuid", "nodev"].map(str::to_owned).into_iter().chain([format!("mode={mode}")]);
        fixed.chain(owner.clone())
    };
    mounts.push(new("/tmp", "tmpfs", writable("1777"))?);
    mounts.push(new("/var/tmp", "tmpfs", writable("1777"))?);
    mounts.push(new("/run", "tmpfs", writable("0755"))?);
    mounts.push(new(&input.facts.home.to_string_lossy(), "tmpfs", writable("0700"))?);
    Ok(mounts)
}

/// Makes the account files: the system's own accounts, without any person's, and the run user.
pub fn account_files(planned: &mut Planned, facts: &Facts, passwd: &str, group: &str) {
    let system = |line: &&str| {
        let id = line.split(':').nth(2).and_then(|id| id.parse::<u32>().ok());
        id.is_some_and(|id| id < 1000 || id == 65534) && !line.starts_with(&format!("{}:", facts.name))
    };
    let own =
        format!("{}:x:{}:{}::{}:{}", facts.name, facts.uid, facts.gid, facts.home.display(), facts.shell.display());
    let users = passwd.lines().filter(system).filter(|l| field(l, 2) != Some(facts.uid));
    let groups = group.lines().filter(system).filter(|l| field(l, 2) != Some(facts.gid));
    let join = |lines: Vec<String>| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let users = join(users.map(str::to_owned).chain([own]).collect());
    // Members are people.
    let groups = groups.map(|l| l.rsplit_once(':').map_or(l.to_owned(), |(head, _)| format!("{head}:")));
    let groups = join(groups.chain([format!("{}:x:{}:", facts.name, facts.gid)]).collect());
    for (path, text) in [("/etc/passwd", users), ("/etc/group", groups)] {
        planned.plan.files.push(GeneratedFile { path: path.into(), content: text.into_bytes(), mode: 0o644 });
    }
}

fn field(line: &str, n: usize) -> Option<u32> {
    line.split(':').nth(n)?.parse().ok()
}
