// SPDX-License-Identifier: Apache-2.0
//! Cases of Kubernetes objects. A text that is no object stands in the place of a pod's spec.

use super::{Case, check, numbers, of_kind};

pub const CASES: &[Case] = &[
    (9, "containers: [{name: c}]", "{securityContext: {runAsNonRoot: true}, containers: [{name: c}]}"),
    (
        9,
        "{securityContext: {runAsNonRoot: true}, containers: [{name: c, securityContext: {runAsNonRoot: false}}]}",
        "{hostUsers: false, containers: [{name: c}]}",
    ),
    (
        10,
        "containers: [{name: c, securityContext: {runAsUser: 0}}]",
        "containers: [{name: c, securityContext: {runAsUser: 10001}}]",
    ),
    (
        11,
        "{securityContext: {runAsNonRoot: true}, containers: [{name: c, image: jenkins/jenkins}]}",
        "{securityContext: {runAsNonRoot: true, runAsUser: 10001}, containers: [{name: c, image: jenkins/jenkins}]}",
    ),
    (
        14,
        "containers: [{name: c, securityContext: {runAsUser: 1000}}]",
        "containers: [{name: c, securityContext: {runAsUser: 10001}}]",
    ),
    (
        15,
        "containers: [{name: c, securityContext: {runAsGroup: 1000}}]",
        "containers: [{name: c, securityContext: {runAsGroup: 10001}}]",
    ),
    (
        16,
        "containers: [{name: c, securityContext: {runAsUser: 5, runAsGroup: 0}}]",
        "containers: [{name: c, securityContext: {runAsUser: 5, runAsGroup: 5}}]",
    ),
    (
        17,
        "{securityContext: {supplementalGroups: [0]}, containers: []}",
        "{securityContext: {supplementalGroups: [5]}, containers: []}",
    ),
    (
        20,
        "containers: [{name: c, image: grafana/grafana, securityContext: {runAsUser: 0}}]",
        "containers: [{name: c, image: grafana/grafana}]",
    ),
    (
        21,
        "containers: [{name: c, securityContext: {runAsUser: 0}}]",
        "{hostUsers: false, containers: [{name: c, securityContext: {runAsUser: 0}}]}",
    ),
    (
        22,
        "containers: [{name: c, securityContext: {runAsUser: 5}, ports: [{containerPort: 80}]}]",
        "containers: [{name: c, securityContext: {runAsUser: 5}, ports: [{containerPort: 8080}]}]",
    ),
    (24, "containers: [{name: c, command: [gosu, app, x]}]", "containers: [{name: c, command: [x]}]"),
    (
        30,
        "{initContainers: [{name: i, command: [chown, -R, '5', /data]}], containers: []}",
        "{initContainers: [{name: i, command: [migrate]}], containers: []}",
    ),
    (37, "containers: [{name: c, command: [sh, -c, apk add x && y]}]", "containers: [{name: c, command: [sh, -c, y]}]"),
    (
        37,
        "containers: [{name: c, lifecycle: {postStart: {exec: {command: [npx, x]}}}}]",
        "containers: [{name: c, lifecycle: {postStart: {exec: {command: [x]}}}}]",
    ),
    (40, "containers: [{name: c}]", "containers: [{name: c, securityContext: {readOnlyRootFilesystem: true}}]"),
    (
        50,
        "containers: [{name: c, image: 'a:1'}]",
        "containers: [{name: c, image: 'a@sha256:0000000000000000000000000000000000000000000000000000000000000000'}]",
    ),
    (
        53,
        "containers: [{name: c, env: [{name: DB_PASSWORD, value: hunter2}]}]",
        "containers: [{name: c, env: [{name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]",
    ),
    (
        53,
        "kind: ConfigMap\napiVersion: v1\ndata: {DB_PASSWORD: hunter2}\n",
        "kind: ConfigMap\napiVersion: v1\ndata: {DB_HOST: db}\n",
    ),
    (
        53,
        "kind: ConfigMap\napiVersion: v1\ndata: {app.properties: \"a=b\\ndb.password=hunter2\\n\"}\n",
        "kind: ConfigMap\napiVersion: v1\ndata: {app.properties: \"a=b\\ndb.password=${PASS}\\n\"}\n",
    ),
    (
        53,
        "kind: Secret\napiVersion: v1\ndata: {a: YQ==}\n",
        "kind: Secret\napiVersion: v1\nmetadata: {name: a}\ndata: {}\n",
    ),
    (
        53,
        "containers: [{name: c, command: [x, --token, abcdef]}]",
        "containers: [{name: c, command: [x, --token, $(TOKEN)]}]",
    ),
    (
        62,
        "containers: [{name: c, securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}}}]",
        "containers: [{name: c, securityContext: {capabilities: {add: [KILL]}}}]",
    ),
    (72, "{shareProcessNamespace: true, containers: []}", "{shareProcessNamespace: false, containers: []}"),
    (
        74,
        "{volumes: [{name: v, hostPath: {path: /var/run}}], containers: []}",
        "{volumes: [{name: v, hostPath: {path: /srv/x}}], containers: []}",
    ),
    (
        81,
        "containers: [{name: c, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}]",
        "containers: [{name: c, volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]}]",
    ),
    (82, "containers: []", "{hostUsers: false, containers: []}"),
    (85, "containers: [{name: c}]", "containers: [{name: c, resources: {limits: {memory: 1Gi}}}]"),
    (86, "containers: [{name: c}]", "containers: [{name: c, resources: {limits: {cpu: 1}}}]"),
    (
        88,
        "{volumes: [{name: v, emptyDir: {medium: Memory}}], containers: []}",
        "{volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}], containers: []}",
    ),
    (
        90,
        "kind: Pod\napiVersion: v1\nmetadata: {labels: {a: b}}\nspec: {containers: []}\n---\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: {podSelector: {matchLabels: {a: c}}}\n",
        "kind: Pod\napiVersion: v1\nmetadata: {labels: {a: b}}\nspec: {containers: []}\n---\nkind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nspec: {podSelector: {matchLabels: {a: b}}}\n",
    ),
    (90, "containers: []", "{hostNetwork: true, containers: []}"),
    (91, "containers: []", "{automountServiceAccountToken: false, containers: []}"),
    (92, "containers: []", "{serviceAccountName: own, containers: []}"),
    (
        93,
        "kind: Role\napiVersion: v1\nrules: [{resources: ['*'], verbs: [get]}]\n",
        "kind: Role\napiVersion: v1\nrules: [{resources: [configmaps], verbs: [get]}]\n",
    ),
    (
        93,
        "kind: Role\napiVersion: v1\nrules: [{resources: [pods/log], verbs: [delete]}]\n",
        "kind: Role\napiVersion: v1\nrules: [{resources: [pods/log], verbs: [get]}]\n",
    ),
    (
        93,
        "kind: Role\napiVersion: v1\nrules: [{resources: [networkpolicies], verbs: [delete]}]\n",
        "kind: Role\napiVersion: v1\nrules: [{resources: [networkpolicies], verbs: [list]}]\n",
    ),
    (
        93,
        "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {name: x}\nsubjects: [{kind: Group, name: 'system:masters'}]\n",
        "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {name: x}\nsubjects: [{kind: Group, name: mine}]\n",
    ),
    (
        93,
        "kind: Role\napiVersion: v1\nrules: [{resources: [pods/exec], verbs: [create]}]\n",
        "kind: Role\napiVersion: v1\nrules: [{resources: [pods], verbs: [get]}]\n",
    ),
    (
        93,
        "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {name: x}\nsubjects: [{name: 'system:anonymous'}]\n",
        "kind: ClusterRoleBinding\napiVersion: v1\nroleRef: {name: x}\nsubjects: [{name: me}]\n",
    ),
    (94, "{hostAliases: [{ip: 1.2.3.4, hostnames: [x]}], containers: []}", "{hostAliases: [], containers: []}"),
    (95, "containers: [{name: c}]", "containers: [{name: c, securityContext: {privileged: false}}]"),
    (
        96,
        "kind: Service\napiVersion: v1\nspec: {externalIPs: [1.2.3.4]}\n",
        "kind: Service\napiVersion: v1\nspec: {ports: []}\n",
    ),
    (
        96,
        "kind: Ingress\napiVersion: v1\nmetadata: {annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}\n",
        "kind: Ingress\napiVersion: v1\nmetadata: {annotations: {nginx.ingress.kubernetes.io/rewrite-target: x}}\n",
    ),
    (
        97,
        "containers: [{name: c, image: 'a:1', imagePullPolicy: Never}]",
        "containers: [{name: c, image: 'a:1', imagePullPolicy: Always}]",
    ),
    (97, "containers: [{name: c, image: 'a:1'}]", "containers: [{name: c, image: a}]"),
    (100, "containers: [] # trivy:ignore:KSV001", "containers: [] # a remark"),
];

