// SPDX-License-Identifier: Apache-2.0
//! Steps as lines of JSON, in the form of BuildKit's `--progress rawjson`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bryo_build::progress::{Event, Progress, Stream};
use bryo_image::Digest;
use serde_json::{Value, json};

use crate::output;

#[derive(Debug, Default)]
pub(super) struct Json {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    steps: BTreeMap<usize, Vertex>,
    /// The last step of each stage.
    last: BTreeMap<String, Digest>,
}

#[derive(Debug)]
struct Vertex {
    digest: Digest,
    name: String,
    inputs: Vec<Digest>,
    started: String,
}

impl Vertex {
    fn object(&self) -> Value {
        json!({"digest": self.digest, "inputs": self.inputs, "name": self.name, "started": self.started})
    }

    fn ended(&self, now: &str) -> Value {
        let mut object = self.object();
        object["completed"] = json!(now);
        object
    }
}

impl Seen {
    fn begin(&mut self, number: usize, name: &str, now: String) -> Value {
        let digest = Digest::sha256_of(format!("{number} {name}").as_bytes());
        // What a stage stands on is not a step of it, and is not known here.
        let inputs = stage(name).and_then(|stage| self.last.insert(stage.to_owned(), digest.clone()));
        let vertex = Vertex { digest, name: name.to_owned(), inputs: inputs.into_iter().collect(), started: now };
        let object = vertex.object();
        self.steps.insert(number, vertex);
        object
    }
}

/// Returns the stage that a step is one of: `a` for `[a 2/5] RUN ...`.
fn stage(name: &str) -> Option<&str> {
    let (inner, _) = name.strip_prefix('[')?.split_once(']')?;
    Some(inner.rsplit_once(' ').map_or("", |(stage, _)| stage))
}

/// Returns what a note is about, what it says of that, and whether it is done.
fn status(text: &str) -> (&str, &str, bool) {
    let about = text.split_once(": ").filter(|(about, _)| !about.contains(' '));
    match about {
        Some((about, said)) => (about, said, said == "done"),
        None => (text.strip_suffix(" done").unwrap_or(text), "", text.ends_with(" done")),
    }
}

impl Json {
    fn object(&self, event: Event<'_>) -> Option<Value> {
        let now = jiff::Timestamp::now().to_string();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Begin(number, name) = event {
            return Some(json!({"vertexes": [seen.begin(number, name, now)]}));
        }
        let vertex = seen.steps.get(&event.number())?;
        let digest = &vertex.digest;
        let ended = || vertex.ended(&now);
        let log = |stream: u8, bytes: &[u8]| {
            let data = STANDARD.encode(bytes);
            json!({"logs": [{"vertex": digest, "stream": stream, "data": data, "timestamp": now}]})
        };
        Some(match event {
            Event::Begin(..) => return None,
            Event::Output(_, stream, bytes) => log(if stream == Stream::Err { 2 } else { 1 }, bytes),
            Event::Note(_, text) => {
                let (id, name, done) = status(text);
                let mut status = json!({
                    "id": id, "vertex": digest, "name": name, "current": 0, "timestamp": now, "started": now,
                });
                if done {
                    status["completed"] = json!(now);
                }
                json!({"statuses": [status]})
            }
            Event::End(_) => json!({"vertexes": [ended()]}),
            Event::Cached(_) => {
                let mut vertex = ended();
                vertex["cached"] = json!(true);
                json!({"vertexes": [vertex]})
            }
            Event::Failed(_, why) => {
                let mut vertex = ended();
                vertex["error"] = json!(why);
                json!({"vertexes": [vertex]})
            }
            Event::Canceled(_) => {
                let mut vertex = ended();
                vertex["error"] = json!("context canceled");
                json!({"vertexes": [vertex]})
            }
        })
    }
}

impl Progress for Json {
    fn event(&self, event: Event<'_>) {
        if let Some(object) = self.object(event) {
            output::complain(&format!("{object}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_buildkits_objects() {
        let json = Json::default();
        let begun = json.object(Event::Begin(1, "[1/2] FROM x")).unwrap();
        assert_eq!(begun["vertexes"][0]["name"], "[1/2] FROM x");
        let said = json.object(Event::Output(1, Stream::Err, b"a\x1b")).unwrap();
        assert_eq!((&said["logs"][0]["stream"], &said["logs"][0]["data"]), (&json!(2), &json!("YRs=")));
        assert_eq!(said["logs"][0]["vertex"], begun["vertexes"][0]["digest"]);
        assert_eq!(json.object(Event::Cached(1)).unwrap()["vertexes"][0]["cached"], true);
        assert_eq!(json.object(Event::Failed(1, "no")).unwrap()["vertexes"][0]["error"], "no");
    }

    #[test]
    fn a_step_names_the_one_before_it() {
        let json = Json::default();
        let begin = |number, name| json.object(Event::Begin(number, name)).unwrap()["vertexes"][0].clone();
        let (a, b) = (begin(1, "[a 1/2] FROM x"), begin(2, "[b 1/2] FROM x"));
        assert_eq!((&a["inputs"], &b["inputs"]), (&json!([]), &json!([])));
        assert_eq!(begin(3, "[a 2/2] RUN [ 1 ]")["inputs"], json!([a["digest"]]));
        assert_eq!(begin(4, "exporting to image")["inputs"], json!([]));
    }

    #[test]
    fn notes_are_statuses() {
        let json = Json::default();
        json.object(Event::Begin(1, "exporting to image"));
        let status = |text| json.object(Event::Note(1, text)).unwrap()["statuses"][0].clone();
        let named = status("naming to localhost/x:1 done");
        assert_eq!(named["id"], "naming to localhost/x:1");
        assert!(named["completed"].is_string());
        let layer = status("e3b0c44298fc: 2kB");
        assert_eq!((&layer["id"], &layer["name"]), (&json!("e3b0c44298fc"), &json!("2kB")));
        assert!(layer["completed"].is_null() && status("e3b0c44298fc: done")["completed"].is_string());
    }
}
