// SPDX-License-Identifier: Apache-2.0
//! What a plan promises, whatever the flags.

use bryo_identity::HostId;
use bryo_identity::map::Caller;
use bryo_identity::rung::Rung;
use bryo_identity::subid::Range;
use oci_spec::image::ConfigBuilder;
use oci_spec::runtime::{Capability, LinuxNamespaceType, Mount as SpecMount, Process};

use super::*;
use crate::error::{Kind, Result};
use crate::options::{Dns, Endpoint, Limits, Mount, Pids, Seccomp, Security};

/// What two processors tell of themselves.
const THROTTLES: [&str; 2] =
    ["/sys/devices/system/cpu/cpu0/thermal_throttle", "/sys/devices/system/cpu/cpu1/thermal_throttle"];

/// What a test says about the container; the rest is a stock image on the first rung.
struct Case {
    options: RunOptions,
    config: oci_spec::image::Config,
    facts: Facts,
    network: Network,
    single: bool,
    root: Option<RootFs>,
    kernel: (u32, u32),
    processes: Option<u64>,
}

impl Case {
    fn new(options: RunOptions) -> Self {
        let facts = Facts {
            uid: 65532,
            gid: 65532,
            groups: vec![101],
            name: "nonroot".into(),
            home: "/home/nonroot".into(),
            shell: "/bin/sh".into(),
            state: vec!["/var".into(), "/run".into()],
            executable: vec!["/run".into()],
            layer: None,
        };
        let config = ConfigBuilder::default().cmd(vec!["serve".to_owned()]).build().unwrap();
        let (kernel, processes) = ((6, 1), None);
        Self { options, config, facts, network: Network::Private, single: false, root: None, kernel, processes }
    }

    fn root_inside(mut self) -> Self {
        (self.facts.uid, self.facts.gid) = (0, 0);
        self
    }

    fn plan(&self) -> Result<Planned> {
        let mut image = ImageConfiguration::default();
        image.set_config(Some(self.config.clone()));
        let range = [Range { start: HostId::new(100_000).unwrap(), count: 65536 }];
        let run = self.facts.run_ids();
        let id = HostId::new(1000).unwrap();
        let ids = match self.single {
            true => IdMap::single(Caller { uid: id, gid: id }, run),
            false => IdMap::subordinate(Rung::Subordinate, &range, &range, run).unwrap(),
        };
        let layers = RootFs::Overlay { lowers: vec!["/l".into()], scratch: "/s".into(), volatile: false };
        let host = HostFacts {
            resolver: "nameserver 192.0.2.1\nsearch example.org\n".into(),
            unified_cgroup: true,
            kernel: self.kernel,
            terminal: Some((24, 80)),
            throttles: strings(&THROTTLES),
            processes: self.processes,
        };
        plan(Input {
            id: &Id::parse(&"ab".repeat(32)).unwrap(),
            options: &self.options,
            image: Some(&image),
            facts: &self.facts,
            network: self.network,
            host: &host,
            ids,
            helpers: None,
            root: self.root.clone().unwrap_or(layers),
            volumes: Path::new("/volumes"),
            landlock: Landlock::WhereAvailable,
            pids_limit: Some(2048),
        })
    }

    fn done(&self) -> Planned {
        self.plan().unwrap()
    }

    fn process(&self) -> Process {
        self.done().plan.spec.process().clone().unwrap()
    }

    fn env(&self) -> Vec<String> {
        self.process().env().clone().unwrap()
    }

    fn args(&self) -> Result<Vec<String>> {
        Ok(self.plan()?.plan.spec.process().as_ref().unwrap().args().clone().unwrap())
    }

    fn mounts(&self) -> Vec<SpecMount> {
        self.done().plan.spec.mounts().clone().unwrap()
    }
}

fn stock() -> Case {
    Case::new(RunOptions::default())
}

