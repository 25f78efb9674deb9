// SPDX-License-Identifier: Apache-2.0
//! What can be written, what is shared, and how: read-only root, state, binds, volumes, tmpfs.

use std::fs;
use std::os::unix::fs::MetadataExt;

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::{Home, Running, User};
use serde_json::json;

#[test]
fn the_root_is_read_only_and_the_scratch_places_are_not() {
    for user in User::all() {
        let home = Home::shared(&user);
        for dir in ["/", "/etc", "/usr", "/bin"] {
            let output = home.run(&[BUSYBOX, "touch", &format!("{dir}/x")]);
            assert!(output.code(1).is_empty() && output.stderr.contains("Read-only file system"), "{output}");
        }
        for dir in ["/tmp", "/var/tmp", "/run", "/dev/shm", "$HOME"] {
            home.run(&[BUSYBOX, "sh", "-c", &format!("echo x > {dir}/x && cat {dir}/x")]).ok();
        }
    }
}

#[test]
fn writable_is_the_word_for_a_writable_root() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "echo x > /etc/mine && cat /etc/mine";
        for word in ["--writable", "--read-only=false"] {
            assert_eq!(home.run(&[word, "--user", "root", BUSYBOX, "sh", "-c", script]).ok(), "x");
        }
        // It is gone with the container, and the image is as it was.
        home.run(&[BUSYBOX, "test", "!", "-e", "/etc/mine"]).ok();
    }
}

#[test]
fn read_only_is_dockers_word_for_the_default() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&["--read-only", BUSYBOX, "touch", "/etc/x"]).code(1);
    home.run(&["--read-only", "--writable", BUSYBOX, "true"]).fails(125, &["--writable"]);
}

#[test]
fn a_host_whose_mounts_are_shared_sees_nothing_of_a_containers() {
    // Only root makes a mount namespace for others; their bryo is then a host's with systemd, where mounts are shared.
    let Some(_) = User::root() else { return };
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "cat /proc/self/mountinfo && echo = && \"$@\" && echo = && cat /proc/self/mountinfo";
        let run = home.command(&["run", "--rm", "--network", "none", "-v", "shared-mounts:/data", BUSYBOX, "true"]);
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--propagation", "shared", "sh", "-c", script, "sh"]).arg(run.get_program());
        let output = Running::start(
            {
                command.args(run.get_args());
                command
            },
            false,
        )
        .wait()
        .ok();
        let parts: Vec<&str> = output.split("=\n").map(str::trim).collect();
        assert_eq!(parts[0], parts[2], "{}", user.name);
    }
}

#[test]
fn mounts_are_nosuid_and_nodev_as_the_host_sees_them() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mark = mark();
        let _run = home.start(&["run", "--rm", "--network", "none", "--tmpfs", "/scratch", BUSYBOX, "sleep", &mark]);
        let mounts = Process::with_args(&["sleep", &mark]).mounts();
        assert!(mounts["/"].options.contains(&"ro".to_owned()), "{:?}", mounts["/"]);
        for (point, mount) in &mounts {
            assert!(!mount.tags.iter().any(|t| t.starts_with("shared:")), "{point} is shared");
            // Device nodes of ours are binds of single files below /dev.
            let device =
                point.starts_with("/dev/") && !["/dev/shm", "/dev/mqueue", "/dev/pts"].contains(&point.as_str());
            assert!(mount.has("nosuid"), "{point} {mount:?}");
            assert!(device || mount.kind == "devpts" || mount.has("nodev"), "{point} {mount:?}");
        }
        assert!(mounts["/sys"].has("ro"), "{:?}", mounts["/sys"]);
        assert!(mounts["/scratch"].has("rw"), "{:?}", mounts["/scratch"]);
        assert_eq!(mounts["/proc"].kind, "proc");
    }
}

#[test]
fn a_directory_can_be_shared_both_ways_or_read_only() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let dir = home.mkdir(&format!("w/share-{}", mark()));
    home.write(&format!("w/{}/in", dir.file_name().unwrap().to_str().unwrap()), "from outside\n");
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let dir = dir.display().to_string();
    assert_eq!(home.run(&["-v", &format!("{dir}:/data:me"), BUSYBOX, "cat", "/data/in"]).ok(), "from outside");
    let ro = home.run(&["-v", &format!("{dir}:/data:ro,me"), BUSYBOX, "touch", "/data/x"]);
    assert!(ro.code(1).is_empty() && ro.stderr.contains("Read-only"), "{ro}");
    let long = format!("type=bind,source={dir},target=/data,readonly");
    home.run(&["--mount", &long, BUSYBOX, "touch", "/data/x"]).code(1);
    home.run(&["-v", "/no/such/dir:/data", BUSYBOX, "true"]).fails(125, &["/no/such/dir"]);
}

