// SPDX-License-Identifier: Apache-2.0
//! How `run` ends: with what the payload ended with, or with a code of its own as Docker has it.

use bryo_tests::host::mark;
use bryo_tests::images::BUSYBOX;
use bryo_tests::{Home, User};

#[test]
fn the_payloads_exit_code_is_runs() {
    for user in User::all() {
        let home = Home::shared(&user);
        home.run(&[BUSYBOX, "true"]).code(0);
        home.run(&[BUSYBOX, "false"]).code(1);
        home.run(&[BUSYBOX, "sh", "-c", "exit 42"]).code(42);
        home.run(&[BUSYBOX, "sh", "-c", "exit 255"]).code(255);
    }
}

#[test]
fn a_signal_that_ends_the_payload_is_128_more() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&["--init", BUSYBOX, "sh", "-c", "kill -TERM $$; sleep 5"]).code(128 + 15);
    home.run(&["--init", BUSYBOX, "sh", "-c", "kill -KILL $$; sleep 5"]).code(128 + 9);
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&[BUSYBOX, "no-such-command"]).fails(127, &["no-such-command", "not found"]);
    home.run(&[BUSYBOX, "/bin/no-such-file"]).fails(127, &["/bin/no-such-file"]);
}

#[test]
fn a_command_that_cannot_be_run_is_126() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&[BUSYBOX, "/bin/notexec"]).fails(126, &["/bin/notexec", "permission denied"]);
    home.run(&[BUSYBOX, "/etc"]).fails(126, &["/etc"]);
    home.run(&[BUSYBOX, "/bin/badformat"]).fails(126, &["/bin/badformat"]);
}

#[test]
fn what_bryo_cannot_do_is_125() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.bryo(&["run", "--no-such-flag", BUSYBOX]).fails(125, &["--no-such-flag"]);
    home.run(&["--user", "nobody-of-that-name", BUSYBOX, "true"]).fails(125, &["nobody-of-that-name"]);
    home.run(&["--workdir", "relative", BUSYBOX, "true"]).fails(125, &["relative"]);
    home.run(&["--pull", "never", "localhost/none:1", "true"]).fails(125, &["localhost/none:1"]);
}

#[test]
fn the_payload_dies_with_bryo() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mark = mark();
        let run = home.start(&["run", "--rm", "--network", "none", BUSYBOX, "sleep", &mark]);
        let payload = bryo_tests::host::Process::with_args(&["sleep", &mark]);
        run.signal(rustix::process::Signal::KILL);
        bryo_tests::program::eventually("the payload is gone", || (!payload.lives()).then_some(()));
    }
}
