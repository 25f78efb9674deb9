// SPDX-License-Identifier: Apache-2.0
//! `build`: what instructions make, what is made anew, and what a build must never do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bryo_tests::images::{self, BUSYBOX, DEBIAN};
use bryo_tests::listing::Snapshot;
use bryo_tests::program::tool;
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::user::Rung;
use bryo_tests::{Home, Output, User};
use serde_json::{Value, json};

/// A home with a context in which there are a few files.
pub fn ground(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    context(&home);
    home
}

pub fn context(home: &Home) {
    for (name, content) in [
        ("c/a.txt", "a\n"),
        ("c/b.txt", "b\n"),
        ("c/.hidden", "h\n"),
        ("c/dir/c.txt", "c\n"),
        ("c/dir/sub/d.md", "d\n"),
        ("c/with space.txt", "s\n"),
    ] {
        home.write(name, content);
    }
    let link = home.path.join("c/link");
    if !link.exists() {
        std::os::unix::fs::symlink("dir/c.txt", &link).unwrap();
    }
}

/// Builds a Dockerfile, with what every test wants.
#[track_caller]
pub fn build(home: &Home, dockerfile: &str, args: &[&str]) -> Output {
    home.write("c/Dockerfile", dockerfile);
    let context = home.path.join("c").display().to_string();
    let plain: &[&str] = if args.contains(&"--progress") { &[] } else { &["--progress", "plain"] };
    home.bryo(&[&["build", "-t", "localhost/built"], plain, args, &[&context]].concat())
}

pub fn inside(home: &Home, script: &str) -> String {
    home.run(&["--user", "root", "--entrypoint", "/bin/sh", "localhost/built", "-c", script]).ok()
}

fn config(home: &Home) -> Value {
    home.bryo(&["inspect", "localhost/built"]).json()[0]["Config"].clone()
}

