// SPDX-License-Identifier: Apache-2.0
//! The default confinement, part by part: a probe inside tries the forbidden thing and reports the errno; beside each
//! claim a control with that protection off, in which the same try comes through.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{BUSYBOX, DEBIAN};
use bryo_tests::user::Rung;
use bryo_tests::{Home, Report, User};

const REFUSED: &[&str] = &["EPERM", "EACCES", "ENOSYS", "EROFS"];
const UNSEEN: &[&str] = &["ENOENT", "EACCES", "EPERM", "ENODATA", "EROFS"];

#[test]
fn the_file_system_cannot_be_changed() {
    for user in User::all() {
        let home = Home::shared(&user);
        let report = Report::inside(&home, &[]);
        report.refused(&["write-root", "write-etc", "write-usr", "write-passwd"], &["EROFS", "EACCES"]);
        report.refused(&["write-dev"], &["EROFS", "EACCES"]);
        report.allowed(&["write-tmp", "write-shm"]);
        let control = Report::inside(&home, &["--writable", "--user", "root"]);
        control.allowed(&["write-root", "write-etc", "write-usr", "write-passwd"]);
    }
}

#[test]
fn neither_the_callers_files_nor_the_images_secrets_can_be_read() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let canary = home.write(&format!("w/canary-{}", mark()), "the caller's").display().to_string();
    let path = home.path.display().to_string();
    let words = [&format!("PROBE_CANARY={canary}"), &format!("PROBE_HOME={path}")];
    let report = Report::inside(&home, &["-e", words[0], "-e", words[1]]);
    report.refused(&["read-shadow", "read-root-home"], &["EACCES"]);
    report.refused(&["read-caller-home", "open-canary"], &["ENOENT"]);
    // The home read-only: writing in it would be writing in the store, which is refused.
    let shares = [format!("{path}:{path}:me,ro"), format!("{path}/w:{path}/w:me")];
    let control = Report::inside(&home, &["-e", words[0], "-e", words[1], "-v", &shares[0], "-v", &shares[1]]);
    control.allowed(&["read-caller-home", "open-canary"]);
    let control = Report::inside(&home, &["--user", "root"]);
    control.allowed(&["read-shadow", "read-root-home"]);
}

#[test]
fn proc_and_sys_are_masked_or_read_only() {
    for user in User::all() {
        let home = Home::shared(&user);
        // Root inside is asked as well: he owns more of /proc than anybody.
        for words in [&[][..], &["--user", "root"]] {
            let report = Report::inside(&home, words);
            let write = ["proc-sys-core-pattern", "proc-sys-hostname", "proc-sys-ip-forward"];
            report.refused(&write, &["EROFS", "EACCES"]);
            // A kernel may be built without it; then it is nowhere to be found.
            let sysrq = std::path::Path::new("/proc/sysrq-trigger").exists();
            report.refused(&["proc-sysrq"], if sysrq { &["EROFS", "EACCES"] } else { &["ENOENT"] });
            report.refused(&["proc-kcore", "proc-keys", "proc-timer-list", "sys-firmware"], UNSEEN);
            report.refused(&["sys-write", "sys-uevent", "cgroup-write", "cgroup-make"], UNSEEN);
            report.refused(&["dev-kmsg", "dev-mem"], &["ENOENT"]);
        }
    }
}

#[test]
fn nobody_becomes_somebody_else() {
    for user in User::all() {
        let home = Home::shared(&user);
        let report = Report::inside(&home, &[]);
        // On a single id there is nobody else to become, and the kernel says so in its own word.
        let words: &[&str] = &["EPERM", "EINVAL"];
        report.refused(&["setuid-0", "setresuid-other", "setgid-0", "setgroups"], words);
        report.refused(&["setuid-file"], &["EPERM"]);
        report.refused(&["file-capability", "lower-nice", "raise-rlimit"], &["EPERM", "EACCES"]);
        if user.rung == Rung::Subordinate {
            let control = Report::inside(&home, &["--user", "root"]);
            control.allowed(&["setuid-0", "setgid-0"]);
            // With the one word that allows it, the set-user-id file does its work.
            let control = Report::inside(&home, &["--security-opt", "no-new-privileges=false"]);
            assert_eq!(control.of("NoNewPrivs"), "0");
        }
    }
}

#[test]
fn no_capability_is_in_any_set() {
    for user in User::all() {
        let home = Home::shared(&user);
        let report = Report::inside(&home, &[]);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(report.of(set), "0000000000000000", "{set} for {}", user.name);
        }
        assert_eq!(report.of("NoNewPrivs"), "1");
        assert_eq!(report.of("Seccomp"), "2");
        assert_eq!(report.of("leaked-fds"), "none");
    }
}

