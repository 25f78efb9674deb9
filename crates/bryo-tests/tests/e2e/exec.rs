// SPDX-License-Identifier: Apache-2.0
//! `exec`: another process in a container, as who the container is, and confined as it is.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::PROBE;
use bryo_tests::program::eventually;
use bryo_tests::pty::Terminal;
use bryo_tests::user::Rung;
use bryo_tests::{Detached, Home, Report, User};
use rustix::process::Signal;

/// Everything by which one process may be stronger than another.
const CONFINEMENT: [&str; 12] = [
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Umask",
];
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Runs a process in a container that sleeps until the command is killed; returns both.
#[track_caller]
fn entered(home: &Home, container: &Detached<'_>, flags: &[&str]) -> (bryo_tests::Running, Process) {
    let mark = mark();
    let run = home.start(&[&["exec"], flags, &[&container.name, "sleep", &mark]].concat());
    (run, Process::with_args(&["sleep", &mark]))
}

#[track_caller]
fn assert_in_the_same_namespaces(one: Process, other: Process) {
    for name in NAMESPACES {
        assert_eq!(one.namespace(name), other.namespace(name), "{name}");
    }
    for file in ["uid_map", "gid_map"] {
        assert_eq!(one.map(file), other.map(file));
    }
}

#[test]
fn a_process_is_confined_as_the_containers_own() {
    for user in User::all() {
        let home = Home::shared(&user);
        for flags in [&[][..], &["--user", "root"], &["--user", "app"], &["--init"], &["--network", "host"]] {
            let container = Detached::sleeper(&home, flags);
            let payload = if flags == ["--init"] { container.payload().children()[0] } else { container.payload() };
            let (_run, process) = entered(&home, &container, &[]);
            for field in CONFINEMENT {
                assert_eq!(process.status(field), payload.status(field), "{field}, {flags:?}, as {}", user.name);
            }
            assert_in_the_same_namespaces(process, payload);
            let open = process.descriptors();
            assert_eq!(open.keys().copied().collect::<Vec<_>>(), [0, 1, 2], "{open:?}");
            assert_eq!(process.read("root"), payload.read("root"));
        }
    }
}

#[test]
fn in_a_container_that_shares_as_the_caller_it_is_the_caller() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let dir = home.mkdir(&format!("w/mine-{}", mark()));
    let container = Detached::sleeper(&home, &["-v", &format!("{}:/data:me", dir.display())]);
    container.exec(&["sh", "-c", "echo mine > /data/file"]).ok();
    let meta = std::fs::metadata(dir.join("file")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), user.uid);
    let (_run, process) = entered(&home, &container, &[]);
    assert_eq!(process.ids("Uid"), container.payload().ids("Uid"));
    // Root inside is still nobody.
    let (_run, root) = entered(&home, &container, &["--user", "root"]);
    assert!(user.may_own(root.ids("Uid")[0]));
}

/// The probe is asked twice: as the container's own process, and as one that was brought in.
#[test]
fn what_is_refused_to_the_container_is_refused_to_what_enters_it() {
    for user in User::all() {
        let home = Home::shared(&user);
        for words in [&[][..], &["--user", "root"]] {
            let own = Report::inside(&home, words);
            let container = Detached::of(&home, PROBE, words, &["sleep", "100000"]);
            let entered = Report::read(&container.exec(&["/probe"]));
            assert_eq!(entered.of("leaked-fds"), "none");
            // What each says of itself, and of process 1, which it is itself in the first case.
            let of_init = [
                "read-init-memory",
                "read-init-environ",
                "init-root-escape",
                "init-exe-write",
                "setns-mount",
                "setns-user",
            ];
            let apart = [&["pid", "sid", "fd0", "fd1", "fd2"][..], &of_init].concat();
            let different = own.difference(&entered, &apart);
            assert!(different.is_empty(), "{words:?} as {}: {different:#?}", user.name);
        }
    }
}

