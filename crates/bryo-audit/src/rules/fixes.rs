// SPDX-License-Identifier: Apache-2.0
//! What to do in the language of what is audited, where a rule's own words are those of another one.

use crate::audit::Kind;
use crate::model::Rule;

/// Rules, and what to do in which language.
const FIXES: &[(&str, &[(Kind, &str)])] = &[
    (
        "BRYO-001",
        &[
            (Kind::Compose, "user: \"10001:10001\""),
            (Kind::Container, "--user 10001:10001, or a USER in the image"),
            (Kind::Bundle, "process.user: uid 10001, gid 10001"),
        ],
    ),
    ("BRYO-002", &[(Kind::Container, "--user 10001:10001"), (Kind::Bundle, "process.user: uid 10001, gid 10001")]),
    ("BRYO-010", &[(Kind::Compose, "user: \"10001:10001\"")]),
    (
        "BRYO-016",
        &[
            (Kind::Dockerfile, "USER uid:gid, in numbers"),
            (Kind::Image, "USER uid:gid, in numbers"),
            (Kind::Kubernetes, "runAsGroup: 10001"),
            (Kind::Compose, "user: \"uid:gid\", in numbers"),
            (Kind::Container, "--user uid:gid"),
            (Kind::Bundle, "process.user.gid: 10001"),
        ],
    ),
    (
        "BRYO-021",
        &[
            (Kind::Kubernetes, "hostUsers: false"),
            (Kind::Container, "a rootless engine, or a user namespace"),
            (Kind::Compose, "a rootless engine, or a user namespace"),
            (Kind::Bundle, "a user namespace in linux.namespaces, with uidMappings"),
        ],
    ),
    (
        "BRYO-040",
        &[
            (Kind::Kubernetes, "readOnlyRootFilesystem: true, and emptyDir for what is written"),
            (Kind::Compose, "read_only: true, and tmpfs for what is written"),
            (Kind::Container, "--read-only, and --tmpfs for what is written"),
            (Kind::Bundle, "root.readonly: true, and a tmpfs for what is written"),
        ],
    ),
    (
        "BRYO-053",
        &[
            (Kind::Dockerfile, "RUN --mount=type=secret"),
            (Kind::Image, "RUN --mount=type=secret, and another secret: this one is known"),
            (Kind::Kubernetes, "a Secret, by secretKeyRef or a volume"),
            (Kind::Compose, "secrets: with a file, or env_file that is not in the repository"),
            (Kind::Container, "a secret that is mounted as a file"),
        ],
    ),
    (
        "BRYO-057",
        &[
            (Kind::Dockerfile, "HEALTHCHECK"),
            (Kind::Image, "HEALTHCHECK"),
            (Kind::Container, "--health-cmd"),
            (Kind::Compose, "healthcheck:"),
        ],
    ),
    ("BRYO-059", &[(Kind::Compose, "remove privileged; cap_add what is needed")]),
    (
        "BRYO-060",
        &[
            (Kind::Kubernetes, "capabilities: {drop: [ALL]}"),
            (Kind::Compose, "cap_drop: [ALL]"),
            (Kind::Container, "--cap-drop ALL"),
            (Kind::Bundle, "empty sets in process.capabilities"),
        ],
    ),
    (
        "BRYO-061",
        &[
            (Kind::Compose, "remove it from cap_add"),
            (Kind::Container, "leave --cap-add out"),
            (Kind::Bundle, "remove it from process.capabilities"),
        ],
    ),
    (
        "BRYO-062",
        &[
            (Kind::Compose, "remove it from cap_add"),
            (Kind::Container, "leave --cap-add out"),
            (Kind::Bundle, "remove it from process.capabilities"),
        ],
    ),
    (
        "BRYO-063",
        &[
            (Kind::Kubernetes, "allowPrivilegeEscalation: false"),
            (Kind::Compose, "security_opt: [\"no-new-privileges:true\"]"),
            (Kind::Container, "--security-opt no-new-privileges"),
            (Kind::Bundle, "process.noNewPrivileges: true"),
        ],
    ),
    (
        "BRYO-064",
        &[
            (Kind::Compose, "remove seccomp:unconfined from security_opt"),
            (Kind::Container, "leave --security-opt seccomp=unconfined out"),
            (Kind::Bundle, "a filter in linux.seccomp"),
        ],
    ),
    (
        "BRYO-065",
        &[
            (Kind::Compose, "remove apparmor:unconfined from security_opt"),
            (Kind::Container, "leave --security-opt apparmor=unconfined out"),
            (Kind::Bundle, "a profile in process.apparmorProfile"),
        ],
    ),
    (
        "BRYO-067",
        &[
            (Kind::Compose, "remove systempaths=unconfined from security_opt"),
            (Kind::Container, "leave --security-opt systempaths=unconfined out"),
            (Kind::Bundle, "linux.maskedPaths and linux.readonlyPaths"),
        ],
    ),
    ("BRYO-072", &[(Kind::Compose, "remove pid: service:...")]),
    (
        "BRYO-082",
        &[
            (Kind::Kubernetes, "hostUsers: false"),
            (Kind::Compose, "remove userns_mode: host"),
            (Kind::Container, "a rootless engine, or its user namespaces"),
            (Kind::Bundle, "a user namespace in linux.namespaces, with uidMappings"),
        ],
    ),
    (
        "BRYO-085",
        &[
            (Kind::Kubernetes, "resources.limits.memory"),
            (Kind::Compose, "mem_limit, or deploy.resources.limits.memory"),
            (Kind::Container, "--memory"),
            (Kind::Bundle, "linux.resources.memory.limit"),
        ],
    ),
    (
        "BRYO-086",
        &[
            (Kind::Kubernetes, "resources.limits.cpu"),
            (Kind::Compose, "cpus, or deploy.resources.limits.cpus"),
            (Kind::Container, "--cpus"),
            (Kind::Bundle, "linux.resources.cpu.quota"),
        ],
    ),
    ("BRYO-087", &[(Kind::Compose, "pids_limit: 256"), (Kind::Bundle, "linux.resources.pids.limit")]),
    ("BRYO-089", &[(Kind::Compose, "restart: on-failure:5"), (Kind::Container, "--restart on-failure:5")]),
    (
        "BRYO-090",
        &[
            (Kind::Kubernetes, "a NetworkPolicy that selects the pod"),
            (Kind::Compose, "a network of its own"),
            (Kind::Container, "a network of its own"),
        ],
    ),
    ("BRYO-104", &[(Kind::Container, "-p 127.0.0.1:8080:80")]),
];

