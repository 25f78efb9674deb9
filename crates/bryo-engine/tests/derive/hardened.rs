// SPDX-License-Identifier: Apache-2.0
//! What an image that is hardened for good gives its user, and what it does not.

use std::path::{Path, PathBuf};

use bryo_engine::derive::{DeriveInput, Facts, Hardening, derive};
use bryo_identity::rung::Rung;

use crate::ground::{Ground, Seen, Tar};

/// A system whose root has things that services write to, and things that none does.
fn system(config: serde_json::Value, more: impl Fn(&mut Tar)) -> Ground {
    let mut ground = Ground::new(false);
    ground.layer(|tar| {
        for dir in ["etc", "var", "var/lib", "var/log", "var/spool", "var/www", "srv", "run", "tmp"] {
            tar.directory(dir, (0, 0), 0o755);
        }
        tar.file("etc/passwd", (0, 0), 0o644, b"root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n");
        tar.directory("var/mail", (0, 8), 0o2775);
        tar.link("var/spool/mail", "../mail");
        for (dir, ids) in [
            ("var/lib/systemd", (0, 0)),
            ("var/lib/app", (0, 0)),
            ("var/log/apt", (0, 0)),
            ("var/log/nginx", (0, 4)),
            ("var/www/html", (0, 0)),
            ("var/www/uploads", (33, 33)),
            ("srv/site", (0, 0)),
            ("srv/app", (1000, 1000)),
        ] {
            tar.directory(dir, ids, 0o755);
        }
        for file in ["var/www/html/index.html", "var/log/wtmp", "var/log/apt/term.log", "var/log/app.log", "srv/site/x"]
        {
            tar.file(file, (0, 0), 0o644, b"x");
        }
        tar.directory("usr/share/app", (0, 0), 0o755);
        more(tar);
    });
    ground.config(config);
    ground
}

fn made(ground: &Ground, hardening: Option<&Hardening>) -> (Facts, Seen) {
    let facts = derive(&DeriveInput { hardening, ..ground.input() }).unwrap();
    let seen = ground.seen(&facts);
    (facts, seen)
}

fn owner(seen: &Seen, path: &str) -> (u32, u32) {
    let entry = seen.get(path).unwrap_or_else(|| panic!("{path} is there"));
    (entry.uid, entry.gid)
}

const NOBODY: (u32, u32) = (65532, 65532);

fn is_single(ground: &Ground) -> bool {
    bryo_identity::rung::Host::probe().rung() == Rung::Single || ground.map.is_single()
}

pub fn what_no_service_writes_stays_roots_for_good() {
    let ground = system(serde_json::json!({}), |_| ());
    if is_single(&ground) {
        return;
    }
    let kept = [
        "/var/www",
        "/var/www/html",
        "/var/www/html/index.html",
        "/var/spool/mail",
        "/var/lib/systemd",
        "/var/log/wtmp",
        "/var/log/apt",
        "/var/log/apt/term.log",
        "/srv",
        "/srv/site/x",
    ];
    // Positive control: a run, which is gone again, has it.
    let (_, run) = made(&ground, None);
    kept.iter().filter(|path| !path.contains("mail")).for_each(|path| assert_eq!(owner(&run, path), NOBODY, "{path}"));
    let (facts, seen) = made(&ground, Some(&Hardening::default()));
    kept.iter().for_each(|path| assert_eq!(owner(&seen, path), (0, 0), "{path}"));
    assert_eq!(owner(&seen, "/var/mail"), (0, 8));
    for path in ["/var/lib/app", "/var/log/nginx", "/var/log/app.log", "/var/www/uploads", "/srv/app", "/run"] {
        assert_eq!(owner(&seen, path), NOBODY, "{path}");
    }
    // What holds both can be written to, and what is root's in it not be renamed.
    for path in ["/var/log", "/var/spool", "/var/lib"] {
        assert_eq!((owner(&seen, path), seen[path].mode & 0o1070), ((0, 65532), 0o1070), "{path}");
    }
    assert!(facts.state.contains(&"/srv".into()), "{:?}", facts.state);
}

pub fn what_is_declared_or_made_by_the_start_is_given_for_good() {
    let config = serde_json::json!({"WorkingDir": "/var/www/html", "Volumes": {"/var/mail": {}}});
    let ground = system(config, |_| ());
    if is_single(&ground) {
        return;
    }
    let given = ["/srv/site", "/var/www/cache", "/var/log", "/var/lib", "/usr/share/app"].map(PathBuf::from);
    let (_, seen) = made(&ground, Some(&Hardening { given: given.to_vec(), ..Hardening::default() }));
    for path in ["/var/www/html", "/var/www/html/index.html", "/var/mail", "/srv/site/x"] {
        assert_eq!(owner(&seen, path), NOBODY, "{path}");
    }
    // One that is to be made needs room, and what many have or the system has is not given.
    assert_eq!((owner(&seen, "/var/www"), seen["/var/www"].mode), ((0, 65532), 0o1775));
    for path in ["/srv", "/usr/share/app", "/var/log/wtmp", "/var/lib/systemd"] {
        assert_eq!(owner(&seen, path), (0, 0), "{path}");
    }
}

pub fn a_user_of_the_images_own_gets_what_the_image_declares() {
    let config = serde_json::json!({"User": "33:33", "WorkingDir": "/app", "Volumes": {"/data": {}, "/other": {}}});
    let ground = system(config, |tar| {
        for (dir, ids) in [("app", (0, 0)), ("data", (0, 0)), ("data/own", (1000, 1000)), ("other", (1000, 1000))] {
            tar.directory(dir, ids, 0o755);
        }
        tar.file("app/program.py", (0, 0), 0o644, b"x");
        tar.file("data/seed", (0, 0), 0o644, b"x");
    });
    if is_single(&ground) {
        return;
    }
    // Positive control: without hardening all of it is root's.
    let (_, run) = made(&ground, None);
    ["/app", "/data", "/data/seed"].iter().for_each(|path| assert_eq!(owner(&run, path), (0, 0), "{path}"));
    let (facts, seen) = made(&ground, Some(&Hardening::default()));
    assert_eq!((owner(&seen, "/app"), seen["/app"].mode), ((0, 33), 0o1775));
    for (path, expected) in [
        ("/app/program.py", (0, 0)),
        ("/data", (33, 33)),
        ("/data/seed", (33, 33)),
        ("/data/own", (1000, 1000)),
        ("/other", (1000, 1000)),
        ("/var/lib/app", (0, 0)),
    ] {
        assert_eq!(owner(&seen, path), expected, "{path}");
    }
    // It is said to be writable where it is.
    let says = |path: &str| facts.state.iter().any(|dir| dir == Path::new(path));
    assert!(says("/app") && says("/data") && says("/var") && !says("/srv") && !says("/run"), "{:?}", facts.state);
}
