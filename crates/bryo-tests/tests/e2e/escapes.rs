// SPDX-License-Identifier: Apache-2.0
//! Images that attack the engine while it sets a container up: links where directories are expected, working
//! directories that are somebody's descriptors. The canary is a directory that the caller owns and may write, so that
//! nothing but the engine's care protects it.

use std::path::PathBuf;

use bryo_tests::host::mark;
use bryo_tests::images::path;
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::listing::describe;
use bryo_tests::tar::Tar;
use bryo_tests::{Home, Output, User};
use serde_json::{Value, json};

/// A directory of the caller with a file of each name that an engine would like to make.
fn canary(home: &Home) -> PathBuf {
    let name = format!("w/canary-{}", mark());
    let dir = home.mkdir(&name);
    for file in ["ptmx", "passwd", "hosts", "secret"] {
        home.write(&format!("{name}/{file}"), format!("token-of-the-host {file}"));
    }
    std::fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    dir
}

/// Loads an image with a layer over busybox and runs it; asserts that the canary neither changed nor was seen.
#[track_caller]
fn attack(user: &User, layer: impl Fn(&str) -> Tar, config: Value, words: &[&str]) -> Output {
    let home = Home::new(user);
    let canary = canary(&home);
    let before = describe(&canary);
    let file = home.path.join("evil.tar");
    let layer = layer(canary.to_str().unwrap()).finish();
    Image::new("localhost/evil:1", vec![busybox_layer(), layer], config).archive(&file);
    let loaded = home.bryo(&["load", "-i", &file.display().to_string()]);
    if loaded.status.code() != Some(0) {
        assert_eq!(describe(&canary), before);
        return loaded;
    }
    let mut last = None;
    for more in [&[][..], &["--user", "root", "--writable"]] {
        let script = "ls -la / /dev /etc /proc/self/cwd/ . ../ ../../ ../../.. 2>/dev/null; cat /etc/* /dev/secret secret 2>/dev/null";
        let output = home.run(&[words, more, &["localhost/evil:1", "sh", "-c", script]].concat());
        assert_eq!(describe(&canary), before, "the canary changed: {output}");
        assert!(!output.text().contains("token-of-the-host"), "the canary was read: {output}");
        assert!(!output.stderr.contains("token-of-the-host"), "the canary was read: {output}");
        last = Some(output);
    }
    last.unwrap()
}

fn plain() -> Value {
    json!({"Env": [path()]})
}

/// CVE-2026-41579, CVE-2026-47766: `/dev` leads to a directory of the host.
#[test]
fn a_link_for_dev_is_not_followed() {
    for user in User::all() {
        attack(&user, |canary| Tar::default().symlink("dev", canary), plain(), &[]);
    }
}

/// CVE-2025-54867, CVE-2019-19921: `/proc` or `/sys` leads elsewhere.
#[test]
fn links_for_proc_and_sys_are_not_followed() {
    for user in User::all() {
        for name in ["proc", "sys", "run", "tmp"] {
            attack(&user, |canary| Tar::default().symlink(name, canary), plain(), &[]);
        }
    }
}

/// CVE-2024-5154 and its kind: the names of the files that an engine generates.
#[test]
fn links_for_generated_files_are_not_followed() {
    let Some(user) = User::ordinary() else { return };
    attack(&user, |canary| Tar::default().symlink("etc", canary), plain(), &[]);
    let files = |canary: &str| {
        let mut tar = Tar::default();
        for file in ["hosts", "hostname", "resolv.conf", "passwd", "group", "mtab"] {
            tar = tar.symlink(&format!("etc/{file}"), &format!("{canary}/{file}"));
        }
        tar
    };
    attack(&user, files, plain(), &[]);
    attack(&user, files, plain(), &["--hostname", "moss", "--user", "5000"]);
}

/// CVE-2025-31133: the source of the masks is itself a link.
#[test]
fn a_link_for_dev_null_is_not_followed() {
    let Some(user) = User::ordinary() else { return };
    let layer =
        |canary: &str| Tar::default().symlink("dev/null", &format!("{canary}/secret")).symlink("dev/pts", canary);
    attack(&user, layer, plain(), &[]);
}

/// CVE-2024-21626: the working directory is a descriptor of the engine's.
#[test]
fn a_working_directory_cannot_be_a_descriptor() {
    for user in User::all() {
        for fd in (3..12).chain([15, 20, 30]) {
            let config = json!({"Env": [path()], "WorkingDir": format!("/proc/self/fd/{fd}")});
            attack(&user, |_| Tar::default().dir("srv/", 0o755), config, &[]);
        }
        let config = json!({"Env": [path()], "WorkingDir": "/link"});
        attack(&user, |_| Tar::default().symlink("link", "/proc/self/fd/8"), config, &[]);
    }
}

