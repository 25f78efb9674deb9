// SPDX-License-Identifier: Apache-2.0
//! A hardened image in the words of others: a Dockerfile that makes the same; [`super::pod`] has the pod that runs it.
//!
//! Guarantees: a path or a text of the image stands in quotes and cannot end them. What cannot be said in a line is said
//! in a remark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use bryo_image::members::{Entry, EntryKind};
use bryo_image::store::Image;

use super::proof::Port;
use super::{BASE, GROUPS, Hardened, Member, TakenOut, WRITABLE};

/// What the documents tell besides the image itself.
#[derive(Debug)]
pub struct Told<'a> {
    /// What was hardened, as it was named.
    pub base_name: &'a str,
    /// The new image's name.
    pub name: &'a str,
    /// Paths that it was seen to write to.
    pub written: &'a [PathBuf],
    /// Ports that it was seen to listen on.
    pub listens: &'a [Port],
    /// Directories in which the image has something, as [`Engine::filled`](crate::Engine::filled) lists them.
    pub filled: &'a BTreeSet<PathBuf>,
}

/// Writes a Dockerfile that makes the same image of the same base.
pub fn dockerfile(hardened: &Hardened, told: &Told<'_>) -> String {
    let mut text = format!(
        "# What bryo harden did to this image; what stands below FROM may end another Dockerfile.\nFROM {}\nUSER 0:0\n",
        one_line(told.base_name)
    );
    for member in &hardened.members {
        let Some(content) = member.content.as_deref().and_then(|content| std::str::from_utf8(content).ok()) else {
            continue;
        };
        let end = (0..).map(|n| format!("BRYO{n}")).find(|end| !content.lines().any(|line| line == end));
        let (end, mode) = (end.unwrap_or_default(), member.entry.mode & 0o777);
        let body = if content.ends_with('\n') { content.to_owned() } else { format!("{content}\n") };
        let _ = writeln!(text, "COPY --chmod={mode:04o} <<'{end}' /{}\n{body}{end}", shown(member));
    }
    for line in hardened.taken.told() {
        let _ = writeln!(text, "# {}", one_line(&line));
    }
    hardened.taken.files.iter().for_each(|edit| text += &TakenOut::instruction(edit));
    owners(&mut text, &hardened.members);
    if let (false, Some(path)) = (hardened.programs.is_empty(), variable(&hardened.image, "PATH")) {
        let _ = writeln!(text, "ENV PATH={}", json(&path));
    }
    let state: Vec<String> = hardened.facts.state.iter().map(|path| path.display().to_string()).collect();
    let _ = writeln!(text, "LABEL {WRITABLE}={}", json(&state.join(",")));
    for name in [BASE, GROUPS] {
        let config = hardened.image.config.config().as_ref();
        if let Some(value) = config.and_then(|config| config.labels().as_ref()?.get(name)) {
            let _ = writeln!(text, "LABEL {name}={}", json(value));
        }
    }
    if let Some(start) = &hardened.taken.start {
        // In this order: a new entrypoint takes the base's command away.
        let list = |words: &[String]| serde_json::Value::from(words).to_string();
        if !start.entrypoint.is_empty() {
            let _ = writeln!(text, "ENTRYPOINT {}", list(&start.entrypoint));
        }
        if !start.cmd.is_empty() {
            let _ = writeln!(text, "CMD {}", list(&start.cmd));
        }
    }
    let _ = writeln!(text, "USER {}", hardened.user);
    text
}

/// Writes the steps that give directories and files away, those of one owner and mode together.
fn owners(text: &mut String, members: &[Member]) {
    let mut dirs: BTreeMap<(u64, u64, u32), Vec<String>> = BTreeMap::new();
    let mut files: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for member in members.iter().filter(|member| member.content.is_none() && !is_roots(&member.entry)) {
        let entry = &member.entry;
        let Ok(path) = std::str::from_utf8(&entry.path) else { continue };
        if path.contains(char::is_control) {
            let _ = writeln!(text, "# {}: a name that cannot be written here", path.escape_debug());
            continue;
        }
        let path = format!("'/{}'", path.replace('\'', "'\\''"));
        match entry.kind {
            EntryKind::Directory => {
                dirs.entry((entry.uid, entry.gid, entry.mode & 0o7777)).or_default().push(path);
            }
            _ => files.entry((entry.uid, entry.gid)).or_default().push(path),
        }
    }
    let mut steps = Vec::new();
    for ((uid, gid, mode), paths) in dirs {
        let paths = paths.join(" \\\n      ");
        steps.push(format!(
            "for d in \\\n      {paths}; do \\\n      mkdir -p \"$d\"; chown {uid}:{gid} \"$d\"; chmod {mode:04o} \"$d\"; \\\n    done"
        ));
    }
    for ((uid, gid), paths) in files {
        steps.push(format!("chown -h {uid}:{gid} \\\n      {}", paths.join(" \\\n      ")));
    }
    if !steps.is_empty() {
        let _ = writeln!(text, "RUN set -eu; \\\n    {}", steps.join("; \\\n    "));
    }
}

fn is_roots(entry: &Entry) -> bool {
    (entry.uid, entry.gid) == (0, 0)
}

fn variable(image: &Image, name: &str) -> Option<String> {
    let env = image.config.config().as_ref()?.env().clone()?;
    env.iter().find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn shown(member: &Member) -> String {
    one_line(&String::from_utf8_lossy(&member.entry.path))
}

pub(crate) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Quotes a text; JSON's strings are YAML's and a Dockerfile's too.
pub(crate) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Makes a name that Kubernetes takes for a pod: RFC 1123 labels.
pub(crate) fn pod_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.split(['@', ':']).next().unwrap_or(last).to_ascii_lowercase();
    let plain: String = last.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "hardened".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pods_are_labels() {
        for (name, expected) in [("ghcr.io/a/My_App:1", "my-app"), ("x@sha256:1", "x"), ("_", "hardened")] {
            assert_eq!(pod_name(name), expected);
        }
    }
}
