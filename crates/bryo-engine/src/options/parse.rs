// SPDX-License-Identifier: Apache-2.0
//! Small values of the command line.

use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::runtime::{Capability, PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

use crate::error::{Error, Kind, Result};
use crate::options::{Seccomp, Security};

fn bad(what: &str, text: &str, why: impl std::fmt::Display) -> Error {
    Error::new(Kind::InvalidOption, format!("invalid {what} {text:?}: {why}"))
}

/// Parses a capability's name, with or without `CAP_`, in any case.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for a name the kernel does not have.
pub fn capability(text: &str) -> Result<Capability> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    name.parse().map_err(|_| bad("capability", text, "there is no such capability"))
}

/// Parses a size in bytes, with one of Docker's suffixes: `b`, `k`, `m`, `g`.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for anything else, and for what does not fit 64 bits.
pub fn size(text: &str) -> Result<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(bad("size", text, "the suffix is b, k, m or g")),
    };
    let number: u64 = digits.parse().map_err(|_| bad("size", text, "it is a number of bytes, with k, m or g"))?;
    number.checked_mul(1 << shift).ok_or_else(|| bad("size", text, "it is too large"))
}

/// Parses `NAME=SOFT[:HARD]`. Source: Docker's `--ulimit`.
///
/// # Errors
///
/// [`Kind::InvalidOption`].
pub fn ulimit(text: &str) -> Result<PosixRlimit> {
    let (name, values) = text.split_once('=').ok_or_else(|| bad("ulimit", text, "expected NAME=SOFT[:HARD]"))?;
    let typ = match name {
        "core" => PosixRlimitType::RlimitCore,
        "cpu" => PosixRlimitType::RlimitCpu,
        "data" => PosixRlimitType::RlimitData,
        "fsize" => PosixRlimitType::RlimitFsize,
        "locks" => PosixRlimitType::RlimitLocks,
        "memlock" => PosixRlimitType::RlimitMemlock,
        "msgqueue" => PosixRlimitType::RlimitMsgqueue,
        "nice" => PosixRlimitType::RlimitNice,
        "nofile" => PosixRlimitType::RlimitNofile,
        "nproc" => PosixRlimitType::RlimitNproc,
        "rss" => PosixRlimitType::RlimitRss,
        "rtprio" => PosixRlimitType::RlimitRtprio,
        "rttime" => PosixRlimitType::RlimitRttime,
        "sigpending" => PosixRlimitType::RlimitSigpending,
        "stack" => PosixRlimitType::RlimitStack,
        "as" => PosixRlimitType::RlimitAs,
        _ => return Err(bad("ulimit", text, "there is no such limit")),
    };
    let value = |v: &str| match v {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => v.parse().map_err(|_| bad("ulimit", text, "a limit is a number, -1 or unlimited")),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        return Err(bad("ulimit", text, "the soft limit exceeds the hard limit"));
    }
    PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build().map_err(|e| bad("ulimit", text, e))
}

