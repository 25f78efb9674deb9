// SPDX-License-Identifier: Apache-2.0
//! What a stage has become: its layers and its configuration.

use std::collections::BTreeSet;

use bryo_image::registry::Platform;
use bryo_image::store::{Image, Layer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::environment::Environment;
use crate::error::{Result, wrong};

/// Where programs are found when nobody says. Source: Docker's default.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage at some point.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    /// The layers, bottom to top.
    pub layers: Vec<Layer>,
    /// The image's configuration, with all that was in the base's and is not known here.
    document: Map<String, Value>,
    /// The environment, which the configuration gets in the end.
    env: Environment,
    /// The steps that made it.
    history: Vec<Value>,
    /// How many layers and steps are those of the image below.
    below: (usize, usize),
    /// When its last layer was made, if that is known.
    created: Option<String>,
    /// The arguments that are known, and their values.
    pub args: Vec<(String, Option<String>)>,
    /// The image that it stands on, in the words of the Dockerfile.
    pub base: String,
    /// Who says which user it runs as: the stage, or what it stands on.
    pub user_is_own: bool,
    /// The command was said here, so that a new entrypoint leaves it alone.
    pub cmd_is_own: bool,
}

impl State {
    /// Begins with nothing.
    pub fn scratch(platform: &Platform) -> Self {
        let mut document = Map::new();
        document.insert("architecture".to_owned(), json!(platform.architecture));
        document.insert("os".to_owned(), json!(platform.os));
        if let Some(variant) = &platform.variant {
            document.insert("variant".to_owned(), json!(variant));
        }
        document.insert("config".to_owned(), json!({"Env": [PATH], "WorkingDir": "/"}));
        Self::of(document, Vec::new(), "scratch")
    }

