// SPDX-License-Identifier: Apache-2.0
//! The images of the tests, made once on this machine from its own packages and kept.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::json;

use crate::layout::{Image, busybox_layer};
use crate::program::tool;
use crate::tar::Tar;
use crate::{dirs, skip};

/// The name of the busybox image.
pub const BUSYBOX: &str = "localhost/busybox:latest";
/// The name of the image with the probe at `/probe`.
pub const PROBE: &str = "localhost/probe:latest";
/// The name of the Debian image.
pub const DEBIAN: &str = "localhost/debian:bookworm";

/// The name of the Debian image with package managers.
pub const PACKAGES: &str = "localhost/packages:latest";

/// What npm consists of where this machine has it from its makers, below the root.
const NPM: [&str; 3] = ["usr/bin/node", "usr/bin/npm", "usr/lib/node_modules/npm"];

/// A busybox image that declares nothing, with users `app` (1000) and `other` (1001).
pub fn busybox() -> PathBuf {
    cached("busybox-3", |file| {
        Image::new(BUSYBOX, vec![busybox_layer()], json!({"Cmd": ["sh"], "Env": [path()]})).archive(file);
    })
}

/// busybox and the probe, which is set-user-id root as `/probe-suid` as well.
pub fn probe() -> PathBuf {
    let program = fs::read(probe_program()).unwrap();
    let name = format!("probe-2-{}", &crate::listing::digest_of(&program)[..12]);
    cached(&name, |file| {
        let layer = Tar::default().file("probe", 0o755, &program).file("probe-suid", 0o6755, &program).finish();
        let config = json!({"Cmd": ["/probe"], "Env": [path()]});
        Image::new(PROBE, vec![busybox_layer(), layer], config).archive(file);
    })
}

/// A minimal Debian. `None` (and a skip) where it cannot be made.
pub fn debian() -> Option<PathBuf> {
    let rootfs = rootfs("debian", &[])?;
    Some(cached("debian-1", |file| {
        let layer = fs::read(&rootfs).unwrap();
        Image::new(DEBIAN, vec![layer], json!({"Cmd": ["bash"], "Env": [path()]})).archive(file);
    }))
}

/// Tells whether [`packages`] has npm, and skips the test when it has not.
pub fn has_npm() -> bool {
    let found = machine_has_npm();
    if !found {
        skip::skip("npm is not installed as its makers pack it");
    }
    found
}

fn machine_has_npm() -> bool {
    NPM.iter().all(|path| Path::new("/").join(path).exists())
}

/// Debian with pip and dnf, what makes packages for them, and this machine's own npm if it has one. `None` (and a skip)
/// where it cannot be made.
pub fn packages() -> Option<PathBuf> {
    let rootfs = rootfs("packages", &["python3-pip", "dnf", "rpm", "createrepo-c"])?;
    Some(cached("packages-1", |file| {
        let mut layers = vec![fs::read(&rootfs).unwrap()];
        if machine_has_npm() {
            let archive = Command::new("tar").args(["-C", "/", "-c"]).args(NPM).output().unwrap();
            assert!(archive.status.success(), "{archive:?}");
            layers.push(archive.stdout);
        }
        Image::new(PACKAGES, layers, json!({"Cmd": ["bash"], "Env": [path()]})).archive(file);
    }))
}

/// Returns the usual search path as an entry of an image's environment.
pub fn path() -> &'static str {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

/// The root file system of a minimal Debian with some packages, as a tar archive.
/// `None` (and a skip) where it cannot be made, because the tool or the packages cannot be had.
pub fn rootfs(name: &str, packages: &[&str]) -> Option<PathBuf> {
    static FAILED: Mutex<Option<String>> = Mutex::new(None);
    if !skip::have("mmdebstrap") {
        return None;
    }
    if let Some(why) = FAILED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        skip::skip(why);
        return None;
    }
    let file = cached(&format!("rootfs-{name}.1"), |file| {
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=minbase", "--format=tar"]);
        if !packages.is_empty() {
            command.arg(format!("--include={}", packages.join(",")));
        }
        let output = command.arg("bookworm").arg(file).output().unwrap();
        if !output.status.success() {
            let why = format!("no Debian can be made: {}", String::from_utf8_lossy(&output.stderr));
            *FAILED.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            let _partial = fs::remove_file(file);
        }
    });
    if file.exists() {
        return Some(file);
    }
    skip::skip(FAILED.lock().unwrap_or_else(PoisonError::into_inner).as_deref().unwrap_or("no Debian"));
    None
}

/// Compiles the probe, statically, so that it runs in an image with nothing else in it.
pub fn probe_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
        let out = dirs::sub("build", 0o700).join("probe");
        let mut files: Vec<String> = fs::read_dir(&source)
            .unwrap()
            .filter_map(|e| Some(e.ok()?.path().display().to_string()).filter(|p| p.ends_with(".c")))
            .collect();
        files.sort();
        let mut args: Vec<&str> = vec!["-static", "-O1", "-Wall", "-Werror", "-o", out.to_str().unwrap()];
        args.extend(files.iter().map(String::as_str));
        tool("gcc", &args);
        dirs::install(&out, "probe")
    })
}

/// Makes a file once; several tests may want it at the same time. The maker writes to the path that it is given.
pub fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    type Locks = Mutex<HashMap<String, &'static Mutex<()>>>;
    static LOCKS: OnceLock<Locks> = OnceLock::new();
    let file = dirs::sub("images", 0o755).join(format!("{name}.tar"));
    let lock = {
        let mut locks = LOCKS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        *locks.entry(name.to_owned()).or_insert_with(|| Box::leak(Box::default()))
    };
    let _one_maker = lock.lock().unwrap_or_else(PoisonError::into_inner);
    if !file.exists() {
        let fresh = dirs::sub("images", 0o755).join(format!(".{}.{name}.tar", std::process::id()));
        make(&fresh);
        if fresh.exists() {
            fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644)).unwrap();
            fs::rename(&fresh, &file).unwrap();
        }
    }
    file
}