/// Instructions that make files: the Dockerfile without its `FROM`, what is asked of the result, and the answer.
const FILES: &[(&str, &str, &str)] = &[
    ("COPY a.txt /x", "cat /x; stat -c '%u:%g %a' /x", "a\n0:0 644"),
    ("COPY a.txt /new/deep/", "cat /new/deep/a.txt; stat -c '%u %a' /new/deep", "a\n0 755"),
    ("COPY a.txt /tmp", "cat /tmp/a.txt", "a"),
    ("COPY a.txt b.txt /d/", "ls /d", "a.txt\nb.txt"),
    ("COPY *.txt /d/", "ls /d", "a.txt\nb.txt\nwith space.txt"),
    ("COPY ?.txt /d/", "ls /d", "a.txt\nb.txt"),
    ("COPY [\"with space.txt\", \"/d/\"]", "ls /d", "with space.txt"),
    ("COPY dir /d", "find /d | sort", "/d\n/d/c.txt\n/d/sub\n/d/sub/d.md"),
    ("COPY dir/ /d/", "find /d -type f | sort", "/d/c.txt\n/d/sub/d.md"),
    ("COPY . /d", "ls -A /d | tr '\\n' ' '", ".hidden Dockerfile a.txt b.txt dir link with space.txt"),
    ("COPY link /d/", "cat /d/link; test -L /d/link || echo file", "c\nfile"),
    ("COPY . /d", "readlink /d/link", "dir/c.txt"),
    ("COPY --chown=5:6 a.txt /x", "stat -c %u:%g /x", "5:6"),
    ("COPY --chown=app dir /d", "stat -c %u:%g /d /d/c.txt", "1000:1000\n1000:1000"),
    ("COPY --chown=app:0 a.txt /x", "stat -c %u:%g /x", "1000:0"),
    ("COPY --chmod=4711 a.txt /x", "stat -c %a /x", "4711"),
    ("COPY --chmod=u=rwX,go=rX dir /d", "stat -c %a /d/sub /d/c.txt", "755\n644"),
    ("COPY --chmod=go-rwx a.txt /x", "stat -c %a /x", "600"),
    ("COPY --link a.txt /x", "cat /x", "a"),
    ("COPY --parents dir/sub/d.md /d/", "find /d -type f", "/d/dir/sub/d.md"),
    ("COPY --parents dir/./sub/d.md /d/", "find /d -type f", "/d/sub/d.md"),
    ("COPY --parents ./**/*.md /d/", "find /d -type f", "/d/dir/sub/d.md"),
    ("COPY --exclude=*.txt --exclude=.hidden . /d", "ls -A /d | tr '\\n' ' '", "Dockerfile dir link"),
    ("COPY --exclude=sub dir /d", "ls /d", "c.txt"),
    ("COPY <<E /x\none $PWD_\ntwo\nE", "cat /x; stat -c %a /x", "one \ntwo\n644"),
    ("COPY <<\"E\" /x\n$A\nE", "cat /x", "$A"),
    ("COPY <<a <<b /d/\n1\na\n2\nb", "cat /d/a /d/b", "1\n2"),
    ("COPY --chmod=755 <<E /x\n#!/bin/sh\necho ran\nE", "/x", "ran"),
    ("WORKDIR /w\nCOPY a.txt .", "cat /w/a.txt", "a"),
    ("WORKDIR /w\nCOPY a.txt b", "cat /w/b", "a"),
    ("WORKDIR /w\nWORKDIR x/../y\nRUN pwd > out", "cat /w/y/out", "/w/y"),
    ("USER app\nWORKDIR /w/x", "stat -c %u /w /w/x", "1000\n1000"),
    ("RUN ln -s /real /alias && mkdir /real\nCOPY a.txt /alias/", "cat /real/a.txt; readlink /alias", "a\n/real"),
    ("RUN ln -s ../../../etc /alias\nCOPY a.txt /alias/", "cat /etc/a.txt", "a"),
    ("ADD a.txt /x", "cat /x", "a"),
    ("ADD --unpack=false in.tar /x", "tar -tf /x", "in"),
    ("ADD in.tar /d", "cat /d/in", "in"),
    ("ADD in.tar.gz /d/", "cat /d/in; stat -c %u:%g /d/in", "in\n7:8"),
    ("RUN echo x > /x", "cat /x", "x"),
    ("RUN [\"/bin/sh\", \"-c\", \"echo $0 > /x\", \"zero\"]", "cat /x", "zero"),
    ("RUN a=1 \\\n # comment\n\n  b=2; echo $a$b > /x", "cat /x", "12"),
    ("RUN <<E\necho 1 > /x\necho 2 >> /x\nE", "cat /x", "1\n2"),
    ("RUN cat <<E > /x && echo after >> /x\nbody\nE", "cat /x", "body\nafter"),
    ("RUN <<E\n#!/bin/cat\nhello\nE\nRUN echo done > /x", "cat /x", "done"),
    ("SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo $- > /x", "grep -c e /x", "1"),
    ("RUN touch /gone /kept\nRUN rm /gone && rm -r /home", "ls / | grep -E 'gone|kept|home'", "kept"),
    ("RUN mkdir /d && touch /d/old\nRUN rm -r /d && mkdir /d && touch /d/new", "ls /d", "new"),
    ("RUN touch /f && ln /f /g", "stat -c %h /f", "2"),
    ("RUN touch /x && chown 5:6 /x && chmod 4755 /x", "stat -c '%u:%g %a' /x", "5:6 4755"),
    ("USER app\nRUN id -u > /tmp/x; touch /tmp/y", "cat /tmp/x; stat -c %u /tmp/y", "1000\n1000"),
    ("USER 1234:5\nRUN id > /tmp/x", "grep -c 'uid=1234 gid=5' /tmp/x", "1"),
    ("ARG A=1\nENV B=$A\nARG A=2\nRUN echo $A $B > /x", "cat /x", "2 1"),
    ("ENV A=env\nARG A=arg\nRUN echo $A > /x", "cat /x", "env"),
    ("ENV A=1 B=2\nENV A=$B C=$A\nRUN echo $A $C > /x", "cat /x", "2 1"),
    (
        "ENV F=a/b.tar.gz\nENV G=${F%%.*} H=${F##*/} I=${F/b/c}\nRUN echo $G $H $I > /x",
        "cat /x",
        "a/b b.tar.gz a/c.tar.gz",
    ),
    ("ARG TARGETARCH\nRUN echo ${TARGETARCH:+known} > /x", "cat /x", "known"),
    ("RUN echo -n ${TARGETARCH:-unknown} > /x", "cat /x", "unknown"),
    ("RUN --network=none test -z \"$(ip route)\" && echo none > /x", "cat /x", "none"),
    ("RUN --mount=type=tmpfs,target=/t touch /t/x", "ls -d /t 2>/dev/null || echo none", "none"),
    ("RUN --mount=type=bind,source=dir,target=/b cp /b/c.txt /x", "cat /x; ls -d /b 2>/dev/null || true", "c"),
    ("RUN --mount=type=bind,source=a.txt,target=/b cp /b /x", "cat /x; ls /b 2>/dev/null || true", "a"),
    ("RUN --mount=type=bind,target=/b ! touch /b/x 2>/dev/null && echo ro > /x", "cat /x", "ro"),
    ("RUN --mount=type=bind,target=/b,rw echo y > /b/a.txt && cat /b/a.txt > /x", "cat /x", "y"),
    ("RUN --mount=type=cache,target=/k echo 1 > /k/f\nRUN --mount=type=cache,target=/k cp /k/f /x", "cat /x", "1"),
    ("RUN --mount=type=cache,target=/k,id=mine,mode=0700,uid=5 stat -c '%u %a' /k > /x", "cat /x", "5 700"),
    (
        "RUN cat /proc/sys/kernel/hostname > /x; touch /etc/hosts.mine",
        "cat /x; ls /etc/hosts.mine",
        "build\n/etc/hosts.mine",
    ),
    ("RUN true\nRUN true", "echo two equal layers", "two equal layers"),
    ("COPY <<'*[x]?' /d/\n1\n*[x]?", "ls /d", "*[x]?"),
];

#[test]
fn instructions_make_the_files_that_the_reference_demands() {
    let Some(user) = User::with_range() else { return };
    let home = ground(&user);
    let entry = Entry { name: "in", kind: b'0', mode: 0o644, ids: (7, 8), link: "", data: b"in\n" };
    let archive = Tar::default().entry(entry);
    home.write("c/in.tar", archive.finish());
    tool("gzip", &["-kf", &home.path.join("c/in.tar").display().to_string()]);
    home.write("c/.dockerignore", "in.tar*\n");
    for (instructions, script, expected) in FILES {
        let ignored = if instructions.starts_with("ADD") { "none\n" } else { "in.tar*\n.dockerignore\n" };
        home.write("c/.dockerignore", ignored);
        build(&home, &format!("FROM {BUSYBOX}\n{instructions}\n"), &[]).ok();
        assert_eq!(inside(&home, script).trim_end(), *expected, "{instructions}");
    }
}