fn volume(text: &str) -> Mount {
    Mount::parse_volume(text, Path::new("/")).unwrap()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// Many ways to relax something, none of which asks for a capability or for new privileges.
fn relaxations() -> Vec<RunOptions> {
    let with = |change: fn(&mut RunOptions)| {
        let mut options = RunOptions::default();
        change(&mut options);
        options
    };
    vec![
        RunOptions::default(),
        with(|o| o.writable = true),
        with(|o| o.security.seccomp = Seccomp::Unconfined),
        with(|o| o.security.unmask_all = true),
        with(|o| o.security.landlock = Some(false)),
        with(|o| o.network = Some(Network::Host)),
        with(|o| o.keep_id = true),
        with(|o| o.init = true),
        with(|o| o.tty = true),
        with(|o| o.cap_drop_all = true),
        with(|o| o.mounts = vec![volume("/usr:/x:me")]),
        with(|o| o.groups = strings(&["0"])),
    ]
}

#[test]
fn nobody_has_a_capability_that_was_not_asked_for() {
    for options in relaxations() {
        for network in [Network::Private, Network::None, Network::Host] {
            let case = Case { network, ..Case::new(options.clone()) };
            let process = case.process();
            let sets = process.capabilities().clone().unwrap();
            let all = [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()];
            for set in all {
                // A set that is absent would be empty too; that it is there says that it was thought of.
                assert!(set.as_ref().is_some_and(|s| s.is_empty()), "{options:?}");
            }
            assert_eq!(process.no_new_privileges(), Some(true), "{options:?}");
        }
    }
    let asked = RunOptions { cap_add: vec![Capability::NetRaw], ..RunOptions::default() };
    let sets = Case::new(asked).process().capabilities().clone().unwrap();
    for set in [sets.bounding(), sets.effective(), sets.permitted(), sets.inheritable(), sets.ambient()] {
        assert_eq!(set.as_ref().unwrap().iter().collect::<Vec<_>>(), [&Capability::NetRaw]);
    }
}

#[test]
fn root_inside_inherits_nothing() {
    // CVE-2022-24769 and its like: a full inheritable set gives file capabilities to whoever executes the file.
    let sets = stock().root_inside().process().capabilities().clone().unwrap();
    assert!(sets.inheritable().as_ref().unwrap().is_empty() && sets.ambient().as_ref().unwrap().is_empty());
    assert_eq!(sets.bounding().as_ref().unwrap().len(), 10);
    assert_eq!(sets.bounding(), sets.effective());
}

#[test]
fn new_privileges_only_when_told() {
    let security = Security { new_privileges: true, ..Security::default() };
    let planned = Case::new(RunOptions { security, ..RunOptions::default() }).done();
    assert_eq!(planned.plan.spec.process().as_ref().unwrap().no_new_privileges(), Some(false));
    assert_eq!(planned.relaxed, ["--security-opt no-new-privileges=false"]);
}

#[test]
fn the_default_relaxes_nothing_and_filters() {
    let planned = stock().done();
    assert!(planned.relaxed.is_empty() && planned.notes.is_empty());
    let spec = &planned.plan.spec;
    assert_eq!(spec.root().as_ref().unwrap().readonly(), Some(true));
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_some() && linux.resources().is_none());
    let own: Vec<_> = linux.namespaces().as_ref().unwrap().iter().map(|n| n.typ()).collect();
    assert_eq!(own.len(), 7);
    assert!(linux.namespaces().iter().flatten().all(|n| n.path().is_none()));
    assert_eq!(planned.plan.state, [PathBuf::from("/var"), "/run".into()]);
    assert_eq!(planned.plan.executable, [PathBuf::from("/run")]);
    let mounts = RunOptions { immutable: true, cap_add: vec![Capability::SysAdmin], ..RunOptions::default() };
    assert!(Case::new(mounts).plan().is_err());
    let asked = Case::new(RunOptions { exec_state: true, ..RunOptions::default() }).done();
    assert_eq!(asked.plan.executable, asked.plan.state);
    assert!(asked.relaxed.contains(&"--exec-state".to_owned()), "{:?}", asked.relaxed);
    assert_eq!(spec.hostname().as_deref(), Some("abababababab"));
    assert_eq!(linux.sysctl().as_ref().unwrap()["net.ipv4.ip_unprivileged_port_start"], "0");
}

