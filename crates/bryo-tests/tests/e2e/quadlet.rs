// SPDX-License-Identifier: Apache-2.0
//! Quadlet files below a real systemd: from the file to the service that runs, and what becomes of containers at a boot.

use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::{Machine, User};

/// A machine that knows Quadlet files, with the image of the tests in root's store.
fn machine() -> Option<Machine> {
    let machine = Machine::boot()?;
    machine.run(&["/opt/bryo", "load", "-q", "-i", "/opt/busybox.tar"]).ok();
    machine.run(&["/opt/bryo", "systemd", "install"]).ok();
    Some(machine)
}

/// Writes a Quadlet file of the machine.
fn write(machine: &Machine, name: &str, text: &str) {
    machine.write(&format!("/etc/containers/systemd/{name}"), text);
}

const SERVER: &str = r#"sh -c 'echo up; trap "echo bye; exit 0" TERM; while :; do sleep 0.1; done'"#;

#[test]
fn a_container_file_becomes_a_service() {
    let Some(machine) = machine() else { return };
    write(&machine, "web.container", &format!("[Container]\nImage={BUSYBOX}\nExec={SERVER}\nNetwork=none\n"));
    write(&machine, "web.container.d/restart.conf", "[Service]\nRestart=on-failure\nRestartSec=100ms\n");
    machine.systemctl(&["daemon-reload"]);
    assert_eq!(machine.property("web", "ActiveState"), "inactive");
    machine.systemctl(&["start", "web"]);
    assert_eq!(machine.property("web", "ActiveState"), "active");
    assert_eq!(machine.property("web", "Type"), "notify");
    assert!(machine.property("web", "StatusText").starts_with("container systemd-web runs as nonroot, uid "));
    eventually("it has spoken", || machine.journal("web").contains("up").then_some(()));
    assert_eq!(machine.run(&["/opt/bryo", "ps", "--format", "{{.Names}}"]).ok(), "systemd-web");
    // One that fails is started again, and its name is free.
    let first = machine.property("web", "MainPID");
    machine.run(&["/opt/bryo", "kill", "systemd-web"]).ok();
    eventually("another runs", || (!["0", &first].contains(&&*machine.property("web", "MainPID"))).then_some(()));
    machine.until("web", "ActiveState", "active");
    machine.systemctl(&["stop", "web"]);
    assert_eq!(machine.property("web", "Result"), "success");
    assert!(machine.journal("web").contains("bye"));
    assert_eq!(machine.run(&["/opt/bryo", "ps", "-a", "-q"]).ok(), "");
}

#[test]
fn a_service_stops_in_its_own_way_and_time() {
    let Some(machine) = machine() else { return };
    let slow = "sh -c 'trap \"echo interrupted; exit 0\" INT; trap \"\" TERM; while :; do sleep 0.1; done'";
    let file = |more: &str| format!("[Container]\nImage={BUSYBOX}\nExec={slow}\nNetwork=none\n{more}");
    write(&machine, "web.container", &file("StopSignal=SIGINT\n"));
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "web"]);
    machine.systemctl(&["stop", "web"]);
    assert!(machine.journal("web").contains("interrupted"), "{}", machine.journal("web"));
    assert_eq!(machine.property("web", "Result"), "success");
    // One that does not listen is killed, long before systemd would lose patience.
    write(&machine, "web.container", &file("StopTimeout=1\n"));
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "web"]);
    let began = std::time::Instant::now();
    machine.systemctl(&["stop", "web"]);
    assert!((1..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(machine.property("web", "ExecMainStatus"), "137");
    assert_eq!(machine.run(&["/opt/bryo", "ps", "-a", "-q"]).ok(), "");
}

#[test]
fn a_task_has_its_exit_code_and_a_service_may_speak_for_itself() {
    let Some(machine) = machine() else { return };
    let task = |code: u8| {
        format!("[Container]\nImage={BUSYBOX}\nExec=sh -c 'exit {code}'\nNetwork=none\n[Service]\nType=oneshot\n")
    };
    write(&machine, "good.container", &task(0));
    write(&machine, "bad.container", &task(7));
    let say = "sh -c 'sleep 1; systemd-notify --pid=parent --ready --status=mine; sleep 600'";
    write(
        &machine,
        "own.container",
        &format!("[Container]\nImage=host:\nExec={say}\nNotify=true\nRunInit=yes\nNetwork=none\n"),
    );
    let healthy = format!("Image={BUSYBOX}\nExec=sh -c 'sleep 2; touch /tmp/up; sleep 600'\nRunInit=yes\nNetwork=none");
    let check = "HealthCmd=test -e /tmp/up\nHealthInterval=200ms\nNotify=healthy";
    write(&machine, "checked.container", &format!("[Container]\n{healthy}\n{check}\n"));
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "good"]);
    assert!(!machine.run(&["systemctl", "start", "bad"]).status.success());
    assert_eq!(machine.property("bad", "ExecMainStatus"), "7");
    machine.systemctl(&["start", "own"]);
    assert_eq!(machine.property("own", "StatusText"), "mine");
    let began = std::time::Instant::now();
    machine.systemctl(&["start", "checked"]);
    assert!(began.elapsed().as_secs_f64() > 1.5, "{:?}", began.elapsed());
    let health = machine.run(&["/opt/bryo", "inspect", "--format", "{{.State.Health.Status}}", "systemd-checked"]).ok();
    assert_eq!(health, "healthy");
    machine.systemctl(&["stop", "own", "checked"]);
    assert_eq!(machine.run(&["/opt/bryo", "ps", "-a", "-q"]).ok(), "");
}

