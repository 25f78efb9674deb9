// SPDX-License-Identifier: Apache-2.0
//! The name service inside a container: the names of its networks, and for all others the way to those who know.
//!
//! | who | namespaces | kernel ids | capabilities | holds | may allocate | ends by |
//! |---|---|---|---|---|---|---|
//! | child of the supervisor | the container's user and network | nobody of the container | none | sockets, the directories of its networks' members | yes, bounded | the supervisor's end |
//!
//! It faces whatever the payload and the servers outside send. It is no process that the payload sees, since it is not
//! in the container's pid namespace; whoever takes it over is nobody on the host, as in the container. What it keeps is
//! bounded: a handful of queries under way, each with a time at which it is forgotten.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bryo_identity::InsideId;
use bryo_identity::map::IdMap;
use bryo_identity::userns::{self, Child, Inside};
use bryo_sys::clone::{Namespaces, join_one};
use bryo_sys::fd::message_pair;
use bryo_sys::{check, fd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::CapabilitySets;

use crate::dns::{self, Asked, Code, Query};
use crate::error::{Error, Kind, Result};
use crate::members;

/// The address at which it is asked: Docker's, on the container's own loopback.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const PORT: u16 = 53;
/// The most queries under way at one time.
const PENDING: usize = 64;
/// How long a server outside has before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most containers that one name stands for.
const SAME_NAME: usize = 16;
/// The most servers outside that are asked, as in the C library.
const UPSTREAMS: usize = 3;
/// The user and group that are nobody.
const NOBODY: u32 = 65534;

/// A resolver that serves a container. Dropping it ends it.
#[derive(Debug)]
pub struct Names {
    _process: Child,
    /// Its end is the word that the supervisor is gone.
    _alive: OwnedFd,
}

/// What a resolver is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The container's user namespace.
    pub user: BorrowedFd<'a>,
    /// The map of the user namespace.
    pub map: &'a IdMap,
    /// The container's network namespace.
    pub network: BorrowedFd<'a>,
    /// The directories of the members of its networks.
    pub members: &'a [BorrowedFd<'a>],
    /// Who is asked for other names.
    pub upstreams: &'a [IpAddr],
}

/// Starts a resolver; it answers when this returns. The calling process must have one thread.
///
/// # Errors
///
/// [`Kind::Switch`].
pub fn serve(request: Request<'_>) -> Result<Names> {
    let failed = |e: &dyn std::fmt::Display| Error::new(Kind::Switch, format!("cannot start the resolver: {e}"));
    let user = request.user.try_clone_to_owned().map_err(|e| failed(&e))?;
    let (alive, theirs) = message_pair().map_err(|e| failed(&e))?;
    let process = userns::enter(user, request.map, |inside| {
        match enter(&request, &inside, &theirs) {
            Ok(socket) => {
                let upstreams = request.upstreams.iter().copied().filter(|server| *server != IpAddr::V4(ADDRESS));
                let server =
                    Server { socket, members: request.members, upstreams: upstreams.take(UPSTREAMS).collect() };
                server.run(&theirs);
            }
            Err(e) => drop(fd::send(&theirs, e.to_string().as_bytes(), &[])),
        }
        0
    });
    let process = process.map_err(|e| failed(&e))?;
    drop(theirs);
    let mut words = [0; 512];
    match fd::receive(&alive, &mut words).map_err(|e| failed(&e))? {
        (5, _) if &words[..5] == b"ready" => Ok(Names { _process: process, _alive: alive }),
        (n, _) => Err(failed(&String::from_utf8_lossy(&words[..n]))),
    }
}

