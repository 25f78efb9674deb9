// SPDX-License-Identifier: Apache-2.0
//! The networks of a container change while it runs.
//!
//! ```text
//! bryo network connect              who supervises the container
//! writes the record
//! connects to `control` ──────────> reads the record, and does what is missing
//!                       <────────── "done", or why not
//! ```
//!
//! What is wanted is in the record, so that a start in the meantime finds it too; the socket only says that it has
//! changed. Whoever can connect owns the store, and could write the record.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bryo_launch::rewrite::{Rewrite, rewrite};
use bryo_net::switch::Place;
use bryo_sys::check;
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SocketFlags};

use super::network::Target;
use super::prepare::host_resolver;
use super::{Live, Membership};
use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::monitor::wire;
use crate::options::Network;
use crate::plan::Planned;

/// The socket's name in the container's directory.
const SOCKET: &str = "control";

/// How long a change may take: longer than a network helper does.
const PATIENCE: Duration = Duration::from_secs(30);

/// The word that all is as it is to be.
const DONE: &[u8] = b"done";

/// Where commands say that the networks of a container have changed.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Listens in a container's directory.
    pub fn listen(dir: &Path) -> Result<Self> {
        wire::listen_as(dir, SOCKET).map(Self)
    }

    /// Returns what to listen to.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Does what whoever waits at the door has come for, and answers.
    pub fn serve(&self, mut act: impl FnMut() -> Result<()>) {
        while let Ok(client) = rustix::net::accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let words = match act() {
                Ok(()) => DONE.to_vec(),
                Err(error) if error.kind() == Kind::NotRunning => Vec::new(),
                Err(error) => error.chain().into_bytes(),
            };
            // One who has gone will look at the container again.
            let _ = wire::send(&client, &words);
        }
    }
}

/// Lets whoever supervises a container know that its networks have changed, and waits until they are what they are to be.
///
/// # Errors
///
/// What has kept the supervisor from it; [`Kind::NotRunning`] where the container has ended instead.
pub(crate) fn ask(dir: &Path) -> Result<()> {
    let socket = wire::connect_to(dir, SOCKET)?;
    let set = set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE));
    check("setsockopt", || "SO_RCVTIMEO".into(), set)?;
    let mut words = [0; 4096];
    let received = rustix::io::retry_on_intr(|| rustix::net::recv(&socket, &mut words, RecvFlags::empty()));
    let (n, _) = check("recv", || SOCKET.into(), received)?;
    match &words[..n] {
        DONE => Ok(()),
        b"" => Err(Error::new(Kind::NotRunning, "the container ended meanwhile")),
        words => Err(Error::new(Kind::Network(bryo_net::Kind::Switch), String::from_utf8_lossy(words))),
    }
}

impl Live {
    /// Brings the container into the networks that it is to be in by now, and out of others, and writes into the record
    /// what it has there.
    ///
    /// # Errors
    ///
    /// What has kept it from that; [`Kind::NotRunning`] where the payload has ended, of which nobody may know yet.
    pub fn follow(&mut self, engine: &Engine, record: &mut Record, planned: &mut Planned) -> Result<Network> {
        self.try_follow(engine, record, planned).map_err(|error| {
            // One that is about to end has given its namespaces up before.
            let ended = self.running.has_ended() || self.open_network().is_err();
            if ended { Error::new(Kind::NotRunning, "the container ended meanwhile") } else { error }
        })
    }

    fn try_follow(&mut self, engine: &Engine, record: &mut Record, planned: &mut Planned) -> Result<Network> {
        let options = engine.containers.options(&record.id)?;
        let network = engine.network(&options)?;
        let inside = self.open_network()?;
        let place = Place { user: self.running.user_namespace(), network: inside.as_fd() };
        let old = planned.follow(&options, network, &host_resolver());
        if let (Some(old), Some(file)) = (&old, planned.resolver()) {
            let (container, ids) = (self.running.pidfd(), &planned.plan.ids);
            rewrite(Rewrite { container, ids, path: &file.path, old, new: &file.content })?;
        }
        let networks = self.networks.get_or_insert_with(|| Membership::none(engine));
        let followed = networks.follow(
            engine,
            &options,
            (&record.id, &record.name),
            &planned.upstreams,
            (place, &planned.plan.ids),
        );
        let target = Target { place, process: self.running.pidfd(), interruptible: false };
        let connected = followed.and_then(|()| self.network.follow(network, target, planned));
        record.options = options;
        self.describe_networks(record);
        connected.map(|()| network)
    }

    /// Opens the container's network namespace: process 1 is this process's child, and its number nobody else's.
    fn open_network(&self) -> Result<OwnedFd> {
        let path = format!("/proc/{}/ns/net", self.running.pid().as_raw_nonzero());
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Ok(check("open", || path, opened)?)
    }
}
