// SPDX-License-Identifier: Apache-2.0
//! What a payload finds: environment, directory, names, limits, and how `run`'s words for them work.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::{Home, User};
use rustix::process::Signal;
use serde_json::json;

/// An image with everything that an image can say about its process.
fn load_wordy(home: &Home) -> &'static str {
    let config = json!({
        "Entrypoint": ["/bin/echo", "entry"], "Cmd": ["cmd"], "WorkingDir": "/var/lib/app",
        "Env": [path(), "FROM_IMAGE=yes", "BOTH=image"], "Labels": {"a": "b"},
    });
    let name = "localhost/wordy:1";
    let file = home.path.join("wordy.tar");
    Image::new(name, vec![busybox_layer()], config).archive(&file);
    home.load(&file);
    name
}

#[test]
fn entrypoint_and_command_combine_as_in_docker() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let image = load_wordy(&home);
    assert_eq!(home.run(&[image]).ok(), "entry cmd");
    assert_eq!(home.run(&[image, "mine", "two"]).ok(), "entry mine two");
    // A new entrypoint forgets the image's command.
    assert_eq!(home.run(&["--entrypoint", "/bin/echo", image]).ok(), "");
    assert_eq!(home.run(&["--entrypoint", "/bin/echo", image, "-n", "x"]).ok(), "x");
    assert_eq!(home.run(&["--entrypoint", "pwd", image]).ok(), "/var/lib/app");
    assert_eq!(home.run(&["--entrypoint", "", image, "echo", "bare"]).ok(), "bare");
}

#[test]
fn the_working_directory_is_the_images_or_the_words() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    assert_eq!(home.run(&[BUSYBOX, "pwd"]).ok(), "/");
    assert_eq!(home.run(&["-w", "/usr/bin", BUSYBOX, "pwd"]).ok(), "/usr/bin");
    // It is made when it is not there, as in Docker.
    assert_eq!(home.run(&["--workdir", "/made/for/me", BUSYBOX, "pwd"]).ok(), "/made/for/me");
}

#[test]
fn the_environment_is_built_and_never_inherited() {
    for user in User::all() {
        let home = Home::shared(&user);
        let seen = home.run(&[BUSYBOX, "env"]).ok();
        assert!(!seen.contains("host-only-secret"), "{seen}");
        let mut keys: Vec<&str> = seen.lines().filter_map(|l| l.split('=').next()).collect();
        keys.sort_unstable();
        let known = ["HOME", "HOSTNAME", "PATH", "SHLVL", "PWD", "SHELL", "USER", "LOGNAME", "TERM"];
        assert!(keys.iter().all(|k| known.contains(k)), "{keys:?}");
        assert!(keys.contains(&"HOME") && keys.contains(&"PATH"));
    }
}

#[test]
fn environment_words_override_the_image_in_order() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let image = load_wordy(&home);
    let file = home.write("w/env", "# a comment\n\nFROM_FILE=a b\nBOTH=file\nSECRETVAR\n");
    let file = file.display().to_string();
    let args = ["--env-file", &file, "-e", "BOTH=word", "-e", "SECRETVAR", "--entrypoint", "env", image];
    let seen = home.run(&args).ok();
    for line in ["FROM_IMAGE=yes", "FROM_FILE=a b", "BOTH=word", "SECRETVAR=host-only-secret"] {
        assert!(seen.lines().any(|l| l == line), "{line} is missing: {seen}");
    }
}

/// CVE-2026-57231: an entry without a value, or a pattern, must not fetch the host's variables.
#[test]
fn an_images_environment_cannot_ask_for_the_hosts() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let config = json!({"Env": [path(), "SECRETVAR", "SEC*", "=x", ""], "Cmd": ["env"]});
    let file = home.path.join("greedy.tar");
    Image::new("localhost/greedy:1", vec![busybox_layer()], config).archive(&file);
    home.load(&file);
    let seen = home.run(&["localhost/greedy:1"]).ok();
    assert!(!seen.contains("host-only-secret") && !seen.contains("SEC"), "{seen}");
}

#[test]
fn the_hostname_is_the_containers_own() {
    for user in User::all() {
        let home = Home::shared(&user);
        assert_eq!(home.run(&["--hostname", "moss", BUSYBOX, "hostname"]).ok(), "moss");
        let resolved = home.run(&["--hostname", "moss", BUSYBOX, "cat", "/etc/hosts", "/etc/hostname"]).ok();
        assert!(resolved.contains("127.0.0.1") && resolved.lines().last() == Some("moss"), "{resolved}");
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_ne!(home.run(&[BUSYBOX, "hostname"]).ok(), own.trim());
    }
}

#[test]
fn limits_are_set_as_asked() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let args = ["--ulimit", "nofile=100:200", BUSYBOX, "sh", "-c", "ulimit -Sn; ulimit -Hn"];
    assert_eq!(home.run(&args).ok(), "100\n200");
    home.run(&["--ulimit", "nonsense=1", BUSYBOX, "true"]).fails(125, &["nonsense"]);
}

#[test]
fn an_init_reaps_orphans_and_forwards_signals() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    // Without --init the payload is the first process, with it the second.
    assert_eq!(home.run(&[BUSYBOX, "sh", "-c", "echo $$"]).ok(), "1");
    assert_ne!(home.run(&["--init", BUSYBOX, "sh", "-c", "echo $$"]).ok(), "1");
    let orphans = "(sleep 0.1 & exec true) & wait; sleep 0.5; ps -o stat,args | grep -c '^Z' || true";
    assert_eq!(home.run(&["--init", BUSYBOX, "sh", "-c", orphans]).ok(), "0");
}

