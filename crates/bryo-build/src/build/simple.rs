// SPDX-License-Identifier: Apache-2.0
//! Instructions that change the configuration, and `WORKDIR`, which may make a directory.

use std::path::Path;

use bryo_engine::options::stop_signal;
use serde_json::{Map, Value, json};

use super::Builder;
use crate::dockerfile::{Command, Healthcheck, Instruction, substitute};
use crate::error::{Result, wrong};
use crate::files::make_directory;
use crate::state::State;

impl Builder<'_> {
    pub(super) fn simple(&self, state: &mut State, instruction: &Instruction, text: &str) -> Result<()> {
        match instruction {
            Instruction::Arg(arguments) => {
                arguments.iter().try_for_each(|argument| self.argument(state, argument))?;
            }
            Instruction::Env(pairs) => {
                // All of them see what was there before.
                let pair =
                    |(name, value): &(String, String)| Ok((self.expand(name, state)?, self.expand(value, state)?));
                let pairs = pairs.iter().map(pair).collect::<Result<Vec<_>>>()?;
                pairs.iter().for_each(|(name, value)| state.set_env(name, value));
            }
            Instruction::Label(pairs) => {
                for (name, value) in pairs {
                    let (name, value) = (self.expand(name, state)?, self.expand(value, state)?);
                    state.set_in("Labels", &name, json!(value));
                }
            }
            Instruction::Cmd(command) => {
                state.set("Cmd", json!(words(command, state)));
                state.cmd_is_own = true;
            }
            Instruction::Entrypoint(command) => {
                state.set("Entrypoint", json!(words(command, state)));
                if !state.cmd_is_own {
                    state.unset("Cmd");
                }
            }
            Instruction::Shell(words) if words.is_empty() => return Err(wrong("SHELL wants a list of words")),
            Instruction::Shell(words) => state.set("Shell", json!(words)),
            Instruction::User(user) => {
                let user = self.expand(user, state)?;
                bryo_engine::users::UserSpec::parse(&user)?;
                state.set("User", json!(user));
                state.user_is_own = true;
            }
            Instruction::Volume(paths) => self.volumes(state, paths)?,
            Instruction::Expose(ports) => self.expose(state, ports)?,
            Instruction::Stopsignal(signal) => {
                let signal = self.expand(signal, state)?;
                stop_signal(&signal)?;
                state.set("StopSignal", json!(signal));
            }
            Instruction::Healthcheck(check) => state.set("Healthcheck", healthcheck(check.as_ref(), state)),
            Instruction::Onbuild(trigger) => {
                let mut triggers = state.list("OnBuild");
                triggers.push(trigger.clone());
                state.set("OnBuild", json!(triggers));
            }
            Instruction::Maintainer(name) => state.set_beside("author", json!(name)),
            Instruction::Run(_) | Instruction::Copy(_) | Instruction::Workdir(_) => {
                return Err(wrong(format!("{text:?} changes more than the configuration")));
            }
        }
        state.record(text, None);
        Ok(())
    }

    fn volumes(&self, state: &mut State, paths: &[String]) -> Result<()> {
        for path in paths {
            let path = self.expand(path, state)?;
            if path.trim().is_empty() {
                return Err(wrong("VOLUME wants a path"));
            }
            state.set_in("Volumes", &path, json!({}));
        }
        Ok(())
    }

    fn expose(&self, state: &mut State, ports: &[String]) -> Result<()> {
        let expand = |port| {
            self.expand_by(&|name| state.variable(name), |lookup, escape| substitute::words(port, lookup, escape))
        };
        let expanded = ports.iter().map(|port| expand(port)).collect::<Result<Vec<Vec<String>>>>()?;
        for port in expanded.into_iter().flatten() {
            for port in exposed(&port).ok_or_else(|| wrong(format!("EXPOSE {port}: this is no port")))? {
                state.set_in("ExposedPorts", &port, json!({}));
            }
        }
        Ok(())
    }

    /// Sets the working directory, and makes it where it is not there.
    pub(super) fn workdir(&mut self, state: &mut State, path: &str, name: &str) -> Result<()> {
        let path = self.expand(path, state)?;
        if path.is_empty() {
            return Err(wrong("WORKDIR wants a path"));
        }
        let path = absolute(state.workdir(), &path);
        state.set("WorkingDir", json!(path));
        let owner = self.owner(state, state.text("User").unwrap_or("0"))?;
        let inputs = json!({"step": "WORKDIR", "path": path, "owner": owner, "below": state.content()});
        let entry = self.cached(&inputs, name, |builder, _| {
            let layers = builder.layers(state)?;
            let scratch = builder.engine.scratch()?;
            let single_id = builder.single_id();
            let made = builder.engine.in_tree(&layers, Some(&scratch), [], |root, []| {
                make_directory(root, Path::new(&path), owner, single_id)
            });
            let made = made.and_then(|working| working.answer());
            let layer = match made {
                Ok(true) => builder.layer(&scratch, &layers, &[]).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error.into()),
            };
            builder.ended(scratch, layer)
        })?;
        state.record(&format!("WORKDIR {path}"), entry.layer.map(|layer| (layer, entry.created)));
        Ok(())
    }
}

/// Returns the words of a command in the configuration.
fn words(command: &Command, state: &State) -> Vec<String> {
    command.words(&state.shell())
}

/// Joins a path to the working directory, without `.` and `..`.
pub(super) fn absolute(workdir: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{workdir}/{path}") };
    format!("/{}", crate::pattern::clean(&joined))
}

/// Reads `PORT[-PORT][/PROTOCOL]`.
fn exposed(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    let known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    (known && first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(check: Option<&Healthcheck>, state: &State) -> Value {
    let Some(check) = check else { return json!({"Test": ["NONE"]}) };
    let test = match &check.command {
        Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect::<Vec<_>>(),
        Command::Shell(line) if state.get("Shell").is_none() => vec!["CMD-SHELL".to_owned(), line.clone()],
        shell => std::iter::once("CMD".to_owned()).chain(words(shell, state)).collect(),
    };
    let mut value = Map::new();
    value.insert("Test".to_owned(), json!(test));
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
        ("Retries", check.retries),
    ];
    for (key, number) in times {
        if let Some(number) = number {
            value.insert(key.to_owned(), json!(number));
        }
    }
    Value::Object(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_and_protocols() {
        for (text, expected) in [
            ("80", Some(vec!["80/tcp"])),
            ("53/UDP", Some(vec!["53/udp"])),
            ("8000-8002", Some(vec!["8000/tcp", "8001/tcp", "8002/tcp"])),
            ("http", None),
            ("80/icmp", None),
            ("9-8", None),
            ("70000", None),
        ] {
            let found = exposed(text);
            assert_eq!(found.as_ref().map(|p| p.iter().map(String::as_str).collect()), expected, "{text}");
        }
    }

    #[test]
    fn paths_are_joined_to_the_working_directory() {
        for (workdir, path, expected) in
            [("/", "a", "/a"), ("/a", "b/../c", "/a/c"), ("/a", "/b/", "/b"), ("/a", "../../..", "/"), ("/", ".", "/")]
        {
            assert_eq!(absolute(workdir, path), expected);
        }
    }
}
