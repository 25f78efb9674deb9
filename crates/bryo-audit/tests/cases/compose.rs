// SPDX-License-Identifier: Apache-2.0
//! Cases of Compose files: what stands in a service.

use bryo_audit::{Auditor, Outcome};

use super::{Case, check, numbers, of_kind};

pub const CASES: &[Case] = &[
    (1, "{image: a}", "{image: a, user: '10001:10001'}"),
    (5, "{image: a, user: '4294967296'}", "{image: a, user: '10001:10001'}"),
    (10, "{image: a, user: root}", "{image: a, user: '10001:10001'}"),
    (14, "{image: a, user: '1000:1000'}", "{image: a, user: '10001:10001'}"),
    (16, "{image: a, user: '10001'}", "{image: a, user: '10001:10001'}"),
    (20, "{image: grafana/grafana, user: root}", "{image: grafana/grafana}"),
    (
        22,
        "{image: a, user: '10001:10001', ports: ['127.0.0.1:80:80']}",
        "{image: a, user: '10001:10001', ports: ['127.0.0.1:80:8080']}",
    ),
    (23, "{image: nginx}", "{image: nginxinc/nginx-unprivileged}"),
    (28, "{image: a, volumes: ['x:/etc']}", "{image: a, volumes: ['x:/data']}"),
    (29, "{image: a, ports: ['22']}", "{image: a, ports: ['8022']}"),
    (37, "{image: a, command: apk add x}", "{image: a, command: x}"),
    (47, "{image: a, command: curl -k https://x}", "{image: a, command: curl https://x}"),
    (50, "{image: 'a:latest'}", "{image: 'a@sha256:0000000000000000000000000000000000000000000000000000000000000000'}"),
    (53, "{image: a, environment: {DB_PASSWORD: hunter2}}", "{image: a, environment: {DB_PASSWORD_FILE: /run/x}}"),
    (53, "{image: a, environment: ['TOKEN=abc123']}", "{image: a, environment: ['TOKEN']}"),
    (57, "{image: a, healthcheck: {disable: true}}", "{image: a, healthcheck: {test: x}}"),
    (59, "{image: a, privileged: true}", "{image: a, privileged: false}"),
    (60, "{image: a}", "{image: a, cap_drop: [all]}"),
    (61, "{image: a, cap_add: [cap_net_admin]}", "{image: a, cap_add: [chown]}"),
    (62, "{image: a, cap_add: [ALL]}", "{image: a, cap_add: [chown]}"),
    (63, "{image: a}", "{image: a, security_opt: ['no-new-privileges:true']}"),
    (64, "{image: a, security_opt: ['seccomp:unconfined']}", "{image: a, security_opt: ['seccomp:x.json']}"),
    (65, "{image: a, security_opt: ['apparmor=unconfined']}", "{image: a, security_opt: ['apparmor=x']}"),
    (66, "{image: a, security_opt: ['label:disable']}", "{image: a, security_opt: ['label:type:container_t']}"),
    (67, "{image: a, security_opt: ['systempaths=unconfined']}", "{image: a}"),
    (68, "{image: a, network_mode: host}", "{image: a, network_mode: none}"),
    (69, "{image: a, pid: host}", "{image: a}"),
    (70, "{image: a, ipc: host}", "{image: a, ipc: private}"),
    (71, "{image: a, uts: host}", "{image: a}"),
    (72, "{image: a, pid: 'service:b'}", "{image: a}"),
    (73, "{image: a, volumes: ['/etc:/x']}", "{image: a, volumes: ['./etc:/x']}"),
    (74, "{image: a, volumes: ['/var/run/docker.sock:/x']}", "{image: a, volumes: ['./x.sock:/x']}"),
    (78, "{image: a, sysctls: {kernel.msgmax: 1}}", "{image: a, sysctls: ['net.ipv4.tcp_syncookies=1']}"),
    (80, "{image: a, devices: ['/dev/sda:/dev/sda']}", "{image: a}"),
    (81, "{image: a, volumes: ['./x:/y:rshared']}", "{image: a, volumes: ['./x:/y:rslave']}"),
    (82, "{image: a, userns_mode: host}", "{image: a}"),
    (85, "{image: a}", "{image: a, mem_limit: 1g}"),
    (86, "{image: a}", "{image: a, deploy: {resources: {limits: {cpus: '1'}}}}"),
    (87, "{image: a, pids_limit: -1}", "{image: a, pids_limit: 100}"),
    (88, "{image: a, ulimits: {memlock: -1}}", "{image: a, ulimits: {nofile: 1000}}"),
    (89, "{image: a, restart: always}", "{image: a, restart: 'on-failure:5'}"),
    (90, "{image: a, network_mode: bridge}", "{image: a}"),
    (98, "{image: a, user: '${U}'}", "{image: a, user: '${U:-10001}'}"),
    (98, "{extends: {service: x, file: y.yml}}", "{extends: b}"),
    (17, "{image: a, group_add: [docker]}", "{image: a, group_add: [staff]}"),
    (53, "{image: a, command: [x, '--password=hunter2']}", "{image: a, command: [x, '--password=$$PASS']}"),
    (53, "{image: a, labels: {x.token: abc123}}", "{image: a, labels: {x.name: abc123}}"),
    (53, "{build: {context: ., args: {NPM_TOKEN: abc123}}}", "{build: {context: ., args: {NODE: '20'}}}"),
    (74, "{image: a, ports: ['127.0.0.1:2375:2375']}", "{image: a, ports: ['127.0.0.1:2376:2376']}"),
    (88, "{image: a, tmpfs: /x}", "{image: a, tmpfs: ['/x:size=1m']}"),
    (88, "{image: a, shm_size: 2gb}", "{image: a, shm_size: 64m}"),
    (
        88,
        "{image: a, logging: {driver: json-file}}",
        "{image: a, logging: {driver: json-file, options: {max-size: 10m}}}",
    ),
    (104, "{image: a, ports: ['80:80']}", "{image: a, ports: ['127.0.0.1:80:80']}"),
];

