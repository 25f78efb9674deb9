// SPDX-License-Identifier: Apache-2.0
use std::fs;
use std::path::Path;

use super::*;
use crate::tree::Limits;

fn write(root: &Path, path: &str, text: &str) {
    fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    fs::write(root.join(path), text).unwrap();
}

fn of(root: &Path) -> Scan {
    scan(&Tree::open(root, Limits::default()).unwrap(), false).unwrap()
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.items.iter().map(|item| format!("{}@{}", item.package.name, item.package.version)).collect()
}

const STATUS: &str = "Package: a\nStatus: install ok installed\nVersion: 1\nDepends: b\n\n\
    Package: b\nStatus: install ok installed\nVersion: 2\n";

#[test]
fn an_upper_layer_replaces_adds_and_hides() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    write(&lower, "var/lib/dpkg/status", STATUS);
    write(&lower, "usr/lib/os-release", "ID=debian\nVERSION_ID=12\n");
    write(&lower, "app/node_modules/m/package.json", r#"{"name":"m","version":"1.0.0"}"#);
    write(&lower, "opt/node_modules/n/package.json", r#"{"name":"n","version":"1.0.0"}"#);
    write(&upper, "var/lib/dpkg/status", &STATUS.replace("Version: 2", "Version: 3"));
    write(&upper, "app/node_modules/k/package.json", r#"{"name":"k","version":"1.0.0"}"#);
    // A file where a directory was hides all that was in it, as a whiteout does.
    write(&upper, "opt/node_modules", "");
    let both = merge(&[of(&lower), of(&upper)]);
    assert_eq!(names(&both), ["a@1", "b@3", "k@1.0.0", "m@1.0.0"]);
    assert_eq!(both.relations[0], [1]);
    assert_eq!(both.distro.as_ref().unwrap().tag(), "debian-12");
    assert_eq!(names(&merge(&[of(&lower)])), ["a@1", "b@2", "m@1.0.0", "n@1.0.0"]);
}

#[test]
fn one_broken_file_is_named_and_the_rest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "var/lib/dpkg/status", STATUS);
    write(dir.path(), "x/node_modules/bad/package.json", "{");
    write(dir.path(), "var/lib/rpm/rpmdb.sqlite", "garbage");
    let found = inventory(&Tree::open(dir.path(), Limits::default()).unwrap(), false).unwrap();
    assert_eq!(names(&found), ["a@1", "b@2"]);
    let paths: Vec<&str> = found.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["var/lib/rpm/rpmdb.sqlite", "x/node_modules/bad/package.json"]);
    assert!(found.problems[0].why.contains("no database of sqlite"), "{:?}", found.problems);
}

#[test]
fn what_lies_in_a_databases_place_and_is_no_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    write(&lower, "app/node_modules/m/package.json", r#"{"name":"m","version":"1.0.0"}"#);
    for (path, kind) in [("var/lib/dpkg/status", FileType::Fifo), ("x/node_modules/n/package.json", FileType::Socket)] {
        fs::create_dir_all(lower.join(path).parent().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, lower.join(path), kind, rustix::fs::Mode::RUSR, 0).unwrap();
    }
    fs::create_dir_all(lower.join("lib/apk/db")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", lower.join("lib/apk/db/installed")).unwrap();
    fs::create_dir_all(lower.join("var/lib/rpm/rpmdb.sqlite")).unwrap();
    // Where a link is as good as any: it is no database.
    fs::create_dir_all(lower.join("etc")).unwrap();
    std::os::unix::fs::symlink("../usr/lib/os-release", lower.join("etc/os-release")).unwrap();
    let found = merge(&[of(&lower)]);
    assert_eq!(names(&found), ["m@1.0.0"]);
    let told: Vec<String> = found.problems.iter().map(|problem| problem.why.clone()).collect();
    let expected = [
        "read lib/apk/db/installed: it is a link, which is not followed",
        "read var/lib/dpkg/status: it is a pipe",
        "read var/lib/rpm/rpmdb.sqlite: it is a directory",
        "read x/node_modules/n/package.json: it is a socket",
    ];
    assert_eq!(told, expected);
    // What an upper layer mends is none any more.
    write(&upper, "var/lib/dpkg/status", STATUS);
    write(&upper, "x", "");
    let both = merge(&[of(&lower), of(&upper)]);
    assert_eq!(names(&both), ["a@1", "b@2", "m@1.0.0"]);
    assert_eq!(both.problems.len(), 2, "{:?}", both.problems);
}

#[test]
fn what_a_distribution_brings_is_known_as_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = "Name: six\nVersion: 1.16.0\n";
    write(dir.path(), "var/lib/dpkg/status", STATUS);
    write(dir.path(), "var/lib/dpkg/info/python3-six.list", "/.\n/usr/lib/python3/dist-packages/six.egg-info\n");
    write(dir.path(), "usr/lib/python3/dist-packages/six.egg-info", metadata);
    write(dir.path(), "usr/local/lib/python3/dist-packages/x.dist-info/METADATA", "Name: x\nVersion: 1\n");
    let found = inventory(&Tree::open(dir.path(), Limits::default()).unwrap(), false).unwrap();
    let owned: Vec<(&str, bool)> = found.items.iter().map(|i| (i.package.name.as_str(), i.owned)).collect();
    assert_eq!(owned, [("a", false), ("b", false), ("six", true), ("x", false)]);
}

#[test]
fn a_lock_counts_where_modules_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let lock = r#"{"packages":{"node_modules/a":{"version":"1.0.0"}}}"#;
    write(dir.path(), "bare/package-lock.json", lock);
    assert_eq!(names(&merge(&[of(dir.path())])), ["a@1.0.0"]);
    fs::create_dir_all(dir.path().join("bare/node_modules")).unwrap();
    assert!(merge(&[of(dir.path())]).is_unscannable());
}
