// SPDX-License-Identifier: Apache-2.0
//! Derived layers, for real: as whoever runs the tests, on every rung that this host gives.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod ground;
mod hardened;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bryo_engine::derive::{Base, DeriveInput, derive};
use bryo_engine::error::Kind;
use bryo_image::Digest;
use bryo_image::store::GcOptions;
use ground::{Ground, Seen};

const TESTS: &[(&str, fn())] = &[
    ("state_changes_hands_and_nothing_else", state_changes_hands_and_nothing_else),
    ("everything_has_its_place_to_be_mounted_on", everything_has_its_place_to_be_mounted_on),
    (
        "users_whom_the_caller_names_have_what_the_image_keeps_for_root",
        users_whom_the_caller_names_have_what_the_image_keeps_for_root,
    ),
    ("what_no_service_writes_stays_roots_for_good", hardened::what_no_service_writes_stays_roots_for_good),
    (
        "what_is_declared_or_made_by_the_start_is_given_for_good",
        hardened::what_is_declared_or_made_by_the_start_is_given_for_good,
    ),
    (
        "a_user_of_the_images_own_gets_what_the_image_declares",
        hardened::a_user_of_the_images_own_gets_what_the_image_declares,
    ),
    ("links_of_the_image_lead_nowhere_else", links_of_the_image_lead_nowhere_else),
    ("hostile_account_files_hold_nobody_up", hostile_account_files_hold_nobody_up),
    ("errors_come_back_and_leave_nothing", errors_come_back_and_leave_nothing),
    ("the_second_time_one_file_is_read", the_second_time_one_file_is_read),
    ("a_damaged_layer_is_made_again", a_damaged_layer_is_made_again),
    ("a_layer_goes_with_its_image", a_layer_goes_with_its_image),
    ("a_single_id_needs_no_owner", a_single_id_needs_no_owner),
    ("a_directory_of_the_host_is_a_base", a_directory_of_the_host_is_a_base),
    ("an_archive_from_outside", an_archive_from_outside),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listing = arguments.iter().any(|argument| argument == "--list");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    for (name, test) in TESTS {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        if listing {
            println!("{name}: test");
            continue;
        }
        test();
        println!("test {name} ... ok");
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
postgres:x:101:103:,,,:/var/lib/postgresql:/bin/bash\n\
redis:x:102:105::/var/lib/redis:/usr/sbin/nologin";
const GROUP: &str =
    "root:x:0:\nshadow:x:42:postgres\nssl-cert:x:104:postgres\npostgres:x:103:\nredis:x:105:\nwww-data:x:33:\n";

/// A system with services, in two layers.
fn services() -> Ground {
    let mut ground = Ground::new(false);
    ground.layer(|tar| {
        for directory in [
            "etc",
            "usr/bin",
            "bin",
            "var",
            "var/lib",
            "var/lib/dpkg",
            "var/cache",
            "var/cache/apt",
            "var/log",
            "srv",
            "etc/ssl/private",
            "tmp",
        ] {
            tar.directory(directory, (0, 0), 0o755);
        }
        tar.file("bin/sh", (0, 0), 0o755, b"\x7fELF");
        tar.file("etc/passwd", (0, 0), 0o644, PASSWD.as_bytes());
        tar.file("etc/group", (0, 0), 0o644, GROUP.as_bytes());
        tar.file("etc/shadow", (0, 42), 0o640, b"root:*:\n");
        tar.file("etc/passwd-", (102, 105), 0o640, b"root:x:0:0::/:\n");
        tar.file("etc/group-", (0, 105), 0o640, b"root:x:0:\n");
        tar.directory("etc/ssh", (0, 0), 0o755);
        tar.file("etc/ssh/key", (0, 105), 0o640, b"key");
        tar.file("etc/mine", (1000, 105), 0o640, b"of no service");
        tar.file("etc/numbered", (998, 998), 0o640, b"of one without an account");
        tar.file("etc/ssl/private/key.pem", (0, 104), 0o640, b"key");
        tar.file("var/lib/dpkg/status", (0, 0), 0o644, b"Package: x\n");
        tar.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
    });
    ground.layer(|tar| {
        tar.directory("var/lib/postgresql", (101, 103), 0o755);
        tar.directory("var/lib/postgresql/main", (101, 103), 0o700);
        tar.file("var/lib/postgresql/main/wal", (101, 103), 0o600, &vec![7; 3 << 20]);
        tar.directory("var/lib/redis", (102, 105), 0o750);
        tar.file("var/log/big.log", (0, 0), 0o644, &vec![b'x'; (1 << 20) + 1]);
        tar.file("var/log/small.log", (0, 0), 0o640, b"small");
        tar.file("srv/tool", (0, 0), 0o755, b"\x7fELF");
        tar.file("srv/setuid", (0, 0), 0o4644, b"");
        tar.file("srv/data", (0, 0), 0o644, b"data");
        tar.hard_link("srv/second", "srv/data");
        tar.file("srv/entrypoint.sh", (0, 0), 0o755, b"#!/bin/sh\n");
        tar.link("srv/link", "/etc/shadow");
        tar.directory("etc/redis", (102, 105), 0o2770);
        tar.file("etc/redis/redis.conf", (102, 105), 0o640, b"bind 127.0.0.1\n");
        tar.directory("etc/ppp", (0, 105), 0o750);
        tar.file("etc/ppp/secrets", (0, 105), 0o640, b"secret");
        tar.file("etc/ppp/open", (0, 105), 0o644, b"open");
        tar.file("etc/ppp/certificate", (0, 104), 0o640, b"not the service's alone");
        tar.directory("etc/postgresql", (101, 103), 0o755);
        tar.file("etc/postgresql/pg_hba.conf", (101, 103), 0o640, b"local all\n");
        tar.directory("app", (0, 0), 0o755);
        tar.file("app/code.py", (0, 0), 0o644, b"print()\n");
    });
    ground
}

fn owner(seen: &Seen, path: &str) -> (u32, u32, u32) {
    let entry = seen.get(path).unwrap_or_else(|| panic!("{path} is not there"));
    (entry.uid, entry.gid, entry.mode)
}

fn state_changes_hands_and_nothing_else() {
    let ground = services();
    let facts = derive(&ground.input()).unwrap();
    assert_eq!((facts.uid, facts.gid, facts.name.as_str()), (65532, 65532, "nonroot"));
    assert_eq!(facts.shell, Path::new("/bin/sh"));
    assert_eq!(facts.state, ["/home/nonroot", "/run", "/srv", "/tmp", "/var"].map(PathBuf::from));
    let seen = ground.seen(&facts);
    if ground.map.is_single() {
        return; // There is nobody to give anything to.
    }
    // The groups of the services whose state it has, but none that stands for the machine.
    assert_eq!(facts.groups, [103, 104, 105]);
    let run = |mode| (65532, 65532, mode);
    for (path, mode) in [
        ("/var/lib/postgresql", 0o755),
        ("/var/lib/postgresql/main", 0o700),
        ("/var/lib/postgresql/main/wal", 0o600),
        ("/var/lib/redis", 0o750),
        ("/var/log", 0o755),
        ("/var/log/small.log", 0o640),
        ("/srv", 0o755),
        ("/etc/redis", 0o2770),
        ("/etc/redis/redis.conf", 0o640),
        ("/etc/postgresql/pg_hba.conf", 0o640),
        ("/etc/numbered", 0o640),
        ("/home/nonroot", 0o700),
    ] {
        assert_eq!(owner(&seen, path), run(mode), "{path}");
    }
    assert_eq!((seen["/srv/link"].uid, seen["/srv/link"].target.as_deref()), (65532, Some("/etc/shadow")));
    for (path, gid, mode) in [
        ("/etc", 0, 0o755),
        ("/etc/shadow", 42, 0o640),
        ("/etc/passwd", 0, 0o644),
        ("/etc/group-", 105, 0o640),
        ("/etc/ssh/key", 105, 0o640),
        ("/etc/ssl/private", 0, 0o755),
        ("/etc/ssl/private/key.pem", 104, 0o640),
        ("/bin/sh", 0, 0o755),
        ("/etc/ppp", 65532, 0o750),
        ("/etc/ppp/secrets", 65532, 0o640),
        ("/etc/ppp/open", 105, 0o644),
        ("/etc/ppp/certificate", 104, 0o640),
        ("/var", 65532, 0o1775),
        ("/var/lib", 65532, 0o1775),
        ("/var/lib/dpkg", 0, 0o755),
        ("/var/lib/dpkg/status", 0, 0o644),
        ("/var/cache/apt", 0, 0o755),
        ("/var/log/big.log", 0, 0o644),
        ("/srv/tool", 0, 0o755),
        ("/srv/entrypoint.sh", 0, 0o755),
        ("/srv/data", 0, 0o644),
        ("/srv/second", 0, 0o644),
        ("/app", 0, 0o755),
        ("/home", 0, 0o755),
    ] {
        assert_eq!(owner(&seen, path), (0, gid, mode), "{path}");
    }
    assert_eq!(seen["/srv/setuid"].uid, 0);
    // Of secrets nothing changes hands, and of those who are no services.
    assert_eq!((owner(&seen, "/etc/passwd-"), owner(&seen, "/etc/mine")), ((102, 105, 0o640), (1000, 105, 0o640)));
    // The run user comes first and stands in for the services; no other byte has changed.
    let mut stands_in = PASSWD.to_owned();
    for ids in ["33:33", "101:103", "102:105"] {
        stands_in = stands_in.replace(&format!(":x:{ids}:"), ":x:65532:65532:");
    }
    assert_eq!(seen["/etc/passwd"].text, format!("nonroot:x:65532:65532::/home/nonroot:/bin/sh\n{stands_in}"));
    let mut groups = GROUP.to_owned();
    for id in ["33", "103", "105"] {
        groups = groups.replace(&format!(":x:{id}:"), ":x:65532:");
    }
    assert_eq!(seen["/etc/group"].text, format!("nonroot:x:65532:\n{groups}"));
    assert_eq!(seen["/etc/redis/redis.conf"].text, "bind 127.0.0.1\n");
    assert_eq!(seen["/var/lib/postgresql/main/wal"].size, 3 << 20);
}

fn everything_has_its_place_to_be_mounted_on() {
    let mut ground = services();
    ground.config(serde_json::json!({
        "WorkingDir": "/app", "Volumes": {"/data/volume": {}, "/etc/nginx": {}, "/usr/bin": {}, "relative": {}, "/../../up": {}},
        "Env": ["XDG_CONFIG_HOME=/config", "XDG_STATE_HOME=relative", "XDG_RUNTIME_DIR=/else"],
    }));
    let facts = derive(&ground.input()).unwrap();
    let seen = ground.seen(&facts);
    for path in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/data/volume", "/etc/nginx", "/up"] {
        assert!(seen[path].is_dir, "{path}");
    }
    assert_eq!((seen["/tmp"].mode, seen["/var/tmp"].mode), (0o1777, 0o1777));
    for path in ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"] {
        assert_eq!((seen[path].size, seen[path].target.as_deref()), (0, None), "{path}");
    }
    assert!(!seen.contains_key("/run/systemd"));
    let state =
        ["/app", "/config", "/data/volume", "/etc/nginx", "/home/nonroot", "/run", "/srv", "/tmp", "/up", "/var"];
    assert_eq!(facts.state, state.map(PathBuf::from));
    if !ground.map.is_single() {
        assert_eq!(owner(&seen, "/app/code.py"), (65532, 65532, 0o644));
        assert_eq!(owner(&seen, "/data/volume").0, 65532);
        assert_eq!(owner(&seen, "/config"), (65532, 65532, 0o755));
        assert_eq!(owner(&seen, "/data").0, 0);
        assert_eq!(owner(&seen, "/usr/bin").0, 0);
    }
    // Another working directory is another layer.
    let other = derive(&DeriveInput { workdir: Some(Path::new("/new/place")), ..ground.input() }).unwrap();
    assert_ne!(facts.layer, other.layer);
    assert!(other.state.contains(&PathBuf::from("/new/place")) && !other.state.contains(&PathBuf::from("/app")));
}

