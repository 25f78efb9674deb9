// SPDX-License-Identifier: Apache-2.0
//! Stage 4: the payload.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bryo_sys::Errno;
use bryo_sys::exec::execve;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::child::{confine, landlock};
use crate::error::{Error, Kind, Result};
use crate::prepare::PreparedProcess;

/// Where programs are looked for when the environment does not say. Source: `execvp(3)`, `_PATH_STDPATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many interpreters of interpreters the kernel follows (`BINPRM` recursion, `fs/exec.c`).
const MAX_INTERPRETERS: usize = 5;

/// Confines this process and executes the payload; returns only what went wrong.
pub(super) fn confined(process: &PreparedProcess) -> Error {
    match confine::session(process).and_then(|()| confine::apply(process)) {
        Ok(()) => execute(process, landlock::available(process.manner.landlock).is_ok_and(|abi| abi > 0)),
        Err(error) => error,
    }
}

fn execute(process: &PreparedProcess, landlocked: bool) -> Error {
    let name = &process.args.strings()[0];
    let mut refused = None;
    for candidate in candidates(name, &process.env) {
        if let Err(error) = no_magic_links(&candidate, landlocked) {
            return error;
        }
        let error = execve(&candidate, &process.args, &process.env);
        match error.errno() {
            Errno::NOENT | Errno::NOTDIR => {
                // The file is there: what is missing is its interpreter or loader.
                if rustix::fs::access(candidate.as_c_str(), rustix::fs::Access::EXISTS).is_ok() {
                    let what = format!("{} needs an interpreter that does not exist", show(&candidate));
                    return Error::sys(Kind::NotFound, what, &error);
                }
            }
            // As execvp(3): a program that may not be executed does not hide one further on.
            Errno::ACCESS => refused = Some(error),
            _ => return not_executable(&candidate, &error),
        }
    }
    match refused {
        Some(error) => not_executable(name, &error),
        None => Error::new(Kind::NotFound, format!("executable file {} not found", show(name))),
    }
}

fn not_executable(path: &CStr, error: &bryo_sys::Error) -> Error {
    let what = match error.errno() {
        Errno::NOEXEC => format!("{} is made for another architecture, or is no program", show(path)),
        _ => format!("cannot execute {}", show(path)),
    };
    Error::sys(Kind::NotExecutable, what, error)
}

fn show(text: &CStr) -> String {
    format!("{:?}", text.to_string_lossy())
}

/// The paths to try for a program name.
fn candidates(name: &CStr, env: &bryo_sys::exec::StringArray) -> Vec<CString> {
    if name.to_bytes().contains(&b'/') {
        return vec![name.to_owned()];
    }
    let path = env.strings().iter().find_map(|e| e.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let join = |dir: &[u8]| {
        let dir = if dir.is_empty() { b"." } else { dir };
        CString::new([dir, b"/", name.to_bytes()].concat()).ok()
    };
    path.split(|b| *b == b':').filter_map(join).collect()
}

/// Refuses a program that is, or is interpreted by, a link into a process: `/proc/self/exe` is bryo itself here, and
/// running it inside would hand the container a way to the host's file (CVE-2019-5736).
fn no_magic_links(program: &CStr, landlocked: bool) -> Result<()> {
    let mut path = PathBuf::from(std::ffi::OsStr::from_bytes(program.to_bytes()));
    for _ in 0..MAX_INTERPRETERS {
        let resolve = ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match rustix::fs::openat2(CWD, &path, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(Errno::LOOP) => {
                let what = format!("{} leads to a file of a process", path.display());
                return Err(Error::new(Kind::NotExecutable, what));
            }
            // The kernel reads the first line of what may only be executed; this process cannot. Landlock would stop the
            // link that may stand there.
            Err(Errno::ACCESS) if !landlocked && executable(&path) => {
                let what =
                    format!("{} can be executed and not read, which is refused without Landlock", path.display());
                return Err(Error::new(Kind::NotExecutable, what));
            }
            // Not there: execve says the rest.
            Err(_) => return Ok(()),
        };
        let mut head = [0; 256];
        let n = rustix::io::read(fd, &mut head).unwrap_or(0);
        match interpreter(&head[..n]) {
            Some(next) => path = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

fn executable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Reads the interpreter of a script. Source: `execve(2)`, interpreter scripts.
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let word = line.split(|b| b.is_ascii_whitespace()).find(|w| !w.is_empty())?;
    Some(Path::new(std::ffi::OsStr::from_bytes(word)).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_read_as_the_kernel_reads_them() {
        assert_eq!(interpreter(b"#!/bin/sh -e\nrest"), Some("/bin/sh".into()));
        assert_eq!(interpreter(b"#! \t/usr/bin/env python3\n"), Some("/usr/bin/env".into()));
        assert_eq!(interpreter(b"\x7fELF"), None);
        assert_eq!(interpreter(b"#!\n"), None);
    }

    #[test]
    fn a_bare_name_is_looked_for_in_the_payloads_own_path() {
        let env =
            |list: &[&str]| bryo_sys::exec::StringArray::new(list.iter().map(|e| CString::new(*e).unwrap()).collect());
        let paths = |name: &CStr, list: &[&str]| -> Vec<String> {
            candidates(name, &env(list)).iter().map(|c| c.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(paths(c"sh", &["HOME=/", "PATH=/a::/b"]), ["/a/sh", "./sh", "/b/sh"]);
        assert_eq!(paths(c"./sh", &["PATH=/a"]), ["./sh"]);
        assert_eq!(paths(c"sh", &[]).len(), 6);
    }

    #[test]
    fn links_into_processes_are_no_programs() {
        assert_eq!(no_magic_links(c"/proc/self/exe", true).unwrap_err().kind(), Kind::NotExecutable);
        assert!(no_magic_links(c"/bin/sh", true).is_ok());
        let script = std::env::temp_dir().join(format!("bryo-magic-{}", std::process::id()));
        std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
        let path = CString::new(script.to_str().unwrap()).unwrap();
        assert_eq!(no_magic_links(&path, true).unwrap_err().kind(), Kind::NotExecutable);
        std::fs::remove_file(script).unwrap();
    }
}
