// SPDX-License-Identifier: Apache-2.0
//! A refused call as a sentence: what it wanted, as who, and what would satisfy it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};
use serde::Serialize;

use super::remedy::remedy;
use super::table::Verb;
use super::{Observation, Refusal};

/// How the container was run, as far as a remedy depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Whether the network is the container's own.
    pub own_network: bool,
    /// The system call filter.
    pub filter: Option<&'a LinuxSeccomp>,
}

impl Setting<'_> {
    /// Tells whether the filter lets a call through at all, perhaps with some arguments only.
    pub(super) fn permits(self, call: &str) -> bool {
        let allows = |rule: &LinuxSyscall| {
            rule.action() == LinuxSeccompAction::ScmpActAllow && rule.names().iter().any(|name| name == call)
        };
        self.filter.is_none_or(|filter| filter.syscalls().iter().flatten().any(allows))
    }
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What was wanted, in words.
    pub wanted: String,
    /// The user and the group inside that wanted it.
    pub as_user: String,
    /// The program, by the name that it gives itself.
    pub program: String,
    /// The system calls that were refused.
    pub calls: Vec<String>,
    /// `EPERM`, `EACCES` or `EROFS`; `EINVAL` for an id that the container does not have.
    pub errno: String,
    /// How often.
    pub count: u64,
    /// What would satisfy it.
    pub remedy: String,
}

/// Turns what was refused into sentences. The same thing wanted by several calls is one.
pub fn sentences(seen: &Observation, setting: Setting<'_>) -> Vec<Sentence> {
    let mut sentences: Vec<Sentence> = Vec::new();
    for (refusal, count) in &seen.refused {
        let Refusal { call, errno, uid, gid, program, .. } = refusal;
        let (wanted, as_user) = (wanted(refusal), format!("{uid}:{gid}"));
        let same = |s: &&mut Sentence| {
            s.wanted == wanted && s.as_user == as_user && s.program == *program && s.errno == *errno
        };
        if let Some(same) = sentences.iter_mut().find(same) {
            same.count += count;
            if !same.calls.contains(call) {
                same.calls.push(call.clone());
            }
            continue;
        }
        sentences.push(Sentence {
            remedy: remedy(refusal, setting),
            wanted,
            as_user,
            program: program.clone(),
            calls: vec![call.clone()],
            errno: errno.clone(),
            count: *count,
        });
    }
    sentences
}

/// Says what was wanted.
fn wanted(refusal: &Refusal) -> String {
    let object = refusal.object.as_deref().unwrap_or("something");
    let detail = refusal.detail.as_deref();
    let call = &refusal.call;
    match refusal.verb {
        Verb::Read => format!("read {object}"),
        Verb::Write => format!("write {object}"),
        Verb::Create => format!("make {object}"),
        Verb::Device => format!("make the device {object}"),
        Verb::Remove => format!("remove {object}"),
        Verb::Rename => format!("rename {object} to {}", detail.unwrap_or("something")),
        Verb::Change => format!("change {object} ({call})"),
        Verb::Own => format!("give {object} to {}", detail.unwrap_or("another")),
        Verb::Execute => format!("execute {object}"),
        Verb::Enter => format!("enter {object}"),
        Verb::Root => format!("have {object} as its root"),
        Verb::Mount => match (detail, refusal.object.as_deref()) {
            (Some(kind), Some(target)) => format!("mount {kind} on {target}"),
            (None, Some(target)) => format!("mount on, or unmount, {target}"),
            _ => format!("mount ({call})"),
        },
        Verb::Bind => format!("bind {object}"),
        Verb::Listen => "wait for connections".to_owned(),
        Verb::Connect => format!("reach {object}"),
        Verb::Socket => format!("make a socket ({object})"),
        Verb::User => format!("become user {object}"),
        Verb::Group if call.starts_with("setgroups") => "have other groups".to_owned(),
        Verb::Group => format!("become group {object}"),
        Verb::Signal => format!("send a signal to process {object}"),
        Verb::Name => "name the machine".to_owned(),
        Verb::Clock => "set the clock".to_owned(),
        Verb::Limit => "raise a limit".to_owned(),
        Verb::Priority => format!("have another priority ({call})"),
        Verb::Inspect => format!("look into another process ({call})"),
        Verb::Namespace => format!("make or join namespaces ({call})"),
        Verb::Memory => "keep memory from being swapped out".to_owned(),
        Verb::Kernel => format!("steer the kernel ({call})"),
        Verb::Privilege => format!("change what it is permitted ({call})"),
        Verb::Other => format!("call {call}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::observe) fn refusal(call: &str, verb: Verb, errno: &str, object: &str) -> Refusal {
        Refusal {
            call: call.into(),
            errno: errno.into(),
            verb,
            object: Some(object.into()),
            detail: None,
            uid: 65532,
            gid: 65532,
            program: "sh".into(),
        }
    }

    #[test]
    fn the_same_thing_wanted_by_two_calls_is_one_sentence() {
        let refused = vec![
            (refusal("open", Verb::Write, "EROFS", "/etc/x"), 2),
            (refusal("openat", Verb::Write, "EROFS", "/etc/x"), 3),
            (refusal("bind", Verb::Bind, "EACCES", "0.0.0.0 tcp port 80"), 1),
        ];
        let seen = Observation { refused, ..Observation::default() };
        let setting = Setting { own_network: false, filter: None };
        let found = sentences(&seen, setting);
        let write = found.iter().find(|s| s.wanted == "write /etc/x").unwrap();
        assert_eq!((write.count, write.calls.len(), write.as_user.as_str()), (5, 2, "65532:65532"));
        assert!(write.remedy.contains("in the build"), "{}", write.remedy);
        let bind = found.iter().find(|s| s.wanted == "bind 0.0.0.0 tcp port 80").unwrap();
        assert!(bind.remedy.contains("--network host"), "{}", bind.remedy);
        assert_eq!(found.len(), 2);
    }
}
