// SPDX-License-Identifier: Apache-2.0
//! `diff`, `commit` and `export`: what a container has changed, and what becomes of it.

use std::collections::BTreeSet;
use std::fs;

use bryo_tests::images::{self, BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::program::tool;
use bryo_tests::tar::Tar;
use bryo_tests::{Detached, Home, User, skip};
use serde_json::json;

const IMAGE: &str = "localhost/base:1";

/// A home with an image of two layers and something to change in each.
fn home(user: &User) -> Home {
    let home = Home::new(user);
    let layer = Tar::default()
        .dir("d/", 0o755)
        .dir("d/gone/", 0o755)
        .file("d/gone/file", 0o644, b"x")
        .dir("d/again/", 0o755)
        .file("d/again/old", 0o644, b"x")
        .file("d/again/both", 0o644, b"x")
        .dir("d/again/sub/", 0o755)
        .file("d/again/sub/file", 0o644, b"x")
        .dir("d/again/sub/deep/", 0o755)
        .file("d/again/sub/deep/file", 0o644, b"x")
        .file("d/file", 0o644, b"x")
        .file("d/same", 0o644, b"x")
        .file("d/mode", 0o644, b"x")
        .file("d/becomes-directory", 0o644, b"x")
        .dir("d/becomes-file/", 0o755)
        .file("d/becomes-file/x", 0o644, b"x")
        .dir("d/chmod/", 0o755)
        .symlink("d/link", "file")
        .symlink("places", "d")
        .finish();
    let config = json!({"Env": [path(), "OLD=1"], "Cmd": ["sh"], "Labels": {"from": "image"}});
    let file = home.path.join("base.tar");
    Image::new(IMAGE, vec![busybox_layer(), layer], config).archive(&file);
    home.load(&file);
    home
}

const SCRIPT: &str = "cd /d; echo more >> file; : >> same; chmod 600 mode; rm -r gone; rm -r again; \
    mkdir -p again/sub/deep; echo y > again/both; echo z > again/new; rm becomes-directory; mkdir becomes-directory; echo y > becomes-directory/y; \
    rm -r becomes-file; echo y > becomes-file; chmod 700 chmod; ln -sf other link; mkdir -p fresh/deep; ln file fresh/second";

const CHANGED: &[&str] = &[
    "C /d",
    "C /d/again",
    "C /d/again/both",
    "A /d/again/new",
    "D /d/again/old",
    "C /d/again/sub",
    "C /d/again/sub/deep",
    "D /d/again/sub/deep/file",
    "D /d/again/sub/file",
    "C /d/becomes-directory",
    "A /d/becomes-directory/y",
    "C /d/becomes-file",
    "C /d/chmod",
    "C /d/file",
    "A /d/fresh",
    "A /d/fresh/deep",
    "A /d/fresh/second",
    "D /d/gone",
    "C /d/link",
    "C /d/mode",
];

/// Changes much in a container that may write everywhere.
fn changed<'h>(home: &'h Home, name: &str) -> Detached<'h> {
    let container = Detached::run(home, name, &["--writable", "--user", "root", IMAGE, "sleep", "300"]);
    home.bryo(&["exec", name, "sh", "-c", SCRIPT]).ok();
    container
}

fn lines(output: &bryo_tests::Output) -> Vec<String> {
    output.ok().lines().map(str::to_owned).collect()
}

#[test]
fn a_difference_is_what_was_added_changed_and_deleted() {
    for user in User::all() {
        let home = home(&user);
        let _runs = changed(&home, "c");
        assert_eq!(lines(&home.bryo(&["diff", "c"])), CHANGED, "{}", user.name);
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        assert_eq!(lines(&home.bryo(&["diff", "c"])), CHANGED, "{}", user.name);
        let seen = home.bryo(&["diff", "--json", "c"]).json();
        assert_eq!(seen[0], json!({"Path": "/d", "Kind": 0}));
        assert_eq!(seen.as_array().unwrap().len(), CHANGED.len());
        let _made = Detached::create(&home, "made", &[IMAGE]);
        assert_eq!(home.bryo(&["diff", "made"]).ok(), "");
    }
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _host = Detached::run(&home, "host", &["host:", "sleep", "300"]);
    home.bryo(&["diff", "host"]).fails(1, &["host", "no files of its own"]);
}

