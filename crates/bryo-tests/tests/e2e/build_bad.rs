// SPDX-License-Identifier: Apache-2.0
//! `build`: what is wrong, or meant badly. One clear error, nothing of the host, no half image.

use std::fs;
use std::os::unix::fs::symlink;

use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::listing::Snapshot;
use bryo_tests::program::{eventually, tool};
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::{Home, User};

use super::build::{build, ground, inside};

/// What only this machine has.
const HOSTS_OWN: &str = "only-this-machine-has-it";

fn no_image(home: &Home) {
    home.bryo(&["inspect", "localhost/built"]).fails(1, &[]);
}

#[test]
fn ten_thousand_instructions_are_read_or_refused() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let many = |line: &dyn Fn(usize) -> String| (0..10_000).map(line).collect::<String>();
    let from = format!("FROM {BUSYBOX}\n");
    for line in ["RUN true", "COPY a.txt /x", "ADD a.txt /x"] {
        let said = build(&home, &(from.clone() + &many(&|_| format!("{line}\n"))), &[]);
        let told = said.fails(1, &["Dockerfile:4", "would be layer 491", "makes one layer"]);
        assert!(!told.contains("[2/"), "no step is made: {told}");
    }
    no_image(&home);
    // Each says twice what the one before has said.
    build(&home, &(from.clone() + "ENV A=aaaa\n" + &many(&|_| "ENV A=$A$A\n".to_owned())), &[]).fails(1, &["too long"]);
    let stages = many(&|n| format!("FROM {BUSYBOX} AS s{n}\nRUN false\n"));
    build(&home, &(stages + &from + "CMD [\"true\"]\n"), &[]).ok();
    build(&home, &(from.clone() + &many(&|n| format!("LABEL l{n}=x\n"))), &[]).ok();
    let labels = home.bryo(&["inspect", "localhost/built"]).json()[0]["Config"]["Labels"].clone();
    assert_eq!(labels["l9999"], "x");
    build(&home, &"#\n".repeat(3 << 20), &[]).fails(1, &["Dockerfile"]);
    // What is looked up is found as fast among thousands as among a few.
    let begun = std::time::Instant::now();
    build(&home, &(from.clone() + &many(&|n| format!("ENV E{n}=${{E{}}}x\n", n / 2))), &[]).ok();
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn stages_in_a_circle_are_told() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let told = |text: &str, words: &[&str]| {
        build(&home, text, &[]).fails(1, words);
    };
    told("FROM b AS a\nFROM a AS b\n", &["Dockerfile:1", "stand on each other", "\"b\""]);
    told("FROM c AS a\nFROM a AS b\nFROM b AS c\n", &["Dockerfile:1", "stand on each other"]);
    told(&format!("FROM {BUSYBOX} AS a\nCOPY --from=a /x /x\n"), &["Dockerfile:2", "cannot use itself"]);
    told(
        &format!("FROM {BUSYBOX} AS a\nCOPY --from=b /x /x\nFROM {BUSYBOX} AS b\nCOPY --from=a /x /x\n"),
        &["Dockerfile:2", "comes later"],
    );
    told(&format!("FROM {BUSYBOX} AS a\nRUN --mount=from=a,target=/x true\n"), &["Dockerfile:2", "cannot use itself"]);
    no_image(&home);
    // A stage may have the name of the image that it stands on.
    home.bryo(&["tag", BUSYBOX, "base"]).ok();
    build(&home, "FROM base AS base\nRUN echo 1 > /x\nFROM base\nRUN echo 2 >> /x\n", &[]).ok();
    assert_eq!(inside(&home, "cat /x"), "1\n2");
}

