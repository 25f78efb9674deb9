// SPDX-License-Identifier: Apache-2.0
//! Observed runs: what a container's processes ask of the kernel, and what they are refused.
//!
//! ```text
//! engine                            observer                               the container
//! executes the payload, stopped
//! fork into its user namespace ───> watches it (ptrace)
//!                <── a byte ─────── lets it go ──────────────────────────> makes calls
//! relays                            reads each call and its result <────── stops at each, and goes on
//! the container has ended
//!                <── answer (JSON)─ nobody is left
//! ```
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | observer, an agent | the container's user and mount namespace, the host's processes | root inside, with capabilities to look into processes and directories | yes: its parent had one thread | the engine, by a pipe | when no process of the container is left |
//!
//! An observed run is for one's own eyes and is no boundary: the container is confined as it would be without. What a
//! program says of itself is read with limits and believed as far as a person believes it. Processes that enter the
//! container later (`exec`, health checks) are not watched. What cannot be watched does not run: without the byte the
//! container is ended, and so it is when the observer dies. Processes that were made so that nobody can watch them are
//! counted.

mod look;
mod record;
mod remedy;
pub mod sentence;
pub mod table;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bryo_identity::map::IdMap;
use bryo_sys::check;
use oci_spec::runtime::Spec;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use crate::agent::{self, Agent, Place};
use crate::changes::directory;
use crate::error::{Error, Kind, Result};
use crate::options::Network;
use sentence::{Sentence, Setting, sentences};
use table::Verb;

/// How a run is observed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observe {
    /// How long it may run: it is asked to end then, and ended when it does not within [`Observe::GRACE`].
    pub limit: Option<Duration>,
}

impl Observe {
    /// How long a program has to end when it was asked to.
    pub const GRACE: Duration = Duration::from_secs(3);
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The calls that were made, by name, and how often.
    pub calls: BTreeMap<String, u64>,
    /// Calls that were refused, and how often.
    pub refused: Vec<(Refusal, u64)>,
    /// Capabilities that a call succeeded by, or may have; `CAP_CHOWN` and the like.
    pub capabilities: BTreeSet<String>,
    /// Directories in which something was made, changed or removed.
    pub writes: BTreeSet<String>,
    /// Ports that were bound, as they were asked for.
    pub bound: BTreeSet<Socket>,
    /// Ports that were reached for.
    pub reached: BTreeSet<Socket>,
    /// Devices that were opened.
    pub devices: BTreeSet<String>,
    /// How many processes and threads there were.
    pub threads: u64,
    /// How many things were not written down because there were too many.
    pub left_out: u64,
    /// How many processes were made with `CLONE_UNTRACED`, of which nothing was seen.
    #[serde(default)]
    pub unwatched: u64,
}

/// What was seen, and of what.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What was seen.
    pub seen: Observation,
    /// The runtime spec that was obeyed.
    pub spec: Spec,
    /// The network.
    pub network: Network,
}

impl Observed {
    /// Turns what was refused into sentences.
    pub fn sentences(&self) -> Vec<Sentence> {
        let filter = self.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        sentences(&self.seen, Setting { own_network: self.network.is_own(), filter })
    }
}

/// A port and its protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its number; 0 is one of the kernel's choice.
    pub port: u16,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// The call's name.
    pub call: String,
    /// `EPERM`, `EACCES` or `EROFS`; `EINVAL` for an id that the container does not have.
    pub errno: String,
    /// What it wanted to do.
    pub verb: Verb,
    /// To what: a path, an address, an id.
    pub object: Option<String>,
    /// How: a new owner, a second path.
    pub detail: Option<String>,
    /// The user inside that it was made as.
    pub uid: u32,
    /// The group inside that it was made as.
    pub gid: u32,
    /// What its program calls itself.
    pub program: String,
}

/// Lets an observer watch a container that is stopped before its first instruction, and lets that go on.
///
/// # Errors
///
/// [`crate::error::Kind::Identity`] when the container's user namespace cannot be had, and what keeps the observer from
/// watching. The container is stopped then and stays so: it is the caller's to end.
pub(crate) fn start(ids: &IdMap, process: BorrowedFd<'_>, pid: Pid) -> Result<Agent<Observation>> {
    let open = || directory(Path::new("/proc"));
    let (watches, tell) = check("pipe2", || "CLOEXEC".into(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
    let agent = agent::start(Place::Container(ids, process), [tell], open, move |processes, [tell]| {
        keep_rights()?;
        check("fchdir", || "/proc".into(), rustix::process::fchdir(&processes))?;
        watch::watch(pid, tell)
    })?;
    if told(&watches) { Ok(agent) } else { Err(unwatched(agent)) }
}

/// Waits for the byte; without it the observer has ended.
fn told(watches: &OwnedFd) -> bool {
    rustix::io::retry_on_intr(|| rustix::io::read(watches, &mut [0; 1])) == Ok(1)
}

/// Returns why an observer does not watch.
fn unwatched(agent: Agent<Observation>) -> Error {
    match agent.answer() {
        Err(error) => Error::new(error.kind(), format!("the container cannot be observed: {error}")),
        Ok(_) => Error::new(Kind::NotRunning, "the container ended before it was observed"),
    }
}

/// Keeps what it takes to look into processes, and at what they look at.
fn keep_rights() -> Result<()> {
    let kept = CapabilitySet::SYS_PTRACE | CapabilitySet::KILL | CapabilitySet::DAC_READ_SEARCH;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(check("capset", || format!("{kept:?}"), rustix::thread::set_capabilities(None, sets))?)
}
