// SPDX-License-Identifier: Apache-2.0
//! The Pod Security Standards, as their policy has them, and what else is only said of pods.
//!
//! A control is judged where it is said: what a pod says is the pod's finding, and what a container says or leaves out is
//! the container's. The version of the policy is that of the cluster.

use super::Setting;
use super::confinement::{is_baseline_capability, is_safe_sysctl, is_selinux_type};
use super::identity::who;
use crate::facts::workload::{Namespace, Workload};
use crate::identity::{Part, User, Verdict};
use crate::model::{Fact, Severity, Sink};
use crate::rules::*;

/// Judges a pod, or one of its containers.
pub fn judge(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    shared(workload, setting, sink);
    if workload.is_pod {
        pod(workload, setting, sink);
    } else {
        container(workload, setting, sink);
    }
}

/// Tells whether a policy is relaxed since the pod has its own users.
fn relaxed(workload: &Workload, setting: &Setting) -> bool {
    setting.kubernetes >= 35 && workload.in_user_namespace()
}

/// What can be said of both.
fn shared(workload: &Workload, setting: &Setting, sink: &mut Sink) {
    if !relaxed(workload, setting) {
        if let Some(fact) = workload.run_as_non_root.as_ref().filter(|fact| !fact.value) {
            sink.add(&RUN_AS_NON_ROOT, &fact.place, "runAsNonRoot: false");
        }
        if let Some(fact) = workload.run_as_user.as_ref().filter(|fact| fact.value == 0) {
            sink.add(&RUN_AS_USER_ROOT, &fact.place, "runAsUser: 0");
        }
    }
    if let Some(fact) = workload.seccomp.as_ref().filter(|fact| !is_profile(&fact.value)) {
        sink.add(&SECCOMP_OFF, &fact.place, format!("seccompProfile.type: {}", fact.value));
    }
    for fact in workload.apparmor.iter().filter(|fact| !is_profile(&fact.value)) {
        sink.add(&APPARMOR_OFF, &fact.place, format!("AppArmor profile: {}", fact.value));
    }
    for fact in &workload.selinux {
        let (part, value) = &fact.value;
        let bad = match part.as_str() {
            "type" => !is_selinux_type(value, setting.kubernetes),
            "user" | "role" => !value.is_empty(),
            _ => false,
        };
        if bad {
            sink.add(&SELINUX, &fact.place, format!("seLinuxOptions.{part}: {value}"));
        }
    }
    if let Some(fact) = workload.host_process.as_ref().filter(|fact| fact.value) {
        sink.add(&HOST_PROCESS, &fact.place, "windowsOptions.hostProcess: true");
    }
}

