// SPDX-License-Identifier: Apache-2.0
//! Processes in a user namespace with a map.
//!
//! ```text
//! parent                                child
//! fork_into(USER | ...) ───────────────> waits
//! starts who writes the maps
//! "start" ────────────────────────────>  runs with the caller's kernel ids, all capabilities inside,
//!                                        may open what the caller may open
//! "go" ───────────────────────────────>  become_root(): waits for it, drops the caller's groups and ids
//!                                        acts as root inside: on the host, a subordinate id
//! ```
//!
//! The window before `become_root` is what lets a child open a store below a home of mode 0700 although the caller
//! is not in the map: a process keeps its kernel ids until it changes them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bryo_sys::check;
use bryo_sys::clone::{Fork, Namespaces, fork_into, fork_into_group, fork_sibling, join_one};
use bryo_sys::exec::exit_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Gid, Pid, Signal, Uid, WaitId, WaitIdOptions};

use crate::error::{Error, Kind, Result};
use crate::map::{IdMap, RunIds};
use crate::rung::Rung;
use crate::write::{Helpers, Writer};

/// A child in a user namespace of its own. Dropping it ends the child and waits for it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    reaped: bool,
}

/// What the child holds: its side of the handshake.
#[derive(Debug)]
pub struct Inside {
    door: Door,
    acting: RunIds,
    setgroups: bool,
}

/// How a child comes into its namespace.
#[derive(Debug)]
enum Door {
    /// It was born in it, and waits here for the word that the map is written.
    New(OwnedFd),
    /// It joins one that another process has made.
    Existing(OwnedFd),
    /// It joins those of a process, with more of its namespaces at one time.
    Process(OwnedFd, Namespaces),
}

/// What a child is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its map.
    pub map: &'a IdMap,
    /// The helpers that may write the map.
    pub helpers: Option<&'a Helpers>,
    /// Its namespaces besides the user namespace.
    pub namespaces: Namespaces,
}

/// A namespace that children are made in, in place of the caller's own. The caller must be the one who made it.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The user namespace and its map, in which the caller is; none where the caller may do everything as it is.
    pub user: Option<(BorrowedFd<'a>, &'a IdMap)>,
    /// A network namespace that belongs to it, or to one below it, for children that get none of their own.
    pub network: Option<BorrowedFd<'a>>,
}

/// A child that waits for its map, so that its `/proc` entries can still be opened by the caller.
#[derive(Debug)]
pub struct Unmapped {
    child: Child,
    go: OwnedFd,
    mapped: bool,
}

/// Makes a child in new namespaces that runs `body` and exits with its result, and writes its maps.
///
/// # Errors
///
/// [`Kind::NoUserNamespace`] when the kernel refuses the namespace, [`Kind::MapRefused`] when the map cannot be
/// written, [`Kind::Threaded`] when the calling process has more than one thread. No child is left in any case.
pub fn spawn(request: Request<'_>, body: impl FnOnce(Inside) -> i32) -> Result<Child> {
    clone(request, None, body)?.map(request)
}

/// Makes the child of [`spawn`] and leaves its maps to a call of [`Unmapped::map`]. It is born in a control group, if one
/// is given.
///
/// # Errors
///
/// As [`spawn`].
pub fn clone(
    request: Request<'_>,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce(Inside) -> i32,
) -> Result<Unmapped> {
    let (mine, theirs) = pipe()?;
    let namespaces = request.namespaces | Namespaces::USER;
    match fork(namespaces, group)? {
        Fork::Child => {
            drop(mine);
            // Where processors are few it would be in the way of the helpers, which everybody waits for.
            let _ = hear(&theirs);
            // A map with subordinate groups or one written by root leaves setgroups(2) allowed.
            let setgroups = request.map.rung != Rung::Single;
            let code = body(Inside { door: Door::New(theirs), acting: request.map.acting(), setgroups });
            exit_now(code)
        }
        Fork::Parent { pid, pidfd } => {
            Ok(Unmapped { child: Child { pid, pidfd, reaped: false }, go: mine, mapped: false })
        }
    }
}

