// SPDX-License-Identifier: Apache-2.0
//! Networks that the caller makes: who finds and reaches whom, and what stays when they are gone.

use std::net::UdpSocket;
use std::ops::Deref;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::listing::Snapshot;
use bryo_tests::outside::{Outside, WORLD};
use bryo_tests::program::{Output, eventually};
use bryo_tests::{Home, Running, User};

use crate::network::{fetching, greeter, greeting, pasta};

/// A home whose containers end with the test.
struct Lab(Home);

impl Lab {
    fn new(user: &User) -> Self {
        Self::of(Home::new(user))
    }

    fn of(home: Home) -> Self {
        home.load(&images::busybox());
        Self(home)
    }

    /// Starts a server that tells its name to whoever asks.
    #[track_caller]
    fn serve(&self, name: &str, network: &[&str]) -> String {
        let script = format!("echo I am {name} > /tmp/index.html; exec httpd -f -p 80 -h /tmp");
        let words = [&["run", "-d", "--name", name], network, &[BUSYBOX, "sh", "-c", &script]].concat();
        self.bryo(&words).ok()
    }

    /// Asks a server, until it answers.
    #[track_caller]
    fn ask(&self, network: &[&str], host: &str) -> Output {
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8 9; do timeout 5 wget -qO- http://{host}/ && exit; sleep 0.2; done; exit 9"
        );
        self.bryo(&[&["run", "--rm"], network, &[BUSYBOX, "sh", "-c", &script]].concat())
    }

    /// Asks a server once, which is not to be reached.
    #[track_caller]
    fn ask_in_vain(&self, network: &[&str], host: &str) {
        let words = [BUSYBOX, "timeout", "2", "wget", "-qO-", &format!("http://{host}/")];
        let output = self.bryo(&[&["run", "--rm"], network, &words].concat());
        assert!(output.text().is_empty() && output.status.code() != Some(0), "{host} from {network:?}: {output}");
    }

    fn address(&self, name: &str, network: &str) -> String {
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        self.bryo(&["inspect", "-f", &format, name]).ok()
    }
}

impl Deref for Lab {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.0
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let all = self.bryo(&["ps", "-aq"]).text();
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(all.split_whitespace()).collect();
        let _ended = self.bryo(&words);
    }
}

#[test]
fn containers_of_a_network_find_each_other() {
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        let id = lab.serve("web", &["--network", "back", "--network-alias", "Front.example"]);
        for name in ["web", "WEB", "front.example", &id[..12], &lab.address("web", "back")] {
            assert_eq!(lab.ask(&["--network", "back"], name).ok(), "I am web", "{name} for {}", user.name);
        }
        let unknown = lab.bryo(&["run", "--rm", "--network", "back", BUSYBOX, "nslookup", "nobody"]);
        assert!(unknown.code(1).contains("NXDOMAIN"), "{unknown}");
        // A process that enters has the same network.
        assert_eq!(lab.bryo(&["exec", "web", "wget", "-qO-", "http://front.example/"]).ok(), "I am web");
        let containers = lab.bryo(&["network", "inspect", "back"]).json();
        assert_eq!(containers[0]["Containers"][&id]["Name"], "web", "{containers}");
    }
}

#[test]
fn networks_are_apart_and_a_container_may_be_in_several() {
    for user in User::all() {
        let lab = Lab::new(&user);
        for network in ["left", "right"] {
            lab.bryo(&["network", "create", "--internal", network]).ok();
        }
        lab.serve("l", &["--network", "left"]);
        lab.serve("r", &["--network", "right"]);
        let (both, at_r) = (["--network", "left", "--network", "right"], lab.address("r", "right"));
        assert_eq!(lab.ask(&both, "l").ok(), "I am l");
        assert_eq!(lab.ask(&both, &at_r).ok(), "I am r");
        for host in ["r", &at_r] {
            lab.ask_in_vain(&["--network", "left"], host);
            lab.ask_in_vain(&["--network", "none"], host);
            lab.ask_in_vain(&[], host);
        }
        assert_eq!(lab.ask(&["--network", "right"], "r").ok(), "I am r", "the control");
    }
}

/// They belong to a network namespace, and so to who is in it.
#[test]
fn the_callers_abstract_sockets_are_out_of_reach_unless_the_network_is_the_hosts() {
    let name = mark();
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.load(&images::probe());
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        let call = |network: &[&str]| {
            lab.bryo(&[&["run", "--rm"], network, &[images::PROBE, "/probe", "call", &name]].concat()).ok()
        };
        for network in [&[][..], &["--network", "none"], &["--network", "back"]] {
            assert_eq!(call(network), "call ECONNREFUSED", "{network:?} for {}", user.name);
        }
        assert_eq!(call(&["--network", "host"]), "call ok", "the control for {}", user.name);
    }
}

