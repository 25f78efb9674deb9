// SPDX-License-Identifier: Apache-2.0
use super::refused::REFUSED;
use super::*;

use bryo_engine::options::{self, Limits, Network, Pids, Pull, SdNotify, Seccomp, Source, Swap};

fn parse(flags: &[&str]) -> std::result::Result<RunArgs, clap::Error> {
    let command = RunArgs::augment_args(Command::new("run"));
    let matches = command.try_get_matches_from([&["run"], flags].concat())?;
    RunArgs::from_arg_matches(&matches)
}

fn variable(name: &str) -> Option<String> {
    (name == "HERE").then(|| "yes".to_owned())
}

/// The options of `bryo run FLAGS alpine`.
fn options(flags: &[&str]) -> Result<RunOptions> {
    let env = Environment { here: Path::new("/tmp"), variable: &variable };
    parse(&[flags, &["alpine"]].concat()).expect("the flags are known").options(&env)
}

type Expectation = fn(&RunOptions) -> bool;

fn holds(table: &[(&[&str], Expectation)]) {
    for (flags, expectation) in table {
        let options = options(flags).unwrap_or_else(|e| panic!("{flags:?}: {e}"));
        assert!(expectation(&options), "{flags:?}: {options:?}");
    }
}

#[test]
fn flags_of_the_container_have_dockers_meaning() {
    holds(&[
        (&[], |o| o.image == "alpine" && o.command.is_empty() && !o.remove && o.name.is_none() && o.pull.is_none()),
        (&["--rm", "--name", "web"], |o| o.remove && o.name.as_deref() == Some("web")),
        (&["--rm=true"], |o| o.remove),
        (&["--rm=false"], |o| !o.remove),
        (&["--rm", "--rm=0"], |o| !o.remove),
        (&["--name", "a", "--name=b"], |o| o.name.as_deref() == Some("b")),
        (&["--name", ""], |o| o.name.is_none()),
        (&["--pull", "always"], |o| o.pull == Some(Pull::Always)),
        (&["--pull=missing"], |o| o.pull == Some(Pull::Missing)),
        (&["--pull=never"], |o| o.pull == Some(Pull::Never)),
        (&["--platform", "linux/arm64"], |o| o.platform.as_deref() == Some("linux/arm64")),
        (&["--sdnotify", "container"], |o| o.sdnotify == SdNotify::Container),
        (&["--sdnotify=healthy"], |o| o.sdnotify == SdNotify::Healthy),
        (&["--sdnotify", "ignore"], |o| o.sdnotify == SdNotify::Ignore),
        (&["--sdnotify="], |o| o.sdnotify == SdNotify::Conmon),
        (&["--replace", "--name", "web"], |o| o.name.as_deref() == Some("web")),
        (&["--cidfile", "id"], |o| o.cidfile.as_deref() == Some(Path::new("/tmp/id"))),
        (&["--no-healthcheck", "--stop-signal", "INT", "--stop-timeout", "3"], |_| true),
        (&["-l", "a=b", "--label", "c"], |o| o.labels["a"] == "b" && o.labels["c"].is_empty()),
        (&["--annotation", "a=b"], |o| o.annotations["a"] == "b"),
    ]);
}

#[test]
fn flags_of_the_process_have_dockers_meaning() {
    holds(&[
        (&["-it"], |o| o.interactive && o.tty),
        (&["-ti", "--init"], |o| o.interactive && o.tty && o.init),
        (&["-i=true", "-t=false"], |o| o.interactive && !o.tty),
        (&["-iu", "root"], |o| o.interactive && o.user.as_deref() == Some("root")),
        (&["-u1000:1000"], |o| o.user.as_deref() == Some("1000:1000")),
        (&["--user="], |o| o.user.is_none()),
        (&["--group-add", "7", "--group-add", "adm"], |o| o.groups == ["7", "adm"]),
        (&["--userns", "keep-id"], |o| o.keep_id),
        (&["--userns", "auto"], |o| !o.keep_id),
        (&["--userns="], |o| !o.keep_id),
        (&["--entrypoint", ""], |o| o.entrypoint.as_ref().is_some_and(Vec::is_empty)),
        (&["--entrypoint", "/bin/a b"], |o| o.entrypoint.as_deref() == Some(&["/bin/a b".to_owned()])),
        (&[], |o| o.entrypoint.is_none()),
        (&["-w", "/srv"], |o| o.workdir.as_deref() == Some(Path::new("/srv"))),
        (&["-e", "A=b=c", "--env", "HERE", "-eC="], |o| o.env == ["A=b=c", "HERE=yes", "C="]),
        (&["-e", "NOT"], |o| o.env.is_empty() && o.unset_env == ["NOT"]),
        (&["-e", "A=1", "-e", "A"], |o| o.env.is_empty() && o.unset_env == ["A"]),
        (&["-e", "A", "-e", "A=2"], |o| o.env == ["A=2"] && o.unset_env.is_empty()),
        (&["--unsetenv", "A"], |o| o.unset_env == ["A"]),
        (&["--ulimit", "nofile=5", "--ulimit", "nofile=6:7"], |o| {
            o.ulimits == [options::ulimit("nofile=6:7").unwrap()]
        }),
        (&["--sig-proxy=false"], |o| o.no_signal_proxy),
        (&["--sig-proxy"], |o| !o.no_signal_proxy),
    ]);
}

