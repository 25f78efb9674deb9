// SPDX-License-Identifier: Apache-2.0
//! `events`: what has happened, told by nobody but whoever did it.

use std::fs;

use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::program::eventually;
use bryo_tests::{Detached, Home, User};
use serde_json::{Value, json};

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// What has happened until now, by a template.
#[track_caller]
fn past(home: &Home, flags: &[&str], format: &str) -> Vec<String> {
    let words = [&["events", "--since", "0", "--until", "0s", "--format", format], flags].concat();
    home.bryo(&words).ok().lines().map(str::to_owned).collect()
}

#[track_caller]
fn actions(home: &Home, name: &str) -> Vec<String> {
    past(home, &["--filter", &format!("container={name}")], "{{.Action}}")
}

#[test]
fn the_life_of_a_container_is_told_in_order() {
    for user in User::all() {
        let home = home(&user);
        let made = Detached::create(&home, "c", &["--label", "tier=front", BUSYBOX, "sleep", "300"]);
        home.bryo(&["start", "c"]).ok();
        home.bryo(&["exec", "c", "sh", "-c", "exit 7"]).code(7);
        home.bryo(&["kill", "-s", "USR1", "c"]).ok();
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        home.bryo(&["rename", "c", "d"]).ok();
        home.bryo(&["restart", "-t", "0", "d"]).ok();
        home.bryo(&["rm", "-f", "d"]).ok();
        let expected = [
            "create",
            "start",
            "exec_create: sh -c exit 7",
            "exec_start: sh -c exit 7",
            "exec_die",
            "kill",
            // What was asked for: a signal ended it at once, or it was killed.
            "kill",
            "die",
            "stop",
            "rename",
            "start",
            "restart",
            "kill",
            "die",
            "destroy",
        ];
        assert_eq!(actions(&home, &made.id), expected, "{}", user.name);
        let all: Vec<Value> = home
            .bryo(&["events", "--since", "1h", "--until", "0s", "--json", "-f", "type=container"])
            .ok()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let of = |action: &str| all.iter().find(|event| event["Action"] == action).unwrap();
        let attributes = |action: &str| &of(action)["Actor"]["Attributes"];
        assert_eq!(attributes("create"), &json!({"image": BUSYBOX, "name": "c", "tier": "front"}));
        assert_eq!((&of("start")["Actor"]["ID"], &of("start")["id"]), (&json!(made.id), &json!(made.id)));
        assert_eq!((&of("start")["from"], &of("start")["scope"]), (&json!(BUSYBOX), &json!("local")));
        assert_eq!((&attributes("exec_die")["exitCode"], &attributes("kill")["signal"]), (&json!("7"), &json!("10")));
        assert_eq!((&attributes("rename")["oldName"], &attributes("rename")["name"]), (&json!("c"), &json!("d")));
        assert!(attributes("die")["exitCode"].as_str().unwrap().parse::<u8>().unwrap() > 128);
        let times: Vec<i64> = all.iter().map(|event| event["timeNano"].as_i64().unwrap()).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
}

#[test]
fn a_run_in_the_foreground_is_told_from_its_beginning_to_its_end() {
    for user in User::all() {
        let home = home(&user);
        home.run(&["--name", "once", BUSYBOX, "sh", "-c", "exit 3"]).code(3);
        assert_eq!(actions(&home, "once"), ["create", "start", "die", "destroy"], "{}", user.name);
        home.bryo(&["run", "--name", "stays", "--network", "none", BUSYBOX, "true"]).ok();
        assert_eq!(actions(&home, "stays"), ["create", "start", "die"]);
        let die = past(&home, &["-f", "event=die"], "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}");
        assert_eq!(die, ["once 3", "stays 0"]);
        // What never ran never was.
        home.run(&["--name", "never", BUSYBOX, "/no/such/program"]).code(127);
        assert_eq!(actions(&home, "never"), Vec::<String>::new());
    }
}

#[test]
fn restarts_health_and_the_end_of_what_goes_away_are_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let again = Detached::run(&home, "again", &["--restart", "on-failure:2", BUSYBOX, "false"]);
    again.until("exited");
    let expected = ["create", "start", "die", "start", "die", "start", "die"];
    eventually("all three are told", || (actions(&home, "again") == expected).then_some(()));
    let check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "1"];
    let _checked = Detached::run(&home, "checked", &[&check[..], &[BUSYBOX, "sleep", "300"]].concat());
    let health = || past(&home, &["-f", "event=health_status"], "{{.Action}}");
    eventually("it is unwell", || (health() == ["health_status: unhealthy"]).then_some(()));
    home.bryo(&["exec", "checked", "touch", "/tmp/well"]).ok();
    eventually("it is well", || (health() == ["health_status: unhealthy", "health_status: healthy"]).then_some(()));
    let _gone = Detached::run(&home, "gone", &["--rm", BUSYBOX, "sleep", "300"]);
    home.bryo(&["stop", "-t", "0", "gone"]).ok();
    let told = ["create", "start", "kill", "die", "destroy", "stop"];
    eventually("its end is told", || {
        let mut found = actions(&home, "gone");
        let mut told = told.map(str::to_owned).to_vec();
        // Whoever stopped it and whoever removed it are two.
        found.sort();
        told.sort();
        (found == told).then_some(())
    });
}