#[test]
fn a_network_leads_outside_unless_it_is_internal() {
    if !pasta() {
        return;
    }
    let Some(outside) = Outside::new() else { return };
    let world = greeter(outside.listen_in_the_world());
    let machine = greeter(outside.listen_on_the_machine("127.0.0.1"));
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "open"]).ok();
        lab.bryo(&["network", "create", "--internal", "shut"]).ok();
        let fetch = |network: &[&str], host, port| greeting(outside.command(&fetching(&lab, network, host, port)));
        for network in [&["--network", "open"][..], &["--network", "shut", "--network", "private"]] {
            assert_eq!(fetch(network, WORLD, world), "hello from the host", "{network:?} for {}", user.name);
        }
        assert_eq!(fetch(&["--network", "shut"], WORLD, world), "", "{}", user.name);
        for network in ["open", "shut"] {
            assert_eq!(fetch(&["--network", network], "127.0.0.1", machine), "", "the machine's loopback");
        }
    }
}

/// Answers every query for an address with 192.0.2.77, after it has told a lie under another number.
fn answer(socket: UdpSocket) {
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, client)) = socket.recv_from(&mut buffer) {
            for (number, last) in [(buffer[0].wrapping_add(1), 66), (buffer[0], 77)] {
                let mut message = buffer[..n].to_vec();
                (message[0], message[2], message[3], message[7]) = (number, 0x81, 0x80, 1);
                // Without what stands behind the question, of which nothing is said in the answer.
                message[10..12].fill(0);
                message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
                let _gone = socket.send_to(&message, client);
            }
        }
    });
}

#[test]
fn other_names_are_asked_outside_and_answers_of_others_are_not_believed() {
    if !pasta() {
        return;
    }
    let (Some(user), Some(outside)) = (User::ordinary(), Outside::new()) else { return };
    answer(outside.name_server_in_the_world());
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "open"]).ok();
    let words = ["run", "--rm", "--network", "open", "--dns", WORLD, BUSYBOX, "nslookup", "far.example"];
    let output = Running::start(outside.command(&lab.command(&words)), false).wait();
    assert!(output.text().contains("192.0.2.77") && !output.text().contains("192.0.2.66"), "{output}");
}

#[test]
fn an_address_is_had_or_the_container_does_not_start() {
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "--internal", "--subnet", "10.123.7.0/29", "--gateway", "10.123.7.6", "n"])
            .ok();
        lab.serve("web", &["--network", "n", "--ip", "10.123.7.4"]);
        assert_eq!(lab.address("web", "n"), "10.123.7.4");
        assert_eq!(lab.ask(&["--network", "name=n,ip=10.123.7.2"], "10.123.7.4").ok(), "I am web");
        let before = lab.bryo(&["ps", "-aq"]).ok();
        for (address, word) in [
            ("10.123.7.4", "in use"),
            ("10.123.7.6", "gateway"),
            ("10.123.7.7", "range"),
            ("10.123.8.1", "10.123.7.0/29"),
            ("10.123.7", "address"),
        ] {
            lab.bryo(&["run", "--network", "n", "--ip", address, BUSYBOX, "true"]).fails(125, &[address, word]);
        }
        // Four are left beside the gateway and the one.
        for n in 0..4 {
            lab.bryo(&["run", "-d", "--network", "n", "--name", &format!("n{n}"), BUSYBOX, "sleep", "600"]).ok();
        }
        lab.bryo(&["run", "--network", "n", BUSYBOX, "true"]).fails(125, &["every address", "n"]);
        assert_eq!(lab.bryo(&["ps", "-aq"]).ok().lines().count(), before.lines().count() + 4);
        lab.bryo(&["rm", "-f", "n2"]).ok();
        lab.bryo(&["run", "--rm", "--network", "n", BUSYBOX, "true"]).ok();
    }
}

#[test]
fn a_name_leads_to_where_the_container_is_now() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--internal", "back"]).ok();
    lab.serve("web", &["--network", "back"]);
    lab.bryo(&["run", "-d", "--name", "peer", "--network", "back", BUSYBOX, "sleep", "600"]).ok();
    let from_peer = || lab.bryo(&["exec", "peer", "timeout", "5", "wget", "-qO-", "http://web/"]);
    eventually("the server", || (from_peer().text() == "I am web").then_some(()));
    let before = lab.address("web", "back");
    lab.bryo(&["stop", "-t", "0", "web"]).ok();
    lab.bryo(&["exec", "peer", "nslookup", "web"]).fails(1, &[]);
    // Somebody else has its address meanwhile.
    lab.bryo(&["run", "-d", "--network", "back", "--ip", &before, BUSYBOX, "sleep", "600"]).ok();
    lab.bryo(&["start", "web"]).ok();
    assert_ne!(lab.address("web", "back"), before);
    eventually("the server again", || (from_peer().text() == "I am web").then_some(()));
}

