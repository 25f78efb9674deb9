// SPDX-License-Identifier: Apache-2.0
//! Where the tests keep things: a directory that every test user can enter, wherever the clone lies.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the directory of the tests, mode 0711: `$BRYO_TEST_DIR`, else `/var/tmp/bryo-tests-UID`.
///
/// A clone may lie below a directory of mode 0700, which the users that bryo runs as could not enter.
///
/// # Panics
///
/// If somebody else owns a directory of that name.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let uid = rustix::process::geteuid().as_raw();
        let dir = std::env::var_os("BRYO_TEST_DIR")
            .map_or_else(|| PathBuf::from(format!("/var/tmp/bryo-tests-{uid}")), PathBuf::from);
        let _made = fs::create_dir(&dir);
        let meta = fs::symlink_metadata(&dir).unwrap();
        assert!(meta.is_dir() && meta.uid() == uid, "{} is not a directory of ours", dir.display());
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).unwrap();
        dir
    })
}

/// Makes (once) and returns a directory below [`base`] with a mode.
pub fn sub(name: &str, mode: u32) -> PathBuf {
    let dir = base().join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
    dir
}

/// Returns the bryo under test: a copy of `$BRYO_TEST_BIN`, or of what cargo builds, that every test user can run.
pub fn bryo() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let built = std::env::var_os("BRYO_TEST_BIN").map_or_else(build, PathBuf::from);
        install(&built, "bryo")
    })
}

/// Copies a program to where every test user can run it.
pub fn install(program: &Path, name: &str) -> PathBuf {
    let target = sub("bin", 0o755).join(name);
    let fresh = sub("bin", 0o755).join(format!(".{name}.{}", std::process::id()));
    fs::copy(program, &fresh).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, &target).unwrap();
    target
}

/// Builds the development binary beside the running test.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(["build", "--quiet", "--package", "bryo"]).status().unwrap();
    assert!(status.success(), "bryo does not build");
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("bryo")
}
