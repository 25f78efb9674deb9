// SPDX-License-Identifier: Apache-2.0
//! What goes wrong is one clear error with the object and a remedy, and nothing stays behind.

use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::listing::Snapshot;
use bryo_tests::{Home, User, skip};
use serde_json::json;

/// Runs bryo with words that must fail; asserts one short error that names its object, and nothing left.
#[track_caller]
fn fails(home: &Home, words: &[&str], code: i32, named: &[&str]) {
    let before = Snapshot::take(home);
    let output = home.bryo(words);
    let error = output.fails(code, named);
    assert!(error.lines().count() <= 4, "more than a person reads: {output}");
    assert!(!error.contains("Error {") && !error.contains("Os {"), "a program's words: {output}");
    before.assert_nothing_left(home);
}

#[test]
fn each_mistake_has_its_error() {
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&bryo_tests::images::busybox());
        home.run(&[BUSYBOX, "true"]).ok();
        let run = |words: &[&'static str]| [&["run", "--rm", "--network", "none"], words].concat();
        fails(&home, &run(&["--pull", "never", "localhost/no:1"]), 125, &["localhost/no:1"]);
        fails(&home, &run(&["127.0.0.1:1/gone:1"]), 125, &["127.0.0.1:1"]);
        fails(&home, &["pull", "127.0.0.1:1/gone:1"], 125, &["127.0.0.1:1"]);
        fails(&home, &run(&["UPPER/case", "true"]), 125, &["UPPER/case"]);
        fails(&home, &run(&["--user", "ghost", BUSYBOX, "true"]), 125, &["ghost"]);
        fails(&home, &run(&["--no-such-flag", BUSYBOX]), 125, &["--no-such-flag"]);
        fails(&home, &run(&[BUSYBOX, "no-such-command"]), 127, &["no-such-command"]);
        fails(&home, &run(&[BUSYBOX, "/bin/notexec"]), 126, &["/bin/notexec"]);
        fails(&home, &run(&["-v", "/no/such/place:/x", BUSYBOX, "true"]), 125, &["/no/such/place"]);
        fails(&home, &run(&["--env-file", "/no/such/file", BUSYBOX, "true"]), 125, &["/no/such/file"]);
        fails(&home, &run(&["--memory", "64m", BUSYBOX, "true"]), 125, &["memory"]);
        fails(&home, &["load", "-i", "/no/such/archive"], 1, &["/no/such/archive"]);
        fails(&home, &["load", "-i", "/etc/passwd"], 1, &["/etc/passwd"]);
        fails(&home, &["rmi", "localhost/no:1"], 1, &["localhost/no:1"]);
        fails(&home, &["push", "localhost/no:1"], 1, &["localhost/no:1"]);
        fails(&home, &["no-such-command"], 125, &["no-such-command"]);
    }
}

#[test]
fn an_image_for_another_machine_says_so() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let mut image = Image::new("localhost/foreign:1", vec![busybox_layer()], json!({"Env": [path()]}));
    image.architecture = "s390x".to_owned();
    let file = home.path.join("foreign.tar");
    image.archive(&file);
    home.load(&file);
    home.run(&["localhost/foreign:1", "true"]).fails(125, &["s390x"]);
    // One for this machine is not the one that is asked for, either; the one that is would have to be pulled.
    home.load(&bryo_tests::images::busybox());
    let asked = ["--platform", "linux/s390x", bryo_tests::images::BUSYBOX, "true"];
    home.run(&[&["--pull", "never"], &asked[..]].concat())
        .fails(125, &["amd64", "linux/s390x", "bryo pull --platform"]);
    home.run(&asked).fails(125, &["pull localhost/busybox"]);
    home.run(&["--platform", "linux/amd64", bryo_tests::images::BUSYBOX, "true"]).ok();
}

#[test]
fn a_full_disk_is_an_error_and_the_store_survives_it() {
    if !bryo_tests::user::is_root() {
        return skip::skip("a small disk is a mount, which needs root");
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    // The disk exists in a mount namespace of the command's own.
    let store = home.mkdir(".local/share/bryo");
    user.own(&home.path.join(".local"));
    user.own(&home.path.join(".local/share"));
    let script = format!(
        "mount -t tmpfs -o size=6m,mode=700,uid={},gid={} none {} && shift && \"$@\"; code=$?; ls -A {}; exit $code",
        user.uid,
        user.gid,
        store.display(),
        store.display()
    );
    let mut command = std::process::Command::new("unshare");
    let inner = home.command(&["load", "-i", &bryo_tests::images::probe().display().to_string()]);
    command.args(["--mount", "sh", "-c", &script, "sh", "x"]).arg(inner.get_program()).args(inner.get_args());
    let output = bryo_tests::Running::start(command, false).wait();
    output.fails(1, &["no space"]);
}

#[test]
fn a_store_that_cannot_be_written_is_named() {
    let Some(user) = User::ordinary() else { return };
    if user.uid == 0 {
        return;
    }
    let home = Home::new(&user);
    let file = home.write(".local/share/bryo", "a file where the store should be").display().to_string();
    home.run(&["host:", "true"]).fails(125, &[&file]);
}

#[test]
fn without_a_runtime_directory_bryo_still_works() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    std::fs::remove_dir(home.path.join("run")).unwrap();
    assert_eq!(home.run(&["host:", "echo", "works"]).ok(), "works");
}
