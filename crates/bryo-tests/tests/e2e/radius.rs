// SPDX-License-Identifier: Apache-2.0
//! `bryo blast-radius`: what an escapee could do, beside what one could do who is the caller.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use bryo_tests::host::{Process, mark};
use bryo_tests::images::BUSYBOX;
use bryo_tests::program::{eventually, tool};
use bryo_tests::user::Rung;
use bryo_tests::{Home, Running, User};
use serde_json::Value;

/// More than there are of anything that is asked for by name.
const ALL: &str = "1000000";

/// Enough for what is looked at first: `/etc` and homes.
const ENTRIES: &str = "50000";

/// The same where the home is that of somebody who works there.
const ENTRIES_OF_A_PERSON: &str = "5000000";

/// What a user has: a key and a file that is writable for him alone, in his login home, and a process.
struct Victim {
    dir: PathBuf,
    key: PathBuf,
    file: PathBuf,
    process: Running,
}

impl Victim {
    fn of(home: &Home) -> Self {
        let user = &home.user;
        let dir = user.login_home.join(format!(".bryo-radius-{}", mark()));
        let (key, file) = (dir.join(".ssh/id_ed25519"), dir.join("notes"));
        fs::create_dir_all(dir.join(".ssh")).unwrap();
        for path in [&key, &file] {
            fs::write(path, "secret").unwrap();
        }
        for path in [&dir, &dir.join(".ssh"), &key, &file] {
            user.own(path);
            let mode = if path.is_dir() { 0o755 } else { 0o600 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        // Older than what was last changed, so that whoever reads leaves a mark (`mount(8)`, relatime).
        tool("touch", &["-a", "-d", "2 days ago", &key.display().to_string(), &file.display().to_string()]);
        tool("touch", &["-a", "-d", "2 days ago", &dir.display().to_string()]);
        let mut command = user.command(&home.path, "sleep");
        command.arg("600");
        Self { dir, key, file, process: Running::start(command, false) }
    }

    /// Times, owners, modes and sizes of all that there is, taken without a mark.
    fn stats(&self) -> Vec<String> {
        let one = |path: &Path| {
            let m = fs::symlink_metadata(path).unwrap();
            let times = (m.atime(), m.atime_nsec(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
            format!("{path:?} {times:?} {} {} {:o} {} {}", m.uid(), m.gid(), m.mode(), m.len(), m.nlink())
        };
        [&self.dir, &self.dir.join(".ssh"), &self.key, &self.file].map(|path| one(path)).to_vec()
    }

    fn listing(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(&self.dir).unwrap().chain(fs::read_dir(self.dir.join(".ssh")).unwrap());
        let mut names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        let _gone = fs::remove_dir_all(&self.dir);
    }
}

fn radius(home: &Home, args: &[&str]) -> Value {
    let entries = if bryo_tests::user::is_root() { ENTRIES } else { ENTRIES_OF_A_PERSON };
    let bounds = ["--examples", ALL, "--entries", entries, "--seconds", "600"];
    home.bryo(&[&["blast-radius", "--json"], &bounds[..], args].concat()).json()
}

/// What was found of one kind.
fn category<'a>(setting: &'a Value, kind: &str) -> &'a Value {
    let categories = setting["findings"]["categories"].as_array().unwrap();
    categories.iter().find(|category| category["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn names(setting: &Value, kind: &str) -> Vec<String> {
    let worst = category(setting, kind)["worst"].as_array().unwrap();
    worst.iter().map(|example| example["what"].as_str().unwrap().to_owned()).collect()
}

fn has(setting: &Value, kind: &str, path: &Path) -> bool {
    names(setting, kind).iter().any(|name| Path::new(name) == path)
}

fn signals(setting: &Value, process: &Running) -> bool {
    names(setting, "signals").iter().any(|name| name.split(' ').next() == Some(&process.pid().to_string()))
}

/// Whatever is open to this id and not to everybody.
fn writes_in(setting: &Value, dir: &Path) -> bool {
    let in_dir = |kind: &str| names(setting, kind).iter().any(|name| Path::new(name).starts_with(dir));
    in_dir("writable-files") || in_dir("writable-directories")
}

#[test]
fn an_escapee_is_nobody_beside_one_who_is_the_caller() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let victim = Victim::of(&home);
    let report = radius(&home, &["host:", "--compare", "--userns keep-id", "podman"]);
    let [nobody, caller, podman] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    assert!(user.may_own(u32::try_from(nobody["host_uid"].as_u64().unwrap()).unwrap()));
    assert_eq!(nobody["is_caller"], false);
    assert!(!has(nobody, "secrets", &victim.key), "the key can be read");
    assert!(!writes_in(nobody, &user.login_home), "{:?}", names(nobody, "writable-files"));
    assert!(!signals(nobody, &victim.process), "the process can be killed");
    for kind in ["secrets", "writable-files", "writable-directories"] {
        assert_eq!(category(nobody, kind)["own"], 0, "{kind}");
    }
    for (setting, who) in [(caller, "keep-id"), (podman, "podman")] {
        assert_eq!((&setting["is_caller"], &setting["host_uid"]), (&true.into(), &user.uid.into()), "{who}");
        assert!(has(setting, "secrets", &victim.key), "{who}: the key is not found");
        assert!(has(setting, "writable-files", &victim.file), "{who}: the file is not found");
        assert!(writes_in(setting, &victim.dir.join(".ssh")), "{who}");
        assert!(signals(setting, &victim.process), "{who}: the process is not found");
    }
}

#[test]
fn with_a_single_id_an_escapee_is_the_caller() {
    let Some(user) = User::without_range() else { return };
    let home = Home::new(&user);
    let victim = Victim::of(&home);
    let report = radius(&home, &["host:"]);
    let setting = &report["settings"][0];
    assert_eq!((&setting["is_caller"], &setting["host_uid"]), (&true.into(), &user.uid.into()));
    assert!(has(setting, "secrets", &victim.key) && has(setting, "writable-files", &victim.file));
    assert!(signals(setting, &victim.process));
}

#[test]
fn a_container_of_root_is_nobody_and_one_of_docker_is_root() {
    let Some(user) = User::root() else { return };
    let home = Home::new(&user);
    let report = radius(&home, &["host:", "--compare", "docker", "podman"]);
    let [nobody, docker, podman] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    let shadow = Path::new("/etc/shadow");
    assert!(!has(nobody, "secrets", shadow) && !has(nobody, "writable-files", shadow));
    assert_eq!(names(nobody, "signals"), [] as [&str; 0]);
    assert_eq!(docker["host_uid"], 0);
    assert!(has(docker, "secrets", shadow), "root of the host cannot read /etc/shadow");
    assert!(names(docker, "signals").iter().any(|name| name.starts_with("1 ")), "nor kill process 1");
    assert!(podman["not_measured"].as_str().unwrap().contains("root") && podman["findings"].is_null());
}

#[test]
fn docker_is_not_guessed_for_who_is_not_root() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let output = home.bryo(&["blast-radius", "host:", "--compare", "docker"]);
    assert!(output.ok().contains("not measured: needs root"), "{output}");
}

/// Read from the host's `/proc`, beside a container with the same flags.
#[test]
fn the_probe_is_what_the_container_is_in_the_namespaces_of_the_host() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let seven = ["--user", "7:8", "--group-add", "12", "--cap-add", "NET_RAW"];
    for flags in [&[][..], &["--user", "root"], &seven, &["--user", "root", "--cap-drop", "ALL"]] {
        let mark = mark();
        let words = [&["run", "--rm", "--network", "none"], flags, &[BUSYBOX, "sleep", &mark]].concat();
        let _run = home.start(&words);
        let payload = Process::with_args(&["sleep", &mark]);
        let looking = home.start(&[&["blast-radius"], flags, &[BUSYBOX]].concat());
        let fields = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
        let of = |process: Process| -> Option<Vec<String>> {
            let status = process.read("status")?;
            let field = |name: &&str| status.lines().find_map(|l| l.strip_prefix(*name)?.strip_prefix(':'));
            fields.iter().map(|name| field(name).map(|value| value.trim().to_owned())).collect()
        };
        let wanted = of(payload).unwrap();
        // It takes a moment to become it.
        let probe = eventually(&format!("a probe with {wanted:?}"), || {
            let children = Process(looking.pid()).children();
            children.into_iter().find(|child| of(*child).as_ref() == Some(&wanted))
        });
        let maps = ["uid_map", "gid_map"];
        assert_eq!(maps.map(|file| probe.map(file)), maps.map(|file| payload.map(file)));
        if bryo_tests::user::is_root() {
            for name in ["pid", "net", "ipc", "uts"] {
                assert_eq!(probe.namespace(name), Process(std::process::id()).namespace(name), "{name}");
                assert_ne!(probe.namespace(name), payload.namespace(name), "{name}");
            }
        }
        looking.wait().ok();
    }
}

#[test]
fn it_leaves_no_trace() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let victim = Victim::of(&home);
    home.make_store();
    let before = victim.stats();
    let report = radius(&home, &["--userns", "keep-id", "host:"]);
    assert!(has(&report["settings"][0], "secrets", &victim.key), "it has not looked there");
    assert_eq!(victim.stats(), before);
    // Whoever lists and reads in the usual way does leave one, unless this file system keeps no times.
    home.tool("cat", &[&victim.key.display().to_string()]).ok();
    home.tool("ls", &[&victim.dir.display().to_string()]).ok();
    let mount = tool("findmnt", &["-n", "-o", "OPTIONS", "-T", &victim.dir.display().to_string()]);
    let marked = victim.stats().iter().zip(&before).filter(|(now, before)| now != before).count();
    assert!(marked == 2 || mount.contains("noatime"), "the control left {marked}");
    assert_eq!(victim.listing(), [victim.dir.join(".ssh"), victim.key.clone(), victim.file.clone()]);
}