#[test]
fn instructions_make_the_configuration_that_the_reference_demands() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let path = images::path();
    for (instructions, expected) in [
        ("CMD a 'b'", json!({"Cmd": ["/bin/sh", "-c", "a 'b'"]})),
        ("CMD [\"a\", \"b\"]", json!({"Cmd": ["a", "b"]})),
        ("ENTRYPOINT [\"e\"]", json!({"Entrypoint": ["e"], "Cmd": null})),
        ("CMD [\"c\"]\nENTRYPOINT e", json!({"Entrypoint": ["/bin/sh", "-c", "e"], "Cmd": ["c"]})),
        ("SHELL [\"/s\", \"-x\"]\nCMD a", json!({"Shell": ["/s", "-x"], "Cmd": ["/s", "-x", "a"]})),
        ("ENV A=1 B='2 3'\nENV C 4 5", json!({"Env": [path, "A=1", "B=2 3", "C=4 5"]})),
        ("ENV PATH=/x:$PATH", json!({"Env": [format!("PATH=/x:{}", path.trim_start_matches("PATH="))]})),
        ("LABEL a=b \"c d\"=e\nLABEL a=f", json!({"Labels": {"a": "f", "c d": "e"}})),
        ("EXPOSE 80 53/udp\nARG P=90\nEXPOSE $P", json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}}})),
        ("VOLUME /a /b\nVOLUME [\"/c d\"]", json!({"Volumes": {"/a": {}, "/b": {}, "/c d": {}}})),
        ("STOPSIGNAL SIGINT", json!({"StopSignal": "SIGINT"})),
        ("USER 5:6", json!({"User": "5:6"})),
        ("USER app", json!({"User": "1000"})),
        ("USER app:other", json!({"User": "1000:1001"})),
        ("WORKDIR /a\nWORKDIR b", json!({"WorkingDir": "/a/b"})),
        (
            "HEALTHCHECK --interval=5s --retries=2 CMD [\"a\"]",
            json!({"Healthcheck": {"Test": ["CMD", "a"], "Interval": 5_000_000_000_u64, "Retries": 2}}),
        ),
        ("HEALTHCHECK CMD a b", json!({"Healthcheck": {"Test": ["CMD-SHELL", "a b"]}})),
        ("HEALTHCHECK NONE", json!({"Healthcheck": {"Test": ["NONE"]}})),
        ("ONBUILD RUN a\nONBUILD COPY . /x", json!({"OnBuild": ["RUN a", "COPY . /x"]})),
    ] {
        build(&home, &format!("FROM {BUSYBOX}\n{instructions}\n"), &["--label", "of=test"]).ok();
        let id = home.bryo(&["images", "-q", "--no-trunc", "localhost/built"]).ok();
        let blob = home.store().join("images/blobs/sha256").join(id.trim_start_matches("sha256:"));
        let document: Value = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
        for (key, value) in expected.as_object().unwrap() {
            let mut found = document["config"][key].clone();
            if key == "Labels" {
                found.as_object_mut().unwrap().remove("of");
            }
            assert_eq!(found, *value, "{instructions}");
        }
        assert_eq!(document["config"]["Labels"]["of"], "test");
    }
    build(&home, &format!("FROM {BUSYBOX}\nMAINTAINER me <x@y>\n"), &[]).ok();
    assert_eq!(home.bryo(&["inspect", "localhost/built"]).json()[0]["Author"], "me <x@y>");
}

#[test]
fn every_rung_builds_and_nobody_is_root_outside() {
    for user in User::all() {
        let home = ground(&user);
        let dockerfile = format!(
            "FROM {BUSYBOX} AS one\nRUN id -u > /id && cat /proc/self/uid_map > /map\nFROM {BUSYBOX}\nCOPY --from=one /id /map /\nCOPY a.txt /x\n\
             RUN --mount=type=bind,source=dir,target=/b --mount=type=bind,source=a.txt,target=/f --mount=type=bind,from=one,target=/o,rw \
             --mount=type=cache,target=/k --mount=type=secret,id=s \
             cat /b/c.txt /f /o/id /run/secrets/s > /y && touch /k/x /o/x && rm -r /home\nUSER app\n"
        );
        let secret = home.write("secret", "s\n").display().to_string();
        build(&home, &dockerfile, &["--secret", &format!("id=s,src={secret}")]).ok();
        assert_eq!(
            inside(&home, "cat /id /x /y; ls -d /b /f /o /k /home 2>/dev/null || true"),
            "0\na\nc\na\n0\ns",
            "{user:?}"
        );
        let map = inside(&home, "cat /map");
        let host: u32 = map.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(host != 0 && user.may_own(host), "{user:?} {map}");
        assert_eq!(config(&home)["User"], "1000");
    }
}

