// SPDX-License-Identifier: Apache-2.0
//! The observer's loop: each thread that stops is looked at and goes on.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use bryo_launch::seccomp::name_of;
use bryo_sys::Errno;
use bryo_sys::trace::{self, Go, Side, Stop};
use rustix::process::{Pid, Signal};

use super::Observation;
use super::look::{Thread, Who};
use super::record::Recorder;
use super::table::{Shape, Verb, shape};
use crate::error::Result;

/// A call that has begun.
struct Begun {
    call: (u32, u64),
    args: [u64; 6],
    /// Who makes it, where that is not the same afterwards.
    before: Option<Who>,
    /// It makes a process that is not watched.
    untraced: bool,
}

/// `CLONE_UNTRACED` of `linux/sched.h`.
const UNTRACED: u64 = 0x0080_0000;

/// Watches a stopped process and all that it starts, until nobody is left; tells with a byte that it does.
pub(super) fn watch(pid: Pid, tell: OwnedFd) -> Result<Observation> {
    trace::seize(pid)?;
    bryo_sys::check("write", || "watched".into(), rustix::io::write(&tell, b"w"))?;
    drop(tell);
    // It was stopped before anybody watched it.
    let woken = rustix::process::kill_process(pid, Signal::CONT);
    bryo_sys::check("kill", || "SIGCONT".into(), woken)?;
    let mut watcher = Watcher { first: pid, asleep: true, ..Watcher::new() };
    while let Some((thread, stop)) = trace::wait()? {
        watcher.stopped(thread, stop)?;
    }
    Ok(watcher.recorder.finish())
}

struct Watcher {
    first: Pid,
    /// The first process has not got the signal yet that lets it go on, which is not for it.
    asleep: bool,
    begun: HashMap<Pid, Begun>,
    known: HashMap<(u32, u64), (&'static str, Shape)>,
    recorder: Recorder,
}

impl Watcher {
    fn new() -> Self {
        let first = Pid::INIT;
        Self { first, asleep: false, begun: HashMap::new(), known: HashMap::new(), recorder: Recorder::default() }
    }

    /// Looks at a thread that has stopped, and lets it go on.
    fn stopped(&mut self, thread: Pid, stop: Stop) -> Result<()> {
        let how = match stop {
            Stop::Ended => {
                self.begun.remove(&thread);
                return Ok(());
            }
            Stop::Call => {
                self.call(thread)?;
                Go::ToCall(0)
            }
            Stop::Signal(signal) if self.asleep && thread == self.first && signal == Signal::CONT.as_raw() => {
                self.asleep = false;
                Go::ToCall(0)
            }
            Stop::Signal(signal) => Go::ToCall(signal),
            Stop::Group if self.asleep && thread == self.first => Go::ToCall(0),
            Stop::Group => Go::Listening,
            Stop::Executed => {
                self.executed(thread, trace::executed_by(thread).ok().flatten());
                Go::ToCall(0)
            }
            Stop::Other => Go::ToCall(0),
        };
        if !self.begun.contains_key(&thread) && stop == Stop::Other {
            self.recorder.threads(thread.as_raw_nonzero().get());
        }
        gone(trace::go_on(thread, how))
    }

    /// Of a process with many threads the one that executes a program goes on by the number of the first: the call that
    /// comes back there is its own, and what the first had begun never comes back.
    fn executed(&mut self, thread: Pid, former: Option<Pid>) {
        if former == Some(thread) {
            return;
        }
        self.begun.remove(&thread);
        let call = former.and_then(|former| self.begun.remove(&former));
        self.begun.extend(call.map(|call| (thread, call)));
    }

    /// Returns what is known of a call. One without a name is not kept: there is no end of numbers.
    fn known(&mut self, call: (u32, u64)) -> Option<(&'static str, Shape)> {
        if let Some(known) = self.known.get(&call) {
            return Some(*known);
        }
        let name = name_of(call.0, call.1)?;
        let known = (name, shape(name));
        self.known.insert(call, known);
        Some(known)
    }

