// SPDX-License-Identifier: Apache-2.0
//! `kill -9` of everybody who has a part in a container that runs by itself: what is said of it afterwards is true, and
//! nothing stays.

use std::time::{Duration, Instant};

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{BUSYBOX, busybox};
use bryo_tests::listing::Snapshot;
use bryo_tests::program::eventually;
use bryo_tests::user::Rung;
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;
use serde_json::json;

/// Makes a home in which everything that stays for ever is there already.
fn settled(user: &User) -> (Home, Snapshot) {
    let home = Home::alone(user);
    home.load(&busybox());
    home.run(&[BUSYBOX, "true"]).ok();
    home.run(&["--user", "root", BUSYBOX, "true"]).ok();
    home.bryo(&["run", "-d", "--rm", "--network", "none", "--name", "first", BUSYBOX, "true"]).ok();
    eventually("it is gone", || home.bryo(&["ps", "-aq"]).ok().is_empty().then_some(()));
    let before = Snapshot::take(&home);
    (home, before)
}

/// Asserts that nothing is there but what was before, once what is dead is collected.
#[track_caller]
fn nothing_left(home: &Home, before: &Snapshot) {
    assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
    home.bryo(&["gc"]).ok();
    before.assert_nothing_left(home);
}

/// A detached run is killed later and later, until it ends by itself before that. A container is there and runs, or it
/// is not there; never something between.
#[test]
fn a_command_that_is_killed_leaves_a_container_that_runs_or_none() {
    for user in User::all() {
        let (home, before) = settled(&user);
        let words = |mark: &str| -> Vec<String> {
            let words = ["run", "-d", "--network", "none", "--name", "moss", BUSYBOX, "sleep", mark];
            words.iter().map(|word| (*word).to_owned()).collect()
        };
        let run = |mark: &str| home.start(&words(mark).iter().map(String::as_str).collect::<Vec<_>>());
        let start = Instant::now();
        run(&mark()).wait().ok();
        let whole = start.elapsed();
        home.bryo(&["rm", "-f", "moss"]).ok();
        let (mut ran, mut none, mut told) = (0, 0, String::new());
        for moment in 0..40 {
            // A machine that is busy with something else may need much longer than it did the first time.
            if moment >= 25 && ran > 0 {
                break;
            }
            let mark = mark();
            let command = run(&mark);
            let late = f64::from(moment) / 6.0 + f64::from((moment - 24).max(0)).powi(2);
            std::thread::sleep(whole.mul_f64(late).max(Duration::from_millis(1)));
            command.signal(Signal::KILL);
            told = command.wait().to_string();
            if runs_in_the_end(&home, &mark) {
                assert_eq!(home.bryo(&["exec", "moss", "echo", "here"]).ok(), "here");
                home.bryo(&["restart", "-t", "0", "moss"]).ok();
                home.bryo(&["rm", "-f", "moss"]).ok();
                ran += 1;
            } else {
                none += 1;
            }
            assert_eq!(Process::find(&["sleep", &mark]), None);
        }
        assert!(none > 0 && ran > 0, "{none} without, {ran} with a container, of {whole:?}; last {told}");
        nothing_left(&home, &before);
    }
}

/// What a command has left that was killed before there was a record has its name, and is no container.
#[test]
fn a_name_is_free_whose_command_was_killed() {
    for user in User::all() {
        let (home, before) = settled(&user);
        let id = home.bryo(&["create", "--network", "none", "--name", "moss", BUSYBOX, "true"]).ok();
        home.bryo(&["create", "--network", "none", "--name", "moss", BUSYBOX, "true"]).fails(125, &["moss", "used"]);
        std::fs::remove_file(home.store().join("containers").join(&id).join("container.json")).unwrap();
        assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
        home.run(&["--name", "moss", BUSYBOX, "true"]).ok();
        nothing_left(&home, &before);
    }
}