/// Places that were made to mount on are no change of the container's, even where a link leads to them.
#[test]
fn what_was_made_for_mounts_is_no_difference() {
    for user in User::all() {
        let home = home(&user);
        let share = home.mkdir("w/share").display().to_string();
        let file = home.write("w/one", "x").display().to_string();
        let (share, file) = (format!("{share}:/places/shared/deep"), format!("{file}:/d/conf/one"));
        let mounts = ["-v", &share, "-v", &file, "-v", "v:/volume/of/mine", "--tmpfs", "/t", "-w", "/work/dir"];
        let _runs = Detached::run(
            &home,
            "c",
            &[&mounts[..], &["--writable", "--user", "root", IMAGE, "sleep", "300"]].concat(),
        );
        assert_eq!(home.bryo(&["diff", "c"]).ok(), "", "{}", user.name);
        // Something beside them is one.
        home.bryo(&["exec", "c", "touch", "/volume/mine", "/d/conf/two"]).ok();
        let expected = ["C /d", "A /d/conf", "A /d/conf/two", "A /volume", "A /volume/mine"];
        assert_eq!(lines(&home.bryo(&["diff", "c"])), expected, "{}", user.name);
    }
}

/// A file is copied up when it is opened for writing; only content and attributes say whether it is another.
#[test]
fn a_file_of_the_same_size_and_time_is_compared() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _runs = Detached::run(&home, "c", &["--writable", "--user", "root", IMAGE, "sleep", "300"]);
    let script =
        "cd /d; for f in file same; do touch -r $f /tmp/$f; : >> $f; done; printf y > file; touch -r /tmp/file file";
    home.bryo(&["exec", "c", "sh", "-c", script]).ok();
    assert_eq!(home.bryo(&["diff", "c"]).ok().lines().filter(|l| l.contains("/d")).collect::<Vec<_>>(), ["C /d/file"]);
}

#[test]
fn a_committed_image_is_the_container_as_it_was() {
    for user in User::all() {
        let home = home(&user);
        let _runs = changed(&home, "c");
        let of_container = home.bryo(&[
            "exec",
            "c",
            "sh",
            "-c",
            "cd / && find d -exec stat -c '%n %F %a %u %N %Y' {} + | sort; cat d/*",
        ]);
        let id = home.bryo(&["commit", "c", "made:1"]).ok();
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(home.bryo(&["inspect", "-f", "{{.Id}}", "made:1"]).ok(), id);
        let words = [
            "--user",
            "root",
            "--workdir",
            "/",
            "made:1",
            "sh",
            "-c",
            "cd / && find d -exec stat -c '%n %F %a %u %N %Y' {} + | sort; cat d/*",
        ];
        // Times of directories that were only gone into may differ.
        let without = |text: &str| -> Vec<String> {
            text.lines()
                .map(
                    |l| if l.contains(" directory ") { l.rsplit_once(' ').unwrap().0.to_owned() } else { l.to_owned() },
                )
                .collect()
        };
        assert_eq!(without(&home.run(&words).text()), without(&of_container.text()), "{}", user.name);
        // It is an image like any other: with a layer more, and usable when the container is gone.
        assert_eq!(home.bryo(&["inspect", "made:1"]).json()[0]["RootFS"]["Layers"].as_array().unwrap().len(), 3);
        home.bryo(&["rm", "-f", "c"]).ok();
        home.run(&["made:1", "test", "!", "-e", "/d/gone"]).ok();
        assert_eq!(home.bryo(&["diff", "c"]).status.code(), Some(1));
        if skip::have("skopeo") {
            let layout = home.store().join("images").display().to_string();
            home.tool("skopeo", &["inspect", &format!("oci:{layout}:docker.io/library/made:1")]).ok();
        }
    }
}

#[test]
fn a_committed_image_has_the_words_of_the_run_and_of_the_commit() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let asked = [
        "-e",
        "NEW=2",
        "--unsetenv",
        "OLD",
        "-l",
        "from=run",
        "-w",
        "/d",
        "--user",
        "1000",
        "--entrypoint",
        "/bin/echo",
        "--expose",
        "90/udp",
        "--stop-signal",
        "USR1",
        "--health-cmd",
        "test -e /x",
        "--health-interval",
        "7s",
        "-v",
        "/volume",
    ];
    let _made = Detached::create(&home, "c", &[&asked[..], &[IMAGE, "word"]].concat());
    let words = [
        "commit",
        "-a",
        "Me <me@example>",
        "-m",
        "a remark",
        "-c",
        "ENV THIRD=3",
        "--change",
        "EXPOSE 80",
        "c",
        "made:2",
    ];
    home.bryo(&words).ok();
    let seen = home.bryo(&["inspect", "made:2"]).json()[0].clone();
    let config = &seen["Config"];
    assert_eq!(config["Env"], json!([path(), "NEW=2", "THIRD=3"]));
    assert_eq!((&config["Entrypoint"], &config["Cmd"]), (&json!(["/bin/echo"]), &json!(["word"])));
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("1000"), &json!("/d")));
    assert_eq!((&config["Labels"]["from"], &seen["Author"]), (&json!("run"), &json!("Me <me@example>")));
    assert_eq!(config["ExposedPorts"], json!({"80/tcp": {}, "90/udp": {}}));
    assert_eq!((&config["Volumes"], &config["StopSignal"]), (&json!({"/volume": {}}), &json!("SIGUSR1")));
    let again = Detached::create(&home, "again", &["made:2"]).inspect()["Config"]["Healthcheck"].clone();
    assert_eq!(again["Test"], json!(["CMD", "/bin/sh", "-c", "test -e /x"]));
    assert_eq!((&again["Interval"], &again["Retries"]), (&json!(7_000_000_000_u64), &json!(3)));
    let silenced = Detached::create(&home, "silenced", &["--no-healthcheck", "made:2"]);
    // Nothing has run in either: the image has a layer with nothing in it twice.
    home.bryo(&["commit", "silenced", "made:3"]).ok();
    assert!(Detached::create(&home, "silent", &["made:3"]).inspect()["Config"].get("Healthcheck").is_none());
    drop(silenced);
    assert!(home.bryo(&["history", "made:2"]).ok().lines().nth(1).unwrap().contains("a remark"));
    assert_eq!(home.run(&["made:2"]).ok(), "word");
    // Without a name it is there by its id.
    let id = home.bryo(&["commit", "c"]).ok();
    assert_eq!(home.run(&[&id]).ok(), "word");
    home.bryo(&["commit", "-c", "RUN x", "c"]).fails(125, &["RUN x"]);
    let _host = Detached::run(&home, "host", &["host:", "sleep", "300"]);
    home.bryo(&["commit", "host"]).fails(1, &["no image"]);
    home.bryo(&["commit", "--pause", "host"]).fails(1, &["no image"]);
    home.bryo(&["commit", "nosuch"]).fails(1, &["nosuch"]);
}

