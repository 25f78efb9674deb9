// SPDX-License-Identifier: Apache-2.0
//! What this host offers to containers, what is lost by each lack, and what mends it.
//!
//! Guarantees: what can be tried is tried, not concluded from settings; a failed start is explained ([`explain`]) by
//! the same table ([`advice`]) that this report is written from. Changes nothing on the host but a scratch directory
//! in the store that is removed again. Trusts the kernel.

pub mod advice;
mod diagnose;
mod facts;
mod ids;
mod machine;
mod trial;

use std::path::PathBuf;

use bryo_identity::map::IdMap;
use bryo_identity::rung::{Host, Rung};
use serde::Serialize;

pub use advice::{Advice, Cause, Person};
pub use diagnose::{Failure, explain};

/// The paths that depend on who calls.
#[derive(Debug, Clone)]
pub struct DoctorInput {
    /// The store, which need not exist yet.
    pub store: PathBuf,
    /// `XDG_RUNTIME_DIR`, if it is set.
    pub runtime: Option<PathBuf>,
}

/// How far the host has what a check looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Ok,
    /// Containers run, with something lost.
    Degraded,
    /// It is not there.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// A name for programs, stable from release to release.
    pub id: &'static str,
    /// A name for people.
    pub title: &'static str,
    /// The verdict.
    pub state: State,
    /// Tells whether no container can run without it.
    pub vital: bool,
    /// What was measured.
    pub found: String,
    /// What is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loses: Option<String>,
    /// One line that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Everything that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks, the most important first.
    pub checks: Vec<Check>,
    /// The rung of the identity ladder that this host has for the caller.
    pub rung: &'static str,
    /// What the rung means for whoever breaks out of a container.
    pub identity: String,
    /// Tells whether containers can run at all.
    pub usable: bool,
}

impl Check {
    fn new(id: &'static str, title: &'static str, state: State, found: impl Into<String>) -> Self {
        Self { id, title, state, vital: false, found: found.into(), loses: None, remedy: None }
    }

    fn ok(id: &'static str, title: &'static str, found: impl Into<String>) -> Self {
        Self::new(id, title, State::Ok, found)
    }

    fn vital(self) -> Self {
        Self { vital: true, ..self }
    }

    fn advised(self, advice: Advice) -> Self {
        Self { loses: Some(advice.loses), remedy: Some(advice.remedy), ..self }
    }

    /// A check that another one's failure leaves unanswered. It has no remedy of its own.
    fn unanswered(id: &'static str, title: &'static str, needs: &str) -> Self {
        Self::new(id, title, State::Missing, format!("not examined: needs {needs}"))
    }
}

/// What the groups of checks look at.
struct Patient<'a> {
    host: Host,
    person: Person,
    map: Option<IdMap>,
    input: &'a DoctorInput,
}

/// Examines this host for the calling user. The calling process must have one thread, for the trials are its children.
pub fn examine(input: &DoctorInput) -> Report {
    let host = Host::probe();
    let (person, map) = (Person::of(&host), trial::default_map(&host).ok());
    let patient = Patient { host, person, map, input };
    let mut checks = ids::checks(&patient);
    checks.extend(machine::checks(&patient));
    let usable = !checks.iter().any(|c| c.vital && c.state == State::Missing);
    let rung = patient.host.rung();
    Report { checks, rung: rung.as_str(), identity: identity(rung, patient.map.as_ref()), usable }
}

fn identity(rung: Rung, map: Option<&IdMap>) -> String {
    let ids = map.map_or_else(String::new, |m| {
        let last = |m: &bryo_identity::map::Mapping| m.host.get().saturating_add(m.count.saturating_sub(1));
        let (first, last) = (m.uids.iter().map(|m| m.host.get()).min(), m.uids.iter().map(last).max());
        format!("{}-{}", first.unwrap_or(0), last.unwrap_or(0))
    });
    match rung {
        Rung::Subordinate | Rung::Sharing => format!("containers are host ids {ids}; you are not among them"),
        Rung::Root => format!("each container is a range of its own like {ids}; root of the host is in none"),
        Rung::Single => "containers are you on the host: whoever breaks out of one would be you".into(),
    }
}