#[test]
fn stages_are_made_when_somebody_needs_them() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let dockerfile = format!(
        "ARG BASE={BUSYBOX}\nFROM $BASE AS base\nRUN echo base > /base\nFROM base AS unneeded\nRUN false\n\
         FROM scratch AS files\nCOPY a.txt /f/a\nCOPY --from=0 /base /f/\nFROM Base AS last\n\
         COPY --from=files /f /f\nCOPY --from={BUSYBOX} /etc/passwd /p\nRUN ls /f > /list\n"
    );
    let said = build(&home, &dockerfile, &[]);
    said.ok();
    assert!(said.stderr.contains("[last 4/4] RUN ls /f") && !said.stderr.contains("unneeded"), "{said}");
    assert_eq!(inside(&home, "cat /list; grep -c app /p"), "a\nbase\n1");
    build(&home, &dockerfile, &["--target", "files"]).ok();
    let said = build(&home, &dockerfile, &["--target", "unneeded"]);
    assert!(said.fails(1, &["exit code: 1"]).contains("RUN false"));
    build(&home, &dockerfile, &["--target", "none"]).fails(1, &["no stage \"none\"", "files"]);
    for (text, words) in [
        ("FROM a AS a\n", "pull docker.io/library/a"),
        ("FROM b AS a\nFROM scratch AS b\n", "later"),
        ("FROM scratch AS a\nCOPY --from=b /x /x\nFROM scratch AS b\n", "later"),
        ("FROM scratch AS a\nCOPY --from=3 /x /x\n", "no stage 3"),
        ("FROM scratch AS a\nRUN true\n", "nothing in the stage"),
    ] {
        build(&home, text, &["--target", "a"]).fails(1, &[words]);
    }
}

#[test]
fn triggers_run_where_somebody_builds_on_the_image() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    build(&home, &format!("FROM {BUSYBOX}\nONBUILD COPY a.txt /x\nONBUILD RUN echo $A >> /x\nENV A=env\n"), &[]).ok();
    home.bryo(&["tag", "localhost/built", "localhost/onbuild"]).ok();
    build(&home, "FROM localhost/onbuild\nRUN echo last >> /x\n", &[]).ok();
    assert_eq!(inside(&home, "cat /x"), "a\nenv\nlast");
    assert_eq!(config(&home)["OnBuild"], Value::Null);
}

#[test]
fn what_is_known_is_not_made_again_and_what_depends_is() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let dockerfile = format!(
        "FROM {BUSYBOX}\nARG A=1\nWORKDIR /w\nRUN echo first\nCOPY a.txt /a\nRUN echo second\nCOPY b.txt /b\nRUN echo $A\n"
    );
    let made = |args: &[&str]| {
        let said = build(&home, &dockerfile, args);
        said.ok();
        let cached = said.stderr.matches("CACHED").count();
        (said.stderr.matches(" DONE ").count() - 2, cached)
    };
    assert_eq!(made(&[]), (6, 0));
    let id = || home.bryo(&["images", "-q", "--no-trunc", "localhost/built"]).ok();
    let first = id();
    assert_eq!(made(&[]), (0, 6));
    assert_eq!(id(), first, "nothing is new");
    home.write("c/b.txt", "other\n");
    assert_eq!(made(&[]), (2, 4));
    home.write("c/other.txt", "of no step\n");
    assert_eq!(made(&[]), (0, 6));
    // Commands see arguments; what they leave is the same, and so is what stands on it.
    assert_eq!(made(&["--build-arg", "A=2"]), (3, 3));
    assert_eq!(made(&["--no-cache"]), (6, 0));
    // What a build keeps is spared, until it is pruned.
    home.bryo(&["rmi", "-f", "localhost/built"]).ok();
    home.bryo(&["gc"]).ok();
    assert_eq!(made(&[]), (0, 6));
    home.bryo(&["rmi", "-f", "localhost/built"]).ok();
    home.bryo(&["builder", "prune", "-f"]).ok();
    assert_eq!(made(&[]), (6, 0));
}

#[test]
fn what_is_copied_from_a_stage_is_known_by_its_content() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let dockerfile = format!(
        "FROM {BUSYBOX} AS one\nCOPY dir /src\nRUN cat /src/sub/d.md > /made\nFROM {BUSYBOX}\nCOPY --from=one /made /made\n\
         RUN cat /made > /x\n"
    );
    let made = || {
        let said = build(&home, &dockerfile, &[]);
        said.ok();
        (said.stderr.matches(" DONE ").count() - 2, said.stderr.matches("CACHED").count())
    };
    assert_eq!(made(), (4, 0));
    // What the stage is made of is another thing, what is taken from it is not.
    home.write("c/dir/c.txt", "other\n");
    assert_eq!(made(), (2, 2));
    assert_eq!(made(), (0, 4));
    home.write("c/dir/sub/d.md", "other\n");
    assert_eq!(made(), (4, 0));
    assert_eq!(inside(&home, "cat /x"), "other");
}

#[test]
fn the_same_time_gives_the_same_image_everywhere() {
    let Some(user) = User::with_range() else { return };
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN mkdir /d && echo x > /d/x && touch -d '2001-01-01 00:00:00' /d/old\nCOPY dir /e\nCOPY <<E /f\ntext\nE\nUSER app\n"
    );
    let id = |home: &Home| {
        build(home, &dockerfile, &["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--no-cache"]).ok();
        home.bryo(&["images", "-q", "--no-trunc", "localhost/built"]).ok()
    };
    let (one, other) = (ground(&user), ground(&user));
    // Times of the context before the one that is said are the context's own.
    for home in [&one, &other] {
        tool("find", &[&home.path.join("c").display().to_string(), "-exec", "touch", "-hd", "@1600000000", "{}", "+"]);
    }
    let first = id(&one);
    assert_eq!(first, id(&other));
    assert_eq!(first, id(&one));
    let times = inside(&one, "stat -c %Y /d/x /d/old /e/c.txt /f");
    assert_eq!(times, "1700000000\n978307200\n1600000000\n1700000000");
    assert_eq!(one.bryo(&["inspect", "localhost/built"]).json()[0]["Created"], "2023-11-14T22:13:20Z");
}