fn users_whom_the_caller_names_have_what_the_image_keeps_for_root() {
    let mut ground = services();
    for (user, ids, home) in
        [("5000", (5000, 5000), "/home/user5000"), ("root", (0, 0), "/root"), ("redis", (102, 105), "/var/lib/redis")]
    {
        let facts = derive(&DeriveInput { user: Some(user), ..ground.input() }).unwrap();
        assert_eq!((facts.uid, facts.gid, facts.home.to_str().unwrap()), (ids.0, ids.1, home), "{user}");
        let seen = ground.seen(&facts);
        assert!(seen[home].is_dir);
        if ground.map.is_single() {
            continue;
        }
        let state = if user == "root" { (101, 103, 0o700) } else { (ids.0, ids.1, 0o700) };
        assert_eq!(owner(&seen, "/var/lib/postgresql/main"), state, "{user}");
        assert_eq!(owner(&seen, "/srv").0, ids.0, "{user}");
        assert_eq!(owner(&seen, home).0, ids.0, "{user}");
        assert_eq!(seen["/etc/passwd"].text == PASSWD, user != "5000", "{user}");
    }
    // The groups of services come with their state, unless a group was named.
    for (user, joined) in [("5000", true), ("5000:5000", false), ("redis:redis", false)] {
        let facts = derive(&DeriveInput { user: Some(user), ..ground.input() }).unwrap();
        assert_eq!(facts.groups.contains(&103), joined && !ground.map.is_single(), "{user}");
    }
    let root = derive(&DeriveInput { user: Some("root"), ..ground.input() }).unwrap();
    // Root inside must not get at package databases by the way of state.
    assert!(root.state.contains(&PathBuf::from("/var/lib/redis")), "{:?}", root.state);
    assert!(!root.state.iter().any(|path| Path::new("/var/lib/dpkg/status").starts_with(path)), "{:?}", root.state);
    ground.config(serde_json::json!({"User": "redis"}));
    let facts = derive(&ground.input()).unwrap();
    assert_eq!((facts.uid, facts.name.as_str()), (102, "redis"));
    // An image with a user of its own has its state as that user needs it.
    let other = derive(&DeriveInput { user: Some("5000"), ..ground.input() }).unwrap();
    assert!(ground.map.is_single() || owner(&ground.seen(&other), "/srv").0 == 0);
    assert_eq!(derive(&DeriveInput { default_user_image: true, ..ground.input() }).unwrap().uid, 102);
    ground.config(serde_json::json!({}));
    assert_eq!(derive(&DeriveInput { default_user_image: true, ..ground.input() }).unwrap().uid, 0);
}