#[test]
fn root_inside_is_never_more_than_the_container_may_be() {
    // On a single id there is nobody else to become.
    for user in User::all().into_iter().filter(|user| user.rung != Rung::Single) {
        let home = Home::shared(&user);
        for flags in [
            &[][..],
            &["--user", "app"],
            &["--user", "root"],
            &["--user", "root", "--cap-drop", "ALL"],
            &["--cap-add", "NET_RAW"],
        ] {
            let container = Detached::sleeper(&home, flags);
            let bounding = container.payload().status("CapBnd");
            let (_run, process) = entered(&home, &container, &["--user", "root"]);
            let set = |field: &str| u64::from_str_radix(&process.status(field), 16).unwrap();
            assert_eq!(process.status("CapBnd"), bounding, "{flags:?}");
            for field in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
                assert_eq!(set(field) & !set("CapBnd"), 0, "{field}, {flags:?}");
            }
            assert_eq!((process.status("NoNewPrivs"), process.status("Seccomp")), ("1".into(), "2".into()));
            assert_ne!(process.ids("Uid")[0], 0);
        }
        let container = Detached::sleeper(&home, &[]);
        home.bryo(&["exec", "--privileged", &container.name, "true"]).fails(125, &["--privileged", "never more"]);
    }
}

#[test]
fn another_user_has_his_own_groups_and_home() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    for flags in [&[][..], &["--init"]] {
        let container = Detached::sleeper(&home, flags);
        let run = |words: &[&str], command: &str| {
            home.bryo(&[&["exec"], words, &[&container.name, "sh", "-c", command]].concat()).ok()
        };
        assert_eq!(run(&[], "id -u; echo $HOME"), "65532\n/home/nonroot");
        assert_eq!(run(&["-u", "app"], "id; echo $HOME"), "uid=1000(app) gid=1000(app) groups=2000(extra)\n/home/app");
        assert_eq!(run(&["-u", "1001:2000"], "id -u; id -g"), "1001\n2000");
        assert_eq!(run(&["-u", "4242"], "id -u; id -g"), "4242\n4242");
        // The container's accounts as they are now.
        home.bryo(&["exec", "-u", "nobody-of-that-name", &container.name, "true"]).fails(125, &["nobody-of-that-name"]);
        home.bryo(&["exec", "-u", "4000000000", &container.name, "true"]).fails(125, &["4000000000"]);
    }
}

#[test]
fn on_a_single_id_there_is_only_its_own_user() {
    for user in [User::without_range(), User::without_newuidmap()].into_iter().flatten() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let container = Detached::sleeper(&home, &[]);
        assert_eq!(container.exec(&["id", "-u"]).ok(), "65532");
        home.bryo(&["exec", "-u", "65532", &container.name, "true"]).ok();
        home.bryo(&["exec", "-u", "root", &container.name, "true"]).fails(125, &["map of ids"]);
        let (_run, process) = entered(&home, &container, &[]);
        assert_eq!(process.ids("Uid"), [user.uid; 4]);
    }
}

#[test]
fn the_environment_is_the_containers_and_what_is_asked_for() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::sleeper(&home, &["-e", "OF_CONTAINER=yes", "-e", "BOTH=container", "-w", "/usr"]);
    let file = home.write(&format!("w/env-{}", mark()), "FROM_FILE=a b\n").display().to_string();
    let words = ["exec", "-e", "BOTH=exec", "-e", "SECRETVAR", "--env-file", &file, &container.name, "env"];
    let seen = home.bryo(&words).ok();
    for line in ["OF_CONTAINER=yes", "BOTH=exec", "SECRETVAR=host-only-secret", "FROM_FILE=a b", "HOME=/home/nonroot"] {
        assert!(seen.lines().any(|l| l == line), "{line} is missing: {seen}");
    }
    assert!(!container.exec(&["env"]).ok().contains("host-only-secret"));
    assert_eq!(container.exec(&["pwd"]).ok(), "/usr");
    assert_eq!(home.bryo(&["exec", "-w", "/tmp", &container.name, "pwd"]).ok(), "/tmp");
    home.bryo(&["exec", "-w", "relative", &container.name, "pwd"]).fails(125, &["relative"]);
    home.bryo(&["exec", "-w", "/no/such/dir", &container.name, "pwd"]).fails(125, &["/no/such/dir"]);
    home.bryo(&["exec", "-e", "=x", &container.name, "env"]).fails(125, &["=x"]);
}

/// A directory of the host must not be had by the name of a descriptor (CVE-2024-21626).
#[test]
fn the_working_directory_lies_inside() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &["--user", "root"]);
        let secret = home.write(&format!("w/secret-{}", mark()), "x");
        let name = secret.file_name().unwrap().to_str().unwrap();
        for n in 0..24 {
            for dir in [format!("/proc/self/fd/{n}"), format!("/proc/self/fd/{n}/../../.."), format!("/proc/1/fd/{n}")]
            {
                let output = home.bryo(&["exec", "-w", &dir, &container.name, "sh", "-c", "ls; ls ..; pwd"]);
                assert_ne!(output.status.code(), Some(0), "{output}");
            }
        }
        for dir in ["/proc/self/cwd", "/proc/self/root", "/proc/1/root/../../..", "/proc/self/task/self/cwd"] {
            let output = home.bryo(&["exec", "-w", dir, &container.name, "ls", "-a"]);
            assert!(!output.text().contains(name) && !output.text().contains(".local"), "{output}");
        }
    }
}

