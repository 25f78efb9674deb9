// SPDX-License-Identifier: Apache-2.0
//! From an image, a few flags and facts of the host to a plan. Pure: it looks at nothing and changes nothing.
//!
//! This is where the policy is applied, and nowhere else: what a container may do by default, and what each flag
//! relaxes. The launcher only obeys; what it obeyed is what `inspect` shows.

mod capabilities;
mod files;
pub mod host;
mod mounts;
mod ports;
mod process;
mod spec;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bryo_identity::Helpers;
use bryo_identity::map::IdMap;
use bryo_launch::plan::{GeneratedFile, Landlock, Plan, RootFs, Volume};
use oci_spec::image::ImageConfiguration;

use crate::container::Id;
use crate::derive::Facts;
use crate::error::{Error, Kind, Result};
use crate::learned::Profile;
use crate::options::{Network, RunOptions};

pub(crate) use files::RESOLVER;
use files::Resolver;
pub use ports::Ports;

/// Everything a plan is made from.
#[derive(Debug)]
pub struct Input<'a> {
    /// The container's id.
    pub id: &'a Id,
    /// What was asked for.
    pub options: &'a RunOptions,
    /// The image's configuration; a bare root file system has none.
    pub image: Option<&'a ImageConfiguration>,
    /// The run user and the places where it may write.
    pub facts: &'a Facts,
    /// The network, with the site's default applied.
    pub network: Network,
    /// The host.
    pub host: &'a HostFacts,
    /// The id map.
    pub ids: IdMap,
    /// The helpers that write it.
    pub helpers: Option<Helpers>,
    /// Where the root file system comes from.
    pub root: RootFs,
    /// The directory of the volumes on the host.
    pub volumes: &'a Path,
    /// Whether Landlock is asked for, unless the options say.
    pub landlock: Landlock,
    /// How many processes a container may have, unless the options say; nothing for no limit.
    pub pids_limit: Option<u64>,
}

/// What a plan depends on in the host.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// The text of `/etc/resolv.conf`.
    pub resolver: String,
    /// Whether `/sys/fs/cgroup` is a unified (version 2) tree.
    pub unified_cgroup: bool,
    /// The kernel's version, major and minor.
    pub kernel: (u32, u32),
    /// Rows and columns of the caller's terminal.
    pub terminal: Option<(u16, u16)>,
    /// The directories in which processors tell how often they were too hot; few machines have them.
    pub throttles: Vec<String>,
    /// The most processes that the caller may let others have.
    pub processes: Option<u64>,
}

/// A plan, and what a person should know of it.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Whether the container's name queries go to the forwarder of the network helper.
    pub forward_dns: bool,
    /// Whom the container's own resolver asks for names that its networks have not.
    pub upstreams: Vec<IpAddr>,
    /// The ports that are published or exposed.
    pub ports: Ports,
    /// Notes, one line each: what was asked for and has no effect.
    pub notes: Vec<String>,
    /// What was relaxed, in the words of the command line.
    pub relaxed: Vec<String>,
}

impl Planned {
    /// Returns the map through which the container's own files are owned: that of the store, where the kernel translates.
    pub fn files_map(&self) -> &IdMap {
        self.plan.stored_as.as_ref().unwrap_or(&self.plan.ids)
    }
}

impl Planned {
    /// Follows a change of the container's networks, and returns what its resolver configuration said; nothing where that
    /// is as it was, or the caller's own.
    pub(crate) fn follow(&mut self, options: &RunOptions, network: Network, host: &str) -> Option<Vec<u8>> {
        let Resolver { text, forward_dns, upstreams } = Resolver::of(options, network, host);
        (self.forward_dns, self.upstreams) = (forward_dns, upstreams);
        let file = self.plan.files.iter_mut().find(|file| file.path == Path::new(RESOLVER))?;
        (file.content != text.as_bytes()).then(|| std::mem::replace(&mut file.content, text.into_bytes()))
    }

    /// Returns what the container's resolver configuration says, unless it is the caller's own.
    pub(crate) fn resolver(&self) -> Option<&GeneratedFile> {
        self.plan.files.iter().find(|file| file.path == Path::new(RESOLVER))
    }
}