#[test]
fn a_container_shares_the_network_of_another_that_is_in_one() {
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        let id = lab.serve("web", &["--network", "back", "--network-alias", "alias"]);
        let sharing = ["--network", "container:web"];
        for sharing in [sharing, ["--network", &format!("container:{id}")]] {
            assert_eq!(lab.ask(&sharing, "127.0.0.1").ok(), "I am web", "{}", user.name);
        }
        assert_eq!(lab.ask(&sharing, "alias").ok(), "I am web");
        let mark = mark();
        let words = [&["run", "-d"], &sharing[..], &[BUSYBOX, "sleep", &mark]].concat();
        lab.bryo(&words).ok();
        let payload = Process::with_args(&["sleep", &mark]);
        let server = Process(lab.bryo(&["inspect", "-f", "{{.State.Pid}}", "web"]).ok().parse().unwrap());
        assert_eq!(payload.namespace("net"), server.namespace("net"));
        for apart in ["user", "mnt", "pid", "ipc", "uts"] {
            assert_ne!(payload.namespace(apart), server.namespace(apart), "{apart}");
        }
        lab.bryo(&["run", "--network", "container:nobody", BUSYBOX, "true"]).fails(125, &["nobody"]);
        let sysctl = ["--sysctl", "net.ipv4.ip_forward=1"];
        lab.bryo(&[&["run"], &sharing[..], &sysctl, &[BUSYBOX, "true"]].concat()).fails(125, &["another container"]);
    }
}

#[test]
fn a_network_that_was_not_made_to_be_shared_is_not() {
    let Some(user) = User::with_range() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["run", "-d", "--name", "plain", "--network", "none", BUSYBOX, "sleep", "600"]).ok();
    let output = lab.bryo(&["run", "--network", "container:plain", BUSYBOX, "true"]);
    output.fails(125, &["plain", "--network NAME"]);
}

/// Who the payload is does not depend on its network, and its resolver is nobody who could do anything.
#[test]
fn whoever_gets_out_is_who_it_would_be_elsewhere() {
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        let started = |network: &str, slot: &str| {
            lab.bryo(&["run", "-d", "--name", slot, "--network", network, BUSYBOX, "sleep", slot]).ok();
            Process::with_args(&["sleep", slot])
        };
        let (plain, mark) = (started("none", &mark()), mark());
        let before = Process::every();
        let payload = started("back", &mark);
        for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups"] {
            assert_eq!(payload.status(field), plain.status(field), "{field} for {}", user.name);
        }
        if user.uid != 0 {
            for file in ["uid_map", "gid_map"] {
                assert_eq!(payload.map(file), plain.map(file), "{file} for {}", user.name);
            }
        }
        if !bryo_tests::user::is_root() {
            return bryo_tests::skip::skip("the namespaces of a process that nobody may trace are shown to root only");
        }
        let made = Process::every().into_iter().filter(|p| !before.contains(p) && *p != payload);
        let named = made.filter(|p| p.read("comm").is_some_and(|c| c.starts_with("bryo")));
        let resolver = named.filter(|p| p.namespace("net") == payload.namespace("net")).collect::<Vec<_>>();
        assert_eq!(resolver.len(), 1, "{resolver:?}");
        let resolver = resolver[0];
        assert_eq!(resolver.status("CapEff"), "0000000000000000");
        assert_eq!(resolver.status("CapPrm"), "0000000000000000");
        assert_eq!(resolver.status("NoNewPrivs"), "1");
        assert_ne!(resolver.namespace("pid"), payload.namespace("pid"));
        if let Some((first, _)) = user.range() {
            assert_eq!(resolver.ids("Uid"), [first + 65534; 4]);
            assert_eq!(resolver.ids("Gid"), [first + 65534; 4]);
        }
        let held: Vec<String> = resolver.descriptors().into_values().filter(|d| !d.starts_with("socket:")).collect();
        let known = |d: &String| d == "/dev/null" || d.ends_with("/networks/back");
        assert!(held.iter().all(known), "{held:?}");
    }
}