#[test]
fn secrets_are_read_by_their_step_and_kept_nowhere() {
    let Some(user) = User::with_range() else { return };
    let home = ground(&user);
    const SECRET: &str = "a-secret-of-this-test-only";
    let file = home.write("secret", SECRET).display().to_string();
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=secret,id=one,required test $(wc -c < /run/secrets/one) = {len} && \
         stat -c '%u %a' /run/secrets/one > /mode\nRUN --mount=type=secret,id=one,target=/s,mode=0404,uid=5,env=S \
         test \"$S\" = \"$(cat /s)\" && test $(stat -c %u:%a /s) = 5:404\nRUN test -z \"$S\" && test ! -e /s && test ! -e /run/secrets\n\
         RUN --mount=type=secret,id=other test ! -e /run/secrets/other\n",
        len = SECRET.len()
    );
    let said = build(&home, &dockerfile, &["--secret", &format!("id=one,src={file}")]);
    said.ok();
    assert!(!said.text().contains(SECRET) && !said.stderr.contains(SECRET));
    assert_eq!(inside(&home, "cat /mode; ls /run/secrets /s 2>&1 | grep -c 'No such'"), "0 400\n2");
    home.tool_as_owner("sh", &["-c", &format!("! grep -rl {SECRET} {}", home.store().display())]);
    home.bryo(&["save", "-o", "all.tar", "localhost/built"]).ok();
    tool(
        "sh",
        &["-c", &format!("cd {} && mkdir x && tar -C x -xf all.tar && ! grep -rl {SECRET} x", home.path.display())],
    );
    build(&home, &dockerfile, &[]).fails(1, &["secret one is required", "--secret"]);
    // A step that says one: whoever reads the log does not read it, neither whole nor when the step has failed.
    let told = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=secret,id=one,env=S echo told-$S; cat /run/secrets/one; echo a-secret; exit 3\n"
    );
    for form in ["plain", "tty", "rawjson"] {
        let said = build(&home, &told, &["--secret", &format!("id=one,src={file}"), "--progress", form]);
        assert_eq!(said.status.code(), Some(1));
        let log = said.stderr.lines().map(decoded).collect::<String>();
        assert!(log.contains("told-***") && log.contains("a-secret") && !log.contains(SECRET), "{form}: {said}");
    }
}

/// Returns a line with what it says in base64, if it is JSON.
fn decoded(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return format!("{line}\n") };
    let data = |log: &Value| {
        let text = log["data"].as_str().unwrap_or_default();
        let shown = std::process::Command::new("sh").args(["-c", "echo \"$0\" | base64 -d", text]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).into_owned()
    };
    value["logs"].as_array().into_iter().flatten().map(data).collect()
}

#[test]
fn a_mistake_is_shown_where_it_is_and_nothing_is_left() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    context(&home);
    home.make_store();
    build(&home, &format!("FROM {BUSYBOX}\nRUN true\n"), &["--no-cache"]).ok();
    home.bryo(&["rmi", "-f", "localhost/built"]).ok();
    home.bryo(&["system", "prune", "-f"]).ok();
    home.load(&images::busybox());
    let before = Snapshot::take(&home);
    for (text, words) in [
        ("FROM {}\nRUN --nonet x\n", &["Dockerfile:2:7", "--nonet", ">>> RUN --nonet x"][..]),
        ("FROM {}\nRUM x\n", &["Dockerfile:2:1", "RUM", ">>> RUM x"]),
        ("FROM {}\nENV A=\"${B:?say it}\"\n", &["B: say it", ">>> ENV A"]),
        ("FROM {}\nCOPY none /x\n", &["\"none\"", ">>> COPY none /x"]),
        ("FROM {}\nCOPY a.txt b.txt /x\n", &["must be a directory"]),
        ("FROM {}\nCOPY --chown=nobodyknows a.txt /x\n", &["nobodyknows"]),
        ("FROM {}\nCOPY a.txt /etc/passwd/x\n", &["something else is there"]),
        ("FROM {}\nUSER a b\n", &["no name of a user"]),
        ("FROM {}\nUSER nobodyknows\n", &["nobodyknows"]),
        ("FROM {}\nSTOPSIGNAL SIGNONE\n", &["SIGNONE"]),
        ("FROM {}\nEXPOSE x\n", &["EXPOSE x"]),
        ("FROM {}\nADD http://127.0.0.1/x /x\n", &["plain HTTP", "--checksum"]),
        ("FROM {}\nADD http://127.0.0.1/x.git /x\n", &["anybody on the way"]),
        ("FROM {}\nRUN --mount=type=ssh,required x\n", &["ssh default is required", "--ssh default"]),
        ("FROM {}\nRUN exit 3\nRUN true\n", &["exit code: 3", ">>> RUN exit 3", "[2/3] RUN exit 3"]),
        ("FROM {}\nRUN [\"/none\"]\n", &["/none"]),
        ("FROM {}\nCOPY <<../../x /d/\n1\n../../x\n", &["no name of a file"]),
        ("FROM {}\nRUN <<../x\n#!/bin/sh\n../x\n", &["without slashes"]),
        ("FROM --platform=linux/arm64 scratch\nCOPY a.txt /\nRUN x\n", &["arm64"]),
    ] {
        build(&home, &text.replace("{}", BUSYBOX), &[]).fails(1, words);
    }
    fs::remove_file(home.path.join("c/Dockerfile")).unwrap();
    let context = home.path.join("c").display().to_string();
    home.bryo(&["build", &context]).fails(1, &["no Dockerfile"]);
    home.bryo(&["build", "/none"]).fails(1, &["/none"]);
    home.bryo(&["build", "ftp://127.0.0.1/x"]).fails(1, &["https://"]);
    home.bryo(&["build", "--progres", "x", "."]).fails(125, &["--progres"]);
    home.bryo(&["builder", "prune", "-f"]).ok();
    home.write("c/Dockerfile", "");
    before.assert_nothing_left(&home);
}

