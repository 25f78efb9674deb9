// SPDX-License-Identifier: Apache-2.0
//! The time between a container's making and its payload, in which the network is connected.

use std::time::{Duration, Instant};

use bryo_tests::host::{Process, mark};
use bryo_tests::images::BUSYBOX;
use bryo_tests::listing::Snapshot;
use bryo_tests::program::eventually;
use bryo_tests::{Home, Running, User, images};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::network::pasta;

/// Starts bryo and stops its `pasta` before it is ready, as one that hangs.
fn start_with_hanging_pasta(home: &Home, words: &[&str]) -> (Running, Process) {
    for _ in 0..20 {
        let mark = mark();
        let run = home.start(&[words, &[BUSYBOX, "sleep", &mark]].concat());
        let helper = pasta_of(&run);
        signal(helper, Signal::STOP);
        eventually("pasta is stopped", || helper.status("State").starts_with('T').then_some(()));
        // It may have been ready already: then the payload runs.
        std::thread::sleep(Duration::from_millis(200));
        if Process::find(&["sleep", &mark]).is_none() {
            return (run, helper);
        }
    }
    panic!("pasta was always faster");
}

/// Waits for the network helper of a run, as shortly as possible.
fn pasta_of(run: &Running) -> Process {
    let start = Instant::now();
    loop {
        let children = Process(run.pid()).children();
        if let Some(helper) = children.into_iter().find(|p| p.is_pasta()) {
            return helper;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "there is no pasta");
    }
}

fn signal(process: Process, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process.0).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_signal_ends_the_start_and_leaves_nothing() {
    if !pasta() {
        return;
    }
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&images::busybox());
        home.make_store();
        home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
        let before = Snapshot::take(&home);
        for (number, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
            let (run, helper) = start_with_hanging_pasta(&home, &["run", "--cidfile", "cid"]);
            // One that ends no command does not end this one either.
            run.signal(Signal::USR1);
            run.signal(number);
            let output = run.wait_for(Duration::from_secs(5));
            output.fails(code, &["before the program ran"]);
            assert!(!helper.lives(), "pasta is left behind");
            before.assert_nothing_left(&home);
            assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
            assert!(!home.path.join("cid").exists());
        }
    }
}

#[test]
fn a_pasta_that_hangs_is_given_up() {
    if !pasta() {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let start = Instant::now();
    let (default, first) = start_with_hanging_pasta(&home, &["run", "--rm", "--entrypoint", "/bin/true"]);
    let (asked, second) = start_with_hanging_pasta(&home, &["run", "--rm", "--network", "private"]);
    let (default, asked) = (default.wait_for(Duration::from_secs(20)), asked.wait_for(Duration::from_secs(20)));
    assert!(start.elapsed() > Duration::from_secs(9), "slow is not hanging: {:?}", start.elapsed());
    default.ok();
    assert!(default.stderr.contains("loopback: pasta is not ready after 10 s"), "{default}");
    asked.fails(125, &["pasta is not ready after 10 s"]);
    assert!(!first.lives() && !second.lives(), "pasta is left behind");
}

#[test]
fn a_container_that_ends_meanwhile_is_not_waited_for() {
    if !pasta() {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let (run, helper) = start_with_hanging_pasta(&home, &["run", "--rm"]);
    let first = Process(run.pid()).children().into_iter().find(|p| *p != helper).unwrap();
    signal(first, Signal::KILL);
    run.wait_for(Duration::from_secs(5)).code(137);
    assert!(!helper.lives(), "pasta is left behind");
}

/// Control-C goes to all that the shell started: the payload answers it, and its network stays until it has.
#[test]
fn what_interrupts_the_whole_job_does_not_end_the_network() {
    if !pasta() {
        return;
    }
    for user in User::all() {
        let home = Home::shared(&user);
        let (before, after) = (mark(), mark());
        let script = format!("trap 'exec sleep {after}' INT; sleep {before} & wait");
        let mut command = home.command(&["run", "--rm", BUSYBOX, "sh", "-c", &script]);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let run = Running::start(command, false);
        let helper = pasta_of(&run);
        Process::with_args(&["sleep", &before]);
        kill_process_group(Pid::from_raw(i32::try_from(run.pid()).unwrap()).unwrap(), Signal::INT).unwrap();
        Process::with_args(&["sleep", &after]);
        // To end takes it a while.
        std::thread::sleep(Duration::from_secs(1));
        assert!(helper.lives(), "the network is gone for {}", user.name);
    }
}