#[test]
fn volumes_and_networks_are_made_before_those_that_need_them() {
    let Some(machine) = machine() else { return };
    write(&machine, "data.volume", "[Volume]\n");
    write(&machine, "back.network", "[Network]\nSubnet=10.99.7.0/24\nInternal=true\n");
    let db = format!("[Container]\nImage={BUSYBOX}\nContainerName=db\nExec={SERVER}\nNetwork=back.network\n");
    write(&machine, "db.container", &db);
    let web = "sh -c 'nslookup db && echo found >>/data/log; sleep 600'";
    let web = format!(
        "[Container]\nImage={BUSYBOX}\nExec={web}\nRunInit=yes\nVolume=data.volume:/data\nNetwork=back.network\n"
    );
    write(&machine, "web.container", &format!("[Unit]\nRequires=db.container\nAfter=db.container\n{web}"));
    machine.systemctl(&["daemon-reload"]);
    for _ in 0..2 {
        machine.systemctl(&["start", "web"]);
        for needed in ["db", "data-volume", "back-network"] {
            assert_eq!(machine.property(needed, "ActiveState"), "active", "{needed}");
        }
        let log = ["/opt/bryo", "exec", "systemd-web", "cat", "/data/log"];
        eventually("the other was found", || machine.run(&log).text().contains("found").then_some(()));
        machine.systemctl(&["stop", "web", "db", "data-volume", "back-network"]);
    }
    let kept =
        ["/opt/bryo", "run", "--rm", "--network", "none", "-v", "systemd-data:/data", BUSYBOX, "cat", "/data/log"];
    assert_eq!(machine.run(&kept).ok(), "found\nfound");
}

#[test]
fn a_file_with_a_mistake_makes_no_unit_and_says_why() {
    let Some(machine) = machine() else { return };
    write(&machine, "good.container", &format!("[Container]\nImage={BUSYBOX}\nExec={SERVER}\nNetwork=none\n"));
    write(&machine, "bad.container", &format!("[Container]\nImage={BUSYBOX}\nMemroy=1g\n"));
    machine.systemctl(&["daemon-reload"]);
    machine.systemctl(&["start", "good"]);
    let started = machine.run(&["systemctl", "start", "bad"]);
    assert!(!started.status.success());
    let log = machine.run(&["cat", "/dev/kmsg"]).ok();
    assert!(log.contains("/etc/containers/systemd/bad.container:3: Memroy=1g: there is no such key"), "{log}");
}

#[test]
fn what_is_made_is_what_systemd_takes_for_good() {
    let Some(machine) = machine() else { return };
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../bryo/tests/quadlet/good");
    for entry in std::fs::read_dir(&corpus).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let name = entry.file_name().into_string().unwrap();
        write(&machine, &name, &std::fs::read_to_string(entry.path()).unwrap());
    }
    let dir = "/tmp/made";
    machine.run(&["/opt/bryo", "quadlet", "--system", dir]).ok();
    let names = std::fs::read_dir(machine.path(dir)).unwrap().flatten().filter(|entry| entry.path().is_file());
    let names: Vec<String> = names.map(|e| format!("{dir}/{}", e.file_name().to_str().unwrap())).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let verified = machine.run(&["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", &name]);
        assert!(verified.status.success() && !verified.stderr.contains(dir), "{verified}");
    }
}

