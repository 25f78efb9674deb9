// SPDX-License-Identifier: Apache-2.0
//! Owners that a file system cannot hold.
//!
//! Where one id owns everything on the host, whose a file is in the image is written down beside it, in an attribute. It
//! goes where the file goes: with a new name, a second one, into a copy that overlayfs makes. What has none is root's. Only
//! regular files and directories can have attributes of users; links and pipes stay root's.

use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The attribute: user and group, in decimals, as `5:6`.
pub const OWNER: &str = "user.bryo.owner";

/// The longest value.
const VALUE_MAX: usize = 32;

/// Returns the text of an owner.
pub fn text((uid, gid): (u32, u32)) -> String {
    format!("{uid}:{gid}")
}

/// Reads the text of an owner; what is none was not written here.
pub fn parse(text: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Returns the owner that is written down for an open file.
pub fn read(file: BorrowedFd<'_>) -> Option<(u32, u32)> {
    let mut value = [0; VALUE_MAX];
    let len = rustix::fs::fgetxattr(file, OWNER, &mut value[..]).ok()?;
    parse(&value[..len])
}

/// Writes the owner of an open file down.
///
/// # Errors
///
/// `EOPNOTSUPP` where there are no attributes; what the file system answers.
pub fn write(file: BorrowedFd<'_>, owner: (u32, u32)) -> rustix::io::Result<()> {
    if owner == (0, 0) {
        return match rustix::fs::fremovexattr(file, OWNER) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            other => other,
        };
    }
    rustix::fs::fsetxattr(file, OWNER, text(owner).as_bytes(), XattrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        assert_eq!(parse(text((5, u32::MAX - 1)).as_bytes()), Some((5, u32::MAX - 1)));
        for text in ["", "5", ":", "5:", "-1:0", "4294967296:0", "5:6:7"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