fn links_of_the_image_lead_nowhere_else() {
    let mut ground = Ground::new(false);
    let outside = tempfile::tempdir().unwrap();
    ground.layer(|tar| {
        for directory in ["etc", "usr/bin", "var", "var/spool", "real/etc"] {
            tar.directory(directory, (0, 0), 0o755);
        }
        tar.file("etc/shadow", (0, 0), 0o600, b"");
        tar.file("usr/bin/x", (0, 0), 0o644, b"");
        // State that is not where it says it is.
        tar.link("srv", "usr/bin");
        tar.link("run", "/etc");
        tar.link("var/lib", "/../../../etc");
        tar.link("home", outside.path().to_str().unwrap());
        tar.link("etc/passwd", "../../../real/etc/accounts");
        tar.file("real/etc/accounts", (0, 0), 0o600, b"me:x:7:7::/:/bin/sh\n");
        tar.link("tmp", "/usr/bin");
        tar.link("etc/hosts", "/etc/hosts");
    });
    let facts = derive(&ground.input()).unwrap();
    assert_eq!(facts.uid, 65532);
    let seen = ground.seen(&facts);
    assert!(facts.state.iter().all(|path| !path.starts_with("/usr") && !path.starts_with("/etc")), "{:?}", facts.state);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert!(seen["/real/etc/accounts"].text.starts_with("nonroot:x:65532:65532::/home/nonroot:/bin/sh\n"));
    assert_eq!((seen["/etc/hosts"].target.as_deref(), seen["/etc/hosts"].size), (None, 0));
    if !ground.map.is_single() {
        for path in ["/etc", "/etc/shadow", "/usr/bin", "/usr/bin/x"] {
            assert_eq!(owner(&seen, path).0, 0, "{path}");
        }
        assert_eq!(seen["/usr/bin"].mode, 0o755);
        assert_eq!(owner(&seen, "/real/etc/accounts"), (0, 0, 0o600));
    }
}

