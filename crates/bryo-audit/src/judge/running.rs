// SPDX-License-Identifier: Apache-2.0
//! What only shows while a container runs: its processes, what has changed in it, what of its settings is in force.

use std::fmt::Write as _;

use bryo_engine::drift::{Finding as Drifted, Meaning};

use super::identity::Who;
use crate::facts::workload::{Member, Process, Workload};
use crate::identity::{Part, User, Verdict};
use crate::model::{Severity, Sink};
use crate::rules::*;

/// How many of several are named.
const NAMED_MAX: usize = 10;

/// Judges what is known of a running container.
pub fn judge(workload: &Workload, who: &Who, sink: &mut Sink) {
    let place = workload.place();
    if let Some(process) = &workload.process {
        first(workload, process, who, sink);
        for member in &process.members {
            self::member(workload, process, member, who, sink);
        }
        in_force(workload, process, sink);
    }
    for (user, privileged) in &workload.execs {
        let root = User::parse(user)
            .is_none_or(|user| matches!(user.user, Part::Id(0)) || user.user == Part::Name("root".into()));
        if *privileged && !workload.is_privileged() {
            sink.add_as(&EXEC_AS_ROOT, Severity::High, &place, format!("a privileged exec as {user:?}"));
        } else if root && !user.is_empty() && who.verdict == Verdict::NotRoot {
            sink.add(&EXEC_AS_ROOT, &place, format!("exec as {user:?}"));
        }
    }
    for warning in &workload.not_enforced {
        sink.add(&NOT_ENFORCED, &place, &**warning);
    }
    for odd in &workload.host_ids {
        sink.add(&USER_NAMESPACE, &place, &**odd);
    }
    match &workload.drift {
        Some(drift) => drifted(drift, workload, sink),
        None => changes(workload, sink),
    }
    written(workload, sink);
}

/// The first process, against what was said.
fn first(workload: &Workload, process: &Process, who: &Who, sink: &mut Sink) {
    let place = workload.place();
    let said = who.uid.and_then(|uid| u32::try_from(uid).ok());
    let other = match (process.uid, said) {
        (Some(0), _) if who.verdict != Verdict::Root => Some("is root, and was not meant to be".to_owned()),
        (Some(is), Some(said)) if is != said => Some(format!("is uid {is}, and was meant to be {said}")),
        _ => None,
    };
    if let Some(what) = other {
        sink.add(&PROCESS_ROOT, &place, format!("the first process {what}"));
    } else if process.host_uid == 0 {
        sink.add(&PROCESS_ROOT, &place, "the first process is root of the host");
    }
    match process.root_is {
        Some(0) => {
            let severity = if process.host_uid == 0 { Severity::Critical } else { Severity::Medium };
            let evidence = format!("root inside is root of the host; the process is uid {} there", process.host_uid);
            sink.add_as(&ROOT_IS_HOST_ROOT, severity, &place, evidence);
        }
        // One id alone, beside a range: whoever has started it.
        Some(root) if process.map.iter().any(|(inside, _, count)| *inside == 0 && *count == 1) => {
            let evidence = format!("root inside is uid {root} of the host, whoever has started it");
            sink.add_as(&ROOT_IS_HOST_ROOT, Severity::Low, &place, evidence);
        }
        _ => {}
    }
}

/// Programs that install software.
const INSTALLERS: [&str; 17] = [
    "apt", "apt-get", "aptitude", "dpkg", "apk", "dnf", "microdnf", "yum", "rpm", "zypper", "pacman", "pip", "pip3",
    "npm", "gem", "cargo", "composer",
];

/// One process of the container.
fn member(workload: &Workload, process: &Process, member: &Member, who: &Who, sink: &mut Sink) {
    let (place, name) = (workload.place(), &member.name);
    let meant = process.uid.or(who.uid.and_then(|uid| u32::try_from(uid).ok()));
    if member.entered {
        let more = member.capabilities & !process.capabilities;
        if more != 0 && !workload.is_privileged() {
            let what = format!("{name}, which was started inside, has capabilities that the container has not");
            sink.add_as(&EXEC_AS_ROOT, Severity::High, &place, what);
        } else if member.uid == Some(0) && meant != Some(0) {
            sink.add(&EXEC_AS_ROOT, &place, format!("{name} was started inside as root"));
        } else if let (Some(is), Some(meant)) = (member.uid, meant)
            && is != meant
        {
            let what = format!("{name} was started inside as uid {is}, and the container is {meant}");
            sink.add_as(&EXEC_AS_ROOT, Severity::Low, &place, what);
        }
    } else if member.uid == Some(0) && meant.is_some_and(|meant| meant != 0) {
        sink.add(&PROCESS_ROOT, &place, format!("{name} is root, and the container is not"));
    }
    if INSTALLERS.contains(&name.as_str()) {
        sink.add(&INSTALLED_WHILE_RUNNING, &place, format!("{name} runs"));
    }
    if matches!(name.as_str(), "sshd" | "dropbear") {
        sink.add(&SSHD, &place, format!("{name} runs"));
    }
    if member.nested {
        sink.add(&USER_NAMESPACE, &place, format!("{name} has made a user namespace of its own, and is root in it"));
    }
}

