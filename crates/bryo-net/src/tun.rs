// SPDX-License-Identifier: Apache-2.0
//! The device that `pasta` needs, judged for the ids with which it runs and not for the caller's.
//!
//! On a bare machine the device is root's alone. Root can open it then, and `pasta`, which is nobody, cannot: it ends,
//! or hangs, when it is too late for a clear word.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bryo_identity::HostId;
use bryo_identity::map::IdMap;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};

/// The device, with what must be allowed on the way to it and on it: search, search, read and write.
const WAY: [(&str, u32); 3] = [("/dev", 0o1), ("/dev/net", 0o1), ("/dev/net/tun", 0o6)];

/// Checks that the device is there, and that root inside a map can open it.
///
/// Goes by owner, group and mode: access control lists are not looked at.
pub(crate) fn check(map: &IdMap) -> Result<()> {
    let device = WAY[2].0;
    match rustix::fs::openat(CWD, device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        // With a single id `pasta` is the caller, groups included.
        Ok(_) if map.is_single() => return Ok(()),
        Err(Errno::ACCESS) if map.is_single() => return Err(closed(device)),
        // Whoever else it is closed to, it is there.
        Ok(_) | Err(Errno::ACCESS) => (),
        Err(e) => return Err(Error::new(Kind::NoTun, format!("cannot open {device}: {e}"))),
    }
    let acting = map.acting();
    let (uid, gid) = (map.host_uid(acting.uid).map(HostId::get), map.host_gid(acting.gid).map(HostId::get));
    for (path, bits) in WAY {
        let meta = std::fs::metadata(Path::new(path));
        let meta = meta.map_err(|e| Error::new(Kind::NoTun, format!("cannot look at {path}: {e}")))?;
        let allowed = granted((meta.uid(), meta.gid(), meta.mode()), uid, gid);
        if allowed & bits != bits {
            return Err(closed(path));
        }
    }
    Ok(())
}

fn closed(path: &str) -> Error {
    let whose = std::fs::metadata(path).map_or_else(
        |_| String::new(),
        |m| format!(" (mode {:04o}, owner {}, group {})", m.mode() & 0o7777, m.uid(), m.gid()),
    );
    Error::new(Kind::TunClosed, format!("{path} is closed to the ids of containers{whose}"))
}

/// Returns the permission bits that a file grants to an id that has no further groups.
fn granted((owner, group, mode): (u32, u32, u32), uid: Option<u32>, gid: Option<u32>) -> u32 {
    // The first that fits decides, even if it grants less than the next.
    let shift = if uid == Some(owner) {
        6
    } else if gid == Some(group) {
        3
    } else {
        0
    };
    (mode >> shift) & 0o7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_class_that_fits_decides() {
        let (stranger, owner, member) =
            ((Some(100_000), Some(100_000)), (Some(0), Some(100_000)), (Some(100_000), Some(5)));
        for (mode, expected) in [(0o600, [0, 6, 0]), (0o660, [0, 6, 6]), (0o666, [6, 6, 6]), (0o606, [6, 6, 0])] {
            let found = [stranger, owner, member].map(|(uid, gid)| granted((0, 5, mode), uid, gid));
            assert_eq!(found, expected, "{mode:o}");
        }
        assert_eq!(granted((0, 0, 0o600), None, None), 0);
    }
}
