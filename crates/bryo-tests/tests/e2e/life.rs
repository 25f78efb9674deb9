// SPDX-License-Identifier: Apache-2.0
//! Containers that run by themselves: made, started, stopped, killed, waited for, renamed, removed, in Docker's words.

use std::time::{Duration, Instant};

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_detached_run_prints_the_id_and_returns() {
    for user in User::all() {
        let home = Home::shared(&user);
        let (container, mark) = (Detached::named(&home), mark());
        // In a shell's substitution, whose pipe the container must not hold.
        let script = format!(
            "id=$('{}' run -d --network none --name {} {BUSYBOX} sleep {mark}); echo \"got $id\"",
            bryo_tests::dirs::bryo().display(),
            container.name
        );
        let printed = home.tool("sh", &["-c", &script]).ok();
        let id = printed.strip_prefix("got ").unwrap();
        assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{printed}");
        assert_eq!(container.inspect()["Id"], id);
        let payload = Process::with_args(&["sleep", &mark]);
        assert_eq!((container.status(), container.payload()), ("running".to_owned(), payload));
        assert!(user.may_own(payload.ids("Uid")[0]));
        assert!(home.bryo(&["ps"]).ok().contains(&container.name));
    }
}

#[test]
fn the_network_helper_does_not_hold_the_callers_output_either() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    let output = home.bryo(&["run", "-d", "--name", &container.name, BUSYBOX, "sleep", "100000"]);
    assert_eq!(output.ok().len(), 64);
    let helper = container.monitor().children().into_iter().find(|p| p.is_pasta());
    assert!(helper.is_some(), "no network: {output}");
    home.bryo(&["stop", "-t", "0", &container.name]).ok();
    assert!(!helper.unwrap().lives());
}

#[test]
fn a_container_is_made_and_started_later() {
    for user in User::all() {
        let home = Home::shared(&user);
        let (container, mark) = (Detached::named(&home), mark());
        let words = ["create", "--network", "none", "--name", &container.name, BUSYBOX, "sleep", &mark];
        let id = home.bryo(&words).ok();
        assert_eq!((id.len(), container.status().as_str()), (64, "created"));
        assert_eq!(Process::find(&["sleep", &mark]), None);
        assert_eq!(home.bryo(&["start", &id]).ok(), id);
        let payload = Process::with_args(&["sleep", &mark]);
        // One that runs is left alone.
        assert_eq!(home.bryo(&["start", &container.name]).ok(), container.name);
        assert_eq!(container.payload(), payload);
    }
}

#[test]
fn one_that_cannot_be_started_does_not_keep_the_others_from_it() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let (bad, good) = (Detached::named(&home), Detached::named(&home));
    home.bryo(&["create", "--network", "none", "--name", &bad.name, BUSYBOX, "/no/such/program"]).ok();
    home.bryo(&["create", "--network", "none", "--name", &good.name, BUSYBOX, "sleep", "100000"]).ok();
    let output = home.bryo(&["start", "no-such-container", &bad.name, &good.name]);
    output.fails(1, &["no-such-container", "/no/such/program"]);
    assert_eq!(output.text(), good.name);
    assert_eq!(good.status(), "running");
}

#[test]
fn a_start_that_fails_is_written_down() {
    for user in User::all() {
        let home = Home::shared(&user);
        for (command, code) in [("/no/such/program", 127), ("/bin/notexec", 126)] {
            let container = Detached::named(&home);
            home.bryo(&["create", "--network", "none", "--name", &container.name, BUSYBOX, command]).ok();
            home.bryo(&["start", &container.name]).fails(1, &[command]);
            assert_eq!((container.status(), container.state("ExitCode")), ("created".into(), json!(code)));
            assert!(container.state("Error").as_str().unwrap().contains(command));
            home.bryo(&["start", "-a", &container.name]).fails(code, &[command]);
            home.bryo(&["rm", &container.name]).ok();
        }
    }
}