#[test]
fn a_step_that_is_killed_half_way_leaves_nothing() {
    let Some(user) = User::with_range() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    home.mkdir("c");
    build(&home, &format!("FROM {BUSYBOX}\nRUN true\n"), &["--no-cache"]).ok();
    home.bryo(&["rmi", "-f", "localhost/built"]).ok();
    home.bryo(&["gc"]).ok();
    let before = Snapshot::take(&home);
    let text = format!("FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=3 && sh -c 'kill -9 $$'; exit $?\n");
    build(&home, &text, &[]).fails(1, &["exit code: 137", "Dockerfile:2", ">>> RUN dd"]);
    no_image(&home);
    // From outside: whatever the step is, it is a process of this machine.
    let mark = format!("100.{}", std::process::id());
    home.write("c/Dockerfile", format!("FROM {BUSYBOX}\nRUN touch /half && exec sleep {mark}\n"));
    let context = home.path.join("c").display().to_string();
    let log = home.path.join("log");
    let mut command = home.command(&["build", "--progress", "plain", "-t", "localhost/built", &context]);
    command.stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    eventually("the step runs", || {
        let found = std::process::Command::new("pkill").args(["-KILL", "-x", "-f", &format!("sleep {mark}")]).status();
        found.unwrap().success().then_some(())
    });
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", fs::read_to_string(&log).unwrap());
    assert!(fs::read_to_string(&log).unwrap().contains("exit code: 137"));
    no_image(&home);
    fs::remove_file(log).unwrap();
    home.write("c/Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    before.assert_nothing_left(&home);
}

#[test]
fn archives_stay_where_they_are_unpacked() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    home.write("outside", HOSTS_OWN);
    let entry = |name, kind, link, data| Entry { name, kind, mode: 0o644, ids: (0, 0), link, data };
    let outside = home.path.join("outside").display().to_string();
    let archives: [(&str, Vec<u8>); 5] = [
        ("up", Tar::default().file("../../../../../../../../tmp/escaped", 0o644, b"x").finish()),
        ("absolute", Tar::default().file("/tmp/../../escaped", 0o644, b"x").finish()),
        ("through", Tar::default().entry(entry("d", b'2', "/tmp", b"")).file("d/escaped", 0o644, b"x").finish()),
        ("hard", Tar::default().entry(entry("h", b'1', &outside, b"")).finish()),
        ("hardup", Tar::default().entry(entry("h", b'1', "../../../../etc/passwd", b"")).finish()),
    ];
    for (name, archive) in &archives {
        home.write(&format!("c/{name}.tar"), archive);
        for dockerfile in [
            format!("FROM {BUSYBOX}\nADD {name}.tar /d/\nRUN ! grep -r {HOSTS_OWN} /d\n"),
            format!("FROM scratch\nADD {name}.tar /\n"),
        ] {
            let said = build(&home, &dockerfile, &[]);
            assert!(said.status.success() || said.stderr.matches("bryo: ").count() == 1, "{name}: {said}");
        }
        let said = home.bryo_fed(&["build", "-"], archive);
        said.fails(1, &[]);
        assert!(!fs::exists("/tmp/escaped").unwrap() && !home.path.join("escaped").exists(), "{name}");
    }
    assert_eq!(fs::read_to_string(home.path.join("outside")).unwrap(), HOSTS_OWN);
    // What is no archive to its end.
    let whole = Tar::default().file("f", 0o644, &[b'x'; 4096]).finish();
    home.write("c/cut.tar", &whole[..1024]);
    build(&home, &format!("FROM {BUSYBOX}\nADD cut.tar /d/\n"), &["--no-cache"]).fails(1, &["Dockerfile:2"]);
    home.write("c/whole.tar", &whole);
    build(&home, &format!("FROM {BUSYBOX}\nADD whole.tar /d/\n"), &[]).ok();
    assert_eq!(inside(&home, "wc -c < /d/f").trim(), "4096");
}

