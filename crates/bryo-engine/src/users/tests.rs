// SPDX-License-Identifier: Apache-2.0
//! Tables of who becomes whom.

use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
1000:x:0:0:a number for a name:/evil:/bin/sh\n\
postgres:x:101:103:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n\
toor:x:0:0::/root:/bin/sh\n\
nohome:x:7:7\n\
climber:x:8:8::/home/../../etc:sh\n";
const GROUP: &str =
    "root:x:0:\nssl-cert:x:104:postgres\npostgres:x:103:\n2000:x:0:postgres\nvideo:x:44:daemon,postgres\n";

fn accounts() -> Accounts {
    Accounts::parse(PASSWD.as_bytes(), GROUP.as_bytes())
}

fn user(caller: Option<&str>, image: Option<&str>, accounts: &Accounts) -> Result<User> {
    resolve(&Wanted::decide(caller, image, false)?, &[], accounts)
}

fn ids(user: &User) -> (u32, u32, Vec<u32>) {
    (user.uid.get(), user.gid.get(), user.groups.iter().map(|g| g.get()).collect())
}

#[test]
fn users_are_found_by_name_and_number() {
    let accounts = accounts();
    for (spec, expected, name, home) in [
        ("root", (0, 0, vec![]), "root", "/root"),
        ("0", (0, 0, vec![]), "root", "/root"),
        ("postgres", (101, 103, vec![0, 44, 104]), "postgres", "/var/lib/postgresql"),
        ("101", (101, 103, vec![0, 44, 104]), "postgres", "/var/lib/postgresql"),
        ("postgres:video", (101, 44, vec![]), "postgres", "/var/lib/postgresql"),
        ("101:7", (101, 7, vec![]), "postgres", "/var/lib/postgresql"),
        ("nohome", (7, 7, vec![]), "nohome", "/"),
        ("climber", (8, 8, vec![]), "climber", "/"),
        // Digits are ids: neither the account nor the group of that name is meant.
        ("1000", (1000, 1000, vec![]), "user1000", "/home/user1000"),
        ("1000:2000", (1000, 2000, vec![]), "user1000", "/home/user1000"),
        ("4294967294", (4_294_967_294, 4_294_967_294, vec![]), "user4294967294", "/home/user4294967294"),
        ("nonroot", (65532, 65532, vec![]), "nonroot", "/home/nonroot"),
        ("65532", (65532, 65532, vec![]), "nonroot", "/home/nonroot"),
    ] {
        let found = user(Some(spec), None, &accounts).unwrap();
        assert_eq!((ids(&found), found.name.as_str(), found.home.to_str().unwrap()), (expected, name, home), "{spec}");
    }
}

#[test]
fn what_is_no_user_is_an_error() {
    for bad in ["", ":", "a:", ":a", "0:", "4294967295", "99999999999999999999", "a b", "a:b:c", "a\n", "1:4294967295"]
    {
        assert_eq!(UserSpec::parse(bad).unwrap_err().kind(), Kind::InvalidOption, "{bad:?}");
    }
    for unknown in ["nobody-here", "root:nobody-here", "-1", "+1", "0x0", "1e3", "postgres:0x0"] {
        assert_eq!(user(Some(unknown), None, &accounts()).unwrap_err().kind(), Kind::UnknownUser, "{unknown:?}");
    }
    let error = user(Some("ghost"), None, &accounts()).unwrap_err().to_string();
    assert!(error.contains("\"ghost\"") && error.contains("use a number"), "{error}");
}

#[test]
fn nobody_becomes_root_without_the_word() {
    let accounts = accounts();
    for image in
        [None, Some(""), Some(" "), Some("root"), Some("0"), Some("0:0"), Some("root:root"), Some("000"), Some("toor")]
    {
        let found = user(None, image, &accounts).unwrap();
        assert_eq!((ids(&found), found.replaces_root), ((65532, 65532, vec![]), true), "{image:?}");
    }
    let found = user(None, Some("postgres"), &accounts).unwrap();
    assert_eq!((found.uid.get(), found.replaces_root), (101, false));
    let found = user(Some("nonroot"), Some("postgres"), &accounts).unwrap();
    assert_eq!((found.uid.get(), found.replaces_root), (65532, false));
    // Whom the caller puts in the place of the image's root stands in for it, but root itself.
    for (caller, image, replaces) in [
        ("5000", None, true),
        ("postgres", Some("root"), true),
        ("root", None, false),
        ("5000", Some("postgres"), false),
    ] {
        assert_eq!(user(Some(caller), image, &accounts).unwrap().replaces_root, replaces, "{caller} {image:?}");
    }
    // The image's word does not matter once there is another.
    assert!(user(Some("5"), Some(":::"), &accounts).is_ok());
    assert_eq!(user(None, Some(":::"), &accounts).unwrap_err().kind(), Kind::InvalidOption);
}

