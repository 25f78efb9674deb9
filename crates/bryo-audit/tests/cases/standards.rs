// SPDX-License-Identifier: Apache-2.0
//! The Pod Security Standards, control by control: what each forbids and what it allows, for pods, all three kinds of
//! containers, and what relaxes it.

use bryo_audit::{Auditor, Level, Setting, rules};

use super::numbers;

/// A pod that keeps both levels; the parts that a case changes are at the end of lines.
const POD: &str = "apiVersion: v1
kind: Pod
metadata:
  name: p
  annotations: {ANNOTATIONS}
spec:
  SPEC: null
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}POD}
  KIND:
  - name: c
    image: a
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}CONTEXT}
    CONTAINER: null
";

fn pod(change: &[(&str, &str)]) -> String {
    let mut text = POD.to_owned();
    for (word, by) in change {
        text = text.replace(word, by);
    }
    // A pod always has its list.
    if !text.contains("KIND") && !text.contains("  containers:") {
        text.push_str("  containers: []\n");
    }
    for (word, by) in [
        ("ANNOTATIONS", ""),
        ("SPEC: null", "x: 1"),
        ("POD", ""),
        ("KIND", "containers"),
        ("CONTEXT", ""),
        ("CONTAINER: null", "x: 1"),
    ] {
        text = text.replace(word, by);
    }
    text
}

fn found(text: &str, kubernetes: u32) -> std::collections::BTreeSet<u16> {
    let setting = Setting { kubernetes, ..Setting::default() };
    let auditor = Auditor { setting, level: Some(Level::Restricted), ..Auditor::default() };
    let outcome = auditor.text("p.yaml", text, None, None);
    assert!(outcome.problems.is_empty(), "{text}: {:?}", outcome.problems);
    numbers(&outcome)
}

/// What a control forbids: the rule, the place of a pod, and what stands there.
const FORBIDDEN: &[(u16, &str, &str)] = &[
    // Baseline.
    (79, "POD", ", windowsOptions: {hostProcess: true}"),
    (79, "CONTEXT", ", windowsOptions: {hostProcess: true}"),
    (68, "SPEC: null", "hostNetwork: true"),
    (69, "SPEC: null", "hostPID: true"),
    (70, "SPEC: null", "hostIPC: true"),
    (59, "CONTEXT", ", privileged: true"),
    (73, "SPEC: null", "volumes: [{name: v, hostPath: {path: /x}}]"),
    (76, "CONTAINER: null", "ports: [{containerPort: 1, hostPort: 8080}]"),
    (77, "CONTAINER: null", "livenessProbe: {httpGet: {host: 10.0.0.1}}"),
    (77, "CONTAINER: null", "readinessProbe: {tcpSocket: {host: 10.0.0.1}}"),
    (77, "CONTAINER: null", "startupProbe: {httpGet: {host: x}}"),
    (77, "CONTAINER: null", "lifecycle: {postStart: {httpGet: {host: x}}}"),
    (77, "CONTAINER: null", "lifecycle: {preStop: {tcpSocket: {host: x}}}"),
    (65, "ANNOTATIONS", "container.apparmor.security.beta.kubernetes.io/c: unconfined"),
    (65, "POD", ", appArmorProfile: {type: Unconfined}"),
    (65, "CONTEXT", ", appArmorProfile: {type: Unconfined}"),
    (66, "POD", ", seLinuxOptions: {type: somevalue}"),
    (66, "CONTEXT", ", seLinuxOptions: {user: somevalue}"),
    (66, "CONTEXT", ", seLinuxOptions: {role: somevalue}"),
    (67, "CONTEXT", ", procMount: Unmasked"),
    (64, "CONTEXT", ", seccompProfile: {type: Unconfined}"),
    (78, "POD", ", sysctls: [{name: kernel.msgmax, value: '1'}]"),
    // Restricted.
    (75, "SPEC: null", "volumes: [{name: v, nfs: {server: x, path: /}}]"),
    (75, "SPEC: null", "volumes: [{name: v, gitRepo: {repository: x}}]"),
    (75, "SPEC: null", "volumes: [{name: v, hostPath: {path: /x}}]"),
    (10, "POD", ", runAsUser: 0"),
    (10, "CONTEXT", ", runAsUser: 0"),
    (9, "CONTEXT", ", runAsNonRoot: false"),
];

