// SPDX-License-Identifier: Apache-2.0
//! `drift`, `--immutable`, `--exec-state`: what is installed or started in a container that its image has not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use bryo_tests::images::{self, DEBIAN};
use bryo_tests::layout::busybox_layer;
use bryo_tests::program::{eventually, tool};
use bryo_tests::pty::Terminal;
use bryo_tests::tar::Tar;
use bryo_tests::user::Rung;
use bryo_tests::{Detached, Home, User, dirs, skip};
use serde_json::{Value, json};

use super::sbom::load;

const IMAGE: &str = "localhost/app:1";

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n";

/// What apt says when it may not install, and its code: the image has nothing else of Debian.
const APT: &[u8] = b"#!/bin/sh\n\
    echo 'E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)'\nexit 100\n";

/// A home with an image of one package, one setting and one file to delete.
fn home(user: &User) -> Home {
    let home = Home::new(user);
    let probe = fs::read(images::probe_program()).unwrap();
    let layer = Tar::default()
        .dir("etc/", 0o755)
        .file("etc/app.conf", 0o644, b"a=1\n")
        .file("etc/gone", 0o644, b"x")
        .file("probe", 0o755, &probe)
        .dir("usr/", 0o755)
        .dir("usr/bin/", 0o755)
        .file("usr/bin/apt-get", 0o755, APT)
        .dir("app/", 0o777)
        .file("app/tool", 0o755, b"#!/bin/sh\necho tool\n")
        .dir("var/", 0o755)
        .dir("var/lib/", 0o755)
        .dir("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, STATUS.as_bytes())
        .finish();
    load(&home, IMAGE, vec![busybox_layer(), layer]);
    home
}

/// A container that may write everywhere, and waits.
fn open<'h>(home: &'h Home, name: &str, image: &str) -> Detached<'h> {
    Detached::run(home, name, &["--writable", "--user", "root", image, "sleep", "300"])
}

