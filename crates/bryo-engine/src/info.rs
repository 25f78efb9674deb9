// SPDX-License-Identifier: Apache-2.0
//! The engine and its host at a glance, in the words of Docker's API. Source: Docker Engine API, `SystemInfo`.

use std::path::PathBuf;

use serde::Serialize;

use crate::Engine;
use crate::error::Result;
use crate::processes::machine_memory;

/// What `info` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// How many containers there are.
    pub containers: usize,
    /// How many of them run.
    pub containers_running: usize,
    /// How many stand still.
    pub containers_paused: usize,
    /// How many do not run.
    pub containers_stopped: usize,
    /// How many images have a name or are named by their digest alone.
    pub images: usize,
    /// How layers become one file system: always `overlay`.
    pub driver: String,
    /// The version of control groups, or nothing where there are none.
    pub cgroup_version: String,
    /// What confines by default.
    pub security_options: Vec<String>,
    /// The kernel's release.
    pub kernel_version: String,
    /// The host's distribution.
    pub operating_system: String,
    /// Always `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// The machine, in the kernel's words.
    pub architecture: String,
    /// How many processors bryo may use.
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// The memory of the host in bytes.
    pub mem_total: u64,
    /// The host's name.
    pub name: String,
    /// Where images, containers and volumes are. The name of the field is Docker's.
    pub docker_root_dir: PathBuf,
    /// Always `bryo`.
    pub default_runtime: String,
    /// The rung of the ladder of identities on which containers run.
    pub rung: String,
    /// bryo's version. The name of the field is Docker's: there is no server.
    pub server_version: String,
}

impl Engine {
    /// Describes the engine and its host. What the host does not tell is empty or 0.
    ///
    /// # Errors
    ///
    /// When the store's index cannot be read.
    pub fn info(&self) -> Result<Info> {
        let containers = self.containers.all();
        let count = |status: &str| containers.iter().filter(|record| record.state.status == status).count();
        let (running, paused) = (count("running") + count("restarting"), count("paused"));
        let system = rustix::system::uname();
        let text = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
        let mut security = vec!["name=seccomp,profile=builtin".to_owned(), "name=rootless".to_owned()];
        if bryo_sys::process::landlock_abi() > 0 {
            security.push("name=landlock".to_owned());
        }
        Ok(Info {
            containers: containers.len(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: containers.len() - running - paused,
            images: self.store.images()?.len(),
            driver: "overlay".to_owned(),
            cgroup_version: cgroup_version(),
            security_options: security,
            kernel_version: text(system.release()),
            operating_system: operating_system().unwrap_or_default(),
            os_type: "linux".to_owned(),
            architecture: text(system.machine()),
            ncpu: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            mem_total: machine_memory().unwrap_or(0),
            name: text(system.nodename()),
            docker_root_dir: self.dirs.data.clone(),
            default_runtime: "bryo".to_owned(),
            rung: self.host.rung().to_string(),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

fn cgroup_version() -> String {
    let exists = |path: &str| std::path::Path::new(path).exists();
    let version = match () {
        () if exists("/sys/fs/cgroup/cgroup.controllers") => "2",
        () if exists("/proc/cgroups") => "1",
        () => "",
    };
    version.to_owned()
}

/// Source: `os-release(5)`.
fn operating_system() -> Option<String> {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}
