// SPDX-License-Identifier: Apache-2.0
//! Cases of Compose files: what stands in a service.

use super::{Case, check, of_kind};

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
    (104, "{image: a, ports: ['80:80']}", "{image: a, ports: ['127.0.0.1:80:80']}"),
];

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
