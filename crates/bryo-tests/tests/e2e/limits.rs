// SPDX-License-Identifier: Apache-2.0
//! Limits: enforced or refused, in the words of `doctor`; and the one on processes that holds without a word. What
//! only control groups show is proved in `tests/vm`.

use bryo_tests::images::BUSYBOX;
use bryo_tests::listing::Snapshot;
use bryo_tests::{Home, User};

/// Makes so many processes at most, and says whether it got through.
fn processes(most: u32) -> String {
    format!("n=0; while [ $n -lt {most} ]; do sleep 60 & n=$((n + 1)); done; echo through")
}

/// What `doctor` says of control groups: the verdict, what was found, and the remedy.
fn verdict(home: &Home) -> (String, String) {
    let report = serde_json::from_slice::<serde_json::Value>(&home.bryo(&["doctor", "--json"]).stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["id"] == "cgroup").unwrap();
    (check["state"].as_str().unwrap().into(), check["remedy"].as_str().unwrap_or_default().into())
}

#[test]
fn a_limit_holds_or_nothing_starts_and_the_remedy_is_doctors() {
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&bryo_tests::images::busybox());
        home.run(&[BUSYBOX, "true"]).ok();
        let (state, remedy) = verdict(&home);
        let before = Snapshot::take(&home);
        for (flag, file, value) in [
            (&["--memory", "64m"][..], "memory.max", "67108864"),
            (&["--memory", "64m", "--memory-swap", "64m"], "memory.swap.max", "0"),
            (&["--memory-reservation", "32m"], "memory.low", "33554432"),
            (&["--cpus", "0.5"], "cpu.max", "50000 100000"),
            (&["-c", "512"], "cpu.weight", "59"),
            (&["--cpuset-cpus", "0"], "cpuset.cpus.effective", "0"),
            (&["--pids-limit", "50"], "pids.max", "50"),
            (&["--cgroups", "enabled"], "pids.max", "2048"),
        ] {
            let output = home.run(&[flag, &[BUSYBOX, "cat", &format!("/sys/fs/cgroup/{file}")]].concat());
            match state.as_str() {
                "ok" => assert_eq!(output.ok(), value, "{flag:?}"),
                _ => {
                    let said = output.fails(125, &["try: "]);
                    assert!(said.contains(&remedy), "{remedy:?} is not in {said}");
                }
            }
            before.assert_nothing_left(&home);
        }
    }
}

#[test]
fn the_words_of_the_command_line_become_those_of_the_spec() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    let flags = ["-m", "64m", "--cpus", "1.5", "--pids-limit", "50", "--cpuset-cpus", "0-1", "--blkio-weight", "500"];
    let spec = home.bryo(&[&["run", "--dry-run"], &flags[..], &[BUSYBOX, "true"]].concat()).json();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"], serde_json::json!({"limit": 64 << 20, "swap": 128 << 20}));
    assert_eq!(resources["cpu"], serde_json::json!({"quota": 150_000, "period": 100_000, "cpus": "0-1"}));
    assert_eq!((&resources["pids"]["limit"], &resources["blockIO"]["weight"]), (&50.into(), &500.into()));
    let plain = home.bryo(&["run", "--dry-run", BUSYBOX, "true"]).json();
    assert!(plain["linux"]["resources"].is_null() && plain["linux"]["cgroupsPath"].is_null());
    assert_eq!(plain["process"]["rlimits"][0]["soft"], 2048);
}

#[test]
fn a_fork_bomb_is_stopped_without_a_word() {
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&bryo_tests::images::busybox());
        let script = processes(3000);
        let output = home.run(&[BUSYBOX, "sh", "-c", &script]);
        assert!(output.code(2).is_empty() && output.stderr.contains("can't fork"), "{output}");
        // Quicker by the site's word, and in as many shapes as root inside has.
        home.write(".config/bryo/config.toml", "pids-limit = 40\n");
        let script = format!("ulimit -u 5000; {}", processes(100));
        for who in [&[][..], &["--user", "root"], &["--user", "root", "--cap-add", "SYS_RESOURCE"], &["--privileged"]] {
            let output = home.run(&[who, &[BUSYBOX, "sh", "-c", &script]].concat());
            assert!(output.code(2).is_empty() && output.stderr.contains("can't fork"), "{who:?}: {output}");
        }
        // The number is each container's own: one that has used it up takes nothing from another.
        let full = home.bryo(&["run", "-d", "--network", "none", BUSYBOX, "sh", "-c", "while sleep 60 & do :; done"]);
        assert_eq!(home.run(&[BUSYBOX, "sh", "-c", &processes(20)]).ok(), "through");
        home.bryo(&["rm", "-f", &full.ok()]).ok();
    }
}

#[test]
fn the_limit_of_processes_can_be_lifted() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    home.write(".config/bryo/config.toml", "pids-limit = 10\n");
    let script = processes(30);
    home.run(&[BUSYBOX, "sh", "-c", &script]).code(2);
    assert_eq!(home.run(&["--pids-limit", "-1", BUSYBOX, "sh", "-c", &script]).ok(), "through");
    assert_eq!(home.run(&["--ulimit", "nproc=200", BUSYBOX, "sh", "-c", &script]).ok(), "through");
    home.write(".config/bryo/config.toml", "pids-limit = -1\n");
    assert_eq!(home.run(&[BUSYBOX, "sh", "-c", &script]).ok(), "through");
}

#[test]
fn limits_that_make_no_sense_are_told_before_anything_starts() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    for (flags, word) in [
        (&["--memory", "1k"][..], "6m"),
        (&["--memory-swap", "1g"], "--memory"),
        (&["--memory", "64m", "--memory-swap", "32m"], "--memory"),
        (&["--memory", "64m", "--memory-reservation", "128m"], "--memory-reservation"),
        (&["--cpus", "1", "--cpu-quota", "5000"], "--cpus"),
        (&["--cpuset-cpus", "first"], "0-2,7"),
        (&["--pids-limit", "many"], "-1"),
    ] {
        home.run(&[flags, &[BUSYBOX, "true"]].concat()).fails(125, &[word]);
    }
}