#[test]
fn the_host_sees_the_same_of_the_process() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mark = mark();
        let _run = home.start(&["run", "--rm", "--network", "none", BUSYBOX, "sleep", &mark]);
        let payload = Process::with_args(&["sleep", &mark]);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(payload.status(set), "0000000000000000", "{set}");
        }
        assert_eq!((payload.status("NoNewPrivs").as_str(), payload.status("Seccomp").as_str()), ("1", "2"));
        for (fd, what) in payload.descriptors() {
            assert!(fd <= 2, "descriptor {fd} is open: {what}");
        }
    }
}

#[test]
fn root_inside_has_few_capabilities_and_none_of_the_strong_ones() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let report = Report::inside(&home, &["--user", "root"]);
    let set = |name: &str| u64::from_str_radix(report.of(name), 16).unwrap();
    // Source: linux/capability.h. SETPCAP, LINUX_IMMUTABLE, NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE,
    // SYS_ADMIN, SYS_BOOT, SYS_TIME, MKNOD, MAC_ADMIN, SYSLOG, PERFMON, BPF, CHECKPOINT_RESTORE.
    for strong in [9, 12, 13, 16, 17, 19, 21, 22, 25, 27, 33, 34, 38, 39, 40] {
        assert_eq!(set("CapBnd") >> strong & 1, 0, "capability {strong} is in the bounding set");
    }
    assert_eq!(set("CapInh"), 0);
    assert_eq!(set("CapAmb"), 0);
    assert_eq!(set("CapEff"), set("CapBnd"));
    assert_eq!(report.of("NoNewPrivs"), "1");
}

#[test]
fn capabilities_are_added_and_dropped_by_name() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let bounding = |words: &[&str]| {
        u64::from_str_radix(Report::inside(&home, &[&["--user", "root"], words].concat()).of("CapBnd"), 16).unwrap()
    };
    assert_eq!(bounding(&["--cap-drop", "ALL"]), 0);
    assert_eq!(bounding(&["--cap-drop", "all", "--cap-add", "CHOWN"]), 1);
    assert_eq!(bounding(&["--cap-add", "CAP_NET_RAW"]) >> 13 & 1, 1);
    home.run(&["--cap-add", "FLY", BUSYBOX, "true"]).fails(125, &["FLY"]);
    let control = Report::inside(&home, &["--user", "root", "--cap-add", "NET_RAW"]);
    control.allowed(&["raw-socket"]);
    Report::inside(&home, &["--user", "root"]).refused(&["raw-socket"], REFUSED);
    // One without effect in a user namespace says that it has none.
    let told = home.run(&["--user", "root", "--cap-add", "SYS_TIME", BUSYBOX, "true"]);
    assert!(told.stderr.to_lowercase().contains("sys_time"), "{told}");
}

#[test]
fn nothing_can_be_mounted_and_no_namespace_made() {
    const MOUNT: [&str; 9] = [
        "mount-tmpfs",
        "mount-bind",
        "mount-proc",
        "remount-root",
        "umount-proc",
        "umount-mask",
        "fsopen",
        "open-tree",
        "move-mount",
    ];
    const SPACES: [&str; 14] = [
        "chroot",
        "pivot-root",
        "unshare-user",
        "unshare-mount",
        "unshare-pid",
        "unshare-net",
        "unshare-ipc",
        "unshare-uts",
        "unshare-cgroup",
        "unshare-time",
        "clone-user",
        "clone3-user",
        "setns-mount",
        "setns-net",
    ];
    for user in User::all() {
        let home = Home::shared(&user);
        for words in [&[][..], &["--user", "root"]] {
            let report = Report::inside(&home, words);
            report.refused(&MOUNT, REFUSED);
            let spaces: Vec<&str> = SPACES.into_iter().filter(|n| words.is_empty() || *n != "chroot").collect();
            report.refused(&spaces, REFUSED);
            report.refused(&["sethostname"], REFUSED);
        }
        // With the filter off and the capability given, root inside mounts in his own namespace: it was these two.
        if user.rung == Rung::Subordinate {
            let words = ["--user", "root", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
            let control = Report::inside(&home, &[&words[..], &["--security-opt", "landlock=off"]].concat());
            control.allowed(&["mount-tmpfs", "unshare-mount", "unshare-user"]);
        }
        assert_eq!(Report::outside_if_ordinary(&home).as_ref().map_or("ok", |r| r.of("unshare-user")), "ok");
    }
}

#[test]
fn new_user_namespaces_are_denied_unless_asked_for() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    Report::inside(&home, &[]).refused(&["unshare-user", "clone-user", "clone3-user"], REFUSED);
    let control = Report::inside(&home, &["--security-opt", "seccomp=unconfined"]);
    control.allowed(&["clone-user", "clone3-user"]);
}

#[test]
fn the_hosts_processes_are_out_of_reach() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let mark = mark();
    let mut command = user.command(&home.path, "sleep");
    command.arg(&mark);
    let _sleeper = bryo_tests::Running::start(command, false);
    let outside = Process::with_args(&["sleep", &mark]);
    let word = format!("PROBE_HOST_PID={}", outside.0);
    let report = Report::inside(&home, &["-e", &word]);
    report.refused(&["ptrace-host", "signal-host"], &["ESRCH", "EPERM"]);
    report.refused(&["setns-user"], &["EPERM", "EINVAL", "EACCES"]);
    let mut command = user.command(&home.path, "env");
    command.arg(&word).arg(bryo_tests::images::probe_program());
    let control = Report::read(&bryo_tests::Running::start(command, false).wait());
    control.allowed(&["signal-host", "ptrace-host"]);
    assert!(outside.lives());
}