#[test]
fn the_filter_and_landlock_take_away_what_the_ids_give() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let _victim = Victim::of(&home);
    let off = ["--security-opt", "landlock=off", "--security-opt", "seccomp=unconfined", "host:"];
    let free = radius(&home, &[&["--userns", "keep-id"][..], &off].concat());
    let secrets = category(&free["settings"][0], "secrets");
    assert_eq!(free["settings"][0]["findings"]["landlock"], false);
    assert!(secrets["confined"].as_u64().unwrap() > 0, "{secrets}");
    let confined = radius(&home, &["--userns", "keep-id", "host:"]);
    let setting = &confined["settings"][0];
    if setting["findings"]["landlock"] == false {
        bryo_tests::skip::skip("this kernel has no Landlock");
        return;
    }
    for kind in ["secrets", "private-files", "writable-files", "writable-directories"] {
        let category = category(setting, kind);
        assert!(category["count"].as_u64().unwrap() > 0 && category["confined"] == 0, "{kind}: {category}");
    }
}

/// A directory that anybody may enter. It is removed when dropped.
struct Open(PathBuf);

impl Drop for Open {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A program of an id that the container has gives it that id's rights; one of root of the host gives nothing.
#[test]
fn set_user_id_programs_count_where_they_have_an_effect() {
    let Some(user) = User::with_range() else { return };
    if !bryo_tests::user::is_root() {
        bryo_tests::skip::skip("giving files to subordinate ids needs root");
        return;
    }
    let home = Home::new(&user);
    // The login home is closed to others; what is beside it is not.
    let name = format!(".bryo-radius-{}", mark());
    let victim = Open(user.login_home.with_file_name(name));
    fs::create_dir(&victim.0).unwrap();
    let program = |name: &str, owner: u32| {
        let path = victim.0.join(name);
        fs::write(&path, "x").unwrap();
        std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        path
    };
    let (mapped, of_root) = (program("mapped", user.range().unwrap().0), program("of-root", 0));
    let off = ["--security-opt", "landlock=off", "--security-opt", "no-new-privileges=false", "host:"];
    for (flags, left) in [(&["host:"][..], false), (&off, true)] {
        let report = radius(&home, flags);
        let setting = &report["settings"][0];
        assert!(has(setting, "set-id-programs", &mapped) && !has(setting, "set-id-programs", &of_root));
        let category = category(setting, "set-id-programs");
        assert_eq!(category["confined"].as_u64().unwrap() > 0, left, "{flags:?}: {category}");
    }
}

#[test]
fn a_filter_that_ends_the_probe_leaves_what_was_found_before() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    let profile = |action: &str| {
        let rule = serde_json::json!({ "names": ["open", "openat"], "action": action });
        let profile = serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        let path = home.write(&format!("{action}.json"), profile.to_string());
        let report = radius(&home, &["--security-opt", &format!("seccomp={}", path.display()), "host:"]);
        report["settings"][0]["findings"].clone()
    };
    let ended = profile("SCMP_ACT_KILL_PROCESS");
    assert!(ended["confined"] == false && ended["entries"].as_u64().unwrap() > 0, "{}", ended["confined"]);
    assert!(ended["categories"].as_array().unwrap().iter().all(|category| category["confined"].is_null()));
    assert_eq!(profile("SCMP_ACT_ALLOW")["confined"], true);
}