#[test]
fn a_result_that_runs_as_root_is_told_and_can_be_refused() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let told = |text: &str, args: &[&str]| build(&home, &format!("FROM {BUSYBOX}\n{text}"), args);
    assert!(told("CMD a\n", &[]).stderr.contains("runs as root: neither the Dockerfile nor localhost/busybox"));
    assert!(told("USER root\n", &[]).stderr.contains("runs as root: USER is \"root\""));
    assert!(told("USER app\n", &[]).stderr.contains("runs as user 1000, not as root: USER is \"app\""));
    told("USER 0:5\n", &["--require-nonroot"]).fails(1, &["runs as root", "USER"]);
    told("RUN sed -i 's/^app:x:1000/app:x:0/' /etc/passwd\nUSER app\n", &["--require-nonroot"])
        .fails(1, &["runs as root"]);
    told("USER app\n", &["--require-nonroot"]).ok();
}

#[test]
fn results_are_written_in_every_form() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let text = "FROM scratch\nCOPY a.txt dir /files/\nUSER 5\n";
    let out = |name: &str| home.path.join(name).display().to_string();
    let (iid, tar, oci, docker, local) = (out("iid"), out("f.tar"), out("o.tar"), out("d.tar"), out("local"));
    build(
        &home,
        text,
        &[
            "-t",
            "localhost/second:2",
            "--iidfile",
            &iid,
            "-o",
            &format!("type=tar,dest={tar}"),
            "-o",
            &format!("type=oci,dest={oci}"),
            "-o",
            &format!("type=docker,dest={docker}"),
            "-o",
            &local,
        ],
    )
    .ok();
    let id = home.bryo(&["images", "-q", "--no-trunc", "localhost/second:2"]).ok();
    assert_eq!(fs::read_to_string(iid).unwrap(), id);
    assert!(tool("tar", &["-tf", &tar]).contains("files/sub/d.md"));
    assert_eq!(fs::read_to_string(Path::new(&local).join("files/a.txt")).unwrap(), "a\n");
    for (archive, transport) in [(&oci, "oci-archive"), (&docker, "docker-archive")] {
        if bryo_tests::skip::have("skopeo") {
            assert!(tool("skopeo", &["inspect", "--config", &format!("{transport}:{archive}")]).contains("\"User\""));
        }
    }
    let quiet = build(&home, text, &["-q"]);
    assert_eq!((quiet.ok(), quiet.stderr.as_str()), (id.clone(), ""));
    let json = build(&home, text, &["--progress", "rawjson"]);
    assert!(json.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{json}");
}

#[test]
fn contexts_come_from_standard_input_too() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let alone = format!("FROM {BUSYBOX}\nRUN echo alone > /x\n");
    home.bryo_fed(&["build", "-t", "localhost/built", "-"], alone.as_bytes()).ok();
    assert_eq!(inside(&home, "cat /x"), "alone");
    let copies = format!("FROM {BUSYBOX}\nCOPY a.txt /x\n");
    home.bryo_fed(&["build", "-"], copies.as_bytes()).fails(1, &["no context"]);
    let archive =
        Tar::default().file("a.txt", 0o600, b"from an archive\n").file("sub/Other", 0o644, copies.as_bytes()).finish();
    home.bryo_fed(&["build", "-t", "localhost/built", "-f", "sub/Other", "-"], &archive).ok();
    assert_eq!(inside(&home, "cat /x"), "from an archive");
    let context = home.path.join("c").display().to_string();
    home.bryo_fed(&["build", "-t", "localhost/built", "-f", "-", &context], copies.as_bytes()).ok();
    assert_eq!(inside(&home, "cat /x"), "a");
    let left = fs::read_dir(home.store().join("build")).unwrap().flatten().map(|e| e.file_name()).collect::<Vec<_>>();
    assert!(left.iter().all(|name| name != "context-" && !name.to_string_lossy().starts_with("context-")), "{left:?}");
    let escaping = Tar::default().file("../../escaped", 0o644, b"x").finish();
    home.bryo_fed(&["build", "-"], &escaping).fails(1, &[]);
    assert!(!home.path.join("escaped").exists() && !home.store().join("escaped").exists());
}

