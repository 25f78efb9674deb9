// SPDX-License-Identifier: Apache-2.0
//! Which containers are listed. Source: Docker's `docker ps` reference.
//!
//! Reads take no lock, and what is not asked for is not looked at.

mod label;
mod pattern;

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

pub use label::LabelFilter;
pub use pattern::Pattern;

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};
use crate::options::{Network, Restart, Source};

/// What is to be listed.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Containers that do not run, too.
    pub all: bool,
    /// So many of those that were made last, whether they run or not.
    pub last: Option<usize>,
    /// What must hold for them: each kind, and of one kind any, but all labels.
    pub filters: Vec<Filter>,
}

/// A condition that containers are listed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The id.
    Id(Pattern),
    /// The name, with or without the slash that Docker's API puts before it.
    Name(Pattern),
    /// A label, with any value or with this one.
    Label(LabelFilter),
    /// The state, by its word.
    Status(String),
    /// The image, or one that it was made from.
    Ancestor(String),
    /// The exit code of one that has ended.
    Exited(i32),
    /// Made before this container was.
    Before(String),
    /// Made after this container was.
    Since(String),
    /// The name of a volume, or where something is mounted.
    Volume(String),
    /// The network.
    Network(String),
    /// What its health check says; `none` for one that has none.
    Health(String),
    /// The restart policy, by its name.
    Restart(String),
    /// Whether its restart policy wants it to run after a boot. Podman's name for it.
    StartsOnBoot(bool),
}

/// The words for states that can be asked for.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// The names of restart policies.
const POLICIES: [&str; 4] = ["no", "on-failure", "always", "unless-stopped"];

/// The words for what health checks say.
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::InvalidOption, format!("invalid filter {text:?}: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| bad("expected KEY=VALUE".into()))?;
        let owned = value.to_owned();
        let one_of = |words: &[&str]| {
            if words.contains(&value) { Ok(owned.clone()) } else { Err(bad(format!("{} are known", words.join(", ")))) }
        };
        Ok(match key {
            "id" => Self::Id(Pattern::parse(value)?),
            "name" => Self::Name(Pattern::parse(value)?),
            "label" => Self::Label(LabelFilter::new(value)),
            "status" => Self::Status(one_of(&STATES)?),
            "ancestor" => Self::Ancestor(owned),
            "exited" => Self::Exited(value.parse().map_err(|_| bad("expected a number".into()))?),
            "before" => Self::Before(owned),
            "since" => Self::Since(owned),
            "volume" => Self::Volume(owned),
            "network" => Self::Network(owned),
            "health" => Self::Health(one_of(&HEALTH)?),
            "restart-policy" => Self::Restart(one_of(&POLICIES)?),
            "should-start-on-boot" => Self::StartsOnBoot(one_of(&["true", "false"])? == "true"),
            _ => {
                let known = "id, name, label, status, ancestor, exited, before, since, volume, network, health, \
                    restart-policy and should-start-on-boot";
                return Err(bad(format!("{known} are known")));
            }
        })
    }
}

impl Filter {
    /// Tells whether it asks for containers that do not run.
    fn wants_all(&self) -> bool {
        matches!(self, Self::Status(_) | Self::Exited(_))
    }
}

impl Engine {
    /// Lists containers, those first that were made last.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`] for a container that a filter names.
    pub fn list(&self, listing: &Listing) -> Result<Vec<Record>> {
        let all = listing.all || listing.last.is_some() || listing.filters.iter().any(Filter::wants_all);
        let conditions = listing.filters.iter().map(|f| self.condition(f)).collect::<Result<Vec<_>>>()?;
        let mut records = self.containers.all();
        let found = records.len();
        records.retain(|record| !self.containers.is_leftover(record));
        if records.len() < found {
            // What a killed run has left is no container; the list is a good moment to be rid of it.
            let _ = self.collect();
        }
        records.retain(|record| (all || record.state.is_active()) && self.fits(record, &conditions));
        records.truncate(listing.last.unwrap_or(usize::MAX));
        Ok(records)
    }

    /// Returns the networks of a container by name: those that it was given, or the one that every container has; of one
    /// that has never run, those that it is going to have.
    pub fn networks_of(&self, record: &Record) -> Vec<String> {
        let given = record.options.networks.iter().map(|endpoint| endpoint.network.clone());
        let given: Vec<String> = given.collect();
        if !given.is_empty() {
            return given;
        }
        let network = match record.confinement.network.as_str() {
            _ if record.options.disconnected => Network::None,
            // It could not be connected.
            "loopback" => Network::Private,
            word => Network::parse(word).or(record.options.network).unwrap_or(self.policy.network),
        };
        vec![network.as_str().to_owned()]
    }

