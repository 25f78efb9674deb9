// SPDX-License-Identifier: Apache-2.0
//! The configuration file: made with comments, shown as it is in force, refused when it is wrong.

use bryo_tests::images::BUSYBOX;
use bryo_tests::{Home, User};

#[test]
fn init_writes_a_commented_file_that_changes_nothing() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let before = home.bryo(&["config", "show"]).ok();
    home.bryo(&["config", "init"]).ok();
    let file = home.path.join(".config/bryo/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for key in ["default-user", "network", "mirrors", "insecure"] {
        assert!(text.contains(key), "no {key} in {text}");
        assert!(before.contains(key), "no {key} in {before}");
    }
    assert!(text.lines().filter(|l| l.starts_with('#')).count() > 5, "{text}");
    assert_eq!(home.bryo(&["config", "show"]).ok(), before);
    // What a person wrote is not overwritten.
    std::fs::write(&file, "network = \"none\"\n").unwrap();
    home.bryo(&["config", "init"]).fails(1, &["config.toml"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "network = \"none\"\n");
}

#[test]
fn a_default_network_is_obeyed_and_a_word_is_stronger() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    home.write(".config/bryo/config.toml", "network = \"none\"\n");
    assert_eq!(home.bryo(&["run", "--rm", BUSYBOX, "ls", "/sys/class/net"]).ok(), "lo");
    let host = std::fs::read_dir("/sys/class/net").unwrap().count();
    let seen = home.bryo(&["run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", "grep -c : /proc/net/dev"]).ok();
    assert_eq!(seen.parse::<usize>().unwrap(), host);
}

#[test]
fn a_wrong_file_is_one_clear_error() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.write(".config/bryo/config.toml", "default-usre = \"image\"\n");
    home.bryo(&["run", "--rm", "host:", "true"]).fails(125, &["config.toml", "default-usre"]);
    home.write(".config/bryo/config.toml", "network = \n");
    home.bryo(&["run", "--rm", "host:", "true"]).fails(125, &["config.toml"]);
}
