// SPDX-License-Identifier: Apache-2.0
//! Changes to an image's configuration, in the words of a Dockerfile.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::error::{Error, Kind, Result};

/// One change, as `docker import --change` takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// The default arguments.
    Cmd(Vec<String>),
    /// The program.
    Entrypoint(Vec<String>),
    /// A variable and its value.
    Env(String, String),
    /// The user, as `name|uid[:group|gid]`.
    User(String),
    /// The working directory.
    Workdir(String),
    /// A port and its protocol, as `80/tcp`.
    Expose(String),
    /// A label and its value.
    Label(String, String),
    /// A directory that is to be a volume.
    Volume(String),
    /// The signal that stops it.
    StopSignal(String),
    /// The check of its health, in the configuration's own form; an instruction for it is not understood.
    Healthcheck(Value),
    /// A variable that is taken away; no instruction of a Dockerfile says so.
    NoEnv(String),
}

impl FromStr for Change {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fail = |why: &str| Error::new(Kind::Corrupt, format!("parse change {text:?}: {why}"));
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).ok_or_else(|| fail("it has no value"))?;
        let rest = rest.trim();
        let pair = || match rest.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), unquote(value))),
            _ => Err(fail("it is not KEY=VALUE")),
        };
        Ok(match word.to_ascii_uppercase().as_str() {
            "CMD" => Self::Cmd(command(rest)),
            "ENTRYPOINT" => Self::Entrypoint(command(rest)),
            "ENV" => pair().map(|(key, value)| Self::Env(key, value))?,
            "LABEL" => pair().map(|(key, value)| Self::Label(unquote(&key), value))?,
            "USER" => Self::User(rest.to_owned()),
            "WORKDIR" if rest.starts_with('/') => Self::Workdir(rest.to_owned()),
            "WORKDIR" => return Err(fail("it is not an absolute path")),
            "EXPOSE" => Self::Expose(port(rest).ok_or_else(|| fail("it is not PORT[/PROTOCOL]"))?),
            "VOLUME" => Self::Volume(rest.to_owned()),
            "STOPSIGNAL" => Self::StopSignal(rest.to_owned()),
            _ => return Err(fail("unknown instruction")),
        })
    }
}

impl Change {
    /// Applies the change to the `config` object of an image configuration.
    pub(super) fn apply(&self, config: &mut Map<String, Value>) {
        match self {
            Self::Cmd(words) => set(config, "Cmd", json!(words)),
            Self::Entrypoint(words) => set(config, "Entrypoint", json!(words)),
            Self::User(user) => set(config, "User", json!(user)),
            Self::Workdir(dir) => set(config, "WorkingDir", json!(dir)),
            Self::StopSignal(signal) => set(config, "StopSignal", json!(signal)),
            Self::Healthcheck(check) => set(config, "Healthcheck", check.clone()),
            Self::Label(key, value) => member(config, "Labels", key, json!(value)),
            Self::Expose(port) => member(config, "ExposedPorts", port, json!({})),
            Self::Volume(dir) => member(config, "Volumes", dir, json!({})),
            Self::NoEnv(key) => {
                let own = |item: &Value| item.as_str().is_some_and(|item| item.split('=').next() == Some(key));
                if let Some(list) = config.get_mut("Env").and_then(Value::as_array_mut) {
                    list.retain(|item| !own(item));
                }
            }
            Self::Env(key, value) => {
                let prefix = format!("{key}=");
                let list = config.entry("Env").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.retain(|item| item.as_str().is_none_or(|item| !item.starts_with(&prefix)));
                    list.push(json!(format!("{prefix}{value}")));
                }
            }
        }
    }
}

fn set(config: &mut Map<String, Value>, key: &str, value: Value) {
    config.insert(key.to_owned(), value);
}

fn member(config: &mut Map<String, Value>, object: &str, key: &str, value: Value) {
    let object = config.entry(object).or_insert_with(|| json!({}));
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// Takes a JSON list of words, or anything else as a line for the shell.
fn command(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn unquote(text: &str) -> String {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

fn port(text: &str) -> Option<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number: u16 = number.parse().ok()?;
    matches!(protocol, "tcp" | "udp" | "sctp").then(|| format!("{number}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_edit_the_configuration() {
        let mut config = Map::new();
        for text in [
            r#"CMD ["nginx", "-g", "daemon off;"]"#,
            "ENTRYPOINT echo hi",
            "ENV A=1",
            "ENV A=\"2 3\"",
            "env B=",
            "USER 1000:1000",
            "WORKDIR /srv",
            "EXPOSE 80",
            "EXPOSE 53/udp",
            "LABEL org.x=y z",
            "VOLUME /data",
            "STOPSIGNAL SIGINT",
        ] {
            text.parse::<Change>().unwrap().apply(&mut config);
        }
        Change::Env("C".into(), "3".into()).apply(&mut config);
        Change::NoEnv("C".into()).apply(&mut config);
        let expected = json!({
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Entrypoint": ["/bin/sh", "-c", "echo hi"],
            "Env": ["A=2 3", "B="],
            "User": "1000:1000",
            "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Labels": {"org.x": "y z"},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGINT",
        });
        assert_eq!(Value::Object(config), expected);
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for text in ["", "CMD", "ENV A", "ENV =1", "RUN x", "WORKDIR srv", "EXPOSE http", "EXPOSE 80/x", "EXPOSE 70000"]
        {
            assert!(text.parse::<Change>().is_err(), "{text:?}");
        }
    }
}