    /// Begins with an image, given by its configuration as it is in the store.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn of_image(image: &Image, config: &[u8], name: &str) -> Result<Self> {
        let document: Map<String, Value> =
            serde_json::from_slice(config).map_err(|e| wrong(format!("the configuration of {name}: {e}")))?;
        Ok(Self::of(document, image.layers.clone(), name))
    }

    fn of(mut document: Map<String, Value>, layers: Vec<Layer>, base: &str) -> Self {
        let created = document.get("created").and_then(Value::as_str).map(str::to_owned);
        let history = match document.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        if !document.get("config").is_some_and(Value::is_object) {
            document.insert("config".to_owned(), json!({}));
        }
        let env = document.get_mut("config").and_then(|config| config.as_object_mut()?.remove("Env"));
        let env = env.and_then(|env| serde_json::from_value::<Vec<String>>(env).ok()).unwrap_or_default();
        // What Docker once wrote about the container that an image came from would be about another one.
        for stale in ["container", "container_config", "docker_version"] {
            document.remove(stale);
        }
        Self {
            below: (layers.len(), history.len()),
            layers,
            document,
            env: env.into(),
            history,
            created,
            args: Vec::new(),
            base: base.to_owned(),
            user_is_own: false,
            cmd_is_own: false,
        }
    }

    /// Begins a stage on this one: arguments are not handed on.
    #[must_use]
    pub fn as_base(&self, name: &str) -> Self {
        Self { args: Vec::new(), base: name.to_owned(), cmd_is_own: false, user_is_own: false, ..self.clone() }
    }

    /// Returns what a key of the configuration says.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.document.get("config")?.get(key).filter(|value| !value.is_null())
    }

    /// Returns a text of the configuration; nothing for an empty one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Returns a list of texts.
    pub fn list(&self, key: &str) -> Vec<String> {
        let list = self.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some(item.as_str()?.to_owned())).collect()
    }

    /// Sets a key of the configuration.
    pub fn set(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(config)) = self.document.get_mut("config") {
            config.insert(key.to_owned(), value);
        }
    }

    /// Takes a key of the configuration away.
    pub fn unset(&mut self, key: &str) {
        if let Some(Value::Object(config)) = self.document.get_mut("config") {
            config.remove(key);
        }
    }

    /// Sets a key of an object in the configuration.
    pub fn set_in(&mut self, object: &str, key: &str, value: Value) {
        let Some(Value::Object(config)) = self.document.get_mut("config") else { return };
        let inner = config.entry(object).or_insert_with(|| json!({}));
        if !inner.is_object() {
            *inner = json!({});
        }
        if let Value::Object(inner) = inner {
            inner.insert(key.to_owned(), value);
        }
    }

    /// Sets a key beside the configuration.
    pub fn set_beside(&mut self, key: &str, value: Value) {
        self.document.insert(key.to_owned(), value);
    }

    /// Returns the environment, as a configuration has it.
    pub fn env(&self) -> &[String] {
        self.env.entries()
    }

    /// Sets a variable of the environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.set(name, value);
    }

    /// Looks a variable up: what `ENV` says is stronger than an argument.
    pub fn variable(&self, name: &str) -> Option<String> {
        let env = self.env.get(name).map(str::to_owned);
        env.or_else(|| self.args.iter().rev().find(|(known, _)| known == name)?.1.clone())
    }

    /// Returns the arguments that commands see: those with a value that `ENV` does not replace, each once, in the order in
    /// which they were said last.
    pub fn visible_args(&self) -> Vec<(String, String)> {
        let mut seen = BTreeSet::new();
        let with_value = self.args.iter().rev().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let mut visible: Vec<(String, String)> = with_value
            .filter(|(name, _)| self.env.get(name).is_none() && seen.insert(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        visible.reverse();
        visible
    }

    /// Returns the working directory.
    pub fn workdir(&self) -> &str {
        self.text("WorkingDir").unwrap_or("/")
    }

    /// Returns the shell for lines.
    pub fn shell(&self) -> Vec<String> {
        let shell = self.list("Shell");
        if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell }
    }

    /// Returns the architecture.
    pub fn architecture(&self) -> &str {
        self.document.get("architecture").and_then(Value::as_str).unwrap_or_default()
    }

    /// Writes a step down; with a layer, if it made one.
    pub fn record(&mut self, by: &str, layer: Option<(Layer, String)>) {
        let empty = layer.is_none();
        if let Some((layer, created)) = layer {
            self.layers.push(layer);
            self.created = Some(created);
        }
        let mut step = json!({"created_by": by, "comment": "bryo build"});
        // Of the time alone, which is another one each time, nothing of the image must depend.
        if let Some(created) = &self.created {
            step["created"] = json!(created);
        }
        if empty {
            step["empty_layer"] = json!(true);
        }
        self.history.push(step);
    }

    /// Returns the layers that are not those of the image below.
    pub fn own_layers(&self) -> &[Layer] {
        &self.layers[self.below.0..]
    }

    /// Puts one layer in the place of all that are not those of the image below.
    pub fn squash(&mut self, layer: Layer, created: String) {
        for step in &mut self.history[self.below.1..] {
            step["empty_layer"] = json!(true);
        }
        self.layers.truncate(self.below.0);
        self.record("bryo build --squash", Some((layer, created)));
    }

    /// Returns the image's configuration; `now` is when it was made if no layer says so.
    pub fn configuration(&self, now: &str) -> Value {
        let mut document = self.document.clone();
        if let Some(Value::Object(config)) = document.get_mut("config")
            && !self.env().is_empty()
        {
            config.insert("Env".to_owned(), json!(self.env()));
        }
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        document.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
        document.insert("history".to_owned(), json!(self.history));
        document.insert("created".to_owned(), json!(self.created.as_deref().unwrap_or(now)));
        Value::Object(document)
    }

    /// Returns the content that later steps stand on.
    pub fn content(&self) -> Value {
        json!(self.layers.iter().map(|layer| layer.diff_id.as_str()).collect::<Vec<_>>())
    }

    /// Returns what commands depend on: the content, and what they see of the configuration.
    pub fn fingerprint(&self) -> Value {
        json!({
            "layers": self.content(),
            "env": self.env(),
            "args": self.visible_args(),
            "user": self.text("User"),
            "workdir": self.workdir(),
            "architecture": self.architecture(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::scratch(&Platform::host())
    }

    #[test]
    fn env_is_stronger_than_arguments() {
        let mut state = state();
        state.args.push(("A".into(), Some("arg".into())));
        state.args.push(("B".into(), None));
        assert_eq!(state.variable("A").as_deref(), Some("arg"));
        assert_eq!(state.visible_args(), [("A".to_owned(), "arg".to_owned())]);
        state.args.push(("C".into(), Some("1".into())));
        state.args.push(("A".into(), Some("again".into())));
        assert_eq!(
            state.visible_args().iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>(),
            ["C=1", "A=again"]
        );
        state.args.truncate(2);
        state.set_env("A", "env");
        state.set_env("A", "env=2");
        assert_eq!(state.variable("A").as_deref(), Some("env=2"));
        assert_eq!(state.visible_args(), []);
        assert_eq!(state.variable("B"), None);
        assert_eq!(state.as_base("x").variable("A").as_deref(), Some("env=2"));
    }

    #[test]
    fn history_and_layers_agree() {
        let mut state = state();
        let digest = bryo_image::Digest::sha256_of(b"x");
        let layer = Layer { digest: digest.clone(), size: 1, media_type: String::new(), diff_id: digest };
        state.record("RUN a", Some((layer, "2000-01-01T00:00:00Z".to_owned())));
        state.record("CMD b", None);
        let document = state.configuration("now");
        assert_eq!(document["history"][1]["empty_layer"], true);
        assert_eq!(document["history"][0]["empty_layer"], Value::Null);
        assert_eq!(document["rootfs"]["diff_ids"].as_array().unwrap().len(), 1);
        assert_eq!(document["created"], "2000-01-01T00:00:00Z");
    }
}