/// What is executed must not be the host's own file, whoever asks for it (CVE-2019-5736).
#[test]
fn the_hosts_program_cannot_be_reached_by_being_executed() {
    let before = bryo_tests::listing::digest(bryo_tests::dirs::bryo());
    for user in User::all() {
        let home = Home::shared(&user);
        for flags in [&[][..], &["--security-opt", "landlock=off"]] {
            let container = Detached::sleeper(&home, &[&["--user", "root", "--writable"], flags].concat());
            let make =
                "printf '#!/proc/self/exe\\n' > /bin/again; chmod 755 /bin/again; ln -s /proc/self/exe /bin/itself";
            container.exec(&["sh", "-c", make]).ok();
            for program in ["/proc/self/exe", "/bin/again", "/bin/itself", "/proc/thread-self/exe"] {
                let output = home.bryo(&["exec", &container.name, program, "version"]);
                assert!([126, 127].contains(&output.status.code().unwrap()), "{flags:?}: {output}");
                assert!(!output.text().contains("bryo"), "{output}");
            }
        }
    }
    assert_eq!(bryo_tests::listing::digest(bryo_tests::dirs::bryo()), before);
}

/// Root inside, with the capability to trace and nothing else in the way, lies in wait for who enters (CVE-2016-9962).
#[test]
fn a_process_that_enters_is_not_looked_into() {
    for user in User::all() {
        let home = Home::shared(&user);
        let words = ["--user", "root", "--cap-add", "SYS_PTRACE", "--security-opt", "seccomp=unconfined"];
        let words = [&words[..], &["--security-opt", "landlock=off"]].concat();
        let container = Detached::of(&home, PROBE, &words, &["/probe", "watch", "20"]);
        container.says("watching");
        let start = std::time::Instant::now();
        let mut entries = 0;
        while start.elapsed() < std::time::Duration::from_secs(10) {
            for user in ["root", "65532"] {
                let words = ["exec", "--user", user, &container.name, "/probe", "euid"];
                entries += i32::from(home.bryo(&words).status.success());
            }
        }
        assert_eq!(container.wait(), 0);
        let said = container.said();
        let last = said.lines().last().unwrap();
        let number = |name: &str| -> u64 {
            let mut words = last.split(' ').skip_while(|word| *word != name);
            words.nth(1).unwrap().parse().unwrap()
        };
        assert_eq!(number("leaks"), 0, "as {}: {said}", user.name);
        // It has met them, and was turned away.
        assert!(number("denied") > 0 && entries > 10, "{entries} entries: {last}");
    }
}

#[test]
fn exit_codes_are_dockers() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &[]);
        container.exec(&["true"]).code(0);
        container.exec(&["sh", "-c", "exit 42"]).code(42);
        container.exec(&["sh", "-c", "kill -9 $$"]).code(128 + 9);
        container.exec(&["no-such-command"]).fails(127, &["no-such-command", "not found"]);
        container.exec(&["/bin/notexec"]).fails(126, &["/bin/notexec"]);
        home.bryo(&["exec", "-d", &container.name, "no-such-command"]).fails(127, &["no-such-command"]);
        home.bryo(&["exec", "no-such-container", "true"]).fails(125, &["no such container"]);
        home.bryo(&["exec", &container.name]).fails(125, &["exec"]);
        let output = container.exec(&["sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((output.ok(), output.stderr.as_str()), ("out".to_owned(), "err\n"));
    }
}

#[test]
fn nothing_enters_what_does_not_run() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let made = Detached::named(&home);
    home.bryo(&["create", "--network", "none", "--name", &made.name, bryo_tests::images::BUSYBOX, "true"]).ok();
    let ended = Detached::busybox(&home, &[], &["true"]);
    ended.until("exited");
    for container in [made, ended] {
        container.exec(&["true"]).fails(125, &[&container.name, "not running"]);
    }
}

