// SPDX-License-Identifier: Apache-2.0
//! The network: private by default, none, or the host's.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use bryo_tests::device::{with_false_tun, with_tun};
use bryo_tests::host::{Process, mark};
use bryo_tests::images::BUSYBOX;
use bryo_tests::outside::{MACHINE, Outside, WORLD};
use bryo_tests::{Home, Running, User, skip};

/// Tells whether a private network can be had here, and skips the test when not.
pub fn pasta() -> bool {
    if !skip::have("pasta") {
        return false;
    }
    let usable = std::fs::metadata("/dev/net/tun")
        .is_ok_and(|m| std::os::unix::fs::PermissionsExt::mode(&m.permissions()) & 0o006 == 0o006);
    if !usable {
        skip::skip("/dev/net/tun cannot be opened by ordinary users");
    }
    usable
}

/// A server that says hello to whoever connects.
pub fn greeter(listener: TcpListener) -> u16 {
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _gone = client.write_all(b"hello from the host\n");
            // What is closed with something unread is reset, and the greeting with it.
            let _gone = client.shutdown(Shutdown::Write);
            let _limit = client.set_read_timeout(Some(Duration::from_secs(5)));
            let _gone = client.read_to_end(&mut Vec::new());
        }
    });
    port
}

/// The command that prints what a container gets from a server: `hello from the host`, or nothing.
pub fn fetching(home: &Home, network: &[&str], host: &str, port: u16) -> Command {
    let script = format!("echo | timeout 5 nc {host} {port}");
    home.command(&[&["run", "--rm"], network, &[BUSYBOX, "sh", "-c", &script]].concat())
}

fn fetch(home: &Home, network: &[&str], host: &str, port: u16) -> String {
    greeting(fetching(home, network, host, port))
}

/// Who was reached, and not how: a `pasta` of 2023 was seen to deliver the line twice.
pub fn greeting(command: Command) -> String {
    Running::start(command, false).wait().text().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn the_default_reaches_the_world_and_not_the_machines_loopback() {
    if !pasta() {
        return;
    }
    let Some(outside) = Outside::new() else { return };
    let world = greeter(outside.listen_in_the_world());
    let machine = greeter(outside.listen_on_the_machine("127.0.0.1"));
    for user in User::all() {
        let home = Home::shared(&user);
        let fetch = |network: &[&str], host, port| greeting(outside.command(&fetching(&home, network, host, port)));
        assert_eq!(fetch(&[], WORLD, world), "hello from the host", "{}", user.name);
        assert_eq!(fetch(&["--network", "private"], WORLD, world), "hello from the host", "{}", user.name);
        assert_eq!(fetch(&["--network", "none"], WORLD, world), "", "{}", user.name);
        for (host, port) in [("127.0.0.1", machine), (WORLD, machine), (MACHINE, machine)] {
            assert_eq!(fetch(&[], host, port), "", "{host} is the machine's loopback for {}", user.name);
        }
        assert_eq!(fetch(&["--network", "host"], "127.0.0.1", machine), "hello from the host");
    }
}

#[test]
fn the_hosts_loopback_cannot_be_reached() {
    let port = greeter(TcpListener::bind(("127.0.0.1", 0)).unwrap());
    for user in User::all() {
        let home = Home::shared(&user);
        let route = "ip route show default 2>/dev/null | awk '{print $3}'";
        let gateway = home.bryo(&["run", "--rm", BUSYBOX, "sh", "-c", route]).text();
        for target in ["127.0.0.1", "localhost", gateway.trim(), "169.254.1.1", "169.254.1.2", "10.0.2.2"] {
            if !target.is_empty() {
                assert_eq!(fetch(&home, &[], target, port), "", "{target} is the host's loopback for {}", user.name);
            }
        }
        // The control: on the host's network the same server is there.
        assert_eq!(fetch(&home, &["--network", "host"], "127.0.0.1", port), "hello from the host");
    }
}

/// What mends a `/dev/net/tun` that is closed to the ids of containers.
const OPEN: &str = "sudo chmod 666 /dev/net/tun";

/// Root could open such a device, and `pasta`, which does not run as root, could not.
#[test]
fn a_device_that_is_closed_to_nobody_leaves_the_loopback_and_says_what_mends_it() {
    if !pasta() {
        return;
    }
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let on = |mode: &str, words: &[&str]| {
            let command = with_tun(&home.command(words), mode)?;
            Some(Running::start(command, false).wait())
        };
        for mode in ["0600", "0660"] {
            let Some(output) = on(mode, &["run", "--rm", "host:", "sh", "-c", "ls /sys/class/net; exit 7"]) else {
                return;
            };
            assert_eq!(output.code(7), "lo", "{mode} for {}", user.name);
            assert_eq!(output.stderr.lines().count(), 1, "one line says so: {output}");
            assert!(output.stderr.contains("loopback") && output.stderr.contains(OPEN), "{output}");
            // Asked for by name, it is had or nothing runs.
            let asked = on(mode, &["run", "--rm", "--network", "private", "host:", "echo", "ran"]).unwrap();
            asked.fails(125, &["/dev/net/tun", OPEN]);
            assert_eq!(asked.text(), "");
            assert!(on(mode, &["doctor"]).unwrap().text().contains(&format!("try : {OPEN}\n")), "{mode}");
        }
        // The control: the same device, open to everybody.
        let open = on("0666", &["run", "--rm", "host:", "ls", "/sys/class/net"]).unwrap();
        assert!(open.ok().lines().count() > 1 && open.stderr.is_empty(), "{open}");
        assert!(!on("0666", &["doctor"]).unwrap().text().contains(OPEN));
    }
}

