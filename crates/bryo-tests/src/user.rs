// SPDX-License-Identifier: Apache-2.0
//! The users that bryo runs as, each on its rung.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::skip::skip;
use crate::{dirs, layout};

/// Which ids a user's containers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Subordinate ids; the caller is not among them.
    Subordinate,
    /// The caller's own id and no other.
    Single,
    /// Invoked by root: a range that nobody else uses.
    Root,
}

impl Rung {
    /// Returns bryo's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Subordinate => "subordinate",
            Self::Single => "single",
            Self::Root => "root",
        }
    }
}

/// A user that runs bryo.
#[derive(Debug, Clone)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user id on the host.
    pub uid: u32,
    /// The primary group id on the host.
    pub gid: u32,
    /// The home directory in the passwd file.
    pub login_home: PathBuf,
    /// What this user's containers get.
    pub rung: Rung,
    /// Runs in a mount namespace in which the helpers that write maps do not exist.
    hide_helpers: bool,
}

impl User {
    /// An ordinary user: whoever runs the tests, or `bryo-tester` when root does. Tests that ask get images.
    pub fn ordinary() -> Option<Self> {
        if layout::busybox().is_none() {
            skip("busybox-static is not installed");
            return None;
        }
        Self::ordinary_without_images()
    }

    /// An ordinary user for tests that need no image: `host:` is everywhere.
    pub fn ordinary_without_images() -> Option<Self> {
        let name = if is_root() { "bryo-tester".to_owned() } else { own_name() };
        Self::named(&name)
    }

    /// An ordinary user with a range of subordinate ids.
    pub fn with_range() -> Option<Self> {
        let user = Self::ordinary()?;
        if user.rung != Rung::Subordinate {
            skip("this user has no subordinate ids, or newuidmap is not installed");
            return None;
        }
        Some(user)
    }

    /// An ordinary user without a range of subordinate ids.
    pub fn without_range() -> Option<Self> {
        if is_root() {
            return Self::named("bryo-single");
        }
        let user = Self::ordinary_without_images()?;
        if user.rung == Rung::Single {
            return Some(user);
        }
        skip("a user without a range can only be had as root");
        None
    }

    /// An ordinary user with a range on a machine without `newuidmap`.
    pub fn without_newuidmap() -> Option<Self> {
        if !is_root() {
            skip("hiding newuidmap needs root");
            return None;
        }
        let user = Self::with_range()?;
        Some(Self { rung: Rung::Single, hide_helpers: true, ..user })
    }

    /// Root of this machine.
    pub fn root() -> Option<Self> {
        if is_root() {
            return Self::named("root");
        }
        skip("running bryo as root needs root");
        None
    }

    /// Every kind of user that this run can become; skips are counted. Tests that ask get images.
    pub fn all() -> Vec<Self> {
        if Self::ordinary().is_none() { Vec::new() } else { Self::all_without_images() }
    }

    /// Every kind of user that this run can become, for tests that need no image.
    pub fn all_without_images() -> Vec<Self> {
        let mut users: Vec<Self> = Self::ordinary_without_images().into_iter().collect();
        if users.first().is_none_or(|u| u.rung != Rung::Single) {
            users.extend(Self::without_range());
        }
        users.extend(Self::root());
        users
    }

    fn named(name: &str) -> Option<Self> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let Some(line) = passwd.lines().find(|l| l.split(':').next() == Some(name)) else {
            skip(&format!("there is no user {name}: run scripts/test"));
            return None;
        };
        let field = |n: usize| line.split(':').nth(n).unwrap();
        let uid = field(2).parse().unwrap();
        let range = range_of("/etc/subuid", name, uid).is_some() && Path::new("/usr/bin/newuidmap").exists();
        let rung = match (uid, range) {
            (0, _) => Rung::Root,
            (_, true) => Rung::Subordinate,
            (_, false) => Rung::Single,
        };
        Some(Self {
            name: name.to_owned(),
            uid,
            gid: field(3).parse().unwrap(),
            login_home: PathBuf::from(field(5)),
            rung,
            hide_helpers: false,
        })
    }

    /// Returns this user's subordinate user ids on the host: first and count.
    pub fn range(&self) -> Option<(u32, u32)> {
        range_of("/etc/subuid", &self.name, self.uid)
    }

    /// Tells whether a host id is one that this user's containers may have.
    pub fn may_own(&self, id: u32) -> bool {
        match self.rung {
            Rung::Single => id == self.uid,
            Rung::Subordinate => self.range().is_some_and(|(first, count)| id >= first && id - first < count),
            Rung::Root => match range_of("/etc/subuid", "bryo", 0).or_else(|| range_of("/etc/subuid", "root", 0)) {
                Some((first, count)) => id >= first && id - first < count,
                // The documented default of the root rung.
                None => (0x7000_0000..0x7ffe_0000).contains(&id),
            },
        }
    }

    /// Makes a command that runs as this user with a built environment and nothing else.
    pub fn command(&self, home: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = if !is_root() || self.uid == 0 {
            Command::new("env")
        } else if self.hide_helpers {
            let mut c = Command::new("unshare");
            // A private mount namespace: an overlay whose upper part says that the helpers are not there.
            c.args(["--mount", "sh", "-c"]);
            c.arg("mount -t overlay -o lowerdir=\"$1\":/usr/bin none /usr/bin && shift && exec \"$@\"").arg("sh");
            c.arg(hiding_layer()).arg("setpriv");
            self.become_args(&mut c);
            c.arg("env");
            c
        } else {
            let mut c = Command::new("setpriv");
            self.become_args(&mut c);
            c.arg("env");
            c
        };
        command.arg("-i").arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        for (key, value) in [("USER", &self.name), ("LOGNAME", &self.name)] {
            command.arg(format!("{key}={value}"));
        }
        command.arg(format!("HOME={}", home.display())).arg(format!("XDG_RUNTIME_DIR={}", home.join("run").display()));
        // Root's store has a place of its own, which tests must not share with the machine's.
        command.arg(format!("XDG_DATA_HOME={}", home.join(".local/share").display()));
        command.args(["LANG=C.UTF-8", "TERM=xterm", "SECRETVAR=host-only-secret"]).arg(program);
        command.current_dir(home);
        command
    }

    fn become_args(&self, command: &mut Command) {
        command.args([format!("--reuid={}", self.uid), format!("--regid={}", self.gid), "--init-groups".into()]);
    }

    /// Gives a path to this user.
    pub fn own(&self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).unwrap();
    }
}

/// Makes (once) a layer with a whiteout for each helper.
fn hiding_layer() -> PathBuf {
    let dir = dirs::sub("no-helpers", 0o755);
    for helper in ["newuidmap", "newgidmap"] {
        let path = dir.join(helper);
        if !fs::symlink_metadata(&path).is_ok_and(|m| m.file_type().is_char_device()) {
            let _lost_race = Command::new("mknod").arg(&path).args(["c", "0", "0"]).status().unwrap();
        }
    }
    dir
}

/// Tells whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn own_name() -> String {
    let out = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn range_of(file: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    let text = fs::read_to_string(file).ok()?;
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == name || owner == uid).then_some((first, count))
    })
}