fn rows(home: &Home, code: i32, args: &[&str]) -> Vec<Value> {
    let text = home.bryo(&[&["drift", "--format", "json"], args].concat()).code(code);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The findings as "kind change what".
#[track_caller]
fn findings(home: &Home, code: i32, name: &str) -> BTreeSet<String> {
    let output = home.bryo(&["drift", "--format", "{{.Kind}} {{.Change}} {{.What}}", name]);
    output.code(code).lines().map(str::to_owned).collect()
}

/// The same, whatever the code says: of what has not happened yet.
fn look(home: &Home, name: &str) -> BTreeSet<String> {
    let output = home.bryo(&["drift", "--format", "{{.Kind}} {{.Change}} {{.What}}", name]);
    output.text().lines().map(str::to_owned).collect()
}

#[track_caller]
fn has(found: &BTreeSet<String>, expected: &[&str]) {
    for one in expected {
        assert!(found.contains(*one), "no {one:?} in {found:#?}");
    }
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn what_was_changed_is_told_by_its_meaning_while_it_runs_and_afterwards() {
    for user in User::all() {
        let home = home(&user);
        let _runs = open(&home, "c", IMAGE);
        assert_eq!(findings(&home, 0, "c"), set(&[]), "the control: nothing has been done");
        home.bryo(&[
            "exec",
            "c",
            "sh",
            "-c",
            "cp /bin/busybox /usr/evil; cp /bin/busybox /usr/library; chmod 644 /usr/library; \
             cp /bin/busybox /usr/root; chmod 4755 /usr/root; echo x >> /app/tool; echo b=2 > /etc/app.conf; \
             echo new > /etc/new.conf; rm /etc/gone; echo data > /var/lib/data; echo log > /var/log.txt; \
             printf 'Package: libssl3\\nStatus: install ok installed\\nVersion: 3.0.11-2\\nArchitecture: amd64\\n\\n\
             Package: evil\\nStatus: install ok installed\\nVersion: 1\\n' > /var/lib/dpkg/status",
        ])
        .ok();
        let expected = set(&[
            "package upgraded libssl3",
            "package added evil",
            "executable added /usr/evil",
            "executable added /usr/library",
            "executable added /usr/root",
            "executable changed /app/tool",
            "configuration changed /etc/app.conf",
            "configuration added /etc/new.conf",
            "setuid added /usr/root",
            "file deleted /etc/gone",
        ]);
        assert_eq!(findings(&home, 1, "c"), expected, "{}", user.name);
        home.bryo(&["stop", "-t", "0", "c"]).ok();
        assert_eq!(findings(&home, 1, "c"), expected, "{}", user.name);
        let upgraded = rows(&home, 1, &["c"]).into_iter().find(|row| row["What"] == "libssl3").unwrap();
        let text = |key: &str| upgraded[key].as_str().unwrap().to_owned();
        assert_eq!((text("Type"), text("Before"), text("Now")), ("deb".into(), "3.0.11-1".into(), "3.0.11-2".into()));
    }
}

#[test]
fn processes_are_judged_by_what_they_execute() {
    for user in User::all() {
        let home = home(&user);
        let runs = open(&home, "c", IMAGE);
        let start = |script: &str| home.bryo(&["exec", "-d", &runs.name, "sh", "-c", script]).ok();
        start("exec /probe memory /bin/busybox sleep 300");
        start("cp /bin/busybox /tmp/sleep; exec /tmp/sleep 301");
        start("mkdir /tmp/d; cp /bin/busybox /tmp/d/sleep; /tmp/d/sleep 302 & sleep 0.2; rm /tmp/d/sleep; wait");
        start("cp /bin/busybox /tmp/lib.so; exec /probe map /tmp/lib.so");
        start("cp /bin/busybox /dev/shm/data; exec /probe map /bin/busybox");
        // Who makes itself a namespace, or another root, is told all the same: the container may, if it is let.
        let nested = Detached::run(
            &home,
            "n",
            &[
                "--writable",
                "--user",
                "root",
                "--security-opt",
                "seccomp=unconfined",
                "--cap-add",
                "sys_admin",
                IMAGE,
                "sleep",
                "300",
            ],
        );
        let inside = |script: &str| home.bryo(&["exec", "-d", &nested.name, "sh", "-c", script]).ok();
        inside("mkdir /tmp/n; cp /bin/busybox /tmp/n/sleep; exec unshare -p -f /tmp/n/sleep 303");
        inside(
            "exec unshare -m sh -c 'mkdir /tmp/root; mount -t tmpfs t /tmp/root; cd /tmp/root; mkdir bin old; \
             cp /bin/busybox bin/sleep; pivot_root . old; exec bin/sleep 304'",
        );
        let expected = ["process added /tmp/n/sleep", "process mounted /bin/sleep"];
        let all = |seen: &BTreeSet<String>| expected.iter().all(|one| seen.contains(*one));
        eventually("those in namespaces have begun", || Some(look(&home, "n")).filter(all));
        let expected = [
            "process in memory /memfd:hidden (deleted)",
            "process added /tmp/sleep",
            "process deleted /tmp/d/sleep",
            "process added /tmp/lib.so",
        ];
        let seen = eventually("all have begun", || {
            let seen = look(&home, "c");
            expected.iter().all(|one| seen.contains(*one)).then_some(seen)
        });
        let processes: BTreeSet<_> = seen.into_iter().filter(|line| line.starts_with("process ")).collect();
        assert_eq!(processes, set(&expected), "the image's own programs are none");
    }
}

/// What is mounted is not the image's.
#[test]
fn a_program_on_a_mount_is_told_with_its_place() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _runs = Detached::run(
        &home,
        "c",
        &["--tmpfs", "/mnt:exec", IMAGE, "sh", "-c", "cp /bin/busybox /mnt/sleep; exec /mnt/sleep 300"],
    );
    eventually("it has begun", || look(&home, "c").contains("process mounted /mnt/sleep").then_some(()));
    let rows = rows(&home, 1, &["c"]);
    assert!(rows[0]["Detail"].as_str().unwrap().ends_with(", on /mnt"), "{rows:?}");
}

/// A package of Debian, made here.
fn deb(home: &Home, version: &str) -> String {
    let dir = home.mkdir(&format!("w/pkg-{version}"));
    let write = |path: &str, text: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "DEBIAN/control",
        &format!("Package: toolbox\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n"),
    );
    write("usr/bin/toolbox", "#!/bin/sh\necho toolbox\n");
    write("etc/toolbox.conf", "a=1\n");
    tool("chmod", &["-R", "u=rwX,go=rX", dir.to_str().unwrap()]);
    tool("chmod", &["755", dir.join("usr/bin/toolbox").to_str().unwrap()]);
    let file = home.path.join(format!("toolbox-{version}.deb"));
    tool("dpkg-deb", &["--root-owner-group", "--build", dir.to_str().unwrap(), file.to_str().unwrap()]);
    home.user.own(&file);
    file.display().to_string()
}

