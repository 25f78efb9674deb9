// SPDX-License-Identifier: Apache-2.0
//! Cases of images. `CONFIG` or `#NAME`, then lines for files: `[dir|link] MODE UID:GID PATH [cap] [-> LINK] [= CONTENT]`,
//! and `--` between layers.

use bryo_audit::Auditor;
use bryo_audit::facts::image::Image;
use bryo_image::members::{Entry, EntryKind};

use super::{Case, check};

pub const CASES: &[Case] = &[
    (1, "", r#""User":"10001:10001""#),
    (2, r#""User":"root""#, r#""User":"10001:10001""#),
    (
        4,
        "\"User\":\"app\"\n0644 0:0 etc/passwd = app:x:0:0::/:",
        "\"User\":\"app\"\n0644 0:0 etc/passwd = app:x:5:5::/:",
    ),
    (5, r#""User":"4294967295""#, r#""User":"4294967294:5""#),
    (12, r#""OnBuild":["USER 0"]"#, r#""OnBuild":["RUN x"]"#),
    (13, "\"User\":\"5:5\"\n4755 0:0 usr/bin/su", "\"User\":\"5:5\"\n0755 0:0 usr/bin/su"),
    (16, "\"User\":\"5\"\n0644 0:0 etc/passwd = root:x:0:0::/:", "\"User\":\"5\"\n0644 0:0 etc/passwd = app:x:5:5::/:"),
    (
        17,
        "\"User\":\"app\"\n0644 0:0 etc/passwd = app:x:5:5::/:\n0644 0:0 etc/group = docker:x:9:app",
        "\"User\":\"app\"\n0644 0:0 etc/passwd = app:x:5:5::/:\n0644 0:0 etc/group = staff:x:9:app",
    ),
    (
        18,
        "\"User\":\"5:5\",\"Volumes\":{\"/data\":{}}\ndir 0755 5:5 data",
        "\"User\":\"5:5\",\"Volumes\":{\"/data\":{}}\ndir 0775 5:0 data",
    ),
    (22, r#""User":"5:5","ExposedPorts":{"80/tcp":{}}"#, r#""User":"5:5","ExposedPorts":{"8080/tcp":{}}"#),
    (
        24,
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~exec gosu app \"$@\"",
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~exec \"$@\"",
    ),
    (
        25,
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~useradd x",
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~x",
    ),
    (
        26,
        "\"User\":\"5:5\",\"Cmd\":[\"x\"]\n0700 0:0 usr/bin/x",
        "\"User\":\"5:5\",\"Cmd\":[\"x\"]\n0755 0:0 usr/bin/x",
    ),
    (
        26,
        "\"User\":\"5:5\",\"Entrypoint\":[\"/e\"]\n0711 0:0 e = #!/bin/sh~x\n0755 0:0 bin/sh",
        "\"User\":\"5:5\",\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~x\n0755 0:0 bin/sh",
    ),
    (
        26,
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/bash~x\n0755 0:0 bin/sh",
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/bash~x\n0755 0:0 bin/bash",
    ),
    (
        26,
        "\"User\":\"5:5\",\"Cmd\":[\"/opt/a/x\"]\ndir 0700 0:0 opt/a\n0755 0:0 opt/a/x",
        "\"User\":\"5:5\",\"Cmd\":[\"/opt/a/x\"]\ndir 0711 0:0 opt/a\n0755 0:0 opt/a/x",
    ),
    (
        26,
        "\"User\":\"5:5\",\"Cmd\":[\"nginx\"]\ndir 0755 0:0 var/log/nginx",
        "\"User\":\"5:5\",\"Cmd\":[\"nginx\"]\ndir 0755 5:5 var/log/nginx\ndir 0755 0:0 var/log/other",
    ),
    (18, "\"User\":\"5:5\"\ndir 0755 5:5 var/lib/app", "\"User\":\"5:5\"\ndir 0775 5:0 var/lib/app"),
    (23, "#nginx", "#nginxinc/nginx-unprivileged"),
    (
        27,
        "\"WorkingDir\":\"/w\"\nlink 0777 0:0 w -> v\ndir 0755 0:0 v",
        "\"WorkingDir\":\"/v\"\nlink 0777 0:0 w -> v\ndir 0755 0:0 v",
    ),
    (
        27,
        "\"User\":\"5:5\",\"Volumes\":{\"/d\":{}}\ndir 0755 0:0 d",
        "\"User\":\"5:5\",\"Volumes\":{\"/d\":{}}\ndir 0755 5:5 d",
    ),
    (
        27,
        "\"User\":\"5:5\",\"Env\":[\"HOME=/h\"]\ndir 0755 0:0 h",
        "\"User\":\"5:5\",\"Env\":[\"HOME=/h\"]\ndir 0755 5:5 h",
    ),
    (
        28,
        "\"Volumes\":{\"/c\":{}}\nlink 0777 0:0 c -> etc/app\ndir 0755 0:0 etc/app",
        "\"Volumes\":{\"/c\":{}}\nlink 0777 0:0 c -> srv\ndir 0755 0:0 srv",
    ),
    (35, "\n0640 0:0 etc/shadow = root:$6$x$y:1:0:9:7:::", "\n0640 0:0 etc/shadow = root:!$6$x$y:1:0:9:7:::"),
    (53, r#""Env":["X=Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI"]"#, r#""Env":["X_SHA256=Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdI"]"#),
    (
        53,
        "\n0600 0:0 .env = DB_PASSWORD=hunter2\n--\n0600 0:0 .env = DB_PASSWORD=",
        "\n0600 0:0 .env = DB_PASSWORD=$X\n--\n0600 0:0 .env = DB_PASSWORD=",
    ),
    (
        53,
        "\n0600 0:0 root/.docker/config.json = {\"auths\":{\"x\":{\"auth\":\"eA==\"}}}",
        "\n0600 0:0 root/.docker/config.json = {\"auths\":{}}",
    ),
    (53, "\n0600 0:0 app/store.p12 = x", "\n0600 0:0 app/store.p = x"),
    (58, "\n0755 0:0 tmp/x", "\n0644 0:0 tmp/x"),
    (
        58,
        "\"Cmd\":[\"/e.sh\"]\n0755 0:0 e.sh = #!/bin/sh~x -o stratum+tcp://pool:1",
        "\"Cmd\":[\"/e.sh\"]\n0755 0:0 e.sh = #!/bin/sh~x -o tcp://pool:1",
    ),
    (
        58,
        "}, \"rootfs\":{\"diff_ids\":[\"a\",\"b\"]},\"history\":[{\"created_by\":\"x\"}],\"y\":{",
        "}, \"rootfs\":{\"diff_ids\":[\"a\"]},\"history\":[{\"created_by\":\"x\"},{\"empty_layer\":true}],\"y\":{",
    ),
    (
        27,
        "\"User\":\"5:5\",\"WorkingDir\":\"/w\"\ndir 0700 0:0 w",
        "\"User\":\"5:5\",\"WorkingDir\":\"/w\"\ndir 0755 0:0 w",
    ),
    (28, r#""WorkingDir":"/proc/x""#, r#""WorkingDir":"/x""#),
    (29, "\n0755 0:0 usr/sbin/sshd", "\n0755 0:0 usr/sbin/app"),
    (31, "\n0755 0:0 bin/ping cap", "\n0755 0:0 bin/ping"),
    (32, r#""Cmd":["supervisord"]"#, r#""Cmd":["app"]"#),
    (33, "\n4755 0:0 bin/su", "\n0755 0:0 bin/su"),
    (34, "\n4755 0:0 usr/bin/sudo", "\n0755 0:0 usr/bin/less"),
    (34, "\n0440 0:0 etc/sudoers.d/x = app ALL=(ALL) NOPASSWD: ALL", "\n0440 0:0 etc/sudoers.d/x = # NOPASSWD"),
    (35, "\n0640 0:0 etc/shadow = root::1:0:9:7:::", "\n0640 0:0 etc/shadow = root:*:1:0:9:7:::"),
    (36, "\n0757 0:0 usr/bin/x", "\n0755 0:0 usr/bin/x"),
    (
        36,
        "\"User\":\"5:5\",\"Cmd\":[\"/app/x\"]\n0755 5:5 app/x",
        "\"User\":\"5:5\",\"Cmd\":[\"/app/x\"]\n0755 0:0 app/x",
    ),
    (
        37,
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~pip install x",
        "\"Entrypoint\":[\"/e\"]\n0755 0:0 e = #!/bin/sh~x",
    ),
    (41, "\n0755 0:0 usr/bin/gcc", "\n0755 0:0 usr/bin/x"),
    (
        42,
        "},\"history\":[{\"created_by\":\"/bin/sh -c apt-get update\"}],\"y\":{",
        "},\"history\":[{\"created_by\":\"RUN /bin/sh -c apt-get update && apt-get install -y x # buildkit\"}],\"y\":{",
    ),
    (
        50,
        r#""Labels":{"org.opencontainers.image.base.name":"debian:12"}"#,
        r#""Labels":{"org.opencontainers.image.base.name":"debian:12","org.opencontainers.image.base.digest":"sha256:0"}"#,
    ),
    (45, "\n0644 0:0 var/cache/apt/archives/x.deb = x", "\n0644 0:0 var/cache/apt/archives/lock"),
    (
        47,
        "\n0644 0:0 etc/apt/sources.list = deb [trusted=yes] http://x y z",
        "\n0644 0:0 etc/apt/sources.list = deb http://x y z",
    ),
    (53, r#""Env":["DB_PASSWORD=hunter2"]"#, r#""Env":["PATH=/bin"]"#),
    (
        53,
        "\n0600 0:0 k.pem = -----BEGIN PRIVATE KEY-----~x\n--\n0644 0:0 .wh.k.pem",
        "\n0600 0:0 k.pem = -----BEGIN CERTIFICATE-----~x",
    ),
    (54, "\n0644 0:0 app/.env = x", "\n0644 0:0 app/env = x"),
    (
        55,
        "\n0644 0:0 etc/os-release = ID=debian~VERSION_ID=\"9\"",
        "\n0644 0:0 etc/os-release = ID=debian~VERSION_ID=\"99\"",
    ),
    (56, "\n0755 0:0 bin/x", "\n0755 0:0 bin/x\n0644 0:0 lib/apk/db/installed = x"),
    (57, "", r#""Healthcheck":{"Test":["CMD","x"]}"#),
    (58, "\n0755 0:0 opt/xmrig", "\n0755 0:0 opt/x"),
];

/// Makes an image of a case.
pub fn image(text: &str) -> Image {
    let (config, files) = text.split_once('\n').unwrap_or((text, ""));
    // A name instead of a configuration.
    let (config, reference) = match config.strip_prefix('#') {
        Some(name) => ("", Some(name.to_owned())),
        None => (config, None),
    };
    let config = format!("{{\"config\":{{{config}}}}}");
    let mut made = Image {
        name: "case".to_owned(),
        reference,
        config: serde_json::from_str(&config).unwrap(),
        has_files: true,
        ..Image::default()
    };
    let mut layer = 0;
    for line in files.lines() {
        if line == "--" {
            layer += 1;
            continue;
        }
        let (line, content) = match line.split_once(" = ") {
            Some((line, content)) => (line, Some(content.replace('~', "\n").into_bytes())),
            None => (line, None),
        };
        let (line, link) = line.split_once(" -> ").unwrap_or((line, ""));
        let (kind, rest) = match (line.strip_prefix("dir "), line.strip_prefix("link ")) {
            (Some(rest), _) => (EntryKind::Directory, rest),
            (_, Some(rest)) => (EntryKind::Symlink, rest),
            _ => (EntryKind::File, line),
        };
        let words: Vec<&str> = rest.split(' ').collect();
        let (uid, gid) = words[1].split_once(':').unwrap();
        let entry = Entry {
            path: words[2].into(),
            kind,
            mode: u32::from_str_radix(words[0], 8).unwrap(),
            uid: uid.parse().unwrap(),
            gid: gid.parse().unwrap(),
            size: content.as_ref().map_or(0, |content: &Vec<u8>| content.len() as u64),
            link: link.into(),
            attributes: words[3..].iter().map(|_| b"security.capability".to_vec()).collect(),
        };
        made.apply(layer, entry, content);
    }
    made
}

#[test]
fn cases_of_images() {
    CASES.iter().for_each(|case| check(case, &|text| Auditor::default().image_facts(&image(text))));
}

/// What bryo itself makes of an image, and what official images do, is no way back to root.
#[test]
fn who_is_not_root_and_drops_nothing_has_no_way_back() {
    let found = |text: &str| super::numbers(&Auditor::default().image_facts(&image(text)));
    let user = "\"User\":\"5:5\",\"Entrypoint\":[\"ep\"],\"Env\":[\"PATH=/usr/local/lib/bryo:/usr/local/bin\"]\n";
    let entry = "0755 0:0 usr/local/bin/ep = #!/bin/sh~chown -R a /data~exec gosu a b\n";
    let drops = "0755 0:0 usr/local/bin/ep = #!/bin/sh~exec gosu a b\n";
    let shim = bryo_engine::harden::shim("gosu").unwrap().replace('\n', "~");
    let hardened = found(&format!("{user}{drops}0755 0:0 usr/local/lib/bryo/gosu = {shim}\n"));
    assert!([13, 24, 25].iter().all(|rule| !hardened.contains(rule)), "{hardened:?}");
    // Where it lies makes nothing harmless.
    let other = found(&format!("{user}{drops}0755 0:0 usr/local/lib/bryo/gosu = {shim}b~\n"));
    assert!(other.contains(&25), "{other:?}");
    let plain = found(&format!("{user}{entry}0755 0:0 usr/local/bin/gosu"));
    assert!(plain.contains(&25) && !plain.contains(&13), "{plain:?}");
    assert!(found(&format!("{user}{entry}4755 0:0 usr/local/bin/gosu")).contains(&13));
    let guarded = "0755 0:0 usr/local/bin/ep = #!/bin/sh~if [ \"$(id -u)\" = 0 ]; then~ exec gosu a \"$0\"~fi~exec b\n";
    let official = found(&format!("{user}{guarded}"));
    assert!([13, 24, 25].iter().all(|rule| !official.contains(rule)), "{official:?}");
}