#[test]
fn a_share_that_has_gone_is_the_reason_that_is_written_down() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let (container, dir) = (Detached::named(&home), home.mkdir(&format!("w/gone-{}", mark())));
    let share = format!("{}:/data", dir.display());
    home.bryo(&["create", "--network", "none", "--name", &container.name, "-v", &share, BUSYBOX, "true"]).ok();
    home.bryo(&["start", "-a", &container.name]).ok();
    std::fs::remove_dir(&dir).unwrap();
    home.bryo(&["start", &container.name]).fails(1, &["gone-"]);
    assert!(container.state("Error").as_str().unwrap().contains("gone-"));
    assert_eq!(container.state("ExitCode"), 128);
    // What stood in the way is away: the next start forgets it.
    std::fs::create_dir(&dir).unwrap();
    home.bryo(&["start", "-a", &container.name]).ok();
    assert_eq!((container.state("Error"), container.state("ExitCode")), (json!(""), json!(0)));
}

#[test]
fn a_detached_run_that_fails_leaves_nothing() {
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&bryo_tests::images::busybox());
        home.run(&[BUSYBOX, "true"]).ok();
        let before = bryo_tests::listing::Snapshot::take(&home);
        let run =
            |words: &[&str]| home.bryo(&[&["run", "-d", "--network", "none", "--cidfile", "w/cid"], words].concat());
        run(&[BUSYBOX, "/no/such/program"]).fails(127, &["/no/such/program"]);
        run(&[BUSYBOX, "/bin/notexec"]).fails(126, &["/bin/notexec"]);
        run(&["-w", "/etc/passwd", BUSYBOX, "true"]).fails(125, &["/etc/passwd"]);
        run(&["--user", "nobody-of-that-name", BUSYBOX, "true"]).fails(125, &["nobody-of-that-name"]);
        run(&["--rm", "--restart", "always", BUSYBOX, "true"]).fails(125, &["--rm", "--restart"]);
        assert!(!home.path.join("w/cid").exists());
        assert_eq!(home.bryo(&["ps", "-aq"]).ok(), "");
        before.assert_nothing_left(&home);
    }
}

/// Says which signal it got, and ends with 7.
const LISTENER: &str =
    "for s in TERM USR1 USR2 QUIT; do trap \"echo got $s; exit 7\" $s; done; echo ready; while :; do sleep 0.1; done";

#[test]
fn stop_sends_the_signal_that_the_container_wants() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    let file = home.path.join("usr1.tar");
    let config = json!({"Cmd": ["sh", "-c", LISTENER], "Env": [path()], "StopSignal": "SIGUSR1"});
    Image::new("localhost/usr1:1", vec![busybox_layer()], config).archive(&file);
    home.load(&file);
    for (image, flags, words, name) in [
        (BUSYBOX, &[][..], &[][..], "TERM"),
        ("localhost/usr1:1", &[], &[], "USR1"),
        ("localhost/usr1:1", &["--stop-signal", "USR2"], &[], "USR2"),
        ("localhost/usr1:1", &["--stop-signal", "USR2"], &["-s", "SIGQUIT"], "QUIT"),
    ] {
        let container = Detached::of(&home, image, flags, &["sh", "-c", LISTENER]);
        container.says("ready");
        let stopped = home.bryo(&[&["stop"], words, &[&container.name]].concat()).ok();
        assert_eq!(stopped, container.name);
        assert_eq!((container.status(), container.state("ExitCode")), ("exited".into(), json!(7)));
        assert_eq!(container.said(), format!("ready\ngot {name}"));
    }
}

#[test]
fn one_that_does_not_end_is_killed_when_its_time_is_over() {
    for user in User::all() {
        let home = Home::shared(&user);
        for (flags, words) in [(&[][..], &["-t", "1"][..]), (&["--stop-timeout", "1"], &[]), (&[], &["--time", "1"])] {
            let container = Detached::script(&home, flags, "trap '' TERM; echo ready; sleep 100000 & wait; wait");
            container.says("ready");
            let start = Instant::now();
            home.bryo(&[&["stop"], words, &[&container.name]].concat()).ok();
            assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
            assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
            assert_eq!((container.status(), container.state("ExitCode")), ("exited".into(), json!(137)));
        }
    }
}

