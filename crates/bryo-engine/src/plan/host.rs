// SPDX-License-Identifier: Apache-2.0
//! `host:`: this machine's own system as the root of a container, read-only, with nothing personal in it.
//!
//! An empty root in memory, with the system's directories bound in: programs, libraries, data, and `/etc`. What is
//! not listed is not there: no home, no `/root`, no `/var` but the package database, no `/run` and so no socket. In
//! `/etc`, what holds secrets or describes accounts is masked, although its modes keep nobody's hands off it already.

use std::path::{Component, Path, PathBuf};

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

    /// Returns the root that `mounts` fills.
    pub fn root(&self, facts: &Facts) -> RootFs {
        let mut directories: Vec<(PathBuf, u32)> =
            ["/proc", "/sys", "/dev", "/run", "/var", "/home"].iter().map(|d| (PathBuf::from(d), 0o755)).collect();
        directories.extend(["/tmp", "/var/tmp"].iter().map(|d| (PathBuf::from(d), 0o1777)));
        directories.extend(own_home(facts).map(|home| (home.to_owned(), 0o755)));
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
        let no_exec = (!input.options.exec_state).then(|| "noexec".to_owned());
        let fixed = ["nosuid", "nodev"].map(str::to_owned).into_iter().chain(no_exec).chain([format!("mode={mode}")]);
        fixed.chain(owner.clone())
    };
    mounts.push(new("/tmp", "tmpfs", writable("1777"))?);
    mounts.push(new("/var/tmp", "tmpfs", writable("1777"))?);
    mounts.push(new("/run", "tmpfs", writable("0755"))?);
    if let Some(home) = own_home(input.facts) {
        mounts.push(new(&home.to_string_lossy(), "tmpfs", writable("0700"))?);
    }
    Ok(mounts)
}

/// Returns the home, unless memory there would hide what is shown: accounts of the system live in `/`, `/bin`, `/dev`.
fn own_home(facts: &Facts) -> Option<&Path> {
    let home = facts.home.as_path();
    let taken = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];
    let shown = SHOWN.iter().chain(&SHOWN_BELOW).chain(&taken).map(Path::new);
    let apart = |other: &Path| !home.starts_with(other) && !other.starts_with(home);
    // Debian's word for "has no home".
    let own = home.is_absolute() && home != Path::new("/nonexistent") && shown.into_iter().all(apart);
    own.then_some(home)
}

/// Makes the account files: the system's own accounts, without any person's, and the run user. Then puts every
/// generated file where the host's own links lead, since `/etc` is shown as it is.
pub fn account_files(planned: &mut Planned, facts: &Facts, passwd: &str, group: &str) {
    let own =
        format!("{}:x:{}:{}::{}:{}", facts.name, facts.uid, facts.gid, facts.home.display(), facts.shell.display());
    let users = system_lines(passwd, &facts.name, facts.uid).into_iter();
    let groups = system_lines(group, &facts.name, facts.gid).into_iter();
    let join = |lines: Vec<String>| lines.iter().map(|l| format!("{l}\n")).collect::<String>();
    let users = join(users.map(str::to_owned).chain([own]).collect());
    // Members are people.
    let groups = groups.map(|l| l.rsplit_once(':').map_or(l.to_owned(), |(head, _)| format!("{head}:")));
    let groups = join(groups.chain([format!("{}:x:{}:", facts.name, facts.gid)]).collect());
    for (path, text) in [("/etc/passwd", users), ("/etc/group", groups)] {
        planned.plan.files.push(GeneratedFile {
            path: path.into(),
            content: text.into_bytes(),
            mode: 0o644,
            owner: (0, 0),
        });
    }
    settle(&mut planned.plan.files, found);
}

/// What is at a path of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Nothing,
    Link(PathBuf),
    Other,
}

fn found(path: &Path) -> Found {
    match std::fs::symlink_metadata(path) {
        Ok(data) if data.is_symlink() => std::fs::read_link(path).map_or(Found::Nothing, Found::Link),
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    }
}