#[test]
fn no_path_leads_out_of_the_context() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    home.write("outside", "outside\n");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, home.path.join("c").join(name)).unwrap();
    link(&home.path.join("outside").display().to_string(), "absolute");
    link("../outside", "relative");
    link("..", "up");
    link("/etc", "etc");
    for source in ["absolute", "relative", "up/outside", "../outside", "etc/shadow", "/etc/hostname"] {
        build(&home, &format!("FROM {BUSYBOX}\nCOPY {source} /x\n"), &[]).fails(1, &["no such file"]);
    }
    build(&home, &format!("FROM {BUSYBOX}\nCOPY . /x\n"), &[]).ok();
    assert_eq!(inside(&home, "readlink /x/relative; cat /x/absolute 2>&1 | grep -c 'No such'"), "../outside\n1");
    build(&home, &format!("FROM {BUSYBOX}\nRUN --mount=type=bind,source=up,target=/b ls /b\n"), &[]).ok();
    fs::remove_file(home.path.join("c/Dockerfile")).unwrap();
    link(&home.path.join("outside").display().to_string(), "Dockerfile");
    let context = home.path.join("c").display().to_string();
    home.bryo(&["build", &context]).fails(1, &["Dockerfile is a link"]);
    // A name of a cache directory is a name.
    fs::remove_file(home.path.join("c/Dockerfile")).unwrap();
    build(&home, &format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target=/k,id=../../../../escaped touch /k/x\n"), &[])
        .ok();
    assert!(!home.tool_as_owner("find", &[&home.path.display().to_string(), "-name", "escaped*"]).contains("escaped"));
}

#[test]
fn rules_say_what_is_left_out() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let listed = || {
        build(&home, &format!("FROM {BUSYBOX}\nCOPY . /x\n"), &["--no-cache"]).ok();
        inside(&home, "cd /x; find . -type f | sort | tr '\\n' ' '")
    };
    home.write("c/.dockerignore", "# no texts\n*.txt\n!b.txt\n.*\nDockerfile\n**/*.md\n");
    assert_eq!(listed().trim(), "./b.txt ./dir/c.txt");
    home.write("c/Dockerfile.dockerignore", "*\n!dir/sub\n");
    assert_eq!(listed().trim(), "./dir/sub/d.md");
    build(&home, &format!("FROM {BUSYBOX}\nCOPY a.txt /x\n"), &[]).fails(1, &["a.txt"]);
    home.write("c/Dockerfile.dockerignore", "[\n");
    build(&home, &format!("FROM {BUSYBOX}\nCOPY . /x\n"), &[]).fails(1, &["dockerignore, line 1"]);
}

#[test]
fn a_build_that_is_killed_leaves_no_image_and_the_next_one_cleans_up() {
    let Some(user) = User::with_range() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    context(&home);
    home.write(
        "c/Dockerfile",
        format!("FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=5; touch /begun; sleep 100\n"),
    );
    let context = home.path.join("c").display().to_string();
    let running = home.start(&["build", "--progress", "plain", "-t", "localhost/built", &context]);
    let containers = home.store().join("containers");
    bryo_tests::program::eventually("the step runs", || {
        let dirs = fs::read_dir(&containers).ok()?.flatten().map(|entry| entry.path().join("layer/upper/begun"));
        dirs.into_iter().find(|path| fs::symlink_metadata(path).is_ok())
    });
    running.signal(rustix::process::Signal::KILL);
    drop(running.wait());
    home.bryo(&["inspect", "localhost/built"]).fails(1, &[]);
    bryo_tests::program::eventually("what was left is collected", || {
        // What the killed one has started may still be on its way out.
        let _busy = home.bryo(&["gc"]);
        fs::read_dir(&containers).unwrap().next().is_none().then_some(())
    });
}

#[test]
fn a_build_that_is_interrupted_ends_with_its_step() {
    let Some(user) = User::with_range() else { return };
    let home = Home::alone(&user);
    home.load(&images::busybox());
    home.write("c/Dockerfile", format!("FROM {BUSYBOX}\nRUN echo begun; sleep 100\n"));
    let context = home.path.join("c").display().to_string();
    home.run(&[BUSYBOX, "true"]).ok();
    let before = Snapshot::take(&home);
    let log = home.path.join("log");
    let mut command = home.command(&["build", "--progress", "plain", &context]);
    command.stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    bryo_tests::program::eventually("the step runs", || {
        fs::read_to_string(&log).unwrap().contains(" begun\n").then_some(())
    });
    tool("kill", &["-INT", &child.id().to_string()]);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    fs::remove_file(log).unwrap();
    home.bryo(&["gc"]).ok();
    before.assert_nothing_left(&home);
}

/// Answers every request with the same file until the test ends.
fn serve(content: &'static str) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 4096]).unwrap();
            let len = content.len();
            write!(stream, "HTTP/1.1 200 OK\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{content}").unwrap();
        }
    });
    port
}

