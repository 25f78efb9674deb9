// SPDX-License-Identifier: Apache-2.0
//! A container as the main process of a unit, below a systemd that is process 1.

use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::{Machine, User};

/// Writes a unit and makes systemd read it.
fn unit(machine: &Machine, name: &str, lines: &str) {
    machine.write(&format!("/etc/systemd/system/{name}"), &format!("[Service]\n{lines}\n"));
    machine.systemctl(&["daemon-reload"]);
}

/// The lines of a unit that runs a container as a user.
fn service(user: &User, flags: &str, command: &str) -> String {
    format!(
        "Type=notify\nUser={}\nDelegate=yes\nKillMode=mixed\n\
         ExecStartPre=/opt/bryo load -q -i /opt/busybox.tar\n\
         ExecStart=/opt/bryo run --rm --name web --replace --network none {flags} {BUSYBOX} {command}\n",
        user.name
    )
}

/// What bryo still has of containers of a user.
fn left(machine: &Machine, user: &User) -> String {
    let home = user.login_home.display();
    let store = machine.path(&format!("{home}/.local/share/bryo"));
    let names = |dir: &str| std::fs::read_dir(store.join(dir)).into_iter().flatten().flatten().map(|e| e.path());
    names("containers").chain(names("names")).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_service_is_active_when_its_payload_runs_and_ends_as_it_does() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    let payload = r#"sh -c 'echo up; trap "echo bye; exit 3" TERM; while :; do sleep 0.1; done'"#;
    unit(&machine, "web.service", &service(&user, "", payload));
    machine.systemctl(&["start", "web"]);
    assert_eq!(machine.property("web", "ActiveState"), "active");
    let status = machine.property("web", "StatusText");
    assert!(status.starts_with("container web runs as nonroot, uid ") && status.ends_with(" on the host"), "{status}");
    let main = machine.property("web", "MainPID");
    let name = std::fs::read_to_string(machine.path(&format!("/proc/{main}/comm"))).unwrap();
    assert_eq!(name.trim(), "bryo");
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.property("web", "ExecMainStatus"), "3");
    assert!(machine.journal("web").contains("bye"));
    assert_eq!(left(&machine, &user), "");
}

#[test]
fn a_service_is_not_active_before_its_payload_runs() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    unit(&machine, "web.service", &service(&user, "", "no-such-program"));
    let started = machine.run(&["systemctl", "start", "web"]);
    assert!(!started.status.success(), "{started}");
    assert_eq!(machine.property("web", "ExecMainStatus"), "127");
    assert_eq!(machine.property("web", "Result"), "exit-code");
    assert_eq!(left(&machine, &user), "");
}

#[test]
fn a_payload_speaks_for_itself_where_that_is_asked() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    // busybox has no datagrams to give; the program of this machine that has some is borrowed.
    let say = "systemd-notify --pid=parent READY=1 STATUS=mine MAINPID=1";
    let payload = format!("sh -c 'test -S $$NOTIFY_SOCKET && sleep 1 && {say}; sleep 600'");
    let lines = service(&user, "--init --sdnotify=container", &payload).replace(BUSYBOX, "host:");
    unit(&machine, "web.service", &lines);
    machine.systemctl(&["start", "--no-block", "web"]);
    machine.until("web", "SubState", "start");
    eventually("the payload runs", || machine.property("web", "StatusText").contains("runs as").then_some(()));
    assert_eq!(machine.property("web", "ActiveState"), "activating");
    machine.until("web", "ActiveState", "active");
    assert_eq!(machine.property("web", "StatusText"), "mine");
    assert_ne!(machine.property("web", "MainPID"), "1");
    machine.systemctl(&["stop", "web"]);
}

#[test]
fn nobody_inside_sees_the_managers_socket() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    let payload = "sh -c 'env | grep NOTIFY; find /run -type s; echo nothing; sleep 600'";
    for mode in ["", "--sdnotify=conmon"] {
        unit(&machine, "web.service", &service(&user, &format!("--init {mode}"), payload));
        machine.systemctl(&["restart", "web"]);
        eventually("it has spoken", || machine.journal("web").contains("nothing").then_some(()));
        assert!(!machine.journal("web").to_lowercase().contains("notify"), "{}", machine.journal("web"));
    }
    let lines = service(&user, "--init --sdnotify=ignore", payload).replace("Type=notify", "Type=exec");
    unit(&machine, "web.service", &lines);
    machine.systemctl(&["restart", "web"]);
    assert_eq!(machine.property("web", "StatusText"), "");
}

