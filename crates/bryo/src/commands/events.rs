// SPDX-License-Identifier: Apache-2.0
//! `bryo events`: what happens.

use std::process::ExitCode;

use bryo_engine::events::{Event, Filter, Type, Window};
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::logs::time;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output;
use crate::output::template::{self, Template};

/// Flags of `bryo events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Shows only events that fit: type=, event=, container=, image=, volume=, network=, label=KEY[=VALUE]
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Formats as json, or by a template such as '{{.Type}} {{.Action}} {{.Actor.ID}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Prints JSON, an event a line
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Shows what happened since then, too: a time such as 2026-01-02T13:23:37Z, or a while ago such as 42m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Shows what happened before then, and ends
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Verb for Events {
    const NAME: &'static str = "events";
    const ABOUT: &'static str = "Show what happens to containers, images, volumes and networks";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let now = Timestamp::now();
        let window = Window {
            since: self.since.as_deref().map(|text| time(text, now)).transpose()?,
            until: self.until.as_deref().map(|text| time(text, now)).transpose()?,
        };
        let filters = self.filter.iter().map(|text| text.parse());
        let filters = filters.collect::<std::result::Result<Vec<Filter>, _>>()?;
        // Docker's way to ask for JSON before there was a word for it.
        let is_json = self.json || self.format.as_deref().is_some_and(|f| matches!(f, "json" | "{{json .}}"));
        // What is not understood is said now, not when something happens.
        let format = self.format.as_deref().filter(|_| !is_json).map(Template::parse).transpose()?;
        let mut failure = None;
        let mut show = |event: &Event| {
            let text = match &format {
                _ if is_json => template::one("json", &message(event)),
                Some(format) => format.fill(&fields(event)).map(|text| text + "\n"),
                None => Ok(line(event)),
            };
            failure = text.and_then(|text| output::print(&text)).err();
            failure.is_none()
        };
        context.journal()?.read(window, &mut |event| !Filter::fits(&filters, event) || show(event))?;
        failure.map_or(Ok(ExitCode::SUCCESS), Err::<_, Error>)
    }
}

/// Writes an event as Docker does.
fn line(event: &Event) -> String {
    let attributes: Vec<String> = event.actor.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (time, kind, action, id) = (event.timestamp(), event.kind.as_str(), &event.action, &event.actor.id);
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{}\n", output::line(&format!("{time:.9} {kind} {action} {id}{attributes}")))
}

/// Returns the image that an event is about, or that the container is made of.
fn image(event: &Event) -> Option<&str> {
    match event.kind {
        Type::Container => event.actor.attributes.get("image").map(String::as_str),
        _ => None,
    }
}

/// Describes an event in the words of Docker's API.
fn message(event: &Event) -> Value {
    let mut message = json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": event.actor,
        "scope": "local",
        "time": event.timestamp().as_second(),
        "timeNano": event.time,
    });
    if matches!(event.kind, Type::Container | Type::Image) {
        (message["status"], message["id"]) = (json!(event.action), json!(event.actor.id));
    }
    if let Some(image) = image(event) {
        message["from"] = json!(image);
    }
    message
}

/// Describes an event in the words of Docker's `--format`.
fn fields(event: &Event) -> Value {
    json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": event.actor,
        "Scope": "local",
        "Time": event.timestamp().as_second(),
        "TimeNano": event.time,
        "Status": event.action,
        "ID": event.actor.id,
        "From": image(event).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_dockers_shape() {
        let mut event = Event::now(Type::Container, "start", "abc").with("image", "alpine").with("name", "\u{1b}web");
        event.time = 1_767_323_417_000_000_001;
        let shown = line(&event);
        assert_eq!(shown.split_once(' ').unwrap().0, "2026-01-02T03:10:17.000000001Z");
        assert!(shown.contains(" container start abc (image=alpine, name=") && !shown.contains('\u{1b}'), "{shown}");
        let message = message(&event);
        assert_eq!((&message["status"], &message["from"]), (&json!("start"), &json!("alpine")));
        assert_eq!((&message["time"], &message["timeNano"]), (&json!(1_767_323_417), &json!(event.time)));
        let volume = Event::now(Type::Volume, "create", "v");
        assert!(line(&volume).ends_with(" volume create v\n"));
        assert!(super::message(&volume).get("status").is_none());
    }
}