/// Makes the socket in the container, and gives up everything else.
fn enter(request: &Request<'_>, inside: &Inside, peer: &OwnedFd) -> bryo_sys::Result<OwnedFd> {
    inside.become_root().map_err(|_| bryo_sys::Error::new("setns", "the container", bryo_sys::Errno::PERM))?;
    join_one(request.network, Namespaces::NET)?;
    let socket = listen()?;
    check("setsid", String::new, rustix::process::setsid())?;
    fd::let_go()?;
    let kept: Vec<BorrowedFd<'_>> = request.members.iter().copied().chain([socket.as_fd(), peer.as_fd()]).collect();
    fd::close_all_but(&kept)?;
    become_nobody(request.map)?;
    // Undone by the change of ids, and so asked for after it.
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    check("prctl", || "PR_SET_PDEATHSIG".into(), tied)?;
    bryo_sys::signal::reset_all();
    bryo_sys::signal::SignalSet::empty().block()?;
    fd::send(peer, b"ready", &[])?;
    Ok(socket)
}

fn listen() -> bryo_sys::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None);
    let socket = check("socket", || "AF_INET, SOCK_DGRAM".into(), socket)?;
    // For a name server in the container that asks for the port at all addresses, and lets others have it too.
    check("setsockopt", || "SO_REUSEADDR".into(), sockopt::set_socket_reuseaddr(&socket, true))?;
    let address = SocketAddrV4::new(ADDRESS, PORT);
    check("bind", || address.to_string(), rustix::net::bind(&socket, &address))?;
    Ok(socket)
}

/// Becomes a user that owns nothing, with nothing to regain.
fn become_nobody(map: &IdMap) -> bryo_sys::Result<()> {
    let none = rustix::process::DumpableBehavior::NotDumpable;
    check("prctl", || "PR_SET_DUMPABLE, 0".into(), rustix::process::set_dumpable_behavior(none))?;
    for resource in [Resource::Core, Resource::Fsize] {
        let set = rustix::process::setrlimit(resource, Rlimit { current: Some(0), maximum: Some(0) });
        check("setrlimit", || format!("{resource:?}, 0"), set)?;
    }
    check("prctl", || "PR_SET_NO_NEW_PRIVS".into(), rustix::thread::set_no_new_privs(true))?;
    // With a single id there is nobody else to become.
    let mapped = InsideId::new(NOBODY).is_some_and(|id| map.host_uid(id).is_some() && map.host_gid(id).is_some());
    if mapped && !map.is_single() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        check("setresgid", || NOBODY.to_string(), rustix::thread::set_thread_res_gid(gid, gid, gid))?;
        check("setresuid", || NOBODY.to_string(), rustix::thread::set_thread_res_uid(uid, uid, uid))?;
    }
    let none = rustix::thread::CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    check("capset", || "none".into(), rustix::thread::set_capabilities(None, sets))
}

/// The resolver at work.
struct Server<'a> {
    socket: OwnedFd,
    members: &'a [BorrowedFd<'a>],
    upstreams: Vec<IpAddr>,
}

/// A query that a server outside is asked.
struct Pending {
    socket: OwnedFd,
    /// The number by which the server knows it.
    id: [u8; 2],
    client: SocketAddr,
    query: Vec<u8>,
    /// Which server it is.
    upstream: usize,
    deadline: Instant,
}