#[test]
fn a_dockerfile_that_is_a_link_leads_nowhere_else() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let outside = home.write("outside", format!("FROM {BUSYBOX}\n{HOSTS_OWN}\n"));
    let context = home.path.join("c");
    let (directory, file) = (context.display().to_string(), context.join("Dockerfile").display().to_string());
    let refused = |args: &[&str]| {
        let said = home.bryo(&[&["build", "-t", "localhost/built"], args].concat());
        let told = said.fails(1, &["link that leads to no file of the context"]);
        assert!(!told.contains(HOSTS_OWN), "{told}");
    };
    for target in [outside.display().to_string(), "../outside".to_owned(), "/etc/passwd".to_owned()] {
        symlink(target, &file).unwrap();
        refused(&[&directory]);
        refused(&["-f", &file, &directory]);
        refused(&["-f", &format!("{directory}/dir/../Dockerfile"), &directory]);
        fs::remove_file(&file).unwrap();
    }
    // Nor does a directory on the way.
    symlink("..", context.join("up")).unwrap();
    let said = home.bryo(&["build", "-f", &format!("{directory}/up/outside"), &directory]);
    assert!(!said.fails(1, &[]).contains(HOSTS_OWN));
    // One that stays inside is followed, and one outside is read if it is the one that is named.
    home.write("c/dir/Real", format!("FROM {BUSYBOX}\nRUN echo real > /x\n"));
    symlink("dir/Real", &file).unwrap();
    home.bryo(&["build", "-q", "-t", "localhost/built", "-f", &file, &directory]).ok();
    assert_eq!(inside(&home, "cat /x"), "real");
    home.write("outside", format!("FROM {BUSYBOX}\nRUN echo outside > /x\n"));
    home.bryo(&["build", "-q", "-t", "localhost/built", "-f", &outside.display().to_string(), &directory]).ok();
    assert_eq!(inside(&home, "cat /x"), "outside");
    // What has no end is not waited for.
    fs::remove_file(&file).unwrap();
    tool("mkfifo", &[&file]);
    home.bryo(&["build", &directory]).fails(1, &["Dockerfile"]);
    home.bryo(&["build", "-f", "/dev/zero", &directory]).fails(1, &["no file"]);
    fs::remove_file(&file).unwrap();
    symlink("/etc/passwd", context.join(".dockerignore")).unwrap();
    build(&home, &format!("FROM {BUSYBOX}\nCOPY a.txt /x\n"), &[]).ok();
}

#[test]
fn links_of_stages_lead_to_nothing_of_the_host() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let outside = home.write("outside", HOSTS_OWN).display().to_string();
    let links = format!(
        "FROM {BUSYBOX} AS links\nRUN ln -s {outside} /abs; ln -s ../../../../..{outside} /rel; ln -s /proc/1/root /root1; \
         ln -s /proc/self/cwd /cwd; mkdir /d; ln -s / /d/all\n"
    );
    for source in ["/abs", "/rel", "/root1/etc/hostname", "/cwd/Dockerfile", &format!("/d/all{outside}")] {
        for step in [
            format!("COPY --from=links {source} /x"),
            format!("RUN --mount=from=links,source={source},target=/x cat /x"),
        ] {
            let said = build(&home, &format!("{links}FROM {BUSYBOX}\n{step}\n"), &[]);
            assert!(!said.fails(1, &["no such file"]).contains(HOSTS_OWN), "{source}");
        }
    }
    // And where something is written: into the stage, never beside it.
    let text = format!("{links}FROM links\nCOPY a.txt /abs\nCOPY a.txt /d/all{outside}\nWORKDIR /d/all/made/here\n");
    let said = build(&home, &text, &[]);
    assert_eq!(fs::read_to_string(&outside).unwrap(), HOSTS_OWN, "{said}");
    assert!(!fs::exists("/made").unwrap());
    // The control: what is there is copied, through links as well.
    build(&home, &format!("{links}FROM {BUSYBOX}\nCOPY --from=links /d/all/etc/passwd /x\n"), &[]).ok();
    assert!(inside(&home, "cat /x").contains("root:"));
}