/// Splits `KEY=VALUE`; a key alone has an empty value.
///
/// # Errors
///
/// [`Kind::InvalidOption`] without a key.
pub fn key_value(what: &str, text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(bad(what, text, "expected KEY=VALUE"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses a name and an address: `NAME:ADDRESS`, or `NAME=ADDRESS` for IPv6's sake.
///
/// # Errors
///
/// [`Kind::InvalidOption`].
pub fn add_host(text: &str) -> Result<(String, String)> {
    let pair = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = pair.ok_or_else(|| bad("host", text, "expected NAME:ADDRESS"))?;
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !plain || address.parse::<IpAddr>().is_err() {
        return Err(bad("host", text, "expected a host name and an address"));
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// Parses `NAME=VALUE` of a kernel parameter that belongs to a namespace of the container.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for all others: they would change the host (CVE-2022-0811).
pub fn sysctl(text: &str) -> Result<(String, String)> {
    /// Source: the kernel's `ipc_namespaces(7)` and `network_namespaces(7)`.
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let (key, value) = text.split_once('=').ok_or_else(|| bad("sysctl", text, "expected NAME=VALUE"))?;
    let word = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let clean = word
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'\t' | b'.' | b'_' | b'-' | b'/'));
    let namespaced = key.starts_with("net.") || key.starts_with("fs.mqueue.") || IPC.contains(&key);
    if clean && namespaced && !key.contains("..") {
        return Ok((key.to_owned(), value.to_owned()));
    }
    Err(bad("sysctl", text, "only parameters of the container's own network and IPC namespaces can be set"))
}

/// Applies one `--security-opt`. The content of a seccomp profile is read by the caller through `read`.
///
/// # Errors
///
/// [`Kind::InvalidOption`] for what is not understood, [`Kind::Unsupported`] for what cannot be enforced.
pub fn security_option(text: &str, security: &mut Security, read: impl FnOnce(&str) -> Result<Vec<u8>>) -> Result<()> {
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
    let paths = || value.split(':').map(PathBuf::from).collect::<Vec<_>>();
    match (key, value) {
        ("no-new-privileges", "" | "true") => security.new_privileges = false,
        ("no-new-privileges", "false") => security.new_privileges = true,
        ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
        ("seccomp", "builtin" | "default") => security.seccomp = Seccomp::Builtin,
        ("seccomp", file) if !file.is_empty() => security.seccomp = Seccomp::Profile(read(file)?),
        ("landlock", "off" | "unconfined") => security.landlock = Some(false),
        ("landlock", "require" | "required") => security.landlock = Some(true),
        ("systempaths", "unconfined") | ("unmask", "ALL" | "all") => security.unmask_all = true,
        ("unmask", value) if value.starts_with('/') => security.unmask.extend(paths()),
        ("mask", value) if value.starts_with('/') => security.mask.extend(paths()),
        // What these would switch off is not on.
        ("apparmor", "unconfined") | ("label", "disable") => (),
        ("apparmor" | "label", _) => {
            let why =
                "an AppArmor or SELinux profile cannot be applied without privilege; the container was not started";
            return Err(Error::new(Kind::Unsupported, format!("--security-opt {text}: {why}")));
        }
        _ => return Err(bad("security option", text, "it is not known")),
    }
    Ok(())
}

/// Reads an environment file: `NAME=VALUE` lines, `#` comments; a bare name is looked up by the caller.
///
/// # Errors
///
/// [`Kind::InvalidOption`] with the line's number.
pub fn env_file(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(n, v)| (n, Some(v)));
        if name.is_empty() || name.contains(char::is_whitespace) {
            let why = format!("line {} is not NAME=VALUE", number + 1);
            return Err(bad("environment file line", line, why));
        }
        match value {
            Some(value) => variables.push(format!("{name}={value}")),
            None => variables.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_known_by_both_names() {
        assert_eq!(capability("net_raw").unwrap(), Capability::NetRaw);
        assert_eq!(capability("CAP_SYS_ADMIN").unwrap(), Capability::SysAdmin);
        assert!(capability("root").is_err());
    }

    #[test]
    fn sizes_have_dockers_suffixes() {
        assert_eq!((size("64m").unwrap(), size("1G").unwrap(), size("5").unwrap()), (64 << 20, 1 << 30, 5));
        assert!(size("").is_err() && size("1t").is_err() && size("-1").is_err() && size("99999999999g").is_err());
    }

    #[test]
    fn limits_are_soft_and_hard() {
        let limit = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((limit.typ(), limit.soft(), limit.hard()), (PosixRlimitType::RlimitNofile, 1024, 2048));
        assert_eq!(ulimit("core=-1").unwrap().hard(), u64::MAX);
        assert!(ulimit("nofile=5:2").is_err() && ulimit("what=1").is_err() && ulimit("nofile").is_err());
    }

    #[test]
    fn only_parameters_of_the_containers_own_namespaces_are_taken() {
        assert!(sysctl("net.core.somaxconn=1024").is_ok() && sysctl("kernel.shm_rmid_forced=1").is_ok());
        for bad in [
            "kernel.core_pattern=|x",
            "kernel.shm_rmid_forced=1+kernel.core_pattern=x",
            "vm.swappiness=1",
            "net.x=\n1",
            "net./../kernel.x=1",
            "net...x=1",
        ] {
            assert!(sysctl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn environment_files_follow_docker() {
        let lookup = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        assert_eq!(env_file("# c\nA=b=c\n\nHERE\nNOT\n  X= y\n", lookup).unwrap(), ["A=b=c", "HERE=yes", "X= y"]);
        assert!(env_file("a b=c", lookup).is_err());
    }

    #[test]
    fn profiles_that_cannot_be_applied_are_refused() {
        let mut security = Security::default();
        let none = |_: &str| -> Result<Vec<u8>> { Ok(Vec::new()) };
        assert_eq!(security_option("apparmor=docker", &mut security, none).unwrap_err().kind(), Kind::Unsupported);
        assert!(security_option("seccomp=unconfined", &mut security, none).is_ok());
        assert_eq!(security.seccomp, Seccomp::Unconfined);
        assert!(security_option("wat", &mut security, none).is_err());
    }
}
