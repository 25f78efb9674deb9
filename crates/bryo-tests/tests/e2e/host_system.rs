// SPDX-License-Identifier: Apache-2.0
//! `host:`, this machine's own programs in a container, and `rootfs:`.

use bryo_tests::host::mark;
use bryo_tests::{Home, User};

#[test]
fn a_program_of_this_machine_runs_as_nobody() {
    for user in User::all_without_images() {
        let home = Home::new(&user);
        assert_eq!(home.bryo(&["run", "host:", "whoami"]).ok(), "nonroot", "{}", user.name);
        assert_eq!(home.run(&["host:", "id", "-u"]).ok(), "65532");
        assert_eq!(home.run(&["host:", "sh", "-c", "exit 5"]).code(5), "");
        assert!(home.run(&["host:", "sh", "-c", "echo $HOME; touch $HOME/x"]).ok().starts_with("/home/nonroot"));
    }
}

#[test]
fn homes_keys_and_sockets_are_out_of_sight() {
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let canary = home.write(&format!("w/canary-{}", mark()), "mine").display().to_string();
        home.run(&["host:", "test", "-e", &canary]).code(1);
        for path in ["/root", "/home", "/var/tmp", "/tmp", "/run", "/srv", "/mnt", "/media"] {
            let seen = home.run(&["host:", "sh", "-c", &format!("ls -A {path} 2>/dev/null")]).text();
            let own = std::fs::read_dir(path).map(|d| d.flatten().map(|e| e.file_name()).collect::<Vec<_>>());
            for name in own.unwrap_or_default() {
                let name = name.to_str().unwrap_or_default().to_owned();
                // A container has some of its own there, such as its home and its lock directory.
                let ours = ["nonroot", "lock", "shm", "user", "bryo"].contains(&name.as_str());
                assert!(ours || !seen.lines().any(|l| l == name), "{path}/{name} of the host is seen by {}", user.name);
            }
        }
        for path in ["/etc/shadow", "/etc/gshadow", "/etc/ssh/ssh_host_ed25519_key", "/etc/sudoers", "/run/docker.sock"]
        {
            home.run(&["host:", "cat", path]).code(1);
            // Root inside owns the empty file that is mounted over a secret; there is nothing in it.
            assert_eq!(home.run(&["--user", "root", "host:", "cat", path]).stdout, b"", "{path}");
        }
        let sockets = home.run(&["host:", "sh", "-c", "find / -xdev -type s 2>/dev/null; true"]).ok();
        assert_eq!(sockets, "");
    }
}

#[test]
fn the_system_cannot_be_changed_through_it() {
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let file = format!("/usr/bryo-{}", mark());
        for words in [&[][..], &["--user", "root"]] {
            let output = home.run(&[words, &["host:", "touch", &file]].concat());
            assert_ne!(output.status.code(), Some(0));
            assert!(!std::path::Path::new(&file).exists());
        }
        home.run(&["--writable", "host:", "true"]).fails(125, &["host:"]);
    }
}

#[test]
fn set_user_id_programs_of_the_host_have_no_power_inside() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let output = home.run(&["host:", "sh", "-c", "grep NoNewPrivs /proc/self/status; su -c id root </dev/null"]);
    assert!(output.text().contains("1") && !output.text().contains("uid=0"), "{output}");
}

/// What is decided from the accounts of the host and what is shown of them are of one moment.
#[test]
fn the_accounts_of_the_host_are_read_once() {
    let Some(user) = User::without_range() else { return };
    if !bryo_tests::skip::have("strace") {
        return;
    }
    let home = Home::new(&user);
    let trace = home.path.join("w/trace").display().to_string();
    let bryo = bryo_tests::dirs::bryo().display().to_string();
    // `nobody` is an account with ids that are not known before it was looked up.
    let run = ["run", "--rm", "--network", "none", "--user", "nobody", "host:", "true"];
    home.tool("strace", &[&["-f", "-e", "trace=openat", "-o", &trace, &bryo], &run[..]].concat()).ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    let times = |file: &str| trace.lines().filter(|line| line.contains(file)).count();
    // The caller's own name, by which a range of ids is found, is looked up before there is a container.
    assert!((1..=2).contains(&times("\"/etc/passwd\"")), "{trace}");
    assert_eq!(times("\"/etc/group\""), 1, "{trace}");
}

#[test]
fn a_shared_directory_is_where_work_is_done() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let dir = home.mkdir("w/work");
    let share = format!("{}:/work:me", dir.display());
    home.run(&["-v", &share, "-w", "/work", "host:", "sh", "-c", "echo made > result"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("result")).unwrap(), "made\n");
}

#[test]
fn any_directory_can_be_a_root_file_system() {
    for user in User::all() {
        let home = Home::new(&user);
        let root = home.mkdir("rootfs");
        let layer = bryo_tests::layout::busybox_layer();
        let tar = home.write("w/rootfs.tar", layer).display().to_string();
        home.tool("tar", &["-C", root.to_str().unwrap(), "-xf", &tar]).ok();
        // Whoever runs in it must be able to pass: the directory is somebody else's to the container.
        std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let image = format!("rootfs:{}", root.display());
        assert_eq!(home.run(&[&image, "/bin/busybox", "echo", "here"]).ok(), "here", "{}", user.name);
        assert_ne!(home.run(&[&image, "/bin/busybox", "touch", "/x"]).status.code(), Some(0));
        assert!(!root.join("x").exists());
    }
}
