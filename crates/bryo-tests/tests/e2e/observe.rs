// SPDX-License-Identifier: Apache-2.0
//! Observed runs: `bryo why-root --run` says each refusal as a sentence, `bryo learn` writes down the least that a program
//! needs, and `bryo run --profile` enforces it.

use bryo_tests::images::{BUSYBOX, path};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::user::Rung;
use bryo_tests::{Home, User};
use serde_json::{Value, json};

/// Users with more than one id.
fn ranged() -> Vec<User> {
    User::all().into_iter().filter(|user| user.range().is_some() || user.name == "root").collect()
}

/// Makes an image with a start script, loads it, and returns its name.
fn scripted(home: &Home, name: &str, script: &str) -> String {
    let image = format!("localhost/{name}:1");
    let archive = home.path.join(format!("{name}.tar"));
    let layer = bryo_tests::tar::Tar::default().file("entry.sh", 0o755, format!("#!/bin/sh\n{script}\n").as_bytes());
    let config = json!({"Entrypoint": ["/entry.sh"], "Env": [path()]});
    Image::new(&image, vec![busybox_layer(), layer.finish()], config).archive(&archive);
    home.load(&archive);
    image
}

/// Runs an image under observation, and returns what it was refused.
fn refused(home: &Home, args: &[&str]) -> Vec<Value> {
    let report: Value =
        serde_json::from_str(&home.bryo(&[&["why-root", "--run", "-f", "json"], args].concat()).ok()).unwrap();
    report["refused"].as_array().unwrap().clone()
}

/// Finds what was wanted, and asserts with which call, errno and id it was, and what is said to satisfy it.
#[track_caller]
fn said(refused: &[Value], wanted: &str, call: &str, errno: &str, remedy: &str) {
    // C libraries call the older or the newer form: `open` or `openat`.
    let made = |s: &Value| s["calls"].as_array().unwrap().iter().any(|c| c.as_str().unwrap().starts_with(call));
    let found = refused.iter().find(|s| s["wanted"] == wanted && made(s));
    let found = found.unwrap_or_else(|| panic!("nobody wanted to {wanted} by {call}: {refused:#?}"));
    assert_eq!(found["errno"], errno, "{found:#}");
    assert!(found["as_user"].as_str().unwrap().starts_with("65532:"), "{found:#}");
    assert!(found["remedy"].as_str().unwrap().contains(remedy), "{found:#}");
}

#[test]
fn what_an_image_is_refused_is_said_with_its_remedy() {
    for user in User::all() {
        let home = Home::new(&user);
        let script = "echo x > /tmp/mine && chown 65532 /tmp/mine && chmod 600 /tmp/mine && rm /tmp/mine || exit 9\n\
             echo x > /etc/motd\nmkdir /data\ntouch /tmp/a; chown 1000:1000 /tmp/a\nmount -t tmpfs none /mnt\n\
             hostname other\nchroot /tmp true\nmknod /tmp/null c 1 3\ndate -s 2030-01-01\nexit 0";
        let image = scripted(&home, "wants", script);
        let refused = refused(&home, &["--network", "none", &image]);
        said(&refused, "make /etc/motd", "open", "EROFS", "in the build");
        said(&refused, "make /data", "mkdir", "EROFS", "RUN mkdir /data");
        let (errno, remedy) = match user.rung {
            Rung::Single => ("EINVAL", "bryo doctor"),
            _ => ("EPERM", "COPY --chown=65532"),
        };
        said(&refused, "give /tmp/a to 1000:1000", "chown", errno, remedy);
        said(&refused, "mount tmpfs on /mnt", "mount", "EPERM", "--cap-add SYS_ADMIN");
        said(&refused, "name the machine", "sethostname", "EPERM", "--hostname");
        said(&refused, "have /tmp as its root", "chroot", "EPERM", "SYS_CHROOT");
        said(&refused, "make the device /tmp/null", "mknod", "EPERM", "user namespace");
        said(&refused, "set the clock", "clock_settime", "EPERM", "host");
        // The positive control: what it may is not told, and was done.
        let mine = refused.iter().find(|s| s["wanted"].as_str().unwrap().contains("/tmp/mine"));
        assert_eq!(mine, None);
        let ran = home.bryo(&["why-root", "--run", "--network", "none", &image]);
        let text = ran.ok();
        assert!(text.contains("ended with 0"), "{text}");
        assert!(text.contains("wanted to make /etc/motd, as 65532:"), "{text}");
    }
}