/// Returns what to do about a finding of a rule in what is audited.
pub fn fix(rule: &Rule, kind: Kind) -> &'static str {
    let own = FIXES.iter().find(|(id, _)| *id == rule.id).map_or(&[][..], |(_, fixes)| fixes);
    own.iter().find(|(of, _)| *of == kind).map_or(rule.fix, |(_, fix)| fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn every_language_has_its_own_words() {
        for (id, fixes) in FIXES {
            let rule = rules::find(id).unwrap();
            for (kind, fix) in *fixes {
                let letters = match kind {
                    Kind::Dockerfile => "D",
                    Kind::Image => "I",
                    Kind::Kubernetes => "K",
                    Kind::Compose => "C",
                    _ => "R",
                };
                assert!(rule.inputs.contains(letters) && !fix.is_empty(), "{id} {kind:?}");
            }
        }
        // Words of Kubernetes are said of Kubernetes alone.
        let theirs =
            ["runAs", "seccompProfile", "allowPrivilege", "procMount", "hostUsers", "RuntimeDefault", "drop: ["];
        for rule in rules::all() {
            for (letter, kind) in [('C', Kind::Compose), ('R', Kind::Container), ('R', Kind::Bundle)] {
                let fix = fix(rule, kind).replace("cap_drop: [", "");
                let told = rule.inputs.contains(letter) && theirs.iter().any(|word| fix.contains(word));
                assert!(!told, "{} {kind:?}: {fix}", rule.id);
            }
        }
    }
}
