// SPDX-License-Identifier: Apache-2.0
//! Cases of containers as engines describe them, of bundles, and of what is only known while they run.

use bryo_audit::facts::workload::{Process, Workload};
use bryo_audit::{Auditor, Kind, Level, Outcome};

use super::{Case, check, numbers};

/// `CONFIG | HOST CONFIG`, or a whole bundle.
pub const CASES: &[Case] = &[
    (1, "|", r#""User":"10001:10001"|"#),
    (2, r#""User":"0"|"#, r#""User":"10001:10001"|"#),
    (5, r#""User":"-1"|"#, r#""User":"10001:10001"|"#),
    (40, "|", r#"|"ReadonlyRootfs":true"#),
    (57, "|", r#""Healthcheck":{"Test":["CMD","x"]}|"#),
    (59, r#"|"Privileged":true"#, r#"|"Privileged":false"#),
    (60, "|", r#"|"CapDrop":["ALL"]"#),
    (71, r#"|"UTSMode":"host""#, r#"|"UTSMode":"""#),
    (80, r#"|"Devices":[{"PathOnHost":"/dev/sda"}]"#, r#"|"Devices":[]"#),
    (85, "|", r#"|"Memory":1000000"#),
    (89, r#"|"RestartPolicy":{"Name":"always"}"#, r#"|"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":5}"#),
    (90, r#"|"NetworkMode":"bridge""#, r#"|"NetworkMode":"own""#),
    (
        104,
        r#"|"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"80"}]}"#,
        r#"|"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"}]}"#,
    ),
    (
        68,
        r#"{"ociVersion":"1","process":{"user":{"uid":5,"gid":5}},"linux":{"namespaces":[]}}"#,
        r#"{"ociVersion":"1","process":{"user":{"uid":5,"gid":5}},"linux":{"namespaces":[{"type":"network"}]}}"#,
    ),
    (
        21,
        r#"{"ociVersion":"1","process":{"user":{"uid":0,"gid":0}}}"#,
        r#"{"ociVersion":"1","process":{"user":{"uid":0,"gid":0}},"linux":{"namespaces":[{"type":"user"}]}}"#,
    ),
    (
        64,
        r#"{"ociVersion":"1","process":{}}"#,
        r#"{"ociVersion":"1","process":{},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"}}}"#,
    ),
    (
        67,
        r#"{"ociVersion":"1","process":{}}"#,
        r#"{"ociVersion":"1","process":{},"linux":{"maskedPaths":["/proc/kcore"]}}"#,
    ),
    (
        88,
        r#"{"ociVersion":"1","process":{},"mounts":[{"destination":"/x","type":"tmpfs"}]}"#,
        r#"{"ociVersion":"1","process":{},"mounts":[{"destination":"/x","type":"tmpfs","options":["size=1m"]}]}"#,
    ),
];

fn inspect(config: &str, host: &str) -> String {
    format!("[{{\"Id\":\"0123\",\"Name\":\"/c\",\"Config\":{{{config}}},\"HostConfig\":{{{host}}}}}]")
}

#[test]
fn cases_of_containers() {
    let audit = |text: &str| match text.split_once('|') {
        Some((config, host)) => Auditor::default().container("c", &inspect(config, host), |_| {}),
        None => Auditor::default().text("config.json", text, Some(Kind::Bundle), None),
    };
    CASES.iter().for_each(|case| check(case, &audit));
}

type Change = fn(&mut Workload);

fn process(uid: u32, host_uid: u32, root_is: u32) -> Option<Process> {
    Some(Process { uid: Some(uid), host_uid, root_is: Some(root_is), capabilities: 0 })
}

/// What is known besides: a rule, what makes it find something, and what does not. The user is 10001:10001.
pub const RUNNING: &[(u16, Change, Change)] = &[
    (8, |made| made.process = process(0, 100_000, 100_000), |made| made.process = process(10_001, 110_001, 100_000)),
    (19, |made| made.execs = vec!["root".to_owned()], |made| made.execs = vec!["10001".to_owned()]),
    (21, |made| made.process = process(10_001, 10_001, 0), |made| made.process = process(10_001, 110_001, 100_000)),
    (
        38,
        |made| made.changes = vec![(0, "/var/lib/dpkg/status".to_owned())],
        |made| made.changes = vec![(0, "/var/lib/x".to_owned())],
    ),
    (
        39,
        |made| made.changes = vec![(1, "/usr/bin/x".to_owned())],
        |made| made.changes = vec![(1, "/tmp/x".to_owned())],
    ),
    (83, |made| made.not_enforced = vec!["No memory limit support".to_owned()], |_| {}),
];

#[test]
fn cases_of_running_containers() {
    let text = inspect("\"User\":\"10001:10001\"", "");
    for (number, firing, silent) in RUNNING {
        for (change, expected) in [(firing, true), (silent, false)] {
            let found = numbers(&Auditor::default().container("c", &text, change));
            assert_eq!(found.contains(number), expected, "rule {number}: {found:?}");
        }
    }
}

#[test]
fn what_an_engine_answers_may_be_anything() {
    for text in ["", "[]", "{}", "null", "[[[[", "\u{0}", "{\"Config\":5,\"HostConfig\":[]}"] {
        let outcome = Auditor::default().container("c", text, |_| {});
        assert!(!outcome.problems.is_empty() || !outcome.findings.is_empty(), "{text}");
    }
    let emoji = inspect("\"Labels\":{\"x\":\"\\ud83d\\ude00\"}", "\"Privileged\":true");
    assert!(numbers(&Auditor::default().container("c", &emoji, |_| {})).contains(&59));
}

/// The rule that stands for the site's own.
pub const POLICY: u16 = 106;

#[test]
fn what_the_policy_says_is_a_finding_unless_a_level_is_asked_for() {
    let broken = || ["/etc/bryo/policy.toml:1: non-root: the program is root".to_owned()];
    let mut outcome = Outcome::failed("x", "");
    Auditor::default().policy(&mut outcome, []);
    assert!(!numbers(&outcome).contains(&POLICY));
    Auditor::default().policy(&mut outcome, broken());
    assert!(numbers(&outcome).contains(&POLICY));
    let level = Auditor { level: Some(Level::Restricted), ..Auditor::default() };
    let mut outcome = Outcome::failed("x", "");
    level.policy(&mut outcome, broken());
    assert!(!numbers(&outcome).contains(&POLICY));
}
