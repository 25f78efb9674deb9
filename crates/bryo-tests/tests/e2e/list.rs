// SPDX-License-Identifier: Apache-2.0
//! `ps`: which containers there are, in Docker's words, filters and formats.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::{self, BUSYBOX, PROBE};
use bryo_tests::program::eventually;
use bryo_tests::{Detached, Home, User};
use rustix::process::Signal;

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// Returns the names that `ps` lists, in its order.
#[track_caller]
fn names(home: &Home, args: &[&str]) -> Vec<String> {
    let text = home.bryo(&[&["ps", "--format", "{{.Names}}"], args].concat()).ok();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn those_that_run_are_listed_and_all_on_request() {
    for user in User::all() {
        let home = home(&user);
        let made = Detached::create(&home, "made", &[BUSYBOX, "true"]);
        let ended = Detached::run(&home, "ended", &[BUSYBOX, "sh", "-c", "exit 3"]);
        home.bryo(&["wait", "ended"]).ok();
        let runs = Detached::run(&home, "runs", &[BUSYBOX, "sleep", "300"]);
        assert_eq!(names(&home, &[]), ["runs"]);
        assert_eq!(names(&home, &["-a"]), ["runs", "ended", "made"]);
        assert_eq!(home.bryo(&["ps", "-aq"]).ok(), [&runs.id[..12], &ended.id[..12], &made.id[..12]].join("\n"));
        assert_eq!(home.bryo(&["ps", "-q", "--no-trunc"]).ok(), runs.id);
        assert_eq!(names(&home, &["-l"]), ["runs"]);
        assert_eq!(names(&home, &["-n", "2"]), ["runs", "ended"]);
        assert_eq!(names(&home, &["--last", "-1"]), ["runs"]);
        assert_eq!(home.bryo(&["container", "ls", "-q"]).ok(), runs.id[..12]);
        let states = home.bryo(&["ps", "-a", "--format", "{{.State}}: {{.Status}}"]).ok();
        let states: Vec<&str> = states.lines().collect();
        assert!(states[0].starts_with("running: Up "), "{states:?}");
        assert!(states[1].starts_with("exited: Exited (3) ") && states[1].ends_with(" ago"), "{states:?}");
        assert_eq!(states[2], "created: Created");
    }
}

#[test]
fn the_table_has_dockers_columns_and_both_ids() {
    let Some(user) = User::with_range() else { return };
    let home = home(&user);
    let long = ["sh", "-c", "sleep 300 # and much more that is not shown"];
    let _runs = Detached::run(&home, "runs", &[&[BUSYBOX], &long[..]].concat());
    let text = home.bryo(&["ps"]).ok();
    let titles: Vec<&str> =
        text.lines().next().unwrap().split("   ").map(str::trim).filter(|t| !t.is_empty()).collect();
    let expected = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "USER", "HOST UID", "NAMES"];
    assert_eq!(titles, expected);
    let host = (user.range().unwrap().0 + 65532).to_string();
    assert!(text.contains("nonroot (65532)") && text.contains(&host), "{text}");
    assert!(text.contains("\"sh -c sleep 300 # a…\""), "{text}");
    assert!(home.bryo(&["ps", "--no-trunc"]).ok().contains("not shown"));
    let table = home.bryo(&["ps", "--format", "table {{.ID}}\t{{.RunningFor}}\t{{.Networks}}"]).ok();
    assert!(table.starts_with("CONTAINER ID   CREATED"), "{table}");
    assert!(table.ends_with("none"), "{table}");
    let row = home.bryo(&["ps", "--format", "json"]).json();
    for key in ["Command", "CreatedAt", "ID", "Image", "Labels", "Mounts", "Names", "Networks", "Ports", "State"] {
        assert!(row[key].is_string(), "{key} in {row}");
    }
    assert!(row["CreatedAt"].as_str().unwrap().ends_with(" +0000 UTC"), "{row}");
    assert_eq!(home.bryo(&["ps", "--json"]).json()[0]["Name"], "runs");
    home.bryo(&["ps", "--format", "{{.NoSuch}}"]).fails(1, &["NoSuch"]);
}

