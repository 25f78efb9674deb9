// SPDX-License-Identifier: Apache-2.0
//! What has happened to containers, images, volumes and networks, in the words of Docker's `events`.
//!
//! ```text
//! every command and monitor ── a line each ──> DATA/events/journal ── read and followed by ──> bryo events
//! ```
//!
//! There is no daemon that could tell, so that everybody writes down what they have done, after it is done. An event that
//! cannot be written is lost, and nothing else: what has happened has happened.

mod filter;
mod journal;

use std::collections::BTreeMap;

use bryo_image::store::ImageRecord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use filter::Filter;
pub use journal::{Journal, Window};

use crate::Engine;
use crate::container::Record;
use crate::error::Result;

/// What an event is about. Source: Docker's API, `EventMessage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
}

impl Type {
    /// Returns Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Network => "network",
        }
    }
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: Type,
    /// What has happened.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time: i64,
}

/// What something has happened to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id, or its name where it has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// What else is known of it, and of what has happened.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Something happens now.
    pub fn now(kind: Type, action: impl Into<String>, id: impl Into<String>) -> Self {
        let actor = Actor { id: id.into(), attributes: BTreeMap::new() };
        Self { kind, action: action.into(), actor, time: nanoseconds(Timestamp::now()) }
    }

    /// Something happens to a container now.
    pub fn of(record: &Record, action: impl Into<String>) -> Self {
        let mut event = Self::now(Type::Container, action, record.id.as_str());
        event.actor.attributes.clone_from(&record.labels);
        event.with("image", record.image.as_str()).with("name", record.name.as_str())
    }

    /// Something happens now to an image, by the name that it has in this.
    pub fn of_image(record: &ImageRecord, action: &str) -> Self {
        let id = record.id().to_string();
        let name = record.reference.clone().unwrap_or_else(|| id.clone());
        Self::now(Type::Image, action, id).with("name", name)
    }

    /// Adds something that is known.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.actor.attributes.insert(key.to_owned(), value.into());
        self
    }

    /// It happened at a time that was written down; what is none changes nothing.
    #[must_use]
    pub(crate) fn at(mut self, time: Option<&str>) -> Self {
        if let Some(time) = time.and_then(|time| time.parse().ok()) {
            self.time = nanoseconds(time);
        }
        self
    }

    /// Returns when it happened.
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.time.into()).unwrap_or_default()
    }
}

fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

impl Engine {
    /// Returns the journal.
    pub fn journal(&self) -> Journal {
        Journal::new(&self.dirs.data)
    }

    /// Writes down that something has happened to a container.
    pub(crate) fn tell(&self, record: &Record, action: &str) {
        self.journal().write(&[Event::of(record, action)]);
    }

    /// Writes down that a container runs, and that it was made if it is new.
    pub(crate) fn tell_start(&self, record: &Record, is_new: bool) {
        let made = is_new.then(|| Event::of(record, "create").at(Some(&record.created)));
        let started = Event::of(record, "start").at(record.state.started_at.as_deref());
        self.journal().write(&made.into_iter().chain([started]).collect::<Vec<_>>());
    }

    /// Writes down that a run of a container has ended.
    pub(crate) fn tell_end(&self, record: &Record, code: i32) {
        self.journal().write(&ended(record, code));
    }

    /// Removes a container whose run has just ended, and writes down both at once; the end of the run, with its code,
    /// unless that was told already.
    pub(crate) fn tell_removed(
        &self,
        record: &Record,
        code: Option<i32>,
        remove: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut events = code.map(|code| ended(record, code)).unwrap_or_default();
        let removed = remove();
        events.extend(removed.is_ok().then(|| Event::of(record, "destroy")));
        self.journal().write(&events);
        removed
    }
}

fn ended(record: &Record, code: i32) -> Vec<Event> {
    let oom = record.state.oom_killed.then(|| Event::of(record, "oom"));
    let died = Event::of(record, "die").with("exitCode", code.to_string());
    oom.into_iter().chain([died]).collect()
}