#[test]
fn nothing_inside_sees_what_the_command_was_called_with() {
    for user in User::all() {
        let home = Home::shared(&user);
        // In pieces, so that the one who looks does not find himself.
        let (one, two) = (mark(), mark());
        let look = format!(
            "m={one}; echo ${{m}}{two} > /tmp/m; while :; do for f in /proc/[0-9]*/cmdline /proc/[0-9]*/environ; do \
             tr '\\0' '\\n' < $f 2>/dev/null | grep -qFf /tmp/m && echo $f; done; done"
        );
        let secret = format!("SECRET={one}{two}");
        let container = Detached::script(&home, &["--init", "-e", &secret], &look);
        let seen = container.exec(&["cat", "/proc/1/cmdline"]).ok();
        assert_eq!(seen.trim_end_matches('\0'), "bryo init");
        let host = container.payload();
        assert!(!host.read("cmdline").unwrap().contains(&one));
        // As long as it takes to be seen, which it is not.
        for _ in 0..30 {
            home.bryo(&["exec", "-e", &secret, &container.name, "true"]).ok();
        }
        // The payload has the variable itself, and sees that: the look does find what is there.
        eventually("the payload's own variables are seen", || container.said().contains("/environ").then_some(()));
        assert!(!container.said().contains("cmdline"), "{}", container.said());
    }
}

#[test]
fn its_end_is_the_end_of_what_has_entered() {
    for user in User::all() {
        let home = Home::shared(&user);
        for flags in [&[][..], &["--init"]] {
            let container = Detached::sleeper(&home, flags);
            let (run, process) = entered(&home, &container, &[]);
            home.bryo(&["kill", &container.name]).ok();
            run.wait().code(128 + 9);
            assert!(!process.lives());
        }
    }
}

#[test]
fn what_has_entered_ends_with_the_command() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::sleeper(&home, &[]);
    for user in ["65532", "root", "app"] {
        let (run, process) = entered(&home, &container, &["--user", user]);
        run.signal(Signal::KILL);
        eventually("it ends", || (!process.lives()).then_some(()));
    }
    assert_eq!(container.status(), "running");
    // A signal to the command is one to the process.
    let script = "trap 'echo got it; exit 6' TERM; echo ready; while :; do sleep 0.1; done";
    let mut command = home.command(&["exec", &container.name, "sh", "-c", script]);
    let mut child = command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    Process(child.id()).signal(Signal::TERM);
    assert_eq!(lines.next().unwrap().unwrap(), "got it");
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn a_detached_process_is_left_alone_and_ends_with_its_container() {
    for user in User::all() {
        let home = Home::shared(&user);
        let (container, mark) = (Detached::sleeper(&home, &[]), mark());
        assert_eq!(home.bryo(&["exec", "-d", &container.name, "sleep", &mark]).ok(), "");
        let process = Process::with_args(&["sleep", &mark]);
        assert_eq!(process.descriptors().into_values().collect::<Vec<_>>(), ["/dev/null"; 3]);
        assert_in_the_same_namespaces(process, container.payload());
        home.bryo(&["stop", "-t", "0", &container.name]).ok();
        eventually("it ends", || (!process.lives()).then_some(()));
    }
}

#[test]
fn standard_input_is_passed_on_when_it_is_asked_for() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &[]);
        let input: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let output = home.bryo_fed(&["exec", "-i", &container.name, "cat"], &input);
        output.ok();
        assert!(output.stdout == input);
        assert_eq!(home.bryo_fed(&["exec", &container.name, "cat"], b"never seen").ok(), "");
    }
}

#[test]
fn a_terminal_is_the_processs_own() {
    for user in User::all() {
        let home = Home::shared(&user);
        let container = Detached::sleeper(&home, &[]);
        let mut tty = Terminal::start(&home.command(&["exec", "-it", &container.name, "sh"]));
        tty.typed("tty; stty size; echo TERM=$TERM; echo to$((40+2))ld\n");
        for text in ["/dev/pts/", "24 80", "TERM=xterm", "to42ld"] {
            tty.expect(text);
        }
        tty.resize(33, 111);
        std::thread::sleep(std::time::Duration::from_millis(300));
        tty.typed("stty size\n");
        tty.expect("33 111");
        tty.typed("exit 9\n");
        assert_eq!(tty.wait().code(), Some(9), "{}", tty.screen());
        home.bryo(&["exec", "-it", &container.name, "true"]).fails(125, &["terminal"]);
    }
}

#[test]
fn many_enter_at_once() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let container = Detached::sleeper(&home, &[]);
    let runs: Vec<_> = (0..24).map(|n| home.start(&["exec", &container.name, "echo", &n.to_string()])).collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.wait().ok(), n.to_string());
    }
}
