// SPDX-License-Identifier: Apache-2.0
//! Who runs, who that is on the host, and what an escapee would reach: one card for each subject.

use serde::Serialize;

use crate::facts::dockerfile::Facts;
use crate::facts::workload::{Platform, Workload};
use crate::identity::{Effective, Verdict};
use crate::judge::identity;
use crate::model::{Finding, Level, Severity};
use crate::rules;

/// One thing that is reached.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reach {
    /// What.
    pub what: String,
    /// How bad that is.
    pub severity: Severity,
}

/// One subject.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Who runs, inside: `root`, `not root` or `unproven`.
    pub verdict: &'static str,
    /// The user inside, in words.
    pub inside: String,
    /// The same on the host, in words.
    pub host: String,
    /// The strictest level of the Pod Security Standards that it keeps, for pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<&'static str>,
    /// What is reached, the worst first.
    pub reach: Vec<Reach>,
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Root => "root",
        Verdict::NotRoot => "not root",
        Verdict::Unproven => "unproven",
    }
}

/// Tells the strictest level that findings leave.
pub fn level(findings: &[Finding]) -> &'static str {
    let broken = |level: Level| findings.iter().any(|finding| finding.rule.level == Some(level));
    match (broken(Level::Baseline), broken(Level::Restricted)) {
        (true, _) => "privileged",
        (false, true) => "baseline",
        (false, false) => "restricted",
    }
}

/// The rules whose findings say what is reached, and not what could be better.
fn reaches(id: &str) -> bool {
    [
        &rules::PRIVILEGED,
        &rules::DANGEROUS_CAPABILITY,
        &rules::CAPABILITIES,
        &rules::HOST_NETWORK,
        &rules::HOST_PID,
        &rules::HOST_IPC,
        &rules::HOST_OTHER,
        &rules::HOST_PATH,
        &rules::ENGINE_SOCKET,
        &rules::DEVICES,
        &rules::PROPAGATION,
        &rules::PROC_MOUNT,
        &rules::SECCOMP_OFF,
        &rules::TOKEN,
        &rules::ROOT_IN_REACH,
        &rules::SET_ID,
        &rules::SUDO,
        &rules::SECRET,
        &rules::WRITABLE_CODE,
        &rules::ROOT_IS_HOST_ROOT,
    ]
    .iter()
    .any(|rule| rule.id == id)
}

fn reach(findings: &[Finding]) -> Vec<Reach> {
    let found = findings.iter().filter(|finding| reaches(finding.rule.id));
    let mut all: Vec<Reach> =
        found.map(|finding| Reach { what: finding.evidence.clone(), severity: finding.severity }).collect();
    all.sort_by_key(|reach| std::cmp::Reverse(reach.severity));
    all.dedup();
    all
}

fn inside(verdict: Verdict, uid: Option<i64>, gid: Option<i64>) -> String {
    let number = |id: Option<i64>| id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    match (verdict, uid) {
        (Verdict::Unproven, None) => "cannot be told".to_owned(),
        _ => format!("uid {}, gid {}", number(uid), number(gid)),
    }
}

/// Makes the card of a container.
pub fn of_workload(made: &Workload, findings: &[Finding]) -> Card {
    let who = identity::who(made);
    let (verdict, uid) = match &made.process {
        Some(process) => match process.uid {
            Some(0) => (Verdict::Root, Some(0)),
            Some(uid) => (Verdict::NotRoot, Some(i64::from(uid))),
            None => (who.verdict, who.uid),
        },
        None => (who.verdict, who.uid),
    };
    let host = match &made.process {
        Some(process) => format!("uid {}", process.host_uid),
        None if made.in_user_namespace() => "an id of its own user namespace".to_owned(),
        None if made.platform == Platform::Kubernetes || made.platform == Platform::Bundle => {
            uid.map_or_else(|| "the same id".to_owned(), |uid| format!("uid {uid}, the same"))
        }
        None => "as the engine maps it".to_owned(),
    };
    let inside = inside(verdict, uid, who.gid);
    Card { name: made.name.clone(), verdict: word(verdict), inside, host, level: None, reach: reach(findings) }
}

/// Makes the card of an image.
pub fn of_image(name: &str, who: &Effective, findings: &[Finding]) -> Card {
    let inside = inside(who.verdict, who.uid.map(i64::from), who.gid.map(i64::from));
    let host = "as the engine maps it".to_owned();
    Card { name: name.to_owned(), verdict: word(who.verdict), inside, host, level: None, reach: reach(findings) }
}

/// Makes the card of what a Dockerfile builds.
pub fn of_dockerfile(facts: &Facts, verdict: Verdict, findings: &[Finding]) -> Card {
    let stage = facts.stages.get(facts.target);
    let user = stage.and_then(|stage| stage.user.as_ref());
    let inside = match user {
        Some(user) => format!("USER {}", user.value.text),
        None if verdict == Verdict::Root => "no USER: uid 0".to_owned(),
        None => "the base image's user".to_owned(),
    };
    let name = stage.map_or_else(String::new, |stage| format!("stage {}", stage.name));
    let host = "as the engine maps it".to_owned();
    Card { name, verdict: word(verdict), inside, host, level: None, reach: reach(findings) }
}
