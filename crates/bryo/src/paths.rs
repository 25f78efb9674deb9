// SPDX-License-Identifier: Apache-2.0
//! The environment: where things are for this caller. Nothing else reads it.
//!
//! Trusts the caller's environment, as every program of the caller does. Relative values are ignored, as the XDG base
//! directory specification asks.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bryo_image::registry::{AuthSources, Proxies};

use crate::errors::{Error, Result};

/// The directory of the store when root calls.
const ROOT_DATA: &str = "/var/lib/bryo";
/// The directory of run-time state when root calls: one for the machine, since container ranges are the machine's.
const ROOT_RUNTIME: &str = "/run/bryo";
/// The site's configuration.
const SITE_CONFIG: &str = "/etc/bryo/config.toml";
/// The site's policy.
const SITE_POLICY: &str = "/etc/bryo/policy.toml";

/// Returns the directory that holds images, layers, containers and volumes.
///
/// # Errors
///
/// [`Error::Message`] if none of `XDG_DATA_HOME`, `STATE_DIRECTORY` and `HOME` says where.
pub fn data() -> Result<PathBuf> {
    if let Some(dir) = absolute("XDG_DATA_HOME") {
        return Ok(dir.join("bryo"));
    }
    if is_root() {
        return Ok(PathBuf::from(ROOT_DATA));
    }
    if let Some(dir) = state() {
        return Ok(dir.join("bryo"));
    }
    Ok(home()?.join(".local/share/bryo"))
}

/// Returns the directory that systemd has made for a service (`StateDirectory=`), if its user has no home to keep
/// anything in: `/` is the home of a dynamic user, and system users often have one that does not exist, or that is
/// somebody else's. Who has one finds the same containers in it whatever starts bryo.
fn state() -> Option<PathBuf> {
    let at_home = absolute("HOME").is_some_and(|home| is_own(&home));
    let dirs = env::var_os("STATE_DIRECTORY").filter(|_| !at_home)?;
    // Several are separated by colons; systemd lists them as the unit does.
    env::split_paths(&dirs).next().filter(|dir| dir.is_absolute())
}

fn is_own(dir: &Path) -> bool {
    dir.metadata().is_ok_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw())
}

/// Returns the directory for what lasts no longer than the machine is up. Without a session's directory it lies in
/// the data directory, which is as private.
pub fn runtime(data: &Path) -> PathBuf {
    if is_root() && data == Path::new(ROOT_DATA) {
        return PathBuf::from(ROOT_RUNTIME);
    }
    // A unit of the machine with a user of its own is not told of that user's session, and has its containers all the
    // same.
    let session = || Some(PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw())));
    match absolute("XDG_RUNTIME_DIR").or_else(session).filter(|dir| is_own(dir)) {
        Some(dir) => dir.join("bryo"),
        None => data.join("run"),
    }
}

/// Returns `XDG_RUNTIME_DIR`, if it is set.
pub fn session() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR")
}

/// Returns where another engine listens, as it says by default, if it does.
pub fn engine_socket(engine: &str) -> Option<PathBuf> {
    let session = session();
    let below = |name: &str| session.as_ref().map(|dir| dir.join(name));
    let all = match engine {
        "docker" => [below("docker.sock"), Some("/run/docker.sock".into())],
        _ => [below("podman/podman.sock"), Some("/run/podman/podman.sock".into())],
    };
    all.into_iter().flatten().find(|path| path.exists())
}

/// Returns the directories that are read instead of those of Quadlet files, by Podman's name for it.
pub fn quadlet_dirs() -> Option<Vec<PathBuf>> {
    let dirs = env::var_os("QUADLET_UNIT_DIRS").filter(|dirs| !dirs.is_empty())?;
    Some(env::split_paths(&dirs).filter(|dir| dir.is_absolute()).collect())
}

/// The variable that says where a service manager listens.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Returns where a service manager listens, if one has started this process.
pub fn notify_socket() -> Option<OsString> {
    env::var_os(NOTIFY_SOCKET).filter(|address| !address.is_empty())
}