#[test]
fn a_user_has_services_of_its_own() {
    let (Some(machine), Some(user)) = (machine(), User::with_range()) else { return };
    let home = machine.home(&user);
    machine.systemctl(&["start", &format!("user@{}", user.uid)]);
    let as_user = |words: &[&str]| machine.run_as(Some(&user), words);
    as_user(&["/opt/bryo", "load", "-q", "-i", "/opt/busybox.tar"]).ok();
    let file =
        format!("[Container]\nImage={BUSYBOX}\nExec={SERVER}\nNetwork=none\n[Install]\nWantedBy=default.target\n");
    let dir = format!("{home}/.config/containers/systemd");
    as_user(&["mkdir", "-p", &dir]).ok();
    machine.write(&format!("{dir}/web.container"), &file);
    as_user(&["systemctl", "--user", "daemon-reload"]).ok();
    as_user(&["systemctl", "--user", "start", "default.target"]).ok();
    eventually("it is wanted, and runs", || {
        let state = as_user(&["systemctl", "--user", "is-active", "web"]).text();
        (state == "active").then_some(())
    });
    let host = as_user(&["/opt/bryo", "inspect", "--format", "{{.Identity.HostUid}}", "systemd-web"]).ok();
    assert!(user.may_own(host.parse().unwrap()), "{host}");
    as_user(&["systemctl", "--user", "stop", "web"]).ok();
    assert_eq!(as_user(&["/opt/bryo", "ps", "-a", "-q"]).ok(), "");
}

#[test]
fn services_of_the_machine_may_have_users() {
    let (Some(machine), Some(user)) = (machine(), User::with_range()) else { return };
    let load = "ExecStartPre=/opt/bryo load -q -i /opt/busybox.tar";
    let file = |service: &str| {
        format!("[Container]\nImage={BUSYBOX}\nExec={SERVER}\nNetwork=none\n[Service]\n{load}\n{service}\n")
    };
    machine.home(&user);
    write(&machine, "own.container", &file(&format!("User={}", user.name)));
    write(&machine, "dyn.container", &file("DynamicUser=yes"));
    machine.systemctl(&["daemon-reload"]);
    for name in ["own", "dyn"] {
        machine.systemctl(&["start", name]);
        assert_eq!(machine.property(name, "ActiveState"), "active");
        machine.systemctl(&["stop", name]);
        assert_eq!(machine.property(name, "Result"), "success", "{}", machine.journal(name));
    }
    assert!(machine.path("/var/lib/private/dyn/bryo").is_dir());
}

#[test]
fn containers_come_back_after_a_boot_unless_they_were_stopped() {
    let (Some(mut machine), Some(user)) = (Machine::boot(), User::with_range()) else { return };
    let home = machine.home(&user);
    machine.run(&["/opt/bryo", "systemd", "install"]).ok();
    machine.run(&["loginctl", "enable-linger", &user.name]).ok();
    machine.until(&format!("user@{}", user.uid), "ActiveState", "active");
    let said = machine.run_as(Some(&user), &["/opt/bryo", "systemd", "install"]).ok();
    let unit = format!("{home}/.config/systemd/user/bryo-restart.service");
    assert!(said.contains(&unit) && machine.path(&unit).exists() && !said.contains("linger"), "{said}");
    for user in [None, Some(&user)] {
        let bryo = |words: &[&str]| machine.run_as(user, &[&["/opt/bryo"], words].concat()).ok();
        bryo(&["load", "-q", "-i", "/opt/busybox.tar"]);
        for (name, policy) in
            [("a", "always"), ("u", "unless-stopped"), ("s", "unless-stopped"), ("t", "always"), ("n", "no")]
        {
            let sleep = ["--network", "none", "--init", BUSYBOX, "sleep", "600"];
            bryo(&[&["run", "-d", "--name", name, "--restart", policy], &sleep[..]].concat());
        }
        bryo(&["create", "--name", "c", "--restart", "always", BUSYBOX, "true"]);
        bryo(&["stop", "s", "t"]);
    }
    machine.reboot();
    for user in [None, Some(&user)] {
        let ps = || machine.run_as(user, &["/opt/bryo", "ps", "--format", "{{.Names}}"]).text();
        eventually("they are back", || (ps().lines().count() == 3).then_some(()));
        let mut names: Vec<String> = ps().lines().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names, ["a", "t", "u"]);
        machine.run_as(user, &["/opt/bryo", "exec", "a", "true"]).ok();
    }
    machine.run_as(Some(&user), &["/opt/bryo", "systemd", "uninstall"]).ok();
    assert!(!machine.path(&unit).exists());
}