/// What cannot be seen beforehand: the device can be opened, and is not what it is called.
#[test]
fn a_pasta_that_fails_leaves_the_loopback_unless_its_network_was_asked_for() {
    if !pasta() {
        return;
    }
    for user in User::all_without_images() {
        let home = Home::new(&user);
        let on = |words: &[&str]| Some(Running::start(with_false_tun(&home.command(words))?, false).wait());
        let Some(output) = on(&["run", "--rm", "host:", "sh", "-c", "ls /sys/class/net; exit 7"]) else { return };
        assert_eq!(output.code(7), "lo", "{}", user.name);
        assert!(output.stderr.contains("loopback: pasta failed: "), "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        for asked in [&["--network", "private"][..], &["-p", "8080:80"]] {
            let output = on(&[&["run", "--rm"], asked, &["host:", "echo", "ran"]].concat()).unwrap();
            output.fails(125, &["pasta failed"]);
            assert_eq!(output.text(), "");
        }
    }
}

#[test]
fn names_are_resolved_as_on_the_host() {
    if !pasta() {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let config = home.bryo(&["run", "--rm", BUSYBOX, "cat", "/etc/resolv.conf"]).ok();
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = |text: &str| text.lines().filter(|l| l.starts_with("nameserver")).count();
    assert!(servers(&host) == 0 || servers(&config) > 0, "{config}");
    for line in config.lines().filter(|l| l.starts_with("nameserver")) {
        assert!(!line.contains("127.") && !line.contains("::1"), "the host's loopback is not there: {line}");
    }
    let known = home.tool("getent", &["hosts", "deb.debian.org"]);
    if known.status.code() != Some(0) {
        return skip::skip("the host itself resolves no names");
    }
    home.bryo(&["run", "--rm", BUSYBOX, "nslookup", "deb.debian.org"]).ok();
}

#[test]
fn low_ports_are_everybodys_inside() {
    for user in User::all() {
        let home = Home::shared(&user);
        for network in [&[][..], &["--network", "none"]] {
            // A slow machine takes its time until somebody listens, and until what was heard is written; who speaks may
            // see the end of who listens, which has nothing to say, before it has spoken.
            let script = "while :; do nc -l -p 80 >> /tmp/got; done & for n in $(seq 50); do grep -q . /tmp/got && break; \
                          echo through | timeout 2 nc 127.0.0.1 80; sleep 0.1; done; cat /tmp/got";
            let output = home.bryo(&[&["run", "--rm"], network, &[BUSYBOX, "sh", "-c", script]].concat());
            assert!(output.text().contains("through"), "{output}");
        }
    }
}

#[test]
fn none_is_the_loopback_and_nothing_else() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "ls /sys/class/net; cat /proc/net/route | tail -n +2; cat /proc/net/dev | grep -c :";
        assert_eq!(home.run(&[BUSYBOX, "sh", "-c", script]).ok(), "lo\n1", "{}", user.name);
        assert!(home.run(&[BUSYBOX, "ip", "addr", "show", "lo"]).ok().contains("LOOPBACK,UP"));
    }
}