/// Waits until nobody is at work any more whose command was killed, as a monitor is alone for a while: tells whether the
/// container is there and runs. Else it is not there, and nothing of it is.
#[track_caller]
fn runs_in_the_end(home: &Home, mark: &str) -> bool {
    eventually("it runs or is not there", || {
        let there = home.bryo(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
        let runs = Process::find(&["sleep", mark]).is_some();
        // The monitor and all that it forks have the command line of the command.
        let works =
            || Process::every().iter().any(|p| p.lives() && p.read("cmdline").is_some_and(|c| c.contains(mark)));
        match there.as_str() {
            "moss running" => runs.then_some(true),
            "" => (!runs && !works()).then_some(false),
            other => panic!("{other}"),
        }
    })
}

#[test]
fn a_container_ends_with_its_monitor_and_can_be_started_again() {
    for user in User::all() {
        let (home, before) = settled(&user);
        for policy in ["no", "always"] {
            let container = Detached::script(&home, &["--restart", policy], "echo began; exec sleep 100000");
            container.says("began");
            let (payload, monitor, guardian) = (container.payload(), container.monitor(), container.guardian());
            let follows = home.start(&["logs", "-f", &container.name]);
            let attached = home.start(&["attach", &container.name]);
            let waits = home.start(&["wait", &container.name]);
            std::thread::sleep(Duration::from_millis(300));
            monitor.signal(Signal::KILL);
            attached.wait().code(137);
            assert_eq!(waits.wait().ok(), "137");
            follows.wait().ok();
            for process in [payload, guardian] {
                eventually("it ends", || (!process.lives()).then_some(()));
            }
            assert_eq!((container.status(), container.state("ExitCode")), ("exited".to_owned(), json!(137)));
            home.bryo(&["exec", &container.name, "true"]).fails(125, &["not running"]);
            home.bryo(&["stop", &container.name]).ok();
            home.bryo(&["start", &container.name]).ok();
            assert_eq!(container.exec(&["echo", "here"]).ok(), "here");
            assert_eq!(container.said(), "began\nbegan");
            home.bryo(&["rm", "-f", &container.name]).ok();
        }
        // One that was to be removed when it ends.
        let container = Detached::sleeper(&home, &["--rm"]);
        let payload = container.payload();
        container.monitor().signal(Signal::KILL);
        eventually("it ends", || (!payload.lives()).then_some(()));
        eventually("it is collected", || home.bryo(&["ps", "-aq"]).ok().is_empty().then_some(()));
        nothing_left(&home, &before);
    }
}

#[test]
fn a_network_helper_ends_with_the_monitor() {
    let Some(user) = User::with_range() else { return };
    let (home, before) = settled(&user);
    let container = Detached::named(&home);
    home.bryo(&["run", "-d", "--name", &container.name, BUSYBOX, "sleep", "100000"]).ok();
    let helper = container.monitor().children().into_iter().find(|p| p.is_pasta()).unwrap();
    let payload = container.payload();
    container.monitor().signal(Signal::KILL);
    for process in [payload, helper] {
        eventually("it ends", || (!process.lives()).then_some(()));
    }
    home.bryo(&["start", &container.name]).ok();
    assert_eq!(container.exec(&["echo", "here"]).ok(), "here");
    home.bryo(&["rm", "-f", &container.name]).ok();
    nothing_left(&home, &before);
}

#[test]
fn without_its_guardian_a_container_goes_on_and_ends_as_others_do() {
    for user in User::all() {
        let (home, before) = settled(&user);
        for flags in [&[][..], &["--restart", "always"]] {
            let container = Detached::sleeper(&home, flags);
            container.guardian().signal(Signal::KILL);
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(container.status(), "running");
            assert_eq!(container.exec(&["echo", "here"]).ok(), "here");
            home.bryo(&["restart", "-t", "0", &container.name]).ok();
            assert!(container.guardian().lives(), "the next run has one again");
            home.bryo(&["rm", "-f", &container.name]).ok();
        }
        nothing_left(&home, &before);
    }
}

/// Nobody is left who supervises, and the payload may go on: it is not run beside itself, nor removed below itself.
#[test]
fn a_payload_that_outlives_everybody_is_still_the_containers() {
    for user in User::all() {
        let (home, before) = settled(&user);
        // Another user: the kernel's own tie to the parent is undone by that. On a single id there is none.
        let become_another = if user.rung == Rung::Single { "" } else { "su -s /bin/sh app -c 'exec \"$0\" \"$@\"'" };
        let change = format!("echo ready; exec {become_another} sleep 100000");
        let container = Detached::script(&home, &["--user", "root", "--writable"], &change);
        container.says("ready");
        let (payload, monitor) = (container.payload(), container.monitor());
        eventually("it has become that", || payload.read("cmdline").filter(|c| c.starts_with("sleep")));
        container.guardian().signal(Signal::KILL);
        eventually("the guardian is gone", || {
            (monitor.children().iter().filter(|p| p.lives()).count() == 1).then_some(())
        });
        monitor.signal(Signal::KILL);
        eventually("the monitor is gone", || (!monitor.lives()).then_some(()));
        if user.rung == Rung::Single {
            // Its tie to the monitor holds, and it is told by a signal, which takes its time.
            eventually("it ends", || (!payload.lives()).then_some(()));
        } else {
            assert!(payload.lives(), "it was tied to the monitor as {}", user.name);
            assert_eq!(container.status(), "running");
            home.bryo(&["rm", &container.name]).fails(1, &["running"]);
            assert_eq!(home.bryo(&["start", &container.name]).ok(), container.name);
            assert_eq!(container.payload(), payload);
        }
        home.bryo(&["stop", "-t", "0", &container.name]).ok();
        eventually("it ends", || (!payload.lives()).then_some(()));
        assert_eq!((container.status(), container.state("ExitCode")), ("exited".to_owned(), json!(137)));
        home.bryo(&["rm", &container.name]).ok();
        nothing_left(&home, &before);
    }
}

#[test]
fn a_payload_that_is_killed_has_exited() {
    for user in User::all() {
        let (home, before) = settled(&user);
        for flags in [&[][..], &["--init"], &["--rm"]] {
            let container = Detached::sleeper(&home, flags);
            let wait = home.start(&["wait", &container.name]);
            std::thread::sleep(Duration::from_millis(300));
            container.payload().signal(Signal::KILL);
            assert_eq!(wait.wait().ok(), "137");
            if flags == ["--rm"] {
                home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
            } else {
                assert_eq!((container.status(), container.state("ExitCode")), ("exited".to_owned(), json!(137)));
                home.bryo(&["start", &container.name]).ok();
                home.bryo(&["rm", "-f", &container.name]).ok();
            }
        }
        nothing_left(&home, &before);
    }
}

#[test]
fn two_that_start_it_at_once_start_it_once() {
    for user in User::all() {
        let home = Home::shared(&user);
        let (container, mark) = (Detached::named(&home), mark());
        home.bryo(&["create", "--network", "none", "--name", &container.name, BUSYBOX, "sleep", &mark]).ok();
        for _ in 0..5 {
            let starts: Vec<_> = (0..4).map(|_| home.start(&["start", &container.name])).collect();
            for start in starts {
                assert_eq!(start.wait().ok(), container.name);
            }
            let payloads = Process::every()
                .into_iter()
                .filter(|p| p.read("cmdline").is_some_and(|c| c == format!("sleep\0{mark}\0")));
            assert_eq!(payloads.collect::<Vec<_>>(), [container.payload()]);
            home.bryo(&["stop", "-t", "0", &container.name]).ok();
        }
    }
}

/// Looking at containers is in nobody's way, and what is being removed is not brought back.
#[test]
fn start_and_rm_and_ps_at_one_time_end_in_one_of_two_ways() {
    for user in User::all() {
        let (home, before) = settled(&user);
        for round in 0..12_u32 {
            home.bryo(&["create", "--network", "none", "--name", "moss", BUSYBOX, "sleep", "100000"]).ok();
            let looks: Vec<_> = (0..3).map(|_| home.start(&["ps", "-a"])).collect();
            let start = home.start(&["start", "moss"]);
            std::thread::sleep(Duration::from_millis(u64::from(round % 4) * 3));
            let remove = home.start(&["rm", "moss"]);
            let (start, remove) = (start.wait(), remove.wait());
            for look in looks {
                look.wait().ok();
            }
            match (start.status.success(), remove.status.success()) {
                (true, false) => {
                    remove.fails(1, &["running"]);
                    assert_eq!(home.bryo(&["exec", "moss", "echo", "here"]).ok(), "here");
                    home.bryo(&["rm", "-f", "moss"]).ok();
                }
                (false, true) => drop(start.fails(1, &["no such container"])),
                _ => panic!("{start}\n{remove}"),
            }
            assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
        }
        nothing_left(&home, &before);
    }
}