    fn call(&mut self, thread: Pid) -> Result<()> {
        let side = match trace::call(thread) {
            Ok(side) => side,
            // Killed meanwhile.
            Err(e) if e.errno() == Errno::SRCH => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        match side {
            Side::Entry { arch, number, args } => {
                let call = (arch, number);
                let known = self.known(call);
                self.recorder.made(known.map(|(name, _)| name));
                let changes = known.is_some_and(|(_, shape)| matches!(shape.verb, Some(Verb::User | Verb::Group)));
                let looked_at = Thread { tid: thread.as_raw_nonzero().get(), args: &args };
                let before = changes.then(|| looked_at.who());
                let untraced = known.is_some_and(|(name, _)| is_untraced(name, &looked_at));
                self.begun.insert(thread, Begun { call, args, before, untraced });
            }
            Side::Exit(result) => {
                let Some(begun) = self.begun.remove(&thread) else { return Ok(()) };
                if begun.untraced && result.is_ok() {
                    self.recorder.unwatched();
                }
                if let Some((name, shape)) = self.known.get(&begun.call) {
                    let thread = Thread { tid: thread.as_raw_nonzero().get(), args: &begun.args };
                    self.recorder.done(&thread, name, shape, (result, begun.before));
                }
            }
            Side::None => (),
        }
        Ok(())
    }
}

/// Tells whether a call makes a process that this one will not be told of.
fn is_untraced(name: &str, thread: &Thread<'_>) -> bool {
    match name {
        "clone" => thread.args[0] & UNTRACED != 0,
        "clone3" => thread.number(0).is_none_or(|flags| flags & UNTRACED != 0),
        _ => false,
    }
}

/// Passes over that a thread was killed meanwhile: its end is reported next.
fn gone(result: bryo_sys::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.errno() != Errno::SRCH => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_made_unwatched_is_known_by_its_flags() {
        let untraced = |name: &str, first: u64| {
            let args = [first, 0, 0, 0, 0, 0];
            is_untraced(name, &Thread { tid: i32::try_from(std::process::id()).unwrap(), args: &args })
        };
        assert!(untraced("clone", UNTRACED | 0x11) && !untraced("clone", 0x11) && !untraced("fork", UNTRACED));
        // The flags of the newer call are where its argument points to; nobody knows what cannot be read.
        let at = |flags: &u64| std::ptr::from_ref(flags) as u64;
        assert!(untraced("clone3", at(&UNTRACED)) && !untraced("clone3", at(&0x100)) && untraced("clone3", 8));
    }

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).unwrap()
    }

    fn watcher() -> Watcher {
        let call = |number| Begun { call: (1, number), args: [0; 6], before: None, untraced: false };
        let mut watcher = Watcher::new();
        watcher.begun = [(pid(10), call(202)), (pid(11), call(59)), (pid(20), call(0))].into();
        watcher
    }

    fn left(watcher: &Watcher) -> Vec<(i32, u64)> {
        let mut left: Vec<_> = watcher.begun.iter().map(|(who, begun)| (who.as_raw_pid(), begun.call.1)).collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn a_thread_that_executes_a_program_leaves_nothing_behind_under_its_old_number() {
        let mut of_thread = watcher();
        of_thread.executed(pid(10), Some(pid(11)));
        assert_eq!(left(&of_thread), [(10, 59), (20, 0)], "its call comes back by the first's number");
        let mut of_first = watcher();
        of_first.executed(pid(10), Some(pid(10)));
        assert_eq!(left(&of_first), [(10, 202), (11, 59), (20, 0)]);
        let mut of_nobody = watcher();
        of_nobody.executed(pid(10), None);
        assert_eq!(left(&of_nobody), [(11, 59), (20, 0)]);
    }
}