#[test]
fn host_is_the_hosts_own_network() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mark = mark();
        let _run = home.start(&["run", "--rm", "--network", "host", BUSYBOX, "sleep", &mark]);
        let payload = Process::with_args(&["sleep", &mark]);
        assert_eq!(payload.namespace("net"), Process(std::process::id()).namespace("net"));
        assert_ne!(payload.namespace("user"), Process(std::process::id()).namespace("user"));
    }
}

/// CVE-2020-15257: nothing of the engine listens where a container on the host's network could call.
#[test]
fn the_engine_has_no_socket_that_can_be_called() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let sockets = home.bryo(&["run", "--rm", "--network", "host", BUSYBOX, "cat", "/proc/net/unix"]).ok();
    assert!(!sockets.to_lowercase().contains("bryo"), "{sockets}");
}

#[test]
fn an_unknown_network_is_an_error() {
    let Some(user) = User::ordinary() else { return };
    Home::shared(&user).bryo(&["run", "--network", "moon", BUSYBOX, "true"]).fails(125, &["moon"]);
}

#[test]
fn the_network_helper_ends_with_the_container() {
    if !pasta() {
        return;
    }
    for user in User::all() {
        let home = Home::alone(&user);
        home.load(&bryo_tests::images::busybox());
        home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
        let before = bryo_tests::listing::Snapshot::take(&home);
        home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
        before.assert_nothing_left(&home);
        let mark = mark();
        let run = home.start(&["run", "--rm", BUSYBOX, "sleep", &mark]);
        Process::with_args(&["sleep", &mark]);
        let now = bryo_tests::listing::Snapshot::take(&home);
        assert!(now.processes.difference(&before.processes).any(|p| p.is_pasta()), "no pasta to look for");
        run.signal(rustix::process::Signal::KILL);
        drop(run);
        bryo_tests::program::eventually("pasta is gone after kill -9", || {
            let now = bryo_tests::listing::Snapshot::take(&home);
            (!now.processes.difference(&before.processes).any(|p| p.is_pasta())).then_some(())
        });
    }
}

#[test]
fn the_network_does_not_hold_the_payload_up_for_long() {
    if !pasta() {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
    let start = Instant::now();
    home.bryo(&["run", "--rm", BUSYBOX, "true"]).ok();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_connection_moves_bytes_both_ways_intact() {
    if !pasta() {
        return;
    }
    let (Some(user), Some(outside)) = (User::ordinary(), Outside::new()) else { return };
    let home = Home::shared(&user);
    let listener = outside.listen_in_the_world();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all
    });
    let script = format!("dd if=/dev/zero bs=1M count=16 2>/dev/null | tr '\\0' 'b' | nc {WORLD} {port}");
    let command = home.command(&["run", "--rm", BUSYBOX, "sh", "-c", &script]);
    Running::start(outside.command(&command), false).wait();
    let all = server.join().unwrap();
    assert_eq!(all.len(), 16 << 20);
    assert!(all.iter().all(|b| *b == b'b'));
}
