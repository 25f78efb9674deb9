// SPDX-License-Identifier: Apache-2.0
//! A container joins its networks: before it is made, since its user namespace has to be below theirs, and again when its
//! network namespace is there, to be connected.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bryo_identity::map::IdMap;
use bryo_identity::rung::Rung;
use bryo_identity::userns::Around;
use bryo_launch::Starting;
use bryo_net::members::{Lease, Member, all};
use bryo_net::names::{self, Names};
use bryo_net::subnet::Subnet;
use bryo_net::switch::{self, End, Place};
use rustix::fs::{Mode, OFlags};

use super::{Definition, Networks};
use crate::Engine;
use crate::container::{EndpointState, Id};
use crate::error::{Error, Kind, Result};
use crate::options::{Endpoint, RunOptions};

/// A container's part in networks. Dropping it gives its addresses back.
#[derive(Debug)]
pub(crate) struct Membership {
    ground: Option<OwnedFd>,
    outer: IdMap,
    /// The namespace of another container.
    shared: Option<OwnedFd>,
    ends: Vec<Joined>,
    upstreams: Vec<IpAddr>,
    names: Option<Names>,
}

/// A network that was joined.
#[derive(Debug)]
struct Joined {
    network: Definition,
    subnet: Subnet,
    aliases: Vec<String>,
    /// Keeps the network's namespace.
    switch: OwnedFd,
    directory: OwnedFd,
    lease: Lease,
    /// The number of the device inside; none as long as it is not connected.
    device: Option<u32>,
}

/// Joins the networks that were asked for; nothing when none were.
///
/// # Errors
///
/// [`Kind::NoSuchNetwork`], [`Kind::InvalidOption`] for an address that cannot be had, [`Kind::NotRunning`] and
/// [`Kind::Unsupported`] for a container whose network cannot be shared.
pub(crate) fn join(
    engine: &Engine,
    options: &RunOptions,
    (id, name): (&Id, &str),
    upstreams: &[IpAddr],
) -> Result<Option<Membership>> {
    let mut joined = Membership { upstreams: upstreams.to_vec(), ..Membership::none(engine) };
    if let Some(other) = &options.network_of {
        joined.share(engine, other)?;
        return Ok(Some(joined));
    }
    if options.networks.is_empty() {
        return Ok(None);
    }
    let networks = engine.networks();
    let _choosing = networks.choose()?;
    joined.find_ground(engine, &networks)?;
    // It may have been given another one since it was made.
    let name = engine.containers.name_of(id, name).unwrap_or_else(|| name.to_owned());
    for endpoint in &options.networks {
        joined.join_one(&networks, endpoint, (id, &name))?;
    }
    Ok(Some(joined))
}

impl Membership {
    /// The part of a container that is in no network.
    pub fn none(engine: &Engine) -> Self {
        let outer = engine.host().outer();
        Self { ground: None, outer, shared: None, ends: Vec::new(), upstreams: Vec::new(), names: None }
    }

