// SPDX-License-Identifier: Apache-2.0
//! `cp`: files between a container and the host, whoever owns them, and whoever swaps links meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use bryo_tests::host::Process;
use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::user::Rung;
use bryo_tests::{Detached, Home, User};

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// Makes a container that runs, and one that does not, and calls with the name of each.
fn each_state(home: &Home, test: impl Fn(&str)) {
    let _runs = Detached::run(home, "runs", &[BUSYBOX, "sleep", "300"]);
    let _made = Detached::create(home, "made", &[BUSYBOX, "sleep", "300"]);
    test("runs");
    test("made");
}

/// Runs `bryo cp` in the directory of the home's work.
#[track_caller]
fn cp(home: &Home, args: &[&str]) -> bryo_tests::Output {
    let mut command = home.command(&[&["cp"], args].concat());
    command.current_dir(home.path.join("w"));
    bryo_tests::Running::start(command, false).wait()
}

/// Reads a file of a container, running or not.
#[track_caller]
fn read(home: &Home, name: &str, path: &str) -> String {
    let archive = cp(home, &[&format!("{name}:{path}"), "-"]);
    assert!(archive.status.success(), "{archive}");
    // The header, and what follows.
    let size = usize::from_str_radix(std::str::from_utf8(&archive.stdout[124..135]).unwrap(), 8).unwrap();
    String::from_utf8(archive.stdout[512..512 + size].to_vec()).unwrap()
}

