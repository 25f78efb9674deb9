// SPDX-License-Identifier: Apache-2.0
//! Writing OCI image layouts by hand, independently of bryo. Source: OCI image-spec, "Image Layout".

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::listing::digest_of;
use crate::tar::Tar;

/// An image to be.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name, as annotated in the index.
    pub name: String,
    /// Layers, bottom first: uncompressed archives.
    pub layers: Vec<Vec<u8>>,
    /// The `config` part of the image configuration.
    pub config: Value,
    /// The architecture that it claims.
    pub architecture: String,
    /// Diff ids to claim instead of the true ones.
    pub claimed: Option<Vec<String>>,
}

impl Image {
    /// An image of this machine's architecture.
    pub fn new(name: &str, layers: Vec<Vec<u8>>, config: Value) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self { name: name.to_owned(), layers, config, architecture: architecture.to_owned(), claimed: None }
    }

    /// Writes the layout into a directory.
    pub fn write(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let put = |bytes: &[u8], kind: &str| {
            let digest = digest_of(bytes);
            fs::write(blobs.join(&digest), bytes).unwrap();
            json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len()})
        };
        let layer = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<Value> = self.layers.iter().map(|l| put(l, layer)).collect();
        let truth = || self.layers.iter().map(|l| format!("sha256:{}", digest_of(l))).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.claimed.clone().unwrap_or_else(truth)},
            "history": self.layers.iter().map(|_| json!({"created": "2024-01-01T00:00:00Z", "created_by": "a test"})).collect::<Vec<_>>(),
        });
        let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers});
        let mut manifest = put(manifest.to_string().as_bytes(), kind);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": self.name});
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest],
        });
        fs::write(dir.join("index.json"), index.to_string()).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// Writes the layout as an archive.
    pub fn archive(&self, file: &Path) {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        pack(dir.path(), file);
    }
}

/// Packs a directory into a tar archive, in one step as seen by others.
pub fn pack(dir: &Path, file: &Path) {
    let fresh = file.with_extension(format!("new{}", std::process::id()));
    let status = std::process::Command::new("tar").arg("-cf").arg(&fresh).arg("-C").arg(dir).arg(".").status();
    assert!(status.unwrap().success());
    fs::rename(&fresh, file).unwrap();
}

/// Returns a layer that says that it is Debian 12, with this database of packages.
pub fn debian_layer(status: &str) -> Vec<u8> {
    Tar::default()
        .dir("etc/", 0o755)
        .file("etc/os-release", 0o644, b"ID=debian\nVERSION_ID=\"12\"\n")
        .dir("var/", 0o755)
        .dir("var/lib/", 0o755)
        .dir("var/lib/dpkg/", 0o755)
        .file("var/lib/dpkg/status", 0o644, status.as_bytes())
        .finish()
}

/// Returns a layer with busybox, all its applets, the usual directories, and passwd and group files.
pub fn busybox_layer() -> Vec<u8> {
    let busybox = busybox().expect("the user of a test was asked for first, which skips it where busybox is missing");
    let program = fs::read(busybox).unwrap();
    let mut tar = Tar::default();
    for dir in ["bin/", "dev/", "etc/", "home/", "proc/", "sys/", "usr/", "usr/bin/", "var/", "var/lib/", "run/"] {
        tar = tar.dir(dir, 0o755);
    }
    tar = tar.dir("root/", 0o700).dir("tmp/", 0o1777);
    tar = tar.owned_dir("home/app/", 0o755, (1000, 1000)).owned_dir("var/lib/app/", 0o755, (1000, 1000));
    tar = tar.file("bin/busybox", 0o755, &program);
    for applet in applets(busybox) {
        tar = tar.hardlink(&format!("bin/{applet}"), "bin/busybox", 0o755);
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n\
                  other:x:1001:1001::/home/other:/bin/ash\n1000:x:0:0:trap:/root:/bin/sh\n";
    let group = "root:x:0:\napp:x:1000:\nother:x:1001:\nextra:x:2000:app\n";
    tar = tar.file("etc/passwd", 0o644, passwd.as_bytes()).file("etc/group", 0o644, group.as_bytes());
    tar = tar.file("etc/shadow", 0o600, b"root:*:1::::::\n").file("bin/notexec", 0o644, b"#!/bin/sh\n");
    tar = tar.file("bin/badformat", 0o755, b"\x7fELF, but not much of one");
    tar.file("bin/setuid", 0o4755, &program).finish()
}

/// Finds a static busybox: the installed one, else one from the package, which anybody may fetch and unpack.
pub fn busybox() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let is_static = |path: &Path| fs::read(path).is_ok_and(|b| !b.windows(9).any(|w| w == b"/ld-linux"));
    let found = FOUND.get_or_init(|| {
        let installed = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        if let Some(path) = installed.into_iter().find(|p| is_static(p)) {
            return Some(path);
        }
        let dir = crate::dirs::sub("busybox", 0o755);
        let mut fetch = std::process::Command::new("sh");
        fetch.args(["-c", "apt-get download busybox-static && dpkg -x busybox-static_*.deb ."]).current_dir(&dir);
        let _perhaps = fetch.output();
        [dir.join("bin/busybox"), dir.join("usr/bin/busybox")].into_iter().find(|p| is_static(p))
    });
    found.as_deref()
}

fn applets(busybox: &Path) -> Vec<String> {
    let out = std::process::Command::new(busybox).arg("--list").output().unwrap();
    let all = String::from_utf8(out.stdout).unwrap();
    all.lines().filter(|a| *a != "busybox").map(str::to_owned).collect()
}