/// Returns the caller's configuration file, which need not exist.
///
/// # Errors
///
/// [`Error::Message`] if neither `XDG_CONFIG_HOME` nor `HOME` says where.
pub fn config() -> Result<PathBuf> {
    Ok(config_home()?.join("bryo/config.toml"))
}

/// Returns the configuration files in the order in which they are read, the stronger one last.
pub fn configs() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(SITE_CONFIG)];
    files.extend(config());
    files
}

/// Returns the caller's own policy, which need not exist.
///
/// # Errors
///
/// As [`config`].
pub fn policy() -> Result<PathBuf> {
    Ok(config_home()?.join("bryo/policy.toml"))
}

/// Returns the policies: the site's, and the caller's own, which can only ask for more.
pub fn policies() -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from(SITE_POLICY)];
    files.extend(policy());
    files
}

/// Returns where credentials for registries may be, as Podman and Docker have it.
pub fn auth() -> AuthSources {
    let mut files = Vec::new();
    files.extend(env::var_os("REGISTRY_AUTH_FILE").filter(|v| !v.is_empty()).map(PathBuf::from));
    files.extend(session().map(|dir| dir.join("containers/auth.json")));
    files.extend(config_home().map(|dir| dir.join("containers/auth.json")));
    match absolute("DOCKER_CONFIG") {
        Some(dir) => files.push(dir.join("config.json")),
        None => files.extend(home().map(|home| home.join(".docker/config.json"))),
    }
    let path = env::var_os("PATH").unwrap_or_default();
    AuthSources { files, helper_dirs: env::split_paths(&path).filter(|dir| dir.is_absolute()).collect(), given: None }
}

/// Returns the file in which a login is kept: the one that is named, else the first that outlives a boot.
pub fn login(named: Option<&Path>) -> Result<PathBuf> {
    let variable = || env::var_os("REGISTRY_AUTH_FILE").filter(|v| !v.is_empty()).map(PathBuf::from);
    match named.map(Path::to_owned).or_else(variable) {
        Some(file) => Ok(file),
        None => Ok(config_home()?.join("containers/auth.json")),
    }
}

/// Returns the proxies that the caller's variables name, the lower-case ones first. A web server's child does not read
/// `HTTP_PROXY`, which there is a header of somebody's request (CVE-2016-5385).
pub fn proxies() -> Proxies {
    let first = |names: &[&str]| names.iter().find_map(|name| env::var(name).ok().filter(|v| !v.is_empty()));
    let served = env::var_os("REQUEST_METHOD").is_some();
    Proxies {
        http: first(if served { &["http_proxy"] } else { &["http_proxy", "HTTP_PROXY"] }),
        https: first(&["https_proxy", "HTTPS_PROXY"]),
        exclude: first(&["no_proxy", "NO_PROXY"]),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns where Podman keeps the caller's images, if there is a home.
pub fn containers_storage() -> Option<PathBuf> {
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(home().ok()?.join(".local/share")));
    data.map(|data| data.join("containers/storage"))
}

/// Returns the caller's directory of settings.
///
/// # Errors
///
/// [`Error::Message`] if neither `XDG_CONFIG_HOME` nor `HOME` says where.
pub fn config_home() -> Result<PathBuf> {
    absolute("XDG_CONFIG_HOME").map_or_else(|| Ok(home()?.join(".config")), Ok)
}

fn home() -> Result<PathBuf> {
    absolute("HOME").ok_or_else(|| {
        let hint = "HOME=/home/you bryo ...; in a unit, StateDirectory=bryo";
        Error::message("find the home directory: HOME is not set to an absolute path").hint(hint)
    })
}

fn absolute(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Tells whether the terminal, if there is one, is more than a printer.
pub fn terminal_draws() -> bool {
    env::var_os("TERM").is_some_and(|term| term != "dumb")
}
