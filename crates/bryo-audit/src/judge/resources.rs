// SPDX-License-Identifier: Apache-2.0
//! Limits, networks, images and what is run: the rules that hold for every platform.

use super::startup::{self, Start};
use super::{Setting, secrets};
use crate::bases;
use crate::facts::workload::{Platform, Workload};
use crate::model::Sink;
use crate::rules::*;

/// Judges limits, networks, images and what is run.
pub fn judge(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    secrets::environment(workload, sink);
    if workload.is_pod {
        return;
    }
    limits(workload, sink);
    image(workload, setting, sink);
    changes(workload, sink);
    let who = super::identity::who(workload);
    for command in &workload.commands {
        let start = Start { words: &command.value, place: &command.place, root: who.verdict, scripts: &|_| None };
        startup::judge(&start, sink);
    }
    for fact in &workload.unresolved {
        sink.add(&UNRESOLVED, &fact.place, &*fact.value);
    }
    for warning in &workload.not_enforced {
        sink.add(&NOT_ENFORCED, &workload.place(), &**warning);
    }
}

fn limits(workload: &Workload, sink: &mut Sink) {
    let place = workload.place();
    match &workload.read_only {
        Some(fact) if fact.value => {}
        Some(fact) => sink.add(&WRITABLE_ROOT, &fact.place, "the root file system is writable"),
        None => sink.add(&WRITABLE_ROOT, &place, "the root file system is writable"),
    }
    if !workload.memory {
        sink.add(&MEMORY, &place, "memory is not limited");
    }
    if !workload.cpu {
        sink.add(&CPU, &place, "processor time is not limited");
    }
    if !workload.pids {
        sink.add(&PIDS, &place, "processes are not limited");
    }
    for lifted in &workload.lifted {
        sink.add(&ULIMITS, &lifted.place, &*lifted.value);
    }
    for mount in workload.mounts.iter().filter(|mount| mount.unbounded) {
        sink.add(&ULIMITS, &mount.place, format!("{}: a tmpfs without a size", mount.target));
    }
    if let Some(restart) = &workload.restart
        && matches!(restart.value.as_str(), "always" | "unless-stopped" | "on-failure")
    {
        sink.add(&RESTART, &restart.place, format!("restart: {}", restart.value));
    }
    if workload.default_network {
        sink.add(&DEFAULT_NETWORK, &place, "the network that all containers are in by default");
    }
    if workload.health == Some(false) {
        sink.add(&HEALTHCHECK, &place, "no health check");
    }
    for mount in &workload.mounts {
        let system = ["/proc", "/sys", "/dev", "/etc"].contains(&mount.target.trim_end_matches('/'));
        if system && workload.platform == Platform::Compose {
            sink.add(&SYSTEM_DIRECTORY, &mount.place, format!("a volume on {}", mount.target));
        }
    }
    if workload.platform == Platform::Compose
        && super::identity::who(workload).verdict == crate::identity::Verdict::NotRoot
    {
        for port in workload.ports.iter().filter(|port| port.inside.is_some_and(|port| (1..1024).contains(&port))) {
            sink.add(&LOW_PORT, &port.place, format!("port {}", port.inside.unwrap_or_default()));
        }
    }
    for port in workload.ports.iter().filter(|port| port.inside == Some(22)) {
        sink.add(&SSHD, &port.place, "port 22");
    }
}

fn image(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    let Some(image) = &workload.image else { return };
    if !workload.pinned && !workload.built && !bases::is_pinned(&image.value) {
        sink.add(&MUTABLE_TAG, &image.place, format!("image {}", image.value));
    }
    let registry = bases::registry(&image.value);
    let trusted = setting.registries.is_empty() || setting.registries.iter().any(|known| known == registry);
    if !trusted && !workload.built {
        sink.add(&UNTRUSTED_REGISTRY, &image.place, format!("{registry} is not on the list"));
    }
}

/// Directories that programs are in.
const PROGRAMS: [&str; 8] =
    ["/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/lib/", "/usr/lib/", "/opt/"];

/// What was changed since the container was made.
fn changes(workload: &Workload, sink: &mut Sink) {
    let databases = ["/var/lib/dpkg/status", "/lib/apk/db/installed", "/var/lib/rpm/", "/usr/lib/sysimage/rpm/"];
    let place = workload.place();
    let packages = |path: &str| {
        databases.iter().any(|known| path.starts_with(known))
            || path.contains("/site-packages/")
            || path.contains("/node_modules/")
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