#[test]
fn filters_choose_as_in_docker() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.load(&images::probe());
    let first = Detached::create(&home, "web-1", &["-l", "tier=front", "-l", "x=1", "-v", "data:/data", BUSYBOX]);
    let second = Detached::create(&home, "web-2", &["-l", "tier=back", "-v", "/tmp:/shared:ro", PROBE]);
    let _db = Detached::run(&home, "db", &["-l", "tier=back", BUSYBOX, "sh", "-c", "exit 7"]);
    home.bryo(&["wait", "db"]).ok();
    let filtered = |filters: &[&str]| {
        let words: Vec<&str> = filters.iter().flat_map(|f| ["--filter", f]).chain(["-a"]).collect();
        names(&home, &words)
    };
    assert_eq!(filtered(&["name=web"]), ["web-2", "web-1"]);
    assert_eq!(filtered(&["name=^/?web-1$"]), ["web-1"]);
    // Of one kind any, of different kinds all, and of labels all.
    assert_eq!(filtered(&["name=web-1", "name=db"]), ["db", "web-1"]);
    assert_eq!(filtered(&["name=web", "label=tier=back"]), ["web-2"]);
    assert_eq!(filtered(&["label=tier", "label=x=1"]), ["web-1"]);
    assert_eq!(filtered(&["label=tier", "label=nosuch"]), [""; 0]);
    assert_eq!(filtered(&[&format!("id={}", &first.id[..8])]), ["web-1"]);
    assert_eq!(filtered(&["status=exited"]), ["db"]);
    assert_eq!(filtered(&["status=created", "status=exited"]), ["db", "web-2", "web-1"]);
    assert_eq!(filtered(&["exited=7"]), ["db"]);
    assert_eq!(filtered(&["exited=0"]), [""; 0]);
    assert_eq!(filtered(&["since=web-1"]), ["db", "web-2"]);
    assert_eq!(filtered(&[&format!("before={}", second.id)]), ["web-1"]);
    assert_eq!(filtered(&["volume=data"]), ["web-1"]);
    assert_eq!(filtered(&["volume=/data"]), ["web-1"]);
    assert_eq!(filtered(&["volume=/tmp"]), ["web-2"]);
    assert_eq!(filtered(&["network=none"]), ["db", "web-2", "web-1"]);
    assert_eq!(filtered(&["network=bridge"]), [""; 0]);
    assert_eq!(filtered(&["health=none", "name=db"]), ["db"]);
    assert_eq!(filtered(&["health=healthy"]), [""; 0]);
    // The probe's image stands on the layer that is all of busybox's.
    assert_eq!(filtered(&[&format!("ancestor={BUSYBOX}")]), ["db", "web-2", "web-1"]);
    assert_eq!(filtered(&[&format!("ancestor={PROBE}")]), ["web-2"]);
    // A state is asked for with or without -a.
    assert_eq!(names(&home, &["--filter", "status=exited"]), ["db"]);
    assert_eq!(home.bryo(&["ps", "-a", "--format", "{{.Label \"x\"}}|{{.Mounts}}", "-f", "name=web-1"]).ok(), "1|data");
    home.bryo(&["ps", "--filter", "since=nosuch"]).fails(1, &["nosuch"]);
    home.bryo(&["ps", "--filter", "status=happy"]).fails(1, &["happy", "running"]);
}

#[test]
fn sizes_are_what_was_written_and_what_that_is_with_the_layers() {
    for user in User::all() {
        let home = home(&user);
        // Nobody but the container's own user may look into the directory.
        let script = "mkdir -m 700 /tmp/d && head -c 3000 /dev/zero > /tmp/d/x && exec sleep 300";
        let _runs = Detached::run(&home, "runs", &[BUSYBOX, "sh", "-c", script]);
        let _made = Detached::create(&home, "made", &[BUSYBOX]);
        let size = eventually("it has written", || {
            Some(home.bryo(&["ps", "-s", "--format", "{{.Size}}"]).ok()).filter(|s| s.starts_with("3kB"))
        });
        let whole = size.strip_prefix("3kB (virtual ").unwrap_or_else(|| panic!("{size}"));
        assert!(whole.ends_with("MB)"), "{size}");
        let made = home.bryo(&["ps", "-a", "--format", "{{.Size}}", "--filter", "name=made"]).ok();
        assert!(made.starts_with("0B (virtual "), "{made}");
        assert!(home.bryo(&["ps", "--size"]).ok().lines().next().unwrap().ends_with("SIZE"));
    }
}

#[test]
fn health_is_told_and_filtered_by() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let check = ["--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "1"];
    let _runs = Detached::run(&home, "runs", &[&check[..], &[BUSYBOX, "sleep", "300"]].concat());
    let status = |word: &str| {
        eventually(word, || Some(home.bryo(&["ps", "--format", "{{.Status}}"]).ok()).filter(|s| s.ends_with(word)));
    };
    status(" (unhealthy)");
    home.bryo(&["exec", "runs", "touch", "/tmp/well"]).ok();
    status(" (healthy)");
    assert_eq!(names(&home, &["--filter", "health=healthy"]), ["runs"]);
    assert_eq!(names(&home, &["--filter", "health=none"]), [""; 0]);
}

/// What a killed `run --rm` leaves is no container, and does not keep its name.
#[test]
fn what_was_to_go_away_is_not_listed() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let mark = mark();
    let run = home.start(&["run", "--rm", "--name", "gone", "--network", "none", BUSYBOX, "sleep", &mark]);
    // Whoever has begun is told as running a moment later.
    eventually("it is listed", || (names(&home, &[]) == ["gone"]).then_some(()));
    Process::with_args(&["sleep", &mark]);
    run.signal(Signal::KILL);
    drop(run);
    eventually("nobody holds it", || names(&home, &["-a"]).is_empty().then_some(()));
    assert_eq!(std::fs::read_dir(home.store().join("containers")).unwrap().count(), 0);
}
