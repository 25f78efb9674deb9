// SPDX-License-Identifier: Apache-2.0
//! `sbom`: what is installed in images, containers and directories.

use std::collections::BTreeSet;
use std::fs;

use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::program::tool;
use bryo_tests::tar::Tar;
use bryo_tests::{Detached, Home, User, images, skip};
use serde_json::{Value, json};

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.11-1\n\
    Source: openssl\n\nPackage: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.88.1-10\n\
    Depends: libssl3 (>= 3.0.0)\n";

/// A layer with a distribution of two packages.
fn base() -> Vec<u8> {
    Tar::default()
        .dir("etc/", 0o755)
        .file("etc/os-release", 0o644, b"ID=debian\nVERSION_ID=\"12\"\n")
        .dir("var/", 0o755)
        .dir("var/lib/", 0o755)
        .dir("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o600, STATUS.as_bytes())
        .dir("app/", 0o755)
        .dir("app/node_modules/", 0o755)
        .dir("app/node_modules/old/", 0o755)
        .file("app/node_modules/old/package.json", 0o644, br#"{"name":"old","version":"1.0.0"}"#)
        .finish()
}

/// A layer that replaces one package, adds one and removes one.
fn upper() -> Vec<u8> {
    Tar::default()
        .dir("app/", 0o755)
        .dir("app/node_modules/", 0o755)
        .file("app/node_modules/.wh.old", 0o644, b"")
        .dir("app/node_modules/new/", 0o755)
        .file("app/node_modules/new/package.json", 0o644, br#"{"name":"new","version":"2.0.0"}"#)
        .file("var/lib/dpkg/status", 0o600, STATUS.replace("7.88.1-10", "7.88.1-11").as_bytes())
        .finish()
}

/// Makes an image of layers in a home.
pub fn load(home: &Home, name: &str, layers: Vec<Vec<u8>>) {
    let file = home.path.join("image.tar");
    let config = json!({"Env": [images::path()], "Cmd": ["sh"]});
    Image::new(name, layers, config).archive(&file);
    home.load(&file);
}

fn names(document: &Value) -> BTreeSet<String> {
    let components = document["components"].as_array().unwrap();
    components.iter().map(|c| format!("{}@{}", c["name"].as_str().unwrap(), c["version"].as_str().unwrap())).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn layers_make_up_one_list_and_are_looked_at_once() {
    for user in User::all() {
        let home = Home::new(&user);
        load(&home, "localhost/base:1", vec![busybox_layer(), base()]);
        load(&home, "localhost/app:1", vec![busybox_layer(), base(), upper()]);
        let list = |image: &str| home.bryo(&["sbom", "-o", "cyclonedx-json", image]).json();
        assert_eq!(names(&list("localhost/base:1")), set(["libssl3@3.0.11-1", "curl@7.88.1-10", "old@1.0.0"]));
        let cache = home.store().join("packages");
        let kept = || fs::read_dir(&cache).unwrap().flatten().map(|e| e.file_name()).collect::<BTreeSet<_>>();
        let before = kept();
        assert_eq!(before.len(), 2);
        let app = list("localhost/app:1");
        let expected = set(["libssl3@3.0.11-1", "curl@7.88.1-11", "new@2.0.0"]);
        assert_eq!(names(&app), expected);
        // Only its own layer is new, and from what is kept the list is the same.
        assert_eq!(kept().difference(&before).count(), 1);
        assert_eq!(names(&list("localhost/app:1")), expected);
        // Damage costs a second look and nothing else.
        for file in kept() {
            fs::write(cache.join(file), b"damaged").unwrap();
        }
        assert_eq!(names(&list("localhost/app:1")), expected);
        let curl = app["components"].as_array().unwrap().iter().find(|c| c["name"] == "curl").unwrap();
        assert_eq!(curl["purl"], "pkg:deb/debian/curl@7.88.1-11?arch=amd64&distro=debian-12");
        assert_eq!(curl["evidence"]["occurrences"][0]["location"], "/var/lib/dpkg/status");
        let needs = app["dependencies"].as_array().unwrap().iter().find(|d| d["ref"] == curl["bom-ref"]).unwrap();
        assert_eq!(needs["dependsOn"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_container_is_listed_as_it_is_now_whether_it_runs_or_not() {
    for user in User::all() {
        let home = Home::new(&user);
        load(&home, "localhost/base:1", vec![busybox_layer(), base()]);
        let name = "sbom-now";
        let container =
            Detached::run(&home, name, &["--writable", "--user", "root", "localhost/base:1", "sleep", "300"]);
        let list = || names(&home.bryo(&["sbom", "-o", "cyclonedx-json", name]).json());
        let before = list();
        assert!(before.contains("curl@7.88.1-10") && before.contains("old@1.0.0"), "{before:?}");
        let script = "mkdir -p /app/node_modules/late && rm -r /app/node_modules/old && \
            echo '{\"name\":\"late\",\"version\":\"3.0.0\"}' > /app/node_modules/late/package.json";
        container.exec(&["sh", "-c", script]).ok();
        let expected = set(["libssl3@3.0.11-1", "curl@7.88.1-10", "late@3.0.0"]);
        assert_eq!(list(), expected);
        home.bryo(&["stop", "-t", "0", name]).ok();
        assert_eq!(list(), expected);
        // The image has not changed.
        assert!(names(&home.bryo(&["sbom", "-o", "cyclonedx-json", "localhost/base:1"]).json()).contains("old@1.0.0"));
    }
}

#[test]
fn a_directory_is_read_without_following_links_out_of_it() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    let dir = home.mkdir("tree/var/lib/dpkg");
    home.write("tree/var/lib/dpkg/status", STATUS);
    let outside = home.mkdir("outside/node_modules/secret");
    home.write("outside/node_modules/secret/package.json", r#"{"name":"secret","version":"1.0.0"}"#);
    std::os::unix::fs::symlink(outside.parent().unwrap(), dir.join("node_modules")).unwrap();
    home.write("tree/a/node_modules/broken/package.json", "{");
    let tree = home.path.join("tree");
    let output = home.bryo(&["sbom", tree.to_str().unwrap()]);
    assert!(output.ok().contains("libssl3"));
    assert!(!output.text().contains("secret"), "{}", output.text());
    assert!(output.stderr.contains("/a/node_modules/broken/package.json: "), "{}", output.stderr);
    let empty = home.mkdir("empty");
    let output = home.bryo(&["sbom", empty.to_str().unwrap()]);
    assert!(output.stderr.contains("what is in it is unknown"), "{}", output.stderr);
    home.bryo(&["sbom", "no-such"]).fails(125, &["no such container or image"]);
}

/// The packages of a real distribution, against its own tool.
#[test]
fn dpkg_and_we_see_the_same_packages() {
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    if !skip::have("dpkg-query") {
        return;
    }
    let format = "${db:Status-Status} ${Package} ${Version}\n";
    let theirs = tool("dpkg-query", &["--showformat", format, "--show"]);
    let installed = theirs.lines().filter_map(|line| line.strip_prefix("installed "));
    let theirs: BTreeSet<String> = installed.map(|line| line.replace(' ', "@")).collect();
    let dir = home.mkdir("host/var/lib/dpkg");
    fs::copy("/var/lib/dpkg/status", dir.join("status")).unwrap();
    let root = home.path.join("host");
    let ours = names(&home.bryo(&["sbom", "-o", "cyclonedx-json", root.to_str().unwrap()]).json());
    assert!(ours.len() > 100);
    assert_eq!(ours, theirs);
}

/// Both forms, by the schemas that their makers publish, as Python's libraries carry them.
#[test]
fn documents_are_as_the_official_schemas_have_them() {
    let script = "import sys\nfrom cyclonedx.validation.json import JsonStrictValidator\n\
        from cyclonedx.schema import SchemaVersion\n\
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        assert error is None, error\n\
        from spdx_tools.spdx.parser.parse_anything import parse_file\n\
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document\n\
        errors = validate_full_spdx_document(parse_file(sys.argv[2]))\nassert not errors, errors\nprint('valid')";
    let python = std::env::var("BRYO_TEST_SBOM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let libraries =
        std::process::Command::new(&python).args(["-c", "import cyclonedx, spdx_tools, jsonschema"]).output();
    if !libraries.is_ok_and(|output| output.status.success()) {
        return skip::skip("Python has no cyclonedx-python-lib[json-validation] and spdx-tools");
    }
    let Some(user) = User::ordinary() else { return };
    let home = Home::new(&user);
    load(&home, "localhost/app:1", vec![busybox_layer(), base(), upper()]);
    for (format, file) in [("cyclonedx-json", "c.cdx.json"), ("spdx-json", "s.spdx.json")] {
        let text = home.bryo(&["sbom", "--files", "-o", format, "localhost/app:1"]).ok();
        home.write(file, text);
    }
    let path = |name: &str| home.path.join(name).display().to_string();
    let check = |first: &str| {
        std::process::Command::new(&python).args(["-c", script, first, &path("s.spdx.json")]).output().unwrap()
    };
    let output = check(&path("c.cdx.json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // And one that is wrong is refused.
    home.write("wrong.json", fs::read_to_string(path("c.cdx.json")).unwrap().replace("\"library\"", "\"thing\""));
    assert!(!check(&path("wrong.json")).status.success());
}
