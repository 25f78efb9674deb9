// SPDX-License-Identifier: Apache-2.0
//! What runs in a container, and what it uses.

use bryo_tests::host::Process;
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::program::eventually;
use bryo_tests::pty::Terminal;
use bryo_tests::user::Rung;
use bryo_tests::{Detached, Home, User};

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// The lines of `top` behind the titles, in words.
fn top(home: &Home, args: &[&str]) -> Vec<Vec<String>> {
    let out = home.bryo(&[&["top"], args].concat()).ok();
    out.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn processes_are_shown_as_ps_shows_them() {
    for user in User::all() {
        let home = home(&user);
        let script = "sleep 301 & while :; do :; done & exec sleep 302";
        let runs = Detached::run(&home, "c", &["--init", BUSYBOX, "sh", "-c", script]);
        eventually("all of them run", || (top(&home, &["c"]).len() == 4).then_some(()));
        let out = home.bryo(&["top", "c"]).ok();
        let titles: Vec<&str> = out.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        // Numbers of the host, names of the container.
        let rows = top(&home, &["c", "-o", "pid,ppid,ipid,user,huid,args"]);
        let pid = runs.state("Pid").to_string();
        assert_eq!((&rows[0][0], rows[0][2].as_str()), (&pid, "1"));
        let sleeps = rows.iter().find(|row| row.ends_with(&["sleep".into(), "301".into()])).unwrap();
        let expected = Process::with_args(&["sleep", "301"]);
        assert_eq!((&sleeps[0], sleeps[3].as_str()), (&expected.0.to_string(), "nonroot"), "{}", user.name);
        assert_eq!(sleeps[4], expected.ids("Uid")[0].to_string());
        assert_eq!(rows.iter().filter(|row| row[2] == "1").count(), 1, "{rows:?}");
        let busy = eventually("one has used the processor", || {
            let rows = top(&home, &["c", "-o", "pcpu,time,args"]);
            rows.into_iter().find(|row| row[0].parse::<f64>().is_ok_and(|share| share > 5.0))
        });
        assert!(busy.contains(&"sh".to_owned()), "{busy:?}");
        // What came in by exec is in it, and what runs beside it is not.
        // A container with a single id has no other user.
        let who = if user.rung == Rung::Single { "nonroot" } else { "root" };
        let exec = home.start(&["exec", "--user", who, "c", "sleep", "303"]);
        // Before it executes that it is a bryo.
        eventually("exec runs", || {
            top(&home, &["c", "user,args"]).contains(&words(&[who, "sleep", "303"])).then_some(())
        });
        let _other = Detached::run(&home, "other", &[BUSYBOX, "sleep", "304"]);
        assert_eq!(top(&home, &["other"]).len(), 1);
        assert_eq!(top(&home, &["c", "aux"]).len(), 5);
        drop(exec);
        home.bryo(&["top", "c", "-o", "nosuch"]).fails(1, &["nosuch", "--help"]);
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        home.bryo(&["top", "c"]).fails(1, &["c", "not running"]);
        home.bryo(&["top", "nosuch"]).fails(1, &["no such container"]);
    }
}

#[test]
fn what_is_used_is_measured() {
    for user in User::all() {
        let home = home(&user);
        let script = "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/null & while :; do :; done";
        let _busy = Detached::run(&home, "busy", &[BUSYBOX, "sh", "-c", script]);
        let _idle = Detached::run(&home, "idle", &[BUSYBOX, "sleep", "300"]);
        let _ended = Detached::create(&home, "ended", &[BUSYBOX]);
        let out = home.bryo(&["stats", "--no-stream"]).ok();
        let titles = out.lines().next().unwrap();
        assert!(titles.starts_with("CONTAINER ID   NAME") && titles.ends_with("PIDS"), "{out}");
        assert_eq!(out.lines().count(), 3);
        let format = "{{.Name}} {{.CPUPerc}} {{.PIDs}}";
        let share = |name: &str| {
            let out = home.bryo(&["stats", "--no-stream", "--format", format, name]).ok();
            let words: Vec<&str> = out.split_whitespace().collect();
            assert_eq!((words.len(), words[0]), (3, name), "{out}");
            assert!(words[2].parse::<u32>().unwrap() >= 1);
            words[1].strip_suffix('%').unwrap().parse::<f64>().unwrap()
        };
        let (busy, idle) = (share("busy"), share("idle"));
        assert!(busy > 5.0 && busy < 800.0 && idle < 5.0, "{}: {busy} {idle}", user.name);
        let memory = home.bryo(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.NetIO}}", "idle"]).ok();
        assert!(memory.contains("iB / ") && memory.ends_with("0B / 0B"), "{memory}");
        // Of one that does not run nothing is known.
        let all = home.bryo(&["stats", "-a", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}"]).ok();
        assert!(all.lines().any(|line| line == "ended -- -- / --") && all.lines().count() == 3, "{all}");
        let json = home.bryo(&["stats", "--no-stream", "--format", "json", "idle"]).json();
        assert_eq!(json["Name"], "idle");
        home.bryo(&["stats", "--no-stream", "nosuch"]).fails(1, &["no such container"]);
    }
}

/// Without `--no-stream` there is a table every second, and the container may end meanwhile.
#[test]
fn what_is_used_is_measured_again_and_again() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let runs = Detached::run(&home, "c", &[BUSYBOX, "sleep", "300"]);
    let mut stats = home.start(&["stats", "--format", "{{.Name}} {{.PIDs}}", "c"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    home.bryo(&["stop", "-t", "0", "c"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(stats.runs());
    stats.signal(rustix::process::Signal::TERM);
    let out = stats.wait();
    assert!(out.text().contains("c 1") && out.text().contains("c --"), "{out}");
    // One that is removed does not end what is shown of the other; when none is left, there is nothing to show.
    let _other = Detached::run(&home, "other", &[BUSYBOX, "sleep", "300"]);
    let gone = Detached::run(&home, "gone", &[BUSYBOX, "sleep", "300"]);
    let mut both = home.start(&["stats", "--format", "{{.Name}} {{.PIDs}}", "gone", "other"]);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    home.bryo(&["rm", "-f", "gone"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(both.runs());
    home.bryo(&["rm", "-f", "other"]).ok();
    let out = both.wait();
    assert!(out.ok().contains("gone 1\nother 1\nother 1"), "{out}");
    drop(gone);
    // On a terminal each table takes the place of the one before.
    let mut tty = Terminal::start(&home.command(&["stats", "-a", "--format", "{{.Name}} {{.PIDs}}"]));
    eventually("there are two", || (tty.screen().matches("\u{1b}[H\u{1b}[Jc --").count() >= 2).then_some(()));
    tty.typed("\u{3}");
    assert!(!tty.wait().success());
    drop(runs);
}

/// Where containers have no control group, one cannot be frozen; the machine's own tests show the rest.
#[test]
fn a_container_without_a_group_is_not_paused() {
    for user in User::all() {
        let home = home(&user);
        let _runs = Detached::run(&home, "c", &[BUSYBOX, "sleep", "300"]);
        home.bryo(&["pause", "c"]).fails(1, &["c", "control group", "limit"]);
        home.bryo(&["unpause", "c"]).fails(1, &["c", "not paused"]);
        assert_eq!(home.bryo(&["ps", "--format", "{{.State}}"]).ok(), "running");
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        home.bryo(&["pause", "c"]).fails(1, &["c", "not running"]);
        home.bryo(&["pause", "nosuch"]).fails(1, &["nosuch"]);
    }
}