#[test]
fn a_tree_comes_back_as_it_went() {
    for user in User::all() {
        let home = home(&user);
        home.write("w/tree/file", "content\n");
        home.write("w/tree/deep/er/file", "x".repeat(300_000));
        home.write("w/tree/secret", "s");
        let w = home.path.join("w");
        fs::set_permissions(w.join("tree/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(w.join("tree/deep"), fs::Permissions::from_mode(0o500)).unwrap();
        fs::hard_link(w.join("tree/file"), w.join("tree/second")).unwrap();
        symlink("file", w.join("tree/link")).unwrap();
        symlink("/no/where", w.join("tree/dangling")).unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
        fs::File::options().write(true).open(w.join("tree/file")).unwrap().set_modified(then).unwrap();
        each_state(&home, |name| {
            let told = cp(&home, &["tree", &format!("{name}:/opt/new/../tree")]);
            told.fails(1, &["/opt"]);
            let told = cp(&home, &["tree", &format!("{name}:/var/tree")]);
            assert!(told.stderr.starts_with("Successfully copied 300kB to "), "{told}");
            cp(&home, &["-q", &format!("{name}:/var/tree"), "back"]).ok();
            let seen = home.tool("sh", &["-c", "cd $HOME/w && diff -r --no-dereference tree back && echo same"]);
            assert_eq!(seen.ok(), "same", "{name} {}", user.name);
            let back = home.path.join("w/back");
            let meta = |path: &str| fs::symlink_metadata(back.join(path)).unwrap();
            assert_eq!((meta("secret").mode() & 0o7777, meta("deep").mode() & 0o7777), (0o600, 0o500));
            assert_eq!((meta("file").mtime(), meta("file").ino()), (1_600_000_000, meta("second").ino()));
            assert_eq!(fs::read_link(back.join("dangling")).unwrap(), Path::new("/no/where"));
            assert_eq!((meta("file").uid(), meta("deep/er").uid()), (user.uid, user.uid));
            home.tool("sh", &["-c", "chmod -R u+w $HOME/w/back && rm -r $HOME/w/back"]).ok();
        });
        fs::set_permissions(home.path.join("w/tree/deep"), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_copy_belongs_to_the_containers_user_or_to_whom_it_did() {
    for user in User::all() {
        let home = home(&user);
        let file = home.write("w/file", "x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
        each_state(&home, |name| {
            let owner = |path: &str| {
                let archive = cp(&home, &[&format!("{name}:{path}"), "-"]).stdout;
                let field =
                    |at: usize| u32::from_str_radix(std::str::from_utf8(&archive[at..at + 7]).unwrap(), 8).unwrap();
                (field(108), field(116))
            };
            cp(&home, &["file", &format!("{name}:/tmp/plain")]).ok();
            // With a single id there is one owner, which stands for root in archives.
            let (nonroot, own) = match user.rung {
                Rung::Single => ((0, 0), (0, 0)),
                _ => ((65532, 65532), (user.uid, user.gid)),
            };
            assert_eq!(owner("/tmp/plain"), nonroot, "{name} {}", user.name);
            cp(&home, &["-a", "file", &format!("{name}:/tmp/kept")]).ok();
            assert_eq!(owner("/tmp/kept"), own, "{name} {}", user.name);
            // On the host a program must not become the caller's that was somebody's inside.
            cp(&home, &[&format!("{name}:/bin/setuid"), "back"]).ok();
            let back = fs::metadata(home.path.join("w/back")).unwrap();
            assert_eq!((back.mode() & 0o7777, back.uid()), (0o755, user.uid));
        });
        if user.uid == 0 {
            let _app = Detached::create(&home, "app", &[BUSYBOX]);
            cp(&home, &["-a", "app:/home/app", "app"]).ok();
            assert_eq!(fs::metadata(home.path.join("w/app")).unwrap().uid(), 1000);
        }
    }
}

#[test]
fn names_go_where_docker_puts_them() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    cp(&home, &["--archiv", "x:/etc/passwd"]).fails(125, &["--archiv"]);
    home.write("w/file", "f");
    home.write("w/src/inner", "i");
    symlink("file", home.path.join("w/link")).unwrap();
    each_state(&home, |name| {
        let at = |path: &str| format!("{name}:{path}");
        let goes = |from: &str, to: &str, path: &str, text: &str| {
            cp(&home, &[from, &at(to)]).ok();
            assert_eq!(read(&home, name, path), text, "{from} {to}");
        };
        goes("file", "/tmp", "/tmp/file", "f");
        goes("file", "/tmp/", "/tmp/file", "f");
        goes("file", "/tmp/other", "/tmp/other", "f");
        goes("./file", "tmp/relative", "/tmp/relative", "f");
        goes("src", "/tmp/new", "/tmp/new/inner", "i");
        goes("src", "/tmp/new", "/tmp/new/src/inner", "i");
        goes("src/.", "/tmp", "/tmp/inner", "i");
        cp(&home, &["file", &at("/tmp/no/such")]).fails(1, &["/tmp/no"]);
        cp(&home, &["file", &at("/tmp/nosuch/")]).fails(1, &["no such directory"]);
        cp(&home, &["src", &at("/tmp/other")]).fails(1, &["directory"]);
        cp(&home, &["nosuch", &at("/tmp")]).fails(1, &["nosuch"]);
        cp(&home, &[&at("/nosuch"), "x"]).fails(1, &["/nosuch", "no such file"]);
        cp(&home, &[&at("/tmp/new"), "/no/such/place"]).fails(1, &["/no/such"]);
        // A link is copied as one, or as what it leads to.
        cp(&home, &["link", &at("/tmp/l")]).ok();
        cp(&home, &["-L", "link", &at("/tmp/f")]).ok();
        cp(&home, &[&at("/tmp/l"), "l"]).ok();
        cp(&home, &["-L", &at("/tmp/l"), "f"]).ok();
        assert!(fs::symlink_metadata(home.path.join("w/f")).unwrap().is_file());
        assert_eq!(fs::read_link(home.path.join("w/l")).unwrap(), Path::new("file"));
        assert_eq!(read(&home, name, "/tmp/f"), "f");
        // An existing file is replaced; one that a link leads to, there.
        cp(&home, &[&at("/tmp/other"), "file2"]).ok();
        cp(&home, &[&at("/tmp/inner"), "file2"]).ok();
        assert_eq!(fs::read_to_string(home.path.join("w/file2")).unwrap(), "i");
        home.tool("sh", &["-c", "rm -rf $HOME/w/l $HOME/w/f $HOME/w/file2"]).ok();
    });
    cp(&home, &["file", "other"]).fails(1, &["CONTAINER:PATH"]);
    cp(&home, &["one:/a", "two:/b"]).fails(1, &["between containers"]);
    cp(&home, &["nosuch:/a", "b"]).fails(1, &["nosuch"]);
}

#[test]
fn an_archive_goes_in_and_comes_out() {
    for user in User::all() {
        let home = home(&user);
        let link =
            Entry { name: "d/l", kind: b'2', mode: 0o777, ids: (0, 0), link: "../../../../etc/passwd", data: b"" };
        let archive = Tar::default().dir("d/", 0o755).file("d/f", 0o640, b"from an archive").entry(link);
        // Directories may be missing.
        let archive = archive.file("e/f/g", 0o644, b"deep").finish();
        each_state(&home, |name| {
            home.bryo_fed(&["cp", "-", &format!("{name}:/tmp")], &archive).ok();
            assert_eq!(read(&home, name, "/tmp/d/f"), "from an archive");
            assert_eq!(read(&home, name, "/tmp/e/f/g"), "deep");
            let out = cp(&home, &[&format!("{name}:/tmp/d"), "-"]);
            let file = home.write("w/out.tar", &out.stdout).display().to_string();
            let listed = bryo_tests::program::tool("tar", &["-tf", &file]);
            assert_eq!(listed, "d/\nd/f\nd/l");
            // What an archive says of links means what it means in the container.
            home.bryo_fed(&["cp", "-", &format!("{name}:/tmp")], &Tar::default().file("d/l", 0o644, b"x").finish())
                .ok();
            assert!(read(&home, name, "/etc/passwd").starts_with("root:"));
            home.bryo_fed(&["cp", "-", &format!("{name}:/nosuch")], &archive).fails(1, &["/nosuch"]);
            home.bryo_fed(&["cp", "-", &format!("{name}:/tmp")], b"no archive").fails(1, &["archive"]);
            let evil = Tar::default().file("../../up", 0o644, b"x").finish();
            home.bryo_fed(&["cp", "-", &format!("{name}:/tmp")], &evil).fails(1, &[".."]);
        });
    }
}

/// The container's root is read-only to what runs in it, not to its owner; where that was asked for it is for both.
#[test]
fn a_read_only_root_is_written_to_from_outside_alone() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write("w/conf", "new\n");
    each_state(&home, |name| {
        cp(&home, &["conf", &format!("{name}:/etc/conf")]).ok();
        assert_eq!(read(&home, name, "/etc/conf"), "new\n");
    });
    let runs = Detached::run(&home, "again", &[BUSYBOX, "sleep", "300"]);
    cp(&home, &["conf", "again:/etc/conf"]).ok();
    assert_eq!(home.bryo(&["exec", &runs.name, "cat", "/etc/conf"]).ok(), "new");
    home.bryo(&["exec", &runs.name, "touch", "/etc/x"]).code(1);
    home.bryo(&["stop", "-t", "0", "again"]).ok();
    home.bryo(&["start", "again"]).ok();
    assert_eq!(home.bryo(&["exec", &runs.name, "cat", "/etc/conf"]).ok(), "new");
    let _strict = Detached::run(&home, "strict", &["--read-only", "--tmpfs", "/t", BUSYBOX, "sleep", "300"]);
    let _never = Detached::create(&home, "never", &["--read-only", "-v", "v:/v", BUSYBOX]);
    cp(&home, &["conf", "strict:/etc/conf"]).fails(1, &["Read-only"]);
    cp(&home, &["conf", "never:/etc/conf"]).fails(1, &["Read-only"]);
    cp(&home, &["conf", "strict:/t/conf"]).ok();
}

#[test]
fn volumes_and_shares_are_where_the_container_has_them() {
    for user in User::all() {
        let home = home(&user);
        let share = home.mkdir("w/share");
        fs::set_permissions(&share, fs::Permissions::from_mode(0o777)).unwrap();
        home.write("w/share/theirs", "of the host");
        home.write("w/file", "f");
        let share = format!("{}:/s", share.display());
        let mounts = ["-v", "v:/v", "-v", &share, BUSYBOX, "sleep", "300"];
        home.run(&["-v", "v:/v", BUSYBOX, "sh", "-c", "echo volume > /v/own"]).ok();
        let _runs = Detached::run(&home, "runs", &mounts);
        let _made = Detached::create(&home, "made", &mounts);
        for name in ["runs", "made"] {
            assert_eq!(read(&home, name, "/v/own"), "volume\n");
            assert_eq!(read(&home, name, "/s/theirs"), "of the host");
            cp(&home, &["file", &format!("{name}:/v/{name}")]).ok();
        }
        // Both have the one volume, whichever it went through.
        assert_eq!(home.bryo(&["exec", "runs", "cat", "/v/runs", "/v/made"]).ok(), "ff");
    }
}

#[test]
fn what_the_kernel_makes_up_is_no_file() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write("w/file", "f");
    let _runs = Detached::run(&home, "runs", &[BUSYBOX, "sleep", "300"]);
    cp(&home, &["runs:/proc/1/environ", "x"]).fails(1, &["kernel"]);
    cp(&home, &["runs:/proc/self/root/etc", "x"]).fails(1, &["/proc"]);
    cp(&home, &["file", "runs:/proc/sys/kernel/hostname"]).fails(1, &["/proc"]);
    cp(&home, &["file", "runs:/sys/x"]).fails(1, &["/sys"]);
    // Of a whole container the rest comes along.
    let told = cp(&home, &["runs:/", "whole"]);
    told.ok();
    assert!(told.stderr.contains("devices were left out"), "{told}");
    assert_eq!(fs::read_dir(home.path.join("w/whole/proc")).unwrap().count(), 0);
    assert!(home.path.join("w/whole/etc/passwd").exists());
    assert!(!home.path.join("x").exists() && !home.path.join("w/x").exists());
}

#[test]
fn links_end_inside_the_container_and_are_not_followed_on_the_host() {
    for user in User::all() {
        let home = home(&user);
        home.write("w/file", "mine");
        let outside = home.mkdir("w/outside");
        let up =
            format!("ln -s ../../../../../../..{} /tmp/up; ln -s {} /tmp/abs", outside.display(), outside.display());
        let _runs = Detached::run(
            &home,
            "runs",
            &[BUSYBOX, "sh", "-c", &format!("{up}; mkdir /tmp/dir; echo evil > /tmp/dir/x; exec sleep 300")],
        );
        bryo_tests::program::eventually("it is ready", || {
            (home.bryo(&["exec", "runs", "test", "-e", "/tmp/dir/x"]).status.success()).then_some(())
        });
        for link in ["up", "abs"] {
            cp(&home, &["file", &format!("runs:/tmp/{link}/planted")]).code(1);
            cp(&home, &[&format!("runs:/tmp/{link}/."), "got"]).code(1);
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{}", user.name);
        // A name of the container's meets a link of the host's.
        home.mkdir("w/into");
        symlink(&outside, home.path.join("w/into/dir")).unwrap();
        cp(&home, &["runs:/tmp/dir", "into"]).fails(1, &["dir"]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

/// The container's user may not write to `/etc`, and does not get the copy to do so by a link in what is his.
#[test]
fn links_below_the_destination_are_not_followed_inside_either() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write("w/conf/passwd", "evil");
    let script = "mkdir -p /tmp/in /tmp/real; ln -s /etc /tmp/in/conf; ln -s /tmp/real /tmp/named; exec sleep 300";
    let _runs = Detached::run(&home, "runs", &[BUSYBOX, "sh", "-c", script]);
    bryo_tests::program::eventually("it is ready", || {
        (home.bryo(&["exec", "runs", "test", "-e", "/tmp/named"]).status.success()).then_some(())
    });
    let before = read(&home, "runs", "/etc/passwd");
    cp(&home, &["conf", "runs:/tmp/in/"]).fails(1, &["conf", "directory"]);
    cp(&home, &["conf/.", "runs:/tmp/in"]).ok();
    let archive = Tar::default().file("conf/passwd", 0o644, b"evil").finish();
    home.bryo_fed(&["cp", "-", "runs:/tmp/in"], &archive).fails(1, &["conf", "directory"]);
    assert_eq!(read(&home, "runs", "/etc/passwd"), before);
    assert_eq!(read(&home, "runs", "/tmp/in/passwd"), "evil");
    // What the caller names may be a link.
    cp(&home, &["conf", "runs:/tmp/named/"]).ok();
    assert_eq!(read(&home, "runs", "/tmp/real/conf/passwd"), "evil");
}

/// CVE-2018-15664 and its like: what runs in the container exchanges a directory and a link for as long as files are
/// copied.
#[test]
fn a_container_that_swaps_links_meanwhile_gains_nothing() {
    for user in User::all() {
        let home = home(&user);
        home.write("w/planted", "planted");
        home.write("w/outside/secret", "of the host");
        let outside = home.path.join("w/outside");
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o755)).unwrap();
        let script = format!(
            "mkdir -p /tmp/w/d/e /tmp/k; ln -s {0} /tmp/k/a; ln -s ../../../../../..{0} /tmp/k/r; cd /tmp/w; \
             while :; do mv d real; cp -P /tmp/k/a d; rm d; cp -P /tmp/k/r d; rm d; mv real d; done",
            outside.display()
        );
        let _runs = Detached::run(&home, "runs", &[BUSYBOX, "sh", "-c", &script]);
        let start = Instant::now();
        let (mut rounds, mut arrived) = (0, 0);
        while start.elapsed() < Duration::from_secs(6)
            || ((arrived == 0 || rounds < 6) && start.elapsed() < Duration::from_secs(180))
        {
            arrived += u32::from(cp(&home, &["-q", "planted", "runs:/tmp/w/d/planted"]).status.success());
            let _moving = cp(&home, &["-q", "runs:/tmp/w", "got"]);
            let _moving = cp(&home, &["-q", "runs:/tmp/w/d/.", "got2"]);
            rounds += 1;
            let listed: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(listed, ["secret"], "{}", user.name);
            let found = home.tool(
                "sh",
                &["-c", "cat $(find $HOME/w/got $HOME/w/got2 -type f 2>/dev/null) /dev/null; rm -rf $HOME/w/got*"],
            );
            assert!(!found.text().contains("of the host"), "{found}");
        }
        assert!(arrived > 0 && rounds > 5, "{arrived} of {rounds}");
    }
}

/// Whoever took over the process that writes among a container's files would find nothing of the host's in it.
#[test]
fn the_process_inside_has_no_descriptor_of_the_caller() {
    if !bryo_tests::user::is_root() {
        return bryo_tests::skip::skip("the descriptors of a process that nobody may trace are shown to root only");
    }
    for user in User::all() {
        let home = home(&user);
        let w = home.path.join("w").display().to_string();
        let file = home.write("w/mine", "mine").display().to_string();
        each_state(&home, |name| {
            // Two that a shell has left open, standard error as a file, and those of the command itself.
            let script = format!("exec 7<{w} 8<>{file} 2>{w}/errors; exec \"$0\" cp - {name}:/tmp");
            let mut command = user.command(&home.path, "sh");
            command.args(["-c", &script]).arg(bryo_tests::dirs::bryo());
            let mut copy = bryo_tests::Running::start(command, true);
            // More than fits into a pipe: it has been read from, so that the agent is at work.
            let archive = Tar::default().file("fed", 0o644, &vec![b'x'; 300_000]).finish();
            assert!(copy.feed(&archive[..200_000]));
            let agent = *Process(copy.pid()).children().first().expect("an agent works");
            let open = agent.descriptors();
            assert!(open.len() >= 5, "{open:?}");
            assert!((0..3).all(|number| open[&number] == "/dev/null"), "{open:?}");
            // Mounts that were made for the agent have the name of their place, which is a directory of the store.
            let place = home.store().join("containers").display().to_string();
            let of_host = |what: &str| what.contains(&w) || (name == "runs" && what.contains(&place));
            assert!(!open.values().any(|what| of_host(what)), "{open:?}");
            assert!(copy.feed(&archive[200_000..]));
            copy.close_stdin();
            copy.wait().ok();
        });
    }
}

#[test]
fn a_destination_that_is_full_is_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.write("w/big", vec![0; 3 << 20]);
    let _runs = Detached::run(&home, "runs", &["--tmpfs", "/small:size=1m", BUSYBOX, "sleep", "300"]);
    cp(&home, &["big", "runs:/small/big"]).fails(1, &["No space"]);
    // Nobody else has been given the container meanwhile, and it is as it was.
    home.bryo(&["exec", "runs", "true"]).ok();
    if !bryo_tests::user::is_root() || user.uid != 0 {
        cp(&home, &["runs:/bin/busybox", "/usr/busybox"]).fails(1, &["/usr/busybox", "denied"]);
    }
}