/// Moves each file to where the links at its place lead, which may be a place that is not shown, such as the `/run` of
/// a resolver service. Where the host has nothing, a read-only `/etc` has no place for a file either.
fn settle(files: &mut Vec<GeneratedFile>, look: impl Fn(&Path) -> Found) {
    /// The kernel's own limit on links in a path, `MAXSYMLINKS`.
    const LINKS_MAX: usize = 40;
    let shown = |path: &Path| SHOWN.iter().chain(&SHOWN_BELOW).any(|dir| path.starts_with(dir));
    let place = |path: &Path| {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            match look(&path) {
                _ if !shown(&path) => return Some(path),
                Found::Other => return Some(path),
                Found::Nothing => return None,
                Found::Link(to) => path = lexical(&path.parent().unwrap_or(Path::new("/")).join(to)),
            }
        }
        None
    };
    *files = files.drain(..).filter_map(|file| Some(GeneratedFile { path: place(&file.path)?, ..file })).collect();
}

fn lexical(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut clean, part| {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => drop(clean.pop()),
            _ => (),
        }
        clean
    })
}

/// Returns the lines of accounts that are the system's and neither have the name nor the id of the run user.
fn system_lines<'a>(text: &'a str, name: &str, id: u32) -> Vec<&'a str> {
    let system = |line: &&str| {
        let mut fields = line.split(':');
        let other = fields.next().is_some_and(|n| n != name);
        let number = fields.nth(1).and_then(|n| n.parse::<u32>().ok());
        other && number.is_some_and(|n| n != id && (n < 1000 || n == 65534))
    };
    text.lines().filter(system).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(home: &str) -> Facts {
        Facts {
            uid: 65532,
            gid: 65532,
            groups: Vec::new(),
            name: "nonroot".into(),
            home: home.into(),
            shell: "/bin/sh".into(),
            state: Vec::new(),
            executable: Vec::new(),
            layer: None,
        }
    }

    #[test]
    fn a_home_never_hides_the_system() {
        for home in ["/", "/bin", "/dev", "/usr/sbin", "/var", "/run/sshd", "/etc", "/nonexistent", "relative"] {
            assert_eq!(own_home(&facts(home)), None, "{home}");
        }
        for home in ["/home/nonroot", "/root", "/var/lib/postgresql"] {
            assert_eq!(own_home(&facts(home)), Some(Path::new(home)));
        }
    }

    #[test]
    fn files_are_put_where_links_lead() {
        let look = |path: &Path| match path.to_str() {
            Some("/etc/resolv.conf") => Found::Link("../run/systemd/resolve/stub-resolv.conf".into()),
            Some("/etc/passwd") => Found::Link("/etc/static/passwd".into()),
            Some("/etc/static/passwd" | "/etc/hosts") => Found::Other,
            Some("/etc/group") => Found::Link("group".into()),
            _ => Found::Nothing,
        };
        let names = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/passwd", "/etc/group"];
        let file = |path: &&str| GeneratedFile { path: path.into(), content: Vec::new(), mode: 0o644, owner: (0, 0) };
        let mut files: Vec<GeneratedFile> = names.iter().map(file).collect();
        settle(&mut files, look);
        let places: Vec<_> = files.iter().map(|f| f.path.to_str().unwrap()).collect();
        assert_eq!(places, ["/etc/hosts", "/run/systemd/resolve/stub-resolv.conf", "/etc/static/passwd"]);
    }

    #[test]
    fn people_and_members_of_groups_are_not_shown() {
        let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nnonroot:x:9:9::/:/x\n\
                      nobody:x:65534:65534::/:/x\nclash:x:65532:1::/:/x\n";
        let system = system_lines(passwd, &facts("/home/nonroot").name, 65532);
        assert_eq!(system, ["root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/:/x"]);
    }
}
