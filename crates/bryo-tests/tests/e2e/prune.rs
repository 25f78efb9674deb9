// SPDX-License-Identifier: Apache-2.0
//! Giving space back, seeing where it is, and finding out whether everything is there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bryo_tests::images::{self, BUSYBOX};
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::pty::Terminal;
use bryo_tests::tar::Tar;
use bryo_tests::{Detached, Home, User};
use serde_json::json;

fn home(user: &User) -> Home {
    let home = Home::new(user);
    home.load(&images::busybox());
    home
}

/// Loads an image of one small layer, which differs by its text.
fn load(home: &Home, name: &str, text: &str) {
    let layers = vec![busybox_layer(), Tar::default().file("text", 0o644, text.as_bytes()).finish()];
    let file = home.path.join("image.tar");
    Image::new(name, layers, json!({"Cmd": ["sh"], "Env": [images::path()]})).archive(&file);
    home.load(&file);
    fs::remove_file(file).unwrap();
}

/// What lies in a directory, in bytes of real blocks.
fn blocks(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let below = entries.map(|entry| {
        let meta = entry.metadata().unwrap();
        meta.blocks() * 512 + if meta.is_dir() { blocks(&entry.path()) } else { 0 }
    });
    below.sum()
}

/// A row of `df`: how many there are, how many are used, bytes.
fn row(home: &Home, kind: &str) -> [String; 4] {
    let format = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
    let out = home.bryo(&["system", "df", "--format", format]).ok();
    let line = out.lines().find_map(|line| line.strip_prefix(&format!("{kind}\t"))).unwrap_or_else(|| panic!("{out}"));
    line.split('\t').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn containers_that_do_not_run_are_pruned() {
    for user in User::all() {
        let home = home(&user);
        home.bryo(&[
            "run",
            "--name",
            "ended",
            "--network",
            "none",
            BUSYBOX,
            "sh",
            "-c",
            "head -c 300000 /dev/zero > /tmp/x",
        ])
        .ok();
        home.bryo(&["create", "--name", "kept", "--label", "keep", BUSYBOX]).ok();
        let _runs = Detached::run(&home, "runs", &[BUSYBOX, "sleep", "300"]);
        // Nobody can be asked here, and nothing happens.
        home.bryo(&["container", "prune"]).fails(1, &["--force"]);
        home.bryo(&["container", "prune", "-f", "--filter", "nonsense=1"]).fails(1, &["nonsense"]);
        assert_eq!(home.bryo(&["container", "prune", "-f", "--filter", "until=1h"]).ok(), "Total reclaimed space: 0B");
        let id = home.bryo(&["inspect", "-f", "{{.Id}}", "ended"]).ok();
        let out = home.bryo(&["container", "prune", "-f", "--filter", "label!=keep"]).ok();
        let freed = out.strip_prefix(&format!("Deleted Containers:\n{id}\n\nTotal reclaimed space: "));
        assert!(freed.is_some_and(|size| size.starts_with("3") && size.ends_with("kB")), "{} {out}", user.name);
        assert_eq!(home.bryo(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "runs\nkept");
        home.bryo(&["container", "prune", "-f"]).ok();
        assert_eq!(home.bryo(&["ps", "-aq", "--format", "{{.Names}}"]).ok(), "runs");
    }
}

/// On a terminal a person is asked, and only a yes is one.
#[test]
fn a_person_is_asked_before_anything_goes() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    home.bryo(&["create", "--name", "made", BUSYBOX]).ok();
    for (answer, code, left) in [("\n", 1, "made"), ("n\n", 1, "made"), ("y\n", 0, "")] {
        let mut tty = Terminal::start(&home.command(&["container", "prune"]));
        tty.expect("[y/N]");
        tty.typed(answer);
        assert_eq!(tty.wait().code(), Some(code), "{}", tty.screen());
        assert_eq!(home.bryo(&["ps", "-a", "--format", "{{.Names}}"]).ok(), left);
    }
}

#[test]
fn images_that_nothing_uses_are_pruned() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    load(&home, "docker.io/library/one:1", "one");
    load(&home, "docker.io/library/two:1", "two");
    home.bryo(&["tag", "two:1", "three:1"]).ok();
    home.bryo(&["create", "--name", "user", "one:1"]).ok();
    // The name goes over to another image; the first has none then, and is used.
    load(&home, "docker.io/library/one:1", "another one");
    assert_eq!(home.bryo(&["image", "prune", "-f"]).ok(), "Total reclaimed space: 0B");
    home.bryo(&["rm", "user"]).ok();
    let out = home.bryo(&["image", "prune", "-f"]).ok();
    assert!(out.starts_with("Deleted Images:\ndeleted: sha256:") && !out.contains("reclaimed space: 0B"), "{out}");
    let names = || home.bryo(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().lines().count();
    assert_eq!(names(), 4);
    let _runs = Detached::create(&home, "user", &[BUSYBOX]);
    let out = home.bryo(&["image", "prune", "-af"]).ok();
    for name in ["one:1", "two:1", "three:1"] {
        assert!(out.contains(&format!("untagged: docker.io/library/{name}")), "{out}");
    }
    assert_eq!(names(), 1);
    home.bryo(&["start", "-a", "user"]).ok();
}

#[test]
fn a_system_is_pruned_and_keeps_what_is_used() {
    for user in User::all() {
        let home = home(&user);
        load(&home, "docker.io/library/one:1", "one");
        home.run(&["one:1", "true"]).ok();
        let _runs = Detached::run(&home, "runs", &["-v", "named:/n", "-v", "/anonymous", BUSYBOX, "sleep", "300"]);
        home.bryo(&["create", "--name", "ended", "-v", "other:/o", "-v", "/x", "one:1"]).ok();
        home.bryo(&["network", "create", "net"]).ok();
        home.bryo(&["system", "prune"]).fails(1, &["--force"]);
        let out = home.bryo(&["system", "prune", "-f"]).ok();
        assert!(out.contains("Deleted Networks:\nnet\n") && !out.contains("Deleted Volumes"), "{out}");
        assert_eq!(home.bryo(&["volume", "ls", "-q"]).ok().lines().count(), 4, "{}", user.name);
        // Nothing goes by a filter that does not hold for it.
        let told = home.bryo(&["system", "prune", "-f", "--volumes", "--filter", "until=24h"]);
        told.fails(1, &["until", "--volumes", "volume prune"]);
        assert_eq!(home.bryo(&["volume", "ls", "-q"]).ok().lines().count(), 4);
        let out = home.bryo(&["system", "prune", "-af", "--volumes"]).ok();
        assert!(out.contains("Deleted Volumes:") && out.contains("untagged: docker.io/library/one:1"), "{out}");
        // A volume with a name stays, whoever names it.
        assert_eq!(home.bryo(&["volume", "ls", "-q"]).ok().lines().count(), 3);
        home.bryo(&["exec", "runs", "touch", "/n/x", "/anonymous/x"]).ok();
        let left = home.bryo(&["images", "--format", "{{.Repository}}"]).ok();
        assert_eq!(left.lines().count(), 1, "{left}");
        let whole = home.bryo(&["system", "check"]).ok();
        assert!(whole.ends_with("everything is whole"), "{whole}");
    }
}

#[test]
fn space_is_told_as_the_disk_has_it() {
    for user in User::all() {
        let home = home(&user);
        assert_eq!(row(&home, "Containers"), ["0", "0", "0B", "0B"]);
        let script = "head -c 2000000 /dev/zero > /tmp/x; truncate -s 1G /tmp/sparse; head -c 1000000 /dev/zero > /v/y";
        home.bryo(&["run", "--name", "c", "--network", "none", "-v", "v:/v", BUSYBOX, "sh", "-c", script]).ok();
        let megabytes = |text: &str| text.strip_suffix("MB").and_then(|n| n.parse::<f64>().ok()).unwrap_or(-1.0);
        let [count, active, size, free] = row(&home, "Containers");
        assert_eq!((count.as_str(), active.as_str(), free), ("1", "0", format!("{size} (100%)")), "{}", user.name);
        assert!((2.0..2.2).contains(&megabytes(&size)), "{size}");
        let [count, active, size, free] = row(&home, "Local Volumes");
        assert_eq!((count.as_str(), active.as_str(), free.as_str()), ("1", "1", "0B (0%)"));
        assert!((1.0..1.2).contains(&megabytes(&size)), "{size}");
        let [count, active, size, _] = row(&home, "Images");
        assert_eq!((count.as_str(), active.as_str()), ("1", "1"));
        // Root of the host sees all of it.
        let blobs = u32::try_from(blocks(&home.store().join("images/blobs"))).unwrap();
        assert!((megabytes(&size) - f64::from(blobs) / 1e6).abs() < 0.1, "{size}, {blobs} on disk");
        let table = home.bryo(&["system", "df", "-v"]).ok();
        let has = |words: &[&str]| table.lines().any(|line| line.split_whitespace().eq(words.iter().copied()));
        assert!(!table.contains("unknown"), "{table}");
        assert!(has(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]), "{table}");
        assert!(table.lines().any(|line| line.starts_with("v ") && line.contains(" 1 ")), "{table}");
        assert!(table.lines().any(|line| line.contains(" exited ") && line.ends_with(" c")), "{table}");
    }
}