#[test]
fn a_container_is_exported_as_it_is() {
    for user in User::all() {
        let home = home(&user);
        let _runs = changed(&home, "c");
        let file = home.path.join("c.tar").display().to_string();
        home.bryo(&["export", "-o", &file, "c"]).ok();
        let listed: BTreeSet<String> =
            tool("tar", &["-tf", &file]).lines().map(|l| l.trim_end_matches('/').to_owned()).collect();
        for there in ["bin/busybox", "d/again/new", "d/fresh/second", "d/becomes-directory/y", "etc/passwd"] {
            assert!(listed.contains(there), "{there} {}", user.name);
        }
        for gone in ["d/gone", "d/again/old", "d/becomes-file/x"] {
            assert!(!listed.contains(gone), "{gone} {}", user.name);
        }
        assert_eq!(tool("tar", &["-xOf", &file, "d/file"]), "xmore");
        let owner = tool("tar", &["--numeric-owner", "-tvf", &file, "home/app"]);
        // A single id cannot have it, and remembers it.
        assert!(owner.contains(" 1000/1000 "), "{owner}");
        // Through a pipe, of one that does not run, of one that never has, of an image, in this order.
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        assert_eq!(home.bryo(&["export", "c"]).stdout, fs::read(&file).unwrap(), "{}", user.name);
        let _made = Detached::create(&home, "made", &[IMAGE]);
        let made = home.bryo(&["export", "made"]);
        made.ok();
        assert!(made.stdout.len() > 1_000_000);
        home.bryo(&["tag", IMAGE, "made"]).ok();
        assert_eq!(home.bryo(&["export", "made"]).stdout, made.stdout);
        let image = home.bryo(&["export", IMAGE]);
        image.ok();
        assert!(image.stdout.len() > 1_000_000);
        home.bryo(&["export", "nosuch"]).fails(1, &["nosuch", "no such container or image"]);
    }
}

/// What has been exported comes back as an image by `import`, also where `commit` cannot make one.
#[test]
fn a_container_of_a_directory_is_exported_and_imported() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&images::busybox());
    let root = home.mkdir("root");
    let tar = home.write("root.tar", busybox_layer()).display().to_string();
    home.tool("tar", &["-C", &root.display().to_string(), "--no-same-owner", "-xf", &tar]).ok();
    let image = format!("rootfs:{}", root.display());
    let _runs = Detached::run(&home, "c", &["--writable", "--user", "root", &image, "sleep", "300"]);
    home.bryo(&["exec", "c", "sh", "-c", "echo x > /tmp/x"]).ok();
    home.bryo(&["commit", "c"]).fails(1, &["export"]);
    assert!(home.bryo(&["diff", "c"]).ok().contains("A /tmp/x"));
    // What the host keeps from everybody else is kept from the container, too.
    let output = home.path.join("out.tar").display().to_string();
    let exported = home.bryo(&["export", "-o", &output, "c"]);
    exported.ok();
    let hidden = home.bryo(&["exec", "c", "cat", "/etc/shadow"]);
    assert_eq!(exported.stderr.contains("left out"), !hidden.status.success(), "{exported}");
    home.bryo(&["import", &home.path.join("out.tar").display().to_string(), "imported:1"]).ok();
    assert_eq!(home.run(&["imported:1", "cat", "/tmp/x"]).ok(), "x");
    assert_eq!(home.run(&[BUSYBOX, "echo", "still"]).ok(), "still");
}