/// Makes the child of [`clone`] inside another user namespace.
///
/// ```text
/// caller              helper                              child
/// fork ─────────────> joins the namespaces, forks ──────> is the caller's child
///                     writes the maps
/// adopts it <──────── sends number and pidfd, ends
/// ```
///
/// Only the helper joins. It keeps the caller's kernel ids and so does the child, and the caller stays where it is:
/// what else it has to do, such as starting `newuidmap`, can only be done from there.
///
/// # Errors
///
/// As [`spawn`]; [`Kind::NotMapped`] when the map has ids that the one around it has not.
pub fn clone_in(
    around: Around<'_>,
    request: Request<'_>,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce(Inside) -> i32,
) -> Result<Unmapped> {
    let missing = || Error::new(Kind::NotMapped, "the container has ids that the namespace of networks has not");
    let map = match around.user {
        Some((_, outer)) => request.map.seen_from(outer).ok_or_else(missing)?,
        None => request.map.clone(),
    };
    let (mine, theirs) = pipe()?;
    let (here, there) = bryo_sys::fd::message_pair()?;
    // The child is where its helper is.
    let helper = match fork(Namespaces::empty(), group)? {
        Fork::Child => {
            drop((mine, here));
            let made = enter_around(around)
                .and_then(|()| fork_sibling(request.namespaces | Namespaces::USER).map_err(refused));
            let told = match made {
                Ok(Fork::Child) => {
                    drop(there);
                    let setgroups = map.rung != Rung::Single;
                    exit_now(body(Inside { door: Door::New(theirs), acting: map.acting(), setgroups }))
                }
                Ok(Fork::Parent { pid, pidfd }) => hand_over(&there, pid, &pidfd, &map),
                Err(error) => bryo_sys::fd::send(&there, error.to_string().as_bytes(), &[]),
            };
            exit_now(i32::from(told.is_err()))
        }
        Fork::Parent { pid, pidfd } => Child { pid, pidfd, reaped: false },
    };
    drop((theirs, there));
    let made = take_over(&here);
    helper.wait()?;
    let child = made?;
    request.map.verify(child.pid)?;
    Ok(Unmapped { child, go: mine, mapped: true })
}

/// Waits for the parent's next word, and tells whether there was one.
fn hear(go: &OwnedFd) -> bool {
    rustix::io::retry_on_intr(|| rustix::io::read(go, &mut [0])) == Ok(1)
}

/// Joins the namespaces. A process that has gained capabilities cannot be looked into any more, nor can its children
/// unless they are told so; but the maps are written, and namespaces opened, through their `/proc` entries.
fn enter_around(around: Around<'_>) -> Result<()> {
    let joined = around.user.map_or(Ok(()), |(user, _)| join_one(user, Namespaces::USER));
    let joined = joined.and_then(|()| around.network.map_or(Ok(()), |network| join_one(network, Namespaces::NET)));
    joined.map_err(|e| Error::caused(Kind::NoUserNamespace, "cannot join the namespace of networks", e))?;
    let dumpable = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable);
    Ok(check("prctl", || "PR_SET_DUMPABLE, 1".into(), dumpable)?)
}

/// Maps the helper's child and hands it to the caller; one that cannot be mapped is ended by its own pipe.
fn hand_over(there: &OwnedFd, pid: Pid, pidfd: &OwnedFd, map: &IdMap) -> bryo_sys::Result<()> {
    let number = pid.as_raw_nonzero().get().to_ne_bytes();
    bryo_sys::fd::send(there, &number, &[pidfd.as_fd()])?;
    let mapped = Writer::Around.write(pid, map, || Ok(()));
    let word = mapped.map_or_else(|error| error.to_string(), |()| String::from("mapped"));
    bryo_sys::fd::send(there, word.as_bytes(), &[])
}