#[test]
fn what_docker_hides_is_hidden() {
    // Source: Docker's `DefaultLinuxSpec`, masked and read-only paths.
    let docker = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let linux = stock().done().plan.spec.linux().clone().unwrap();
    let masked = linux.masked_paths().clone().unwrap();
    assert!(docker.iter().chain(&THROTTLES).all(|path| masked.iter().any(|m| m == path)));
    let read_only = linux.readonly_paths().clone().unwrap();
    assert!(
        ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            .iter()
            .all(|path| read_only.iter().any(|r| r == path))
    );
    let security = Security {
        unmask: vec!["/proc/keys".into(), THROTTLES[0].into()],
        mask: vec!["/proc/cpuinfo".into()],
        ..Security::default()
    };
    let linux = Case::new(RunOptions { security, ..RunOptions::default() }).done().plan.spec.linux().clone().unwrap();
    let masked = linux.masked_paths().clone().unwrap();
    assert!(
        !masked.contains(&"/proc/keys".into())
            && !masked.contains(&THROTTLES[0].into())
            && masked.contains(&THROTTLES[1].into())
            && masked.contains(&"/proc/cpuinfo".into())
            && masked.contains(&"/proc/kcore".into())
    );
}

#[test]
fn commands_are_joined_as_docker_joins_them() {
    let both = |entrypoint: Option<&[&str]>, command: &[&str]| {
        let options =
            RunOptions { entrypoint: entrypoint.map(strings), command: strings(command), ..RunOptions::default() };
        let mut case = Case::new(options);
        case.config = ConfigBuilder::default().entrypoint(strings(&["e"])).cmd(strings(&["c"])).build().unwrap();
        case.args()
    };
    assert_eq!(both(None, &[]).unwrap(), ["e", "c"]);
    assert_eq!(both(None, &["x", "y"]).unwrap(), ["e", "x", "y"]);
    assert_eq!(both(Some(&["n"]), &[]).unwrap(), ["n"]);
    assert_eq!(both(Some(&["n"]), &["x"]).unwrap(), ["n", "x"]);
    assert_eq!(both(Some(&[]), &["x"]).unwrap(), ["x"]);
    assert_eq!(both(Some(&[]), &[]).unwrap_err().kind(), Kind::NoCommand);
    assert_eq!(both(Some(&[]), &[""]).unwrap_err().kind(), Kind::NoCommand);
}

#[test]
fn the_environment_is_built_and_never_the_callers() {
    let mut case = Case::new(RunOptions { env: strings(&["B=mine", "N=1"]), ..RunOptions::default() });
    // CVE-2026-57231: a name without a value is no variable of the image.
    case.config =
        ConfigBuilder::default().env(strings(&["A=a=b", "B=image", "HOME", "PATH", "=x", "SECRET"])).build().unwrap();
    case.options.command = strings(&["x"]);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(case.env(), [path, "HOSTNAME=abababababab", "HOME=/home/nonroot", "A=a=b", "B=mine", "N=1"]);
    case.options.tty = true;
    assert!(case.env().contains(&"TERM=xterm".into()));
    case.options.unset_env = strings(&["A"]);
    assert!(!case.env().iter().any(|e| e.starts_with("A=")));
}

#[test]
fn working_directories_stay_inside() {
    let cwd = |image: &str, flag: Option<&str>| {
        let mut case = stock();
        case.config.set_working_dir(Some(image.to_owned()));
        case.options.workdir = flag.map(PathBuf::from);
        case.process().cwd().clone()
    };
    assert_eq!(cwd("", None), Path::new("/"));
    assert_eq!(cwd("srv/app/", None), Path::new("/srv/app"));
    assert_eq!(cwd("/../../etc", None), Path::new("/etc"));
    assert_eq!(cwd("/srv", Some("/x//y/.")), Path::new("/x/y"));
}