/// Mark and sweep: what is missing, what is damaged, what nobody refers to, and what can be done about it.
#[test]
fn a_store_that_is_not_whole_is_told_and_mended() {
    for user in User::all() {
        let home = home(&user);
        home.run(&[BUSYBOX, "true"]).ok();
        let blobs = home.store().join("images/blobs/sha256");
        let whole = home.bryo(&["system", "check"]).ok();
        assert!(whole.ends_with("0 containers, 0 volumes: everything is whole"), "{whole}");
        // An orphan harms nobody.
        let orphan = "a".repeat(64);
        home.write(&format!(".local/share/bryo/images/blobs/sha256/{orphan}"), "orphan");
        fs::create_dir(home.store().join("containers").join("b".repeat(64))).unwrap();
        user.own(&home.store().join("containers").join("b".repeat(64)));
        let out = home.bryo(&["system", "check", "--quick"]).ok();
        assert!(out.contains(&format!("orphaned blob: sha256:{orphan}")), "{out}");
        assert!(out.contains(&format!("left behind of a container: {}", "b".repeat(64))), "{out}");
        // It is told and not touched, until that is asked for.
        assert!(blobs.join(&orphan).exists());
        let out = home.bryo(&["system", "check", "--repair"]).ok();
        assert!(out.contains("damaged blob") && out.ends_with("everything is whole"), "{out}");
        assert!(!blobs.join(&orphan).exists() && fs::read_dir(home.store().join("containers")).unwrap().count() == 0);
        // Another byte in a layer: the same size, and another content.
        let layer = fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path());
        let layer = layer.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = fs::read(&layer).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&layer).unwrap();
        fs::write(&layer, &bytes).unwrap();
        user.own(&layer);
        let name = layer.file_name().unwrap().to_str().unwrap();
        home.bryo(&["system", "check", "--quick"]).ok();
        let found = home.bryo(&["system", "check"]);
        found.fails(1, &["not whole", "bryo system check --repair"]);
        assert!(found.text().contains(&format!("damaged blob: sha256:{name}")), "{found}");
        let mended = home.bryo(&["system", "check", "--repair"]);
        mended.fails(1, &["not whole", "bryo pull", BUSYBOX]);
        assert!(mended.text().contains(&format!("lacks blob sha256:{name}")) && !layer.exists(), "{mended}");
        // It comes again with its image.
        home.load(&images::busybox());
        home.bryo(&["system", "check"]).ok();
        home.run(&[BUSYBOX, "true"]).ok();
    }
}