impl Server<'_> {
    /// Answers until the supervisor is gone.
    fn run(&self, peer: &OwnedFd) {
        let mut pending: Vec<Pending> = Vec::with_capacity(PENDING);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let next = pending.iter().map(|p| p.deadline).min();
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut fds = vec![PollFd::new(peer, PollFlags::IN), PollFd::new(&self.socket, PollFlags::IN)];
            fds.extend(pending.iter().map(|p| PollFd::new(&p.socket, PollFlags::IN)));
            if !matches!(poll(&mut fds, left.as_ref()), Ok(_) | Err(rustix::io::Errno::INTR)) {
                return;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready[0] {
                return;
            }
            let mut waited = ready[2..].iter();
            // What goes on is put back at the end of the list.
            for one in std::mem::take(&mut pending) {
                let ready = waited.next().copied().unwrap_or(false);
                pending.extend(self.proceed(one, ready, &mut buffer));
            }
            if ready[1] {
                pending.extend(self.receive(&mut buffer, PENDING - pending.len()));
            }
        }
    }

    /// Takes a query in; what it returns is to be waited for.
    fn receive(&self, buffer: &mut [u8], room: usize) -> Option<Pending> {
        let (_, n, client) = rustix::net::recvfrom(&self.socket, &mut *buffer, RecvFlags::TRUNC).ok()?;
        let client = SocketAddr::try_from(client?).ok()?;
        let message = &buffer[..n.min(buffer.len())];
        let answer = match Query::parse(message) {
            Ok(query) => match self.known(&query) {
                Some(answer) => Some(answer),
                None if self.upstreams.is_empty() => Some(query.refusal(Code::NoSuchName)),
                None if room == 0 => Some(query.refusal(Code::ServerFailure)),
                None => {
                    let asked = self.ask(0, client, message.to_vec());
                    if asked.is_some() {
                        return asked;
                    }
                    Some(query.refusal(Code::ServerFailure))
                }
            },
            Err(code) => code.and_then(|code| dns::unread(message, code)),
        };
        self.reply(client, &answer?);
        None
    }

    /// Answers what the networks know.
    fn known(&self, query: &Query<'_>) -> Option<Vec<u8>> {
        match query.asked() {
            Asked::Addresses(name) => {
                let addresses = self.addresses(name);
                (!addresses.is_empty()).then(|| query.addresses(&addresses))
            }
            Asked::Other(name) => (!self.addresses(name).is_empty()).then(|| query.addresses(&[])),
            Asked::Name(address) => {
                let member = self.members.iter().find_map(|directory| members::at(*directory, address))?;
                Some(query.pointer(member.names.first()?))
            }
            Asked::Foreign => None,
        }
    }

    fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let all = self.members.iter().flat_map(|directory| members::all(*directory).unwrap_or_default());
        let named = all.filter(|member| member.names.iter().any(|other| other == name));
        named.map(|member| member.address).take(SAME_NAME).collect()
    }

    /// Goes on with a query: passes an answer back, or asks the next server.
    fn proceed(&self, mut pending: Pending, ready: bool, buffer: &mut [u8]) -> Option<Pending> {
        let mut failed = pending.deadline <= Instant::now();
        if ready {
            match rustix::net::recv(&pending.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((n, _)) if Self::settles(&pending, &buffer[..n.min(buffer.len())]) => {
                    buffer[..2].copy_from_slice(&pending.query[..2]);
                    self.reply(pending.client, &buffer[..n]);
                    return None;
                }
                // Somebody else's guess is no answer; the server's may still come.
                Ok(_) | Err(rustix::io::Errno::AGAIN) => (),
                Err(_) => failed = true,
            }
        }
        if !failed {
            return Some(pending);
        }
        let query = std::mem::take(&mut pending.query);
        let next = self.ask(pending.upstream + 1, pending.client, query.clone());
        if next.is_none()
            && let Ok(query) = Query::parse(&query)
        {
            self.reply(pending.client, &query.refusal(Code::ServerFailure));
        }
        next
    }

    fn settles(pending: &Pending, answer: &[u8]) -> bool {
        Query::parse(&pending.query).is_ok_and(|query| dns::answers(answer, pending.id, query.question()))
    }

    /// Asks the first server from a place in the list on that can be asked. Each query has a socket, and so a port, and
    /// a number that nobody outside can know.
    fn ask(&self, first: usize, client: SocketAddr, query: Vec<u8>) -> Option<Pending> {
        let deadline = Instant::now() + PATIENCE;
        self.upstreams.iter().enumerate().skip(first).find_map(|(upstream, server)| {
            let mut id = [0; 2];
            getrandom(&mut id[..], GetRandomFlags::empty()).ok()?;
            let message = [&id[..], query.get(2..)?].concat();
            let address = SocketAddr::new(*server, PORT);
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None).ok()?;
            rustix::net::connect(&socket, &address).ok()?;
            rustix::net::send(&socket, &message, SendFlags::empty()).ok()?;
            Some(Pending { socket, id, client, query: query.clone(), upstream, deadline })
        })
    }

    fn reply(&self, client: SocketAddr, message: &[u8]) {
        // A client that cannot be answered asks again.
        let _ = rustix::net::sendto(&self.socket, message, SendFlags::empty(), &client);
    }
}
