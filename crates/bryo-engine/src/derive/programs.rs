// SPDX-License-Identifier: Apache-2.0
//! In which state directories an image has programs, or makes some: there it expects them to be executed, and nowhere
//! else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};

use super::places;
use super::tree::{Tree, kind};

/// How many names of one directory's tree are looked at. Where there are more, the directory is taken for one that has
/// programs: what an image brings along so much of is an application.
const NAMES_MAX: usize = 50_000;

/// Programs that load what they have compiled, and where they put it: Varnish makes a library of its configuration.
const COMPILING: [(&str, &str); 2] =
    [("/usr/sbin/varnishd", "/var/lib/varnish"), ("/usr/local/sbin/varnishd", "/var/lib/varnish")];

/// Returns those of some directories in which something is executed, or loaded as a library.
pub(super) fn among(tree: &Tree, state: &[PathBuf]) -> Vec<PathBuf> {
    // Scripts of packages are for package managers.
    let left_out = places::packages(tree);
    state.iter().filter(|path| has_program(tree, path, &left_out) || compiles(tree, path)).cloned().collect()
}

fn compiles(tree: &Tree, dir: &Path) -> bool {
    let is_there = |path: &str| tree.real(Path::new(path)).is_ok_and(|real| real.stat.is_some());
    COMPILING.iter().any(|(program, place)| Path::new(place).starts_with(dir) && is_there(program))
}

fn has_program(tree: &Tree, top: &Path, left_out: &BTreeSet<PathBuf>) -> bool {
    let mut names = 0;
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = tree.list(&dir).map(|fd| Dir::read_from(fd).into_iter().flatten().flatten()) else {
            continue;
        };
        for entry in entries {
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            names += 1;
            if names > NAMES_MAX {
                return true;
            }
            let path = dir.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
            let Ok(Some((_, stat))) = tree.look(&path) else { continue };
            match kind(&stat) {
                FileType::Directory if !left_out.contains(&path) => left.push(path),
                FileType::RegularFile
                    if (stat.st_mode & 0o111 != 0 || is_library(name)) && begins_as_program(tree, &path) =>
                {
                    return true;
                }
                _ => (),
            }
        }
    }
    false
}

/// Libraries are mapped to be executed, whatever their mode is.
fn is_library(name: &[u8]) -> bool {
    name.windows(3).any(|part| part == b".so")
}

/// Tells whether the kernel would execute a file. Data that an archive from elsewhere has made executable is none.
fn begins_as_program(tree: &Tree, path: &Path) -> bool {
    let mut head = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = tree.open(path, flags, Mode::empty()).map(File::from);
    file.is_ok_and(|file| file.take(4).read_to_end(&mut head).is_ok())
        && (head.starts_with(b"#!") || head == *b"\x7fELF")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_is_for_programs_if_the_image_has_some_there() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, mode: u32, content: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        write("app/bin/run", 0o755, b"#!/bin/sh\n");
        write("home/x/lib/m.so.1", 0o644, b"\x7fELF\x02");
        write("srv/data", 0o777, b"data");
        write("var/lib/dpkg/info/a.postinst", 0o755, b"#!/bin/sh\n");
        write("tmp/script", 0o644, b"#!/bin/sh\n");
        std::os::unix::fs::symlink("../app/bin/run", dir.path().join("srv/run")).unwrap();
        let tree = Tree::new(File::open(dir.path()).unwrap().into(), false);
        let state = ["/app", "/home/x", "/srv", "/var", "/tmp", "/none"].map(PathBuf::from);
        assert_eq!(among(&tree, &state), ["/app", "/home/x"].map(PathBuf::from));
        write("var/www/cgi", 0o755, b"#!/bin/sh\n");
        assert_eq!(among(&tree, &state[3..4]), state[3..4]);
        std::fs::remove_file(dir.path().join("var/www/cgi")).unwrap();
        assert!(among(&tree, &state[3..]).is_empty());
        write("usr/sbin/varnishd", 0o755, b"\x7fELF");
        assert_eq!(among(&tree, &state[3..]), state[3..4]);
    }
}
