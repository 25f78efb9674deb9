// SPDX-License-Identifier: Apache-2.0
//! A refused call as a sentence: what it wanted, as who, and what would satisfy it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};
use serde::Serialize;

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
    fn permits(self, call: &str) -> bool {
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

/// Says what would satisfy it: a flag, a line of a Dockerfile, a volume.
fn remedy(refusal: &Refusal, setting: Setting<'_>) -> String {
    let (uid, gid) = (refusal.uid, refusal.gid);
    let object = refusal.object.as_deref().unwrap_or("PATH");
    let dir = object.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir });
    let read_only = refusal.errno == "EROFS";
    match refusal.verb {
        _ if refusal.errno == "EINVAL" => {
            "the container does not have this id: bryo doctor says how the caller gets more than one".to_owned()
        }
        Verb::Create if read_only && dir == "/" => {
            format!("in the image: RUN mkdir {object} && chown {uid}:{gid} {object}, and -v NAME:{object}; or --writable")
        }
        Verb::Write | Verb::Remove | Verb::Rename | Verb::Change if read_only && dir == "/" => "--writable".to_owned(),
        Verb::Write | Verb::Create | Verb::Remove | Verb::Rename | Verb::Change if read_only => format!(
            "-v NAME:{dir} keeps what is written there, --tmpfs {dir} holds it for one run, --writable opens the whole root"
        ),
        Verb::Read => format!("in the image: RUN chmod o+rX {object}, or RUN chgrp {gid} and chmod g+rX"),
        Verb::Write if refusal.errno != "EROFS" => {
            format!("in the image: RUN chown {uid}:{gid} {object}; bryo harden does it for state directories")
        }
        Verb::Create | Verb::Remove | Verb::Rename => {
            format!("in the image: RUN chown {uid}:{gid} {dir}; or -v NAME:{dir}, a volume of its own")
        }
        Verb::Change => format!("only its owner may; in the image: RUN chown {uid}:{gid} {object}"),
        Verb::Own if read_only => format!(
            "in the image: COPY --chown or RUN chown, once, in place of a chown at the start; or -v NAME:{object}"
        ),
        Verb::Own => format!(
            "what belongs to {uid}:{gid} from the start need not be given away: COPY --chown={uid}:{gid} or RUN chown in the \
             image, or bryo harden"
        ),
        Verb::Execute => format!("in the image: RUN chmod a+rx {object}; nothing below a noexec --tmpfs runs without :exec"),
        Verb::Enter => format!("in the image: RUN chmod o+x {object}; or -w DIR for another working directory"),
        Verb::Bind if !setting.own_network => {
            "a network of its own (leave --network host out, and publish with -p) has no privileged ports; or a port from \
             1024 on. No flag opens the host's"
                .to_owned()
        }
        Verb::Bind | Verb::Listen => "another address or port; -p publishes any of them under any other".to_owned(),
        Verb::Connect => format!("what is at {object} must be open to {uid}:{gid}"),
        Verb::User | Verb::Group => format!(
            "it is {uid}:{gid} already: start as who it is to be (--user, or USER in the image) and leave the change out, \
             which bryo harden does for gosu and its like; --user root lets it change"
        ),
        Verb::Signal => format!("the other process is not {uid}'s: start both as one user"),
        Verb::Device => "nobody in a user namespace can make devices: leave it out; /dev has what is harmless".to_owned(),
        Verb::Root => "--user root --cap-add SYS_CHROOT; the container has a root of its own already".to_owned(),
        Verb::Mount => "-v or --tmpfs mounts it before the program starts; --cap-add SYS_ADMIN lets it mount itself, inside"
            .to_owned(),
        Verb::Socket if object.contains("raw") || object.contains("link-layer") => "--cap-add NET_RAW".to_owned(),
        Verb::Name => "--hostname NAME, before it starts".to_owned(),
        Verb::Clock => "only root of the host sets the clock: run what keeps time there, and leave it out here".to_owned(),
        Verb::Limit => "--ulimit NAME=SOFT:HARD, before it starts".to_owned(),
        Verb::Priority => "leave it out, or --cpu-shares; priorities are the host's to give".to_owned(),
        Verb::Inspect => "--cap-add SYS_PTRACE, which ends at the container".to_owned(),
        Verb::Memory => "--ulimit memlock=-1, as far as the caller's own limit goes".to_owned(),
        Verb::Privilege => "nothing: it has no privileges to change; leave the change out".to_owned(),
        Verb::Kernel => "only root of the host: leave it out".to_owned(),
        _ if !setting.permits(&refusal.call) => format!(
            "the system call filter refuses {}: --security-opt seccomp=FILE with a profile that permits it",
            refusal.call
        ),
        _ => "--user root has a few capabilities inside, and --cap-add gives single ones; still nobody on the host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(call: &str, verb: Verb, errno: &str, object: &str) -> Refusal {
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
        assert!(write.remedy.contains("--tmpfs /etc"), "{}", write.remedy);
        let bind = found.iter().find(|s| s.wanted == "bind 0.0.0.0 tcp port 80").unwrap();
        assert!(bind.remedy.contains("--network host"), "{}", bind.remedy);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn a_call_that_the_filter_refuses_is_told_apart() {
        let filter = crate::profile::default(&[]);
        let told = |call| {
            remedy(&refusal(call, Verb::Other, "EPERM", "x"), Setting { own_network: true, filter: Some(&filter) })
        };
        assert!(told("fanotify_init").contains("filter") && !told("getpid").contains("filter"));
    }
}
