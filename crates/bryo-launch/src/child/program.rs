// SPDX-License-Identifier: Apache-2.0
//! What `execve` will open, looked at before: the program, the interpreters that first lines name, the loader that
//! headers name.
//!
//! `/proc/self/exe` is bryo itself here, and running it inside, in whatever part, would hand the container a way to the
//! host's file (CVE-2019-5736). Each path is resolved as the kernel will, but without the links of processes. What is
//! read is read as the kernel reads it: where the two differ, the kernel is led where nobody has looked.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bryo_sys::Errno;
use rustix::fs::OFlags;

use crate::child::elf;
use crate::error::{Error, Kind, Result};

/// How many files the kernel reads on the way to one that is no script, that one included (`exec_binprm` of
/// `fs/exec.c`).
const MAX_FILES: usize = 6;

/// How much of a file the kernel reads to tell what it is, `BINPRM_BUF_SIZE`.
const HEAD: usize = 256;

/// Refuses a program that is, is interpreted by, or is loaded by a file that a link into a process leads to.
pub(super) fn check(program: &CStr, landlocked: bool) -> Result<()> {
    let mut path = PathBuf::from(OsStr::from_bytes(program.to_bytes()));
    for _ in 0..MAX_FILES {
        let Some(file) = open(&path, landlocked)? else { return Ok(()) };
        let mut head = Vec::with_capacity(HEAD);
        // What cannot be read here cannot be executed either: a directory, a failing disk.
        if read_at(&file, 0, HEAD, &mut head).is_err() {
            return Ok(());
        }
        match interpreter(&head) {
            Some(next) => path = next,
            None => return binary(&path, &file, &head, landlocked),
        }
    }
    Err(Error::new(Kind::NotExecutable, format!("{} has too many interpreters of interpreters", program_name(program))))
}

/// Opens a file of the chain; `None` when `execve` is left to say why not.
fn open(path: &Path, landlocked: bool) -> Result<Option<File>> {
    match resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::LOOP) => Err(leads_out(path)),
        // The kernel reads what may only be executed; this process cannot. Landlock would stop the link that may stand
        // there.
        Err(Errno::ACCESS) if !landlocked && executable(path) => {
            let what = format!("{} can be executed and not read, which is refused without Landlock", path.display());
            Err(Error::new(Kind::NotExecutable, what))
        }
        Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO) => Ok(None),
        // A lease, for one, is waited for by the kernel and not here.
        Err(e) => {
            let failed = bryo_sys::Error::new("openat2", path.display().to_string(), e);
            Err(Error::sys(Kind::NotExecutable, "cannot look at the program", &failed))
        }
    }
}

/// Looks at the last file of the chain.
fn binary(path: &Path, file: &File, head: &[u8], landlocked: bool) -> Result<()> {
    if !elf::is_native(head) {
        // Some other format, which the host may have named an interpreter for (`binfmt_misc`). That is opened inside,
        // where the image decides what has its name.
        let what = format!("{} is no program of this machine, which is refused without Landlock", path.display());
        return if landlocked { Ok(()) } else { Err(Error::new(Kind::NotExecutable, what)) };
    }
    let read = |offset, length, to: &mut Vec<u8>| read_at(file, offset, length, to).is_ok();
    for loader in elf::loaders(head, read) {
        let loader = Path::new(OsStr::from_bytes(&loader));
        if resolve(loader, OFlags::PATH).is_err_and(|e| e == Errno::LOOP) {
            return Err(leads_out(loader));
        }
    }
    Ok(())
}

fn resolve(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    bryo_sys::lookup::open_here(path, flags)
}

/// Reads up to a number of bytes at an offset.
fn read_at(file: &File, offset: u64, length: usize, to: &mut Vec<u8>) -> std::io::Result<()> {
    to.resize(length, 0);
    let mut done = 0;
    while done < length {
        match file.read_at(&mut to[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => (),
            Err(e) => return Err(e),
        }
    }
    to.truncate(done);
    Ok(())
}

fn leads_out(path: &Path) -> Error {
    Error::new(Kind::NotExecutable, format!("{} leads to a file of a process", path.display()))
}

fn executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn program_name(program: &CStr) -> String {
    format!("{:?}", program.to_string_lossy())
}

/// Reads the interpreter of a script. Source: `load_script` of `fs/binfmt_script.c`, to which a carriage return is a
/// letter like any other.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|b| matches!(b, b'\n' | 0)).next()?;
    let word = line.split(|b| matches!(b, b' ' | b'\t')).find(|w| !w.is_empty())?;
    Some(Path::new(OsStr::from_bytes(word)).to_owned())
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn checked(path: &Path, landlocked: bool) -> std::result::Result<(), String> {
        check(&CString::new(path.to_str().unwrap()).unwrap(), landlocked).map_err(|e| e.to_string())
    }

    #[test]
    fn interpreters_are_read_as_the_kernel_reads_them() {
        for (head, path) in [
            ("#!/bin/sh -e\nrest", "/bin/sh"),
            ("#! \t/usr/bin/env python3\n", "/usr/bin/env"),
            ("#!/bin/sh", "/bin/sh"),
            ("#!/bin/sh\0\n/other", "/bin/sh"),
            ("#!/a\r/../proc/self/exe\n", "/a\r/../proc/self/exe"),
            ("#!/a\x0b\x0c/b\n", "/a\x0b\x0c/b"),
        ] {
            assert_eq!(interpreter(head.as_bytes()), Some(path.into()), "{head:?}");
        }
        for head in ["\x7fELF", "#!\n/bin/sh", "#!  ", "#", ""] {
            assert_eq!(interpreter(head.as_bytes()), None, "{head:?}");
        }
    }

    #[test]
    fn links_into_processes_are_no_programs() {
        assert!(checked(Path::new("/proc/self/exe"), true).unwrap_err().contains("a file of a process"));
        assert!(checked(Path::new("/bin/sh"), false).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, first: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!{first}\n")).unwrap();
            path
        };
        symlink("/proc/self/exe", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("a\r")).unwrap();
        let climb = format!("{}/a\r/../link", dir.path().display());
        for first in ["/proc/self/exe", "/proc/self/root/bin/sh", &climb] {
            let error = checked(&script("script", first), true).unwrap_err();
            assert!(error.contains("a file of a process"), "{first:?}: {error}");
        }
    }

    #[test]
    fn the_chain_is_followed_as_far_as_the_kernel_follows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = |n: usize| dir.path().join(n.to_string());
        // The kernel opens an interpreter through five scripts.
        for (scripts, word) in [(1, "a file of a process"), (5, "a file of a process"), (6, "too many")] {
            symlink("/proc/self/exe", path(scripts)).unwrap();
            for n in 0..scripts {
                std::fs::write(path(n), format!("#!{}\n", path(n + 1).display())).unwrap();
            }
            let error = checked(&path(0), true).unwrap_err();
            assert!(error.contains(word), "{scripts}: {error}");
            std::fs::remove_file(path(scripts)).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_looked_into_is_executed_only_under_landlock() {
        let dir = tempfile::tempdir().unwrap();
        // A file that the kernel itself knows no format for, as a Python module or a Java archive.
        let file = dir.path().join("file");
        std::fs::write(&file, "PK\x03\x04").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(checked(&file, true).is_ok());
        assert!(checked(&file, false).unwrap_err().contains("without Landlock"));
        // Whether a directory or nothing can be executed is for the kernel to say.
        assert!(checked(dir.path(), false).is_ok());
        assert!(checked(&dir.path().join("none"), false).is_ok());
    }
}
