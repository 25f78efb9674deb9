// SPDX-License-Identifier: Apache-2.0
//! Seccomp profiles from files: Docker's format, and the plain OCI section, which is a subset of it.
//!
//! Docker's format adds conditions to the OCI one: `archMap` lists architectures per native one, and each entry may
//! ask for capabilities, architectures and kernels (`includes`) or against them (`excludes`). They are decided here,
//! so that what is stored with a container is plain OCI. A condition that is not understood is an error: leaving it
//! out would permit what its author meant to refuse.

use std::fmt;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::{Deserialize, Deserializer};

use super::NATIVE;

/// What the conditions of a file are decided by.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// The capabilities in the container's bounding set.
    pub caps: &'a [Capability],
    /// Version and patch level of the running kernel, as in 6.18.
    pub kernel: (u32, u32),
}

/// A profile file that cannot be carried out.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<serde_json::Error>,
}

/// The reason why a profile file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Not JSON, or not of the expected shape.
    Syntax,
    /// Two fields that exclude each other, or an entry without a name.
    Contradiction,
    /// A condition that cannot be decided.
    Condition,
}

impl Error {
    /// Tells why the file was refused.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn contradiction(message: impl Into<String>) -> Self {
        Self { kind: Kind::Contradiction, message: message.into(), source: None }
    }

    fn condition(message: String) -> Self {
        Self { kind: Kind::Condition, message, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read seccomp profile: {}", self.message)?;
        self.source.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// Reads a profile file in Docker's or in the plain OCI format.
///
/// # Errors
/// [`Kind::Syntax`] with the position in the file, [`Kind::Contradiction`] with the entry in question. Whether the
/// names, errnos and arguments make sense is said when the profile is compiled.
pub fn from_docker_json(json: &[u8], host: Host<'_>) -> Result<LinuxSeccomp, Error> {
    let file: File = serde_json::from_slice(json).map_err(|source| Error {
        kind: Kind::Syntax,
        message: "not a seccomp profile".into(),
        source: Some(source),
    })?;
    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(file.default_action)
        .set_default_errno_ret(file.default_errno_ret)
        .set_architectures(Some(file.architectures()?))
        .set_flags(file.flags)
        .set_listener_path(file.listener_path)
        .set_listener_metadata(file.listener_metadata);
    let mut rules = Vec::with_capacity(file.syscalls.len());
    for entry in file.syscalls {
        if entry.applies(&host)? {
            rules.push(entry.into_rule()?);
        }
    }
    profile.set_syscalls(Some(rules));
    Ok(profile)
}

/// The file as it is written. Unknown fields are ignored as the OCI specification demands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "or_null")]
    architectures: Vec<Arch>,
    #[serde(default, deserialize_with = "or_null")]
    arch_map: Vec<ArchMap>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<std::path::PathBuf>,
    listener_metadata: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    syscalls: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    #[serde(default, deserialize_with = "or_null")]
    sub_architectures: Vec<Arch>,
}

/// One entry. An unknown field could be a condition, so there is none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default, deserialize_with = "or_null")]
    names: Vec<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    /// The name of `errnoRet`, which Podman's files repeat for people.
    #[serde(rename = "errno")]
    _errno: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    args: Vec<LinuxSeccompArg>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    includes: Conditions,
    #[serde(default, deserialize_with = "or_null")]
    excludes: Conditions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    #[serde(default, deserialize_with = "or_null")]
    caps: Vec<String>,
    #[serde(default, deserialize_with = "or_null")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Reads `null` like an absent field, as the tools that write these files do.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The native architecture in Go's words, which the conditions use.
#[cfg(target_arch = "x86_64")]
const GO_ARCH: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const GO_ARCH: &str = "arm64";

impl File {
    fn architectures(&self) -> Result<Vec<Arch>, Error> {
        if self.arch_map.is_empty() {
            return Ok(self.architectures.clone());
        }
        if !self.architectures.is_empty() {
            return Err(Error::contradiction("architectures and archMap exclude each other"));
        }
        let native = self.arch_map.iter().filter(|map| map.architecture == NATIVE);
        Ok([NATIVE].into_iter().chain(native.flat_map(|map| map.sub_architectures.iter().copied())).collect())
    }
}

impl Entry {
    /// Decides the conditions: all that is asked for is there, and nothing that is asked against.
    fn applies(&self, host: &Host<'_>) -> Result<bool, Error> {
        let native = |arch: &String| arch == GO_ARCH;
        let (includes, excludes) = (&self.includes, &self.excludes);
        let missing = includes.held(host)?.contains(&false)
            || !(includes.arches.is_empty() || includes.arches.iter().any(native))
            || includes.recent(host)? == Some(false);
        let unwanted = excludes.held(host)?.contains(&true)
            || excludes.arches.iter().any(native)
            || excludes.recent(host)? == Some(true);
        Ok(!missing && !unwanted)
    }

    fn into_rule(self) -> Result<LinuxSyscall, Error> {
        let names = match (self.name.is_empty(), self.names.is_empty()) {
            (false, true) => vec![self.name],
            (true, false) => self.names,
            (false, false) => {
                let message = format!("name {:?} and names exclude each other", self.name);
                return Err(Error::contradiction(message));
            }
            (true, true) => return Err(Error::contradiction("an entry of syscalls has no name")),
        };
        let mut rule = LinuxSyscall::default();
        rule.set_names(names).set_action(self.action).set_errno_ret(self.errno_ret);
        if !self.args.is_empty() {
            rule.set_args(Some(self.args));
        }
        Ok(rule)
    }
}

impl Conditions {
    /// Tells of each capability whether the container holds it.
    fn held(&self, host: &Host<'_>) -> Result<Vec<bool>, Error> {
        let held = |name: &String| {
            let cap = name.strip_prefix("CAP_").and_then(|name| name.parse::<Capability>().ok());
            let cap = cap.ok_or_else(|| Error::condition(format!("{name:?} is no capability")))?;
            Ok(host.caps.contains(&cap))
        };
        self.caps.iter().map(held).collect()
    }

    /// Tells whether the kernel is as recent as the condition names, if it names one.
    fn recent(&self, host: &Host<'_>) -> Result<Option<bool>, Error> {
        let Some(text) = &self.min_kernel else { return Ok(None) };
        let parts = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        let needed = parts.ok_or_else(|| Error::condition(format!("minKernel {text:?} is not of the form 4.8")))?;
        Ok(Some(host.kernel >= needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host<'_> = Host { caps: &[Capability::SysAdmin], kernel: (6, 1) };

    fn read(json: &str) -> Result<LinuxSeccomp, Error> {
        from_docker_json(json.as_bytes(), HOST)
    }

    fn names(json: &str) -> Vec<String> {
        read(json).unwrap().syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    fn with_entry(entry: &str) -> String {
        format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{entry}]}}"#)
    }

    #[test]
    fn a_plain_oci_section_is_read_as_it_stands() {
        let section = super::super::default(&[]);
        let json = serde_json::to_vec(&section).unwrap();
        let read = from_docker_json(&json, HOST).unwrap();
        assert_eq!(read, section);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn arch_map_gives_the_native_architecture_and_its_sub_architectures() {
        let profile = read(
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "archMap": [
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
            ], "syscalls": null}"#,
        )
        .unwrap();
        let expected = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
        assert_eq!(profile.architectures().as_deref(), Some(&expected[..]));
        assert_eq!(profile.default_errno_ret(), Some(1));
    }

    #[test]
    fn conditions_decide_which_entries_stay() {
        for (conditions, stays) in [
            (r#""includes": {}, "excludes": {}"#, true),
            (r#""includes": null, "args": null, "comment": "why""#, true),
            (r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#, true),
            (r#""includes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]}"#, false),
            (r#""excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]}"#, false),
            (r#""excludes": {"caps": ["CAP_SYS_PTRACE"]}"#, true),
            (r#""includes": {"arches": ["amd64", "arm64", "x32"]}"#, true),
            (r#""includes": {"arches": ["s390x"]}"#, false),
            (r#""excludes": {"arches": ["amd64", "arm64"]}"#, false),
            (r#""includes": {"minKernel": "4.8"}"#, true),
            (r#""includes": {"minKernel": "6.1"}"#, true),
            (r#""includes": {"minKernel": "6.2"}"#, false),
            (r#""excludes": {"minKernel": "4.8"}"#, false),
        ] {
            let entry = format!(r#"{{"names": ["mount"], "action": "SCMP_ACT_ALLOW", {conditions}}}"#);
            let expected: &[&str] = if stays { &["mount"] } else { &[] };
            assert_eq!(names(&with_entry(&entry)), expected, "{conditions}");
        }
    }

    #[test]
    fn the_old_single_name_is_read() {
        assert_eq!(names(&with_entry(r#"{"name": "mount", "action": "SCMP_ACT_ALLOW"}"#)), ["mount"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (json, kind) in [
            ("", Kind::Syntax),
            ("[]", Kind::Syntax),
            ("{}", Kind::Syntax),
            (r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#, Kind::Syntax),
            (
                r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
                    "archMap": [{"architecture": "SCMP_ARCH_X86_64"}]}"#,
                Kind::Contradiction,
            ),
            (&with_entry(r#"{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}"#), Kind::Contradiction),
            (&with_entry(r#"{"action": "SCMP_ACT_ALLOW"}"#), Kind::Contradiction),
            (&with_entry(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "unless": {}}"#), Kind::Syntax),
            (&with_entry(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "excludes": {"uid": 0}}"#), Kind::Syntax),
            (
                &with_entry(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["sys_admin"]}}"#),
                Kind::Condition,
            ),
            (
                &with_entry(r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}"#),
                Kind::Condition,
            ),
        ] {
            assert_eq!(read(json).unwrap_err().kind(), kind, "{json}");
        }
    }
}