#[test]
fn a_read_only_share_is_read_only_all_the_way_down() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    // /dev/shm is a mount below /dev on every host: sharing the parent must not leave it writable.
    let output = home.run(&["-v", "/dev:/data:ro", BUSYBOX, "touch", &format!("/data/shm/bryo-{}", mark())]);
    assert_ne!(output.status.code(), Some(0), "{output}");
}

/// A place in a share that does not exist is made there, on the host: by the run user, not by root inside, whose id the
/// caller could not remove it from.
#[test]
fn what_a_start_makes_in_a_share_is_the_run_users() {
    for user in User::all() {
        if user.uid == 0 {
            // Root cannot share its own id with a container.
            continue;
        }
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let dir = home.mkdir("w/share");
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let file = home.write("w/file", "a file").display().to_string();
        let mut words = vec!["-v".to_owned(), format!("{}:/x:me", dir.display())];
        for more in ["-w", "/x/work/deep", "--tmpfs", "/x/memory", "-v", "v:/x/volume", "-v"] {
            words.push(more.to_owned());
        }
        words.push(format!("{file}:/x/below/file:ro"));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        home.run(&[&words[..], &[BUSYBOX, "sh", "-c", "touch here && mkdir sub"]].concat()).ok();
        for name in ["work", "work/deep", "work/deep/here", "memory", "volume", "below", "below/file"] {
            let made = fs::symlink_metadata(dir.join(name)).unwrap();
            assert_eq!((made.uid(), made.gid()), (user.uid, user.gid), "{name} for {}", user.name);
        }
        home.tool("rm", &["-r", dir.to_str().unwrap()]).ok();
    }
}

#[test]
fn what_the_run_user_may_not_make_in_a_share_is_not_made() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let dir = home.mkdir(&format!("w/closed-{}", mark()));
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let share = format!("{}:/x", dir.display());
    home.run(&["-v", &share, "-w", "/x/work", BUSYBOX, "true"]).fails(125, &["/x/work", "denied"]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    // Where everybody may, it is as if the payload had made it.
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    home.run(&["-v", &share, "-w", "/x/work", BUSYBOX, "touch", "here"]).ok();
    let made = fs::symlink_metadata(dir.join("work")).unwrap();
    assert_eq!(made.uid(), user.range().unwrap().0 + 65532);
}

#[test]
fn the_callers_umask_is_not_the_containers() {
    for user in User::all() {
        let home = Home::new(&user);
        let bryo = bryo_tests::dirs::bryo().display().to_string();
        let masked = |words: &[&str]| {
            let script = format!("umask 077 && exec {bryo} \"$@\"");
            home.tool("sh", &[&["-c", &script, "sh"], words].concat())
        };
        let archive = bryo_tests::images::busybox().display().to_string();
        masked(&["load", "-q", "-i", &archive]).ok();
        let words =
            ["run", "--rm", "--network", "none", "-w", "/made/work", "--tmpfs", "/made/memory", "-v", "v:/made/v"];
        let script = "umask && touch /made/memory/x /made/v/x && stat -c %a / /made /made/work /etc /tmp /made/v";
        let seen = masked(&[&words[..], &[BUSYBOX, "sh", "-c", script]].concat());
        assert_eq!(seen.ok(), "0022\n755\n755\n755\n755\n1777\n755", "{}", user.name);
        let host = masked(&["run", "--rm", "--network", "none", "host:", "sh", "-c", "cat /etc/hosts && touch /tmp/x"]);
        host.ok();
    }
}

#[test]
fn a_single_file_can_be_shared() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let file = home.write(&format!("w/file-{}", mark()), "one file\n").display().to_string();
    assert_eq!(
        home.run(&["-v", &format!("{file}:/etc/one.conf:ro,me"), BUSYBOX, "cat", "/etc/one.conf"]).ok(),
        "one file"
    );
}

#[test]
fn a_volume_keeps_what_a_container_does_not() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        home.run(&["-v", "keep:/data", BUSYBOX, "sh", "-c", "echo kept > /data/file"]).ok();
        assert_eq!(home.run(&["-v", "keep:/data", BUSYBOX, "cat", "/data/file"]).ok(), "kept");
        assert_eq!(home.run(&["--mount", "type=volume,source=keep,target=/d", BUSYBOX, "cat", "/d/file"]).ok(), "kept");
        home.run(&["-v", "../out:/data", BUSYBOX, "true"]).fails(125, &["../out"]);
    }
}

