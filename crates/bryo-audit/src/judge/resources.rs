// SPDX-License-Identifier: Apache-2.0
//! Limits, networks, images and what is run: the rules that hold for every platform.

use super::startup::{self, Start};
use super::{Setting, secrets};
use crate::bases;
use crate::facts::workload::{Platform, Workload};
use crate::model::{Place, Sink};
use crate::rules::*;

/// Judges limits, networks, images and what is run.
pub fn judge(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    secrets::environment(workload, sink);
    for lifted in &workload.lifted {
        sink.add(&ULIMITS, &lifted.place, &*lifted.value);
    }
    for image in &workload.image_volumes {
        named(&image.value, &image.place, setting, sink);
    }
    if workload.is_pod {
        return;
    }
    limits(workload, sink);
    image(workload, setting, sink);
    let who = super::identity::who(workload);
    for command in &workload.commands {
        let (words, place, root) = (&command.value[..], &command.place, who.verdict);
        let start = Start { words, place, root, scripts: &|_, _| None, programs: &|_| None };
        startup::judge(&start, sink);
    }
    for fact in &workload.unresolved {
        sink.add(&UNRESOLVED, &fact.place, &*fact.value);
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
    // The address at which Docker's daemon obeys everybody.
    for port in workload.ports.iter().filter(|port| port.inside == Some(2375)) {
        sink.add(&ENGINE_SOCKET, &port.place, "port 2375: an engine's API without a password");
    }
}

fn image(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    let Some(image) = workload.image.as_ref().filter(|_| !workload.built) else { return };
    if workload.pinned {
        trusted(&image.value, &image.place, setting, sink);
    } else {
        named(&image.value, &image.place, setting, sink);
    }
}

/// Judges the name of an image: whether it names one image, and of a registry that is trusted.
pub fn named(image: &str, place: &Place, setting: &Setting, sink: &mut Sink) {
    if !bases::is_pinned(image) {
        sink.add(&MUTABLE_TAG, place, format!("image {image}"));
    }
    trusted(image, place, setting, sink);
}

/// Says that an image is not from a registry on the list.
pub fn trusted(image: &str, place: &Place, setting: &Setting, sink: &mut Sink) {
    let registry = bases::registry(image);
    if !setting.registries.is_empty() && !setting.registries.iter().any(|known| known == registry) {
        sink.add(&UNTRUSTED_REGISTRY, place, format!("{registry} is not on the list"));
    }
}