#[test]
fn no_mount_hides_another_or_a_generated_file() {
    let mounts = ["/usr:/a/b/c", "/usr:/a", "/usr:/a/b"].map(volume).into();
    let case = Case::new(RunOptions { mounts, ..RunOptions::default() });
    let targets: Vec<_> =
        case.mounts().iter().map(|m| m.destination().clone()).filter(|t| t.starts_with("/a")).collect();
    assert_eq!(targets, [PathBuf::from("/a"), "/a/b".into(), "/a/b/c".into()]);

    let hidden = ["/usr:/data/x", "vol:/data"].map(volume).into();
    let refused = Case::new(RunOptions { mounts: hidden, ..RunOptions::default() }).plan().unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    let nested = ["b:/data/x", "a:/data"].map(volume).into();
    let planned = Case::new(RunOptions { mounts: nested, ..RunOptions::default() }).done();
    let order: Vec<_> = planned.plan.volumes.iter().map(|v| v.directory.clone()).collect();
    assert_eq!(order, [PathBuf::from("/volumes/a"), "/volumes/b".into()]);

    let mounts = vec![volume("/usr:/etc/resolv.conf")];
    let planned = Case::new(RunOptions { mounts, ..RunOptions::default() }).done();
    let files: Vec<_> = planned.plan.files.iter().map(|f| f.path.clone()).collect();
    assert_eq!(files, [PathBuf::from("/etc/hosts"), "/etc/hostname".into()]);
}

#[test]
fn mounts_of_the_caller_carry_no_set_user_id_and_no_devices() {
    let mounts = vec![volume("/usr:/x"), volume("/usr:/y:ro"), Mount::parse_tmpfs("/t").unwrap()];
    let case = Case::new(RunOptions { mounts, ..RunOptions::default() });
    let of = |target: &str| -> Vec<String> {
        let mount = case.mounts().into_iter().find(|m| m.destination() == Path::new(target)).unwrap();
        mount.options().clone().unwrap()
    };
    for target in ["/x", "/y", "/t"] {
        assert!(["nosuid", "nodev"].iter().all(|o| of(target).iter().any(|p| p == o)), "{target}");
    }
    assert!(of("/y").contains(&"ro".into()) && !of("/x").contains(&"ro".into()));
    assert!(of("/t").contains(&"noexec".into()));
}

#[test]
fn a_network_that_is_not_its_own_is_never_configured() {
    for network in [Network::Host, Network::Container] {
        never_configured(Case { network, ..stock() });
    }
    let masked = Case { network: Network::Container, ..stock() }.done().plan.spec.linux().clone().unwrap();
    assert!(masked.masked_paths().iter().flatten().any(|path| path == "/sys/class/net"), "the host's devices");
}

fn never_configured(mut case: Case) {
    let linux = case.done().plan.spec.linux().clone().unwrap();
    assert!(linux.sysctl().as_ref().unwrap().is_empty());
    assert!(linux.namespaces().iter().flatten().all(|n| n.typ() != LinuxNamespaceType::Network));
    let sys = case.mounts().into_iter().find(|m| m.destination() == Path::new("/sys")).unwrap();
    assert!(sys.options().iter().flatten().any(|o| o == "ro"));
    case.options.sysctls.insert("net.core.somaxconn".into(), "1".into());
    assert_eq!(case.plan().unwrap_err().kind(), Kind::InvalidOption);
}

#[test]
fn a_terminal_belongs_to_a_group_that_is_mapped() {
    let pts = |case: &Case| -> Vec<String> {
        let mount = case.mounts().into_iter().find(|m| m.destination() == Path::new("/dev/pts")).unwrap();
        mount.options().clone().unwrap()
    };
    assert!(pts(&stock()).contains(&"gid=5".into()));
    assert!(!pts(&Case { single: true, ..stock() }).iter().any(|o| o.starts_with("gid=")));
    let ping = Case { single: true, ..stock() }.done().plan.spec.linux().clone().unwrap();
    assert_eq!(ping.sysctl().as_ref().unwrap()["net.ipv4.ping_group_range"], "65532 65532");
}

#[test]
fn a_resolver_that_was_given_replaces_the_hosts() {
    let resolver = |dns: Dns, network: Network| {
        let planned = Case { network, ..Case::new(RunOptions { dns, ..RunOptions::default() }) }.done();
        let file = planned.plan.files.into_iter().find(|f| f.path == Path::new("/etc/resolv.conf")).unwrap();
        (String::from_utf8(file.content).unwrap(), planned.forward_dns)
    };
    assert_eq!(resolver(Dns::default(), Network::None), (String::new(), false));
    assert!(resolver(Dns::default(), Network::Host).0.contains("192.0.2.1"));
    let given = Dns { servers: strings(&["192.0.2.9"]), ..Dns::default() };
    let (text, forwards) = resolver(given, Network::Private);
    assert!(text.starts_with("nameserver 192.0.2.9\n") && !text.contains("192.0.2.1") && !forwards);
}