#[test]
fn real_package_managers_leave_packages_and_no_loose_files() {
    if !skip::have("dpkg-deb") {
        return;
    }
    for user in User::all() {
        let home = Home::new(&user);
        let Some(debian) = images::debian() else { return };
        home.load(&debian);
        let _runs = open(&home, "c", DEBIAN);
        let (old, new) = (deb(&home, "1.0"), deb(&home, "1.1"));
        home.bryo(&["cp", &old, "c:/old.deb"]).ok();
        home.bryo(&["cp", &new, "c:/new.deb"]).ok();
        // apt gives its ids up before it reads a package, and with one id there is nobody to become.
        let apt = ["exec", "c", "apt-get", "install", "-y", "/old.deb"];
        let dpkg = ["exec", "c", "dpkg", "-i", "/old.deb"];
        home.bryo(if user.rung == Rung::Single { &dpkg } else { &apt }).ok();
        let found = findings(&home, 1, "c");
        has(&found, &["package added toolbox"]);
        let loose = |found: &BTreeSet<String>| found.iter().any(|line| line.contains("toolbox") && line.contains('/'));
        assert!(!loose(&found), "its files are accounted for: {found:#?}");
        home.bryo(&["exec", "c", "dpkg", "-i", "/new.deb"]).ok();
        home.bryo(&["exec", "c", "sh", "-c", "cp /bin/true /usr/bin/loose; cp /bin/true /usr/bin/cat"]).ok();
        let found = findings(&home, 1, "c");
        has(&found, &["package added toolbox", "executable added /usr/bin/loose", "executable changed /usr/bin/cat"]);
        home.bryo(&["exec", "c", "dpkg", "-P", "--force-depends", "apt"]).ok();
        let found = findings(&home, 1, "c");
        has(&found, &["package removed apt"]);
        assert!(!found.contains("file deleted /usr/bin/apt-get"), "{found:#?}");
    }
}

/// A package that says that everything is its own accounts for nothing that the image has.
#[test]
fn a_package_cannot_talk_away_a_change_of_the_image() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _runs = open(&home, "c", IMAGE);
    home.bryo(&[
        "exec",
        "c",
        "sh",
        "-c",
        "printf '\\nPackage: evil\\nStatus: install ok installed\\nVersion: 1\\n' >> /var/lib/dpkg/status; \
         mkdir -p /var/lib/dpkg/info; printf '/.\\n/app/tool\\n/usr/new\\n/etc/gone\\n' > /var/lib/dpkg/info/evil.list; \
         echo x >> /app/tool; cp /bin/busybox /usr/new; chmod u+s /usr/new; rm /etc/gone",
    ])
    .ok();
    let expected =
        ["package added evil", "executable changed /app/tool", "setuid added /usr/new", "file deleted /etc/gone"];
    assert_eq!(findings(&home, 1, "c"), set(&expected));
}

#[test]
fn a_broken_database_is_named_and_the_rest_is_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _runs = open(&home, "c", IMAGE);
    home.bryo(&[
        "exec",
        "c",
        "sh",
        "-c",
        "mkdir -p /var/lib/rpm /lib/apk/db /x.dist-info; echo garbage > /var/lib/rpm/rpmdb.sqlite; \
         truncate -s 900G /lib/apk/db/installed; mkfifo /x.dist-info/METADATA; cp /bin/busybox /usr/evil; \
         mkdir -p /deep; cd /deep; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done",
    ])
    .ok();
    let start = std::time::Instant::now();
    let found = findings(&home, 1, "c");
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    has(
        &found,
        &["unreadable  /var/lib/rpm/rpmdb.sqlite", "unreadable  /lib/apk/db/installed", "executable added /usr/evil"],
    );
}

