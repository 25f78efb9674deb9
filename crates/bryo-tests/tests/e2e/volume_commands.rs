// SPDX-License-Identifier: Apache-2.0
//! Volumes as things of their own: made, listed, in use, removed; and those that nobody has named.

use std::fs;

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;
use serde_json::json;

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// Lists what is in the directory of the volumes, finished or not.
fn on_disk(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.store().join("volumes")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_volume_is_made_listed_described_and_removed() {
    for user in User::all() {
        let home = home(&user);
        assert_eq!(home.bryo(&["volume", "ls"]).ok(), "DRIVER   VOLUME NAME");
        assert_eq!(home.bryo(&["volume", "create", "--label", "tier=db", "data"]).ok(), "data");
        // One that is there is left as it is.
        assert_eq!(home.bryo(&["volume", "create", "data"]).ok(), "data");
        let anonymous = home.bryo(&["volume", "create"]).ok();
        assert_eq!(anonymous.len(), 64);
        assert_eq!(home.bryo(&["volume", "ls", "-q", "--filter", "name=^data$"]).ok(), "data");
        assert_eq!(home.bryo(&["volume", "ls", "-q", "--filter", "label=tier=db"]).ok(), "data");
        assert_eq!(home.bryo(&["volume", "ls", "-q", "--filter", "label=tier=web"]).ok(), "");
        assert_eq!(home.bryo(&["volume", "ls", "--format", "{{.Name}} {{.Label \"tier\"}}"]).ok().lines().count(), 2);
        let seen = home.bryo(&["volume", "inspect", "data"]).json()[0].clone();
        assert_eq!(
            (&seen["Name"], &seen["Driver"], &seen["Scope"]),
            (&json!("data"), &json!("local"), &json!("local"))
        );
        assert_eq!(seen["Labels"], json!({"tier": "db"}));
        let place = home.store().join("volumes/data/_data").display().to_string();
        assert_eq!(home.bryo(&["inspect", "-f", "{{.Mountpoint}}", "data"]).ok(), place);
        // It is filled from the image as one that `run` has made, and keeps what is in it.
        home.run(&["-v", "data:/etc", "--user", "root", BUSYBOX, "sh", "-c", "test -s /etc/group && echo x > /etc/x"])
            .ok();
        assert_eq!(home.run(&["-v", "data:/d", BUSYBOX, "cat", "/d/x"]).ok(), "x");
        let size = home.bryo(&["volume", "ls", "--filter", "name=data", "--format", "{{.Size}}"]).ok();
        assert!(size.ends_with("kB"), "{size}");
        assert_eq!(home.bryo(&["volume", "rm", "data", &anonymous]).ok(), format!("data\n{anonymous}"));
        assert_eq!(on_disk(&home), [""; 0]);
        home.bryo(&["volume", "rm", "data"]).fails(1, &["data"]);
        home.bryo(&["volume", "rm", "--force", "data"]).ok();
        home.bryo(&["volume", "rm", "../volumes"]).fails(1, &["no such volume"]);
    }
}

#[test]
fn a_volume_that_a_container_names_stays() {
    for user in User::all() {
        let home = home(&user);
        let one = Detached::create(&home, "one", &["-v", "data:/data", BUSYBOX, "true"]);
        // It is there as soon as the container is.
        assert_eq!(home.bryo(&["volume", "ls", "-q"]).ok(), "data");
        home.bryo(&["volume", "rm", "data"]).fails(1, &["data", "in use", "one"]);
        assert_eq!(home.bryo(&["volume", "ls", "-q", "--filter", "dangling=true"]).ok(), "");
        assert_eq!(home.bryo(&["volume", "ls", "--format", "{{.Name}} {{.Links}}"]).ok(), "data 1");
        home.bryo(&["volume", "prune", "-a", "-f"]).ok();
        assert_eq!(on_disk(&home), ["data"]);
        let mark = mark();
        let run =
            home.start(&["run", "--rm", "--init", "--network", "none", "-v", "other:/data", BUSYBOX, "sleep", &mark]);
        Process::with_args(&["sleep", &mark]);
        home.bryo(&["volume", "rm", "other"]).fails(1, &["other", "in use"]);
        run.signal(Signal::TERM);
        run.wait().code(128 + 15);
        drop(one);
        assert_eq!(home.bryo(&["volume", "ls", "-q", "--filter", "dangling=true"]).ok(), "data\nother");
        home.bryo(&["volume", "rm", "data", "other"]).ok();
    }
}

#[test]
fn anonymous_volumes_go_with_their_container() {
    for user in User::all() {
        let home = home(&user);
        // Removed with a container in the foreground, and with one by itself.
        let script = "echo x > /data/x && mkdir -m 700 /data/d && echo y > /data/d/y && grep -q ' /data ' /proc/mounts";
        home.run(&["-v", "/data", BUSYBOX, "sh", "-c", script]).ok();
        assert_eq!(on_disk(&home), [""; 0], "{}", user.name);
        let id = home.bryo(&["run", "-d", "--rm", "--network", "none", "-v", "/data", BUSYBOX, "sleep", "300"]).ok();
        assert_eq!(on_disk(&home).len(), 1);
        home.bryo(&["stop", "-t", "0", &id]).ok();
        bryo_tests::program::eventually("its volume is gone", || on_disk(&home).is_empty().then_some(()));
        // Else they stay until it is asked for, and the container has the same one every time.
        home.bryo(&[
            "create",
            "--name",
            "kept",
            "--mount",
            "target=/data",
            BUSYBOX,
            "sh",
            "-c",
            "echo x >> /data/x; wc -l < /data/x",
        ])
        .ok();
        let volume = home.bryo(&["volume", "ls", "-q"]).ok();
        assert_eq!(home.bryo(&["start", "-a", "kept"]).ok(), "1");
        assert_eq!(home.bryo(&["start", "-a", "kept"]).ok(), "2");
        home.bryo(&["rm", "kept"]).ok();
        assert_eq!(on_disk(&home), std::slice::from_ref(&volume));
        // Now somebody names it, and it is no container's own any more.
        let _user = Detached::create(&home, "user", &["-v", &format!("{volume}:/d"), BUSYBOX]);
        let _other = home.bryo(&["create", "--name", "gone", "-v", "/x", BUSYBOX]).ok();
        home.bryo(&["rm", "-v", "gone"]).ok();
        assert_eq!(on_disk(&home), [volume]);
        home.run(&["-v", "/data", BUSYBOX, "/no/such/program"]).code(127);
        assert_eq!(on_disk(&home).len(), 1, "a start that failed leaves none");
    }
}

#[test]
fn prune_removes_anonymous_volumes_and_all_on_request() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.bryo(&["volume", "create", "named"]).ok();
    home.bryo(&["volume", "create", "--label", "keep", "kept"]).ok();
    let anonymous = home.bryo(&["volume", "create"]).ok();
    home.bryo(&["volume", "prune"]).fails(1, &["--force"]);
    let told = home.bryo(&["volume", "prune", "-f"]).ok();
    assert_eq!(told, format!("Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B"));
    home.run(&["-v", "named:/d", BUSYBOX, "sh", "-c", "head -c 100000 /dev/zero > /d/x"]).ok();
    let told = home.bryo(&["volume", "prune", "-af", "--filter", "label!=keep"]).ok();
    assert!(told.starts_with("Deleted Volumes:\nnamed\n\nTotal reclaimed space: 1"), "{told}");
    assert_eq!(on_disk(&home), ["kept"]);
    assert_eq!(home.bryo(&["volume", "prune", "-f"]).ok(), "Total reclaimed space: 0B");
}