#[test]
fn nothing_is_left_of_a_network_whose_users_were_killed() {
    for user in User::all() {
        let lab = Lab::of(Home::alone(&user));
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        lab.bryo(&["run", "--rm", "--network", "back", BUSYBOX, "true"]).ok();
        let before = Snapshot::take(&lab);
        lab.bryo(&["run", "--rm", "--network", "back", BUSYBOX, "true"]).ok();
        before.assert_nothing_left(&lab);
        let marks = [mark(), mark()];
        for mark in &marks {
            lab.bryo(&["run", "-d", "--rm", "--network", "back", BUSYBOX, "sleep", mark]).ok();
        }
        let made: Vec<Process> = Snapshot::take(&lab).processes.difference(&before.processes).copied().collect();
        assert!(made.len() >= 2 * 3, "{made:?}");
        for process in made {
            let pid = rustix::process::Pid::from_raw(process.0.cast_signed()).unwrap();
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        eventually("the payloads are gone", || {
            marks.iter().all(|m| Process::find(&["sleep", m]).is_none()).then_some(())
        });
        // What is on disk is collected when somebody looks.
        eventually("all is collected", || {
            lab.bryo(&["ps"]).ok();
            (Snapshot::take(&lab).files == before.files).then_some(())
        });
        before.assert_nothing_left(&lab);
        lab.bryo(&["network", "rm", "back"]).ok();
    }
}

/// Whoever comes last finds what the others have done: the record says what is to be.
#[test]
fn connections_that_change_at_one_time_all_come_to_be() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    let networks = ["a", "b", "c", "d"];
    for network in networks {
        lab.bryo(&["network", "create", "--internal", network]).ok();
    }
    lab.bryo(&["run", "-d", "--name", "peer", "--restart", "always", BUSYBOX, "sleep", "600"]).ok();
    let lab = &lab;
    std::thread::scope(|scope| {
        for network in networks {
            scope.spawn(move || {
                for verb in ["connect", "disconnect", "connect"] {
                    lab.bryo(&["network", verb, network, "peer"]).ok();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..3 {
                lab.bryo(&["restart", "-t", "0", "peer"]).ok();
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        });
    });
    let devices = || lab.bryo(&["exec", "peer", "ls", "/sys/class/net"]).ok();
    for when in ["now", "after a restart"] {
        assert_eq!(devices().split_whitespace().filter(|d| d.starts_with("net")).count(), 4, "{when}: {}", devices());
        for network in networks {
            assert!(!lab.address("peer", network).is_empty(), "{network} {when}");
        }
        lab.bryo(&["restart", "-t", "0", "peer"]).ok();
    }
}

#[test]
fn nothing_is_left_of_a_connection() {
    for user in User::all() {
        let lab = Lab::of(Home::alone(&user));
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        let round = || {
            for end in ["disconnect", "rm", "kill"] {
                lab.bryo(&["run", "-d", "--name", "peer", BUSYBOX, "sleep", "600"]).ok();
                lab.bryo(&["network", "connect", "back", "peer"]).ok();
                match end {
                    "disconnect" => lab.bryo(&["network", "disconnect", "back", "peer"]).ok(),
                    "kill" => lab.bryo(&["kill", "peer"]).ok(),
                    _ => String::new(),
                };
                lab.bryo(&["rm", "-f", "peer"]).ok();
            }
        };
        round();
        let before = Snapshot::take(&lab);
        round();
        before.assert_nothing_left(&lab);
    }
}

#[test]
fn a_killed_supervisor_takes_its_container_out_of_the_network() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--internal", "back"]).ok();
    let mark = mark();
    let run = lab.start(&["run", "--name", "x", "--network", "back", BUSYBOX, "sleep", &mark]);
    Process::with_args(&["sleep", &mark]);
    lab.serve("web", &["--network", "back"]);
    run.signal(rustix::process::Signal::KILL);
    drop(run);
    eventually("the payload is gone", || Process::find(&["sleep", &mark]).is_none().then_some(()));
    // The namespace was made by the one that was killed, and goes on for the others.
    assert_eq!(lab.ask(&["--network", "back"], "web").ok(), "I am web");
    lab.bryo(&["exec", "web", "nslookup", "x"]).fails(1, &[]);
}

#[test]
fn networks_are_listed_and_removed() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    // No name that an id could begin with.
    let id = home.bryo(&["network", "create", "--label", "tier=back", "one"]).ok();
    home.bryo(&["network", "create", "--internal", "--driver", "bridge", "two"]).ok();
    let list = |words: &[&str]| home.bryo(&[&["network", "ls"], words].concat()).ok();
    assert_eq!(list(&["--format", "{{.Name}} {{.Internal}}"]), "one false\ntwo true");
    assert_eq!(list(&["-q", "--no-trunc", "--filter", "label=tier=back"]), id);
    assert_eq!(list(&["--filter", "name=two", "--format", "{{.Name}}"]), "two");
    let shown = home.bryo(&["network", "inspect", "one"]).json();
    let of_b = home.bryo(&["network", "inspect", "-f", "{{json .IPAM.Config}}", "two"]).ok();
    assert!(!of_b.contains(shown[0]["IPAM"]["Config"][0]["Subnet"].as_str().unwrap()), "{of_b}");
    home.bryo(&["network", "rm", &id[..8]]).ok();
    home.bryo(&["network", "rm", "one"]).fails(1, &["one"]);
    home.bryo(&["network", "rm", "--force", "one"]).ok();
    assert_eq!(home.bryo(&["network", "prune", "--force", "--filter", "label=none"]).ok(), "");
    assert_eq!(home.bryo(&["network", "prune", "--force"]).ok(), "Deleted Networks:\ntwo\n");
    assert_eq!(list(&["-q"]), "");
}

#[test]
fn networks_are_filtered_as_with_docker() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    for (name, labels) in [("front", &["--label", "tier=web", "--label", "x"][..]), ("back", &["--label", "tier=db"])] {
        lab.bryo(&[&["network", "create"], labels, &[name]].concat()).ok();
    }
    let id = lab.bryo(&["network", "create", "--internal", "used"]).ok();
    lab.serve("web", &["--network", "used"]);
    let list = |filters: &[&str]| {
        let flags = filters.iter().flat_map(|filter| ["--filter", *filter]);
        let words: Vec<&str> = ["network", "ls", "--format", "{{.Name}}"].into_iter().chain(flags).collect();
        lab.bryo(&words).ok().replace('\n', " ")
    };
    for (filters, expected) in [
        (&[][..], "back front used"),
        (&["name=^f", "name=ck$"], "back front"),
        (&["label=tier"], "back front"),
        (&["label=tier", "label=x"], "front"),
        (&["label=tier=db"], "back"),
        (&["dangling=true"], "back front"),
        (&["dangling=false"], "used"),
        (&["driver=bridge", "name=back"], "back"),
        (&["driver=overlay"], ""),
        (&["scope=local", "type=custom"], "back front used"),
        (&["type=builtin"], ""),
        (&[&format!("id={}", &id[..9])], "used"),
    ] {
        assert_eq!(list(filters), expected, "{filters:?}");
    }
    for filter in ["colour=red", "name", "dangling=perhaps", "type=x"] {
        lab.bryo(&["network", "ls", "--filter", filter]).fails(1, &["invalid filter"]);
    }
    assert_eq!(lab.bryo(&["network", "ls", "-q", "--filter", "name=used"]).ok(), id[..12]);
    assert_eq!(lab.bryo(&["network", "ls", "-q", "--no-trunc", "--filter", "name=used"]).ok(), id);
    let table = lab.bryo(&["network", "ls", "--format", "table {{.ID}}\t{{.Driver}}", "--filter", "name=used"]).ok();
    assert!(table.starts_with("NETWORK ID") && table.contains("DRIVER") && table.contains(&id[..12]), "{table}");
    // A prune takes what fits, and nothing that a container uses, whether it runs or not.
    lab.bryo(&["stop", "-t", "0", "web"]).ok();
    let prune = |filter: &str| lab.bryo(&["network", "prune", "-f", "--filter", filter]).ok().replace('\n', " ");
    lab.bryo(&["network", "prune", "-f", "--filter", "name=front"]).fails(1, &["invalid filter"]);
    lab.bryo(&["network", "prune"]).fails(1, &["--force"]);
    assert_eq!(prune("until=24h"), "");
    assert_eq!(prune("label=tier=nobody"), "");
    assert_eq!(prune("label!=x"), "Deleted Networks: back ");
    assert_eq!(prune("until=2100-01-01T00:00:00Z"), "Deleted Networks: front ");
    assert_eq!(list(&[]), "used");
}