#[test]
fn all_containers_are_in_one_list_and_the_exit_code_says_whether_there_is_something() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _same = Detached::run(&home, "same", &[IMAGE, "sleep", "300"]);
    let _host = Detached::run(&home, "host", &["host:", "sleep", "300"]);
    let _made = Detached::create(&home, "made", &[IMAGE]);
    let silent = home.bryo(&["drift", "--all"]);
    assert_eq!(silent.ok(), "");
    home.bryo(&["drift", "host"]).fails(125, &["no files of its own"]);
    home.bryo(&["drift", "none"]).fails(125, &["none"]);
    let _other = open(&home, "other", IMAGE);
    home.bryo(&["exec", "other", "cp", "/bin/busybox", "/evil"]).ok();
    let table = home.bryo(&["drift", "--all"]).code(1);
    assert!(table.starts_with("CONTAINER") && table.contains("/evil") && !table.contains("same"), "{table}");
    home.bryo(&["drift"]).fails(125, &["--all"]);
}

#[test]
fn what_comes_is_told_while_it_is_watched() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _runs = open(&home, "c", IMAGE);
    let log = home.path.join("watched");
    let bryo = dirs::bryo().display().to_string();
    let script = format!("exec {bryo} drift --watch --format '{{{{.Kind}}}} {{{{.What}}}}' c > {}", log.display());
    let mut command = home.user.command(&home.path, "sh");
    command.args(["-c", &script]);
    let watching = bryo_tests::program::Running::start(command, false);
    let seen = |line: &str| {
        eventually(line, || fs::read_to_string(&log).ok()?.lines().any(|found| found == line).then_some(()));
    };
    home.bryo(&["exec", "c", "sh", "-c", "mkdir -p /usr/a/b; cp /bin/busybox /usr/a/b/evil"]).ok();
    seen("executable /usr/a/b/evil");
    home.bryo(&["exec", "-d", "c", "/usr/a/b/evil", "sleep", "300"]).ok();
    home.bryo(&["exec", "-d", "c", "/probe", "memory", "/bin/busybox", "sleep", "300"]).ok();
    seen("process /memfd:hidden (deleted)");
    watching.signal(rustix::process::Signal::TERM);
    watching.wait();
}

#[test]
fn state_is_not_executed_unless_it_is_asked_for_or_the_image_does() {
    for user in User::all() {
        let home = home(&user);
        let script = "cp /bin/busybox $0/echo && $0/echo ran";
        for place in ["/tmp", "/var/tmp", "/run"] {
            home.run(&[IMAGE, "sh", "-c", script, place]).fails(126, &["Permission denied"]);
            assert_eq!(home.run(&["--exec-state", IMAGE, "sh", "-c", script, place]).ok(), "ran", "{place}");
        }
        // Not by way of a loader or a mapping either; the control maps what the image has.
        let mapped = |file: &str| format!("cp /bin/busybox /tmp/lib.so; timeout 2 /probe map {file}; true");
        assert_eq!(home.run(&[IMAGE, "sh", "-c", &mapped("/tmp/lib.so")]).ok(), "map EPERM");
        let control = home.run(&[IMAGE, "sh", "-c", &mapped("/bin/busybox")]);
        assert!(control.text().contains("map ok"), "{control:?}");
        // The image's program stands in the working directory, which stays its place.
        assert_eq!(home.run(&["-w", "/app", IMAGE, "./tool"]).ok(), "tool");
        assert_eq!(home.run(&["-w", "/app", IMAGE, "sh", "-c", script, "/app"]).ok(), "ran");
    }
}

#[test]
fn an_immutable_container_refuses_every_write_and_proves_it() {
    for user in User::all() {
        let home = home(&user);
        let share = format!("{}:/new/place:ro", home.mkdir("w/share").display());
        let words =
            ["run", "--name", "c", "--network", "none", "--immutable", "-v", "data:/data", "--tmpfs", "/mem", "-v"];
        let script = "for d in / /etc /tmp /var /var/tmp /run /app /dev /new /new/place; do \
            touch $d/x 2>/dev/null && echo wrote $d; done; touch /data/x /mem/x && echo volumes";
        let words = [&words[..], &[&share, IMAGE, "sh", "-c", script]].concat();
        assert_eq!(home.bryo(&words).ok(), "volumes", "{}", user.name);
        let state = &home.bryo(&["inspect", "c"]).json()[0]["State"]["Root"];
        assert!(state["Digest"].as_str().unwrap().starts_with("sha256:"), "{state}");
        assert_eq!(state["Digest"], state["Image"]);
        home.bryo(&["rm", "c"]).ok();
        home.run(&["--immutable", "--privileged", IMAGE, "true"]).fails(125, &["--immutable"]);
        home.run(&["--immutable", "host:", "true"]).fails(125, &["--immutable"]);
        home.run(&["--immutable", "--writable", IMAGE, "true"]).fails(125, &["--writable"]);
    }
}

