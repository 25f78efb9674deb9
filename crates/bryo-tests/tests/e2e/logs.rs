// SPDX-License-Identifier: Apache-2.0
//! `logs`: what a container has said, whoever listened.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::pty::Terminal;
use bryo_tests::{Detached, Home, User};
use sha2::Digest;

#[test]
fn streams_stay_apart_and_nothing_is_added() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::script(&home, &[], "echo out; echo err >&2; printf 'no\\0end'");
        container.until("exited");
        let output = home.bryo(&["logs", &container.name]);
        output.ok();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_str()), (&b"out\nno\0end"[..], "err\n"));
        home.bryo(&["logs", "no-such-container"]).fails(1, &["no such container"]);
        // Each run adds to it.
        home.bryo(&["start", "-a", &container.name]).ok();
        assert_eq!(home.bryo(&["logs", &container.name]).stderr, "err\nerr\n");
        home.bryo(&["rm", &container.name]).ok();
        home.bryo(&["logs", &container.name]).fails(1, &["no such container"]);
    }
}

#[test]
fn lines_are_chosen_by_time_and_number() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container =
        Detached::script(&home, &[], "echo one; sleep 0.3; echo two; sleep 0.3; echo three; sleep 0.3; echo four");
    container.until("exited");
    let logs = |words: &[&str]| home.bryo(&[&["logs"], words, &[&container.name]].concat()).ok();
    assert_eq!(logs(&[]), "one\ntwo\nthree\nfour");
    for (words, lines) in [
        (["--tail", "2"], "three\nfour"),
        (["-n", "0"], ""),
        (["--tail", "all"], "one\ntwo\nthree\nfour"),
        (["--tail", "100"], "one\ntwo\nthree\nfour"),
        (["--since", "1h"], "one\ntwo\nthree\nfour"),
        (["--until", "1h"], ""),
    ] {
        assert_eq!(logs(&words), lines, "{words:?}");
    }
    let stamped = logs(&["-t"]);
    let lines: Vec<(&str, &str)> = stamped.lines().map(|l| l.split_once(' ').unwrap()).collect();
    assert_eq!(lines.iter().map(|l| l.1).collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    let times: Vec<&str> = lines.iter().map(|l| l.0).collect();
    assert!(times.is_sorted() && times.iter().all(|t| t.len() == 30 && t.ends_with('Z')), "{times:?}");
    assert_eq!(logs(&["--since", times[2]]), "three\nfour");
    assert_eq!(logs(&["--until", times[2]]), "one\ntwo");
    assert_eq!(logs(&["--since", times[1], "--until", times[3]]), "two\nthree");
    for bad in [["--since", "yesterday"], ["--tail", "some"]] {
        home.bryo(&[&["logs"], &bad[..], &[&container.name]].concat()).fails(1, &[bad[1]]);
    }
}

#[test]
fn one_who_follows_hears_each_word_and_the_end() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container =
            Detached::script(&home, &[], "echo first; trap 'echo last; exit 3' TERM; while :; do sleep 0.1; done");
        container.says("first");
        let mut command = home.command(&["logs", "-f", &container.name]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 6];
        stdout.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"first\n");
        let start = Instant::now();
        home.bryo(&["stop", &container.name]).ok();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "last\n");
        assert!(child.wait().unwrap().success() && start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        // What has ended is followed to its end.
        assert_eq!(home.bryo(&["logs", "--follow", "--tail", "1", &container.name]).ok(), "last");
    }
}

#[test]
fn one_who_follows_is_not_left_behind_when_files_are_put_aside_or_removed() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let script = "i=0; while test $i -lt 3000; do i=$((i+1)); echo line $i; done; sleep 1; echo end";
    for flags in [&[][..], &["--rm"]] {
        let limits = ["--log-opt", "max-size=4096", "--log-opt", "max-file=1000"];
        let container = Detached::script(&home, &[&limits, flags].concat(), &format!("sleep 1; {script}"));
        let followed = home.bryo(&["logs", "-f", &container.name]).ok();
        let expected: Vec<String> = (1..=3000).map(|n| format!("line {n}")).chain(["end".to_owned()]).collect();
        assert!(followed == expected.join("\n"), "{} lines", followed.lines().count());
        if flags.is_empty() {
            assert!(container.said() == followed);
        }
    }
}

#[test]
fn no_more_is_kept_than_was_asked_for() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let limits = ["--log-opt", "max-size=64k", "--log-opt", "max-file=3"];
    let container = Detached::script(&home, &limits, "seq 1 100000");
    container.until("exited");
    let dir = home.store().join("containers").join(container.inspect()["Id"].as_str().unwrap());
    let files: Vec<_> = std::fs::read_dir(dir).unwrap().flatten().filter(|e| is_log(&e.file_name())).collect();
    let size: u64 = files.iter().map(|e| e.metadata().unwrap().len()).sum();
    assert!(files.len() == 3 && size <= 3 * 65536, "{size} bytes in {files:?}");
    let said = container.said();
    let last: Vec<u32> = said.lines().map(|l| l.parse().unwrap()).collect();
    assert!(last.last() == Some(&100_000) && last.windows(2).all(|w| w[1] == w[0] + 1), "{} lines", last.len());
}