/// What a control allows.
const ALLOWED: &[(u16, &str, &str)] = &[
    (79, "POD", ", windowsOptions: {hostProcess: false}"),
    (68, "SPEC: null", "hostNetwork: false"),
    (59, "CONTEXT", ", privileged: false"),
    (76, "CONTAINER: null", "ports: [{containerPort: 1, hostPort: 0}]"),
    (77, "CONTAINER: null", "livenessProbe: {httpGet: {host: ''}}"),
    (65, "ANNOTATIONS", "container.apparmor.security.beta.kubernetes.io/c: localhost/x"),
    (65, "ANNOTATIONS", "container.apparmor.security.beta.kubernetes.io/c: runtime/default"),
    (65, "POD", ", appArmorProfile: {type: Localhost, localhostProfile: x}"),
    (66, "POD", ", seLinuxOptions: {type: container_engine_t, level: s0}"),
    (67, "CONTEXT", ", procMount: Default"),
    (64, "CONTEXT", ", seccompProfile: {type: Localhost, localhostProfile: x}"),
    (
        78,
        "POD",
        ", sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}, {name: net.ipv4.tcp_notsent_lowat, value: '1'}]",
    ),
    (
        75,
        "SPEC: null",
        "volumes: [{name: a, emptyDir: {}}, {name: b, secret: {}}, {name: c, configMap: {}}, {name: d, csi: {}}, {name: e, image: {}}, {name: f}]",
    ),
    (
        75,
        "SPEC: null",
        "volumes: [{name: a, downwardAPI: {}}, {name: b, ephemeral: {}}, {name: c, persistentVolumeClaim: {}}, {name: d, projected: {}}]",
    ),
    (10, "CONTEXT", ", runAsUser: 1"),
    (9, "CONTEXT", ", runAsNonRoot: true"),
    (101, "[ALL]", "[ALL], add: [NET_BIND_SERVICE]"),
];

/// Lists the rules that have cases here.
pub fn rules() -> impl Iterator<Item = u16> {
    FORBIDDEN.iter().map(|(rule, ..)| *rule).chain([60, 61, 63, 101, 102, 103])
}

#[test]
fn every_control_forbids_and_allows() {
    assert_eq!(found(&pod(&[]), 37).len(), 0, "{}", pod(&[]));
    for (rule, place, by) in FORBIDDEN {
        for kind in ["containers", "initContainers", "ephemeralContainers"] {
            let text = pod(&[(place, by), ("KIND", kind)]);
            assert!(found(&text, 37).contains(rule), "{rule}: {text}");
        }
    }
    for (rule, place, by) in ALLOWED {
        let text = pod(&[(place, by)]);
        assert_eq!(found(&text, 37).into_iter().collect::<Vec<_>>(), Vec::<u16>::new(), "{rule}: {text}");
    }
}

#[test]
fn what_is_left_out_counts() {
    for (rule, what, by) in [
        (60, "drop: [ALL]", ""),
        (60, "drop: [ALL]", "drop: [all]"),
        (63, "allowPrivilegeEscalation: false, ", ""),
        (63, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true"),
        (102, ", seccompProfile: {type: RuntimeDefault}", ""),
        (9, "runAsNonRoot: true, ", ""),
        (9, "runAsNonRoot: true", "runAsNonRoot: false"),
        (61, "[ALL]", "[ALL], add: [SYS_TIME]"),
        (101, "[ALL]", "[ALL], add: [CHOWN]"),
    ] {
        let text = pod(&[(what, by)]);
        assert!(found(&text, 37).contains(&rule), "{rule}: {text}");
    }
    // Said for the container it need not be said for the pod.
    let own = pod(&[
        ("runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}", ""),
        ("CONTEXT", ", runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}"),
    ]);
    assert_eq!(found(&own, 37).len(), 0, "{own}");
}

#[test]
fn user_namespaces_and_windows_relax() {
    let users = |more: &[(&str, &str)]| pod(&[&[("SPEC: null", "hostUsers: false")], more].concat());
    assert_eq!(found(&users(&[("runAsNonRoot: true", "runAsNonRoot: false")]), 37).len(), 0);
    assert_eq!(found(&users(&[("CONTEXT", ", runAsUser: 0")]), 35).len(), 0);
    assert!(found(&users(&[("CONTEXT", ", runAsUser: 0")]), 34).contains(&10));
    let unmasked = users(&[("CONTEXT", ", procMount: Unmasked")]);
    assert_eq!(found(&unmasked, 37).into_iter().collect::<Vec<_>>(), [103]);
    let windows = pod(&[
        ("SPEC: null", "os: {name: windows}"),
        ("allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}", ""),
        (", seccompProfile: {type: RuntimeDefault}", ""),
    ]);
    assert_eq!(found(&windows, 37).len(), 0, "{windows}");
}

#[test]
fn the_version_of_the_policy_counts() {
    let sysctl = pod(&[("POD", ", sysctls: [{name: net.ipv4.tcp_rmem, value: '1'}]")]);
    assert!(found(&sysctl, 31).contains(&78) && !found(&sysctl, 32).contains(&78));
    let label = pod(&[("POD", ", seLinuxOptions: {type: container_engine_t}")]);
    assert!(found(&label, 30).contains(&66) && !found(&label, 31).contains(&66));
    let probe = pod(&[("CONTAINER: null", "livenessProbe: {httpGet: {host: x}}")]);
    assert!(!found(&probe, 33).contains(&77) && found(&probe, 34).contains(&77));
}

#[test]
fn every_control_is_here() {
    let controls = rules::all().into_iter().filter(|rule| rule.others.contains("PSS-"));
    let here: Vec<u16> = self::rules().collect();
    for rule in controls {
        assert!(here.contains(&rule.id[5..].parse().unwrap()), "{} is not here", rule.id);
    }
}