#[test]
fn flags_of_files_have_dockers_meaning() {
    holds(&[
        (&["-v", ".:/work:ro,me"], |o| {
            o.mounts[0].source == Source::Bind("/tmp".into()) && o.mounts[0].read_only && o.mounts[0].me
        }),
        (&["--volume=data:/data"], |o| o.mounts[0].source == Source::Volume("data".into())),
        (&["--mount", "type=bind,src=/usr,dst=/x,readonly"], |o| o.mounts[0].read_only),
        (&["--tmpfs", "/scratch:size=1m"], |o| {
            matches!(o.mounts[0].source, Source::Tmpfs { size: Some(1_048_576), .. })
        }),
        (&["--shm-size", "1g"], |o| o.shm_size == Some(1 << 30)),
        (&["--shm-size", "0"], |o| o.shm_size.is_none()),
        (&[], |o| !o.writable && !o.strict_read_only),
        (&["--writable"], |o| o.writable && !o.exec_state),
        (&["--immutable"], |o| o.immutable && o.strict_read_only && !o.writable),
        (&["--exec-state"], |o| o.exec_state && !o.writable),
        (&["--read-only"], |o| o.strict_read_only && !o.writable),
        (&["--read-only=false"], |o| o.writable && !o.strict_read_only),
    ]);
}

#[test]
fn flags_of_confinement_and_network_have_dockers_meaning() {
    holds(&[
        (&["--cap-add", "NET_RAW", "--cap-drop=all"], |o| {
            o.cap_add == [options::capability("net_raw").unwrap()] && o.cap_drop_all && !o.cap_add_all
        }),
        (&["--cap-add=ALL", "--cap-drop", "CAP_CHOWN"], |o| o.cap_add_all && o.cap_drop.len() == 1),
        (&["--security-opt", "seccomp=unconfined"], |o| o.security.seccomp == Seccomp::Unconfined),
        (&["--security-opt=no-new-privileges"], |o| !o.security.new_privileges),
        (&["--privileged"], |o| {
            o.cap_add_all
                && o.writable
                && o.security.unmask_all
                && o.security.landlock == Some(false)
                && o.security.seccomp == Seccomp::Unconfined
                && !o.security.new_privileges
                && o.network.is_none()
        }),
        (&["--privileged=false"], |o| !o.cap_add_all && !o.writable),
        (&["--privileged", "--read-only"], |o| o.strict_read_only && !o.writable),
        (&["--security-opt", "landlock=require", "--privileged"], |o| o.security.landlock == Some(true)),
        (&["--sysctl", "net.core.somaxconn=9"], |o| o.sysctls["net.core.somaxconn"] == "9"),
        (&["--network", "none"], |o| o.network == Some(Network::None)),
        (&["--net=host"], |o| o.network == Some(Network::Host)),
        (&["--network=bridge"], |o| o.network == Some(Network::Private)),
        (&["-p", "80", "--publish=127.0.0.1:8080:80/udp"], |o| {
            o.publish.iter().map(ToString::to_string).eq(["80/tcp", "127.0.0.1:8080:80/udp"]) && !o.publish_all
        }),
        (&["-p8080-8082:80-82"], |o| o.publish.len() == 3),
        (&["-P"], |o| o.publish_all),
        (&["-P=false", "--expose", "80-81", "--expose=53/udp"], |o| !o.publish_all && o.expose.len() == 3),
        (&["-h", "box"], |o| o.hostname.as_deref() == Some("box")),
        (&["--add-host", "db:10.0.0.1"], |o| o.hosts == [("db".to_owned(), "10.0.0.1".to_owned())]),
        (&["--dns", "9.9.9.9", "--dns-search", "a.b", "--dns-opt", "ndots:1", "--dns-option=rotate"], |o| {
            o.dns.servers == ["9.9.9.9"] && o.dns.search == ["a.b"] && o.dns.options == ["ndots:1", "rotate"]
        }),
    ]);
}

