// SPDX-License-Identifier: Apache-2.0
//! Files made to harm: each is one problem with its place, or a verdict, soon; and the others are audited all the same.

use std::time::{Duration, Instant};

use bryo_audit::{Auditor, Kind};

#[test]
fn anything_ends_soon() {
    let deep = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":".to_owned() + &"[".repeat(200_000);
    let mut bomb = "apiVersion: v1\nkind: Pod\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..20 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
    }
    let texts = [
        deep,
        bomb,
        "\u{feff}FROM a\nRUN ".to_owned() + &"(".repeat(100_000),
        "FROM a\nRUN ".to_owned() + &"$(".repeat(50_000),
        "FROM a\nRUN sh -c \"".to_owned() + &"sh -c '".repeat(20_000),
        "FROM a\nUSER ".to_owned() + &"${A:-".repeat(20_000),
        "FROM a\nENV ".to_owned() + &"A=$A$A ".repeat(2000),
        "FROM a\n".to_owned() + &"RUN x\n".repeat(50_000),
        "FROM a\nRUN <<E\nx\n".to_owned(),
        "FROM a AS a\n".to_owned() + &(0..3000).map(|n| format!("FROM a AS s{n}\nUSER {n}\n")).collect::<String>(),
        "services: {a: &a {extends: a, <<: *a}}".to_owned(),
        "services:\n  a: {<<: [[[[1]]]], ports: {x: y}, volumes: 5, environment: [[1]]}\n".to_owned(),
        "apiVersion: v1\nkind: List\nitems: [5, null, {kind: List, items: [{}]}]\n".to_owned(),
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{ports: x, env: 5, securityContext: [], volumeMounts: {}}]}\n"
            .to_owned(),
        "services:\n  a: {image: a, environment: {".to_owned()
            + &(0..60_000).map(|n| format!("K{n}: v, ")).collect::<String>()
            + "}}\n",
        "services:\n".to_owned() + &(0..5000).map(|n| format!("  a{n}: {{extends: a{}}}\n", n + 1)).collect::<String>(),
        (0..2000)
            .map(|n| {
                format!(
                    "apiVersion: v1\nkind: NetworkPolicy\nspec: {{podSelector: {{matchLabels: {{a: b{n}}}}}}}\n---\n"
                )
            })
            .chain((0..2000).map(|n| {
                format!("apiVersion: v1\nkind: Pod\nmetadata: {{labels: {{a: c{n}}}}}\nspec: {{containers: []}}\n---\n")
            }))
            .collect::<String>(),
        "\0\0\0".to_owned(),
        "%YAML 9.9\n--- !!binary |\n".to_owned(),
        "? {a: b}\n: c\n".to_owned(),
    ];
    for text in texts {
        for kind in [None, Some(Kind::Dockerfile), Some(Kind::Compose), Some(Kind::Kubernetes)] {
            let begin = Instant::now();
            let outcome = Auditor::default().text("x", &text, kind, None);
            let took = begin.elapsed();
            let start: String = text.chars().take(60).collect();
            assert!(took < Duration::from_secs(20), "{took:?} for {start:?} as {kind:?}");
            assert!(outcome.problems.len() <= 3, "{start:?}: {:?}", outcome.problems);
        }
    }
}

#[test]
fn one_that_is_wrong_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("Dockerfile", b"FROM a\nUSER root\n");
    write("bad.Dockerfile", b"FROM a\nNOSUCH x\n");
    write("binary.Dockerfile", b"FROM a\nRUN \xff\n");
    write("pod.yaml", b"apiVersion: v1\nkind: Pod\nspec: {containers: []}\n");
    write("bad.yaml", b"apiVersion: v1\nkind: Pod\nspec: [}\n");
    write("other.yaml", b"a: [}\n");
    write("bad-nul.Dockerfile", b"FROM a\nRUN x\0\n");
    let wide: Vec<u8> = "\u{feff}apiVersion: v1\nkind: Pod\nspec: {hostPID: true, containers: []}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    write("wide.yaml", &wide);
    write("huge.yaml", &vec![b' '; 17 << 20]);
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "apiVersion: v1\nkind: Pod\nspec: {containers: []}\n").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link.yaml")).unwrap();
    std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
    let outcomes = Auditor::default().path(dir.path());
    let names: Vec<&str> = outcomes.iter().map(|outcome| outcome.target.rsplit('/').next().unwrap()).collect();
    let expected = [
        "Dockerfile",
        "bad-nul.Dockerfile",
        "bad.Dockerfile",
        "bad.yaml",
        "binary.Dockerfile",
        "huge.yaml",
        "pod.yaml",
        "wide.yaml",
    ];
    assert_eq!(names, expected);
    assert!(super::numbers(&outcomes[7]).contains(&69));
    for outcome in &outcomes {
        let wrong = ["bad", "binary", "huge"].iter().any(|word| outcome.target.contains(word));
        assert_eq!(outcome.problems.len(), usize::from(wrong), "{}: {:?}", outcome.target, outcome.problems);
    }
    let nul = &outcomes[1].problems[0].place;
    assert_eq!((nul.line, nul.column), (2, 6));
    let line = |name: &str| outcomes[names.iter().position(|n| *n == name).unwrap()].problems[0].place.line;
    assert_eq!((line("bad.Dockerfile"), line("bad.yaml"), line("binary.Dockerfile")), (2, 3, 2));
}

#[test]
fn scripts_are_read_from_the_context_and_from_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("e.sh"), "#!/bin/sh\nexec gosu app x\n").unwrap();
    let text = "FROM a\nCOPY e.sh /e.sh\nENTRYPOINT [\"/e.sh\"]\n";
    let drops = |text: &str| {
        std::fs::write(dir.path().join("Dockerfile"), text).unwrap();
        let outcome = Auditor::default().path(&dir.path().join("Dockerfile")).remove(0);
        super::numbers(&outcome).contains(&24)
    };
    std::os::unix::fs::symlink(outside.path().join("e.sh"), dir.path().join("e.sh")).unwrap();
    assert!(!drops(text));
    // That the start is not known is said.
    let told = || super::numbers(&Auditor::default().path(&dir.path().join("Dockerfile")).remove(0)).contains(&98);
    assert!(told());
    let up = format!(
        "FROM a\nCOPY ../{}/e.sh /e.sh\nENTRYPOINT [\"/e.sh\"]\n",
        outside.path().file_name().unwrap().to_str().unwrap()
    );
    assert!(!drops(&up));
    std::fs::remove_file(dir.path().join("e.sh")).unwrap();
    std::fs::copy(outside.path().join("e.sh"), dir.path().join("e.sh")).unwrap();
    assert!(drops(text) && !told());
}

#[test]
fn a_directory_with_nothing_to_audit_is_no_good_verdict() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README"), "x").unwrap();
    let outcomes = Auditor::default().path(dir.path());
    assert_eq!((outcomes.len(), outcomes[0].problems.len()), (1, 1));
}
