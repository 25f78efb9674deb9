// SPDX-License-Identifier: Apache-2.0
//! The tests' own tools, judged by others: images that skopeo reads, a probe that is not refused everything.

use bryo_tests::images::{busybox, debian, probe};
use bryo_tests::program::tool;
use bryo_tests::services::ALL;
use bryo_tests::{Home, Report, User, skip};

#[test]
fn the_images_are_what_others_can_read() {
    if !skip::have("skopeo") {
        return;
    }
    let services = ALL.iter().filter_map(bryo_tests::services::Service::archive);
    for archive in [busybox(), probe()].into_iter().chain(debian()).chain(services) {
        let seen = tool("skopeo", &["inspect", &format!("oci-archive:{}", archive.display())]);
        assert!(seen.contains("sha256:"), "{seen}");
    }
}

#[test]
fn the_probe_outside_comes_through_where_inside_must_not() {
    let Some(user) = User::ordinary() else { return };
    if user.uid == 0 {
        return;
    }
    let home = Home::new(&user);
    let report = Report::outside(&home);
    report.allowed(&["write-tmp", "plain-socket", "ptrace-child", "add-key"]);
    assert_eq!(report.of("Seccomp"), "0");
}

#[test]
fn homes_are_entered_by_their_user_and_nobody_else() {
    for user in User::all() {
        let home = Home::new(&user);
        assert_eq!(home.tool("id", &["-u"]).ok(), user.uid.to_string());
        assert_eq!(home.tool("sh", &["-c", "echo x > $HOME/x && cat $HOME/x"]).ok(), "x");
    }
    if let Some(user) = User::without_newuidmap() {
        let home = Home::new(&user);
        home.tool("test", &["!", "-e", "/usr/bin/newuidmap"]).ok();
        assert!(std::path::Path::new("/usr/bin/newuidmap").exists());
    }
}
