// SPDX-License-Identifier: Apache-2.0
//! The probe: what a hostile payload would try, tried inside a container.
//!
//! Runs as the payload, so it trusts nothing and needs nothing of the image. Each attempt is a process of its own: it
//! may be ended by a filter, and what it changes ends with it. A success is made harmless or taken back.

mod files;
mod identity;
mod kernel;
mod package;
mod reach;

use std::path::PathBuf;
use std::process::Command;

use bryo_sys::Errno;
use serde::{Deserialize, Serialize};

/// What the probe is told of the host, so that it can look for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// A process of the host, by number.
    pub pid: u32,
    /// The pid namespace of the host, as `/proc/self/ns/pid` reads.
    pub pid_namespace: String,
    /// The caller's home.
    pub home: PathBuf,
    /// Files on the host that the container must not see, each with a word that is nowhere else.
    pub canaries: Vec<PathBuf>,
    /// The word in the canaries.
    pub word: String,
    /// An abstract socket that listens on the host.
    pub abstract_socket: String,
    /// A TCP port that listens on the host's loopback.
    pub port: u16,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "detail")]
pub enum Ending {
    /// Something stood in the way; it is named by errno, signal or message.
    Refused(String),
    /// It succeeded, or got past every guard.
    Possible(String),
    /// There is nothing to try it with.
    Absent(String),
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// A name for programs.
    pub id: String,
    /// What was tried.
    pub tried: String,
    /// What an attacker would gain.
    pub gains: String,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
}

/// What the probe reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The effective user id inside.
    pub uid: u32,
    /// The effective group id inside.
    pub gid: u32,
    /// The user id on the host, where the map tells it.
    pub host_uid: Option<u32>,
    /// The attempts.
    pub outcomes: Vec<Outcome>,
}

/// One thing to try.
struct Attempt {
    id: &'static str,
    tried: &'static str,
    gains: &'static str,
    make: fn(&HostFacts) -> Ending,
}

/// The argument that makes the probe try one thing and report it alone.
const ONE: &str = "--one";

fn attempts() -> impl Iterator<Item = &'static Attempt> {
    [files::ATTEMPTS, package::ATTEMPTS, identity::ATTEMPTS, reach::ATTEMPTS, kernel::ATTEMPTS].into_iter().flatten()
}

/// Runs the probe with the arguments behind its subcommand and returns what it has to print.
///
/// # Errors
///
/// A message, when the arguments are not those that `demo` gives.
pub fn run(args: &[String]) -> Result<String, String> {
    let (facts, one) = match args {
        [facts] => (facts, None),
        [facts, flag, id] if flag == ONE => (facts, Some(id)),
        _ => return Err("the probe is run by `bryo demo`".into()),
    };
    let parsed: HostFacts = serde_json::from_str(facts).map_err(|e| format!("facts of the host: {e}"))?;
    let text = match one {
        Some(id) => {
            let attempt = attempts().find(|a| a.id == id).ok_or_else(|| format!("no attempt {id}"))?;
            serde_json::to_string(&(attempt.make)(&parsed))
        }
        None => serde_json::to_string(&findings(facts)),
    };
    text.map_err(|e| e.to_string())
}

fn findings(facts: &str) -> Findings {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // Looked at here and not in a process started by Rust, which opens descriptors of its own.
    let mut outcomes = vec![reach::leaked_descriptors()];
    outcomes.extend(attempts().map(|a| Outcome {
        id: a.id.into(),
        tried: a.tried.into(),
        gains: a.gains.into(),
        ending: alone(facts, a.id),
    }));
    Findings { uid, gid, host_uid: host_uid(&map, uid), outcomes }
}

/// Makes one attempt in a process of its own.
fn alone(facts: &str, id: &str) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    let child = Command::new("/proc/self/exe").args(["__probe", facts, ONE, id]).output();
    let output = match child {
        Ok(output) => output,
        Err(e) => return Ending::Absent(format!("the probe cannot start itself: {e}")),
    };
    if let Some(signal) = output.status.signal() {
        return Ending::Refused(format!("signal {signal}"));
    }
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| Ending::Absent(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Reads the host id of a user from a `uid_map`.
///
/// Seen from inside, the second column counts in the parent namespace: on the host, unless bryo is itself nested.
fn host_uid(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map_while(|n| n.parse::<u32>().ok());
        let (inside, host, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let n = uid.checked_sub(inside)?;
        if n < count { host.checked_add(n) } else { None }
    })
}

impl Ending {
    /// Judges a call: errors that only arise past every guard count as success.
    fn of<T>(result: rustix::io::Result<T>, past_the_guards: &[Errno]) -> Self {
        match result {
            Ok(_) => Self::Possible("it succeeded".into()),
            Err(e) if past_the_guards.contains(&e) => Self::Possible(format!("the kernel took it ({})", name(e))),
            Err(e) => Self::Refused(name(e)),
        }
    }

    /// Judges an operation of the standard library.
    fn of_io<T>(result: std::io::Result<T>) -> Self {
        match result {
            Ok(_) => Self::Possible("it succeeded".into()),
            Err(e) => {
                Self::Refused(e.raw_os_error().map_or_else(|| e.to_string(), |n| name(Errno::from_raw_os_error(n))))
            }
        }
    }
}

/// Names an errno as the manual does.
fn name(errno: Errno) -> String {
    let known = [
        (Errno::PERM, "EPERM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::ROFS, "EROFS"),
        (Errno::NOENT, "ENOENT"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::SRCH, "ESRCH"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NXIO, "ENXIO"),
        (Errno::INVAL, "EINVAL"),
        (Errno::FAULT, "EFAULT"),
        (Errno::BADF, "EBADF"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::HOSTUNREACH, "EHOSTUNREACH"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::PROTONOSUPPORT, "EPROTONOSUPPORT"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::BUSY, "EBUSY"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::NOKEY, "ENOKEY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::TOOBIG, "E2BIG"),
    ];
    let found = known.iter().find(|(e, _)| *e == errno).map(|(_, name)| (*name).to_owned());
    found.unwrap_or_else(|| format!("errno {}", errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_fails_past_the_guards_was_possible() {
        assert_eq!(Ending::of::<()>(Err(Errno::PERM), &[Errno::FAULT]), Ending::Refused("EPERM".into()));
        assert!(matches!(Ending::of::<()>(Err(Errno::FAULT), &[Errno::FAULT]), Ending::Possible(_)));
        assert!(matches!(Ending::of(Ok(()), &[]), Ending::Possible(_)));
    }

    #[test]
    fn the_map_tells_the_host_id() {
        let map = "         0     100000      65536\n";
        assert_eq!(host_uid(map, 65532), Some(165_532));
        assert_eq!(host_uid(map, 65536), None);
        assert_eq!(host_uid("65532 1000 1", 65532), Some(1000));
    }

    #[test]
    fn names_are_unique_and_reports_survive_the_way() {
        let mut ids: Vec<_> = attempts().map(|a| a.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        let outcome =
            Outcome { id: "a".into(), tried: "b".into(), gains: "c".into(), ending: Ending::Refused("EPERM".into()) };
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }
}