    /// Returns the namespaces that the container is to be made in.
    pub fn around(&self) -> Option<Around<'_>> {
        let user = self.ground.as_ref().map(|ground| (ground.as_fd(), &self.outer));
        let network = self.shared.as_ref().map(AsFd::as_fd);
        (user.is_some() || network.is_some()).then_some(Around { user, network })
    }

    /// Connects the container, and starts its resolver.
    pub fn connect(&mut self, starting: &mut Starting, map: &IdMap) -> Result<()> {
        if self.ends.is_empty() {
            return Ok(());
        }
        let network = starting.take_network_namespace()?;
        let place = Place { user: starting.user_namespace(), network: network.as_fd() };
        let ground = self.ground.as_ref().map(AsFd::as_fd);
        self.ends.iter_mut().try_for_each(|end| end.plug(ground, place))?;
        self.serve(place, map)
    }

    /// Starts the resolver, in the place of one that knows less or more.
    fn serve(&mut self, place: Place<'_>, map: &IdMap) -> Result<()> {
        if self.ends.is_empty() {
            self.names = None;
            return Ok(());
        }
        let members: Vec<BorrowedFd<'_>> = self.ends.iter().map(|end| end.directory.as_fd()).collect();
        let Place { user, network } = place;
        let request = names::Request { user, map, network, members: &members, upstreams: &self.upstreams };
        self.names = Some(names::serve(request)?);
        Ok(())
    }

    /// Leaves the networks that the container is not to be in any more and joins those that it is to be in, while it
    /// runs. What has failed leaves the others as they were.
    pub fn follow(
        &mut self,
        engine: &Engine,
        options: &RunOptions,
        (id, name): (&Id, &str),
        upstreams: &[IpAddr],
        (place, map): (Place<'_>, &IdMap),
    ) -> Result<()> {
        let networks = engine.networks();
        let _choosing = networks.choose()?;
        let found = options.networks.iter().map(|endpoint| Ok((networks.find(&endpoint.network)?.name, endpoint)));
        let wanted = found.collect::<Result<Vec<_>>>()?;
        let is_wanted = |end: &Joined| wanted.iter().any(|(name, _)| *name == end.network.name);
        for end in std::mem::take(&mut self.ends) {
            match end.device {
                Some(device) if !is_wanted(&end) => switch::detach(place, device)?,
                _ => self.ends.push(end),
            }
        }
        if self.ends.is_empty() && !wanted.is_empty() {
            self.find_ground(engine, &networks)?;
        }
        let name = engine.containers.name_of(id, name).unwrap_or_else(|| name.to_owned());
        for (network, endpoint) in &wanted {
            if self.ends.iter().any(|end| end.network.name == *network) {
                continue;
            }
            self.join_one(&networks, endpoint, (id, &name))?;
            let ground = self.ground.as_ref().map(AsFd::as_fd);
            if let Some(Err(error)) = self.ends.last_mut().map(|end| end.plug(ground, place)) {
                self.ends.pop();
                return Err(error);
            }
        }
        self.upstreams = upstreams.to_vec();
        self.serve(place, map)
    }

    /// Says what the container has in each network.
    pub fn describe(&self) -> BTreeMap<String, EndpointState> {
        self.ends.iter().map(|end| (end.network.name.clone(), end.state())).collect()
    }

    /// Finds the namespace that networks are made in, or makes it. It lives as long as one of them does.
    fn find_ground(&mut self, engine: &Engine, networks: &Networks) -> Result<()> {
        if engine.host().rung() == Rung::Root {
            return Ok(());
        }
        let members = networks.all().into_iter().flat_map(|network| networks.members(&network.name));
        let found = members.filter_map(|member| member.namespace()).find_map(|n| bryo_sys::clone::owner(n).ok());
        self.ground = match found {
            Some(ground) => Some(ground),
            None => switch::ground(engine.host())?,
        };
        Ok(())
    }

    fn join_one(&mut self, networks: &Networks, endpoint: &Endpoint, (id, name): (&Id, &str)) -> Result<()> {
        let network = networks.find(&endpoint.network)?;
        if self.ends.iter().any(|end| end.network.name == network.name) {
            let why = format!("network {} is asked for twice", network.name);
            return Err(Error::new(Kind::InvalidOption, why));
        }
        let subnet = network.subnet().ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("network {} has no range: {:?}", network.name, network.subnet))
        })?;
        let directory = networks.directory(&network.name)?;
        let members = all(directory.as_fd())?;
        let switch = match members.iter().find_map(Member::namespace) {
            Some(switch) => switch,
            None => switch::create(self.ground.as_ref().map(AsFd::as_fd))?,
        };
        let mut lease = lease(directory.as_fd(), &network, endpoint.address)?;
        let names: Vec<String> =
            [name, id.short()].into_iter().chain(endpoint.aliases.iter().map(String::as_str)).map(Into::into).collect();
        let path = || std::path::PathBuf::from(format!("{}/{}", network.name, lease.address()));
        let path = path();
        lease.describe(id.as_str(), &names, switch.as_fd()).map_err(|e| Error::io("cannot write", &path, e))?;
        let aliases = endpoint.aliases.clone();
        self.ends.push(Joined { network, subnet, aliases, switch, directory, lease, device: None });
        Ok(())
    }

    /// Takes the network of another container.
    fn share(&mut self, engine: &Engine, other: &str) -> Result<()> {
        let record = engine.containers().find(other)?;
        let target = engine.payload(&record)?;
        let path = format!("/proc/{}/ns/net", record.state.pid);
        let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let network = bryo_sys::check("open", || path, opened)?;
        // Then what was opened by number was the container's.
        engine.process(&record)?;
        drop(target);
        if engine.host().rung() != Rung::Root {
            let owner = bryo_sys::clone::owner(&network)?;
            let ground = bryo_sys::clone::parent(&owner)?;
            if is_own(&ground)? {
                let why = format!(
                    "the network of container {} cannot be shared: it was not made to be; start that container with \
                     --network NAME, a network that bryo network create has made",
                    record.name
                );
                return Err(Error::new(Kind::Unsupported, why));
            }
            self.ground = Some(ground);
        }
        self.shared = Some(network);
        Ok(())
    }
}