#[test]
fn what_is_fetched_is_what_its_checksum_says() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let digest = |text: &str| bryo_tests::listing::digest_of(text.as_bytes());
    let (right, wrong) = (digest("fetched\n"), digest("other\n"));
    let port = serve("fetched\n");
    let dockerfile =
        |sum: &str| format!("FROM {BUSYBOX}\nADD --checksum=sha256:{sum} http://127.0.0.1:{port}/a/f.txt?x=/y /d/\n");
    build(&home, &dockerfile(&wrong), &[]).fails(1, &["the content is", &right]);
    build(&home, &dockerfile(&right), &[]).ok();
    assert_eq!(inside(&home, "cat /d/f.txt; stat -c '%a %Y' /d/f.txt"), "fetched\n600 1445412480");
    // Nobody is asked for what is known.
    assert!(build(&home, &dockerfile(&right), &[]).stderr.contains("CACHED"));
    build(&home, &dockerfile(&right), &["--no-cache"]).fails(1, &["fetch http://127.0.0.1"]);
}

#[test]
fn debian_installs_packages_in_a_step() {
    let Some(user) = User::with_range() else { return };
    if images::debian().is_none() {
        return;
    }
    let home = Home::shared(&user);
    // A package of the test's own: what the network gives is not what is tested.
    let root = home.mkdir(&format!("deb-{}", std::process::id()));
    for (name, text) in [
        (
            "p/DEBIAN/control",
            "Package: hello-test\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n",
        ),
        ("p/usr/share/hello-test", "installed\n"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(root.join("p/DEBIAN/postinst"), "#!/bin/sh\nset -e\nchown games:games /usr/share/hello-test\n").unwrap();
    tool("chmod", &["755", &root.join("p/DEBIAN/postinst").display().to_string()]);
    let deb = root.join("hello.deb").display().to_string();
    tool("dpkg-deb", &["--root-owner-group", "-b", &root.join("p").display().to_string(), &deb]);
    fs::remove_dir_all(root.join("p")).unwrap();
    let dockerfile = format!(
        "FROM {DEBIAN}\nRUN --mount=type=bind,source=hello.deb,target=/tmp/hello.deb --network=none \
         apt-get install -y /tmp/hello.deb && useradd -m bob && su bob -c 'touch ~/mine'\nUSER bob\n"
    );
    fs::write(root.join("Dockerfile"), dockerfile).unwrap();
    let name = format!("localhost/deb-{}", std::process::id());
    home.bryo(&["build", "--progress", "plain", "-t", &name, &root.display().to_string()]).ok();
    let script = "cat /usr/share/hello-test; stat -c %U /usr/share/hello-test /home/bob/mine; id -un; dpkg -s hello-test | grep -c 'ok installed'";
    assert_eq!(home.run(&[&name, "sh", "-c", script]).ok(), "installed\ngames\nbob\nbob\n1");
}

#[test]
fn another_users_rung_matters_not_for_what_is_built() {
    let Some(user) = User::with_range() else { return };
    assert_eq!(user.rung, Rung::Subordinate);
    let home = ground(&user);
    let dockerfile = format!(
        "FROM {BUSYBOX}\nCOPY --chown=1234:5678 a.txt /x\nRUN chown 4321:8765 /etc/hostname-of-test || touch /y && chown 9:9 /y\n"
    );
    build(&home, &dockerfile, &[]).ok();
    let owners = owners(&home, "localhost/built");
    let owner = |path: &str| owners.get(path).map(String::as_str);
    assert_eq!((owner("x"), owner("y")), (Some("1234/5678"), Some("9/9")));
}

/// Lists whose the files of an image's layers are, by the archives themselves.
pub fn owners(home: &Home, image: &str) -> BTreeMap<String, String> {
    let dir = home.mkdir("layers").display().to_string();
    home.bryo(&["save", "--format", "oci-archive", "-o", &format!("{dir}/o.tar"), image]).ok();
    let each = "for b in blobs/sha256/*; do tar --numeric-owner -tvzf $b 2>/dev/null; done; true";
    let listed = tool("sh", &["-c", &format!("cd {dir} && tar -xf o.tar && {each}")]);
    fs::remove_dir_all(dir).unwrap();
    let entry = |line: &str| {
        let path = line.split(" -> ").next()?.split(" link to ").next()?.split_whitespace().last()?;
        Some((path.to_owned(), line.split_whitespace().nth(1)?.to_owned()))
    };
    listed.lines().filter_map(entry).collect()
}

#[test]
fn what_is_probably_not_meant_is_told_or_refused() {
    let Some(user) = User::ordinary() else { return };
    let home = ground(&user);
    let text = format!("FROM {BUSYBOX}\nENV A b\nCMD x\n");
    let said = build(&home, &text, &[]);
    said.ok();
    assert!(said.stderr.contains("Dockerfile:2: LegacyKeyValueFormat:"), "{said}");
    assert!(said.stderr.contains("Dockerfile:3: JSONArgsRecommended:"), "{said}");
    let skipped = build(&home, &format!("# check=skip=JSONArgsRecommended\n{text}"), &[]);
    assert!(!skipped.stderr.contains("JSONArgs") && skipped.stderr.contains("Dockerfile:3: Legacy"), "{skipped}");
    assert!(
        !build(&home, &text, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]).stderr.contains("Dockerfile:")
    );
    build(&home, &format!("# check=error=true\n{text}"), &[])
        .fails(1, &["Dockerfile:3:1: LegacyKeyValueFormat", "check=error=true", ">>> ENV A b"]);
    build(&home, &format!("# check=skipp=all\n{text}"), &[]).fails(1, &["Dockerfile:1:9", "check=skipp=all"]);
}