/// CVE-2020-1726: what is in a volume already is never overwritten by the image's.
#[test]
fn a_new_volume_starts_with_the_images_files_and_an_old_one_keeps_its_own() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    home.run(&["-v", "v:/etc", "--user", "root", BUSYBOX, "sh", "-c", "test -s /etc/passwd"]).ok();
    home.run(&["-v", "w:/data", "--user", "root", BUSYBOX, "sh", "-c", "echo mine > /data/passwd"]).ok();
    assert_eq!(
        home.run(&["-v", "w:/etc", "--user", "root", "--workdir", "/", BUSYBOX, "cat", "/etc/passwd"]).ok(),
        "mine"
    );
}

#[test]
fn a_tmpfs_has_the_size_that_was_asked_for() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let seen =
        home.run(&["--tmpfs", "/scratch:size=1m", BUSYBOX, "sh", "-c", "df -k /scratch | tail -1 | awk '{print $2}'"]);
    assert_eq!(seen.ok(), "1024");
    let full =
        home.run(&["--tmpfs", "/scratch:size=1m", BUSYBOX, "dd", "if=/dev/zero", "of=/scratch/x", "bs=1M", "count=2"]);
    assert!(full.code(1).is_empty() && full.stderr.contains("No space"), "{full}");
}

#[test]
fn a_declared_volume_and_the_state_directories_are_the_run_users() {
    for user in User::all() {
        let home = Home::new(&user);
        let config = json!({"Volumes": {"/declared": {}}, "WorkingDir": "/srv/work", "Env": [path()]});
        let layer = bryo_tests::tar::Tar::default()
            .dir("declared/", 0o755)
            .dir("srv/", 0o755)
            .dir("srv/work/", 0o755)
            .dir("var/lib/state/", 0o700)
            .file("var/lib/state/file", 0o600, b"state")
            .file("etc/secret", 0o600, b"secret")
            .finish();
        let file = home.path.join("state.tar");
        Image::new("localhost/state:1", vec![busybox_layer(), layer], config).archive(&file);
        home.load(&file);
        let script =
            "touch /declared/x ./x /var/lib/state/x && cat /var/lib/state/file && ! cat /etc/secret 2>/dev/null";
        let output = home.run(&["localhost/state:1", "sh", "-c", script]);
        // On a single id every file belongs to the run user: there is nobody else.
        if user.rung == bryo_tests::user::Rung::Single {
            assert!(output.text().starts_with("state"), "{output}");
        } else {
            assert_eq!(output.ok(), "state", "{}", user.name);
        }
        // What a container writes there is gone with it.
        home.run(&["localhost/state:1", "test", "!", "-e", "/var/lib/state/x"]).ok();
    }
}

#[test]
fn a_directory_that_a_layer_does_not_describe_stays_what_it_was() {
    for user in User::all() {
        let home = Home::new(&user);
        let tar = bryo_tests::tar::Tar::default;
        let below = tar().dir("tmp/", 0o1777).dir("opt/", 0o700).dir("opt/in/", 0o750).dir("gone/", 0o700).finish();
        let above =
            tar().file("tmp/x", 0o644, b"").file("opt/in/deep/x", 0o644, b"").file(".wh.gone", 0o644, b"").finish();
        let again = tar().file("gone/x", 0o644, b"").file("opt/in/y", 0o644, b"").finish();
        let file = home.path.join("implied.tar");
        let layers = vec![busybox_layer(), below, above, again];
        Image::new("localhost/implied:1", layers, json!({"Env": [path()]})).archive(&file);
        home.load(&file);
        let modes = ["stat", "-c", "%n %a", "/tmp", "/opt", "/opt/in", "/opt/in/deep", "/gone"];
        let seen = home.run(&[&["--user", "root", "--read-only", "localhost/implied:1"], &modes[..]].concat()).ok();
        let expected = "/tmp 1777\n/opt 700\n/opt/in 750\n/opt/in/deep 755\n/gone 755";
        assert_eq!(seen, expected, "{}", user.name);
        let tar = home.path.join("out.tar");
        home.bryo(&["export", "-o", &tar.display().to_string(), "localhost/implied:1"]).ok();
        let listed = home.tool("tar", &["-tvf", &tar.display().to_string(), "tmp", "opt", "gone"]).ok();
        for line in ["drwxrwxrwt", "drwx------", "drwxr-x---"] {
            assert!(listed.contains(line), "{line}: {listed}");
        }
    }
}

#[test]
fn no_mount_may_cover_what_confines() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    for target in ["/", "/proc", "/proc/self/attr", "/sys", "/dev", "/dev/pts", "/proc/../proc"] {
        home.run(&["--tmpfs", target, BUSYBOX, "true"]).fails(125, &[]);
    }
    home.run(&["-v", "/tmp:relative", BUSYBOX, "true"]).fails(125, &["relative"]);
}

#[test]
fn the_store_can_not_be_shared() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let store = home.store().display().to_string();
    home.run(&["-v", &format!("{store}:/store:me"), BUSYBOX, "true"]).fails(125, &["store"]);
}
