// SPDX-License-Identifier: Apache-2.0
//! What is there before and after: files, mounts and processes that a command must not leave behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::home::Home;
use crate::host::Process;

/// What a home and this machine hold at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Files below the store and the runtime directory.
    pub files: BTreeSet<String>,
    /// The host's mounts.
    pub mounts: BTreeSet<String>,
    /// Processes of the user and of ids that the user's containers may have.
    pub processes: BTreeSet<Process>,
}

impl Snapshot {
    /// Looks. Only a home that is alone sees no processes of other tests.
    pub fn take(home: &Home) -> Self {
        let mut files = BTreeSet::new();
        for dir in [home.store(), home.path.join("run")] {
            walk(&dir, &home.path, &mut files);
        }
        // What has happened is to be found afterwards; the journal has a size.
        files.retain(|file| !file.starts_with(".local/share/bryo/events"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = std::process::id();
        let processes = Process::every().into_iter().filter(|p| p.0 != own && belongs(*p, home));
        Self { files, mounts: mounts.lines().map(str::to_owned).collect(), processes: processes.collect() }
    }

    /// Asserts that nothing came to stay since this snapshot was taken. Processes get two seconds to end.
    #[track_caller]
    pub fn assert_nothing_left(&self, home: &Home) {
        let start = Instant::now();
        loop {
            let now = Self::take(home);
            let names = |set: &BTreeSet<Process>| {
                set.iter().map(|p| format!("{} {}", p.0, p.read("cmdline").unwrap_or_default())).collect::<Vec<_>>()
            };
            let extra: BTreeSet<Process> = now.processes.difference(&self.processes).copied().collect();
            if extra.is_empty() {
                self.assert_files_and_mounts(&now);
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(2), "left running: {:?}", names(&extra));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn assert_files_and_mounts(&self, now: &Self) {
        let files: Vec<_> = now.files.difference(&self.files).collect();
        assert!(files.is_empty(), "left in the store or the runtime directory: {files:#?}");
        let mounts: Vec<_> = now.mounts.symmetric_difference(&self.mounts).collect();
        assert!(mounts.is_empty(), "the host's mounts changed: {mounts:#?}");
    }
}

/// Tells whether a process is one that bryo may have started for this home's user.
fn belongs(process: Process, home: &Home) -> bool {
    let Some(status) = process.read("status") else { return false };
    let uid = status.lines().find_map(|l| l.strip_prefix("Uid:")?.split_whitespace().next()?.parse::<u32>().ok());
    let Some(uid) = uid else { return false };
    // Root runs much else: only what bryo and its network helper are called counts there.
    let named = process.is_pasta() || process.read("comm").is_some_and(|c| c.starts_with("bryo"));
    if uid == 0 { named } else { uid == home.user.uid && named || uid != home.user.uid && home.user.may_own(uid) }
}

/// Lists what is below a directory with type and mode, relative to a root; what cannot be read is listed, not entered.
fn walk(dir: &Path, root: &Path, into: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        // Root's containers run under numbers, each an empty file to lock: as many stay as ever ran at one time.
        let slot = dir.ends_with("run/bryo/slots") && entry.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
        if slot {
            continue;
        }
        into.insert(path.strip_prefix(root).unwrap_or(&path).display().to_string());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&path, root, into);
        }
    }
}

/// Describes every entry below a directory so that two trees can be compared: path, type, mode, owner, size, link
/// target or device, number of links, modification time, and digest.
pub fn describe(dir: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    describe_into(dir, dir, &mut all);
    all
}

fn describe_into(dir: &Path, root: &Path, into: &mut BTreeSet<String>) {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if kind.is_file() {
            format!("{} bytes {}", meta.len(), digest(&path))
        } else {
            String::new()
        };
        // A directory's link count depends on the file system; its time on who was last in it.
        let (links, time) = if kind.is_dir() { (0, 0) } else { (meta.nlink(), meta.mtime()) };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let mode = meta.mode();
        into.insert(format!("{name} {mode:o} {}:{} links {links} at {time} {content}", meta.uid(), meta.gid()));
        if kind.is_dir() {
            describe_into(&path, root, into);
        }
    }
}

/// Returns the SHA-256 of a file as hexadecimal digits.
pub fn digest(path: &Path) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    let mut file = fs::File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = std::io::Read::read(&mut file, &mut buffer).unwrap();
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    hex(&hash.finalize())
}

/// Returns the SHA-256 of bytes as hexadecimal digits.
pub fn digest_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