impl Joined {
    /// Connects the container.
    fn plug(&mut self, ground: Option<BorrowedFd<'_>>, place: Place<'_>) -> Result<()> {
        self.device = Some(switch::attach(ground, self.switch.as_fd(), place, self.end())?);
        Ok(())
    }

    fn end(&self) -> End {
        End { address: self.lease.address(), subnet: self.subnet }
    }

    fn state(&self) -> EndpointState {
        let hardware = self.end().hardware().map(|byte| format!("{byte:02x}")).join(":");
        EndpointState {
            network_id: self.network.id.clone(),
            ip_address: self.lease.address(),
            ip_prefix_len: self.subnet.prefix(),
            gateway: self.network.gateway,
            mac_address: hardware,
            aliases: self.aliases.clone(),
        }
    }
}

/// Tells whether a user namespace is this process's own.
fn is_own(namespace: &OwnedFd) -> Result<bool> {
    let own = bryo_sys::check("stat", || "/proc/self/ns/user".into(), rustix::fs::stat("/proc/self/ns/user"))?;
    let other = bryo_sys::check("fstat", String::new, rustix::fs::fstat(namespace))?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// Refuses an address that no container of a network can have.
pub(super) fn check_address(network: &Definition, address: Ipv4Addr) -> Result<()> {
    if network.subnet().is_some_and(|subnet| subnet.has_host(address)) && address != network.gateway {
        return Ok(());
    }
    let why = format!(
        "{address} cannot be a container's in network {}: its range is {}, and {} is the gateway",
        network.name, network.subnet, network.gateway
    );
    Err(Error::new(Kind::InvalidOption, why))
}

/// Takes the address that was asked for, or the first that is free.
fn lease(directory: BorrowedFd<'_>, network: &Definition, asked: Option<Ipv4Addr>) -> Result<Lease> {
    if let Some(address) = asked {
        check_address(network, address)?;
        // A resolver that looks at the file of an address that is free has it for a moment.
        for _ in 0..10 {
            if let Some(lease) = Lease::take(directory, address)? {
                return Ok(lease);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let why = format!("{address} is in use by another container of network {}", network.name);
        return Err(Error::new(Kind::InvalidOption, why));
    }
    for address in network.addresses() {
        if let Some(lease) = Lease::take(directory, address)? {
            return Ok(lease);
        }
    }
    Err(Error::new(Kind::Unsupported, format!("every address of network {} is in use", network.name)))
}
