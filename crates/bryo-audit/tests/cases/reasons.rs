// SPDX-License-Identifier: Apache-2.0
//! Every kind of reason why an image wants root has an image that has it, and one that has not.

use bryo_audit::reasons::{Asked, Cause, Reason, Remedy, drops, given, reasons, taken_out};
use bryo_engine::harden::TakenOut;

use super::images::image;

/// An image whose entrypoint is a script.
macro_rules! entry {
    ($script:literal) => {
        concat!("\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~", $script)
    };
}

/// A kind, who has to do something about it, an image in the form of the other cases that has it, and one that has not.
type Case = (Cause, Remedy, &'static str, &'static str);

const NUMBER: &str = r#""User":"5:5""#;

const CASES: &[Case] = &[
    (Cause::NoUser, Remedy::Harden, "", NUMBER),
    (Cause::UserRoot, Remedy::Harden, r#""User":"0:0""#, NUMBER),
    (
        Cause::UserNamed,
        Remedy::Harden,
        "\"User\":\"app\"\n0644 0:0 etc/passwd = app:x:5:5::/:",
        "\"User\":\"5\"\n0644 0:0 etc/passwd = app:x:5:5::/:",
    ),
    (Cause::UserNamed, Remedy::Author, "\"User\":\"app\"\n0644 0:0 etc/passwd = x:x:5:5::/:", NUMBER),
    (Cause::GroupZero, Remedy::Harden, r#""User":"5:0""#, NUMBER),
    (Cause::UserAmbiguous, Remedy::Author, r#""User":"4294967296""#, NUMBER),
    (Cause::DropsPrivileges, Remedy::Harden, entry!("exec gosu app x"), entry!("exec x")),
    (
        Cause::DropsPrivileges,
        Remedy::Nobody,
        entry!("if [ $(id -u) = 0 ]; then~exec su-exec app x~fi"),
        entry!("if [ $(id -u) = 0 ]; then~exec x~fi"),
    ),
    (Cause::DropsPrivileges, Remedy::Author, entry!("exec /sbin/su-exec app x"), entry!("exec /sbin/x")),
    (Cause::GainsPrivileges, Remedy::Author, entry!("sudo x"), entry!("x sudo")),
    (Cause::ChangesOwner, Remedy::Harden, entry!("chown -R app /data"), entry!("ls -R /data")),
    (Cause::ChangesOwner, Remedy::Harden, entry!("find . -exec chown app '{}' +"), entry!("find . -exec ls '{}' +")),
    (Cause::Privileged, Remedy::Author, entry!("useradd x"), entry!("x useradd")),
    (Cause::Privileged, Remedy::Author, entry!("mount -t proc x /x"), entry!("x mount")),
    (Cause::Installs, Remedy::Author, entry!("apk add curl"), entry!("apk info curl")),
    (Cause::WritesOutside, Remedy::Author, entry!("echo x > /etc/app.conf"), entry!("echo x > /run/app.conf")),
    (Cause::WritesOutside, Remedy::Author, entry!("cp a /usr/share/app"), entry!("cp /usr/share/app /tmp/b")),
    (
        Cause::UserDirective,
        Remedy::Nobody,
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/nginx.conf = user www-data;",
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/nginx.conf = # user www-data;",
    ),
    (
        Cause::UserDirective,
        Remedy::Harden,
        "\"Cmd\":[\"supervisord\"]\n0644 0:0 etc/supervisor/x.conf = user=root",
        "\"Cmd\":[\"other\"]\n0644 0:0 etc/supervisor/x.conf = user=root",
    ),
    (
        Cause::UserDirective,
        Remedy::Harden,
        "\"Cmd\":[\"haproxy\"]\n0644 0:0 etc/haproxy/haproxy.cfg = user haproxy",
        "\"Cmd\":[\"haproxy\"]\n0644 0:0 etc/haproxy/haproxy.cfg = maxconn 9",
    ),
    (
        Cause::UserDirective,
        Remedy::Harden,
        "\"Cmd\":[\"haproxy\"]\n0644 0:0 etc/haproxy/haproxy.cfg = chroot /var/lib/haproxy",
        "\"Cmd\":[\"x\"]\n0644 0:0 etc/haproxy/haproxy.cfg = chroot /var/lib/haproxy",
    ),
    (
        Cause::UserDirective,
        Remedy::Harden,
        "\"Cmd\":[\"rsync\",\"--daemon\"]\n0644 0:0 etc/rsyncd.conf = uid = nobody",
        "\"Cmd\":[\"rsync\",\"--daemon\"]\n0644 0:0 etc/rsyncd.conf = path = /data",
    ),
    (Cause::UserDirective, Remedy::Harden, r#""Cmd":["named","-u","bind"]"#, r#""Cmd":["named","-g"]"#),
    (Cause::UserDirective, Remedy::Harden, r#""Cmd":["privoxy","--user","x"]"#, r#""Cmd":["privoxy","x"]"#),
    (Cause::UserDirective, Remedy::Nobody, r#""Cmd":["memcached","-u","x"]"#, r#""Cmd":["memcached","-p","1"]"#),
    (Cause::LowPort, Remedy::Harden, r#""ExposedPorts":{"80/tcp":{}}"#, r#""ExposedPorts":{"8080/tcp":{}}"#),
    (
        Cause::LowPort,
        Remedy::Harden,
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/x.conf = listen [::]:80 default_server;",
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/x.conf = listen [::]:8080;",
    ),
    (
        Cause::LowPort,
        Remedy::Harden,
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/sites-available/a = listen 80;\n\
         link 0777 0:0 etc/nginx/sites-enabled/a -> ../sites-available/a",
        "\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/sites-available/a = listen 80;\n\
         link 0777 0:0 etc/nginx/sites-enabled/a -> /etc/nginx/sites-available/b",
    ),
    (
        Cause::UserDirective,
        Remedy::Nobody,
        "\"Cmd\":[\"apache2\"]\n0644 0:0 etc/apache2/mods-available/x = User app\n\
         link 0777 0:0 etc/apache2/mods-enabled -> mods-available\nlink 0777 0:0 etc/apache2/on -> mods-enabled/x",
        "\"Cmd\":[\"apache2\"]\n0644 0:0 etc/apache2/mods-available/x = User app",
    ),
    (Cause::StateOwner, Remedy::Harden, "\ndir 0755 0:0 var/lib/app", "\ndir 0755 65532:65532 var/lib/app"),
    (
        Cause::StateOwner,
        Remedy::Harden,
        "\"Volumes\":{\"/d\":{}}\ndir 0755 7:7 d",
        "\"Volumes\":{\"/d\":{}}\ndir 0777 7:7 d",
    ),
    // Of what is root's, a user of the image's own gets what the image declares.
    (
        Cause::StateOwner,
        Remedy::Harden,
        "\"User\":\"5:5\",\"WorkingDir\":\"/w\"\ndir 0755 0:0 w",
        "\"User\":\"5:5\",\"WorkingDir\":\"/w\"\ndir 1775 0:5 w",
    ),
    (
        Cause::StateOwner,
        Remedy::Author,
        "\"User\":\"5:5\",\"Volumes\":{\"/d\":{}}\ndir 0755 7:7 d",
        "\"User\":\"5:5\",\"Volumes\":{\"/d\":{}}\ndir 0755 5:7 d",
    ),
    (
        Cause::StateOwner,
        Remedy::Nobody,
        "\"User\":\"5:5\"\ndir 0755 0:0 var/lib/app",
        "\"User\":\"5:5\"\ndir 0755 5:0 var/lib/app",
    ),
    // Nobody gets what the machine keeps.
    (Cause::StateOwner, Remedy::Harden, "\ndir 0755 0:0 var/log/app", "\ndir 0755 0:0 var/log/apt"),
    (Cause::StateOwner, Remedy::Harden, "\ndir 0755 33:33 var/www/html", "\ndir 0755 0:0 var/www/html"),
    (Cause::StateOwner, Remedy::Harden, r#""WorkingDir":"/none""#, "\"WorkingDir\":\"/w\"\ndir 0777 0:0 w"),
    (Cause::SetUid, Remedy::Nobody, "\n4755 0:0 usr/bin/su", "\n0755 0:0 usr/bin/su"),
    (
        Cause::SetUid,
        Remedy::Author,
        "\"Cmd\":[\"ping\"]\n4755 0:0 usr/bin/ping",
        "\"Cmd\":[\"ping\"]\n0755 0:0 usr/bin/ping",
    ),
    (Cause::SetGid, Remedy::Nobody, "\n2755 0:42 usr/bin/chage", "\n0755 0:42 usr/bin/chage"),
    (Cause::FileCapabilities, Remedy::Author, "\"Cmd\":[\"x\"]\n0755 0:0 bin/x cap", "\"Cmd\":[\"x\"]\n0755 0:0 bin/x"),
];

fn of(text: &str) -> Vec<Reason> {
    reasons(&image(text), &Asked::default())
}

#[test]
fn every_kind_is_found_where_it_is_and_nowhere_else() {
    for (cause, by, with, without) in CASES {
        let found = of(with);
        assert!(found.iter().any(|r| r.cause == *cause && r.by == *by), "{cause:?} by {by:?} in {with}: {found:#?}");
        let found = of(without);
        assert!(found.iter().all(|r| r.cause != *cause), "{cause:?} in {without}: {found:#?}");
    }
}

#[test]
fn the_evidence_has_file_line_owner_mode_and_package() {
    let text = "\"Entrypoint\":[\"entry.sh\"]\n\
        0755 0:0 usr/local/bin/entry.sh = #!/bin/sh~set -e~~exec gosu app x\n\
        4755 0:7 usr/bin/su\n\
        0644 0:0 var/lib/dpkg/info/util-linux:amd64.list = /.~/bin/su\n\
        0644 0:0 lib/apk/db/installed = P:other~F:usr/local/bin~R:entry.sh";
    let found = of(text);
    let drop = found.iter().find(|r| r.cause == Cause::DropsPrivileges).unwrap();
    assert_eq!((drop.file.as_deref(), drop.line), (Some("/usr/local/bin/entry.sh"), Some(4)));
    assert_eq!(drop.package.as_deref(), Some("other"));
    let su = found.iter().find(|r| r.cause == Cause::SetUid).unwrap();
    let shown = [&su.file, &su.owner, &su.mode, &su.package].map(|text| text.as_deref().unwrap());
    assert_eq!(shown, ["/usr/bin/su", "0:7", "4755", "util-linux"]);
}

/// Programs of a start are looked up on PATH; what is no script of a shell is not read as one.
#[test]
fn scripts_are_found_as_the_start_finds_them() {
    let has = |text: &str| drops(&image(text)).into_iter().map(|call| call.at).collect::<Vec<_>>();
    let bare = "\"Entrypoint\":[\"ep\"],\"Cmd\":[\"x\"]\n";
    let at = |path: &str, line| vec![Some((path.to_owned(), line))];
    assert_eq!(has(&format!("{bare}0755 0:0 usr/local/bin/ep = #!/bin/sh~gosu a b")), at("/usr/local/bin/ep", 2));
    assert_eq!(has(&format!("{bare}0755 0:0 usr/bin/ep = #!/usr/bin/env bash~gosu a b")), at("/usr/bin/ep", 2));
    assert_eq!(has(&format!("{bare}0755 0:0 usr/local/bin/ep = #!/usr/bin/perl~gosu a b")), []);
    let calls = "0755 0:0 usr/local/bin/ep = #!/bin/sh~. /usr/local/lib/lib~run-x~service x\n";
    let sourced = format!("{bare}{calls}0644 0:0 usr/local/lib/lib = gosu a b");
    assert_eq!(has(&sourced), at("/usr/local/lib/lib", 1));
    assert_eq!(
        has(&format!("{bare}{calls}0755 0:0 usr/local/bin/run-x = #!/bin/bash~~gosu a b")),
        at("/usr/local/bin/run-x", 3)
    );
    // The distribution's own is not taken apart.
    assert_eq!(has(&format!("{bare}{calls}0755 0:0 usr/sbin/service = #!/bin/sh~gosu a b")), []);
}

#[test]
fn what_was_asked_of_a_container_counts_before_the_image() {
    let image = image("\"User\":\"0\",\"Cmd\":[\"gosu\",\"a\",\"b\"]");
    let asked = Asked { words: Some(vec!["x".into()]), user: Some("5:5".into()) };
    let causes = |asked: &Asked| reasons(&image, asked).iter().map(|r| r.cause).collect::<Vec<_>>();
    assert_eq!(causes(&Asked::default()), [Cause::UserRoot, Cause::DropsPrivileges]);
    let many = of("\"Cmd\":[\"sudo\",\"x\"]\n4755 0:0 usr/bin/su");
    assert!(many.is_sorted_by_key(|reason| reason.by) && many.len() > 2, "{many:?}");
    assert_eq!(causes(&asked), []);
}

#[test]
fn what_a_start_makes_and_gives_away_is_listed() {
    let given = |script: &str| {
        let text = format!("\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~{script}");
        given(&image(&text)).into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(given("mkdir -p /srv/x /run/x/~install -d -o a /var/www/x"), ["/run/x", "/srv/x", "/var/www/x"]);
    assert_eq!(given("if true; then~chown -R a:b /data~fi~find /d ! -user a -exec chown a '{}' +"), ["/d", "/data"]);
    for none in ["ls /data", "chown root:root /data", "mkdir $DATA", "mkdir data", "chown a /d/*", "mkdir /a/../etc"] {
        assert_eq!(given(none), [""; 0], "{none}");
    }
}

#[test]
fn calls_say_how_they_are_called_and_whether_root_alone_comes_there() {
    let image = image(entry!("if [ $(id -u) = 0 ]; then~gosu a b~fi~exec setpriv --reuid=a c"));
    let calls: Vec<_> =
        drops(&image).into_iter().map(|call| (call.program, call.guarded, call.at.unwrap().1)).collect();
    assert_eq!(calls, [("gosu".to_owned(), true, 3), ("setpriv".to_owned(), false, 5)]);
}

#[test]
fn what_a_service_fails_by_without_root_is_taken_out() {
    let rsync = image(
        "\"Cmd\":[\"rsync\",\"--daemon\"]\n0644 0:0 etc/rsyncd.conf = uid = a~[m]~ gid = b~path = /d~\n\
         0644 0:0 etc/supervisor/x.conf = user=root",
    );
    let taken = taken_out(&rsync);
    let [edit] = &taken.files[..] else { panic!("{taken:?}") };
    assert_eq!(edit.path.to_str(), Some("/etc/rsyncd.conf"));
    assert_eq!(edit.lines, [(1, "uid = a".to_owned()), (3, "gid = b".to_owned())]);
    assert!(String::from_utf8_lossy(&edit.content).ends_with("gid = b\npath = /d\n"));
    assert!(taken.start.is_none() && taken.programs.is_empty());
    // What the service passes over, or may become, stays.
    let nginx = image("\"Cmd\":[\"nginx\"]\n0644 0:0 etc/nginx/nginx.conf = user www-data;");
    assert_eq!(taken_out(&nginx), TakenOut::default());
    assert_eq!(taken_out(&image("\"Cmd\":[\"named\",\"-u\",\"bind\"]")), TakenOut::default());
}

#[test]
fn a_flag_is_taken_out_of_the_words_or_a_program_leaves_it_out() {
    let words = "\"Entrypoint\":[\"tini\",\"--\",\"/usr/sbin/privoxy\",\"--user\",\"a\",\"--user=b\",\"--x\"],\
         \"Cmd\":[\"--user\",\"c\",\"d\"]";
    let start = taken_out(&image(words)).start.unwrap();
    assert_eq!(start.entrypoint, ["tini", "--", "/usr/sbin/privoxy", "--x"]);
    assert_eq!((start.cmd, start.taken.as_str()), (vec!["d".to_owned()], "--user a --user=b --user c"));
    let privoxy = "\n0755 0:0 usr/sbin/privoxy";
    let script = |line: &str| taken_out(&image(&format!("{}{privoxy}", entry!("{}").replace("{}", line))));
    let taken = script("exec privoxy --user a");
    assert!(taken.start.is_none());
    let [filter] = &taken.programs[..] else { panic!("{taken:?}") };
    assert_eq!((filter.name.as_str(), filter.path.to_str()), ("privoxy", Some("/usr/sbin/privoxy")));
    // It is not in its way, root alone comes there, or there is no flag.
    for line in ["exec /usr/sbin/privoxy --user a", "[ $(id -u) = 0 ] && exec privoxy --user a", "exec privoxy a"] {
        assert_eq!(script(line), TakenOut::default(), "{line}");
    }
    assert!(of(entry!("exec /usr/sbin/privoxy --user a")).iter().any(|r| r.by == Remedy::Author));
}