#[test]
fn a_network_is_made_with_the_flags_that_people_use() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    let range = ["--subnet", "10.125.0.0/16", "--ip-range", "10.125.7.0/24", "--gateway", "10.125.0.1"];
    let icc = ["-d", "bridge", "-o", "com.docker.network.bridge.enable_icc=true", "--attachable"];
    lab.bryo(&[&["network", "create"], &range[..], &icc, &["--internal", "back"]].concat()).ok();
    let config = lab.bryo(&["network", "inspect", "-f", "{{json (index .IPAM.Config 0)}}", "back"]).ok();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let expected = serde_json::json!({
        "Subnet": "10.125.0.0/16", "IPRange": "10.125.7.0/24", "Gateway": "10.125.0.1",
    });
    assert_eq!(config, expected);
    lab.serve("web", &["--network", "back"]);
    lab.serve("far", &["--network", "back", "--ip", "10.125.200.9"]);
    assert_eq!(lab.address("web", "back"), "10.125.7.0");
    for name in ["web", "far"] {
        assert_eq!(lab.ask(&["--network", "back"], name).ok(), format!("I am {name}"));
    }
    for (words, expected) in [
        (&["--ip-range", "10.126.0.0/24", "--subnet", "10.127.0.0/24"][..], "10.126.0.0/24"),
        (&["-o", "com.docker.network.bridge.name=br0"], "nobody on the host sees it"),
        (&["-o", "com.docker.network.bridge.enable_ip_masquerade=false"], "--internal"),
        (&["--opt", "parent=eth0"], "parent=eth0"),
        (&["--driver", "macvlan"], "bridge"),
        (&["--ipam-driver", "dhcp"], "default"),
        (&["--scope", "swarm"], "local"),
    ] {
        lab.bryo(&[&["network", "create"], words, &["other"]].concat()).fails(1, &[expected]);
    }
    assert_eq!(lab.bryo(&["network", "ls", "--format", "{{.Name}}"]).ok(), "back");
}