#[test]
fn a_failure_starts_it_again_and_leaves_nothing() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    let lines = service(&user, "", "sh -c 'sleep 0.2; exit 4'") + "Restart=on-failure\nRestartSec=100ms\n";
    unit(&machine, "web.service", &lines);
    machine.systemctl(&["start", "web"]);
    eventually("it was started again", || (machine.property("web", "NRestarts") == "3").then_some(()));
    machine.systemctl(&["stop", "web"]);
    assert_eq!(left(&machine, &user), "");
    // Killed without a chance to clean up, it is replaced.
    unit(&machine, "web.service", &(service(&user, "--init", "sleep 600") + "Restart=on-failure\nRestartSec=100ms\n"));
    machine.systemctl(&["start", "web"]);
    let first = machine.property("web", "MainPID");
    machine.systemctl(&["kill", "--signal=KILL", "--kill-whom=all", "web"]);
    machine.until("web", "ActiveState", "active");
    eventually("another runs", || (machine.property("web", "MainPID") != first).then_some(()));
    machine.until("web", "ActiveState", "active");
    machine.systemctl(&["stop", "web"]);
    machine.run_as(Some(&user), &["/opt/bryo", "rm", "-f", "web"]).ok();
    assert_eq!(left(&machine, &user), "");
}

#[test]
fn a_payload_that_ignores_the_signal_ends_with_its_time() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    // Process 1 of a container that has no handler.
    unit(&machine, "web.service", &(service(&user, "", "sleep 600") + "TimeoutStopSec=2\n"));
    machine.systemctl(&["start", "web"]);
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.property("web", "Result"), "timeout");
    assert_eq!(machine.property("web", "ExecMainStatus"), "9");
    let ps = machine.run(&["ps", "ax", "-o", "args"]).text();
    assert!(!ps.contains("sleep 600"), "{ps}");
    machine.systemctl(&["start", "web"]);
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.run_as(Some(&user), &["/opt/bryo", "ps", "-q"]).ok(), "");
}

#[test]
fn a_dynamic_user_keeps_its_containers_in_its_state_directory() {
    let Some(machine) = Machine::boot() else { return };
    let lines = format!(
        "Type=notify\nDynamicUser=yes\nStateDirectory=web\nDelegate=yes\nKillMode=mixed\n\
         ExecStartPre=/opt/bryo load -q -i /opt/busybox.tar\n\
         ExecStart=/opt/bryo run --rm --network none {BUSYBOX} sh -c 'id -un; trap \"exit 0\" TERM; while :; do sleep 0.1; done'\n"
    );
    unit(&machine, "web.service", &lines);
    machine.systemctl(&["start", "web"]);
    eventually("it has spoken", || machine.journal("web").contains("nonroot").then_some(()));
    assert!(machine.path("/var/lib/private/web/bryo/layers").is_dir());
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.property("web", "Result"), "success");
    // Without a place to keep anything, it says which line is missing.
    unit(&machine, "web.service", &lines.replace("StateDirectory=web\n", ""));
    assert!(!machine.run(&["systemctl", "start", "web"]).status.success());
    assert!(machine.journal("web").contains("StateDirectory="), "{}", machine.journal("web"));
}

#[test]
fn a_detached_container_hands_the_service_over_to_its_monitor() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    let payload = r#"sh -c 'trap "exit 5" TERM; while :; do sleep 0.1; done'"#;
    unit(&machine, "web.service", &service(&user, "-d", payload));
    machine.systemctl(&["start", "web"]);
    assert_eq!(machine.property("web", "ActiveState"), "active");
    machine.run_as(Some(&user), &["/opt/bryo", "exec", "web", "true"]).ok();
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.property("web", "ExecMainStatus"), "5");
    assert_eq!(left(&machine, &user), "");
    unit(&machine, "web.service", &service(&user, "-d --sdnotify=container", payload));
    assert!(!machine.run(&["systemctl", "start", "web"]).status.success());
    assert!(machine.journal("web").contains("in the foreground"), "{}", machine.journal("web"));
}

/// Below systemd every mount is shared, and what is mounted in one place would be seen in the other.
#[test]
fn nothing_is_mounted_on_the_host() {
    let (Some(machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    machine.home(&user);
    machine.systemctl(&["start", &format!("user@{}", user.uid)]);
    let mounts = || machine.run(&["cat", "/proc/1/mountinfo"]).ok();
    for user in [None, Some(&user)] {
        let bryo = |words: &[&str]| machine.run_as(user, &[&["/opt/bryo"], words].concat()).ok();
        bryo(&["load", "-q", "-i", "/opt/busybox.tar"]);
        let before = mounts();
        assert!(before.lines().any(|line| line.contains(" / rw,relatime shared:")), "{before}");
        bryo(&["run", "-d", "--name", "a", "--network", "none", "-v", "data:/data", BUSYBOX, "sleep", "600"]);
        assert_eq!(bryo(&["run", "--rm", "--network", "none", BUSYBOX, "echo", "b"]), "b");
        assert_eq!(mounts(), before);
        bryo(&["rm", "-f", "a"]);
        assert_eq!(mounts(), before);
    }
}
