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
    steps: Mutex<BTreeMap<usize, (Digest, String, String)>>,
}

impl Json {
    fn object(&self, event: Event<'_>) -> Option<Value> {
        let now = jiff::Timestamp::now().to_string();
        let mut current = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Begin(number, name) = event {
            let digest = Digest::sha256_of(format!("{number} {name}").as_bytes());
            let vertex = json!({"digest": digest, "name": name, "started": now});
            current.insert(number, (digest, name.to_owned(), now));
            return Some(json!({"vertexes": [vertex]}));
        }
        let (digest, name, started) = current.get(&event.number())?;
        let ended = || json!({"digest": digest, "name": name, "started": started, "completed": now});
        let log = |stream: u8, bytes: &[u8]| {
            let data = STANDARD.encode(bytes);
            json!({"logs": [{"vertex": digest, "stream": stream, "data": data, "timestamp": now}]})
        };
        Some(match event {
            Event::Begin(..) => return None,
            Event::Output(_, stream, bytes) => log(if stream == Stream::Err { 2 } else { 1 }, bytes),
            Event::Note(_, text) => log(2, format!("{text}\n").as_bytes()),
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
}
