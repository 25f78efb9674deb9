// SPDX-License-Identifier: Apache-2.0
//! rpm's databases, against rpm itself: packages are built, installed into a database, and read by both.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use bryo_packages::inventory::{Inventory, inventory};
use bryo_packages::tree::{Limits, Tree};
use bryo_tests::skip::have;

const SPEC: &str = "Name: one\nVersion: 1.2\nRelease: 3.el9\nEpoch: 2\nSummary: x\nLicense: MIT\nBuildArch: noarch\n\
    Requires: two >= 1\n%description\nx\n%package -n two\nSummary: y\n%description -n two\ny\n\
    %install\nmkdir -p %{buildroot}/opt/one/node_modules/m; echo '{}' > %{buildroot}/opt/one/node_modules/m/package.json\n\
    for n in $(seq 300); do echo hi > %{buildroot}/opt/one/file-with-a-long-name-$n; done\n\
    %files\n/opt/one\n%files -n two\n";

fn run(program: &str, arguments: &[&str], dir: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds two packages and installs them into a database of the form that rpm writes.
fn database(dir: &Path) -> bool {
    if !have("rpmbuild") || !have("rpm") {
        return false;
    }
    fs::write(dir.join("one.spec"), SPEC).unwrap();
    let top = format!("_topdir {}", dir.join("top").display());
    run("rpmbuild", &["-bb", "--define", &top, "one.spec"], dir);
    let db = dir.join("tree/var/lib/rpm");
    fs::create_dir_all(&db).unwrap();
    let db = db.display().to_string();
    run("rpm", &["--dbpath", &db, "--initdb"], dir);
    for name in ["two", "one"] {
        let file = format!("top/RPMS/noarch/{name}-1.2-3.el9.noarch.rpm");
        let install = ["--dbpath", &db, "-i", "--justdb", "--nodeps", "--ignoreos", "--force-debian", &file];
        run("rpm", &install, dir);
    }
    true
}

fn read(root: &Path) -> Inventory {
    inventory(&Tree::open(root, Limits::default()).unwrap(), true).unwrap()
}

fn lines(found: &Inventory) -> Vec<String> {
    let line = |item: &bryo_packages::inventory::Item| {
        let package = &item.package;
        format!("{} {} {}", package.name, package.version, package.arch.as_deref().unwrap_or_default())
    };
    found.items.iter().map(line).collect()
}

#[test]
fn rpm_and_we_see_the_same_packages() {
    let dir = tempfile::tempdir().unwrap();
    if !database(dir.path()) {
        return;
    }
    let found = read(&dir.path().join("tree"));
    let db = dir.path().join("tree/var/lib/rpm").display().to_string();
    let format = "%{NAME} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE} %{ARCH}\\n";
    let mut expected: Vec<String> =
        run("rpm", &["--dbpath", &db, "-qa", "--qf", format], dir.path()).lines().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(expected.len(), 2);
    assert_eq!(lines(&found), expected);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.relations, [vec![1], vec![]]);
    let files = run("rpm", &["--dbpath", &db, "-ql", "one"], dir.path());
    let mut expected: Vec<&str> = files.lines().collect();
    let mut ours: Vec<&str> = found.items[0].package.files.iter().map(String::as_str).collect();
    expected.sort_unstable();
    ours.sort_unstable();
    assert!(ours.len() > 300);
    assert_eq!(ours, expected);
}

/// A database in the older form, with the same headers, made by Berkeley DB's own tool.
#[test]
fn the_form_of_berkeley_db_has_the_same_packages() {
    let dir = tempfile::tempdir().unwrap();
    if !have("db_load") || !have("python3") || !database(dir.path()) {
        return;
    }
    let script = "import sqlite3\n\
        print('VERSION=3\\nformat=bytevalue\\ntype=hash\\ndb_pagesize=4096\\nHEADER=END')\n\
        print(' 00000000\\n ff000000')\n\
        for n, blob in sqlite3.connect('tree/var/lib/rpm/rpmdb.sqlite').execute('select hnum, blob from Packages'):\n \
            print(' ' + n.to_bytes(4, 'little').hex())\n print(' ' + blob.hex())\nprint('DATA=END')";
    let dump = run("python3", &["-c", script], dir.path());
    fs::write(dir.path().join("dump"), dump).unwrap();
    let db = dir.path().join("older/var/lib/rpm");
    fs::create_dir_all(&db).unwrap();
    run("db_load", &["-f", "dump", &db.join("Packages").display().to_string()], dir.path());
    let (newer, older) = (read(&dir.path().join("tree")), read(&dir.path().join("older")));
    assert!(older.problems.is_empty(), "{:?}", older.problems);
    assert_eq!(lines(&older), lines(&newer));
    assert_eq!(older.items[0].package.files, newer.items[0].package.files);
}

/// What was committed is in the log alone until somebody moves it.
#[test]
fn what_is_in_the_log_counts() {
    let dir = tempfile::tempdir().unwrap();
    if !have("python3") || !database(dir.path()) {
        return;
    }
    let script = "import sqlite3, shutil, os\np = 'tree/var/lib/rpm/rpmdb.sqlite'\n\
        c = sqlite3.connect(p)\nc.execute('pragma journal_mode=wal')\nc.execute('pragma wal_autocheckpoint=0')\n\
        c.execute('delete from Packages where hnum = (select min(hnum) from Packages)')\nc.commit()\n\
        d = 'copy/var/lib/rpm'\nos.makedirs(d)\n\
        for end in ['', '-wal']:\n shutil.copy(p + end, d)\n\
        print(os.path.getsize(p + '-wal'))";
    let size: u64 = run("python3", &["-c", script], dir.path()).trim().parse().unwrap();
    assert!(size > 0);
    let copy = dir.path().join("copy");
    assert_eq!(lines(&read(&copy)).len(), 1);
    // Without the log the package is still there.
    fs::remove_file(copy.join("var/lib/rpm/rpmdb.sqlite-wal")).unwrap();
    assert_eq!(lines(&read(&copy)).len(), 2);
}