#[test]
fn the_kernels_far_corners_are_refused() {
    const CORNERS: [&str; 24] = [
        "init-module",
        "finit-module",
        "delete-module",
        "kexec",
        "reboot",
        "swapon",
        "acct",
        "clock-settime",
        "packet-socket",
        "raw-socket",
        "add-key",
        "request-key",
        "keyctl",
        "bpf-map",
        "bpf",
        "perf-event",
        "userfaultfd",
        "io-uring",
        "open-by-handle",
        "syslog",
        "quotactl",
        "tiocsti",
        "tiocsti-high-bits",
        "tioclinux",
    ];
    for user in User::all() {
        let home = Home::shared(&user);
        for words in [&[][..], &["--user", "root"]] {
            let report = Report::inside(&home, words);
            report.refused(&CORNERS, &["EPERM", "ENOSYS"]);
            report.refused(&["alg-socket", "vsock-socket"], &["EPERM", "EACCES", "EAFNOSUPPORT"]);
            report.refused(&["mknod-block", "mknod-char"], REFUSED);
            report.allowed(&["plain-socket"]);
        }
        let control = Report::inside(&home, &["--security-opt", "seccomp=unconfined"]);
        assert_eq!(control.of("Seccomp"), "0");
        for name in ["add-key", "keyctl", "io-uring", "userfaultfd", "tiocsti", "tiocsti-high-bits", "bpf"] {
            assert!(control.came_through(name) || Report::outside_refuses(&home, name), "{name} {}", control.of(name));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_system_call_tables_are_closed() {
    for user in User::all() {
        let home = Home::shared(&user);
        let report = Report::inside(&home, &[]);
        report.refused(&["i386-unshare", "x32-getpid", "x32-ptrace", "modify-ldt", "iopl"], &["EPERM", "ENOSYS"]);
        report.refused(&["i386-getpid"], &["EPERM", "ENOSYS", "ok", "killed-SEGV"]);
        let control = Report::inside(&home, &["--security-opt", "seccomp=unconfined"]);
        assert!(["ok", "killed-SEGV"].contains(&control.of("i386-getpid")), "{}", control.of("i386-getpid"));
    }
}

#[test]
fn a_process_debugs_its_own_children_and_nobody_else() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let report = Report::inside(&home, &["--init"]);
    report.refused(&["read-init-memory", "read-init-environ"], REFUSED);
}

#[test]
fn neither_the_payload_nor_the_init_can_rewrite_bryo() {
    let before = bryo_tests::listing::digest(bryo_tests::dirs::bryo());
    for user in User::all() {
        let home = Home::shared(&user);
        for words in [&[][..], &["--user", "root"], &["--init", "--user", "root"]] {
            Report::inside(&home, words)
                .refused(&["exe-write", "init-exe-write"], &["EACCES", "EROFS", "ETXTBSY", "EPERM"]);
        }
    }
    assert_eq!(bryo_tests::listing::digest(bryo_tests::dirs::bryo()), before);
}

#[test]
fn packages_cannot_be_installed() {
    let Some(user) = User::with_range() else { return };
    if bryo_tests::images::debian().is_none() {
        return;
    }
    let home = Home::shared(&user);
    assert_ne!(home.run(&[DEBIAN, "apt-get", "update"]).status.code(), Some(0));
    assert_ne!(home.run(&[DEBIAN, "apt-get", "install", "-y", "hello"]).status.code(), Some(0));
    let purge = ["dpkg", "--force-all", "--purge", "tzdata"];
    assert_ne!(home.run(&[&[DEBIAN], &purge[..]].concat()).status.code(), Some(0));
    assert_ne!(home.run(&[&["--user", "root", DEBIAN], &purge[..]].concat()).status.code(), Some(0));
    // With a writable root and root inside the same package goes.
    home.run(&[&["--writable", "--user", "root", DEBIAN], &purge[..]].concat()).ok();
}

#[test]
fn a_requested_control_that_cannot_be_had_is_an_error() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.run(&["--security-opt", "apparmor=some-profile", BUSYBOX, "true"]).fails(125, &["apparmor"]);
    home.run(&["--security-opt", "seccomp=/no/such/file", BUSYBOX, "true"]).fails(125, &["/no/such/file"]);
    home.run(&["--security-opt", "nonsense=1", BUSYBOX, "true"]).fails(125, &["nonsense"]);
}

#[test]
fn the_session_is_the_containers_own() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let report = Report::inside(&home, &[]);
    assert_eq!((report.of("pid"), report.of("sid")), ("1", "1"));
}
