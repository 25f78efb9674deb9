// SPDX-License-Identifier: Apache-2.0
//! Who one is on the host, rung by rung, read from the host's `/proc` while the container runs.

use bryo_tests::host::{Process, mark};
use bryo_tests::images::BUSYBOX;
use bryo_tests::program::eventually;
use bryo_tests::user::Rung;
use bryo_tests::{Home, Running, User};

/// Starts a container that sleeps; returns it and its payload.
fn sleeper(home: &Home, args: &[&str]) -> (Running, Process) {
    let mark = mark();
    let all = [&["run", "--rm", "--network", "none"], args, &[BUSYBOX, "sleep", &mark]].concat();
    (home.start(&all), Process::with_args(&["sleep", &mark]))
}

/// Asserts that every id of a payload may be a container's, and that the caller is none of them.
#[track_caller]
fn assert_nobody(user: &User, payload: Process) {
    for field in ["Uid", "Gid"] {
        for id in payload.ids(field) {
            assert!(user.may_own(id), "{field} {id} is not of the range of {}", user.name);
            assert_ne!(id, 0, "root of the host");
        }
    }
    for file in ["uid_map", "gid_map"] {
        let own = if file == "uid_map" { user.uid } else { user.gid };
        for [_, host, count] in payload.map(file) {
            assert!(own < host || own - host >= count, "{} is in the {file}", user.name);
            assert!(host > 0, "root of the host is in the {file}");
        }
    }
}

#[test]
fn on_subordinate_ids_the_caller_is_not_in_the_map() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let (first, _) = user.range().unwrap();
    let (_run, payload) = sleeper(&home, &[]);
    assert_nobody(&user, payload);
    assert_eq!(payload.ids("Uid"), [first + 65532; 4]);
    // Not even its own: the primary group is no supplementary one, and the caller's are gone.
    assert_eq!(payload.status("Groups"), "");
}

#[test]
fn root_inside_is_a_subordinate_id_too() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let (first, _) = user.range().unwrap();
    let (_run, payload) = sleeper(&home, &["--user", "root"]);
    assert_nobody(&user, payload);
    assert_eq!(payload.ids("Uid"), [first; 4]);
}

#[test]
fn sharing_maps_the_run_user_and_nobody_else_to_the_caller() {
    let Some(user) = User::with_range() else { return };
    let home = Home::shared(&user);
    let dir = home.mkdir("w/sharing").display().to_string();
    let (_run, payload) = sleeper(&home, &["-v", &format!("{dir}:/data:me")]);
    assert_eq!(payload.ids("Uid"), [user.uid; 4]);
    let of_caller: Vec<_> = payload.map("uid_map").into_iter().filter(|m| m[1] == user.uid).collect();
    assert_eq!(of_caller, [[65532, user.uid, 1]]);
    let root = payload.map("uid_map").into_iter().find(|m| m[0] == 0).unwrap();
    assert!(user.may_own(root[1]), "root inside is {}", root[1]);
}

#[test]
fn files_shared_with_me_come_out_as_mine() {
    for user in [User::with_range(), User::without_range()].into_iter().flatten() {
        let home = Home::shared(&user);
        let dir = home.mkdir(&format!("w/mine-{}", mark()));
        let share = format!("{}:/data:me", dir.display());
        home.run(&["-v", &share, BUSYBOX, "sh", "-c", "echo hello > /data/file && mkdir /data/dir"]).ok();
        for name in ["file", "dir"] {
            let meta = std::fs::metadata(dir.join(name)).unwrap();
            let owner = (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
            assert_eq!(owner, (user.uid, user.gid), "{name}");
        }
    }
}

#[test]
fn on_a_single_id_only_the_caller_is_mapped() {
    for user in [User::without_range(), User::without_newuidmap()].into_iter().flatten() {
        let home = Home::new(&user);
        home.load(&bryo_tests::images::busybox());
        for (word, inside) in [("65532", 65532), ("root", 0), ("app", 1000)] {
            let (_run, payload) = sleeper(&home, &["--user", word]);
            assert_eq!(payload.map("uid_map"), [[inside, user.uid, 1]], "--user {word}");
            assert_eq!(payload.ids("Uid"), [user.uid; 4]);
            assert_eq!(payload.ids("Gid"), [user.gid; 4]);
        }
    }
}

#[test]
fn invoked_by_root_no_container_is_root_of_the_host() {
    let Some(user) = User::root() else { return };
    let home = Home::shared(&user);
    let (_one, first) = sleeper(&home, &[]);
    let (_two, second) = sleeper(&home, &["--user", "root"]);
    for payload in [first, second] {
        assert_nobody(&user, payload);
    }
    let (one, two) = (first.map("uid_map")[0], second.map("uid_map")[0]);
    assert!(one[1] + one[2] <= two[1] || two[1] + two[2] <= one[1], "two containers share ids: {one:?} {two:?}");
}

#[test]
fn roots_containers_read_one_store_through_their_own_ids() {
    let Some(user) = User::root() else { return };
    let home = Home::shared(&user);
    // The image's files keep their owners inside, whichever range the container has.
    let listing = "stat -c '%u %n' /bin/busybox /home/app /var/lib/app";
    let (_held, _) = sleeper(&home, &[]);
    let seen = home.run(&["--user", "root", BUSYBOX, "sh", "-c", listing]).ok();
    assert_eq!(seen, "0 /bin/busybox\n1000 /home/app\n1000 /var/lib/app");
}

#[test]
fn every_namespace_is_the_containers_own() {
    for user in User::all() {
        let home = Home::shared(&user);
        let (_run, payload) = sleeper(&home, &[]);
        let own = Process(std::process::id());
        for name in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            assert_ne!(payload.namespace(name), own.namespace(name), "{name} for {}", user.name);
        }
    }
}

#[test]
fn inspect_says_which_rung_was_chosen_and_both_ids() {
    for user in User::all() {
        let home = Home::shared(&user);
        let mark = mark();
        let name = format!("seen-{mark}");
        let _run = home.start(&["run", "--rm", "--name", &name, "--network", "none", BUSYBOX, "sleep", &mark]);
        let payload = Process::with_args(&["sleep", &mark]);
        // It is written down while the payload begins.
        let look = || Some(home.bryo(&["inspect", &name])).filter(|seen| seen.status.success());
        let record = eventually("it is written down", look).json()[0].clone();
        let text = record.to_string();
        assert!(text.contains(&format!("\"{}\"", user.rung.word())), "{}: {text}", user.name);
        assert!(text.contains("65532"), "the id inside: {text}");
        assert!(text.contains(&payload.ids("Uid")[0].to_string()), "the id on the host: {text}");
        assert_eq!(record["State"]["Pid"], payload.0, "{text}");
        if user.rung == Rung::Single {
            assert!(text.contains("would be you"), "the verdict: {text}");
        }
    }
}

#[test]
fn nobody_else_can_enter_the_store() {
    for user in User::all() {
        let home = Home::shared(&user);
        let meta = std::fs::metadata(home.store()).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o7777, 0o700);
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), user.uid);
    }
}
