// SPDX-License-Identifier: Apache-2.0
//! `build`: whose files are, and what else they have: where one id owns everything on the host, and elsewhere.

use std::fs;

use bryo_tests::images::{self, BUSYBOX, DEBIAN};
use bryo_tests::program::tool;
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::user::Rung;
use bryo_tests::{Home, User};

use super::build::{build, ground, owners};

/// Instructions, each with whose files its layers are to say that they are.
const OWNED: &[(&str, &[(&str, &str)])] = &[
    ("RUN touch /f && chown 5:6 /f", &[("f", "5/6")]),
    // Of busybox: it looks whose a file is, and says so with the group.
    ("RUN touch /f && chown 5:6 /f && chown 7:6 /f && chown -h 7:8 /f", &[("f", "7/8")]),
    ("RUN touch /f && chown 5:6 /f && chown 0:0 /f", &[("f", "0/0")]),
    (
        "RUN cd /tmp && mkdir d && touch d/f && chown -R app:other d",
        &[("tmp/d/", "1000/1001"), ("tmp/d/f", "1000/1001")],
    ),
    ("RUN touch /f && ln -s f /l && chown 5:6 /l", &[("f", "5/6"), ("l", "0/0")]),
    ("RUN touch /f && chown 5:6 /f && mv /f /g && ln /g /h", &[("g", "5/6"), ("h", "5/6")]),
    ("RUN chown 5:6 /home /etc/passwd", &[("home/", "5/6"), ("etc/passwd", "5/6")]),
    ("RUN chown 5:6 /etc/passwd\nRUN echo >> /etc/passwd\nRUN touch /z", &[("etc/passwd", "5/6")]),
    ("COPY --chown=5:6 a.txt /new/deep/x", &[("new/", "5/6"), ("new/deep/x", "5/6")]),
    ("COPY --chown=5:6 dir /d\nRUN echo >> /d/c.txt && touch /d/mine", &[("d/c.txt", "5/6"), ("d/mine", "0/0")]),
    ("ADD in.tar /", &[("in", "7/8")]),
    ("ADD --chown=5:6 in.tar /", &[("in", "5/6")]),
    ("USER 1000:1001\nRUN touch /tmp/f && ! chown 5 /tmp/f", &[("tmp/", "0/0"), ("tmp/f", "1000/1001")]),
    ("USER app\nWORKDIR /w\nRUN touch f", &[("w/", "1000/1000"), ("w/f", "1000/1000")]),
    ("RUN su app -c 'touch /tmp/f'", &[("tmp/f", "0/0")]),
];

#[test]
fn a_single_id_writes_down_whose_files_are() {
    let Some(user) = User::without_range() else { return };
    let home = ground(&user);
    let entry = Entry { name: "in", kind: b'0', mode: 0o644, ids: (7, 8), link: "", data: b"in\n" };
    home.write("c/in.tar", Tar::default().entry(entry).finish());
    for (instructions, expected) in OWNED {
        build(&home, &format!("FROM {BUSYBOX}\n{instructions}\n"), &[]).ok();
        let owners = owners(&home, "localhost/built");
        for (path, owner) in *expected {
            assert_eq!(owners.get(*path).map(String::as_str), Some(*owner), "{instructions}: {path} in {owners:?}");
        }
    }
    // What is copied from a stage is whose it is there.
    let text =
        "RUN mkdir /d && touch /d/f && chown -R 5:6 /d\nFROM scratch\nCOPY --from=0 /d /e\nCOPY --from=0 /d/f /f\n";
    build(&home, &format!("FROM {BUSYBOX}\n{text}"), &[]).ok();
    let owners = owners(&home, "localhost/built");
    assert_eq!((owners.get("e/f").unwrap().as_str(), owners.get("f").unwrap().as_str()), ("5/6", "5/6"), "{owners:?}");
}

/// What the kernel refuses is refused, and what is answered in its place changes nothing but what is written down.
#[test]
fn what_is_answered_in_the_kernels_place_gives_no_rights() {
    let Some(user) = User::without_range() else { return };
    let home = ground(&user);
    let script = [
        "refused() { if \"$@\" 2>/tmp/why; then echo \"$* came through\"; exit 1; fi; }",
        "refused chown 5 /none; grep -q 'No such' /tmp/why",
        "refused chown 5 /proc/version",
        "refused chown 5 /b/c.txt; grep -q 'Read-only' /tmp/why",
        "refused chown 5 /dev/null",
        "refused cat /etc/shadow-of-the-host",
        "touch /m/f && chown 5:6 /m/f",
        "su app -c 'id -u; id -g' | tr '\\n' . | grep -qx 1000.1000.",
        "refused su app -c 'chown 5 /m/f'",
        "test $(stat -c %u:%g /etc/passwd) = 0:0",
        "refused mount -t proc none /mnt",
        "grep -qx 'Seccomp:.2' /proc/self/status",
    ];
    let text = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=bind,source=dir,target=/b --mount=type=tmpfs,target=/m <<E\nset -e\n{}\nE\n",
        script.join("\n")
    );
    build(&home, &text.replace("<<E", "<<'E'"), &[]).ok();
}

