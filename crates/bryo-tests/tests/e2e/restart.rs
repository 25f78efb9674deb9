// SPDX-License-Identifier: Apache-2.0
//! `--restart`: containers that are started again when they have ended by themselves.

use std::time::{Duration, Instant};

use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;

/// Waits until a container was started again so many times.
#[track_caller]
fn until_restarted(container: &Detached<'_>, times: u64) {
    let count = || container.restarts().as_u64().unwrap();
    eventually(&format!("it is started again {times} times"), || (count() >= times).then_some(()));
}

#[test]
fn after_failures_so_many_times() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::script(&home, &["--restart", "on-failure:2"], "echo began; exit 3");
        until_restarted(&container, 2);
        container.until("exited");
        assert_eq!((container.restarts().as_u64(), container.state("ExitCode").as_i64()), (Some(2), Some(3)));
        assert_eq!(container.said(), "began\nbegan\nbegan");
        // Started by hand it counts anew.
        home.bryo(&["start", &container.name]).ok();
        until_restarted(&container, 2);
        container.until("exited");
        assert_eq!(container.said().lines().count(), 6);
    }
}

#[test]
fn a_success_is_no_failure() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let fine = Detached::busybox(&home, &["--restart", "on-failure"], &["true"]);
    let once = Detached::busybox(&home, &["--restart", "no"], &["false"]);
    fine.until("exited");
    once.until("exited");
    std::thread::sleep(Duration::from_millis(500));
    for container in [fine, once] {
        assert_eq!((container.status().as_str(), container.restarts().as_u64()), ("exited", Some(0)));
    }
}

#[test]
fn always_until_it_is_stopped() {
    for user in User::all() {
        let home = Home::shared(&user);
        for policy in ["always", "unless-stopped"] {
            let container = Detached::script(&home, &["--restart", policy], "echo began; exit 0");
            until_restarted(&container, 3);
            // At whichever moment this comes: while it runs, ends, or waits to be started again.
            let start = Instant::now();
            assert_eq!(home.bryo(&["stop", &container.name]).ok(), container.name);
            assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
            assert_eq!(container.status(), "exited");
            let count = container.restarts();
            std::thread::sleep(Duration::from_secs(2));
            assert_eq!((container.status(), container.restarts()), ("exited".to_owned(), count));
        }
    }
}

/// The longer it fails, the longer the pause: what waits for its end must not wait for that of the pause.
#[test]
fn a_stop_at_any_moment_of_the_pause_is_heard() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let containers: Vec<Detached<'_>> =
        (0..6).map(|_| Detached::busybox(&home, &["--restart", "always"], &["false"])).collect();
    for (n, container) in containers.iter().enumerate() {
        let restarts = 2 + u64::try_from(n).unwrap() / 2;
        until_restarted(container, restarts);
        std::thread::sleep(Duration::from_millis(37 * restarts));
        let start = Instant::now();
        let command: &[&str] = if n % 2 == 0 { &["stop"] } else { &["rm", "-f"] };
        home.bryo(&[command, &[&container.name]].concat()).ok();
        assert!(start.elapsed() < Duration::from_secs(3), "{command:?} took {:?}", start.elapsed());
        if n % 2 == 0 {
            assert_eq!(container.status(), "exited");
        } else {
            home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
        }
    }
}

#[test]
fn one_that_is_between_two_runs_says_so() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::busybox(&home, &["--restart", "always"], &["false"]);
    until_restarted(&container, 4);
    container.until("restarting");
    home.bryo(&["exec", &container.name, "true"]).fails(125, &["not running"]);
    home.bryo(&["attach", &container.name]).fails(1, &["not running"]);
    home.bryo(&["rm", &container.name]).fails(1, &["running"]);
    // It is about to be started.
    assert_eq!(home.bryo(&["start", &container.name]).ok(), container.name);
    home.bryo(&["restart", "-t", "0", &container.name]).ok();
    assert!(container.restarts().as_u64().unwrap() < 4, "it counts anew");
}

#[test]
fn a_payload_that_is_killed_from_outside_is_started_again() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &["--restart", "always"]);
        let (first, monitor) = (container.payload(), container.monitor());
        first.signal(Signal::KILL);
        until_restarted(&container, 1);
        container.until("running");
        let second = container.payload();
        assert!(second != first && second.lives());
        assert_eq!(second.parent(), monitor);
        assert_eq!(container.exec(&["echo", "here"]).ok(), "here");
        // By bryo's own word it is not.
        home.bryo(&["kill", &container.name]).ok();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(container.status(), "exited");
    }
}

#[test]
fn its_own_signal_to_end_ends_it_for_good() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let script = "trap 'exit 1' TERM; trap 'exit 2' HUP; echo ready; while :; do sleep 0.1; done";
    let container = Detached::script(&home, &["--restart", "always"], script);
    container.says("ready");
    // Another one may mean anything: it is started again.
    home.bryo(&["kill", "-s", "HUP", &container.name]).ok();
    container.says("ready\nready");
    home.bryo(&["kill", "-s", "TERM", &container.name]).ok();
    container.until("exited");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((container.status().as_str(), container.state("ExitCode").as_i64()), ("exited", Some(1)));
}

#[test]
fn what_it_has_written_is_there_when_it_is_started_again() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let script = "echo x >> /etc/runs; cat /etc/runs | wc -l; exit 1";
    let container = Detached::script(&home, &["--writable", "--user", "root", "--restart", "on-failure:2"], script);
    until_restarted(&container, 2);
    container.until("exited");
    assert_eq!(container.said(), "1\n2\n3");
}

#[test]
fn one_that_cannot_be_started_any_more_has_failed() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let dir = home.mkdir(&format!("w/share-{}", bryo_tests::host::mark()));
    let share = format!("{}:/data", dir.display());
    let container = Detached::busybox(&home, &["--restart", "on-failure:3", "-v", &share], &["sleep", "100000"]);
    std::fs::remove_dir(&dir).unwrap();
    container.payload().signal(Signal::KILL);
    until_restarted(&container, 3);
    container.until("exited");
    let error = container.state("Error");
    assert!(error.as_str().unwrap().contains("share-"), "{error}");
    std::fs::create_dir(&dir).unwrap();
    home.bryo(&["start", &container.name]).ok();
    assert_eq!((container.status(), container.state("Error")), ("running".to_owned(), serde_json::json!("")));
}

/// Who is attached hears of the first end: whether there is another run is not his business.
#[test]
fn in_the_foreground_it_ends_with_the_first_run() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    let words = ["run", "--network", "none", "--restart", "always", "--name", &container.name, BUSYBOX];
    home.bryo(&[&words[..], &["sh", "-c", "echo began; exit 4"]].concat()).code(4);
    until_restarted(&container, 1);
    home.bryo(&["stop", &container.name]).ok();
}
