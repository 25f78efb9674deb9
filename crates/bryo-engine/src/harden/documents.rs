// SPDX-License-Identifier: Apache-2.0
//! A hardened image in the words of others: a Dockerfile that makes the same, and a pod that runs it.
//!
//! Guarantees: a path or a text of the image stands in quotes and cannot end them. What cannot be said in a line is said
//! in a remark.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bryo_image::members::{Entry, EntryKind};
use bryo_image::store::Image;

use super::{Hardened, Member, TakenOut, WRITABLE};

/// Directories that a container of any service writes to.
const ALWAYS: [&str; 2] = ["/run", "/tmp"];

/// What the documents tell besides the image itself.
#[derive(Debug)]
pub struct Told<'a> {
    /// What was hardened, as it was named.
    pub base_name: &'a str,
    /// The new image's name.
    pub name: &'a str,
    /// Paths that it was seen to write to.
    pub written: &'a [PathBuf],
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

/// Writes a pod that runs the image as it was proven, on the level "restricted" of the Pod Security Standards.
pub fn kubernetes(hardened: &Hardened, told: &Told<'_>) -> String {
    let facts = &hardened.facts;
    let volumes = volumes(hardened, told);
    let filled: Vec<(usize, &PathBuf)> =
        volumes.iter().enumerate().filter(|(_, path)| has_content(hardened, path)).collect();
    let security = format!(
        "{{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, runAsUser: {}, \
         runAsGroup: {}, capabilities: {{drop: [ALL]}}}}",
        facts.uid, facts.gid
    );
    let taken = hardened.taken.told().into_iter().map(|line| format!("# In the image, {}\n", one_line(&line)));
    let mut text = format!(
        "# How {} runs as nobody. Volumes are empty ones: a claim in their place keeps what is written.\n{}\
         apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\nspec:\n  hostUsers: false\n  \
         automountServiceAccountToken: false\n  securityContext:\n    runAsNonRoot: true\n    runAsUser: {}\n    \
         runAsGroup: {}\n    fsGroup: {}\n    fsGroupChangePolicy: OnRootMismatch\n",
        one_line(told.name),
        taken.collect::<String>(),
        pod_name(told.name),
        facts.uid,
        facts.gid,
        facts.gid
    );
    if !facts.groups.is_empty() {
        let _ = writeln!(text, "    supplementalGroups: {:?}", facts.groups);
    }
    text += "    seccompProfile: {type: RuntimeDefault}\n";
    let ports = exposed(&hardened.image);
    if ports.iter().any(|(port, _)| *port < 1024) {
        text += "    sysctls:\n    - {name: net.ipv4.ip_unprivileged_port_start, value: \"0\"}\n";
    }
    if !filled.is_empty() {
        let copies = filled
            .iter()
            .map(|(n, path)| format!("cp -a '{}'/. /bryo/{n}/", path.display().to_string().replace('\'', "'\\''")));
        let script = copies.collect::<Vec<_>>().join(" && ");
        text += "  # What the image has in these directories; it needs a shell and cp.\n  initContainers:\n";
        let _ = writeln!(text, "  - name: state\n    image: {}", json(told.name));
        let _ = writeln!(text, "    command: [sh, -c, {}]\n    securityContext: {security}", json(&script));
        text += "    volumeMounts:\n";
        for (n, _) in &filled {
            let _ = writeln!(text, "    - {{name: state-{n}, mountPath: /bryo/{n}}}");
        }
    }
    let _ = writeln!(text, "  containers:\n  - name: main\n    image: {}", json(told.name));
    let _ = writeln!(text, "    securityContext: {security}");
    if !ports.is_empty() {
        text += "    ports:\n";
        for (port, protocol) in &ports {
            let _ = writeln!(text, "    - {{containerPort: {port}, protocol: {protocol}}}");
        }
    }
    text += "    volumeMounts:\n";
    for (n, path) in volumes.iter().enumerate() {
        let _ = writeln!(text, "    - {{name: state-{n}, mountPath: {}}}", json(&path.display().to_string()));
    }
    text += "  volumes:\n";
    for n in 0..volumes.len() {
        let _ = writeln!(text, "  - {{name: state-{n}, emptyDir: {{}}}}");
    }
    text
}

/// Chooses the directories that are volumes: those declared, those every service has, and those that were written to.
fn volumes(hardened: &Hardened, told: &Told<'_>) -> Vec<PathBuf> {
    let declared = hardened.image.config.config().as_ref().and_then(|config| config.volumes().clone());
    let declared = declared.unwrap_or_default().into_iter().map(PathBuf::from).filter(|path| path.is_absolute());
    let state = &hardened.facts.state;
    // A directory counts as changed for what is in it.
    let leaf = |path: &&PathBuf| !told.written.iter().any(|other| other != *path && other.starts_with(path));
    let written = told.written.iter().filter(leaf).filter_map(|path| {
        let root = state.iter().find(|root| path.starts_with(root))?;
        // `/var` is too much to be hidden; what is in it goes by its second directory: /var/lib/redis.
        let depth = if root == Path::new("/var") { 4 } else { root.components().count() };
        let depth = depth.min(path.components().count().saturating_sub(1)).max(root.components().count());
        let dir: PathBuf = path.components().take(depth).collect();
        (dir != Path::new("/var")).then_some(dir)
    });
    let all: BTreeSet<PathBuf> = ALWAYS.into_iter().map(PathBuf::from).chain(declared).chain(written).collect();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in all {
        let plain = path.components().count() > 1 && !path.display().to_string().contains(char::is_control);
        if plain && !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

fn has_content(hardened: &Hardened, dir: &Path) -> bool {
    let below = |member: &Member| {
        std::str::from_utf8(&member.entry.path).is_ok_and(|path| {
            let path = Path::new("/").join(path);
            path.starts_with(dir) && path != dir
        })
    };
    dir != Path::new("/tmp") && hardened.members.iter().any(below)
}

/// Returns the ports that the image exposes, in the words of Kubernetes.
fn exposed(image: &Image) -> Vec<(u16, &'static str)> {
    let ports = image.config.config().as_ref().and_then(|config| config.exposed_ports().clone());
    let parse = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "udp" => "UDP",
            "sctp" => "SCTP",
            _ => "TCP",
        };
        Some((port.parse().ok()?, protocol))
    };
    let mut ports: Vec<_> = ports.unwrap_or_default().iter().filter_map(parse).collect();
    ports.sort_unstable();
    ports
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
