// SPDX-License-Identifier: Apache-2.0
//! Which events are shown. Source: Docker's `docker events` reference.

use std::str::FromStr;

use super::{Event, Type};
use crate::error::{Error, Kind, Result};
use crate::list::LabelFilter;

/// A condition that events are shown for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// What it is about.
    Type(String),
    /// What has happened, by its first word.
    Event(String),
    /// The container that it is about, by its name or the beginning of its id; other kinds by theirs.
    About(Type, String),
    /// A label.
    Label(LabelFilter),
}

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(Kind::InvalidOption, format!("invalid filter {text:?}: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| bad("expected KEY=VALUE"))?;
        let owned = value.to_owned();
        Ok(match key {
            "type" if ["container", "image", "volume", "network"].contains(&value) => Self::Type(owned),
            "type" => return Err(bad("container, image, volume and network are known")),
            "event" => Self::Event(owned),
            "container" => Self::About(Type::Container, owned),
            "image" => Self::About(Type::Image, owned),
            "volume" => Self::About(Type::Volume, owned),
            "network" => Self::About(Type::Network, owned),
            "label" => Self::Label(LabelFilter::new(value)),
            _ => return Err(bad("type, event, container, image, volume, network and label are known")),
        })
    }
}

impl Filter {
    /// Tells whether an event fits: any condition of each kind, and every label.
    pub fn fits(filters: &[Self], event: &Event) -> bool {
        let any_of_kind = |filter: &Self| filters.iter().any(|other| filter.is_same_kind(other) && other.holds(event));
        filters.iter().all(|filter| match filter {
            Self::Label(_) => filter.holds(event),
            other => any_of_kind(other),
        })
    }

    fn is_same_kind(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::About(one, _), Self::About(other, _)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    fn holds(&self, event: &Event) -> bool {
        let attributes = &event.actor.attributes;
        match self {
            Self::Type(kind) => event.kind.as_str() == kind,
            // `exec_create: sh` is an `exec_create`.
            Self::Event(action) => event.action == *action || event.action.split(':').next() == Some(action.as_str()),
            Self::Label(label) => label.holds(attributes),
            Self::About(Type::Image, name) => {
                let image = match event.kind {
                    Type::Image => [attributes.get("name"), Some(&event.actor.id)],
                    Type::Container => [attributes.get("image"), None],
                    _ => [None, None],
                };
                image.into_iter().flatten().any(|image| is_image(image, name))
            }
            Self::About(kind, name) => {
                let own = event.kind == *kind;
                own && (event.actor.id.starts_with(name.as_str()) || attributes.get("name") == Some(name))
            }
        }
    }
}

/// Tells whether an image's name or id is what a person called it: with its tag or without.
fn is_image(image: &str, name: &str) -> bool {
    use bryo_image::reference::Reference;
    if image == name || image.strip_prefix("sha256:").is_some_and(|hex| !name.is_empty() && hex.starts_with(name)) {
        return true;
    }
    let (Ok(image), Ok(named)) = (image.parse::<Reference>(), name.parse::<Reference>()) else { return false };
    let says_tag = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    image.repository() == named.repository() && (!says_tag || image.tag() == named.tag())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(filters: &[&str], event: &Event) -> bool {
        let filters: Vec<Filter> = filters.iter().map(|text| text.parse().unwrap()).collect();
        Filter::fits(&filters, event)
    }

    #[test]
    fn of_one_key_any_holds_and_of_different_keys_all() {
        let event = Event::now(Type::Container, "exec_create: sh -c x", "abcdef")
            .with("name", "web")
            .with("image", "docker.io/library/alpine:3")
            .with("tier", "front");
        for filters in [
            &[][..],
            &["type=container"],
            &["type=image", "type=container"],
            &["event=exec_create"],
            &["event=exec_create: sh -c x", "container=web"],
            &["container=abc"],
            &["container=other", "container=web"],
            &["image=alpine"],
            &["image=alpine:3", "label=tier", "label=tier=front"],
        ] {
            assert!(fits(filters, &event), "{filters:?}");
        }
        for filters in [
            &["type=image"][..],
            &["event=exec"],
            &["container=we"],
            &["container=web", "event=start"],
            &["image=alpine:4"],
            &["volume=abc"],
            &["label=tier", "label=tier=back"],
        ] {
            assert!(!fits(filters, &event), "{filters:?}");
        }
    }

    #[test]
    fn filters_are_strict() {
        for bad in ["", "type", "type=daemon", "plugin=x", "until=1"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