#[test]
fn what_cannot_be_made_or_removed_is_refused_with_its_reason() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--subnet", "10.123.0.0/16", "a"]).ok();
    for (words, expected) in [
        (&["a"][..], "already"),
        (&["--subnet", "10.123.4.0/24", "b"], "network a"),
        (&["--subnet", "10.0.0.0/8", "b"], "network a"),
        (&["--subnet", "10.5.0.0/31", "b"], "/29"),
        (&["--subnet", "127.3.0.0/16", "b"], "127.0.0.0/8"),
        (&["--subnet", "10.5.0.0/24", "--gateway", "10.6.0.1", "b"], "10.6.0.1"),
        (&["--ipv6", "b"], "IPv4"),
        (&["--driver", "overlay", "b"], "bridge"),
        (&["../b"], "name"),
        (&["host"], "--network"),
    ] {
        lab.bryo(&[&["network", "create"], words].concat()).fails(1, &[expected]);
    }
    lab.bryo(&["network", "create", "--subnet", "10.5.0.1/24", "b"]).fails(125, &["10.5.0.0/24"]);
    lab.bryo(&["run", "--network", "moon", BUSYBOX, "true"]).fails(125, &["moon", "bryo network create"]);
    lab.bryo(&["create", "--network", "moon", BUSYBOX, "true"]).fails(125, &["moon"]);
    lab.bryo(&["network", "create", "--internal", "c"]).ok();
    lab.serve("web", &["--network", "c"]);
    lab.bryo(&["network", "rm", "c"]).fails(1, &["c", "web"]);
    lab.bryo(&["network", "prune", "--force"]).ok();
    assert_eq!(lab.bryo(&["network", "ls", "--format", "{{.Name}}"]).ok(), "c");
    // One that has ended does not keep it, and says so when it is started.
    lab.bryo(&["stop", "-t", "0", "web"]).ok();
    lab.bryo(&["network", "rm", "c"]).ok();
    lab.bryo(&["start", "web"]).fails(1, &["c"]);
}

/// Asks a server from inside a container that runs, until it answers.
#[track_caller]
fn ask_from(lab: &Lab, container: &str, host: &str) -> String {
    let ask = || lab.bryo(&["exec", container, "timeout", "2", "wget", "-qO-", &format!("http://{host}/")]).text();
    eventually("an answer", || Some(ask()).filter(|text| !text.is_empty()))
}

/// Tells whether a server is reached from inside a container that runs, in one try.
fn reaches(lab: &Lab, container: &str, host: &str) -> bool {
    let url = format!("http://{host}/");
    !lab.bryo(&["exec", container, "timeout", "2", "wget", "-qO-", &url]).text().is_empty()
}