/// A policy for the network may be in another file.
#[test]
fn a_network_policy_counts_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let pod = "kind: Pod\napiVersion: v1\nmetadata: {namespace: n, labels: {a: b}}\nspec: {containers: []}\n";
    std::fs::write(dir.path().join("pod.yaml"), pod).unwrap();
    let found = || numbers(&bryo_audit::Auditor::default().path(dir.path())[0]);
    assert!(found().contains(&90));
    let policy =
        "kind: NetworkPolicy\napiVersion: networking.k8s.io/v1\nmetadata: {namespace: n}\nspec: {podSelector: {}}\n";
    std::fs::write(dir.path().join("z.yaml"), policy.replace("namespace: n", "namespace: m")).unwrap();
    assert!(found().contains(&90));
    std::fs::write(dir.path().join("z.yaml"), policy).unwrap();
    assert!(!found().contains(&90));
}

#[test]
fn cases_of_kubernetes() {
    let audit = of_kind(bryo_audit::Kind::Kubernetes);
    let whole = |text: &str| match text.starts_with("kind:") {
        true => audit(text),
        false => {
            let spec = if text.starts_with('{') { format!("spec: {text}\n") } else { format!("spec:\n  {text}\n") };
            audit(&format!("kind: Pod\napiVersion: v1\nmetadata: {{name: p}}\n{spec}"))
        }
    };
    CASES.iter().for_each(|case| check(case, &whole));
}