/// Writes files and audits what is named of them: the directory, or one file.
fn of_files(files: &[(&str, &str)], named: &str) -> Vec<Outcome> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Auditor::default().path(&dir.path().join(named))
}

/// The user of a service is that of the Dockerfile that it is built from, with the build's own arguments and stage.
#[test]
fn who_runs_what_is_built_is_known() {
    let dockerfile = "ARG U=0\nFROM a AS low\nARG U\nUSER ${U}:${U}\nFROM a AS high\n";
    for (build, verdict) in [
        ("build: app", "root"),
        ("build: {context: app, target: low}", "root"),
        ("build: {context: app, target: low, args: {U: '10001'}}", "not root"),
        ("build: {context: app, dockerfile: ../other/D}", "not root"),
        ("build: {dockerfile_inline: \"FROM a\\nUSER 10001:10001\\n\"}", "not root"),
        ("build: elsewhere", "unproven"),
        ("build: https://example.com/x.git", "unproven"),
        ("build: app\n    user: '10001:10001'", "not root"),
        ("build: {context: app, dockerfile: ../other/D}\n    user: '0'", "root"),
    ] {
        let text = format!("services:\n  s:\n    {build}\n");
        let files =
            [("compose.yaml", &*text), ("app/Dockerfile", dockerfile), ("other/D", "FROM a\nUSER 10001:10001\n")];
        let outcome = of_files(&files, "compose.yaml").remove(0);
        assert_eq!(outcome.subjects[0].verdict, verdict, "{build}: {:?}", outcome.findings);
        // What is not here is said.
        assert_eq!(numbers(&outcome).contains(&98), verdict == "unproven", "{build}");
        assert_eq!(numbers(&outcome).contains(&20), build.contains("user: '0'"), "{build}");
        assert_eq!(numbers(&outcome).contains(&1), verdict == "root" && !build.contains("user"), "{build}");
    }
}

#[test]
fn an_override_is_judged_once_and_with_its_base() {
    let files = [
        ("compose.yaml", "services:\n  a: {image: a, user: '10001:10001'}\n"),
        ("compose.override.yaml", "services:\n  a: {privileged: true}\n"),
        ("sub/compose.yml", "services:\n  b: {extends: {file: ../base/base.yml, service: x}}\n"),
        ("base/base.yml", "services:\n  x: {image: b, user: root}\n"),
    ];
    let outcomes = of_files(&files, "");
    let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.target.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["base.yml", "compose.yaml", "compose.yml"]);
    let privileged = outcomes[1].findings.iter().find(|finding| finding.rule.id == "BRYO-059").unwrap();
    assert!(privileged.place.file.ends_with("/compose.override.yaml") && privileged.place.line == 2);
    assert!(numbers(&outcomes[2]).contains(&10) && !numbers(&outcomes[2]).contains(&98));
    // A file that was named has its own directory and nothing above.
    let alone = of_files(&files, "sub/compose.yml").remove(0);
    assert!(numbers(&alone).contains(&98) && !numbers(&alone).contains(&10));
}

#[test]
fn cases_of_compose_files() {
    let audit = of_kind(bryo_audit::Kind::Compose);
    let rest =
        "cap_drop: [ALL], user: '10001:10001', pids_limit: 5, mem_limit: 5, security_opt: ['no-new-privileges:true']";
    let whole =
        |text: &str| audit(&format!("services:\n  a: {text}\n  b: {{build: ., {rest}, cpus: 1, read_only: true}}\n"));
    for case in CASES {
        check(case, &whole);
    }
}
