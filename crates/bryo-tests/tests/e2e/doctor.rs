// SPDX-License-Identifier: Apache-2.0
//! `bryo doctor` tells what this host offers, and every start failure ends in its words.

use bryo_tests::{Home, User};

#[test]
fn it_names_everything_it_looks_at_and_the_rung() {
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let output = home.bryo(&["doctor"]);
        let text = output.text().to_lowercase();
        for word in [
            "user namespaces",
            "subordinate",
            "newuidmap",
            "overlay",
            "seccomp",
            "landlock",
            "cgroup",
            "pasta",
            "/dev/net/tun",
            "apparmor",
            "max_user_namespaces",
            "nest",
            user.rung.word(),
        ] {
            assert!(text.contains(word), "no {word:?} for {}: {output}", user.name);
        }
        assert!(output.status.code().is_some_and(|c| c <= 1), "{output}");
    }
}

#[test]
fn a_lack_comes_with_what_is_lost_and_the_line_that_mends_it() {
    let Some(user) = User::without_range() else { return };
    let home = Home::new(&user);
    let output = home.bryo(&["doctor"]);
    assert!(output.text().contains("usermod --add-subuids"), "{output}");
    assert!(output.text().contains(&user.name), "the line can be pasted as it is: {output}");
    let Some(user) = User::without_newuidmap() else { return };
    let home = Home::new(&user);
    let output = home.bryo(&["doctor"]);
    assert!(output.text().contains("apt") && output.text().contains("uidmap"), "{output}");
}

#[test]
fn a_start_without_user_namespaces_fails_in_doctors_words() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    // A namespace in which no further one can be made: the limit is counted per namespace and owner.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = user.command(&home.path, "unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]).arg(bryo_tests::dirs::bryo());
    let with = |words: &[&str]| {
        let mut again = std::process::Command::new(command.get_program());
        again.args(command.get_args()).args(words);
        bryo_tests::Running::start(again, false).wait()
    };
    let failed = with(&["run", "--rm", "host:", "true"]);
    failed.fails(125, &["max_user_namespaces"]);
    let told = with(&["doctor"]);
    let mends = told.text();
    let line = mends.lines().find(|l| l.contains("sysctl")).unwrap_or_else(|| panic!("{told}"));
    let remedy = line.split("sysctl").nth(1).unwrap().trim();
    assert!(failed.stderr.contains(remedy), "the same words: {failed}\n{told}");
}