/// Whatever it had before: nothing that leads there, a network like it, or a way out.
#[test]
fn a_container_that_runs_comes_into_a_network_and_leaves_it_at_once() {
    for user in User::all() {
        let lab = Lab::new(&user);
        for network in ["front", "back"] {
            lab.bryo(&["network", "create", "--internal", network]).ok();
        }
        lab.serve("web", &["--network", "back"]);
        let web = lab.address("web", "back");
        for before in [&[][..], &["--network", "front"]] {
            let words = [&["run", "-d", "--name", "peer"], before, &[BUSYBOX, "sleep", "600"]].concat();
            lab.bryo(&words).ok();
            let resolver = || lab.bryo(&["exec", "peer", "cat", "/etc/resolv.conf"]).ok();
            let (devices, was) = (lab.bryo(&["exec", "peer", "ls", "/sys/class/net"]).ok(), resolver());
            assert!(!reaches(&lab, "peer", &web) && !reaches(&lab, "peer", "web"), "{before:?} for {}", user.name);
            lab.bryo(&["network", "connect", "--alias", "friend", "back", "peer"]).ok();
            assert_eq!(ask_from(&lab, "peer", "web"), "I am web", "{before:?} for {}", user.name);
            // It is found there, too, by all its names.
            let address = lab.address("peer", "back");
            for name in ["peer", "friend"] {
                let found = lab.bryo(&["exec", "web", "nslookup", name]);
                assert!(found.ok().contains(&address), "{found}");
            }
            let shown = lab.bryo(&["network", "inspect", "-f", "{{json .Containers}}", "back"]).ok();
            assert!(shown.contains("\"peer\""), "{shown}");
            lab.bryo(&["network", "connect", "back", "peer"]).fails(1, &["peer", "already", "back"]);
            lab.bryo(&["network", "disconnect", "back", "peer"]).ok();
            assert!(!reaches(&lab, "peer", &web) && !reaches(&lab, "peer", "web"), "{before:?} for {}", user.name);
            lab.bryo(&["exec", "web", "nslookup", "peer"]).fails(1, &[]);
            assert_eq!(lab.bryo(&["exec", "peer", "ls", "/sys/class/net"]).ok(), devices);
            assert_eq!(resolver(), was, "{before:?} for {}", user.name);
            let shown = lab.bryo(&["network", "inspect", "-f", "{{json .Containers}}", "back"]).ok();
            assert!(!shown.contains("\"peer\""), "{shown}");
            lab.bryo(&["network", "disconnect", "back", "peer"]).fails(1, &["peer", "not connected", "back"]);
            lab.bryo(&["network", "disconnect", "-f", "back", "peer"]).ok();
            lab.bryo(&["rm", "-f", "peer"]).ok();
        }
    }
}

#[test]
fn a_connection_stays_when_a_container_is_started_again() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--internal", "--subnet", "10.124.7.0/24", "back"]).ok();
    lab.serve("web", &["--network", "back"]);
    lab.bryo(&["create", "--name", "made", BUSYBOX, "sleep", "600"]).ok();
    let script = "while [ ! -e /tmp/end ]; do sleep 0.1; done; rm /tmp/end";
    lab.bryo(&["run", "-d", "--name", "runs", "--restart", "always", BUSYBOX, "sh", "-c", script]).ok();
    for name in ["made", "runs"] {
        let address = if name == "made" { "10.124.7.41" } else { "10.124.7.42" };
        lab.bryo(&["network", "connect", "--ip", address, "--alias", "other", "back", name]).ok();
        let shown = lab.bryo(&["inspect", "-f", "{{json .NetworkSettings.Networks.back.Aliases}}", name]).ok();
        assert_eq!(shown, "[\"other\"]");
        lab.bryo(&["restart", "-t", "0", name]).ok();
        assert_eq!(lab.address(name, "back"), address);
        assert_eq!(ask_from(&lab, name, "web"), "I am web");
    }
    // Its policy starts it again in the same process.
    lab.bryo(&["exec", "runs", "touch", "/tmp/end"]).ok();
    eventually("another run", || {
        let now = lab.bryo(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "runs"]).text();
        (now == "running 1").then_some(())
    });
    assert_eq!(ask_from(&lab, "runs", "web"), "I am web");
    for name in ["made", "runs"] {
        lab.bryo(&["stop", "-t", "0", name]).ok();
        lab.bryo(&["network", "disconnect", "back", name]).ok();
        lab.bryo(&["start", name]).ok();
        assert!(!reaches(&lab, name, "web"));
        assert_eq!(lab.bryo(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", name]).ok(), "{}");
    }
}

#[test]
fn a_container_in_a_foreground_is_connected_too() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--internal", "back"]).ok();
    lab.serve("web", &["--network", "back"]);
    let mark = mark();
    let run = lab.start(&["run", "--rm", "--name", "peer", BUSYBOX, "sleep", &mark]);
    Process::with_args(&["sleep", &mark]);
    eventually("the record", || lab.bryo(&["inspect", "peer"]).status.success().then_some(()));
    lab.bryo(&["network", "connect", "back", "peer"]).ok();
    assert_eq!(ask_from(&lab, "peer", "web"), "I am web");
    assert!(!lab.address("peer", "back").is_empty());
    lab.bryo(&["rename", "peer", "other"]).ok();
    assert!(lab.bryo(&["exec", "web", "nslookup", "other"]).ok().contains(&lab.address("other", "back")));
    lab.bryo(&["network", "disconnect", "back", "other"]).ok();
    assert!(!reaches(&lab, "other", "web"));
    lab.bryo(&["kill", "other"]).ok();
    drop(run);
}