#[test]
fn flags_of_limits_have_dockers_meaning() {
    holds(&[
        (&[], |o| o.limits == Limits::default()),
        (&["-m", "64m", "--memory-swap", "-1"], |o| {
            o.limits.memory == Some(64 << 20) && o.limits.memory_swap == Some(Swap::Unlimited)
        }),
        (&["--memory=1g", "--memory-reservation=512m"], |o| o.limits.memory_reservation == Some(512 << 20)),
        (&["--cpus", "1.5"], |o| o.limits.cpu_quota == Some(150_000) && o.limits.cpu_period == Some(100_000)),
        (&["--cpu-quota", "50000", "--cpu-period=20000"], |o| {
            o.limits.cpu_quota == Some(50_000) && o.limits.cpu_period == Some(20_000)
        }),
        (&["--cpu-quota", "-1"], |o| o.limits == Limits::default()),
        (&["-c", "512"], |o| o.limits.cpu_shares == Some(512)),
        (&["--cpuset-cpus", "0,2-3", "--cpuset-mems", "0"], |o| {
            o.limits.cpuset_cpus.as_deref() == Some("0,2-3") && o.limits.cpuset_mems.as_deref() == Some("0")
        }),
        (&["--pids-limit", "50"], |o| o.limits.pids == Pids::Most(50)),
        (&["--pids-limit", "-1"], |o| o.limits.pids == Pids::Unlimited),
        (&["--blkio-weight", "500"], |o| o.limits.block_weight == Some(500)),
        (&["--cgroups", "enabled"], |o| o.limits.own_group),
    ]);
}

#[test]
fn everything_after_the_image_belongs_to_the_command() {
    let env = Environment { here: Path::new("/tmp"), variable: &variable };
    for command in [
        &["sh", "-c", "echo hi"][..],
        &["--rm", "-it", "--memory", "1g", "--help"],
        &["-d"],
        &["env", "--", "-i", "--"],
        &["--"],
        &[""],
    ] {
        let args = parse(&[&["--init", "alpine"], command].concat()).unwrap();
        let options = args.options(&env).unwrap();
        assert_eq!(
            (options.image.as_str(), options.command.as_slice()),
            ("alpine", &command.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..])
        );
        assert!(options.init && !options.remove);
    }
    assert_eq!(parse(&["--init", "--", "alpine", "-x"]).unwrap().options(&env).unwrap().command, ["-x"]);
}

#[test]
fn every_refused_flag_says_why() {
    for refusal in REFUSED {
        let long = format!("--{}", refusal.long);
        let flags = if refusal.is_switch() { vec![long.clone()] } else { vec![long.clone(), "asked".to_owned()] };
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        // The one switch whose `true` asks for nothing.
        let flags = if refusal.long == "disable-content-trust" { vec!["--disable-content-trust=false"] } else { flags };
        let error = options(&flags).expect_err(&long);
        assert_eq!(error.kind(), Kind::Unsupported, "{long}");
        let text = error.to_string();
        assert!(text.starts_with(&long) && text.ends_with("nothing was started") && !text.contains('\n'), "{text}");
    }
}

#[test]
fn the_known_ways_to_ask_in_vain_are_refused() {
    for flags in [
        &["-p", "80:80/sctp"][..],
        &["--memory-swappiness", "10"],
        &["--device-read-bps", "/dev/sda:1m"],
        &["--device", "/dev/fuse"],
        &["--userns", "host"],
        &["--pid", "host"],
        &["--ipc=host"],
        &["--uts", "host"],
        &["--cgroupns", "host"],
        &["--add-host", "host.docker.internal:host-gateway"],
        &["--security-opt", "apparmor=mine"],
    ] {
        assert_eq!(options(flags).expect_err("refused").kind(), Kind::Unsupported, "{flags:?}");
    }
}

#[test]
fn asking_for_nothing_is_accepted() {
    for flags in [
        &["--detach=false"][..],
        &["--restart", "no"],
        &["--memory", "0", "--memory-swap", "-1", "--pids-limit", "-1", "--cpus", "0"],
        &["--ipc", "private", "--pid", "private", "--uts=", "--cgroupns=private"],
        &["--disable-content-trust"],
        &["--oom-kill-disable=false"],
        &["--log-driver", "none"],
    ] {
        assert!(options(flags).is_ok(), "{flags:?}");
    }
}