fn is_log(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("log"))
}

#[test]
fn what_is_not_kept_cannot_be_read() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::script(&home, &["--log-driver", "none"], "echo out; sleep 0.5; exit 3");
    assert_eq!(container.wait(), 3);
    home.bryo(&["logs", &container.name]).fails(1, &["--log-driver none"]);
    home.run(&["--log-driver", "syslog", BUSYBOX, "true"]).fails(125, &["syslog"]);
}

/// A line without an end, and a stream without one, in the same process that keeps the state.
#[test]
fn a_monitor_stays_small_whatever_the_container_says() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    for make in ["head -c 300000000 /dev/zero | tr '\\0' x", "head -c 100000000 /dev/zero | tr '\\0' '\\n'"] {
        let limits = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2"];
        let container = Detached::script(&home, &limits, &format!("sleep 1; {make}; echo; echo end; sleep 100000"));
        let monitor = container.monitor();
        let memory = || -> u64 { monitor.status("RssAnon").trim_end_matches(" kB").parse().unwrap() };
        let before = memory();
        let mut most = before;
        let start = Instant::now();
        while !home.bryo(&["logs", "--tail", "1", &container.name]).ok().ends_with("end") {
            most = most.max(memory());
            assert!(start.elapsed() < Duration::from_secs(300), "it never ends");
        }
        assert!(most < before + 1024, "{before} KiB, and then {most} KiB");
        assert!(home.bryo(&["logs", &container.name]).stdout.len() <= 2 << 20);
    }
}

#[test]
fn a_foreground_container_has_a_log_too() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::named(&home);
        let words = ["run", "-i", "--network", "none", "--name", &container.name, BUSYBOX, "sh", "-c"];
        let output = home.bryo_fed(&[&words[..], &["cat; echo err >&2; printf x"]].concat(), b"one\ntwo\n");
        assert_eq!((output.ok(), output.stderr.as_str()), ("one\ntwo\nx".into(), "err\n"));
        let log = home.bryo(&["logs", &container.name]);
        assert_eq!((log.ok(), log.stderr.as_str()), ("one\ntwo\nx".into(), "err\n"));
    }
}

#[test]
fn a_terminal_in_the_foreground_is_kept_as_it_was_seen() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    // Without -i nobody could let go of it: it is the command's own.
    for flags in [&["-t"][..], &["-it"]] {
        let container = Detached::named(&home);
        let words = [&["run"], flags, &["--network", "none", "--name", &container.name, BUSYBOX]].concat();
        let mut tty =
            Terminal::start(&home.command(&[&words[..], &["sh", "-c", "echo on a terminal; exit 3"]].concat()));
        assert_eq!(tty.wait().code(), Some(3), "{}", tty.screen());
        assert_eq!(home.bryo(&["logs", &container.name]).stdout, b"on a terminal\r\n", "{flags:?}");
    }
}

#[test]
fn what_goes_away_at_its_end_and_has_its_own_reader_is_not_kept() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    let words = ["run", "--rm", "--network", "none", "--name", &container.name, BUSYBOX, "sleep", "100000"];
    let run = home.start(&words);
    eventually("it runs", || home.bryo(&["ps"]).ok().contains(&container.name).then_some(()));
    home.bryo(&["logs", &container.name]).fails(1, &["foreground", "--rm"]);
    home.bryo(&["rm", "-f", &container.name]).ok();
    run.wait().code(128 + 9);
}

#[test]
fn a_gibibyte_is_kept_in_part_and_goes_through_whole() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    let words = ["run", "-i", "--network", "none", "--name", &container.name, BUSYBOX, "cat"];
    let mut command = home.command(&words);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let (mut hash, mut state) = (sha2::Sha256::new(), 1_u64);
        let mut block = vec![0_u8; 1 << 20];
        for _ in 0..1024 {
            for word in block.chunks_exact_mut(8) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                word.copy_from_slice(&state.to_le_bytes());
            }
            hash.update(&block);
            stdin.write_all(&block).unwrap();
        }
        (hash.finalize(), block)
    });
    let (mut hash, mut buffer) = (sha2::Sha256::new(), vec![0; 1 << 20]);
    let mut stdout = child.stdout.take().unwrap();
    while let n @ 1.. = stdout.read(&mut buffer).unwrap() {
        hash.update(&buffer[..n]);
    }
    assert!(child.wait().unwrap().success());
    let (sent, last) = writer.join().unwrap();
    assert_eq!(hash.finalize(), sent);
    let kept = home.bryo(&["logs", &container.name]).stdout;
    assert!(kept.len() < 5 * (20 << 20) && kept.ends_with(&last), "{} bytes", kept.len());
}
