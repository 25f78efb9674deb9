// SPDX-License-Identifier: Apache-2.0
//! `kill -9` at any moment: everything complete still works, the rest is collected.

use std::time::{Duration, Instant};

use bryo_tests::images::{self, BUSYBOX, PROBE};
use bryo_tests::registry::Registry;
use bryo_tests::{Home, Running, User};
use rustix::process::Signal;

/// Starts a command again and again and kills it later and later, until it ends by itself before it is killed.
/// What must hold is checked after every kill.
#[track_caller]
fn kill_at_every_moment(home: &Home, words: &[&str], check: impl Fn(), reset: impl Fn()) {
    let start = Instant::now();
    home.bryo(words).code(0);
    let whole = start.elapsed();
    const MOMENTS: u32 = 25;
    for moment in 0..MOMENTS {
        reset();
        let run: Running = home.start(words);
        std::thread::sleep(whole.mul_f64(f64::from(moment) / f64::from(MOMENTS)).max(Duration::from_millis(1)));
        run.signal(Signal::KILL);
        drop(run);
        check();
    }
    reset();
    home.bryo(words).code(0);
}

/// Asserts that collecting leaves no temporary thing, and that a second time finds nothing to do.
#[track_caller]
fn collected(home: &Home) {
    home.bryo(&["gc"]).ok();
    let snapshot = bryo_tests::listing::Snapshot::take(home);
    let stale: Vec<_> = snapshot.files.iter().filter(|f| f.contains(".tmp-") || f.contains(".new")).collect();
    assert!(stale.is_empty(), "{stale:#?}");
}

#[test]
fn a_killed_load_leaves_a_store_that_works() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&images::busybox());
        let archive = images::probe().display().to_string();
        let check = || {
            home.run(&[BUSYBOX, "true"]).ok();
            // An image is there whole, or it is not there.
            if home.bryo(&["images"]).ok().contains("localhost/probe") {
                home.run(&[PROBE, "/probe", "euid"]).ok();
            }
        };
        let reset = || {
            let _there_or_not = home.bryo(&["rmi", PROBE]);
        };
        kill_at_every_moment(&home, &["load", "-q", "-i", &archive], check, reset);
        collected(&home);
    }
}

#[test]
fn a_killed_pull_leaves_a_store_that_works() {
    let (Some(user), Some(registry)) = (User::ordinary(), Registry::start(false)) else { return };
    let name = registry.put(&images::probe(), "probe:1");
    let home = Home::new(&user);
    home.load(&images::busybox());
    let check = || {
        home.run(&[BUSYBOX, "true"]).ok();
        if home.bryo(&["images"]).ok().contains(&registry.host) {
            home.run(&[&name, "/probe", "euid"]).ok();
        }
    };
    let reset = || {
        let _there_or_not = home.bryo(&["rmi", &name]);
    };
    kill_at_every_moment(&home, &["pull", "-q", "--tls-verify=false", &name], check, reset);
    collected(&home);
}

#[test]
fn a_killed_run_leaves_no_process_and_no_mount() {
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&images::busybox());
        home.run(&[BUSYBOX, "true"]).ok();
        let before = bryo_tests::listing::Snapshot::take(&home);
        let check = || {
            home.run(&[BUSYBOX, "true"]).ok();
        };
        let words = ["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", "echo x > /tmp/x; sleep 0.05"];
        kill_at_every_moment(&home, &words, check, || ());
        collected(&home);
        before.assert_nothing_left(&home);
    }
}

#[test]
fn the_next_load_collects_what_a_killed_run_left() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&images::busybox());
    let containers = || std::fs::read_dir(home.store().join("containers")).unwrap().count();
    let mark = bryo_tests::host::mark();
    let run = home.start(&["run", "--rm", "--network", "none", "--writable", BUSYBOX, "sleep", &mark]);
    let payload = bryo_tests::host::Process::with_args(&["sleep", &mark]);
    run.signal(Signal::KILL);
    run.wait();
    bryo_tests::program::eventually("the payload ends", || (!payload.lives()).then_some(()));
    assert_eq!(containers(), 1);
    // Who watched over it may be a moment later than its payload.
    bryo_tests::program::eventually("what it left is collected", || {
        home.load(&images::busybox());
        (containers() == 0).then_some(())
    });
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let archive = images::busybox().display().to_string();
    // The same image loaded, run and listed at one time, from an empty store.
    let loads: Vec<Running> = (0..4).map(|_| home.start(&["load", "-q", "-i", &archive])).collect();
    for load in loads {
        load.wait().ok();
    }
    let runs: Vec<Running> =
        (0..16).map(|n| home.start(&["run", "--rm", "--network", "none", BUSYBOX, "echo", &n.to_string()])).collect();
    // Listing and loading collect what is dead, and must take nothing that is being made.
    let others: Vec<Running> =
        (0..4).flat_map(|_| [home.start(&["ps"]), home.start(&["load", "-q", "-i", &archive])]).collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.wait().ok(), n.to_string());
    }
    for other in others {
        other.wait().ok();
    }
    collected(&home);
}
