// SPDX-License-Identifier: Apache-2.0
//! Learned profiles: the least that a program was seen to need, to be enforced the next time.
//!
//! Guarantees: a container with a profile has never more than it would have without. What its author asks for beside it
//! that would undo it is refused, and so is what cannot be enforced. Trusts the profile's author; a profile is read
//! strictly.

mod breaks;
mod documents;
mod enforce;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::observe::{Observed, Socket};
use crate::options;

pub use breaks::Break;
pub use enforce::Enforcement;

/// The version of the form.
const VERSION: u32 = 1;

/// The longest profile, in bytes.
const PROFILE_MAX: usize = 1 << 20;

/// What a program needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    version: u32,
    /// The image that it was learned of, as it was named.
    pub image: String,
    /// The user and the group inside that it ran as.
    pub user: String,
    /// Whether the run asked for that user; else it is whom the image gets anyhow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_asked: bool,
    /// System calls, by name.
    pub syscalls: BTreeSet<String>,
    /// Capabilities, `CAP_CHOWN` and the like.
    pub capabilities: BTreeSet<String>,
    /// Directories in which something is written.
    pub writes: BTreeSet<String>,
    /// Ports; without them none is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Ports>,
    /// Devices that are opened; of the harmless ones that `/dev` has, the others but `/dev/null` are not there.
    #[serde(default)]
    pub devices: BTreeSet<String>,
}

/// Ports of a profile, as `tcp/443`; `tcp/0` is one of the kernel's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Those that it serves.
    pub bind: BTreeSet<String>,
    /// Those that it reaches for.
    pub connect: BTreeSet<String>,
}

impl Profile {
    /// Makes a profile of what was seen of an image, as it was named, in a run that asked for a user or did not.
    pub fn of(observed: &Observed, image: &str, user_asked: bool) -> Self {
        let seen = &observed.seen;
        let words = |sockets: &BTreeSet<Socket>| sockets.iter().map(|s| format!("{}/{}", s.protocol, s.port)).collect();
        let user = observed.spec.process().as_ref().map(|p| format!("{}:{}", p.user().uid(), p.user().gid()));
        Self {
            version: VERSION,
            image: image.to_owned(),
            user: user.unwrap_or_default(),
            user_asked,
            syscalls: seen.calls.keys().cloned().collect(),
            capabilities: seen.capabilities.clone(),
            writes: outermost(&seen.writes),
            ports: Some(Ports { bind: words(&seen.bound), connect: words(&seen.reached) }),
            devices: seen.devices.clone(),
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] with what is wrong.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::InvalidOption, format!("the profile is not understood: {why}"));
        if text.len() > PROFILE_MAX {
            return Err(bad(format!("it has more than {PROFILE_MAX} bytes")));
        }
        let profile: Self = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
        if profile.version != VERSION {
            return Err(bad(format!("its version is {}, and this bryo knows {VERSION}", profile.version)));
        }
        if let Some(name) = profile.syscalls.iter().find(|name| !bryo_launch::seccomp::exists(name)) {
            return Err(bad(format!("{name:?} is no system call")));
        }
        for name in &profile.capabilities {
            options::capability(name)?;
        }
        let plain = |path: &&String| {
            path.starts_with('/') && !path.contains(char::is_control) && !path.split('/').any(|part| part == "..")
        };
        if let Some(path) = profile.writes.iter().find(|path| !plain(path)) {
            return Err(bad(format!("{path:?} is not an absolute path")));
        }
        for word in profile.ports.iter().flat_map(|ports| ports.bind.iter().chain(&ports.connect)) {
            port(word).ok_or_else(|| bad(format!("{word:?} is no port such as tcp/80")))?;
        }
        Ok(profile)
    }

    /// Adds what another run needed. What is in only one of two is in both; ports that somebody has taken out stay out.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.syscalls.extend(other.syscalls);
        self.capabilities.extend(other.capabilities);
        self.writes.extend(other.writes);
        self.writes = outermost(&self.writes);
        self.devices.extend(other.devices);
        self.ports = self.ports.zip(other.ports).map(|(mut ports, others)| {
            ports.bind.extend(others.bind);
            ports.connect.extend(others.connect);
            ports
        });
        self
    }
}

/// Splits a port and its protocol.
fn port(word: &str) -> Option<(&str, u16)> {
    let (protocol, port) = word.split_once('/')?;
    Some((protocol, port.parse().ok()?)).filter(|_| matches!(protocol, "tcp" | "udp"))
}

/// Tells whether a path is another one or lies below it.
fn within(path: &str, dir: &str) -> bool {
    std::path::Path::new(path).starts_with(dir)
}

/// Leaves out what lies below others.
fn outermost(paths: &BTreeSet<String>) -> BTreeSet<String> {
    let inner = |path: &String| paths.iter().any(|other| other != path && within(path, other));
    paths.iter().filter(|path| !inner(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn profile(json: &str) -> Profile {
        Profile::parse(json.as_bytes()).unwrap()
    }

    pub(super) const SMALL: &str = r#"{"version": 1, "image": "x", "user": "65532:65532", "syscalls": ["read", "openat"],
        "capabilities": [], "writes": ["/tmp", "/var/lib/x"], "ports": {"bind": ["tcp/80"], "connect": []}}"#;

    #[test]
    fn a_profile_is_read_strictly() {
        profile(SMALL);
        for (from, to) in [
            ("\"version\": 1", "\"version\": 2"),
            ("\"read\"", "\"reed\""),
            ("\"capabilities\": []", "\"capabilities\": [\"CAP_ALL\"]"),
            ("/var/lib/x", "var/lib"),
            ("/var/lib/x", "/var/../etc"),
            ("tcp/80", "80"),
            ("tcp/80", "tcp/65536"),
            ("\"image\"", "\"picture\""),
        ] {
            let text = SMALL.replace(from, to);
            assert_ne!(text, SMALL);
            assert_eq!(Profile::parse(text.as_bytes()).unwrap_err().kind(), Kind::InvalidOption, "{to}");
        }
    }

    #[test]
    fn what_is_merged_needs_both() {
        let other = SMALL.replace("\"read\"", "\"write\"").replace("/var/lib/x", "/var").replace("tcp/80", "udp/53");
        let merged = profile(SMALL).merged(profile(&other));
        assert_eq!(merged.syscalls.len(), 3);
        assert_eq!(merged.writes.iter().collect::<Vec<_>>(), ["/tmp", "/var"]);
        assert_eq!(merged.ports.as_ref().unwrap().bind.len(), 2);
        let mut open = profile(SMALL);
        open.ports = None;
        assert_eq!(open.merged(merged).ports, None);
    }
}
