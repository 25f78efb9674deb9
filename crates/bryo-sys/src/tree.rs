// SPDX-License-Identifier: Apache-2.0
//! Removing trees whose content is hostile: by descriptor, never following a link, in bounded stack and descriptors.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// How many directories deep a descent goes before it moves what is deeper to the top.
const DESCENT_MAX: usize = 64;

/// Removes a name, with everything below it if it is a directory.
///
/// # Errors
///
/// Whatever `unlinkat(2)` or `openat(2)` answer; `ENOENT` when there is no such name.
pub fn remove(parent: impl AsFd, name: &[u8]) -> rustix::io::Result<()> {
    let parent = parent.as_fd();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => (),
        result => return result,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    remove_content(&dir)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes everything below a directory, however deep it is. What somebody puts there meanwhile may stay.
///
/// # Errors
///
/// As [`remove`].
pub fn remove_content(top: impl AsFd) -> rustix::io::Result<()> {
    // Opened anew: a descriptor that was sent may be one that cannot be read.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::openat(top, c".", flags, Mode::empty())?;
    let top = top.as_fd();
    let mut moved = 0;
    loop {
        let before = moved;
        descend(top, top, 0, &mut moved)?;
        if moved == before {
            return Ok(());
        }
    }
}

fn descend(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, depth: usize, moved: &mut u64) -> rustix::io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entry.file_type() != FileType::Directory {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => (),
                Err(error) => return Err(error),
            }
        }
        if depth >= DESCENT_MAX {
            // Deeper levels get their turn at the top: neither stack nor descriptors run out.
            *moved += 1;
            rustix::fs::renameat(dir, name, top, format!(".deep-{moved}-{}", std::process::id()))?;
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let child = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        descend(top, child.as_fd(), depth + 1, moved)?;
        drop(child);
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            // Something dying may still have written there; whoever asked sees that the top is not empty.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_deep_tree_is_removed_and_links_are_not_followed() {
        let top = std::env::temp_dir().join(format!("bryo-tree-{}", std::process::id()));
        let outside = top.with_extension("outside");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        let mut path = top.join("victim");
        for _ in 0..300 {
            path.push("d");
        }
        std::fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        let parent = rustix::fs::open(&top, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        remove(&parent, b"victim").unwrap();
        assert!(!top.join("victim").exists() && outside.join("kept").exists());
        std::fs::remove_dir_all(top).unwrap();
        std::fs::remove_dir_all(outside).unwrap();
    }
}
