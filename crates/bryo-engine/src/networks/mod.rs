// SPDX-License-Identifier: Apache-2.0
//! Networks that the caller has made: what they are called and which addresses they have, and who is in them.
//!
//! ```text
//! DATA/networks/NAME/network.json    what was asked for
//! RUNTIME/networks/NAME/ADDRESS      who has an address now (`bryo_net::members`)
//! RUNTIME/networks.lock              held while a network or an address is chosen
//! ```

mod change;
mod definition;
mod join;

use std::fs::{DirBuilder, File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bryo_net::members::{self, Member};
use bryo_net::subnet::{Subnet, routed};
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::Dirs;
use crate::container::Id;
use crate::error::{Error, Kind, Result};
use crate::events::{Event, Journal, Type};

pub use definition::{Definition, Wanted, check_name};
pub(crate) use join::{Membership, join};

/// The caller's networks.
#[derive(Debug, Clone)]
pub struct Networks {
    data: PathBuf,
    runtime: PathBuf,
    lock: PathBuf,
    journal: Journal,
}

/// No network or address is chosen by others as long as this is held.
pub(crate) struct Choosing(#[expect(dead_code, reason = "the kernel's lock lives as long as the file is open")] File);

impl Networks {
    /// Uses the directories; they are made when the first network is.
    pub fn new(dirs: &Dirs) -> Self {
        Self {
            data: dirs.data.join("networks"),
            runtime: dirs.runtime.join("networks"),
            lock: dirs.runtime.join("networks.lock"),
            journal: Journal::new(&dirs.data),
        }
    }

    /// Makes a network.
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`]; [`Kind::InvalidOption`] for a range that another network has, or an address that is not in
    /// its range; [`Kind::Unsupported`] when no range is left.
    pub fn create(&self, wanted: Wanted) -> Result<Definition> {
        check_name(&wanted.name)?;
        let _choosing = self.choose()?;
        let others = self.all();
        if others.iter().any(|other| other.name == wanted.name) {
            return Err(Error::new(Kind::NameInUse, format!("there is a network {} already", wanted.name)));
        }
        let subnet = match wanted.subnet {
            Some(subnet) => match others.iter().find(|other| other.subnet().is_some_and(|s| s.overlaps(subnet))) {
                Some(other) => {
                    let why = format!("{subnet} has addresses of network {} ({})", other.name, other.subnet);
                    return Err(Error::new(Kind::InvalidOption, why));
                }
                None => subnet,
            },
            None => free_subnet(&others)?,
        };
        let definition = Definition::new(wanted, subnet)?;
        self.write(&definition)?;
        self.tell(&definition, "create");
        Ok(definition)
    }

    fn tell(&self, network: &Definition, action: &str) {
        let event = Event::now(Type::Network, action, network.id.as_str());
        self.journal.write(&[event.with("name", network.name.as_str()).with("type", "bridge")]);
    }

    fn write(&self, definition: &Definition) -> Result<()> {
        let (dir, new) = (self.data.join(&definition.name), self.data.join(format!(".{}", definition.name)));
        let bytes = serde_json::to_vec(definition)
            .map_err(|e| Error::new(Kind::Corrupt, format!("cannot write down the network: {e}")))?;
        // What a command that was killed here has left.
        let _ = std::fs::remove_dir_all(&new);
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&new)
            .and_then(|()| std::fs::write(new.join("network.json"), bytes))
            .and_then(|()| std::fs::rename(&new, &dir))
            .map_err(|e| Error::io("cannot make", &dir, e))
    }

    /// Reads all networks, by name. What cannot be read is passed over: it is being made or being removed.
    pub fn all(&self) -> Vec<Definition> {
        let Ok(entries) = std::fs::read_dir(&self.data) else { return Vec::new() };
        let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| !n.starts_with('.'));
        let mut all: Vec<Definition> = names.filter_map(|name| self.read(&name).ok()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Finds a network by name, id, or an id's unique beginning.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchNetwork`], or [`Kind::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Definition> {
        let none = || Error::new(Kind::NoSuchNetwork, format!("no such network: {}", name.escape_debug()));
        if check_name(name).is_err() {
            return Err(none());
        }
        if let Ok(found) = self.read(name) {
            return Ok(found);
        }
        let mut found = self.all().into_iter().filter(|network| network.id.starts_with(name));
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Ambiguous, format!("more than one network's id begins with {name}")))
            }
            (None, _) => Err(none()),
        }
    }

    fn read(&self, name: &str) -> Result<Definition> {
        let path = self.data.join(name).join("network.json");
        let bytes = std::fs::read(&path).map_err(|e| Error::io("cannot read", &path, e))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::new(Kind::Corrupt, format!("{}: {e}", path.display())))
    }

    /// Returns the containers that are in a network now.
    pub fn members(&self, name: &str) -> Vec<Member> {
        let opened = open_directory(&self.runtime.join(name));
        opened.ok().and_then(|directory| members::all(directory.as_fd()).ok()).unwrap_or_default()
    }

    /// Removes a network that no running container is in.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchNetwork`], [`Kind::NetworkInUse`].
    pub fn remove(&self, name: &str) -> Result<Definition> {
        let _choosing = self.choose()?;
        let network = self.find(name)?;
        if let Some(member) = self.members(&network.name).first() {
            let who = member.names.first().unwrap_or(&member.id);
            let why = format!("network {} is in use by container {}", network.name, who.escape_debug());
            return Err(Error::new(Kind::NetworkInUse, why));
        }
        let (dir, old) = (self.data.join(&network.name), self.data.join(format!(".{}", network.name)));
        let _ = std::fs::remove_dir_all(&old);
        std::fs::rename(&dir, &old).map_err(|e| Error::io("cannot remove", &dir, e))?;
        // What cannot be removed now is removed when the name is used again.
        let _ = std::fs::remove_dir_all(&old);
        let _ = std::fs::remove_dir_all(self.runtime.join(&network.name));
        self.tell(&network, "destroy");
        Ok(network)
    }

    /// Gives a container another name in all networks that it is in now. Nobody else may choose networks or addresses
    /// meanwhile.
    pub(crate) fn rename(&self, id: &Id, name: &str) -> Result<()> {
        for network in self.all() {
            if let Ok(directory) = open_directory(&self.runtime.join(&network.name)) {
                members::rename(directory.as_fd(), id.as_str(), name)?;
            }
        }
        Ok(())
    }

    /// Removes what supervisors that were killed have left.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.runtime) else { return };
        // What is in use is not touched, and what cannot be removed is in nobody's way.
        for directory in entries.filter_map(|e| open_directory(&e.ok()?.path()).ok()) {
            let _ = members::sweep(directory.as_fd());
        }
    }

    /// Tells whether anybody has ever chosen networks or addresses, or is about to.
    pub(crate) fn were_chosen(&self) -> bool {
        self.lock.exists()
    }

    /// Waits until nobody else chooses networks or addresses.
    pub(crate) fn choose(&self) -> Result<Choosing> {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&self.runtime)
            .map_err(|e| Error::io("cannot make", &self.runtime, e))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.lock);
        let file = file.map_err(|e| Error::io("cannot open", &self.lock, e))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
            .map_err(|e| Error::io("cannot lock", &self.lock, e.into()))?;
        Ok(Choosing(file))
    }

    /// Opens the directory of a network's members: readable for the resolvers of containers, which are nobody, by a
    /// descriptor alone, since only the caller enters what is above it.
    pub(crate) fn directory(&self, name: &str) -> Result<OwnedFd> {
        let path = self.runtime.join(name);
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // The mode of mkdir is cut by the umask.
            made => made.and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))),
        }
        .and_then(|()| open_directory(&path))
        .map_err(|e| Error::io("cannot make", &path, e))
    }
}

fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Chooses a range that no other network has and the host has no route to.
fn free_subnet(others: &[Definition]) -> Result<Subnet> {
    let mut taken = routed(&std::fs::read_to_string("/proc/net/route").unwrap_or_default());
    taken.extend(others.iter().filter_map(Definition::subnet));
    let candidates = (0..=255).filter_map(|n| Subnet::new(Ipv4Addr::new(10, 89, n, 0), 24));
    let none = || Error::new(Kind::Unsupported, "every range of 10.89.0.0/16 is taken; say --subnet RANGE");
    candidates.into_iter().find(|subnet| !taken.iter().any(|other| other.overlaps(*subnet))).ok_or_else(none)
}