#[test]
fn a_low_port_is_refused_on_the_hosts_network_and_open_on_its_own() {
    for user in User::all() {
        let home = Home::shared(&user);
        let serve = ["nc", "-l", "-p", "80"];
        let on = |network| refused(&home, &[&["--settle", "1", "--network", network, BUSYBOX], &serve[..]].concat());
        said(&on("host"), "bind :: tcp port 80", "bind", "EACCES", "--network host");
        assert_eq!(on("none"), [] as [Value; 0]);
    }
}

#[test]
fn who_wants_to_become_another_is_told_so_and_root_inside_may() {
    for user in ranged() {
        let home = Home::shared(&user);
        let becomes = ["start-stop-daemon", "-S", "-c", "app", "-x", "/bin/id", "--", "-u"];
        let refused = refused(&home, &[&["--network", "none", BUSYBOX], &becomes[..]].concat());
        said(&refused, "have other groups", "setgroups", "EPERM", "--user");
        let root = home.run(&[&["--user", "root", BUSYBOX], &becomes[..]].concat());
        assert_eq!(root.ok(), "1000");
    }
}

#[test]
fn a_program_that_does_not_end_is_ended_and_one_that_cannot_start_is_told() {
    for user in User::all() {
        let home = Home::shared(&user);
        let begin = std::time::Instant::now();
        let script = "trap '' TERM; sleep 300";
        let args = ["why-root", "--run", "--settle", "1", "--network", "none", BUSYBOX, "sh", "-c", script];
        let text = home.bryo(&args).ok();
        assert!(text.contains("ended with 137"), "{text}");
        assert!(begin.elapsed() < std::time::Duration::from_secs(30));
        home.bryo(&["why-root", "--run", "--network", "none", BUSYBOX, "/no/such"]).fails(127, &["/no/such"]);
        home.bryo(&["why-root", BUSYBOX, "true"]).fails(125, &["--run"]);
    }
}

#[test]
fn text_of_a_program_does_not_reach_the_terminal_as_it_is() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "mkdir \"$(printf '/\\033[31mred')\"; exit 0";
        let text = home.bryo(&["why-root", "--run", "--network", "none", BUSYBOX, "sh", "-c", script]).ok();
        assert!(text.contains("red") && !text.contains('\u{1b}'), "{text:?}");
    }
}

/// What the tests learn: it writes to `/tmp`, forks, and talks to itself.
const SERVE: &str =
    "echo a > /tmp/a; nc -l -p 8080 >/dev/null & sleep 0.5; echo x | nc 127.0.0.1 8080; cat /tmp/a; wait";

fn learned(home: &Home, script: &str) -> (String, Value) {
    let file = home.path.join("w/profile.json").display().to_string();
    let run = ["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", script];
    home.bryo(&[&["learn", "-o", &file, "--"], &run[..]].concat()).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    (file, serde_json::from_str(&text).unwrap())
}

