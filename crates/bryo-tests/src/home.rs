// SPDX-License-Identifier: Apache-2.0
//! A user's home for one test, or one that many tests share, and bryo in it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::presence::Presence;
use crate::program::{Output, Running, tool};
use crate::user::{Rung, User, is_root};
use crate::{dirs, images};

/// A fresh home, mode 0700, of one user. It is removed when dropped, whoever owns what is in it.
#[derive(Debug)]
pub struct Home {
    /// Whose it is.
    pub user: User,
    /// The directory.
    pub path: PathBuf,
    keep: bool,
    _presence: Option<Presence>,
}

impl Home {
    /// Makes a home beside which other tests run.
    pub fn new(user: &User) -> Self {
        let presence = Presence::shared();
        Self::make(user, tempdir(), Some(presence))
    }

    /// Makes a home while no other test starts anything, for tests that look for leftover processes.
    pub fn alone(user: &User) -> Self {
        let presence = Presence::alone();
        Self::make(user, tempdir(), Some(presence))
    }

    fn make(user: &User, path: PathBuf, presence: Option<Presence>) -> Self {
        for dir in [path.clone(), path.join("run"), path.join("w")] {
            fs::create_dir_all(&dir).unwrap();
            user.own(&dir);
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { user: user.clone(), path, keep: false, _presence: presence }
    }

    /// Makes a command that runs bryo as this home's user.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.user.command(&self.path, dirs::bryo());
        command.args(args);
        command
    }

    /// Runs bryo to its end.
    #[track_caller]
    pub fn bryo(&self, args: &[&str]) -> Output {
        Running::start(self.command(args), false).wait()
    }

    /// Runs bryo with something on its standard input.
    #[track_caller]
    pub fn bryo_fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut running = Running::start(self.command(args), true);
        running.feed(input);
        running.wait()
    }

    /// Runs `bryo run --rm --network none` with further arguments: what most tests want.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        self.bryo(&[&["run", "--rm", "--network", "none"], args].concat())
    }

    /// Starts bryo and lets it run.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), false)
    }

    /// Starts bryo with its standard input open.
    pub fn start_fed(&self, args: &[&str]) -> Running {
        Running::start(self.command(args), true)
    }

    /// Runs another program as this home's user.
    #[track_caller]
    pub fn tool(&self, program: &str, args: &[&str]) -> Output {
        let mut command = self.user.command(&self.path, program);
        command.args(args);
        Running::start(command, false).wait_for(Duration::from_secs(300))
    }

    /// Runs a program that may read and change every file of this home, those of its containers' users too, and
    /// asserts that it succeeded. When the tests are not root it is root of a user namespace that has all ids of the
    /// caller.
    #[track_caller]
    pub fn tool_as_owner(&self, program: &str, args: &[&str]) -> String {
        if is_root() || self.user.rung != Rung::Subordinate {
            return tool(program, args);
        }
        tool("unshare", &[&["--map-auto", "--map-root-user", "--", program], args].concat())
    }

    /// Loads an image archive of the tests under its own name.
    #[track_caller]
    pub fn load(&self, archive: &Path) {
        self.bryo(&["load", "-q", "-i", &archive.display().to_string()]).ok();
    }

    /// Makes the store with all that stays in it forever, so that whatever else is there later was left behind.
    #[track_caller]
    pub fn make_store(&self) {
        self.bryo(&["gc"]).ok();
    }

    /// Writes a file into the home, owned by the user; returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        let parent = path.parent().unwrap();
        if !parent.exists() {
            fs::create_dir_all(parent).unwrap();
            for dir in parent.ancestors().take_while(|d| *d != self.path) {
                self.user.own(dir);
            }
        }
        fs::write(&path, content).unwrap();
        self.user.own(&path);
        path
    }

    /// Makes a directory in the home, owned by the user; returns its path.
    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        self.user.own(&path);
        path
    }

    /// Returns the store of this home.
    pub fn store(&self) -> PathBuf {
        self.path.join(".local/share/bryo")
    }

    /// Returns the home that all tests of a user share, with the small images and Debian loaded.
    /// Nothing may be removed from it.
    pub fn shared(user: &User) -> Shared {
        static HOMES: OnceLock<Mutex<HashMap<String, &'static Home>>> = OnceLock::new();
        let presence = Presence::shared();
        let key = format!("{}-{}", user.name, user.rung.word());
        let mut homes = HOMES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let home = *homes.entry(key).or_insert_with_key(|key| {
            let path = dirs::sub("homes", 0o711).join(format!("shared-{key}"));
            remove(user, &path);
            let mut home = Self::make(user, path, None);
            home.keep = true;
            home.load(&images::busybox());
            home.load(&images::probe());
            if let Some(debian) = images::debian() {
                home.load(&debian);
            }
            Box::leak(Box::new(home))
        });
        Shared { home, _presence: presence }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.keep && std::env::var_os("BRYO_TEST_KEEP").is_none() {
            remove(&self.user, &self.path);
        }
    }
}

/// The use of a home that many tests share.
#[derive(Debug)]
pub struct Shared {
    home: &'static Home,
    _presence: Presence,
}

impl std::ops::Deref for Shared {
    type Target = Home;

    fn deref(&self) -> &Home {
        self.home
    }
}

fn tempdir() -> PathBuf {
    let homes = dirs::sub("homes", 0o711);
    tempfile::Builder::new().prefix("h").tempdir_in(homes).unwrap().keep()
}

/// Removes a home; what belongs to subordinate ids needs a user namespace when the tests are not root.
fn remove(user: &User, path: &Path) {
    if fs::remove_dir_all(path).is_ok() || !path.exists() {
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-auto", "--map-root-user", "--", "rm", "-rf"]).arg(path);
    let _best = command.status();
    let _user = user;
}
