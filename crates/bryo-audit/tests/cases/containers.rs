// SPDX-License-Identifier: Apache-2.0
//! Cases of containers as engines describe them, of bundles, and of what is only known while they run.

use bryo_audit::facts::workload::{Member, Process, Workload};
use bryo_audit::model::Fact;
use bryo_audit::{Auditor, Flaw, Kind, Level, Outcome, Severity};
use bryo_engine::drift::{Finding, Happened, Meaning};

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
    (53, r#""Labels":{"db.password":"hunter2"}|"#, r#""Labels":{"db.host":"db"}|"#),
    (88, r#"|"Tmpfs":{"/x":"rw"}"#, r#"|"Tmpfs":{"/x":"rw,size=1m"}"#),
    (
        88,
        r#"|"LogConfig":{"Type":"json-file","Config":{}}"#,
        r#"|"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}}"#,
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
    Some(Process { uid: Some(uid), host_uid, root_is: Some(root_is), ..Process::default() })
}

/// A first process of uid 10001 that is as it was meant to be.
fn usual() -> Process {
    process(10_001, 110_001, 100_000).unwrap()
}

/// Adds another process of the container.
fn members(made: &mut Workload, uid: u32, capabilities: u64, name: &str, entered: bool) {
    let member = Member { uid: Some(uid), capabilities, name: name.to_owned(), entered, ..Member::default() };
    made.process = Some(Process { members: vec![member], ..usual() });
}

fn nested(made: &mut Workload) {
    members(made, 10_001, 0, "sh", false);
    made.process.as_mut().unwrap().members[0].nested = true;
}

fn mapped(made: &mut Workload, first: (u64, u64, u64)) {
    made.process = Some(Process { map: vec![first], ..usual() });
}

fn limited(made: &mut Workload, is: bool) {
    made.memory = true;
    made.process = Some(Process { limits: Some([is, false, false]), ..usual() });
}

fn filtered(made: &mut Workload, is: bool) {
    made.process = Some(Process { filtered: Some(is), ..usual() });
}

fn labelled(made: &mut Workload, label: &str) {
    made.apparmor.push(Fact { value: "Localhost".to_owned(), place: made.place() });
    made.process = Some(Process { label: Some(label.to_owned()), ..usual() });
}

fn drifted(made: &mut Workload, meaning: Meaning) {
    let (what, detail) = ("/usr/bin/x".to_owned(), String::new());
    made.drift = Some(vec![Finding { meaning, happened: Happened::Added, what, detail, package: None, process: None }]);
    // What is known better counts.
    made.changes = vec![(1, "/usr/bin/y".to_owned()), (1, "/var/lib/dpkg/status".to_owned())];
}

/// What is known besides: a rule, what makes it find something, and what does not. The user is 10001:10001.
pub const RUNNING: &[(u16, Change, Change)] = &[
    (8, |made| made.process = process(0, 100_000, 100_000), |made| made.process = process(10_001, 110_001, 100_000)),
    (8, |made| members(made, 0, 0, "sh", false), |made| members(made, 10_001, 0, "sh", false)),
    (
        18,
        |made| made.changes = vec![(1, "/var/lib/app/x".to_owned())],
        |made| made.changes = vec![(1, "/tmp/x".to_owned())],
    ),
    (19, |made| made.execs = vec![("root".to_owned(), false)], |made| made.execs = vec![("10001".to_owned(), false)]),
    (19, |made| made.execs = vec![("5".to_owned(), true)], |made| made.execs = vec![("5".to_owned(), false)]),
    (19, |made| members(made, 0, 0, "sh", true), |made| members(made, 10_001, 0, "sh", true)),
    (19, |made| members(made, 5, 0, "sh", true), |made| members(made, 5, 0, "sh", false)),
    (19, |made| members(made, 10_001, 4, "sh", true), |made| members(made, 10_001, 0, "sh", true)),
    (21, |made| mapped(made, (0, 1000, 1)), |made| mapped(made, (0, 100_000, 65_536))),
    (29, |made| members(made, 10_001, 0, "sshd", false), |made| members(made, 10_001, 0, "sh", false)),
    (38, |made| members(made, 10_001, 0, "apt-get", true), |made| members(made, 10_001, 0, "sh", true)),
    (38, |made| drifted(made, Meaning::Package), |made| drifted(made, Meaning::Configuration)),
    (39, |made| drifted(made, Meaning::Executable), |made| drifted(made, Meaning::Configuration)),
    (39, |made| drifted(made, Meaning::Process), |made| drifted(made, Meaning::File)),
    (82, |made| made.host_ids = vec!["x".to_owned()], |_| {}),
    (82, nested, |made| members(made, 10_001, 0, "sh", false)),
    (83, |made| limited(made, false), |made| limited(made, true)),
    (83, |made| filtered(made, false), |made| filtered(made, true)),
    (83, |made| labelled(made, "unconfined"), |made| labelled(made, "docker-default (enforce)")),
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

/// The rule for published flaws, which are looked up by others.
pub const FLAWS: u16 = 107;

#[test]
fn flaws_are_a_finding_for_each_severity() {
    let flaw = |id: &str, severity| Flaw {
        id: id.to_owned(),
        package: "openssl 1".to_owned(),
        fixed: Some("2".to_owned()),
        severity,
        late: false,
    };
    let mut outcome = Outcome::failed("x", "");
    Auditor::default().flaws(&mut outcome, &[]);
    assert!(!numbers(&outcome).contains(&FLAWS));
    let all: Vec<Flaw> = (0..7).map(|n| flaw(&format!("CVE-{n}"), Severity::High)).collect();
    Auditor::default().flaws(&mut outcome, &[&all[..], &[flaw("CVE-9", Severity::Low)]].concat());
    let shown: Vec<(&str, Severity)> =
        outcome.findings.iter().map(|finding| (finding.evidence.as_str(), finding.severity)).collect();
    assert_eq!(shown.len(), 2);
    assert!(shown[0].0.starts_with("7: CVE-0 in openssl 1 (fixed in 2), ") && shown[0].0.ends_with(" and 2 more"));
    assert_eq!(shown[1], ("1: CVE-9 in openssl 1 (fixed in 2)", Severity::Low));
}