/// CVE-2024-45310: mount points below links, which an engine makes directories for.
#[test]
fn mount_points_and_working_directories_are_made_inside() {
    let Some(user) = User::ordinary() else { return };
    let layer = |canary: &str| Tar::default().symlink("w", canary).symlink("up", "../../../../../../../../..");
    let config =
        json!({"Env": [path()], "WorkingDir": "/w/made-by-image", "Volumes": {"/w/volume": {}, "/up/tmp/v": {}}});
    attack(&user, layer, config, &["--tmpfs", "/w/tmpfs", "-v", "named:/w/named"]);
    let dir = std::path::Path::new("/tmp/v");
    assert!(!dir.exists());
}

/// CVE-2019-18837: a link at a name that an engine might write beside.
#[test]
fn homes_and_state_directories_that_are_links_stay_inside() {
    let Some(user) = User::ordinary() else { return };
    let layer =
        |canary: &str| Tar::default().symlink("home", canary).symlink("var/lib/state", canary).symlink("srv", canary);
    attack(&user, layer, plain(), &[]);
    let passwd = |canary: &str| {
        let line = format!("root:x:0:0::/root:/bin/sh\nnonroot:x:65532:65532::{canary}:/bin/sh\n");
        Tar::default().file("etc/passwd", 0o644, line.as_bytes())
    };
    attack(&user, passwd, plain(), &[]);
}

/// CVE-2023-27561 and its kind: the place of a mount is a link to where the kernel shows itself. What confines would be
/// under the mount, or over something else.
#[test]
fn no_mount_is_led_over_what_confines() {
    for user in User::all() {
        let home = Home::new(&user);
        let places = ["proc", "proc/sys", "proc/acpi", "sys", "sys/kernel", "dev", "dev/shm", "dev/pts"];
        let mut tar = Tar::default().dir("d/", 0o755).symlink("fine", "/d");
        for (n, place) in places.iter().enumerate() {
            tar = tar.symlink(&format!("l{n}"), &format!("../{place}"));
        }
        let file = home.path.join("links.tar");
        Image::new("localhost/links:1", vec![busybox_layer(), tar.finish()], plain()).archive(&file);
        home.load(&file);
        let share = home.mkdir("w/share").display().to_string();
        let run = |words: &[&str]| home.run(&[words, &["localhost/links:1", "true"]].concat());
        for (n, place) in places.iter().enumerate() {
            for (word, mount) in
                [("--tmpfs", format!("/l{n}")), ("-v", format!("v{n}:/l{n}")), ("-v", format!("{share}:/l{n}:ro"))]
            {
                run(&[word, &mount]).fails(125, &[&format!("/l{n}"), &format!("leads to /{place}")]);
            }
        }
        run(&["--tmpfs", "/fine", "-v", "v:/fine/v"]).ok();
    }
    let Some(user) = User::ordinary() else { return };
    // The files that an engine generates are mounts as well; a link in their place is followed nowhere, or refused.
    let generated =
        [("hosts", "/dev/null"), ("hostname", "/proc/version"), ("resolv.conf", "/sys/kernel/uevent_seqnum")];
    for (name, to) in generated {
        let home = Home::new(&user);
        let tar = Tar::default().symlink(&format!("etc/{name}"), to).finish();
        let file = home.path.join("links.tar");
        Image::new("localhost/links:1", vec![busybox_layer(), tar], plain()).archive(&file);
        home.load(&file);
        for words in [&[][..], &["--user", "root"], &["--user", "1000"]] {
            let script = format!(
                "grep -v ' /dev/null ' /proc/self/mountinfo | grep -c ' {to} '; test -c /dev/null || echo gone"
            );
            let output = home.run(&[words, &["localhost/links:1", "sh", "-c", &script]].concat());
            match output.status.code() {
                Some(0) => assert_eq!(output.text(), "0", "{output}"),
                _ => drop(output.fails(125, &[&format!("/etc/{name}"), &format!("leads to {to}")])),
            }
        }
    }
}

/// CVE-2024-9676: user data bases that never end, or are not files.
#[test]
fn hostile_user_data_bases_end_in_an_error_or_not_at_all() {
    let Some(user) = User::ordinary() else { return };
    let fifo = |_: &str| {
        let entry =
            bryo_tests::tar::Entry { name: "etc/passwd", kind: b'6', mode: 0o644, ids: (0, 0), link: "", data: b"" };
        Tar::default().entry(entry)
    };
    attack(&user, fifo, json!({"Env": [path()], "User": "app"}), &[]);
    attack(&user, |_| Tar::default().symlink("etc/passwd", "/dev/zero"), json!({"Env": [path()], "User": "app"}), &[]);
    let long = vec![b'x'; 64 << 20];
    attack(&user, |_| Tar::default().file("etc/group", 0o644, &long), plain(), &[]);
}

/// An image's environment reaches nothing but its own payload: no loader, no search path of the engine's.
#[test]
fn an_images_environment_does_not_reach_the_engine() {
    let Some(user) = User::ordinary() else { return };
    let config = json!({"Env": ["PATH=/evil:/bin", "LD_PRELOAD=/evil/lib.so", "NOTIFY_SOCKET=/evil/s", "HOME=/evil"]});
    attack(&user, |_| Tar::default().dir("evil/", 0o755), config, &[]);
}
