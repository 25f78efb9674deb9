// SPDX-License-Identifier: Apache-2.0
//! What is written down of each call. Bounded: of each kind of thing so many, and then only that there were more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bryo_sys::Errno;
use rustix::fs::FileType;

use super::look::{Peer, Thread, Who, kind, lacks};
use super::table::{At, Flags, Shape, Verb};
use super::{Observation, Refusal, Socket};

/// How many different things of one kind are written down.
const MOST: usize = 4096;

/// How many characters of a text are.
const LONGEST: usize = 512;

/// Flags of `open(2)`.
const ACCESS: u64 = 0o3;
const CREATE: u64 = 0o100;
const EXCLUSIVE: u64 = 0o200;
const TRUNCATE: u64 = 0o1000;
const PATH: u64 = 0o1000_0000;

/// Lower ports are privileged where the network says so.
const LOW: u16 = 1024;

/// Gathers what is seen.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    seen: Observation,
    calls: HashMap<&'static str, u64>,
    threads: HashSet<i32>,
    refused: BTreeMap<Refusal, u64>,
}

impl Recorder {
    /// Writes down that a thread was born.
    pub fn threads(&mut self, thread: i32) {
        if self.threads.insert(thread) {
            self.seen.threads += 1;
        }
        if self.threads.len() > MOST {
            self.threads.clear();
        }
    }

    /// Writes down that a call was made; one without a name is of another time.
    pub fn made(&mut self, name: Option<&'static str>) {
        match name {
            Some(name) => *self.calls.entry(name).or_default() += 1,
            None => self.seen.left_out += 1,
        }
    }

    /// Writes down that a process was made that is not watched.
    pub fn unwatched(&mut self) {
        self.seen.unwatched += 1;
    }

    /// Writes down how a call went.
    pub fn done(
        &mut self,
        thread: &Thread<'_>,
        name: &str,
        shape: &Shape,
        (result, before): (Result<i64, i32>, Option<Who>),
    ) {
        match (result, shape.verb) {
            (Err(errno), _) => {
                let word = match Errno::from_raw_os_error(errno) {
                    // So the kernel answers, to root too, for a file that is never waited for. Source: `epoll_ctl(2)`.
                    Errno::PERM if name == "epoll_ctl" => return,
                    Errno::PERM => "EPERM",
                    Errno::ACCESS => "EACCES",
                    Errno::ROFS => "EROFS",
                    // So the kernel answers where the user namespace does not have the id.
                    Errno::INVAL if matches!(shape.verb, Some(Verb::Own | Verb::User | Verb::Group)) => "EINVAL",
                    // Its answer is that it will be answered later.
                    Errno::INPROGRESS => return self.socket(thread, shape),
                    _ => return,
                };
                self.refused(thread, name, shape, word);
            }
            (Ok(_), Some(verb @ (Verb::User | Verb::Group))) => {
                let before = before.unwrap_or_else(|| thread.who());
                let own = if verb == Verb::User { before.uid } else { before.gid };
                // Whoever asks to be who he is needs nothing for it.
                let other = shape.ids[0].is_none_or(|n| thread.int(n).cast_unsigned() != own);
                if other {
                    self.capable_as(&before, if verb == Verb::User { "CAP_SETUID" } else { "CAP_SETGID" });
                }
            }
            (Ok(value), Some(verb)) => self.succeeded(thread, name, shape, verb, value),
            (Ok(_), None) => (),
        }
    }