/// Takes what a helper hands over.
fn take_over(here: &OwnedFd) -> Result<Child> {
    let lost = |words: &[u8]| {
        let words = if words.is_empty() { "its helper ended".into() } else { String::from_utf8_lossy(words) };
        Error::new(Kind::NoUserNamespace, format!("cannot make a user namespace: {words}"))
    };
    let mut words = [0; 1024];
    let (n, fds) = bryo_sys::fd::receive(here, &mut words)?;
    let pid = <[u8; 4]>::try_from(&words[..n]).ok().and_then(|number| Pid::from_raw(i32::from_ne_bytes(number)));
    let (Some(pid), Some(pidfd)) = (pid, fds.into_iter().next()) else { return Err(lost(&words[..n])) };
    let child = Child::adopt(pid, pidfd);
    let (n, _) = bryo_sys::fd::receive(here, &mut words)?;
    if &words[..n] == b"mapped" { Ok(child) } else { Err(lost(&words[..n])) }
}

/// Makes a child that enters an existing user namespace when it calls [`Inside::become_root`]. The caller must be the
/// one who made the namespace: to him it obeys even when its processes have ended.
///
/// # Errors
///
/// [`Kind::Threaded`], or what `clone3(2)` answers.
pub fn enter(namespace: OwnedFd, map: &IdMap, body: impl FnOnce(Inside) -> i32) -> Result<Child> {
    match fork_into(Namespaces::empty()).map_err(refused)? {
        Fork::Child => {
            let setgroups = map.rung != Rung::Single;
            exit_now(body(Inside { door: Door::Existing(namespace), acting: map.acting(), setgroups }))
        }
        Fork::Parent { pid, pidfd } => Ok(Child { pid, pidfd, reaped: false }),
    }
}

/// Makes a child that joins the user namespace of a process, and more of its namespaces, when it calls
/// [`Inside::become_root`]. The caller must be the one who made the user namespace. The child is born in a control
/// group, if one is given.
///
/// # Errors
///
/// [`Kind::Threaded`], or what `clone3(2)` answers.
pub fn join(
    process: BorrowedFd<'_>,
    namespaces: Namespaces,
    map: &IdMap,
    group: Option<BorrowedFd<'_>>,
    body: impl FnOnce(Inside) -> i32,
) -> Result<Child> {
    let process = process.try_clone_to_owned().map_err(|e| {
        let errno = bryo_sys::Errno::from_io_error(&e).unwrap_or(bryo_sys::Errno::MFILE);
        Error::caused(Kind::NoUserNamespace, "cannot join", bryo_sys::Error::new("fcntl", "F_DUPFD_CLOEXEC", errno))
    })?;
    match fork(Namespaces::empty(), group)? {
        Fork::Child => {
            let (door, setgroups) = (Door::Process(process, namespaces), map.rung != Rung::Single);
            exit_now(body(Inside { door, acting: map.acting(), setgroups }))
        }
        Fork::Parent { pid, pidfd } => Ok(Child { pid, pidfd, reaped: false }),
    }
}

impl Unmapped {
    /// Returns the child's process id as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.child.pid
    }

    /// Writes the maps and lets the child go on. One that has ended by then had its reasons, and its exit code and its
    /// last words tell them.
    ///
    /// # Errors
    ///
    /// [`Kind::MapRefused`]; the child is gone then.
    pub fn map(self, request: Request<'_>) -> Result<Child> {
        self.map_while(request, |_| ())
    }

    /// As [`Unmapped::map`], and does something with a descriptor of the child while others write the maps.
    ///
    /// # Errors
    ///
    /// As [`Unmapped::map`].
    pub fn map_while(self, request: Request<'_>, meanwhile: impl FnOnce(BorrowedFd<'_>)) -> Result<Child> {
        match self.write(request, || meanwhile(self.child.pidfd())) {
            // One that has closed its pipe is about to end.
            Err(_) if self.child.has_ended(Duration::from_millis(100)) => Ok(self.child),
            Err(error) => Err(error),
            Ok(()) => Ok(self.child),
        }
    }

    fn write(&self, request: Request<'_>, meanwhile: impl FnOnce()) -> Result<()> {
        let tell =
            |word: &str| check("write", || word.into(), rustix::io::write(&self.go, &word.as_bytes()[..1])).map(drop);
        if self.mapped {
            meanwhile();
        } else {
            let writer = Writer::for_map(request.map, request.helpers)?;
            writer.write(self.child.pid, request.map, || {
                tell("start")?;
                meanwhile();
                Ok(())
            })?;
        }
        Ok(tell("go")?)
    }
}