/// What was asked for, against what the kernel does.
fn in_force(workload: &Workload, process: &Process, sink: &mut Sink) {
    let place = workload.place();
    if let Some(limits) = process.limits {
        let asked = [(workload.memory, "memory"), (workload.cpu, "processor time"), (workload.pids, "processes")];
        for ((asked, what), is) in asked.into_iter().zip(limits) {
            if asked && !is {
                sink.add(&NOT_ENFORCED, &place, format!("the limit of {what} is in no control group of it"));
            }
        }
    }
    let open = workload.seccomp.as_ref().is_some_and(|fact| fact.value == "Unconfined") || workload.is_privileged();
    if process.filtered == Some(false) && !open {
        sink.add_as(&NOT_ENFORCED, Severity::High, &place, "no filter of system calls is in force");
    }
    let bound = workload.escalation.as_ref().is_some_and(|fact| !fact.value);
    if bound && process.no_new_privileges == Some(false) {
        sink.add_as(&NOT_ENFORCED, Severity::High, &place, "no_new_privs is not in force");
    }
    let asked = workload.apparmor.iter().any(|fact| fact.value != "Unconfined") || !workload.selinux.is_empty();
    let free = process.label.as_ref().is_some_and(|label| label.is_empty() || label.starts_with("unconfined"));
    if asked && free {
        let what = "a profile of AppArmor or SELinux was asked for, and none is in force";
        sink.add_as(&NOT_ENFORCED, Severity::Medium, &place, what);
    }
}

/// Names some of many.
fn named<'a>(all: impl Iterator<Item = &'a Drifted>) -> Option<String> {
    let mut text = String::new();
    let mut more = 0;
    for (at, found) in all.enumerate() {
        if at >= NAMED_MAX {
            more += 1;
            continue;
        }
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{} {}", found.what, found.happened.name());
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

/// What is not as the image has it.
fn drifted(drift: &[Drifted], workload: &Workload, sink: &mut Sink) {
    let place = workload.place();
    let of = |kinds: &'static [Meaning]| drift.iter().filter(move |found| kinds.contains(&found.meaning));
    if let Some(text) = named(of(&[Meaning::Package])) {
        sink.add(&INSTALLED_WHILE_RUNNING, &place, text);
    }
    if let Some(text) = named(of(&[Meaning::Executable, Meaning::SetUid, Meaning::Process])) {
        sink.add(&CHANGED_PROGRAMS, &place, text);
    }
}

/// Directories that programs are in.
const PROGRAMS: [&str; 8] =
    ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/lib/", "/usr/lib/", "/opt/"];

/// What was changed since the container was made, by the names of files alone.
fn changes(workload: &Workload, sink: &mut Sink) {
    let databases = ["/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/", "/usr/lib/sysimage/rpm/"];
    let place = workload.place();
    let packages = |path: &str| {
        databases.iter().any(|known| path.starts_with(known))
            || ["/site-packages/", "/dist-packages/", "/node_modules/", "/gems/"].iter().any(|dir| path.contains(dir))
    };
    if let Some((_, path)) = workload.changes.iter().find(|(_, path)| packages(path)) {
        sink.add(&INSTALLED_WHILE_RUNNING, &place, format!("{path} was changed"));
    }
    let programs = |path: &str| PROGRAMS.iter().any(|dir| path.starts_with(dir)) && !packages(path);
    let changed: Vec<&str> =
        workload.changes.iter().map(|(_, path)| path.as_str()).filter(|path| programs(path)).collect();
    if let Some(first) = changed.first() {
        sink.add(&CHANGED_PROGRAMS, &place, format!("{first} and {} more were changed", changed.len() - 1));
    }
}

/// Where it has written in its own layer: with another uid it needs a right or a volume there.
fn written(workload: &Workload, sink: &mut Sink) {
    let mut dirs: Vec<&str> = Vec::new();
    let state = ["/var/lib/", "/var/log/", "/var/cache/", "/var/spool/", "/srv/", "/data/", "/opt/", "/home/"];
    for (_, path) in
        workload.changes.iter().filter(|(kind, path)| *kind == 1 && state.iter().any(|dir| path.starts_with(dir)))
    {
        let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
        if !dirs.contains(&dir) && dirs.len() < NAMED_MAX {
            dirs.push(dir);
        }
    }
    if !dirs.is_empty() {
        let what = format!("it writes to {}: with another uid these need a right, or a volume", dirs.join(", "));
        sink.add(&ANY_UID, &workload.place(), what);
    }
}