    fn refused(&mut self, thread: &Thread<'_>, name: &str, shape: &Shape, errno: &str) {
        let who = thread.who();
        let mut verb = shape.verb.unwrap_or(Verb::Other);
        let flags = flags(thread, shape);
        if verb == Verb::Read && writes(flags) {
            verb = Verb::Write;
        }
        let mut object = shape.file.and_then(|at| thread.file(at));
        // Then it is the directory that refuses.
        if verb == Verb::Write && flags & CREATE != 0 && object.as_deref().is_some_and(|path| thread.is_missing(path)) {
            verb = Verb::Create;
        }
        let mut detail = shape.to.and_then(|at| thread.file(at));
        let id = |n: usize| thread.int(n).cast_unsigned();
        let known = |n: u32| if n == u32::MAX { "unchanged".to_owned() } else { n.to_string() };
        match (verb, shape.ids) {
            (Verb::Own, [Some(uid), Some(gid)]) => detail = Some(format!("{}:{}", known(id(uid)), known(id(gid)))),
            (Verb::Create, [Some(mode), _]) if is_device(id(mode)) => verb = Verb::Device,
            (Verb::User | Verb::Group, [Some(n), _]) => object = Some(known(id(n))),
            (Verb::Signal, [Some(n), _]) => object = Some(thread.int(n).to_string()),
            (Verb::Mount, _) if name == "mount" => detail = thread.string(2),
            (Verb::Socket, _) => object = Some(family(thread)),
            (Verb::Bind | Verb::Connect | Verb::Listen, _) => object = self.peer(thread, shape),
            _ => (),
        }
        let refusal = Refusal {
            call: name.to_owned(),
            errno: errno.to_owned(),
            verb,
            object: object.map(short),
            detail: detail.map(short),
            uid: who.uid,
            gid: who.gid,
            program: short(thread.program()),
        };
        let refused = &mut self.refused;
        if refused.len() < MOST || refused.contains_key(&refusal) {
            *refused.entry(refusal).or_default() += 1;
        } else {
            self.seen.left_out += 1;
        }
    }

    /// Says who was meant to be reached, or as who.
    fn peer(&self, thread: &Thread<'_>, shape: &Shape) -> Option<String> {
        let address = shape.address.and_then(|a| thread.address(a.0, a.1))?;
        Some(match address {
            Peer::Path(path) => path,
            Peer::Other(family) => format!("an address of family {family}"),
            Peer::Internet { address, port } => {
                let protocol = thread.protocol(thread.int(0)).unwrap_or("tcp");
                format!("{address} {protocol} port {port}")
            }
        })
    }

    fn succeeded(&mut self, thread: &Thread<'_>, name: &str, shape: &Shape, verb: Verb, value: i64) {
        match verb {
            Verb::Read if shape.flags.is_some() => self.opened(thread, shape, value),
            Verb::Create | Verb::Remove | Verb::Rename => {
                for at in [shape.file, shape.to].into_iter().flatten() {
                    self.changed(thread, at);
                }
                if let ([Some(mode), _], Verb::Create) = (shape.ids, verb)
                    && is_device(thread.int(mode).cast_unsigned())
                {
                    self.capable(thread, "CAP_MKNOD");
                }
            }
            Verb::Change | Verb::Own => {
                if let Some(at) = shape.file {
                    self.changed(thread, at);
                }
                let xattr = name.ends_with("setxattr") && thread.string(1).as_deref() == Some("security.capability");
                if verb == Verb::Own {
                    self.capable(thread, "CAP_CHOWN");
                } else if xattr {
                    self.capable(thread, "CAP_SETFCAP");
                } else if shape.file.and_then(|at| thread.owner(at)).is_some_and(|owner| owner != thread.who().uid) {
                    self.capable(thread, "CAP_FOWNER");
                }
            }
            Verb::Bind | Verb::Connect => self.socket(thread, shape),
            Verb::Socket if matches!(thread.int(1) & 0xf, 3 | 10) || thread.int(0) == 17 => {
                self.capable(thread, "CAP_NET_RAW");
            }
            _ => {
                if let Some(capability) = capability(thread, name, verb) {
                    self.capable(thread, capability);
                }
            }
        }
    }