#[test]
fn docker_s_default_can_be_had() {
    for image in [None, Some("root"), Some("0")] {
        let wanted = Wanted::decide(None, image, true).unwrap();
        let found = resolve(&wanted, &[], &accounts()).unwrap();
        assert_eq!((found.uid, found.replaces_root), (InsideId::ROOT, false), "{image:?}");
    }
}

#[test]
fn an_image_s_own_nonroot_keeps_its_ids_unless_they_are_root_s() {
    let own = Accounts::parse(b"nonroot:x:1234:1235::/srv/n:/bin/ash\n", b"");
    assert_eq!(ids(&user(None, None, &own).unwrap()), (1234, 1235, vec![]));
    let evil = Accounts::parse(b"nonroot:x:0:0::/root:/bin/sh\n", b"");
    let found = user(None, None, &evil).unwrap();
    assert_eq!((ids(&found), found.name.as_str()), ((65532, 65532, vec![]), "nonroot_"));
    let other = Accounts::parse(b"app:x:65532:65532::/app:/bin/sh\n", b"");
    assert_eq!(user(None, None, &other).unwrap().name, "app");
}

#[test]
fn root_is_a_number_whatever_the_file_says() {
    let evil = Accounts::parse(b"root:x:1000:1000::/home/x:/bin/sh\nadmin:x:0:5::/a:/bin/sh\n", b"");
    assert_eq!(user(Some("root"), None, &evil).unwrap().uid, InsideId::ROOT);
    let none = Accounts::default();
    let found = user(Some("root"), None, &none).unwrap();
    assert_eq!((ids(&found), found.name.as_str(), found.home.to_str()), ((0, 0, vec![]), "root", Some("/root")));
    assert_eq!(user(Some("root:root"), None, &none).unwrap().gid, InsideId::ROOT);
}

#[test]
fn only_an_image_s_unknown_number_has_the_group_of_root_beside_its_own() {
    assert_eq!(ids(&user(None, Some("1001"), &accounts()).unwrap()), (1001, 1001, vec![0]));
    assert_eq!(ids(&user(Some("1001"), None, &accounts()).unwrap()), (1001, 1001, vec![]));
    assert_eq!(ids(&user(None, Some("1001:1001"), &accounts()).unwrap()), (1001, 1001, vec![]));
}

#[test]
fn more_groups_are_looked_up_too() {
    let wanted = Wanted::decide(Some("5000"), None, false).unwrap();
    let found = resolve(&wanted, &["video".into(), "7".into(), "7".into(), "5000".into()], &accounts()).unwrap();
    assert_eq!(ids(&found), (5000, 5000, vec![7, 44]));
    assert_eq!(resolve(&wanted, &["ghosts".into()], &accounts()).unwrap_err().kind(), Kind::UnknownUser);
    assert_eq!(resolve(&wanted, &[String::new()], &accounts()).unwrap_err().kind(), Kind::InvalidOption);
}

#[test]
fn numbers_are_expected_before_the_image_is_looked_at() {
    let expected = |text| {
        let ids = Wanted::decide(Some(text), None, false).unwrap().expected();
        (ids.uid.get(), ids.gid.get())
    };
    assert_eq!(expected("70000"), (70000, 70000));
    assert_eq!(expected("70000:80000"), (70000, 80000));
    assert_eq!(expected("postgres"), (65532, 65532));
}

#[test]
fn garbage_is_passed_over() {
    let mut passwd =
        b"\xff\xfe:x:0:0::/:/bin/sh\n::::::\nx:x:4294967295:0::/:/\nx:x:-1:0::/:/\n+::::::\n\0\0\0\n#y:x:1:1::/:/\n\
esc\x1b[31m:x:9:9::/:/\ncr:x:9:9::/:/bin/sh\r\n"
            .to_vec();
    passwd.extend_from_slice(&[b':'; 5000]);
    passwd.extend_from_slice(b"\nlast:x:9:9:::");
    let accounts = Accounts::parse(&passwd, &passwd);
    for name in ["x", "y", "+", "cr", ""] {
        assert_eq!(accounts.by_name(name), None, "{name}");
    }
    assert_eq!(accounts.by_name("last").unwrap().uid.get(), 9);
    assert_eq!(accounts.by_uid(InsideId::ROOT), None);
}
