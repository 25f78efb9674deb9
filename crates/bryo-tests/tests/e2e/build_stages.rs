// SPDX-License-Identifier: Apache-2.0
//! `build`: stages at the same time.

use std::fs;

use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::listing::Snapshot;
use bryo_tests::program::{eventually, tool};
use bryo_tests::{Home, User};

use super::build::{build, ground, inside};

/// A command that goes on only when that of another stage has begun.
fn meets(own: &str, other: &str) -> String {
    format!(
        "RUN --mount=type=cache,target=/k touch /k/{own}; n=0; until test -e /k/{other}; do sleep 0.1; n=$((n+1)); \
         test $n -lt 300 || exit 1; done; echo {own} > /{own}"
    )
}

#[test]
fn stages_that_do_not_need_each_other_are_made_at_the_same_time() {
    for user in User::all() {
        let home = ground(&user);
        let dockerfile = format!(
            "FROM {BUSYBOX} AS a\nARG A\n{}\nFROM {BUSYBOX} AS b\n{}\nFROM {BUSYBOX} AS c\n{}\nCOPY --from=a /a /\n\
             ARG WHICH=b\nFROM c AS unneeded\nRUN false\nFROM c\nARG OF=b\nCOPY --from=$OF /b /\n",
            meets("a", "c"),
            meets("b", "none").replace("until test -e /k/none", "until true"),
            meets("c", "a")
        );
        let said = build(&home, &dockerfile, &["--build-arg", "A=1", "--build-arg", "NONE=1"]);
        said.ok();
        assert!(said.stderr.contains("#1 [a 1/2] FROM") && !said.stderr.contains("unneeded"), "{said}");
        assert!(said.stderr.contains("NONE: no ARG") && !said.stderr.contains(" A: no ARG"), "{said}");
        assert_eq!(inside(&home, "cat /a /b /c"), "a\nb\nc", "{user:?}");
        let again = build(&home, &dockerfile, &["--build-arg", "A=1"]);
        assert_eq!(again.stderr.matches("CACHED").count(), 5, "{again}");
    }
}

#[test]
fn the_first_failure_ends_the_other_stages_and_is_the_one_that_is_told() {
    let Some(user) = User::with_range() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    home.mkdir("c");
    build(&home, &format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target=/k true\n"), &["--no-cache"]).ok();
    home.bryo(&["gc"]).ok();
    let before = Snapshot::take(&home);
    let dockerfile = format!(
        "FROM {BUSYBOX} AS a\nRUN --mount=type=cache,target=/k touch /k/begun; sleep 100\nFROM {BUSYBOX} AS b\n\
         RUN --mount=type=cache,target=/k until test -e /k/begun; do sleep 0.1; done; rm /k/begun; exit 3\n\
         FROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\n"
    );
    let said = build(&home, &dockerfile, &[]);
    let told = said.fails(1, &["exit code: 3", ">>> RUN --mount=type=cache,target=/k until"]);
    assert!(told.contains("CANCELED") && told.matches("ERROR").count() == 1, "{told}");
    fs::remove_file(home.path.join("c/Dockerfile")).unwrap();
    home.write("c/Dockerfile", format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target=/k true\n"));
    home.bryo(&["gc"]).ok();
    before.assert_nothing_left(&home);
}

#[test]
fn an_interruption_ends_all_stages() {
    let Some(user) = User::with_range() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    let dockerfile = format!(
        "FROM {BUSYBOX} AS a\nRUN echo one-begun; sleep 100\nFROM {BUSYBOX}\nRUN echo two-begun; sleep 100\nCOPY --from=a / /\n"
    );
    home.write("c/Dockerfile", dockerfile);
    let context = home.path.join("c").display().to_string();
    home.run(&[BUSYBOX, "true"]).ok();
    let before = Snapshot::take(&home);
    for (signal, code) in [("-INT", Some(130)), ("-KILL", None)] {
        let log = home.path.join("log");
        let mut command = home.command(&["build", "--progress", "plain", &context]);
        command.stderr(fs::File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        eventually("the steps run", || {
            let said = fs::read_to_string(&log).unwrap();
            (said.contains(" one-begun\n") && said.contains(" two-begun\n")).then_some(())
        });
        tool("kill", &[signal, &child.id().to_string()]);
        assert_eq!(child.wait().unwrap().code(), code);
        fs::remove_file(log).unwrap();
        eventually("nothing is left", || {
            // What is left of one that was killed may still be on its way out.
            let _busy = home.bryo(&["gc"]);
            fs::read_dir(home.store().join("containers")).unwrap().next().is_none().then_some(())
        });
        before.assert_nothing_left(&home);
    }
}

/// As BuildKit has it: a name is that of the last stage before whoever says it.
#[test]
fn of_stages_with_one_name_the_last_before_counts() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let stage = |what: &str| format!("FROM {BUSYBOX} AS a\nRUN echo {what} > /f\n");
    let text = stage("1")
        + "FROM a AS b\n"
        + &stage("2")
        + &format!("FROM {BUSYBOX}\nCOPY --from=a /f /of-a\nCOPY --from=b /f /of-b\n");
    let said = build(&home, &text, &[]);
    said.ok();
    assert!(said.stderr.contains("Dockerfile:4: DuplicateStageName"), "{}", said.stderr);
    assert_eq!(inside(&home, "cat /of-b /of-a"), "1\n2");
    build(&home, &text, &["--target", "a"]).ok();
    assert_eq!(inside(&home, "cat /f"), "2");
    build(&home, &(text.clone() + "# check=error=true\n"), &[]).ok();
    build(&home, &("# check=error=true\n".to_owned() + &text), &[]).fails(1, &["Dockerfile:5", "DuplicateStageName"]);
}

/// As BuildKit has it: what is linked is a layer of its own, whatever is below.
#[test]
fn a_linked_copy_depends_on_nothing_below_it() {
    for user in User::all() {
        let home = ground(&user);
        let text = |base: &str, flag: &str| {
            format!(
                "FROM {BUSYBOX}\nRUN mkdir /real && ln -s real /way && echo {base} > /base\n\
                 COPY {flag} --chown=5:6 a.txt /way/a\nADD {flag} dir /more/\n"
            )
        };
        build(&home, &text("1", "--link"), &["--no-cache"]).ok();
        let look = "cat /base /way/a /more/c.txt; test -h /way; echo $?; ls /real | wc -l; stat -c %u:%g /way/a";
        let owner = if user.rung == bryo_tests::user::Rung::Single { "0:0" } else { "5:6" };
        let inside_a = |base: &str| format!("{base}\na\nc\n1\n0\n{owner}");
        assert_eq!(inside(&home, look), inside_a("1"), "{user:?}");
        let said = build(&home, &text("2", "--link"), &[]);
        said.ok();
        assert_eq!(said.stderr.matches("CACHED").count(), 2, "another base is no reason to make it anew: {said}");
        assert_eq!(inside(&home, look), inside_a("2"), "{user:?}");
        // Without the flag links are followed and what is below counts.
        build(&home, &text("1", ""), &[]).ok();
        assert_eq!(inside(&home, "cat /real/a; test -h /way && echo link"), "a\nlink", "{user:?}");
        assert_eq!(build(&home, &text("2", ""), &[]).stderr.matches("CACHED").count(), 1, "{user:?}");
    }
}