#[test]
fn a_single_id_installs_packages_and_keeps_their_owners() {
    let Some(user) = User::without_range() else { return };
    if images::debian().is_none() {
        return;
    }
    let home = Home::shared(&user);
    let root = home.mkdir(&format!("single-deb-{}", std::process::id()));
    let control = "Package: owned-test\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n";
    for (name, text) in [
        ("p/DEBIAN/control", control),
        ("p/usr/share/owned-test/of-root", "1\n"),
        ("p/usr/share/owned-test/of-games", "2\n"),
        ("p/DEBIAN/postinst", "#!/bin/sh\nset -e\nchown games:games /usr/share/owned-test/of-games\n"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    tool("chmod", &["755", &root.join("p/DEBIAN/postinst").display().to_string()]);
    // A file of the archive itself that is somebody's.
    fs::write(root.join("p/usr/share/owned-test/of-mail"), "3\n").unwrap();
    tool("chown", &["-R", "0:0", &root.join("p").display().to_string()]);
    tool("chown", &["8:8", &root.join("p/usr/share/owned-test/of-mail").display().to_string()]);
    let deb = root.join("owned.deb").display().to_string();
    tool("dpkg-deb", &["-b", &root.join("p").display().to_string(), &deb]);
    fs::remove_dir_all(root.join("p")).unwrap();
    let dockerfile = format!(
        "FROM {DEBIAN}\nRUN --mount=type=bind,source=owned.deb,target=/tmp/owned.deb --network=none \
         apt-get install -y /tmp/owned.deb && useradd -m bob && install -o bob -g bob -m 600 /dev/null /home/bob/mine\nUSER bob\n"
    );
    fs::write(root.join("Dockerfile"), dockerfile).unwrap();
    let name = format!("localhost/single-deb-{}", std::process::id());
    home.bryo(&["build", "--progress", "plain", "-t", &name, &root.display().to_string()]).ok();
    let owners = owners(&home, &name);
    for (path, owner) in [
        ("usr/share/owned-test/of-root", "0/0"),
        ("usr/share/owned-test/of-games", "5/60"),
        ("usr/share/owned-test/of-mail", "8/8"),
        ("home/bob/", "1000/1000"),
        ("home/bob/.profile", "1000/1000"),
        ("home/bob/mine", "1000/1000"),
    ] {
        assert_eq!(owners.get(path).map(String::as_str), Some(owner), "{path}");
    }
    home.bryo(&["rmi", &name]).ok();
}

#[test]
fn capabilities_and_attributes_go_with_what_is_copied() {
    for user in User::all() {
        let home = ground(&user);
        let capability = [&[1, 0, 0, 2, 0, 4, 0, 0][..], &[0; 12]].concat();
        let record = |name: &str, value: &[u8]| {
            let text = [b" SCHILY.xattr.", name.as_bytes(), b"=", value, b"\n"].concat();
            let length = (text.len() + 2).to_string();
            assert_eq!(length.len(), 2);
            [length.as_bytes(), &text].concat()
        };
        let records =
            [record("security.capability", &capability), record("user.kind", b"a"), record("user.bryo.owner", b"9:9")];
        let pax = Entry { name: "pax", kind: b'x', mode: 0o644, ids: (0, 0), link: "", data: &records.concat() };
        let file = Entry { name: "tool", kind: b'0', mode: 0o755, ids: (0, 0), link: "", data: b"x" };
        home.write("c/in.tar", Tar::default().entry(pax).entry(file).finish());
        let text = format!(
            "FROM {BUSYBOX}\nADD in.tar /d/\nFROM scratch\nCOPY --from=0 /d/tool /one\nCOPY --from=0 --chown=5:6 /d /two\n"
        );
        build(&home, &text, &[]).ok();
        let dir = home.mkdir("attributes").display().to_string();
        home.bryo(&["save", "--format", "oci-archive", "-o", &format!("{dir}/o.tar"), "localhost/built"]).ok();
        let each = "for b in blobs/sha256/*; do tar --xattrs --xattrs-include=* --numeric-owner -tvvzf $b 2>/dev/null; done; true";
        let listed = tool("sh", &["-c", &format!("cd {dir} && tar -xf o.tar && {each}")]);
        // A single id that is not root's cannot give capabilities to files.
        let capabilities = if user.rung == Rung::Single { 0 } else { 2 };
        assert_eq!(listed.matches("20 security.capability").count(), capabilities, "{user:?} {listed}");
        assert_eq!(listed.matches("1 user.kind").count(), 2, "{user:?} {listed}");
        assert!(!listed.contains("user.bryo"), "{listed}");
        let owners = owners(&home, "localhost/built");
        assert_eq!((owners["one"].as_str(), owners["two/tool"].as_str()), ("0/0", "5/6"), "{user:?}");
    }
}