#[test]
fn images_volumes_and_networks_are_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.bryo(&["tag", BUSYBOX, "other:1"]).ok();
    home.bryo(&["rmi", "other:1"]).ok();
    home.bryo(&["volume", "create", "v"]).ok();
    home.bryo(&["run", "--rm", "--network", "none", "-v", "/anonymous", BUSYBOX, "true"]).ok();
    home.bryo(&["volume", "rm", "v"]).ok();
    let network = home.bryo(&["network", "create", "n"]).ok();
    home.bryo(&["network", "rm", "n"]).ok();
    home.bryo(&["rmi", BUSYBOX]).ok();
    let images = past(&home, &["-f", "type=image"], "{{.Action}} {{.Actor.Attributes.name}}");
    let id = images[4].strip_prefix("delete ").unwrap();
    assert!(id.starts_with("sha256:"));
    let other = "docker.io/library/other:1";
    let expected = [
        format!("load {BUSYBOX}"),
        format!("tag {other}"),
        format!("untag {other}"),
        format!("untag {BUSYBOX}"),
        format!("delete {id}"),
    ];
    assert_eq!(images, expected);
    let volumes = past(&home, &["-f", "type=volume"], "{{.Action}} {{.Actor.ID}}");
    assert_eq!((volumes[0].as_str(), volumes[3].as_str(), volumes.len()), ("create v", "destroy v", 4));
    assert_eq!(volumes[1].strip_prefix("create "), volumes[2].strip_prefix("destroy "));
    let networks = past(&home, &["-f", "network=n"], "{{.Type}} {{.Action}} {{.ID}} {{.Actor.Attributes.name}}");
    assert_eq!(networks, [format!("network create {network} n"), format!("network destroy {network} n")]);
    // As a person reads it.
    let shown = home.bryo(&["system", "events", "--since", "1h", "--until", "0s", "-f", "volume=v"]).ok();
    let first = shown.lines().next().unwrap();
    assert!(first.len() > 31 && first[30..].starts_with(" volume create v (driver=local)"), "{first}");
}

/// A follower hears of what others do, and ends at the time that it was given.
#[test]
fn what_happens_is_followed() {
    for user in User::all() {
        let home = home(&user);
        let mut follower = home.start(&["events", "--format", "{{.Action}}", "-f", "container=c"]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        home.run(&["--name", "c", BUSYBOX, "true"]).ok();
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(follower.runs());
        follower.signal(rustix::process::Signal::TERM);
        assert_eq!(follower.wait().text(), "create\nstart\ndie\ndestroy", "{}", user.name);
        let until = in_seconds(3);
        let ends = home.start(&["events", "--format", "{{.Type}}", "-f", "type=volume", "--until", &until]);
        home.bryo(&["volume", "create", "v"]).ok();
        assert_eq!(ends.wait().ok(), "volume");
        home.bryo(&["events", "--filter", "nonsense=1"]).fails(1, &["nonsense"]);
        home.bryo(&["events", "--since", "yesterday"]).fails(1, &["yesterday"]);
        // Before anything happens.
        home.bryo(&["events", "--format", "{{.Action"]).fails(1, &["--format"]);
    }
}

/// What a short run costs: one write when it begins, and one when it is over and gone.
#[test]
fn a_run_that_is_removed_writes_twice() {
    let Some(user) = User::without_range() else { return };
    if !bryo_tests::skip::have("strace") {
        return;
    }
    let home = home(&user);
    let trace = home.path.join("w/trace").display().to_string();
    let bryo = bryo_tests::dirs::bryo().display().to_string();
    let run = ["run", "--rm", "--network", "none", "--name", "c", BUSYBOX, "true"];
    home.tool("strace", &[&["-f", "-e", "trace=openat", "-o", &trace, &bryo], &run[..]].concat()).ok();
    let trace = fs::read_to_string(trace).unwrap();
    assert_eq!(trace.lines().filter(|line| line.contains("events/journal\"")).count(), 2, "{trace}");
    assert_eq!(actions(&home, "c"), ["create", "start", "die", "destroy"]);
}

/// The time some seconds from now, in seconds since 1970.
fn in_seconds(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    (now.as_secs() + seconds).to_string()
}

/// The journal is one of two files that do not grow, and nothing depends on it.
#[test]
fn the_journal_is_bounded_and_may_be_lost() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let dir = home.store().join("events");
    home.run(&[BUSYBOX, "true"]).ok();
    let old = fs::read(dir.join("journal")).unwrap();
    let many = old.repeat((1 << 20) / old.len() + 1);
    home.write(".local/share/bryo/events/journal", &many);
    home.run(&["--name", "after", BUSYBOX, "true"]).ok();
    assert!(fs::metadata(dir.join("journal")).unwrap().len() < 4096);
    assert!(fs::metadata(dir.join("journal.1")).unwrap().len() >= 1 << 20);
    assert_eq!(actions(&home, "after"), ["create", "start", "die", "destroy"]);
    home.tool("sh", &["-c", "rm -r $HOME/.local/share/bryo/events; touch $HOME/.local/share/bryo/events"]).ok();
    home.run(&[BUSYBOX, "true"]).ok();
    home.bryo(&["events", "--until", "0s"]).fails(1, &["events"]);
}