impl Inside {
    /// Returns the descriptor that it becomes root by: one that closes all others keeps this one.
    pub fn door(&self) -> BorrowedFd<'_> {
        match &self.door {
            Door::New(fd) | Door::Existing(fd) | Door::Process(fd, _) => fd.as_fd(),
        }
    }

    /// Enters the namespace once it has its map, and becomes root inside, or the only id there is, without any group of the caller.
    ///
    /// Groups go first: without the ids of root that would not be allowed any more. On the single rung the kernel
    /// forbids `setgroups`, and the caller's groups stay; `inspect` says so.
    ///
    /// # Errors
    ///
    /// When the parent is gone, or the kernel refuses an id.
    pub fn become_root(&self) -> Result<()> {
        match &self.door {
            Door::New(go) => {
                if !hear(go) {
                    return Err(Error::new(Kind::MapRefused, "the parent gave up"));
                }
            }
            Door::Existing(namespace) => {
                let user = Some(rustix::thread::LinkNameSpaceType::User);
                let joined = rustix::thread::move_into_link_name_space(namespace.as_fd(), user);
                check("setns", || "CLONE_NEWUSER".into(), joined)?;
            }
            Door::Process(pidfd, namespaces) => bryo_sys::clone::join(pidfd, *namespaces | Namespaces::USER)?,
        }
        let (uid, gid) = (Uid::from_raw(self.acting.uid.get()), Gid::from_raw(self.acting.gid.get()));
        if self.setgroups {
            check("setgroups", || "[]".into(), rustix::thread::set_thread_groups(&[]))?;
        }
        check("setresgid", || gid.as_raw().to_string(), rustix::thread::set_thread_res_gid(gid, gid, gid))?;
        check("setresuid", || uid.as_raw().to_string(), rustix::thread::set_thread_res_uid(uid, uid, uid))?;
        Ok(())
    }
}

impl Child {
    /// Takes a child that another process has made for the caller (`CLONE_PARENT`).
    pub fn adopt(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, reaped: false }
    }

    /// Returns the process id as the caller sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns a descriptor that is readable once the child has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the end and returns the exit code, or 128 and the signal's number.
    ///
    /// # Errors
    ///
    /// When somebody else has reaped the child.
    pub fn wait(mut self) -> Result<i32> {
        self.reap()
    }

    /// Tells whether the child has ended, or does so soon.
    pub fn has_ended(&self, soon: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let soon = Timespec::try_from(soon).ok();
        poll(&mut fds, soon.as_ref()).is_ok_and(|n| n > 0)
    }

    fn reap(&mut self) -> Result<i32> {
        self.reaped = true;
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        let status = check("waitid", || self.pid.as_raw_nonzero().to_string(), status)?;
        Ok(status.map_or(255, |s| s.exit_status().unwrap_or_else(|| 128 + s.terminating_signal().unwrap_or(0))))
    }

    /// Leaves the child to itself.
    pub fn leave(mut self) {
        self.reaped = true;
    }

    /// Sends a signal; a child that has ended already is no error.
    pub fn signal(&self, signal: Signal) {
        // The only failure left with a valid descriptor is that the child has ended.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            let _ = self.reap();
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (read, write) = check("pipe2", || "CLOEXEC".into(), pipe)?;
    Ok((write, read))
}

fn fork(namespaces: Namespaces, group: Option<BorrowedFd<'_>>) -> Result<Fork> {
    let forked = match group {
        Some(group) => fork_into_group(namespaces, group),
        None => fork_into(namespaces),
    };
    forked.map_err(|e| match (group, e.errno()) {
        // What else the kernel refuses is what it always may.
        (Some(_), bryo_sys::Errno::ACCESS | bryo_sys::Errno::AGAIN) => {
            Error::caused(Kind::System, "cannot put a process into the container's control group", e)
        }
        _ => refused(e),
    })
}

fn refused(e: bryo_sys::Error) -> Error {
    match e.errno() {
        bryo_sys::Errno::BUSY => Error::caused(Kind::Threaded, "cannot make a user namespace", e),
        _ => Error::caused(Kind::NoUserNamespace, "cannot make a user namespace", e),
    }
}