/// A manifest that is damaged says no longer what belongs to the image: all of that stays until it comes again.
#[test]
fn a_damaged_manifest_takes_nothing_else_along() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    load(&home, "docker.io/library/one:1", "one");
    home.run(&["one:1", "true"]).ok();
    let blobs = home.store().join("images/blobs/sha256");
    let count = |dir: &Path| fs::read_dir(dir).unwrap().count();
    let layers = || fs::read_dir(home.store().join("layers")).unwrap().map(|key| count(&key.unwrap().path())).sum();
    let (before, unpacked): (usize, usize) = (count(&blobs), layers());
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(home.store().join("images/index.json")).unwrap()).unwrap();
    let one = index["manifests"].as_array().unwrap().iter().find(|entry| entry.to_string().contains("library/one:1"));
    let manifest = blobs.join(one.unwrap()["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap());
    let bytes = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, vec![b'x'; bytes.len()]).unwrap();
    user.own(&manifest);
    let mended = home.bryo(&["system", "check", "--repair"]);
    mended.fails(1, &["not whole", "bryo pull docker.io/library/one:1"]);
    assert!(mended.text().contains("image docker.io/library/one:1 cannot be read"), "{mended}");
    home.bryo(&["gc"]).fails(1, &["one:1"]);
    home.bryo(&["image", "prune", "-f"]);
    assert_eq!((count(&blobs), layers()), (before - 1, unpacked));
    load(&home, "docker.io/library/one:1", "one");
    let whole = home.bryo(&["system", "check", "--repair"]).ok();
    assert!(whole.ends_with("everything is whole"), "{whole}");
    assert_eq!((count(&blobs), layers()), (before, unpacked));
    home.run(&["one:1", "true"]).ok();
}

#[test]
fn a_container_whose_layer_is_gone_is_told() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let _made = Detached::create(&home, "ground", &[BUSYBOX]);
    home.run(&[BUSYBOX, "true"]).ok();
    home.tool("sh", &["-c", "mv $HOME/.local/share/bryo/layers $HOME/.local/share/bryo/away"]).ok();
    home.bryo(&["system", "check"]).fails(1, &["not whole", "bryo rm ground"]);
    assert!(home.bryo(&["system", "check"]).text().contains("container ground lacks layer"));
    home.tool("sh", &["-c", "rm -rf $HOME/.local/share/bryo/layers; cd $HOME/.local/share/bryo && mv away layers"])
        .ok();
    home.bryo(&["system", "check"]).ok();
}