#[test]
fn what_does_not_run_is_stopped_already_and_cannot_be_killed() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::busybox(&home, &[], &["true"]);
    assert_eq!(container.wait(), 0);
    let finished = container.state("FinishedAt");
    assert_eq!(home.bryo(&["stop", &container.name]).ok(), container.name);
    assert_eq!(container.state("FinishedAt"), finished);
    home.bryo(&["kill", &container.name]).fails(1, &[&container.name, "not running"]);
    let output = home.bryo(&["stop", "no-such-container", &container.name]);
    output.fails(1, &["no such container"]);
    assert_eq!(output.text(), container.name);
    home.bryo(&["kill", "-s", "NOSUCH", &container.name]).fails(1, &["NOSUCH"]);
}

#[test]
fn kill_sends_what_it_is_told() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container =
            Detached::script(&home, &[], "trap 'echo got it' USR1; echo ready; while :; do sleep 0.1; done");
        container.says("ready");
        assert_eq!(home.bryo(&["kill", "-s", "USR1", &container.name]).ok(), container.name);
        container.says("got it");
        assert_eq!(container.status(), "running");
        assert_eq!(home.bryo(&["kill", &container.name]).ok(), container.name);
        assert_eq!((container.status(), container.state("ExitCode")), ("exited".into(), json!(137)));
    }
}

#[test]
fn wait_prints_the_exit_code() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::script(&home, &[], "trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done");
        let other = Detached::busybox(&home, &[], &["false"]);
        container.says("ready");
        let mut wait = home.start(&["wait", &container.name, &other.name]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(wait.runs());
        home.bryo(&["kill", "-s", "USR1", &container.name]).ok();
        assert_eq!(wait.wait().ok(), "3\n1");
        assert_eq!(home.bryo(&["wait", &container.name]).ok(), "3");
        home.bryo(&["wait", "no-such-container"]).fails(1, &["no such container"]);
    }
}

#[test]
fn one_that_is_removed_when_it_ends_tells_how_to_who_waits() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done";
        let detached = Detached::script(&home, &["--rm"], script);
        detached.says("ready");
        let foreground = Detached::named(&home);
        let words = ["run", "--rm", "--network", "none", "--name", &foreground.name, BUSYBOX, "sh", "-c", script];
        let run = home.start(&words);
        bryo_tests::program::eventually("it runs", || home.bryo(&["ps"]).ok().contains(&foreground.name).then_some(()));
        std::thread::sleep(Duration::from_millis(300));
        for container in [&detached, &foreground] {
            let waits: Vec<_> = (0..3).map(|_| home.start(&["wait", &container.name])).collect();
            std::thread::sleep(Duration::from_millis(500));
            home.bryo(&["kill", "-s", "USR1", &container.name]).ok();
            for wait in waits {
                assert_eq!(wait.wait().ok(), "5", "as {}", user.name);
            }
            home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
        }
        run.wait().code(5);
    }
}

#[test]
fn a_container_gets_another_name_while_it_runs_and_afterwards() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let (container, other) = (Detached::sleeper(&home, &[]), Detached::sleeper(&home, &[]));
    home.bryo(&["rename", &container.name, &other.name]).fails(1, &[&other.name, "used"]);
    home.bryo(&["rename", &container.name, ".bad"]).fails(1, &[".bad"]);
    home.bryo(&["rename", "no-such-container", "x"]).fails(1, &["no such container"]);
    let renamed = Detached::named(&home);
    assert_eq!(home.bryo(&["rename", &container.name, &renamed.name]).ok(), "");
    assert_eq!(renamed.inspect()["Name"], renamed.name);
    home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
    assert_eq!(renamed.exec(&["hostname"]).ok().len(), 12);
    home.bryo(&["restart", "-t", "0", &renamed.name]).ok();
    home.bryo(&["stop", "-t", "0", &renamed.name]).ok();
    home.bryo(&["rename", &renamed.name, &container.name]).ok();
    home.bryo(&["start", &container.name]).ok();
    assert_eq!(container.inspect()["Name"], container.name);
}

#[test]
fn only_force_removes_one_that_runs() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &[]);
        let (payload, monitor, guardian) = (container.payload(), container.monitor(), container.guardian());
        home.bryo(&["rm", &container.name]).fails(1, &[&container.name, "running"]);
        assert!(payload.lives());
        assert_eq!(home.bryo(&["rm", "-f", &container.name]).ok(), container.name);
        for process in [payload, monitor, guardian] {
            assert!(!process.lives());
        }
        home.bryo(&["rm", &container.name]).fails(1, &["no such container"]);
        home.bryo(&["rm", "-f", &container.name]).ok();
    }
}

