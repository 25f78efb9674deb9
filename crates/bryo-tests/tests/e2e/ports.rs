// SPDX-License-Identifier: Apache-2.0
//! Published ports: a server in a container, a client on another machine.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bryo_tests::device::with_tun;
use bryo_tests::images::{BUSYBOX, PROBE};
use bryo_tests::layout::Image;
use bryo_tests::outside::{MACHINE, MACHINE_6, Outside, WORLD, WORLD_6};
use bryo_tests::program::eventually;
use bryo_tests::{Home, Output, Running, User, images};
use rustix::process::Signal;
use serde_json::json;

use crate::network::pasta;

/// A server of a container is asked, and tells its port and as whom it sees the client, which tells its own address.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    server: String,
    seen: SocketAddr,
    own: SocketAddr,
}

fn ask(host: &str, port: u16, protocol: &str) -> Option<Answer> {
    let server = SocketAddr::new(host.parse().unwrap(), port);
    let limit = Some(Duration::from_secs(2));
    let mut text = vec![0; 256];
    let (n, own) = if protocol == "udp" {
        let local: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((local, 0)).unwrap();
        socket.set_read_timeout(limit).unwrap();
        // An earlier refusal comes back as an error of the next call.
        socket.connect(server).ok()?;
        socket.send(b"who am I").ok()?;
        (socket.recv(&mut text).ok()?, socket.local_addr().unwrap())
    } else {
        let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(limit).unwrap();
        // A `pasta` of 2023 lets the server know of a client that has said something.
        stream.write_all(b"who am I").ok()?;
        let n = stream.read(&mut text).ok()?;
        (n, stream.local_addr().unwrap())
    };
    let text = String::from_utf8(text[..n].to_vec()).unwrap();
    // "80/tcp sees 198.51.100.1 4711"
    let words: Vec<&str> = text.split_whitespace().collect();
    let [server, _, address, port] = words[..] else { return None };
    Some(Answer { server: server.into(), seen: SocketAddr::new(address.parse().ok()?, port.parse().ok()?), own })
}

/// A machine, its world, and bryo on it.
struct Site<'a> {
    outside: &'a Outside,
    home: &'a Home,
}

impl Site<'_> {
    fn bryo(&self, words: &[&str]) -> Output {
        self.start(words).wait()
    }

    fn start(&self, words: &[&str]) -> Running {
        Running::start(self.outside.command(&self.home.command(words)), false)
    }

    /// Starts a container that serves ports.
    fn serve(&self, flags: &[&str], ports: &[&str]) -> Server {
        let words = [&["run", "--rm", "--init"], flags, &[PROBE, "/probe", "serve"], ports].concat();
        Server(Some(self.start(&words)))
    }

    /// Asks from the world, until there is an answer.
    #[track_caller]
    fn answer(&self, host: &str, port: u16, protocol: &str) -> Answer {
        eventually(&format!("an answer from {host} {port}/{protocol}"), || {
            self.outside.in_the_world(|| ask(host, port, protocol))
        })
    }

    /// Asks from the world once.
    fn refuses(&self, host: &str, port: u16, protocol: &str) -> bool {
        self.outside.in_the_world(|| ask(host, port, protocol)).is_none()
    }
}

/// A container that serves. It is ended, and has left its ports, when this is dropped.
struct Server(Option<Running>);

impl Server {
    /// Waits for the end of one that cannot start.
    fn fails(mut self, words: &[&str]) {
        self.0.take().unwrap().wait().fails(125, words);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(run) = self.0.take() else { return };
        run.signal(Signal::TERM);
        // A test that fails already must not fail a second time.
        if !std::thread::panicking() {
            run.wait_for(Duration::from_secs(30));
        }
    }
}