fn is_profile(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn pod(pod: &Workload, setting: &Setting, sink: &mut Sink) {
    for sysctl in pod.sysctls.iter().filter(|sysctl| !is_safe_sysctl(&sysctl.value, setting.kubernetes)) {
        sink.add(&SYSCTL, &sysctl.place, format!("sysctl {}", sysctl.value));
    }
    for volume in &pod.volumes {
        let allowed = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "image",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        if !volume.kinds.iter().any(|kind| allowed.contains(&kind.as_str())) {
            let kinds = volume.kinds.join(", ");
            sink.add(&VOLUME_TYPE, &volume.place, format!("volume {}: {kinds}", volume.name));
        }
    }
    match &pod.token {
        Some(fact) if !fact.value => {}
        Some(fact) => sink.add(&TOKEN, &fact.place, "automountServiceAccountToken: true"),
        None => sink.add(&TOKEN, &pod.place(), "automountServiceAccountToken is not false"),
    }
    match &pod.namespace {
        Some(fact) if matches!(fact.value.as_str(), "default" | "kube-system" | "kube-public") => {
            sink.add(&DEFAULT_NAMESPACE, &fact.place, format!("namespace {}", fact.value));
        }
        _ => {}
    }
    let uses_token = pod.token.as_ref().is_none_or(|fact| fact.value);
    if uses_token && pod.account.as_ref().is_none_or(|account| account.value == "default") {
        let place = pod.account.as_ref().map_or_else(|| pod.place(), |fact| fact.place.clone());
        sink.add(&DEFAULT_NAMESPACE, &place, "the default service account");
    }
    if let Some(place) = &pod.host_aliases {
        sink.add(&HOST_ALIASES, place, "hostAliases");
    }
    // Taken back where a policy is found that selects it.
    if !pod.has_host(Namespace::Network) {
        // It may be in the cluster all the same: nobody who audits a file alone has more to say.
        let what = "no NetworkPolicy among what was audited selects it";
        sink.add_as(&DEFAULT_NETWORK, Severity::Low, &pod.place(), what);
    }
}

fn container(made: &Workload, setting: &Setting, sink: &mut Sink) {
    let place = made.place();
    let empty = Workload::default();
    let pod = made.pod.as_deref().unwrap_or(&empty);
    capabilities(made, sink);
    let is_true = |fact: &Option<Fact<bool>>| fact.as_ref().is_some_and(|fact| fact.value);
    if made.run_as_non_root.is_none() && !is_true(&pod.run_as_non_root) && !relaxed(made, setting) {
        sink.add(&RUN_AS_NON_ROOT, &place, "runAsNonRoot is not set, neither here nor for the pod");
    }
    let profile = pod.seccomp.as_ref().is_some_and(|fact| is_profile(&fact.value));
    if made.seccomp.is_none() && !profile && !made.windows {
        sink.add(&SECCOMP_UNSET, &place, "seccompProfile is not set, neither here nor for the pod");
    }
    if !made.windows {
        match &made.escalation {
            Some(fact) if !fact.value => {}
            Some(fact) => sink.add(&NEW_PRIVILEGES, &fact.place, "allowPrivilegeEscalation: true"),
            None => sink.add(&NEW_PRIVILEGES, &place, "allowPrivilegeEscalation is not set"),
        }
    }
    if let Some(fact) = made.proc_mount.as_ref().filter(|fact| fact.value != "Default") {
        let rule = if relaxed(made, setting) { &PROC_MOUNT_ANY } else { &PROC_MOUNT };
        sink.add(rule, &fact.place, format!("procMount: {}", fact.value));
    }
    for port in made.ports.iter().filter(|port| port.outside.is_some_and(|port| port != 0)) {
        sink.add(&HOST_PORT, &port.place, format!("hostPort: {}", port.outside.unwrap_or_default()));
    }
    if setting.kubernetes >= 34 {
        for host in &made.probe_hosts {
            sink.add(&PROBE_HOST, &host.place, format!("host: {}", host.value));
        }
    }
    if !made.has_context && !pod.has_context {
        sink.add(&NO_SECURITY_CONTEXT, &place, "neither the container nor the pod has a securityContext");
    }
    names(made, pod, sink);
    owners(made, sink);
}

/// The names must be exact: the policy compares text.
fn capabilities(made: &Workload, sink: &mut Sink) {
    let dropped = made.drop.iter().any(|fact| fact.value == "ALL");
    if !dropped && !made.windows {
        let place = made.drop.first().map_or_else(|| made.place(), |fact| fact.place.clone());
        sink.add(&DROP_ALL, &place, "capabilities.drop does not have ALL");
    }
    for added in &made.add {
        if !is_baseline_capability(&added.value) {
            sink.add(&CAPABILITIES, &added.place, format!("capabilities.add: {}", added.value));
        } else if added.value != "NET_BIND_SERVICE" && !made.windows {
            sink.add(&ADDED_CAPABILITIES, &added.place, format!("capabilities.add: {}", added.value));
        }
    }
}

/// What follows from the image's own user.
fn names(made: &Workload, pod: &Workload, sink: &mut Sink) {
    let non_root = made.run_as_non_root.as_ref().or(pod.run_as_non_root.as_ref()).is_some_and(|fact| fact.value);
    let number = made.run_as_user.is_some() || pod.run_as_user.is_some();
    let image = made.image_user.as_deref().unwrap_or_default();
    let user = User::parse(image);
    let name = matches!(user.as_ref().map(|user| &user.user), Some(Part::Name(_)));
    if non_root && !number && name {
        let evidence = format!("the image's USER is the name {image:?}");
        sink.add(&NAMED_USER_UNVERIFIABLE, &made.place(), evidence);
    }
    if let Some(fact) = made.run_as_user.as_ref().filter(|fact| fact.value == 0)
        && user.is_some_and(|user| !matches!(user.user, Part::Id(0)) && image != "root")
    {
        sink.add(&BACK_TO_ROOT, &fact.place, format!("the image's user is {image:?}, and this makes it root"));
    }
    let not_root = who(made).verdict == Verdict::NotRoot || non_root;
    let bind = made.add.iter().any(|fact| fact.value == "NET_BIND_SERVICE");
    let lowered = pod.sysctls.iter().any(|fact| fact.value == "net.ipv4.ip_unprivileged_port_start");
    for port in made.ports.iter().filter(|_| not_root && !bind && !lowered && !made.has_host(Namespace::Network)) {
        if let Some(number) = port.inside.filter(|number| (1..1024).contains(number)) {
            sink.add(&LOW_PORT, &port.place, format!("containerPort: {number}"));
        }
    }
    pulled(made, sink);
}

/// A tag that is not asked for again may be another image on every node. Without a policy `latest` is asked for.
fn pulled(made: &Workload, sink: &mut Sink) {
    let Some(image) = made.image.as_ref().filter(|image| !crate::bases::is_pinned(&image.value)) else { return };
    let latest = matches!(crate::bases::split(&image.value).1, "" | "latest");
    match &made.pull_policy {
        Some(policy) if policy.value == "Always" => {}
        Some(policy) => sink.add(&PULL_POLICY, &policy.place, format!("imagePullPolicy: {}", policy.value)),
        None if latest => {}
        None => sink.add(&PULL_POLICY, &image.place, "imagePullPolicy is IfNotPresent where it is not set"),
    }
}

/// Containers that only change owners before the others run.
fn owners(made: &Workload, sink: &mut Sink) {
    if !made.init || who(made).verdict == Verdict::NotRoot {
        return;
    }
    for command in &made.commands {
        let simple = crate::shell::commands_of(&command.value);
        if let Some(chown) = simple.iter().find(|simple| matches!(simple.program(), "chown" | "chmod" | "chgrp")) {
            sink.add(&CHOWN_CONTAINER, &command.place, chown.shown());
        }
    }
}
