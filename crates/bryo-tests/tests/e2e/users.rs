// SPDX-License-Identifier: Apache-2.0
//! Who one is inside: the default, the image's word and `--user`, each with a passwd entry, a home and a shell.

use bryo_tests::images::{BUSYBOX, DEBIAN, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::{Home, User};
use serde_json::json;

const WHO: &str = "id -u; id -g; id -un; echo $HOME; [ -w \"$HOME\" ] && echo writable";

/// Asks a container who it is: user id, group id, user name, home, and whether the home can be written.
#[track_caller]
fn who(home: &Home, args: &[&str]) -> Vec<String> {
    let output = home.run(&[args, &["sh", "-c", &format!("{WHO} || echo no")]].concat());
    output.ok().lines().map(str::to_owned).collect()
}

#[test]
fn an_image_that_names_nobody_runs_as_nonroot() {
    for user in User::all() {
        let home = Home::shared(&user);
        assert_eq!(who(&home, &[BUSYBOX]), ["65532", "65532", "nonroot", "/home/nonroot", "writable"], "{}", user.name);
    }
}

#[test]
fn debians_whoami_knows_the_made_up_user() {
    let Some(user) = User::ordinary() else { return };
    if bryo_tests::images::debian().is_none() {
        return;
    }
    let home = Home::shared(&user);
    assert_eq!(home.run(&[DEBIAN, "whoami"]).ok(), "nonroot");
    let entry = home.run(&[DEBIAN, "getent", "passwd", "65532"]).ok();
    assert!(entry.starts_with("nonroot:x:65532:65532:") && entry.contains(":/home/nonroot:/bin/"), "{entry}");
    assert_eq!(
        home.run(&["--user", "5000:5001", DEBIAN, "sh", "-c", "whoami >/dev/null && id -gn >/dev/null"]).ok(),
        ""
    );
}

#[test]
fn an_image_that_declares_root_runs_as_nonroot() {
    for user in User::all() {
        let home = Home::new(&user);
        for (n, declared) in ["root", "0", "0:0", "root:root"].iter().enumerate() {
            let name = format!("localhost/declares:{n}");
            let file = home.path.join("declares.tar");
            let config = json!({"User": declared, "Env": [path()]});
            Image::new(&name, vec![busybox_layer()], config).archive(&file);
            home.load(&file);
            assert_eq!(who(&home, &[&name])[0], "65532", "USER {declared} for {}", user.name);
        }
    }
}

#[test]
fn an_images_own_user_is_honoured() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    for (n, (declared, uid, gid)) in
        [("app", "1000", "1000"), ("1001", "1001", "1001"), ("app:extra", "1000", "2000")].iter().enumerate()
    {
        let name = format!("localhost/own:{n}");
        let file = home.path.join("own.tar");
        let config = json!({"User": declared, "Env": [path()]});
        Image::new(&name, vec![busybox_layer()], config).archive(&file);
        home.load(&file);
        assert_eq!(who(&home, &[&name])[..2], [(*uid).to_owned(), (*gid).to_owned()], "USER {declared}");
    }
}

#[test]
fn the_user_word_takes_every_form() {
    for user in User::all() {
        let home = Home::shared(&user);
        for (word, uid, gid) in [
            ("app", "1000", "1000"),
            ("1001", "1001", "1001"),
            ("1001:2000", "1001", "2000"),
            ("app:extra", "1000", "2000"),
            ("5000", "5000", "5000"),
            ("5000:6000", "5000", "6000"),
            ("root", "0", "0"),
            ("0", "0", "0"),
        ] {
            let seen = who(&home, &["--user", word, BUSYBOX]);
            // A number that the image does not know has no group in Docker's reading either way: its own, or root's.
            assert_eq!(seen[0], uid, "--user {word} for {}: {seen:?}", user.name);
            assert_eq!(seen[1], gid, "--user {word} for {}: {seen:?}", user.name);
            assert!(!seen[2].is_empty() && seen[3].starts_with('/'), "--user {word}: {seen:?}");
        }
    }
}

/// CVE-2016-3697: a user whose *name* is a number must not be found by that number.
#[test]
fn digits_are_ids_and_never_names() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    assert_eq!(who(&home, &["--user", "1000", BUSYBOX])[0], "1000");
}

/// CVE-2024-40635 and its kind: ids that another reader takes for root.
#[test]
fn ids_that_are_not_quite_ids_are_refused() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    for word in ["4294967295", "4294967296", "-1", "+0", " 0", "0x0", "1000:4294967296", "1:2:3", ":"] {
        home.run(&["--user", word, BUSYBOX, "id", "-u"]).fails(125, &[]);
    }
}

#[test]
fn supplementary_groups_are_the_images_and_never_the_callers() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    assert_eq!(home.run(&["--user", "app", BUSYBOX, "id", "-G"]).ok(), "1000 2000");
    assert_eq!(home.run(&[BUSYBOX, "id", "-G"]).ok(), "65532");
}

#[test]
fn an_unknown_name_is_an_error_with_the_name() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&["--user", "ghost", BUSYBOX, "true"]).fails(125, &["ghost"]);
    home.run(&["--user", "app:ghosts", BUSYBOX, "true"]).fails(125, &["ghosts"]);
}

#[test]
fn a_site_can_have_dockers_default() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    home.write(".config/bryo/config.toml", "default-user = \"image\"\n");
    assert_eq!(who(&home, &[BUSYBOX])[0], "0");
}