/// Runs a test for every kind of user, on one machine.
fn everywhere(outside: Option<Outside>, test: impl Fn(&Site<'_>)) {
    if !pasta() {
        return;
    }
    let Some(outside) = outside else { return };
    for user in User::all() {
        let home = Home::shared(&user);
        test(&Site { outside: &outside, home: &home });
    }
}

#[test]
fn a_published_port_is_reached_from_outside_and_the_client_is_seen_as_itself() {
    everywhere(Outside::new(), |site| {
        let flags = ["-p", "8080:80", "-p", "5353:53/udp", "-p", "5354:5354/udp"];
        let _server = site.serve(&flags, &["80/tcp", "53/udp", "5354/udp", "81/tcp", "8080/tcp"]);
        for (port, protocol, server) in [(8080, "tcp", "80/tcp"), (5353, "udp", "53/udp")] {
            let answer = site.answer(MACHINE, port, protocol);
            assert_eq!(answer.server, server);
            assert_eq!(answer.own.ip().to_string(), WORLD);
            assert_eq!(answer.seen, answer.own, "the client's own address for {}", site.home.user.name);
        }
        // What was not published is not there, though somebody listens on it.
        for (port, protocol) in [(80, "tcp"), (81, "tcp"), (53, "udp"), (8080, "udp"), (5353, "tcp")] {
            assert!(site.refuses(MACHINE, port, protocol), "{port}/{protocol}");
        }
        // The machine's own clients come through too.
        for host in ["127.0.0.1", MACHINE] {
            assert_eq!(site.outside.at_the_machine(|| ask(host, 8080, "tcp")).unwrap().server, "80/tcp", "{host}");
        }
        // With a `pasta` of 2023, if the ports have one number.
        assert_eq!(site.outside.at_the_machine(|| ask("127.0.0.1", 5354, "udp")).unwrap().server, "5354/udp");
    });
}

#[test]
fn a_published_port_is_on_both_families_or_on_one_address() {
    everywhere(Outside::new().map(Outside::with_ipv6), |site| {
        let flags = ["-p", "8080:80", "-p", "127.0.0.1:8081:80", "-p", "[2001:db8::2]:8082:80", "-p", "5353:53/udp"];
        let _server = site.serve(&[&["--name", "families"][..], &flags].concat(), &["80/tcp", "53/udp"]);
        for (host, client) in [(MACHINE, WORLD), (MACHINE_6, WORLD_6)] {
            assert_eq!(site.answer(host, 8080, "tcp").seen.ip().to_string(), client);
            assert_eq!(site.answer(host, 5353, "udp").seen.ip().to_string(), client);
        }
        assert!(site.refuses(MACHINE, 8081, "tcp") && site.refuses(MACHINE, 8082, "tcp"));
        assert!(site.outside.at_the_machine(|| ask("127.0.0.1", 8081, "tcp")).is_some());
        assert_eq!(site.answer(MACHINE_6, 8082, "tcp").seen.ip().to_string(), WORLD_6);
        let listed = "53/udp -> 0.0.0.0:5353\n53/udp -> [::]:5353\n80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081\n\
                      80/tcp -> [::]:8080\n80/tcp -> [2001:db8::2]:8082";
        assert_eq!(site.bryo(&["port", "families"]).ok(), listed);
    });
}

#[test]
fn a_range_leads_to_a_range() {
    everywhere(Outside::new(), |site| {
        let flags = ["--name", "range", "-p", "8000-8002:7000-7002", "-p", "9000-9001:9000-9001/udp"];
        let _server = site.serve(&flags, &["7000/tcp", "7001/tcp", "7002/tcp", "9000/udp", "9001/udp"]);
        for n in 0..3 {
            assert_eq!(site.answer(MACHINE, 8000 + n, "tcp").server, format!("{}/tcp", 7000 + n));
        }
        assert_eq!(site.answer(MACHINE, 9001, "udp").server, "9001/udp");
        let shown = site.bryo(&["ps"]).ok();
        let column = "0.0.0.0:8000-8002->7000-7002/tcp, 0.0.0.0:9000-9001->9000-9001/udp";
        assert!(shown.contains("PORTS") && shown.contains(column), "{shown}");
    });
}

#[test]
fn without_a_port_of_the_host_there_is_one_that_can_be_asked_for() {
    everywhere(Outside::new(), |site| {
        let image = Image::new(
            "localhost/exposing:latest",
            vec![bryo_tests::layout::busybox_layer()],
            json!({"Cmd": ["sleep", "9999"], "ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        );
        let archive = images::cached("exposing-1", |file| image.archive(file));
        site.home.load(&archive);
        let flags = ["--name", "all", "-P", "--expose", "70", "-p", "127.0.0.1:8080-8089:80"];
        let _all = site.start(&[&["run", "--rm"][..], &flags, &["localhost/exposing"]].concat());
        let _server = site.serve(&["--name", "one", "-p", "80"], &["80/tcp"]);
        let port = |words: &[&str]| {
            let place: Option<SocketAddr> = eventually("the container runs", || {
                let output = site.bryo(&[&["port"], words].concat());
                output.status.success().then(|| output.text().parse().ok())
            });
            place.unwrap()
        };
        let place = port(&["one", "80"]);
        assert!(place.ip().is_unspecified() && place.port() >= 1024, "{place}");
        assert_eq!(site.answer(MACHINE, place.port(), "tcp").server, "80/tcp");
        let named = port(&["all", "80/tcp"]);
        assert!(named.ip().is_loopback() && (8080..8090).contains(&named.port()), "{named}");
        let others = [port(&["all", "53/udp"]), port(&["all", "70"])];
        assert!(others.iter().all(|o| o.ip().is_unspecified() && o.port() >= 1024), "{others:?}");
        site.bryo(&["port", "all", "71"]).fails(1, &["71", "not published"]);
        site.bryo(&["port", "nobody"]).fails(1, &["no such container"]);
    });
}

#[test]
fn what_is_published_is_written_down_as_long_as_it_is_true() {
    let Some(user) = User::ordinary() else { return };
    if !pasta() {
        return;
    }
    let Some(outside) = Outside::new() else { return };
    let home = Home::new(&user);
    home.load(&images::busybox());
    let site = Site { outside: &outside, home: &home };
    let run = site.start(&["run", "--name", "web", "-p", "8080:80", "--expose", "443", BUSYBOX, "sleep", "9999"]);
    let inspect = || site.bryo(&["inspect", "web"]);
    eventually("the container runs", || inspect().status.success().then_some(()));
    let record = inspect().json();
    let bindings = json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null});
    assert_eq!(record[0]["NetworkSettings"]["Ports"], bindings);
    assert_eq!(record[0]["Confinement"]["Relaxed"], json!(["--publish"]));
    assert!(site.bryo(&["ps"]).ok().contains("0.0.0.0:8080->80/tcp, 443/tcp"));
    run.signal(Signal::KILL);
    drop(run);
    // Nobody listens any more, whatever the record said when bryo was killed.
    eventually("the port is free", || outside.at_the_machine(|| TcpListener::bind((MACHINE, 8080))).ok());
    eventually("the record says so", || (inspect().json()[0]["NetworkSettings"]["Ports"] == json!({})).then_some(()));
    assert_eq!(site.bryo(&["port", "web"]).ok(), "");
}

#[test]
fn a_port_in_use_keeps_the_container_from_starting() {
    everywhere(Outside::new(), |site| {
        let outside = site.outside;
        let tcp = outside.at_the_machine(|| TcpListener::bind((MACHINE, 0))).unwrap();
        let udp = outside.at_the_machine(|| UdpSocket::bind(("0.0.0.0", 0))).unwrap();
        // One that would share the port, of which the last to come would get the datagrams.
        rustix::net::sockopt::set_socket_reuseaddr(&udp, true).unwrap();
        for (port, protocol) in [(tcp.local_addr().unwrap().port(), "tcp"), (udp.local_addr().unwrap().port(), "udp")] {
            let publish = format!("{port}:80/{protocol}");
            let output = site.bryo(&["run", "--rm", "-p", &publish, BUSYBOX, "echo", "ran"]);
            output.fails(125, &[&format!("host port {port}/{protocol} is in use"), "try: "]);
            assert_eq!(output.text(), "");
            assert!(!site.bryo(&["ps", "-aq"]).ok().lines().any(|l| l.is_empty()));
        }
        // Of a range that leaves a choice the next is taken.
        let port = tcp.local_addr().unwrap().port();
        let range = format!("{port}-{}:80", port + 20);
        let _server = site.serve(&["--name", "chosen", "-p", &range], &["80/tcp"]);
        let chosen = eventually("a port", || {
            let text = site.bryo(&["port", "chosen", "80"]).text();
            text.parse::<SocketAddr>().ok()
        });
        assert_eq!(site.answer(MACHINE, chosen.port(), "tcp").server, "80/tcp");
        assert_ne!(chosen.port(), port);
    });
}

#[test]
fn two_containers_cannot_have_one_port_and_the_next_can_at_once() {
    everywhere(Outside::new(), |site| {
        let flags = ["-p", "8080:80", "-p", "5353:53/udp"];
        let first = site.serve(&flags, &["80/tcp", "53/udp"]);
        site.answer(MACHINE, 8080, "tcp");
        site.serve(&["-p", "8080:80"], &["80/tcp"]).fails(&["host port 8080/tcp is in use"]);
        site.serve(&["-p", "5353:80/udp"], &["80/udp"]).fails(&["host port 5353/udp is in use"]);
        site.answer(MACHINE, 5353, "udp");
        drop(first);
        let _second = site.serve(&flags, &["80/tcp", "53/udp"]);
        site.answer(MACHINE, 8080, "tcp");
        site.answer(MACHINE, 5353, "udp");
    });
}

#[test]
fn a_low_port_is_had_where_the_machine_gives_it_to_everybody() {
    everywhere(Outside::new(), |site| {
        let limit = |first: &str| {
            let value = format!("net.ipv4.ip_unprivileged_port_start={first}");
            site.outside.on_the_machine(&["sysctl", "-qw", &value]);
        };
        limit("1024");
        let output = site.bryo(&["run", "--rm", "-p", "80:80", BUSYBOX, "echo", "ran"]);
        let ways = ["port 80/tcp", "port 8080", "sysctl -w net.ipv4.ip_unprivileged_port_start=80", "REDIRECT"];
        output.fails(125, &ways);
        assert_eq!(output.text(), "", "{}", site.home.user.name);
        limit("80");
        let _server = site.serve(&["-p", "80:80"], &["80/tcp"]);
        assert_eq!(site.answer(MACHINE, 80, "tcp").seen.ip().to_string(), WORLD);
    });
}

#[test]
fn a_published_port_opens_no_way_to_the_machines_loopback() {
    everywhere(Outside::new(), |site| {
        let machine = site.outside.listen_on_the_machine("127.0.0.1");
        let everywhere = site.outside.listen_on_the_machine("0.0.0.0");
        let ports = [&machine, &everywhere].map(|l| l.local_addr().unwrap().port());
        machine.set_nonblocking(true).unwrap();
        everywhere.set_nonblocking(true).unwrap();
        let hosts = [WORLD, MACHINE, "127.0.0.1", "169.254.1.1", "169.254.2.1", "0.0.0.0"];
        // The same numbers, too: what is published there is the container's own.
        let publish = format!("{}:{}", ports[0] ^ 1, ports[0]);
        let tries: String = hosts
            .iter()
            .flat_map(|host| ports.map(|port| format!("echo x | timeout 2 nc {host} {port} && echo through {host};")))
            .collect();
        let output = site.bryo(&["run", "--rm", "-p", &publish, BUSYBOX, "sh", "-c", &tries]);
        assert!(machine.accept().is_err() && everywhere.accept().is_err(), "{output}");
        // The control: on the machine's own network they are there.
        let control = format!("echo x | timeout 2 nc 127.0.0.1 {}", ports[0]);
        site.bryo(&["run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", &control]);
        assert!(machine.accept().is_ok());
    });
}

#[test]
fn a_container_in_the_background_has_its_ports_whenever_it_runs() {
    everywhere(Outside::new(), |site| {
        let image = [PROBE, "/probe", "serve", "80/tcp"];
        let flags = ["run", "-d", "--init", "--name", "behind", "-p", "8080:80", "-p", "80"];
        site.bryo(&[&flags[..], &image].concat()).ok();
        let listed = || site.bryo(&["port", "behind", "80"]).text();
        let drawn = || listed().lines().last().and_then(|l| l.parse::<SocketAddr>().ok()).map(|place| place.port());
        assert_eq!(site.answer(MACHINE, 8080, "tcp").seen.ip().to_string(), WORLD);
        assert_eq!(site.answer(MACHINE, drawn().unwrap(), "tcp").server, "80/tcp");
        let second = site.bryo(&[&["run", "-d", "--name", "second", "-p", "8080:80"][..], &image].concat());
        second.fails(125, &["host port 8080/tcp is in use"]);
        assert!(!site.bryo(&["ps", "-a", "--format", "{{.Names}}"]).ok().contains("second"));
        site.bryo(&["stop", "behind"]).ok();
        assert!(site.refuses(MACHINE, 8080, "tcp"));
        assert_eq!(site.bryo(&["port", "behind"]).ok(), "");
        // What was chosen by the kernel is chosen anew.
        site.bryo(&["start", "behind"]).ok();
        site.answer(MACHINE, 8080, "tcp");
        site.answer(MACHINE, drawn().unwrap(), "tcp");
        site.bryo(&["rm", "-f", "behind"]).ok();
    });
}

#[test]
fn a_container_of_a_network_publishes_too_if_it_leads_outside() {
    everywhere(Outside::new(), |site| {
        for create in [&["front"][..], &["--internal", "back"]] {
            site.bryo(&[&["network", "create"], create].concat()).ok();
        }
        let _server = site.serve(&["--name", "member", "--network", "front", "-p", "8080:80"], &["80/tcp"]);
        assert_eq!(site.answer(MACHINE, 8080, "tcp").seen.ip().to_string(), WORLD);
        for (network, word) in [("back", "internal"), ("container:member", "another one")] {
            site.serve(&["--network", network, "-p", "8081:80"], &["80/tcp"]).fails(&[word]);
        }
    });
}

#[test]
fn a_network_that_cannot_publish_says_so() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let run = |words: &[&str]| home.bryo(&[&["run", "--rm"], words, &[BUSYBOX, "echo", "ran"]].concat());
    for asked in [&["-p", "8080:80"][..], &["-P"]] {
        let none = run(&[&["--network", "none"], asked].concat());
        none.fails(125, &["--network none"]);
        assert_eq!(none.text(), "");
        let host = run(&[&["--network", "host"], asked].concat());
        assert_eq!(host.ok(), "ran");
        assert!(host.stderr.contains("discarded"), "{host}");
    }
    run(&["-p", "8080:80", "-p", "8080:81"]).fails(125, &["8080/tcp", "twice"]);
    run(&["-p", "192.0.2.77:8080:80"]).fails(125, &["192.0.2.77", "no such address"]);
}

#[test]
fn what_was_to_be_published_does_not_start_without_a_network() {
    if !pasta() {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let command = home.command(&["run", "--rm", "-p", "8080:80", BUSYBOX, "echo", "ran"]);
    let Some(command) = with_tun(&command, "0600") else { return };
    let output = Running::start(command, false).wait();
    output.fails(125, &["/dev/net/tun"]);
    assert_eq!(output.text(), "");
}
