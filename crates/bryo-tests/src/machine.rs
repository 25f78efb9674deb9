// SPDX-License-Identifier: Apache-2.0
//! A machine that systemd runs: namespaces of this one, with systemd as process 1 (`tests/systemd/boot`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::presence::Presence;
use crate::program::{Output, Running, eventually};
use crate::user::{User, is_root};
use crate::{dirs, images, skip};

/// Where bryo is in the machine.
pub const BRYO: &str = "/opt/bryo";

/// A machine. It is switched off when dropped, and nothing is left of it.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
    script: Child,
    pid: u32,
    _presence: Presence,
}

impl Machine {
    /// Boots a machine that has bryo and the archive of a small image (`/opt/busybox.tar`).
    /// `None` (and a skip) where that cannot be done.
    pub fn boot() -> Option<Self> {
        if !is_root() {
            skip::skip("systemd in namespaces needs root");
            return None;
        }
        // Both are needed: the one is process 1, the other is how it is spoken to.
        if !(skip::have("systemctl") && skip::have("dbus-daemon")) {
            return None;
        }
        let presence = Presence::shared();
        let parent = dirs::sub("machines", 0o755);
        let dir = tempfile::Builder::new().prefix("m").tempdir_in(parent).unwrap().keep();
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let opt = dir.join("root/opt");
        fs::create_dir_all(&opt).unwrap();
        fs::copy(dirs::bryo(), opt.join("bryo")).unwrap();
        fs::copy(images::busybox(), opt.join("busybox.tar")).unwrap();
        let script = start(&dir);
        let mut machine = Self { dir, script, pid: 0, _presence: presence };
        machine.wait_until_up();
        Some(machine)
    }

    fn wait_until_up(&mut self) {
        self.pid =
            eventually("systemd is process 1", || fs::read_to_string(self.dir.join("pid")).ok()?.trim().parse().ok());
        eventually("the machine is up", || {
            let state = self.run(&["systemctl", "is-system-running"]).text();
            matches!(state.as_str(), "running" | "degraded").then_some(())
        });
    }

    /// Cuts the power, and boots again.
    pub fn reboot(&mut self) {
        self.off();
        let _old = fs::remove_file(self.dir.join("pid"));
        self.script = start(&self.dir);
        self.wait_until_up();
    }

    /// Ends it: everything in it dies with its process 1.
    fn off(&mut self) {
        if let Some(pid) = i32::try_from(self.script.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        let _ended = self.script.wait();
    }

    /// Returns where a path of the machine is on the host.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// Writes a file in the machine, as root.
    pub fn write(&self, inside: &str, content: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a home for a user of this machine.
    pub fn home(&self, user: &User) -> String {
        let home = user.login_home.to_str().unwrap().to_owned();
        fs::create_dir_all(self.path(&home)).unwrap();
        user.own(&self.path(&home));
        home
    }

    /// Runs a program in the machine, as root.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        self.run_as(None, words)
    }

    /// Runs a program in the machine, as a user whose manager runs (`user@UID.service`).
    #[track_caller]
    pub fn run_as(&self, user: Option<&User>, words: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        let pid = self.pid.to_string();
        command.args(["--target", &pid, "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root"]);
        command.arg(format!("--wd=/proc/{pid}/root/tmp"));
        let mut env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt".to_owned(), "LANG=C.UTF-8".into()];
        match user {
            None => env.push("HOME=/root".into()),
            Some(user) => {
                let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
                command.args(["setpriv", &uid, &gid, "--init-groups"]);
                env.push(format!("HOME={}", user.login_home.display()));
                env.push(format!("XDG_RUNTIME_DIR=/run/user/{}", user.uid));
            }
        }
        command.args(["env", "-i"]).args(env).args(words);
        Running::start(command, false).wait_for(Duration::from_secs(120))
    }

    /// Runs `systemctl` with some words, and shows what the journal has of it when it fails.
    #[track_caller]
    pub fn systemctl(&self, words: &[&str]) -> String {
        let output = self.run(&[&["systemctl"], words].concat());
        let why = || self.run(&["journalctl", "--no-pager", "-n", "40"]).text();
        assert!(output.status.success(), "{output}\n{}", why());
        output.text()
    }

    /// Returns a property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit])
    }

    /// Waits until a property of a unit has a value.
    #[track_caller]
    pub fn until(&self, unit: &str, name: &str, value: &str) {
        eventually(&format!("{name} of {unit} is {value}"), || (self.property(unit, name) == value).then_some(()));
    }

    /// Returns what the journal has of a unit, without times.
    pub fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit]).text()
    }
}

fn start(dir: &Path) -> Child {
    let boot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/systemd/boot");
    let mut command = Command::new("timeout");
    command.arg("1800").arg(boot).arg(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.off();
        if std::env::var_os("BRYO_TEST_KEEP").is_none() {
            let _best = fs::remove_dir_all(&self.dir);
        }
    }
}
