// SPDX-License-Identifier: Apache-2.0
//! Stage 4: the payload.

use std::ffi::{CStr, CString};

use bryo_sys::Errno;
use bryo_sys::exec::execve;

use crate::child::trampoline::Trampoline;
use crate::child::{confine, landlock};
use crate::error::{Context, Error, Kind, Result};
use crate::prepare::PreparedProcess;
use crate::sync::ChildEnd;

/// Where programs are looked for when the environment does not say. Source: `execvp(3)`, `_PATH_STDPATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Confines this process and executes the payload; returns only what went wrong.
pub(super) fn confined(process: &PreparedProcess, sync: &ChildEnd) -> Error {
    prepared(process, sync).map_or_else(|error| error, |trampoline| execute(process, trampoline.as_ref()))
}

fn prepared<'a>(process: &PreparedProcess, sync: &'a ChildEnd) -> Result<Option<Trampoline<'a>>> {
    confine::session(process)?;
    confine::close_others(sync)?;
    let landlocked = landlock::available(process.manner.landlock)? > 0;
    let trampoline = if landlocked { None } else { Some(Trampoline::make(sync)?) };
    if process.manner.observed {
        bryo_sys::trace::trace_me().context(Kind::Confinement, || "cannot be observed".into())?;
    }
    confine::apply(process)?;
    if process.manner.emulate_ids {
        confine::emulate_ids(sync)?;
    }
    Ok(trampoline)
}

fn execute(process: &PreparedProcess, trampoline: Option<&Trampoline<'_>>) -> Error {
    let name = &process.args.strings()[0];
    let mut denied = None;
    for candidate in candidates(name, &process.env) {
        let error = match trampoline {
            Some(trampoline) => trampoline.execute(&candidate, process),
            None => execve(&candidate, &process.args, &process.env),
        };
        match error.errno() {
            Errno::NOENT | Errno::NOTDIR => {
                if rustix::fs::access(candidate.as_c_str(), rustix::fs::Access::EXISTS).is_ok() {
                    return refused(&candidate, &error);
                }
            }
            // As execvp(3): a program that may not be executed does not hide one further on.
            Errno::ACCESS => denied = Some(error),
            _ => return refused(&candidate, &error),
        }
    }
    match denied {
        Some(error) => refused(name, &error),
        None => Error::new(Kind::NotFound, format!("executable file {} not found", show(name))),
    }
}

/// Says why a program that is there is not executed.
pub(crate) fn refused(path: &CStr, error: &bryo_sys::Error) -> Error {
    let (kind, what) = match error.errno() {
        // The file is there: what is missing is its interpreter or loader.
        Errno::NOENT | Errno::NOTDIR => {
            (Kind::NotFound, format!("{} needs an interpreter that does not exist", show(path)))
        }
        Errno::NOEXEC => {
            (Kind::NotExecutable, format!("{} is made for another architecture, or is no program", show(path)))
        }
        _ => (Kind::NotExecutable, format!("cannot execute {}", show(path))),
    };
    Error::sys(kind, what, error)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