/// The proof is none if it cannot fail: somebody changes the root behind the container's back.
#[test]
fn a_root_that_was_changed_after_all_is_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let runs = Detached::run(&home, "c", &["--immutable", IMAGE, "sleep", "300"]);
    let upper = home.store().join(format!("containers/{}/layer/upper", runs.id));
    // Root of the machine may; for anybody else it takes the ids of the container.
    if fs::write(upper.join("planted"), "x").is_err() {
        let inside = format!("echo x > {}/planted", upper.display());
        home.tool("unshare", &["--map-auto", "--map-root-user", "--", "sh", "-c", &inside]).ok();
    }
    home.bryo(&["stop", "-t", "0", "c"]).ok();
    let state = eventually("it is written down", || {
        let state = home.bryo(&["inspect", "c"]).json()[0]["State"].clone();
        (state["Status"] == "exited").then_some(state)
    });
    assert_ne!(state["Root"]["Digest"], state["Root"]["Image"], "{state}");
    assert_eq!(state["ExitCode"], 125);
    assert!(state["Error"].as_str().unwrap().contains("immutable"), "{state}");
}

#[test]
fn who_is_refused_at_a_terminal_is_told_the_line_of_the_dockerfile() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let screen = |words: &[&str]| {
        let command = home.command(&[&["run", "--rm", "--network", "none", "-t", IMAGE], words].concat());
        let mut terminal = Terminal::start(&command);
        terminal.wait();
        terminal.screen()
    };
    let apt = "apt-get install -y curl";
    let said = screen(&["sh", "-c", apt]);
    assert!(said.contains("RUN apt-get update && apt-get install -y --no-install-recommends curl"), "{said}");
    let said = screen(&["sh", "-c", "cp /bin/busybox /tmp/x; /tmp/x true"]);
    assert!(said.contains("--exec-state"), "{said}");
    let said = screen(&["touch", "/x"]);
    assert!(said.contains("--writable") && !said.contains("Dockerfile"), "{said}");
    // In a pipe nothing is said.
    let piped = home.run(&[IMAGE, "sh", "-c", apt]);
    assert!(!piped.fails(100, &[]).contains("Dockerfile"), "{piped:?}");
    // Nor is it otherwise for whoever comes later.
    let runs = Detached::run(&home, "c", &[IMAGE, "sleep", "300"]);
    let command = home.command(&["exec", "-t", &runs.name, "sh", "-c", apt]);
    let mut terminal = Terminal::start(&command);
    terminal.wait();
    let said = terminal.screen();
    assert!(said.contains("RUN apt-get update && apt-get install -y --no-install-recommends curl"), "{said}");
    assert!(!home.bryo(&["exec", &runs.name, "sh", "-c", apt]).fails(100, &[]).contains("Dockerfile"));
}

/// Debian's own package manager says why, and nothing is installed.
#[test]
fn real_package_managers_are_refused_by_default() {
    if !skip::have("dpkg-deb") {
        return;
    }
    for user in User::all() {
        let home = Home::new(&user);
        let Some(debian) = images::debian() else { return };
        home.load(&debian);
        let package = deb(&home, "1.0");
        let share = home.mkdir("w/debs");
        fs::copy(&package, share.join("t.deb")).unwrap();
        tool("chmod", &["-R", "a+rX", share.to_str().unwrap()]);
        let share = format!("{}:/debs:ro", share.display());
        let managers = [&["dpkg", "-i", "/debs/t.deb"][..], &["apt-get", "install", "-y", "/debs/t.deb"]];
        for words in managers.into_iter().take(if user.rung == Rung::Single { 1 } else { 2 }) {
            let refused = home.run(&[&["-v", &share, DEBIAN], words].concat());
            assert!(!refused.status.success(), "{refused:?}");
            let root = home.run(&[&["--user", "root", "-v", &share, DEBIAN], words].concat());
            assert!(!root.status.success(), "{root:?}");
            let control = [&["--user", "root", "--writable", "-v", &share, DEBIAN], words].concat();
            home.run(&control).ok();
        }
    }
}