#[test]
fn exit_codes_are_for_what_not_everybody_can_do() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let _victim = Victim::of(&home);
    let run = |args: &[&str]| home.bryo(&[&["blast-radius", "--entries", ENTRIES], args].concat());
    run(&["--userns", "keep-id", "host:"]).code(0);
    run(&["--userns", "keep-id", "--fail-on", "none", "host:"]).code(0);
    run(&["--userns", "keep-id", "--fail-on", "write", "host:"]).code(1);
    run(&["--userns", "keep-id", "--fail-on", "device,signal", "host:"]).code(1);
    // Everybody may write to /dev/shm.
    let text = run(&["--fail-on", "kernel,device", "host:"]).code(0);
    assert!(text.contains("/dev/shm"), "{text}");
    run(&["--fail-on", "reading", "host:"]).fails(125, &["reading", "connect"]);
    run(&["host:", "--compare", "--nosuch"]).fails(125, &["--nosuch"]);
    run(&["localhost/none:1", "--pull", "never"]).fails(125, &["localhost/none:1"]);
}

#[test]
fn sockets_are_listed_and_not_connected_to() {
    let Some(user) = User::with_range() else { return };
    let home = Home::new(&user);
    let victim = Victim::of(&home);
    let path = victim.dir.join("agent.sock");
    let name = format!("bryo-radius-{}", mark());
    let by_name = SocketAddr::from_abstract_name(&name).unwrap();
    let with_name = UnixListener::bind_addr(&by_name).unwrap();
    let with_path = UnixListener::bind(&path).unwrap();
    user.own(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    let report = radius(&home, &["host:", "--compare", "--userns keep-id"]);
    let [nobody, caller] = &report["settings"].as_array().unwrap()[..] else { panic!("{report}") };
    for setting in [nobody, caller] {
        assert!(names(setting, "abstract-sockets").contains(&format!("@{name}")));
        assert!(names(setting, "ports").contains(&address));
    }
    assert!(has(caller, "sockets", &path) && !has(nobody, "sockets", &path));
    for listener in [&with_name, &with_path] {
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody has connected");
    }
    port.set_nonblocking(true).unwrap();
    assert_eq!(port.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody has connected");
}

#[test]
fn of_a_container_that_runs_its_own_ids_are_taken() {
    for user in [User::with_range(), User::without_range()].into_iter().flatten() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        let name = format!("radius-{}", mark());
        home.bryo(&["run", "-d", "--name", &name, "--network", "none", "--user", "7", BUSYBOX, "sleep", "600"]).ok();
        let record = home.bryo(&["inspect", &name]).json();
        let report = radius(&home, &[&name, "--compare", "--user 8"]);
        home.bryo(&["rm", "--force", &name]).ok();
        let settings = report["settings"].as_array().unwrap();
        assert_eq!(settings[0]["setting"], format!("container {name}"));
        assert_eq!((&settings[0]["uid"], &settings[1]["uid"]), (&7.into(), &8.into()));
        assert_eq!(settings[0]["host_uid"], record[0]["Identity"]["HostUid"], "{record}");
        assert_eq!(settings[0]["is_caller"], user.rung == Rung::Single);
        assert_eq!(settings[0]["capabilities"], serde_json::json!([]));
    }
}

#[test]
fn a_probe_that_has_little_time_says_so() {
    let Some(user) = User::ordinary_without_images() else { return };
    let home = Home::new(&user);
    assert!(home.bryo(&["blast-radius", "--entries", "10", "host:"]).ok().contains("not all"));
}