/// Where a container shared as the caller, some of the files in a volume are the caller's and lie among others.
#[test]
fn a_volume_of_many_owners_is_removed() {
    let Some(user) = User::with_range() else { return };
    let home = home(&user);
    let share = format!("{}:/w:me", home.path.join("w").display());
    home.run(&["-v", "v:/v", "--user", "root", BUSYBOX, "sh", "-c", "chmod 777 /v; mkdir -m 777 /v/a"]).ok();
    home.run(&["-v", &share, "-v", "v:/v", BUSYBOX, "sh", "-c", "mkdir -m 700 /v/a/b && echo x > /v/a/b/c"]).ok();
    let volumes = home.store().join("volumes").display().to_string();
    let of_caller = bryo_tests::program::tool("find", &[&volumes, "-name", "b", "-user", &user.name]);
    assert_eq!(of_caller.lines().count(), 1);
    home.run(&["-v", "v:/v", "--user", "root", BUSYBOX, "mkdir", "-m", "700", "/v/z"]).ok();
    home.bryo(&["volume", "ls", "--format", "{{.Size}}"]).ok();
    home.bryo(&["volume", "rm", "v"]).ok();
    assert_eq!(on_disk(&home), [""; 0]);
}

/// What a killed removal has left is nobody's volume and goes with the next collection.
#[test]
fn what_is_left_of_a_volume_is_swept_up() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.run(&["-v", "v:/v", BUSYBOX, "sh", "-c", "echo x > /v/x"]).ok();
    let volumes = home.store().join("volumes");
    fs::rename(volumes.join("v"), volumes.join(".tmp-0")).unwrap();
    assert_eq!(home.bryo(&["volume", "ls", "-q"]).ok(), "");
    home.bryo(&["gc"]).ok();
    assert_eq!(on_disk(&home), [""; 0]);
}