/// Kinds that others have added: their pods are judged, and without one they are told of.
#[test]
fn kinds_that_are_not_known_are_judged_or_told() {
    let audit = of_kind(bryo_audit::Kind::Kubernetes);
    let pod = "{hostPID: true, containers: [{image: a, securityContext: {privileged: true}}]}";
    let service = format!("apiVersion: serving.knative.dev/v1\nkind: Service\nspec: {{template: {{spec: {pod}}}}}\n");
    let found = numbers(&audit(&service));
    assert!(found.contains(&59) && found.contains(&69), "{found:?}");
    let other = audit("apiVersion: x.example/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n");
    assert_eq!((other.findings.len(), other.problems.len(), other.not_judged.len()), (0, 0, 1));
    for kind in ["ConfigMap", "Role", "Ingress", "CustomResourceDefinition"] {
        let outcome = audit(&format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: w}}\n"));
        assert!(outcome.problems.is_empty() && outcome.not_judged.is_empty(), "{kind}");
    }
}

/// One document that is broken hides no other.
#[test]
fn documents_are_judged_one_by_one() {
    let audit = of_kind(bryo_audit::Kind::Kubernetes);
    let good = "apiVersion: v1\nkind: Pod\nspec: {hostNetwork: true, containers: []}\n";
    for (text, line) in [(format!("{good}---\nkind: [\n"), 6), (format!("a: }}\n---\n{good}"), 1)] {
        let outcome = audit(&text);
        assert_eq!((outcome.problems.len(), outcome.problems[0].place.line), (1, line), "{text}");
        assert!(numbers(&outcome).contains(&68), "{text}");
    }
    // What the API answers: the members of a list say neither kind nor version.
    let list = "{\"kind\": \"PodList\", \"apiVersion\": \"v1\", \"items\": [{\"metadata\": {}, \"spec\": {\"hostNetwork\": true, \"containers\": []}}]}";
    assert!(numbers(&audit(list)).contains(&68));
}
