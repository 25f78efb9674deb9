// SPDX-License-Identifier: Apache-2.0
//! `bryo demo` shows a person what a container cannot do.

use bryo_tests::images::BUSYBOX;
use bryo_tests::{Home, User};

#[test]
fn it_prints_a_verdict_for_each_try_and_both_ids() {
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let output = home.bryo(&["demo"]);
        let text = output.ok();
        assert!(text.contains("65532"), "the id inside: {text}");
        let on_host = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        assert!(on_host.into_iter().any(|n| user.may_own(n)), "the id on the host: {text}");
        let lower = text.to_lowercase();
        for word in ["mount", "shadow", "root", "module", "socket", "ptrace"] {
            assert!(lower.contains(word), "nothing about {word}: {text}");
        }
        assert!(text.lines().count() >= 10, "{text}");
    }
}

#[test]
fn it_takes_an_image() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    assert!(home.bryo(&["demo", BUSYBOX]).ok().contains("65532"));
    home.bryo(&["demo", "localhost/none:1"]).fails(125, &["localhost/none:1"]);
}
