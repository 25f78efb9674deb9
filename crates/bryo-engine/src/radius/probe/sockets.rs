// SPDX-License-Identifier: Apache-2.0
//! Sockets: what listens on this host, from the kernel's own lists. Nothing is connected to.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Stat, accessat, stat};

use super::super::report::Reach;
use super::ledger::{Found, Ledger, Target};
use super::mounts::{Kind, Mounts};
use super::{exists, secrets};

/// Lists what listens; fills in which paths sockets are bound to.
pub(super) fn look(ledger: &mut Ledger, mounts: &Mounts, bound: &mut HashSet<PathBuf>) {
    for name in std::fs::read_to_string("/proc/self/net/unix").unwrap_or_default().lines().filter_map(unix) {
        match name.strip_prefix('@') {
            Some(_) => ledger.add(Reach::AbstractSockets, listed(name, 30, "has no permissions: anybody may connect")),
            None if mounts.around(Path::new(name)).kind == Kind::Foreign => (),
            None if bound.insert(PathBuf::from(name)) => path(ledger, Path::new(name)),
            None => (),
        }
    }
    let mut seen = HashSet::new();
    for file in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
        for (address, port) in text.lines().skip(1).filter_map(listener).filter(|at| seen.insert(*at)) {
            let (weight, why) = match address.is_loopback() {
                true => (50, "on the loopback, where services trust who connects"),
                false => (20, ""),
            };
            let what = std::net::SocketAddr::new(address, port).to_string();
            ledger.add(Reach::Ports, listed(&what, weight, why));
        }
    }
}

fn listed(what: &str, weight: u8, why: &'static str) -> Found {
    Found { target: Target::Listed, what: what.to_owned(), why, weight, everybody: true, own: false }
}

/// Adds a socket with a path, if it may be connected to: whoever may write to it may.
fn path(ledger: &mut Ledger, path: &Path) {
    let may = accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS);
    if may.is_err() || !exists(path) {
        return;
    }
    let mode = stat(path).map(|stat| stat.st_mode).unwrap_or_default();
    let open = is_open(path) && mode & 0o002 != 0;
    ledger.add(Reach::Sockets, found(path, open, stat(path).is_ok_and(|stat| is_own(&stat))));
}

/// Describes a socket with a path.
pub(super) fn found(path: &Path, everybody: bool, own: bool) -> Found {
    let what = path.to_string_lossy().into_owned();
    let (weight, why) = secrets::socket(&what);
    Found { target: Target::Path(path.to_owned()), what, why, weight, everybody, own }
}

/// Tells whether anybody gets to where a path is.
pub(super) fn is_open(path: &Path) -> bool {
    path.ancestors().skip(1).all(|above| stat(above).is_ok_and(|stat| stat.st_mode & 0o001 != 0))
}

/// Tells whether the probe's own user is the owner. As whom all users that are not in the map are shown, it cannot know.
pub(super) fn is_own(stat: &Stat) -> bool {
    stat.st_uid != NOBODY && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// The owner of what belongs to no user of the map. Source: `proc_sys_kernel(5)`, `overflowuid`.
pub(super) const NOBODY: u32 = 65534;

/// Reads the name of a socket that can be connected to from a line of `/proc/net/unix`: one that listens, or one for
/// messages. Source: `proc_net(5)`.
fn unix(line: &str) -> Option<&str> {
    const ACCEPTS: u32 = 0x1_0000;
    const DATAGRAM: &str = "0002";
    let mut fields = line.splitn(8, ' ').filter(|field| !field.is_empty());
    let (flags, kind) = (fields.nth(3)?, fields.next()?);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let name = line.rsplit_once(' ').map(|(_, name)| name).filter(|name| name.starts_with(['/', '@']))?;
    (flags & ACCEPTS != 0 || kind == DATAGRAM).then_some(name)
}

/// Reads address and port of a socket that listens from a line of `/proc/net/tcp`. Source: `proc_net(5)`.
fn listener(line: &str) -> Option<(IpAddr, u16)> {
    const LISTENS: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    if state != LISTENS {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each in the order of the machine.
    let words: Option<Vec<u8>> = (0..address.len() / 8)
        .map(|n| u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let words = words?;
    let address = match (<[u8; 4]>::try_from(&words[..]), <[u8; 16]>::try_from(&words[..])) {
        (Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)).to_canonical(),
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_connected_to_is_listed() {
        let line = "ffff8880: 00000002 00000000 00010000 0001 01 23456 /run/x.sock";
        assert_eq!(unix(line), Some("/run/x.sock"));
        assert_eq!(unix("ffff8880: 00000002 00000000 00010000 0001 01 23456 @abstract"), Some("@abstract"));
        assert_eq!(unix("ffff8880: 00000002 00000000 00000000 0002 01 23456 /dev/log"), Some("/dev/log"));
        assert_eq!(unix("ffff8880: 00000003 00000000 00000000 0001 03 23456 /run/x.sock"), None);
        assert_eq!(unix("ffff8880: 00000002 00000000 00010000 0001 01 23456"), None);
    }

    #[test]
    fn addresses_are_read_word_by_word() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0";
        assert_eq!(listener(v4), Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)));
        let v6 = "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0";
        assert_eq!(listener(v6), Some((IpAddr::V6(Ipv6Addr::LOCALHOST), 22)));
        assert_eq!(listener(&v4.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("   0: xyz:1 a 0A"), None);
    }
}