#[test]
fn values_that_are_not_understood_are_refused() {
    for flags in [
        &["--pull", "sometimes"][..],
        &["--restart", "sometimes"],
        &["--stop-signal", "SIGWAT"],
        &["--stop-timeout", "soon"],
        &["--log-opt", "max-size=lots"],
        &["--network", "w/at"],
        &["--net-alias", "a"],
        &["--ip", "10.0.0.9"],
        &["-p", "80:wat"],
        &["--expose", "80:80"],
        &["--user", "u", "-w", "relative"],
        &["-e", "=x"],
        &["-e", "a b=c"],
        &["--userns", "wat"],
        &["--hostname", "a/b"],
        &["--dns", "example.org"],
        &["--dns-search", "a\nnameserver 1.2.3.4"],
        &["--ulimit", "nofile"],
        &["--sysctl", "kernel.core_pattern=x"],
        &["--cap-add", "everything"],
        &["--shm-size", "lots"],
        &["--label", "=x"],
        &["--writable", "--read-only"],
        &["--writable", "--immutable"],
        &["--immutable", "--read-only=false"],
        &["-v", "/usr:/x", "--tmpfs", "/x"],
        &["--platform", "//"],
        &["--security-opt", "wat"],
        &["--memory", "lots"],
        &["-m", "1k"],
        &["--cpus", "0.001"],
        &["--cpus", "1", "--cpu-quota", "5000"],
        &["--memory-swap", "1g"],
        &["--pids-limit", "many"],
        &["--cpuset-cpus", "all"],
        &["--cgroups", "split"],
        &["--replace"],
        &["--sdnotify", "never"],
    ] {
        assert_eq!(options(flags).expect_err("refused").kind(), Kind::InvalidOption, "{flags:?}");
    }
}

#[test]
fn files_are_read_in_order_before_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("env"), "A=1\nHERE\n").unwrap();
    std::fs::write(dir.path().join("labels"), "# mine\nx=1\ny=1\n").unwrap();
    let env = Environment { here: dir.path(), variable: &variable };
    let args = parse(&["-e", "A=2", "--env-file", "env", "-l", "x=2", "--label-file", "labels", "alpine"]).unwrap();
    let options = args.options(&env).unwrap();
    assert_eq!(options.env, ["HERE=yes", "A=2"]);
    assert_eq!((options.labels["x"].as_str(), options.labels["y"].as_str()), ("2", "1"));
    let missing = parse(&["--env-file", "none", "alpine"]).unwrap().options(&env).unwrap_err();
    assert_eq!(missing.kind(), Kind::Source);
    assert!(missing.to_string().contains("/none"), "{missing}");
}

#[test]
fn unknown_flags_and_a_missing_image_are_errors_of_the_command_line() {
    for flags in [&["--wat", "alpine"][..], &["-Z", "alpine"], &[], &["--rm"], &["--rm=maybe", "alpine"]] {
        assert!(parse(flags).is_err(), "{flags:?}");
    }
    assert_eq!(parse(&["--help"]).unwrap_err().kind(), clap::error::ErrorKind::DisplayHelp);
}

#[test]
fn the_help_shows_what_works_and_only_that() {
    let mut command = RunArgs::augment_args(Command::new("run"));
    let help = command.render_help().to_string();
    for shown in [
        "Usage: bryo run [OPTIONS] IMAGE [COMMAND [ARG]...]",
        "-h, --hostname <NAME>",
        "--rm",
        "Confinement:",
        "Arguments:",
    ] {
        assert!(help.contains(shown), "{shown:?} is not in\n{help}");
    }
    for hidden in ["--memory-swappiness", "[default", "possible values"] {
        assert!(!help.contains(hidden), "{hidden:?} is in\n{help}");
    }
}

#[test]
fn the_grammar_is_consistent_below_other_commands() {
    RunArgs::augment_args(Command::new("run")).debug_assert();
    let root = Command::new("bryo").subcommand(Command::new("run").about("it").defer(RunArgs::augment_args));
    let matches = root.clone().try_get_matches_from(["bryo", "run", "-h", "box", "-it", "alpine", "-c"]).unwrap();
    let args = RunArgs::from_arg_matches(matches.subcommand().unwrap().1).unwrap();
    assert_eq!(args.flags.image_and_command, ["alpine", "-c"]);
    let help = root.try_get_matches_from(["bryo", "run", "--help"]).unwrap_err();
    assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
    assert!(help.to_string().starts_with("it\n"), "{help}");
}