/// Makes the plan.
///
/// # Errors
///
/// [`crate::error::Kind::NoCommand`], [`crate::error::Kind::InvalidOption`] and
/// [`crate::error::Kind::Unsupported`] for what contradicts itself or cannot be enforced.
pub fn plan(input: Input<'_>) -> Result<Planned> {
    if input.options.writable && matches!(input.root, RootFs::Empty { .. }) {
        let why = "host: is this machine's own system and stays read-only; leave --writable out, or use an image";
        return Err(Error::new(Kind::Unsupported, why));
    }
    Profile::check(input.options)?;
    let learned = input.options.profile.as_ref();
    let capabilities = capabilities::of(input.options, input.facts.uid);
    if input.options.immutable && (capabilities.mounts() || matches!(input.root, RootFs::Empty { .. })) {
        let why = "--immutable: nobody can promise that of a payload that may mount (CAP_SYS_ADMIN, --privileged), nor of \
            host:, which has no root of its own; leave one of them out";
        return Err(Error::new(Kind::Unsupported, why));
    }
    let files = files::generate(&input);
    let (mounts, volumes) = mounts::of(&input)?;
    let process = process::of(&input, &capabilities)?;
    let spec = spec::assemble(&input, process, mounts, &capabilities)?;
    let mut notes = capabilities.without_effect.clone();
    let ports = ports::of(&input, &mut notes)?;
    let mut relaxed = relaxed(input.options, input.facts.uid);
    relaxed.extend((!ports.published.is_empty()).then(|| "--publish".to_owned()));
    notes.extend(learned.iter().flat_map(|profile| profile.notes()));
    let state = match learned {
        _ if input.options.writable || input.options.strict_read_only => Vec::new(),
        Some(profile) => profile.narrow_state(&input.facts.state),
        None => input.facts.state.clone(),
    };
    let plan = Plan {
        emulate_ids: false,
        observed: false,
        devices: learned.map(Profile::device_names),
        ports: learned.and_then(Profile::tcp_ports),
        spec,
        root: input.root,
        ids: input.ids,
        stored_as: None,
        helpers: input.helpers,
        files: files.files,
        executable: if input.options.exec_state { state.clone() } else { input.facts.executable.clone() },
        state,
        volumes,
        interactive: input.options.interactive,
        init: input.options.init,
        landlock: match input.options.security.landlock {
            Some(true) => Landlock::Required,
            Some(false) => Landlock::Off,
            // A payload that mounts is forbidden to by any Landlock domain.
            None if capabilities.mounts() => Landlock::Off,
            None => input.landlock,
        },
    };
    let Resolver { forward_dns, upstreams, .. } = files.resolver;
    Ok(Planned { plan, forward_dns, upstreams, ports, notes, relaxed })
}

/// Volumes in the launcher's terms.
fn volumes(input: &Input<'_>) -> Vec<Volume> {
    let volume = |mount: &crate::options::Mount| {
        let directory = input.volumes.join(mount.source.volume()?);
        Some(Volume { directory, target: mount.target.clone(), read_only: mount.read_only })
    };
    let mut volumes: Vec<Volume> = input.options.mounts.iter().filter_map(volume).collect();
    volumes.sort_by_key(|volume| volume.target.components().count());
    volumes
}

/// Lists what was asked for beyond the default, in the words of the command line.
fn relaxed(options: &RunOptions, uid: u32) -> Vec<String> {
    let security = &options.security;
    let seccomp = match security.seccomp {
        crate::options::Seccomp::Builtin => None,
        crate::options::Seccomp::Unconfined => Some("--security-opt seccomp=unconfined"),
        crate::options::Seccomp::Profile(_) => Some("--security-opt seccomp=FILE"),
    };
    let flags = [
        (options.writable, "--writable"),
        (options.exec_state, "--exec-state"),
        (security.new_privileges, "--security-opt no-new-privileges=false"),
        (security.landlock == Some(false), "--security-opt landlock=off"),
        (security.unmask_all || !security.unmask.is_empty(), "--security-opt unmask"),
        (options.network == Some(Network::Host), "--network host"),
        (options.cap_add_all, "--cap-add ALL"),
        (uid == 0, "--user root"),
        (options.keep_id || options.mounts.iter().any(|m| m.me), "--userns keep-id (or :me)"),
    ];
    let caps = options.cap_add.iter().map(|c| format!("--cap-add {c}"));
    let set = flags.iter().filter(|(on, _)| *on).map(|(_, flag)| (*flag).to_owned());
    set.chain(seccomp.map(str::to_owned)).chain(caps).collect()
}

/// Returns the path with single slashes and without `.`; the spec wants it absolute.
fn absolute(path: &Path) -> PathBuf {
    Path::new("/").join(path).components().collect()
}