#[test]
fn signals_to_bryo_reach_the_payload() {
    for user in User::all() {
        let home = Home::shared(&user);
        for (signal, name) in [(Signal::TERM, "TERM"), (Signal::HUP, "HUP"), (Signal::USR1, "USR1")] {
            let mark = mark();
            let script = format!("trap 'echo got {name}; exit 7' {name}; sleep {mark} & wait");
            let run = home.start(&["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", &script]);
            Process::with_args(&["sleep", &mark]);
            run.signal(signal);
            let output = run.wait();
            assert_eq!(output.code(7), format!("got {name}"), "as {}", user.name);
        }
    }
}

#[test]
fn a_first_process_without_a_handler_ends_by_term() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let mark = mark();
    let run = home.start(&["run", "--rm", "--init", "--network", "none", BUSYBOX, "sleep", &mark]);
    Process::with_args(&["sleep", &mark]);
    run.signal(Signal::TERM);
    run.wait().code(128 + 15);
}

#[test]
fn a_name_is_held_by_one_container() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    let mark = mark();
    let run = home.start(&["run", "--name", "holder", "--network", "none", BUSYBOX, "sleep", &mark]);
    Process::with_args(&["sleep", &mark]);
    home.run(&["--name", "holder", BUSYBOX, "true"]).fails(125, &["holder"]);
    let listed = home.bryo(&["ps"]).ok();
    assert!(listed.contains("holder") && listed.contains("65532"), "{listed}");
    home.bryo(&["rm", "holder"]).fails(1, &["holder", "running"]);
    run.signal(Signal::KILL);
    drop(run);
    // Its record stays without --rm, and is no longer running whatever was written when it did.
    let all = bryo_tests::program::eventually("it has ended", || {
        Some(home.bryo(&["ps", "-a"]).ok()).filter(|t| t.contains("holder") && !t.contains("Up "))
    });
    assert!(all.contains("holder"), "{all}");
    home.bryo(&["rm", "holder"]).ok();
    assert!(!home.bryo(&["ps", "-a"]).ok().contains("holder"));
}

#[test]
fn a_record_holds_how_it_ended() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    home.load(&bryo_tests::images::busybox());
    home.bryo(&["run", "--name", "over", "--network", "none", BUSYBOX, "sh", "-c", "exit 3"]).code(3);
    let state = &home.bryo(&["inspect", "over"]).json()[0]["State"];
    assert_eq!(state["ExitCode"], 3, "{state}");
    assert_eq!(state["Status"], "exited", "{state}");
    home.bryo(&["rm", "over"]).ok();
    home.bryo(&["inspect", "over"]).fails(1, &["over"]);
}

#[test]
fn a_dry_run_prints_the_spec_and_starts_nothing() {
    for user in User::all() {
        let home = Home::shared(&user);
        let spec = home.run(&["--dry-run", "--hostname", "moss", "-e", "A=b", BUSYBOX, "sleep", "60"]).json();
        let text = spec.to_string();
        let spec = if spec["process"].is_null() { &spec["spec"] } else { &spec };
        assert_eq!(spec["process"]["args"], json!(["sleep", "60"]), "{text}");
        assert_eq!(spec["process"]["user"]["uid"], 65532, "{text}");
        assert_eq!(spec["hostname"], "moss");
        assert_eq!(spec["process"]["noNewPrivileges"], true);
        // Other tests have containers in this home meanwhile.
        let listed = home.bryo(&["ps", "-a", "--no-trunc"]).ok();
        assert!(!listed.contains("\"sleep 60\""), "{listed}");
    }
}

#[test]
fn the_clock_and_the_processes_are_the_containers_own() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let seen = home.run(&[BUSYBOX, "sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).ok();
    assert!(seen.parse::<u32>().unwrap() <= 3, "{seen}");
}

#[test]
fn one_container_takes_the_place_of_another_by_name() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::shared(&user);
    let name = format!("web-{}", mark());
    let run = |flags: &[&str]| home.bryo(&[&["run", "--network", "none", "--init"], flags].concat());
    let first = run(&["-d", "--name", &name, BUSYBOX, "sleep", "600"]).ok();
    run(&["--name", &name, BUSYBOX, "true"]).fails(125, &[&name]);
    // What only begins like an id is another's name.
    run(&["--rm", "--replace", "--name", &first[..12], BUSYBOX, "true"]).ok();
    assert_eq!(home.bryo(&["inspect", "--format", "{{.State.Status}}", &name]).ok(), "running");
    let second = run(&["-d", "--replace", "--name", &name, BUSYBOX, "sleep", "600"]).ok();
    assert_ne!(first, second);
    home.bryo(&["inspect", &first]).fails(1, &["no such"]);
    run(&["--replace", BUSYBOX, "true"]).fails(125, &["--name"]);
    home.bryo(&["create", "--replace", "--name", &name, BUSYBOX, "true"]).ok();
    home.bryo(&["inspect", &second]).fails(1, &["no such"]);
    home.bryo(&["stop", "--ignore", &name, "nobody-of-that-name"]).ok();
    home.bryo(&["rm", &name]).ok();
}