#[test]
fn a_learned_profile_lets_the_same_be_done_and_nothing_else() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let (file, profile) = learned(&home, SERVE);
        assert_eq!(profile["writes"], json!(["/tmp"]));
        assert_eq!(profile["ports"], json!({"bind": ["tcp/8080"], "connect": ["tcp/8080"]}));
        assert_eq!(profile["capabilities"], json!([]));
        let calls: Vec<&str> = profile["syscalls"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(calls.contains(&"execve") && calls.contains(&"bind") && !calls.contains(&"mkdir"), "{calls:?}");
        let with = |script: &str| home.run(&["--profile", &file, BUSYBOX, "sh", "-c", script]);
        assert_eq!(with(SERVE).ok(), "a");
        // Each attempt beside the same one without the profile.
        for (attempt, errno) in [
            ("echo x > /run/x", "Read-only file system"),
            ("echo x > /var/tmp/x", "Read-only file system"),
            ("echo x > /dev/shm/x", "Read-only file system"),
            ("head -c 1 /dev/zero", "No such file"),
            ("mkdir /tmp/d", "Operation not permitted"),
            ("ln -s a /tmp/l", "Operation not permitted"),
            ("nc -l -p 8081 & sleep 0.5; kill $!; wait $! ; [ $? = 143 ]", "Permission denied"),
        ] {
            home.run(&[BUSYBOX, "sh", "-c", attempt]).ok();
            let output = with(attempt);
            output.code(1);
            assert!(output.stderr.contains(errno), "{attempt}: {}", output.stderr);
        }
        // Memory that another mount is in is no place to write either, though that one needs a place in it.
        let held = |flags: &[&str]| {
            let memory = ["--tmpfs", "/data", "--tmpfs", "/data/in", BUSYBOX, "sh", "-c", "echo x > /data/x"];
            home.run(&[flags, &memory].concat())
        };
        held(&[]).ok();
        held(&["--profile", &file]).fails(1, &["Read-only file system"]);
    }
}

#[test]
fn what_enters_a_container_has_no_more_than_its_profile() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let (file, _) = learned(&home, &format!("{SERVE}; sleep 0"));
        let name = "profiled";
        let start = ["run", "-d", "--name", name, "--network", "none", "--profile", &file, BUSYBOX, "sleep", "300"];
        home.bryo(&start).ok();
        let inside = |script: &str| home.bryo(&["exec", name, "sh", "-c", script]);
        assert_eq!(inside("echo a > /tmp/b; cat /tmp/b").ok(), "a");
        inside("nc -l -p 8081").fails(1, &["bind: Permission denied"]);
        inside("mkdir /tmp/d").code(1);
        let shown: Value = serde_json::from_str(&home.bryo(&["inspect", name]).ok()).unwrap();
        let profile = &shown[0]["Confinement"]["Profile"];
        assert_eq!((&profile["Bind"], &profile["Writes"]), (&json!([8080]), &json!(["/tmp"])), "{shown:#}");
        assert!(profile["NotEnforced"].as_array().is_some_and(|list| !list.is_empty()));
        home.bryo(&["rm", "-f", name]).ok();
    }
}

#[test]
fn capabilities_that_were_used_are_learned_and_the_others_dropped() {
    for user in ranged() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let file = home.path.join("w/root.json").display().to_string();
        let script = "touch /tmp/f; chown 5:6 /tmp/f; su app -c 'id -u'; grep CapBnd /proc/self/status";
        let root = ["--user", "root", "--network", "none", BUSYBOX, "sh", "-c", script];
        let before = home.bryo(&[&["learn", "-o", &file, "--", "run", "--rm"][..], &root].concat()).ok();
        assert!(before.contains("1000\n") && before.contains("00000000800005fb"), "{before}");
        let profile: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(profile["capabilities"], json!(["CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"]));
        let after = home.bryo(&[&["run", "--rm", "--profile", &file][..], &root].concat()).ok();
        assert!(after.contains("1000\n") && after.contains("00000000000000c1"), "{after}");
        // Merged with a run that needs nothing, it is what it was.
        let nobody = ["learn", "--merge", "-o", &file, "--", "run", "--rm", "--network", "none", BUSYBOX, "true"];
        home.bryo(&nobody).ok();
        let merged: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(merged["capabilities"], profile["capabilities"]);
        let flags = |file: &str| home.bryo(&["learn", "--from", file, "--format", "flags"]).ok();
        assert!(flags(&file).starts_with("--user 0:0 "), "{}", flags(&file));
        // By another name it is the same image, and another image is refused.
        home.bryo(&["tag", BUSYBOX, "localhost/same:1"]).ok();
        let merge = |image| home.bryo(&["learn", "--merge", "-o", &file, "--", "run", "--rm", image, "true"]);
        merge("localhost/same:1").ok();
        merge(&scripted(&home, "other", "true")).fails(125, &["the profile is of", "sha256:", "localhost/other:1"]);
    }
}