#[test]
fn in_networks_the_containers_own_resolver_stands_before_the_others() {
    let networks = vec![Endpoint { network: "back".into(), ..Endpoint::default() }];
    let planned = |dns: Dns, network: Network| {
        let options = RunOptions { dns, networks: networks.clone(), ..RunOptions::default() };
        let planned = Case { network, ..Case::new(options) }.done();
        let file = planned.plan.files.into_iter().find(|f| f.path == Path::new("/etc/resolv.conf")).unwrap();
        (
            String::from_utf8(file.content).unwrap(),
            planned.upstreams.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    };
    let (text, upstreams) = planned(Dns::default(), Network::Private);
    assert_eq!(text, "nameserver 127.0.0.11\nsearch example.org\n");
    assert_eq!(upstreams, ["192.0.2.1"]);
    let given = Dns { servers: strings(&["192.0.2.8", "2001:db8::9"]), ..Dns::default() };
    assert_eq!(planned(given, Network::Private).1, ["192.0.2.8", "2001:db8::9"]);
    assert_eq!(planned(Dns::default(), Network::None), ("nameserver 127.0.0.11\n".into(), Vec::new()));
}

#[test]
fn landlock_gives_way_to_a_payload_that_mounts_but_not_when_required() {
    let landlock = |landlock: Option<bool>, cap_add_all: bool| {
        let security = Security { landlock, ..Security::default() };
        Case::new(RunOptions { security, cap_add_all, ..RunOptions::default() }).done().plan.landlock
    };
    assert_eq!(landlock(None, false), Landlock::WhereAvailable);
    assert_eq!(landlock(None, true), Landlock::Off);
    assert_eq!(landlock(Some(true), true), Landlock::Required);
    assert_eq!(landlock(Some(false), false), Landlock::Off);
}

#[test]
fn secrets_of_the_host_are_masked_unless_something_is_mounted_there() {
    let root = || Some(RootFs::Empty { links: Vec::new(), directories: vec![("/etc".into(), 0o755)] });
    let masked = |mounts: Vec<Mount>| -> Vec<String> {
        let case = Case { root: root(), ..Case::new(RunOptions { mounts, ..RunOptions::default() }) };
        case.done().plan.spec.linux().as_ref().unwrap().masked_paths().clone().unwrap()
    };
    assert!(masked(Vec::new()).contains(&"/etc/shadow".into()));
    let mounted = masked(vec![volume("/usr:/etc/ssl/private")]);
    assert!(!mounted.contains(&"/etc/ssl/private".into()) && mounted.contains(&"/etc/shadow".into()));
}

#[test]
fn a_read_only_container_has_no_writable_state() {
    for options in [
        RunOptions { strict_read_only: true, ..RunOptions::default() },
        RunOptions { writable: true, ..RunOptions::default() },
    ] {
        assert!(Case::new(options).done().plan.state.is_empty());
    }
}

#[test]
fn the_spec_is_printed_and_read_back() {
    let spec = stock().done().plan.spec;
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<oci_spec::runtime::Spec>(&text).unwrap(), spec);
}

#[test]
fn processes_are_limited_when_nobody_says_how() {
    let limit = |change: fn(&mut Case)| {
        let mut case = Case::new(RunOptions::default());
        change(&mut case);
        let limits = case.process().rlimits().clone().unwrap_or_default();
        limits.iter().map(|limit| (limit.typ().to_string(), limit.soft(), limit.hard())).collect::<Vec<_>>()
    };
    let nproc = |n: u64| vec![("RLIMIT_NPROC".to_owned(), n, n)];
    assert_eq!(limit(|_| ()), nproc(2048));
    assert_eq!(limit(|case| case.processes = Some(100)), nproc(100), "the caller has no more");
    assert_eq!(limit(|case| case.options.ulimits = vec![crate::options::ulimit("nproc=5").unwrap()]), nproc(5));
    assert_eq!(limit(|case| case.kernel = (5, 13)), [], "it would be counted over all containers");
    assert_eq!(limit(|case| case.options.limits.pids = Pids::Unlimited), []);
    assert_eq!(limit(|case| case.options.limits.pids = Pids::Most(50)), [], "that is the control group's");
}