#[test]
fn a_new_name_is_found_at_once_and_the_old_one_is_not() {
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "--internal", "back"]).ok();
        lab.serve("web", &["--network", "back", "--network-alias", "alias"]);
        lab.bryo(&["run", "-d", "--name", "peer", "--network", "back", BUSYBOX, "sleep", "600"]).ok();
        assert_eq!(ask_from(&lab, "peer", "web"), "I am web", "the control");
        for (old, new) in [("web", "a-name-that-is-longer"), ("a-name-that-is-longer", "w")] {
            lab.bryo(&["rename", old, new]).ok();
            lab.bryo(&["exec", "peer", "nslookup", old]).fails(1, &[]);
            for name in [new, "alias"] {
                assert_eq!(ask_from(&lab, "peer", name), "I am web", "{name} for {}", user.name);
            }
            let shown = lab.bryo(&["network", "inspect", "-f", "{{json .Containers}}", "back"]).ok();
            assert!(shown.contains(&format!("\"{new}\"")) && !shown.contains(&format!("\"{old}\"")), "{shown}");
        }
        lab.bryo(&["restart", "-t", "0", "w"]).ok();
        assert_eq!(ask_from(&lab, "peer", "w"), "I am web", "after a restart");
    }
}

#[test]
fn who_has_no_network_of_its_own_is_not_connected() {
    let Some(user) = User::ordinary() else { return };
    let lab = Lab::new(&user);
    lab.bryo(&["network", "create", "--internal", "--subnet", "10.124.8.0/24", "back"]).ok();
    lab.serve("web", &["--network", "back"]);
    for (name, network) in [("h", "host"), ("n", "none"), ("c", "container:web")] {
        lab.bryo(&["run", "-d", "--name", name, "--network", network, BUSYBOX, "sleep", "600"]).ok();
        lab.bryo(&["network", "connect", "back", name]).fails(1, &[name, "cannot be connected"]);
        lab.bryo(&["network", "disconnect", "back", name]).fails(1, &[name, "not connected"]);
    }
    lab.bryo(&["run", "-d", "--name", "p", BUSYBOX, "sleep", "600"]).ok();
    for (words, expected) in [
        (&["moon", "p"][..], "no such network: moon"),
        (&["back", "nobody"], "no such container: nobody"),
        (&["host", "p"], "host"),
        (&["--ip", "10.124.9.1", "back", "p"], "10.124.8.0/24"),
        (&["--ip", "10.124.8.1", "back", "p"], "gateway"),
        (&["--ip", &lab.address("web", "back"), "back", "p"], "in use"),
        (&["--alias", "a b", "back", "p"], "a b"),
    ] {
        lab.bryo(&[&["network", "connect"], words].concat()).fails(1, &[expected]);
        // What could not be had is not wanted later either.
        let shown = lab.bryo(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "p"]).ok();
        assert_eq!(shown, "{}", "{words:?}");
    }
    lab.bryo(&["network", "disconnect", "moon", "p"]).fails(1, &["no such network: moon"]);
    lab.bryo(&["network", "connect", "back", "p"]).ok();
    assert_eq!(ask_from(&lab, "p", "web"), "I am web", "the control");
}

/// The way out comes and goes with the networks that lead there.
#[test]
fn a_container_gets_a_way_out_by_a_network_and_has_none_without() {
    if !pasta() {
        return;
    }
    let Some(outside) = Outside::new() else { return };
    let world = greeter(outside.listen_in_the_world());
    let machine = greeter(outside.listen_on_the_machine("127.0.0.1"));
    for user in User::all() {
        let lab = Lab::new(&user);
        lab.bryo(&["network", "create", "open"]).ok();
        lab.bryo(&["network", "create", "--internal", "shut"]).ok();
        let bryo = |words: &[&str]| Running::start(outside.command(&lab.command(words)), false).wait();
        bryo(&["run", "-d", "--name", "peer", "--network", "shut", BUSYBOX, "sleep", "600"]).ok();
        let reached = |host: &str, port: u16| {
            let script = format!("echo | timeout 5 nc {host} {port}");
            bryo(&["exec", "peer", "sh", "-c", &script]).text().lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(reached(WORLD, world), "", "{}", user.name);
        bryo(&["network", "connect", "open", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "hello from the host", "{}", user.name);
        assert_eq!(reached("127.0.0.1", machine), "", "the machine's loopback");
        bryo(&["network", "disconnect", "open", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "", "{}", user.name);
        // Without any network it has none, now and when it is started again.
        bryo(&["network", "connect", "open", "peer"]).ok();
        bryo(&["network", "disconnect", "shut", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "hello from the host", "{}", user.name);
        bryo(&["network", "disconnect", "open", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "", "{}", user.name);
        bryo(&["restart", "-t", "0", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "", "{} after a restart", user.name);
        bryo(&["network", "connect", "open", "peer"]).ok();
        assert_eq!(reached(WORLD, world), "hello from the host", "{}", user.name);
    }
}