#[test]
fn a_run_without_the_profile_says_what_it_would_break() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let (file, _) = learned(&home, SERVE);
        let run = |script: &str| home.run(&["--profile", &file, "--would-break", BUSYBOX, "sh", "-c", script]);
        let same = run(SERVE);
        assert_eq!(same.ok(), "a");
        assert!(same.stderr.contains("would refuse nothing"), "{}", same.stderr);
        let other = run("mkdir /run/d && nc -l -p 8081 & sleep 0.5; nc 127.0.0.1 8081 </dev/null; ls /run");
        for word in ["syscall mkdir", "write /run", "bind tcp/8081", "connect tcp/8081"] {
            let told = other.stderr.contains(&format!("the profile would refuse: {word}"));
            assert!(told, "{word}: {}", other.stderr);
        }
        // It was not enforced.
        assert_eq!(other.code(1), "d");
    }
}

/// Landlock knows TCP and its calls for a connection alone. The controls: without a profile both ways are open.
#[test]
fn ways_to_a_connection_that_pass_the_ports_by_are_closed() {
    let ways = "cat /proc/sys/net/mptcp/enabled /proc/sys/net/ipv4/tcp_fastopen 2>/dev/null";
    let open = std::fs::read_to_string("/proc/sys/net/mptcp/enabled").map_or("1", |_| "1\n1");
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let (file, _) = learned(&home, ways);
        assert_eq!(home.run(&[BUSYBOX, "sh", "-c", ways]).ok(), open);
        assert_eq!(home.run(&["--profile", &file, BUSYBOX, "sh", "-c", ways]).ok(), open.replace('1', "0"));
    }
}

#[test]
fn what_cannot_be_enforced_does_not_start() {
    for user in User::all() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let (file, mut profile) = learned(&home, "true");
        let run = |flags: &[&str]| home.run(&[&["--profile", &file][..], flags, &[BUSYBOX, "true"]].concat());
        run(&[]).ok();
        run(&["--security-opt", "landlock=off"]).fails(125, &["ports", "Landlock"]);
        let host = ["run", "--rm", "--network", "host", "--profile", &file, BUSYBOX, "true"];
        home.bryo(&host).fails(125, &["ports", "--network"]);
        for flag in [&["--writable"][..], &["--init"], &["--security-opt", "seccomp=unconfined"]] {
            run(flag).fails(125, &["--profile", flag[0]]);
        }
        // Without ports there is nothing that Landlock would be needed for.
        profile.as_object_mut().unwrap().remove("ports");
        home.write("w/profile.json", profile.to_string());
        run(&["--security-opt", "landlock=off"]).ok();
        home.write("w/profile.json", "{}");
        run(&[]).fails(125, &["profile"]);
    }
}

#[test]
fn an_observed_run_is_confined_as_any_other() {
    for user in User::all() {
        let home = Home::shared(&user);
        let script = "grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|CapBnd|CapEff):' /proc/self/status; \
             grep -c . /proc/self/mountinfo; mkdir /x 2>&1; nc -w 1 127.0.0.1 1 2>&1; true";
        let plain = home.run(&[BUSYBOX, "sh", "-c", script]).ok();
        for more in [&[][..], &["--security-opt", "landlock=off"]] {
            let run = [&["run", "--rm", "--network", "none"], more, &[BUSYBOX, "sh", "-c", script]].concat();
            let file = home.path.join("w/same.json").display().to_string();
            let observed = home.bryo(&[&["learn", "-o", &file, "--"], &run[..]].concat()).ok();
            assert_eq!(observed, plain);
        }
        // Its exit code is the run's own, and so is a signal that ends it.
        let file = home.path.join("w/code.json").display().to_string();
        let ends = |script: &str, code| {
            let run = ["learn", "-o", &file, "--", "run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", script];
            home.bryo(&run).code(code);
        };
        ends("exit 7", 7);
        ends("sleep 9 & kill -STOP $!; kill -CONT $!; kill $!; wait $!", 143);
    }
}