    /// Looks up what a filter names.
    fn condition<'a>(&self, filter: &'a Filter) -> Result<Condition<'a>> {
        Ok(match filter {
            Filter::Before(name) => Condition::Before(self.containers.find(name)?.created),
            Filter::Since(name) => Condition::Since(self.containers.find(name)?.created),
            Filter::Ancestor(name) => match self.store.find(name).and_then(|record| self.store.image(&record)) {
                Ok(image) => {
                    let layers = image.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
                    Condition::Ancestor { id: image.config_digest.to_string(), layers }
                }
                // The image may be gone, or be none; its containers still have its name.
                Err(_) => Condition::Image(name),
            },
            Filter::Network(name) => {
                // Docker's words for what every container has.
                let name = Network::parse(name).map_or(name.as_str(), |network| network.as_str());
                Condition::Network(name)
            }
            other => Condition::Plain(other),
        })
    }

    /// Tells whether a container is started when the machine is: one that has run, and whose policy is to go on; one that
    /// was stopped only if its policy is to come back all the same. Source: Docker's restart policies.
    fn starts_on_boot(&self, record: &Record) -> bool {
        let wanted = match record.options.restart {
            Restart::Always => true,
            Restart::UnlessStopped => !self.containers.is_stopped(&record.id),
            Restart::No | Restart::OnFailure(_) => false,
        };
        wanted && record.state.started_at.is_some()
    }

    /// Tells whether a record fits: any condition of each kind, and every label.
    fn fits(&self, record: &Record, conditions: &[Condition<'_>]) -> bool {
        let mut kinds: BTreeMap<usize, bool> = BTreeMap::new();
        for (n, condition) in conditions.iter().enumerate() {
            let holds = match condition {
                Condition::Network(network) => self.networks_of(record).iter().any(|name| name == network),
                Condition::Plain(Filter::StartsOnBoot(wanted)) => self.starts_on_boot(record) == *wanted,
                other => other.holds(record),
            };
            *kinds.entry(condition.kind(n)).or_default() |= holds;
        }
        kinds.into_values().all(|holds| holds)
    }
}

/// A filter whose names were looked up.
enum Condition<'a> {
    Plain(&'a Filter),
    Before(String),
    Since(String),
    Ancestor { id: String, layers: Vec<String> },
    Image(&'a str),
    Network(&'a str),
}

impl Condition<'_> {
    /// Numbers the kinds, of each of which one condition must hold. Every label is a kind of its own.
    fn kind(&self, position: usize) -> usize {
        match self {
            Self::Before(_) => 0,
            Self::Since(_) => 1,
            Self::Ancestor { .. } | Self::Image(_) => 2,
            Self::Network(_) => 3,
            Self::Plain(filter) => match filter {
                Filter::Id(_) => 4,
                Filter::Name(_) => 5,
                Filter::Status(_) => 6,
                Filter::Exited(_) => 7,
                Filter::Volume(_) => 8,
                Filter::Restart(_) => usize::MAX,
                Filter::StartsOnBoot(_) => usize::MAX - 1,
                Filter::Label(_) => 10 + position,
                _ => 9,
            },
        }
    }

    fn holds(&self, record: &Record) -> bool {
        let filter = match self {
            Self::Plain(filter) => filter,
            Self::Before(time) => return record.created < *time,
            Self::Since(time) => return record.created > *time,
            Self::Image(name) => return record.image == *name,
            Self::Ancestor { id, layers } => return descends(record, id, layers),
            Self::Network(_) => return false,
        };
        match filter {
            Filter::Id(pattern) => pattern.is_in(record.id.as_str()),
            Filter::Name(pattern) => pattern.is_in(&record.name) || pattern.is_in(&format!("/{}", record.name)),
            Filter::Label(label) => label.holds(&record.labels),
            Filter::Status(word) => record.state.status == *word,
            Filter::Exited(code) => record.state.status == "exited" && record.state.exit_code == Some(*code),
            Filter::Volume(text) => has_mount(record, text),
            Filter::Health(word) => record.state.health.as_ref().map_or("none", |health| &health.status) == word,
            Filter::Restart(name) => record.options.restart.name() == name,
            Filter::Network(_)
            | Filter::Ancestor(_)
            | Filter::Before(_)
            | Filter::Since(_)
            | Filter::StartsOnBoot(_) => false,
        }
    }
}

/// Tells whether a container was made from an image, or from one that begins with the same layers.
fn descends(record: &Record, id: &str, layers: &[String]) -> bool {
    // Of the record's layers the topmost may be derived, and is no image's.
    let own: Vec<&String> = record.layers.iter().rev().collect();
    let begins = own.len() >= layers.len() && layers.iter().zip(&own).all(|(a, b)| a == *b);
    record.image_id.as_deref() == Some(id) || (begins && !layers.is_empty() && record.image_id.is_some())
}

fn has_mount(record: &Record, text: &str) -> bool {
    record.options.mounts.iter().any(|mount| {
        let named = match &mount.source {
            Source::Volume(name) | Source::Anonymous(name) => name == text,
            Source::Bind(path) => path == Path::new(text),
            Source::Tmpfs { .. } => false,
        };
        named || mount.target == Path::new(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_strict() {
        assert_eq!("label=a=b=c".parse::<Filter>().unwrap(), Filter::Label(LabelFilter::new("a=b=c")));
        assert_eq!("exited=137".parse::<Filter>().unwrap(), Filter::Exited(137));
        assert_eq!("restart-policy=always".parse::<Filter>().unwrap(), Filter::Restart("always".into()));
        assert_eq!("should-start-on-boot=false".parse::<Filter>().unwrap(), Filter::StartsOnBoot(false));
        for bad in ["restart-policy=often", "should-start-on-boot=maybe"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
        for bad in ["", "name", "status=happy", "exited=x", "health=fine", "nosuch=1", "name=[", "expose=80"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
