// SPDX-License-Identifier: Apache-2.0
//! `-t`: a terminal of the container's own, and the caller's given back as it was.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::BUSYBOX;
use bryo_tests::pty::Terminal;
use bryo_tests::{Home, User};

fn terminal(home: &Home, args: &[&str]) -> Terminal {
    Terminal::start(&home.command(&[&["run", "-it", "--rm", "--network", "none"], args].concat()))
}

#[test]
fn a_shell_on_a_terminal_talks() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mut tty = terminal(&home, &[BUSYBOX, "sh"]);
        tty.typed("tty; stty size; echo to$((40+2))ld\n");
        tty.expect("/dev/pts/");
        tty.expect("24 80");
        tty.expect("to42ld");
        tty.typed("exit 9\n");
        assert_eq!(tty.wait().code(), Some(9), "{}", tty.screen());
    }
}

#[test]
fn the_callers_terminal_comes_back_as_it_was() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mark = mark();
    let mut tty = terminal(&home, &[BUSYBOX, "sh", "-c", &format!("sleep {mark}; true")]);
    let before = format!("{:?}", Terminal::start(&home.user.command(&home.path, "true")).settings());
    let payload = Process::with_args(&["sleep", &mark]);
    let raw = || (format!("{:?}", tty.settings()) != before).then_some(());
    bryo_tests::program::eventually("the terminal is raw while it runs", raw);
    // The interrupt key is the payload's business: it reaches it through the terminal inside.
    tty.typed("\u{3}");
    bryo_tests::program::eventually("the payload is interrupted", || (!payload.lives()).then_some(()));
    tty.wait();
    assert_eq!(format!("{:?}", tty.settings()), before);
}

#[test]
fn the_terminal_is_restored_when_bryo_is_terminated() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mark = mark();
    let mut tty = terminal(&home, &["--init", BUSYBOX, "sleep", &mark]);
    let before = format!("{:?}", Terminal::start(&home.user.command(&home.path, "true")).settings());
    Process::with_args(&["sleep", &mark]);
    let bryo = Process::every().into_iter().find(|p| {
        p.read("comm").is_some_and(|c| c.trim() == "bryo") && p.read("cmdline").is_some_and(|c| c.contains(&mark))
    });
    home.tool("kill", &["-TERM", &bryo.unwrap().0.to_string()]).ok();
    tty.wait();
    assert_eq!(format!("{:?}", tty.settings()), before);
}

#[test]
fn a_resized_window_is_resized_inside() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mut tty =
        terminal(&home, &[BUSYBOX, "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"]);
    tty.expect("ready");
    tty.resize(33, 111);
    tty.expect("33 111");
    tty.typed("\u{3}");
    tty.wait();
}

#[test]
fn the_callers_terminal_cannot_be_reached_from_inside() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mut tty = terminal(&home, &[bryo_tests::images::PROBE, "sh", "-c", "ls -l /proc/self/fd; /probe; echo en''d"]);
    tty.expect("end");
    let seen = tty.screen().replace("\r\n", "\n");
    // On a terminal the call would succeed: pushed input is refused by the filter, however its number is dressed.
    for name in ["tiocsti", "tiocsti-high-bits", "tioclinux"] {
        let line = seen.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap_or("none");
        assert_eq!(line, format!("{name} EPERM"), "{seen}");
    }
    tty.wait();
}

#[test]
fn a_terminal_without_a_terminal_is_an_error() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&["-i", "-t", BUSYBOX, "true"]).fails(125, &["terminal"]);
}

#[test]
fn a_refusal_is_explained_on_a_terminal_and_never_in_a_pipe() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mut tty = terminal(&home, &[BUSYBOX, "touch", "/etc/x"]);
    tty.wait();
    assert!(tty.screen().contains("--writable"), "{}", tty.screen());
    let piped = home.run(&[BUSYBOX, "touch", "/etc/x"]);
    assert!(!piped.stderr.contains("--writable"), "{piped}");
}

#[test]
fn job_control_works_inside() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mark = mark();
    let mut tty = terminal(&home, &[BUSYBOX, "sh"]);
    tty.typed(&format!("sleep {mark}\n"));
    let payload = Process::with_args(&["sleep", &mark]);
    tty.typed("\u{1a}");
    bryo_tests::program::eventually("it is stopped", || payload.status("State").starts_with('T').then_some(()));
    // The shell may not know yet that the job is gone: then it asks for one more word to leave.
    tty.typed("jobs; kill -KILL %1; wait; exit\nexit\n");
    tty.expect("Stopped");
    tty.wait();
}
