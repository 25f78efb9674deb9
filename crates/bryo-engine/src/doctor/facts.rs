// SPDX-License-Identifier: Apache-2.0
//! Readings of the kernel's and the system's files, as pure functions of their text.

/// What `/proc/self/status` says of the confinement that bryo itself was started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct OwnStatus {
    /// The bit `no_new_privs`.
    pub no_new_privs: bool,
    /// A system call filter is in place.
    pub filtered: bool,
}

/// Reads the two lines of interest.
pub(super) fn own_status(status: &str) -> OwnStatus {
    let value = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).map_or("0", str::trim);
    OwnStatus { no_new_privs: value("NoNewPrivs") == "1", filtered: value("Seccomp") == "2" }
}

/// Tells whether a `uid_map` is that of the first user namespace: all ids, as themselves.
pub(super) fn is_initial_map(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Parses major and minor of a kernel release such as `6.1.0-13-amd64`.
pub(super) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Finds the first id, from 100000 on in steps of 65536, behind every range of a file such as `/etc/subuid`.
pub(super) fn first_free(ranges: &str) -> u32 {
    /// Where `useradd` begins: `SUB_UID_MIN` of `login.defs(5)`.
    const FIRST: u32 = 100_000;
    let end = |line: &str| -> Option<u32> {
        let mut fields = line.trim().split(':').skip(1);
        let (start, count): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        start.checked_add(count)
    };
    let last = ranges.lines().filter_map(end).max().unwrap_or(FIRST).max(FIRST);
    FIRST.saturating_add((last - FIRST).div_ceil(65536).saturating_mul(65536))
}

/// Finds the options of the mount that holds a path, in the text of `/proc/self/mountinfo`. Source: `proc_pid_mountinfo(5)`.
pub(super) fn mount_options<'a>(mountinfo: &'a str, path: &str) -> Option<&'a str> {
    let of = |line: &'a str| {
        let mut fields = line.split(' ').skip(4);
        let (point, options) = (fields.next()?, fields.next()?);
        let below = path.strip_prefix(point.trim_end_matches('/'))?;
        (below.is_empty() || below.starts_with('/')).then_some((point.len(), options))
    };
    // Later lines are mounted over earlier ones of the same place.
    mountinfo.lines().filter_map(of).max_by_key(|(length, _)| *length).map(|(_, options)| options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confinement_of_bryo_itself_is_seen() {
        let status = "Name:\tbryo\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(own_status(status), OwnStatus { no_new_privs: true, filtered: true });
        assert_eq!(own_status(""), OwnStatus::default());
        assert!(is_initial_map("         0          0 4294967295\n"));
        assert!(!is_initial_map("         0       1000          1\n"));
    }

    #[test]
    fn kernel_releases_are_parsed() {
        assert_eq!(kernel_version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.12-rc1"), Some((5, 12)));
        assert_eq!(kernel_version("weird"), None);
    }

    #[test]
    fn a_new_range_lies_behind_all_others() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("a:100000:65536\nb:165536:65536\nbroken\n"), 231_072);
        assert_eq!(first_free("a:100000:100\n"), 165_536);
        assert_eq!(first_free("a:4294900000:4294900000\n"), 100_000);
    }

    #[test]
    fn the_innermost_mount_decides() {
        let info = "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                    22 21 8:2 / /usr rw,nosuid - ext4 /dev/sda2 rw\n\
                    23 21 8:3 / /usrlocal ro - ext4 /dev/sda3 rw\n";
        assert_eq!(mount_options(info, "/usr/bin/newuidmap"), Some("rw,nosuid"));
        assert_eq!(mount_options(info, "/usrlocal"), Some("ro"));
        assert_eq!(mount_options(info, "/bin/x"), Some("rw,relatime"));
    }
}