fn hostile_account_files_hold_nobody_up() {
    let begun = Instant::now();
    type Case = (&'static str, fn(&mut ground::Tar));
    let cases: [Case; 4] = [
        ("a pipe", |tar| tar.fifo("etc/passwd")),
        ("a directory", |tar| tar.directory("etc/passwd", (0, 0), 0o755)),
        ("a loop", |tar| tar.link("etc/passwd", "passwd")),
        ("too large", |tar| tar.file("etc/passwd", (0, 0), 0o644, &vec![b'a'; 5 << 20])),
    ];
    for (name, case) in cases {
        let mut ground = Ground::new(false);
        ground.layer(|tar| {
            tar.directory("etc", (0, 0), 0o755);
            case(tar);
        });
        match derive(&ground.input()) {
            Ok(facts) => assert_eq!((facts.uid, facts.name.as_str()), (65532, "nonroot"), "{name}"),
            Err(e) => panic!("{name}: {e}"),
        }
        let error = derive(&DeriveInput { user: Some("redis"), ..ground.input() }).unwrap_err();
        assert_eq!(error.kind(), Kind::UnknownUser, "{name}: {error}");
    }
    assert!(begun.elapsed().as_secs() < 60);
}

fn errors_come_back_and_leave_nothing() {
    let mut ground = services();
    let directory = ground.store.layers_dir(ground.map.ownership_key());
    let before = fs::read_dir(&directory).unwrap().count();
    for (user, workdir, kind) in [
        (Some("ghost"), None, Kind::UnknownUser),
        (Some("1:ghosts"), None, Kind::UnknownUser),
        (Some("4294967295"), None, Kind::InvalidOption),
        (None, Some("/etc/passwd"), Kind::InvalidOption),
        (None, Some("/etc/passwd/below"), Kind::InvalidOption),
    ] {
        let input = DeriveInput { user, workdir: workdir.map(Path::new), ..ground.input() };
        let error = derive(&input).unwrap_err();
        assert_eq!(error.kind(), kind, "{user:?} {workdir:?}: {error}");
    }
    if !ground.map.is_single() {
        ground.layer(|tar| tar.file("etc/passwd", (0, 0), 0o644, b"far:x:70000:70001::/:/bin/sh\n"));
        let error = derive(&DeriveInput { user: Some("far"), ..ground.input() }).unwrap_err();
        assert_eq!(error.kind(), Kind::Identity(bryo_identity::Kind::NotMapped));
        assert!(error.to_string().contains("--user 70000:70001"), "{error}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), before + 1);
    }
    assert!(fs::read_dir(&directory).unwrap().flatten().all(|e| !e.file_name().to_str().unwrap().starts_with('.')));
}

fn the_second_time_one_file_is_read() {
    let ground = services();
    let begun = Instant::now();
    let first = derive(&ground.input()).unwrap();
    let cold = begun.elapsed();
    let begun = Instant::now();
    for _ in 0..100 {
        assert_eq!(derive(&ground.input()).unwrap(), first);
    }
    eprintln!("made in {cold:?}, read in {:?}", begun.elapsed() / 100);
    assert!(first.layer.unwrap().ends_with("fs"));
}

fn a_damaged_layer_is_made_again() {
    let ground = services();
    let first = derive(&ground.input()).unwrap();
    let directory = first.layer.clone().unwrap().parent().unwrap().to_owned();
    fs::write(directory.join("facts.json"), "").unwrap();
    assert_eq!(derive(&ground.input()).unwrap(), first);
    assert_eq!(ground.leftovers(), 1);
    // The next worker sweeps what was put aside, and what somebody left who was killed.
    fs::create_dir(directory.with_file_name(".tmp-killed")).unwrap();
    let _worker = ground.worker();
    assert_eq!(ground.leftovers(), 0);
}

fn a_layer_goes_with_its_image() {
    let ground = services();
    let worker = ground.worker();
    let image = ground.import(&worker);
    let layers = ground.store.layer_paths(&image, ground.map.ownership_key()).unwrap();
    let input = DeriveInput { base: Base::Image(&image), layers: &layers, ..ground.input() };
    let kept = derive(&input).unwrap().layer.unwrap();
    let lost = derive(&ground.input()).unwrap().layer.unwrap();
    ground.store.gc(&GcOptions::default(), Some(&worker)).unwrap();
    assert!(kept.exists() && !lost.exists());
    ground.store.remove(image.config_digest.hex(), true).unwrap();
    let name = kept.parent().unwrap().file_name().unwrap().to_str().unwrap().replace("derived-", "sha256:");
    let in_use = GcOptions { layers_in_use: [name.parse::<Digest>().unwrap()].into(), ..GcOptions::default() };
    ground.store.gc(&in_use, Some(&worker)).unwrap();
    assert!(kept.exists());
    ground.store.gc(&GcOptions::default(), Some(&worker)).unwrap();
    assert!(!kept.exists());
}

fn a_single_id_needs_no_owner() {
    if rustix::process::geteuid().is_root() {
        return; // Root has a range of its own making.
    }
    let mut ground = Ground::new(true);
    ground.layer(|tar| {
        tar.file("etc/passwd", (0, 0), 0o644, PASSWD.as_bytes());
        tar.directory("var/lib/redis", (102, 105), 0o750);
    });
    ground.layer(|tar| tar.file("var/lib/redis/dump", (102, 105), 0o600, b"x"));
    let facts = derive(&ground.input()).unwrap();
    let layer = facts.layer.clone().unwrap();
    let meta = fs::metadata(layer.join("home/nonroot")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (rustix::process::geteuid().as_raw(), 0o700));
    // The upper layer has the directory for what is in it alone: its mode is the one below. Nothing is given away.
    let redis = fs::metadata(layer.join("var/lib/redis")).unwrap();
    assert_eq!((redis.uid(), redis.mode() & 0o7777), (meta.uid(), 0o750));
    assert!(!layer.join("var/lib/redis/dump").exists());
    assert_eq!(derive(&DeriveInput { user: Some("redis"), ..ground.input() }).unwrap().uid, 102);
}

fn a_directory_of_the_host_is_a_base() {
    let ground = Ground::new(false);
    let root = ground.directory("rootfs");
    for directory in ["etc", "bin", "var/lib/redis", "srv"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::write(root.join("etc/passwd"), PASSWD).unwrap();
    fs::write(root.join("srv/data"), "kept").unwrap();
    symlink("/nowhere", root.join("etc/resolv.conf")).unwrap();
    let layers = [root.clone()];
    let input = DeriveInput { base: Base::Directory(&root), layers: &layers, ..ground.input() };
    let facts = derive(&input).unwrap();
    let seen = ground.seen_over(&facts, &layers);
    for path in ["/proc", "/etc/hosts", "/etc/resolv.conf", "/home/nonroot", "/var/tmp"] {
        assert!(seen.contains_key(path), "{path}");
    }
    let (passwd, line) = (&seen["/etc/passwd"].text, "nonroot:x:65532:65532::/home/nonroot:/bin/sh\n");
    if ground.map.is_single() {
        // Services are this user under their own names, since all that is theirs is this user's.
        assert!(passwd.starts_with(line) && passwd.contains("\nredis:x:65532:65532:"), "{passwd}");
    } else {
        assert!(passwd.ends_with(line), "{passwd}");
    }
    assert_eq!(seen["/srv/data"].text, "kept");
    if !ground.map.is_single() {
        assert_eq!(
            (owner(&seen, "/var/lib/redis").0, owner(&seen, "/srv").0, owner(&seen, "/etc").0),
            (65532, 65532, 0)
        );
    }
    // Nothing of it is written to, and a change of its accounts is seen.
    assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), PASSWD);
    fs::write(root.join("etc/passwd"), format!("{PASSWD}\nnonroot:x:1000:1000::/home/n:/bin/bash\n")).unwrap();
    assert_eq!(derive(&input).unwrap().uid, 1000);
}

/// A root file system in a tar archive, named by the environment, to look at by hand what becomes of it.
fn an_archive_from_outside() {
    let Some(archive) = std::env::var_os("BRYO_TEST_ROOTFS") else { return };
    let ground = Ground::new(false);
    let worker = ground.worker();
    let image = ground.import_file(&worker, &mut fs::File::open(archive).unwrap());
    let layers = ground.store.layer_paths(&image, ground.map.ownership_key()).unwrap();
    let begun = Instant::now();
    let facts = derive(&DeriveInput { base: Base::Image(&image), layers: &layers, ..ground.input() }).unwrap();
    eprintln!("{:?}\n{facts:#?}", begun.elapsed());
    let seen = ground.seen_over(&facts, &[]);
    for (path, entry) in &seen {
        eprintln!("{path} {}:{} {:o} {}", entry.uid, entry.gid, entry.mode, entry.size);
    }
}