#[test]
fn limits_are_said_in_the_words_of_the_spec() {
    let linux = Case::new(RunOptions::default()).done().plan.spec.linux().clone().unwrap();
    assert!(linux.resources().is_none() && linux.cgroups_path().is_none());
    let limits = Limits { memory: Some(64 << 20), pids: Pids::Most(50), ..Limits::default() };
    let linux = Case::new(RunOptions { limits, ..RunOptions::default() }).done().plan.spec.linux().clone().unwrap();
    let resources = linux.resources().clone().unwrap();
    assert_eq!(resources.memory().unwrap().limit(), Some(64 << 20));
    assert_eq!(resources.pids().unwrap().limit(), 50);
    assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new(":bryo:abababababab")));
}

fn published(words: &[&str]) -> Case {
    let publish = words.iter().flat_map(|text| crate::options::publish(text).unwrap()).collect();
    Case::new(RunOptions { publish, ..RunOptions::default() })
}

#[test]
fn published_ports_have_what_the_image_exposes_beside_them() {
    let mut case = published(&["8080:80", "127.0.0.1::53/udp"]);
    case.options.expose = crate::options::expose("7000-7001").unwrap();
    case.config.set_exposed_ports(Some(vec!["80/tcp".into(), "443".into(), "wat".into()]));
    let ports = case.done().ports;
    assert!(ports.published.iter().eq(case.options.publish.iter().map(|publish| &publish.0)));
    let exposed: Vec<String> = ports.exposed.iter().map(ToString::to_string).collect();
    assert_eq!(exposed, ["53/udp", "80/tcp", "443/tcp", "7000/tcp", "7001/tcp"]);
    assert_eq!(case.done().relaxed, ["--publish"]);
    // What the image says that is no port matters when it is to be published.
    case.options.publish_all = true;
    assert_eq!(case.plan().unwrap_err().kind(), Kind::InvalidOption);
    case.config.set_exposed_ports(Some(vec!["80/tcp".into(), "443".into()]));
    let containers: Vec<u16> = case.done().ports.published.iter().map(|w| w.container).collect();
    assert_eq!(containers, [80, 53, 443, 7000, 7001]);
}

#[test]
fn ports_are_published_on_the_private_network_only() {
    let mut case = published(&["8080:80"]);
    for network in [Network::None, Network::Container] {
        case.network = network;
        assert_eq!(case.plan().unwrap_err().kind(), Kind::InvalidOption);
    }
    case.network = Network::Host;
    let planned = case.done();
    assert!(planned.ports == Ports::default() && planned.relaxed.is_empty());
    assert!(planned.notes[0].contains("discarded"), "{:?}", planned.notes);
    case.options.publish.clear();
    assert!(case.done().notes.is_empty());
}

#[test]
fn ports_that_contradict_each_other_are_refused() {
    let kind = |words: &[&str]| published(words).plan().map_err(|e| e.kind()).err();
    for twice in [
        ["8080:80", "8080:81"],
        ["8080:80", "127.0.0.1:8080:80"],
        ["0.0.0.0:8080:80", "127.0.0.1:8080:80"],
        ["8080:80", "8080:80"],
    ] {
        assert_eq!(kind(&twice), Some(Kind::InvalidOption), "{twice:?}");
    }
    for impossible in [["127.0.0.1:8080:80", "[::1]:8080:81"], ["53:53/udp", "54:53/udp"], ["53/udp", "53/udp"]] {
        assert_eq!(kind(&impossible), Some(Kind::Unsupported), "{impossible:?}");
    }
    for possible in [
        ["8080:80", "8081:80"],
        ["8080:80/tcp", "8080:80/udp"],
        ["127.0.0.1:8080:80", "[::1]:8080:80"],
        ["80", "80"],
        ["8000-8001:80", "8000-8001:80"],
    ] {
        assert_eq!(kind(&possible), None, "{possible:?}");
    }
}