    /// Writes down what was opened, if it was to be written to, or is a device.
    fn opened(&mut self, thread: &Thread<'_>, shape: &Shape, fd: i64) {
        let (Ok(fd), flags) = (i32::try_from(fd), flags(thread, shape)) else { return };
        if flags & PATH != 0 {
            return;
        }
        let Some(path) = thread.descriptor(fd) else { return };
        let Some(stat) = thread.stat(fd) else { return };
        if matches!(kind(&stat), FileType::CharacterDevice | FileType::BlockDevice) {
            // A terminal's number is not the same twice.
            let path = if path.starts_with("/dev/pts/") { "/dev/pts".to_owned() } else { path };
            return keep(&mut self.seen.devices, &mut self.seen.left_out, short(path));
        }
        let wanted = if writes(flags) { 0o2 } else { 0o4 };
        if kind(&stat) != FileType::Directory && flags & EXCLUSIVE == 0 {
            let who = thread.who();
            if who.capabilities != 0 && lacks(&stat, &who, wanted) {
                self.capable(thread, "CAP_DAC_OVERRIDE");
            }
        }
        if writes(flags) && kind(&stat) != FileType::Directory {
            self.written(&path);
        }
    }

    fn changed(&mut self, thread: &Thread<'_>, at: At) {
        if let Some(path) = thread.file(at) {
            self.written(&path);
        }
    }

    /// Writes down the directory of something that was written.
    fn written(&mut self, path: &str) {
        let kernels = ["/proc/", "/sys/", "/memfd:", "/dev/"].iter().any(|dir| path.starts_with(dir));
        if !path.starts_with('/') || (kernels && !path.starts_with("/dev/shm/")) {
            return;
        }
        let dir = path.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir });
        if dir.len() <= LONGEST {
            keep(&mut self.seen.writes, &mut self.seen.left_out, dir.to_owned());
        } else {
            self.seen.left_out += 1;
        }
    }

    fn socket(&mut self, thread: &Thread<'_>, shape: &Shape) {
        let binds = shape.verb == Some(Verb::Bind);
        let Some(address) = shape.address.and_then(|a| thread.address(a.0, a.1)) else { return };
        let port = match address {
            Peer::Path(_) if binds => return self.bound_path(thread, shape),
            Peer::Path(_) | Peer::Other(_) => return,
            Peer::Internet { port, .. } => port,
        };
        // An address of no port and no protocol undoes a connection, and tells nothing.
        let Some(protocol) = thread.protocol(thread.int(0)).filter(|p| *p != "raw") else { return };
        let socket = Socket { protocol: protocol.to_owned(), port };
        let list = if binds { &mut self.seen.bound } else { &mut self.seen.reached };
        keep(list, &mut self.seen.left_out, socket);
        if binds && (1..LOW).contains(&port) {
            self.capable(thread, "CAP_NET_BIND_SERVICE");
        }
    }

    /// A socket with a path is a file that was made.
    fn bound_path(&mut self, thread: &Thread<'_>, shape: &Shape) {
        // The path is behind the family, in the same memory.
        let Some(pointer) = shape.address.map(|a| a.0) else { return };
        let mut args = *thread.args;
        args[pointer] = args[pointer].wrapping_add(2);
        self.changed(&Thread { tid: thread.tid, args: &args }, At::Path(pointer));
    }

    /// Writes down a capability, if the thread has it at all.
    fn capable(&mut self, thread: &Thread<'_>, name: &str) {
        if !self.seen.capabilities.contains(name) {
            self.capable_as(&thread.who(), name);
        }
    }

    fn capable_as(&mut self, who: &Who, name: &str) {
        let number = CAPABILITIES.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
        if number.is_some_and(|number| who.capabilities >> number & 1 == 1) {
            self.seen.capabilities.insert(name.to_owned());
        }
    }

    /// Returns all that was seen.
    pub fn finish(mut self) -> Observation {
        let named = self.calls.into_iter().map(|(name, count)| (name.to_owned(), count));
        self.seen.calls = named.collect::<BTreeMap<_, _>>();
        self.seen.refused = self.refused.into_iter().collect();
        self.seen.threads += 1;
        self.seen
    }
}

