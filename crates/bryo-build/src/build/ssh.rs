// SPDX-License-Identifier: Apache-2.0
//! Agents of `RUN --mount=type=ssh`: keys are used by a step and never seen.
//!
//! ```text
//! a step                         a child of the build                  the agent
//! ssh ── its own socket ───────> passes on what asks and signs ──────> SSH_AUTH_SOCK
//! ```
//!
//! | who | namespaces | ids and capabilities | may allocate | peer | exits |
//! |---|---|---|---|---|---|
//! | child of the build | the caller's | the caller's | yes: its parent had one thread | the step, by a socket in which it may say anything | with the step |
//!
//! The agent's own socket belongs to the caller, whom a step has no id of. And a step may list keys and have something
//! signed, but neither add nor remove nor lock any. Source: draft-ietf-sshm-ssh-agent, sections 3 and 6.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bryo_engine::error::Error as EngineError;
use bryo_identity::userns::Child;
use bryo_sys::clone::{Fork, Namespaces, fork_into};
use bryo_sys::exec::exit_now;
use rustix::process::Signal;

use crate::error::Result;

/// What a step may ask an agent: for its keys, and to sign.
const PERMITTED: [u8; 2] = [11, 13];

/// The agent's answer to what it does not do.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// The longest message, in bytes. Source: OpenSSH's limit.
const MESSAGE_MAX: u32 = 256 << 10;

/// How many a step may talk to an agent at a time.
const CONNECTIONS_MAX: usize = 64;

/// A socket that leads to an agent. It goes with the value.
#[derive(Debug)]
pub(super) struct Forward {
    _child: Child,
    dir: tempfile::TempDir,
}

impl Forward {
    /// Begins to pass on, from a socket below `place`.
    pub fn begin(agent: &Path, place: &Path) -> Result<Self> {
        let fail = |e| EngineError::io("cannot make a socket in", place, e);
        // Called as other things that a build unpacks, so that what a killed one has left is found.
        let dir = tempfile::Builder::new().prefix("context-").tempdir_in(place).map_err(fail)?;
        let path = dir.path().join("agent");
        let listener = UnixListener::bind(&path).map_err(fail)?;
        // Whoever the step is; nobody else gets through the directory.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).map_err(fail)?;
        match fork_into(Namespaces::empty()).map_err(EngineError::from)? {
            Fork::Child => {
                let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                exit_now(i32::from(tied.is_err() || serve(&listener, agent).is_err()))
            }
            Fork::Parent { pid, pidfd } => Ok(Self { _child: Child::adopt(pid, pidfd), dir }),
        }
    }

    /// Returns where the socket is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("agent")
    }
}

fn serve(listener: &UnixListener, agent: &Path) -> io::Result<()> {
    let busy = std::sync::atomic::AtomicUsize::new(0);
    let done = || busy.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for client in listener.incoming() {
            let client = client?;
            if busy.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= CONNECTIONS_MAX {
                done();
                continue;
            }
            scope.spawn(move || {
                // Whatever ends it, both sides see the end.
                let _ = UnixStream::connect(agent).and_then(|agent| pass(client, agent));
                done()
            });
        }
        Ok(())
    })
}

/// Passes messages on and answers back, one after the other, until one side ends.
fn pass(mut client: impl Read + Write, mut agent: impl Read + Write) -> io::Result<()> {
    loop {
        let message = message(&mut client)?;
        if !message.first().is_some_and(|kind| PERMITTED.contains(kind)) {
            client.write_all(&FAILURE)?;
            continue;
        }
        send(&mut agent, &message)?;
        let answer = self::message(&mut agent)?;
        send(&mut client, &answer)?;
    }
}

fn message(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MESSAGE_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    Ok(message)
}

fn send(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    to.write_all(&[&length.to_be_bytes()[..], message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_and_used_and_nothing_else() {
        let (mut step, client) = UnixStream::pair().unwrap();
        let (agent, mut keys) = UnixStream::pair().unwrap();
        let passing = std::thread::spawn(move || pass(client, agent));
        send(&mut step, &[11]).unwrap();
        assert_eq!(message(&mut keys).unwrap(), [11]);
        send(&mut keys, &[12, 0, 0, 0, 0]).unwrap();
        assert_eq!(message(&mut step).unwrap(), [12, 0, 0, 0, 0]);
        for refused in [&[19][..], &[22, 1], &[27], &[]] {
            send(&mut step, refused).unwrap();
            assert_eq!(message(&mut step).unwrap(), [5], "{refused:?}");
        }
        step.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(passing.join().unwrap().is_err());
        assert!(message(&mut keys).is_err(), "nothing else has come");
    }
}
