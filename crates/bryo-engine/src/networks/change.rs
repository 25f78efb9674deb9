// SPDX-License-Identifier: Apache-2.0
//! A container comes into a network, or leaves one, after it was made: at once where it runs, at its next start where it
//! does not.

use std::time::{Duration, Instant};

use super::Definition;
use super::join::check_address;
use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::events::Event;
use crate::options::{Endpoint, Network, RunOptions};
use crate::run::ask;

/// Longer than any part of a start or an end takes.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// Connects a container with a network.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchNetwork`], [`Kind::NoSuchContainer`]; [`Kind::InvalidOption`] where it is connected already, has no
    /// network of its own, or cannot have the address; what keeps a running one from being connected, and then it is
    /// not at its next start either.
    pub fn connect_network(&self, record: &Record, endpoint: &Endpoint) -> Result<()> {
        if let Some(word) = Network::parse(&endpoint.network) {
            let why = format!(
                "{} is no network that a container can be connected to ({} is what it is made with, by --network)",
                endpoint.network,
                word.as_str()
            );
            return Err(Error::new(Kind::InvalidOption, why));
        }
        let network = self.networks().find(&endpoint.network)?;
        if let Some(address) = endpoint.address {
            check_address(&network, address)?;
        }
        let endpoint = Endpoint { network: network.name.clone(), ..endpoint.clone() };
        self.change_networks(record, |now| {
            self.check_connectable(now)?;
            if self.place_in(&now.options, &network.name).is_some() {
                let why = format!("container {} is already connected to network {}", now.name, network.name);
                return Err(Error::new(Kind::InvalidOption, why));
            }
            let mut options = now.options.clone();
            let default = options.network.is_none() && options.networks.is_empty() && !options.disconnected;
            if default && now.confinement.network != "loopback" {
                // The way out that it has stays, also where the network is an internal one.
                options.network = Some(Network::Private);
            }
            options.disconnected = false;
            options.networks.push(endpoint.clone());
            Ok(options)
        })
    }

    /// Takes a container out of a network. One that was in no other has none afterwards, unless it was also given the
    /// private one.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchNetwork`], [`Kind::NoSuchContainer`]; [`Kind::InvalidOption`] where it is not connected, unless
    /// `force` says that this is as good.
    pub fn disconnect_network(&self, record: &Record, network: &str, force: bool) -> Result<()> {
        // One that was removed may still be written down.
        let name = match self.networks().find(network) {
            Ok(Definition { name, .. }) => name,
            Err(_) if self.place_in(&record.options, network).is_some() => network.to_owned(),
            Err(error) => return Err(error),
        };
        if force && self.place_in(&record.options, &name).is_none() {
            return Ok(());
        }
        self.change_networks(record, |now| {
            let mut options = now.options.clone();
            let Some(place) = self.place_in(&options, &name) else {
                let why = format!("container {} is not connected to network {name}", now.name);
                return Err(Error::new(Kind::InvalidOption, why));
            };
            options.networks.remove(place);
            options.disconnected = options.networks.is_empty() && options.network != Some(Network::Private);
            Ok(options)
        })
    }

    /// Returns where a network is among those of a container.
    fn place_in(&self, options: &RunOptions, name: &str) -> Option<usize> {
        // It may have been given by its id.
        let is = |given: &str| given == name || self.networks().find(given).is_ok_and(|found| found.name == name);
        options.networks.iter().position(|endpoint| is(&endpoint.network))
    }

    fn check_connectable(&self, record: &Record) -> Result<()> {
        let network = self.network(&record.options)?;
        if record.options.is_connectable(network) {
            return Ok(());
        }
        let why = match network {
            Network::Host => "has the host's network",
            Network::Container => "has the network of another container",
            Network::Private | Network::None => "was made without a network (--network none)",
        };
        let why = format!("container {} {why}, and cannot be connected to another", record.name);
        Err(Error::new(Kind::InvalidOption, why))
    }

    /// Writes down what a container's networks are to be, and sees to it that they are, if it runs. What cannot be had is
    /// taken back.
    fn change_networks(&self, record: &Record, change: impl Fn(&Record) -> Result<RunOptions>) -> Result<()> {
        let begin = Instant::now();
        loop {
            // Whoever starts it writes down that it runs, and looks at its networks again, when nobody changes them.
            let choosing = self.networks().choose()?;
            let now = self.containers.find(record.id.as_str())?;
            let held = match self.containers.hold(&now) {
                Err(e) if e.kind() == Kind::Running => None,
                held => Some(held?),
            };
            let runs = held.is_none() && self.process(&now).is_ok();
            if held.is_some() || runs || now.state.status == "restarting" {
                let options = change(&now)?;
                self.containers.rewrite(&now.id, |record| record.options = options.clone())?;
                drop(choosing);
                return if runs { self.follow_networks(&now, &options) } else { Ok(()) };
            }
            // It is about to run, or to have ended.
            drop(choosing);
            if begin.elapsed() > PATIENCE {
                return Err(Error::new(Kind::Running, format!("container {} is busy", now.name)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the supervisor of a container know; `before` is the container as it was, `after` what is written down now.
    fn follow_networks(&self, before: &Record, after: &RunOptions) -> Result<()> {
        let dir = self.containers.dir(&before.id);
        match ask(&dir) {
            Ok(()) => Ok(()),
            // It has ended, and its next start finds what is written down.
            Err(error) if error.kind() == Kind::NotRunning || self.process(before).is_err() => Ok(()),
            Err(error) => {
                let choosing = self.networks().choose()?;
                self.containers.rewrite(&before.id, |now| take_back(&mut now.options, &before.options, after))?;
                drop(choosing);
                // What had been done by then is undone; the reason for which it was not is the one to be told.
                let _ = ask(&dir);
                Err(error)
            }
        }
    }

    /// Gives a container another name, under which the others of its networks find it at once.
    ///
    /// # Errors
    ///
    /// [`Kind::NameInUse`], [`Kind::InvalidOption`] for a name that is none, [`Kind::NoSuchContainer`] when it is gone,
    /// [`Kind::Io`].
    pub fn rename(&self, record: &Record, name: &str) -> Result<()> {
        let networks = self.networks();
        // Whoever joins a network meanwhile asks for the name after this.
        let _choosing = networks.choose()?;
        self.containers.rename(&record.id, name)?;
        networks.rename(&record.id, name)?;
        let renamed = Event::of(record, "rename").with("oldName", record.name.as_str()).with("name", name);
        self.journal().write(&[renamed]);
        Ok(())
    }
}

/// Undoes a change, and leaves what others have changed since.
fn take_back(now: &mut RunOptions, before: &RunOptions, after: &RunOptions) {
    now.networks.retain(|end| before.networks.contains(end) || !after.networks.contains(end));
    for end in &before.networks {
        if !after.networks.contains(end) && !now.networks.contains(end) {
            now.networks.push(end.clone());
        }
    }
    if now.networks == before.networks {
        (now.network, now.disconnected) = (before.network, before.disconnected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(networks: &[&str], network: Option<Network>, disconnected: bool) -> RunOptions {
        let networks = networks.iter().map(|name| Endpoint { network: (*name).to_owned(), ..Endpoint::default() });
        RunOptions { networks: networks.collect(), network, disconnected, ..RunOptions::default() }
    }

    #[test]
    fn what_is_taken_back_is_the_callers_own_change() {
        let private = Some(Network::Private);
        let cases = [
            // Nobody else has changed anything.
            (options(&["a"], private, false), options(&[], None, false), options(&["a"], private, false)),
            (options(&[], None, true), options(&["a"], None, false), options(&[], None, true)),
        ];
        for (mut now, before, after) in cases {
            take_back(&mut now, &before, &after);
            assert_eq!((&now.networks, now.network, now.disconnected), (&before.networks, before.network, false));
        }
        // Somebody has.
        let mut now = options(&["a", "b"], private, false);
        take_back(&mut now, &options(&[], None, false), &options(&["a"], private, false));
        assert_eq!((now.networks, now.network), (options(&["b"], None, false).networks, private));
        let mut now = options(&["b"], None, false);
        take_back(&mut now, &options(&["a"], None, false), &options(&[], None, true));
        assert_eq!(now.networks, options(&["b", "a"], None, false).networks);
    }
}