#[test]
fn a_container_is_started_after_its_image_was_removed() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let container = Detached::script(&home, &[], "cat /etc/hostname; sleep 100000");
        home.bryo(&["stop", "-t", "0", &container.name]).ok();
        home.bryo(&["rmi", "-f", BUSYBOX]).ok();
        home.bryo(&["gc"]).ok();
        home.bryo(&["start", &container.name]).ok();
        assert_eq!(container.exec(&["echo", "here"]).ok(), "here");
        home.bryo(&["restart", "-t", "0", &container.name]).ok();
        assert_eq!(container.status(), "running");
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "test -e /srv/kept && cat /srv/kept; echo $((n + 1)) >> /srv/kept; echo ready; sleep 100000";
        let container = Detached::script(&home, &["--writable", "--user", "root"], script);
        container.says("ready");
        let inside =
            "mkdir /etc/made && echo text > /etc/made/file && chown 1000 /etc/made/file; rm -r /home/app; echo $?";
        assert_eq!(container.exec(&["sh", "-c", inside]).ok().lines().last(), Some("0"));
        let owner = container.exec(&["stat", "-c", "%u", "/etc/made/file"]).ok();
        // Another container takes the ids that this one had, where root gives each a range of its own.
        home.bryo(&["stop", "-t", "0", &container.name]).ok();
        let other = Detached::sleeper(&home, &[]);
        home.bryo(&["start", &container.name]).ok();
        assert_eq!(container.exec(&["cat", "/etc/made/file"]).ok(), "text");
        assert_eq!(container.exec(&["stat", "-c", "%u", "/etc/made/file"]).ok(), owner);
        container.exec(&["test", "-e", "/home/app"]).code(1);
        container.exec(&["sh", "-c", "echo more >> /etc/made/file && rm /etc/made/file"]).ok();
        drop(other);
    }
}

#[test]
fn restart_is_stop_and_start() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::script(&home, &[], "echo began; exec sleep 100000");
        let first = container.payload();
        assert_eq!(home.bryo(&["restart", "-t", "0", &container.name]).ok(), container.name);
        let second = container.payload();
        assert!(first != second && !first.lives() && second.lives());
        home.bryo(&["stop", "-t", "0", &container.name]).ok();
        home.bryo(&["restart", &container.name]).ok();
        container.says("began\nbegan\nbegan");
        home.bryo(&["restart", "no-such-container"]).fails(1, &["no such container"]);
    }
}

/// The command that stops it and starts it again must find it in between.
#[test]
fn one_that_is_removed_when_it_ends_stays_when_it_is_restarted() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::sleeper(&home, &["--rm", "--writable", "--user", "root"]);
    container.exec(&["sh", "-c", "echo kept > /etc/kept"]).ok();
    home.bryo(&["restart", "-t", "0", &container.name]).ok();
    assert_eq!(container.exec(&["cat", "/etc/kept"]).ok(), "kept");
    home.bryo(&["stop", "-t", "0", &container.name]).ok();
    home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
}

#[test]
fn one_that_is_to_be_removed_when_it_ends_is_there_before_it_has_begun() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    home.bryo(&["create", "--rm", "--network", "none", "--name", &container.name, BUSYBOX, "true"]).ok();
    home.bryo(&["ps"]).ok();
    home.bryo(&["gc"]).ok();
    home.bryo(&["start", "-a", &container.name]).ok();
    home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
}

#[test]
fn a_start_that_is_interrupted_ends() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let container = Detached::named(&home);
    // A network helper that never answers would hold the start up for ten seconds.
    let run = home.start(&["run", "-d", "--name", &container.name, BUSYBOX, "sleep", "100000"]);
    let helper = bryo_tests::program::eventually("the start is under way", || {
        Process::every().into_iter().find(|p| p.is_pasta() && p.parent().parent().0 == run.pid())
    });
    helper.signal(Signal::STOP);
    run.signal(Signal::TERM);
    let start = Instant::now();
    run.wait().fails(128 + 15, &["signal 15"]);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    home.bryo(&["inspect", &container.name]).fails(1, &["no such container"]);
}