/// The numbers of capabilities. Source: `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 17] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (10, "CAP_NET_BIND_SERVICE"),
    (13, "CAP_NET_RAW"),
    (14, "CAP_IPC_LOCK"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (23, "CAP_SYS_NICE"),
    (24, "CAP_SYS_RESOURCE"),
    (27, "CAP_MKNOD"),
    (31, "CAP_SETFCAP"),
];

/// `PR_CAPBSET_DROP` of `linux/prctl.h`.
const DROP_BOUNDING: i32 = 24;

/// Names the capability that lets a call succeed which has more than one reason to.
fn capability(thread: &Thread<'_>, name: &str, verb: Verb) -> Option<&'static str> {
    Some(match verb {
        Verb::Signal => "CAP_KILL",
        Verb::Root => "CAP_SYS_CHROOT",
        Verb::Mount | Verb::Name => "CAP_SYS_ADMIN",
        Verb::Namespace if matches!(name, "unshare" | "setns") => "CAP_SYS_ADMIN",
        Verb::Inspect => "CAP_SYS_PTRACE",
        Verb::Priority => "CAP_SYS_NICE",
        Verb::Limit => "CAP_SYS_RESOURCE",
        Verb::Memory => "CAP_IPC_LOCK",
        Verb::Privilege if name == "prctl" && thread.int(0) == DROP_BOUNDING => "CAP_SETPCAP",
        _ => return None,
    })
}

fn keep<T: Ord>(set: &mut BTreeSet<T>, left_out: &mut u64, value: T) {
    if set.len() < MOST || set.contains(&value) {
        set.insert(value);
    } else {
        *left_out += 1;
    }
}

fn flags(thread: &Thread<'_>, shape: &Shape) -> u64 {
    match shape.flags {
        Some(Flags::Here(n)) => u64::from(thread.int(n).cast_unsigned()),
        Some(Flags::There(n)) => thread.number(n).unwrap_or(0),
        Some(Flags::Creat) => 0o1 | CREATE | TRUNCATE,
        None => 0,
    }
}

fn writes(flags: u64) -> bool {
    flags & ACCESS != 0 || flags & (CREATE | TRUNCATE) != 0
}

/// Tells whether a mode is that of a device.
fn is_device(mode: u32) -> bool {
    matches!(FileType::from_raw_mode(mode), FileType::CharacterDevice | FileType::BlockDevice)
}

/// Names a kind of socket.
fn family(thread: &Thread<'_>) -> String {
    let kind = match thread.int(1) & 0xf {
        1 => "stream",
        2 => "datagram",
        3 => "raw",
        10 => "packet",
        _ => "other",
    };
    match thread.int(0) {
        1 => format!("unix {kind}"),
        2 => format!("IPv4 {kind}"),
        10 => format!("IPv6 {kind}"),
        16 => format!("netlink {kind}"),
        17 => format!("link-layer {kind}"),
        other => format!("family {other} {kind}"),
    }
}

fn short(text: String) -> String {
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_what_was_written_are_kept_and_the_kernels_are_not() {
        let mut recorder = Recorder::default();
        for path in ["/etc/x", "/x", "/dev/shm/s", "/dev/null", "/proc/self/comm", "pipe:[1]", "/memfd:a"] {
            recorder.written(path);
        }
        let seen = recorder.finish();
        assert_eq!(seen.writes.into_iter().collect::<Vec<_>>(), ["/", "/dev/shm", "/etc"]);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut recorder = Recorder::default();
        for n in 0..MOST + 3 {
            recorder.written(&format!("/d{n}/x"));
        }
        recorder.written("/d0/y");
        let seen = recorder.finish();
        assert_eq!((seen.writes.len(), seen.left_out), (MOST, 3));
        assert_eq!(short("a".repeat(LONGEST + 1)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn flags_of_opening_tell_who_writes() {
        assert!(!writes(0) && writes(1) && writes(2) && writes(CREATE) && writes(TRUNCATE));
    }
}