/// Podman's storage is read with the caller's ids, whether the container runs or not.
#[test]
fn a_container_of_podman_is_read_from_its_storage() {
    if !skip::have("podman") {
        return;
    }
    let Some(user) = User::ordinary() else { return };
    if user.rung == Rung::Single {
        return;
    }
    let home = home(&user);
    home.write(".config/containers/storage.conf", "[storage]\ndriver = \"overlay\"\n");
    let layer = Tar::default()
        .dir("etc/", 0o755)
        .file("etc/gone", 0o644, b"x")
        .file("etc/app.conf", 0o644, b"a=1\n")
        .dir("var/", 0o755)
        .dir("var/lib/", 0o755)
        .dir("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, STATUS.as_bytes())
        .finish();
    let tar = home.write("root.tar", layer).display().to_string();
    let podman = |args: &[&str]| home.tool("podman", args).ok();
    podman(&["import", "-q", &tar, "localhost/p:1"]);
    podman(&["create", "--name", "c", "localhost/p:1", "/x"]);
    let socket = home.path.join("podman.sock").display().to_string();
    let mut service = home.user.command(&home.path, "podman");
    service.args(["system", "service", "-t", "120", &format!("unix://{socket}")]);
    let service = bryo_tests::program::Running::start(service, false);
    eventually("podman listens", || fs::symlink_metadata(&socket).ok());
    let look = |code| {
        let format = ["drift", "--socket", &socket, "--format", "{{.Kind}} {{.Change}} {{.What}}", "podman:c"];
        home.bryo(&format).code(code).lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(look(0), set(&[]), "the control: nothing has been done");
    let own = podman(&["inspect", "c", "--format", "{{.GraphDriver.Data.UpperDir}}"]);
    let script = format!(
        "cd {own} && mkdir -p etc var/lib/dpkg && cp /bin/true evil && chmod 700 evil && mknod etc/gone c 0 0 && \
         echo b=2 > etc/app.conf && printf '{}\nPackage: new\nStatus: install ok installed\nVersion: 1\n' > \
         var/lib/dpkg/status",
        STATUS.replace('\n', "\\n")
    );
    podman(&["unshare", "sh", "-c", &script]);
    let expected = [
        "package added new",
        "executable added /evil",
        "configuration changed /etc/app.conf",
        "file deleted /etc/gone",
    ];
    assert_eq!(look(1), set(&expected));
    let missing = ["drift", "--socket", &socket, "podman:none"];
    home.bryo(&missing).fails(125, &["podman", "none"]);
    service.signal(rustix::process::Signal::TERM);
    service.wait();
    podman(&["system", "reset", "-f"]);
}

/// Root of the machine is shown which directories of Docker's hide something, and reads that; no agent may.
#[test]
fn what_a_directory_of_another_engine_hides_is_told_as_deleted() {
    let Some(user) = User::all().into_iter().find(|user| user.rung == Rung::Root) else { return };
    let home = Home::new(&user);
    let (own, lower) = (home.mkdir("own/etc/d/s"), home.mkdir("lower/etc/d/s"));
    fs::write(lower.join("file"), "x").unwrap();
    fs::write(lower.with_file_name("top"), "x").unwrap();
    let at = |name: &str| home.path.join(name).display().to_string();
    let data = json!({"UpperDir": at("own"), "LowerDir": at("lower")});
    let storage = json!({"Name": "overlay2", "Data": data});
    let told = json!({"Id": "a", "Config": {}, "State": {"Pid": 0}, "GraphDriver": storage}).to_string();
    let socket = at("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let engine = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", told.len());
            stream.write_all(format!("{head}{told}").as_bytes()).unwrap();
        }
    });
    let look = |code| {
        let format = ["drift", "--socket", &socket, "--format", "{{.Kind}} {{.Change}} {{.What}}", "docker:c"];
        home.bryo(&format).code(code).lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(look(0), set(&[]), "the control: nothing says that it hides something");
    let dir = fs::File::open(own.parent().unwrap()).unwrap();
    rustix::fs::fsetxattr(&dir, c"trusted.overlay.opaque", b"y", rustix::fs::XattrFlags::empty()).unwrap();
    assert_eq!(look(1), set(&["file deleted /etc/d/s/file", "file deleted /etc/d/top"]));
    engine.join().unwrap();
}
