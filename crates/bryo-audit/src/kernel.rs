// SPDX-License-Identifier: Apache-2.0
//! What the kernel says of running containers, through `/proc` and the tree of control groups. Source: `proc(5)`,
//! "Control Group v2" of the kernel's documentation, `subuid(5)`.
//!
//! What cannot be seen is unknown and no verdict.

use std::path::{Path, PathBuf};

use crate::facts::workload::{Member, Process, Workload};

/// How many processes of a container are looked at.
const MEMBERS_MAX: usize = 4096;

/// Where the control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Reads what the kernel says of a container's first process, and of all that are in its pid namespace; nothing if it is
/// not to be seen.
pub fn process(pid: u32) -> Option<Process> {
    let text = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let mut process = described(&text("status")?, &text("uid_map")?);
    process.label = text("attr/current").map(|label| label.trim_matches(['\0', '\n']).to_owned());
    process.limits = text("cgroup").and_then(|text| limits(Path::new(GROUPS), &text));
    process.members = members(pid, &process);
    Some(process)
}

/// Adds what follows from the map of ids and the files of this host.
pub fn complete(made: &mut Workload) {
    let Some(process) = &made.process else { return };
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    made.host_ids = overlaps(&process.map, &text("/etc/subuid"), &text("/etc/passwd"));
    made.host_ids.extend(helper(Path::new("/usr/bin/newuidmap")));
    made.not_enforced.extend(unheard(made, process));
}

fn described(status: &str, map: &str) -> Process {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let ids: Vec<u32> = field("Uid:").split_whitespace().filter_map(|id| id.parse().ok()).collect();
    let host_uid = ids.get(1).copied().unwrap_or(u32::MAX);
    let mut process = Process { host_uid, ..Process::default() };
    process.capabilities = u64::from_str_radix(field("CapEff:"), 16).unwrap_or(0);
    process.filtered = field("Seccomp:").parse::<u32>().ok().map(|mode| mode != 0);
    process.no_new_privileges = field("NoNewPrivs:").parse::<u32>().ok().map(|set| set != 0);
    for line in map.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [inside, outside, count] = numbers[..] else { continue };
        process.map.push((inside, outside, count));
        if inside == 0 && count > 0 {
            process.root_is = u32::try_from(outside).ok();
        }
    }
    process.uid = inside(&process.map, host_uid);
    process
}

/// Returns the id inside of one on the host.
fn inside(map: &[(u64, u64, u64)], host: u32) -> Option<u32> {
    let host = u64::from(host);
    let found = map.iter().find(|(_, outside, count)| (*outside..outside.saturating_add(*count)).contains(&host))?;
    u32::try_from(found.0 + host - found.1).ok()
}

fn namespace(pid: u32, kind: &str) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
}

/// The processes in the pid namespace of a container's first one, that one left out.
fn members(first: u32, process: &Process) -> Vec<Member> {
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
    let family = [first].into_iter().chain(children.split_whitespace().filter_map(|pid| pid.parse().ok()));
    // A first process that nobody may ask has children that can be asked.
    let Some((spaces, users)) =
        family.into_iter().find_map(|pid| Some((namespace(pid, "pid")?, namespace(pid, "user")?)))
    else {
        return Vec::new();
    };
    // Whoever asks from the same namespace is not in a container.
    if namespace(std::process::id(), "pid").is_some_and(|own| own == spaces) {
        return Vec::new();
    }
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pids = pids.filter(|pid| *pid != first && namespace(*pid, "pid").is_some_and(|own| own == spaces));
    let found: Vec<(u32, String)> = pids
        .take(MEMBERS_MAX)
        .filter_map(|pid| Some((pid, std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)))
        .collect();
    let known: Vec<u32> = found.iter().map(|(pid, _)| *pid).chain([first]).collect();
    let one = |(pid, status): &(u32, String)| {
        let nested = namespace(*pid, "user").is_some_and(|own| own != users);
        Member { nested, ..member(*pid, status, &known, process) }
    };
    found.iter().map(one).collect()
}

fn member(pid: u32, status: &str, known: &[u32], process: &Process) -> Member {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let host = field("Uid:").split_whitespace().nth(1).and_then(|id| id.parse().ok());
    let parent = field("PPid:").parse::<u32>().unwrap_or(0);
    Member {
        pid,
        uid: host.and_then(|host| inside(&process.map, host)),
        capabilities: u64::from_str_radix(field("CapEff:"), 16).unwrap_or(0),
        name: field("Name:").to_owned(),
        entered: !known.contains(&parent),
        nested: false,
    }
}

/// Tells which limits are in force for a process, by its own control group or one above; nothing where that is not to be
/// seen: version 1, or a group outside of what is mounted here.
fn limits(root: &Path, text: &str) -> Option<[bool; 3]> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let own = root.join(path);
    if !own.join("cgroup.controllers").is_file() {
        return None;
    }
    let mut found = [false; 3];
    for group in own.ancestors().take_while(|group| group.starts_with(root) && *group != root) {
        let read = |name: &str| std::fs::read_to_string(group.join(name)).unwrap_or_default();
        let bounded = |text: String| !matches!(text.split_whitespace().next(), None | Some("max"));
        found[0] |= bounded(read("memory.max"));
        let weight = read("cpu.weight");
        let weighed = group == own && !matches!(weight.trim(), "" | "100");
        found[1] |= bounded(read("cpu.max")) || weighed || group == own && !read("cpuset.cpus").trim().is_empty();
        found[2] |= bounded(read("pids.max"));
    }
    Some(found)
}

/// Finds ids of a container's map that are somebody else's on this host too.
fn overlaps(map: &[(u64, u64, u64)], subuid: &str, passwd: &str) -> Vec<String> {
    let ranges: Vec<(u64, u64)> =
        map.iter().filter(|(_, outside, count)| *count > 1 && *outside > 0).map(|(_, o, count)| (*o, *count)).collect();
    let number = |text: Option<&str>| text.and_then(|text| text.trim().parse::<u64>().ok());
    let mut owners: Vec<(&str, u64, u64)> = Vec::new();
    for line in subuid.lines().take(100_000) {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default().trim();
        if let (Some(start), Some(count)) = (number(fields.next()), number(fields.next())) {
            let meets = |(first, many): &(u64, u64)| start < first + many && *first < start.saturating_add(count);
            if ranges.iter().any(meets) {
                owners.push((name, start, count));
            }
        }
    }
    let mut found = Vec::new();
    if let Some((first, other)) =
        owners.first().and_then(|first| Some((first, owners.iter().find(|other| other.0 != first.0)?)))
    {
        found.push(format!("/etc/subuid gives ids of this container to {} and to {}", first.0, other.0));
    }
    for line in passwd.lines().take(100_000) {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let uid = number(fields.nth(1));
        if let Some(uid) = uid.filter(|uid| ranges.iter().any(|(first, many)| (*first..first + many).contains(uid))) {
            found.push(format!("uid {uid} of this container is the account {name} of this host"));
        }
    }
    found
}

/// Tells what is wrong with the helper that gives ids away.
fn helper(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    let odd = meta.mode() & 0o4000 != 0 && (meta.uid() != 0 || meta.mode() & 0o022 != 0);
    odd.then(|| format!("{} is set-user-id, and others than root can change it", path.display()))
}

/// Ports of the host below 1024 that a rootless engine was asked for, and that nobody listens on.
fn unheard(made: &Workload, process: &Process) -> Vec<String> {
    if process.root_is.is_none_or(|root| root == 0) {
        return Vec::new();
    }
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let tables = [text("/proc/net/tcp"), text("/proc/net/tcp6")];
    let asked = made.ports.iter().filter_map(|port| port.outside).filter(|port| (1..1024).contains(port));
    let heard = |port: &u16| tables.iter().any(|table| listens(table, *port));
    asked.filter(|port| !heard(port)).map(|port| format!("nobody listens on port {port} of the host")).collect()
}

/// Tells whether a table of `/proc/net` has a socket that listens on a port.
fn listens(table: &str, port: u16) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let own = fields.next().and_then(|own| u16::from_str_radix(own.rsplit(':').next()?, 16).ok());
        own == Some(port) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "         0     1000          1\n         1     100000      65536\n";

    #[test]
    fn a_process_is_known_on_both_sides() {
        let status =
            "Name:\tx\nUid:\t100999\t100999\t100999\t100999\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let process = described(status, MAP);
        assert_eq!((process.uid, process.host_uid, process.root_is), (Some(1000), 100_999, Some(1000)));
        assert_eq!((process.filtered, process.no_new_privileges), (Some(true), Some(true)));
        assert_eq!(described("", "").filtered, None);
    }

    #[test]
    fn whoever_comes_from_outside_is_told_from_children() {
        let process = described("Uid:\t1\t1\n", MAP);
        let status = |parent: u32| format!("Name:\tsh\nPPid:\t{parent}\nUid:\t0\t1000\t0\t0\nCapEff:\tff\n");
        let found = member(7, &status(5), &[5, 7], &process);
        assert_eq!((found.entered, found.uid, found.capabilities), (false, Some(0), 255));
        assert!(member(7, &status(4), &[5, 7], &process).entered);
    }

    #[test]
    fn a_limit_counts_wherever_above_it_is() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/b/cgroup.controllers", "memory pids");
        write("a/b/memory.max", "max\n");
        write("a/memory.max", "1048576\n");
        write("a/b/pids.max", "max\n");
        write("a/b/cpu.max", "max 100000\n");
        write("a/b/cpu.weight", "100\n");
        assert_eq!(limits(root.path(), "0::/a/b\n"), Some([true, false, false]));
        write("a/b/cpu.max", "5000 100000\n");
        write("a/b/pids.max", "10\n");
        assert_eq!(limits(root.path(), "0::/a/b\n"), Some([true, true, true]));
        for unseen in ["0::/../x\n", "1:memory:/a/b\n", "0::/none\n"] {
            assert_eq!(limits(root.path(), unseen), None, "{unseen}");
        }
    }

    #[test]
    fn ids_of_two_owners_are_found() {
        let map = [(0, 1000, 1), (1, 100_000, 65_536)];
        assert_eq!(overlaps(&map, "a:100000:65536\nb:165536:65536\n", "a:x:1000:1000::/:\n"), [""; 0]);
        assert_eq!(overlaps(&map, "a:100000:65536\nb:160000:65536\n", "").len(), 1);
        assert_eq!(overlaps(&map, "a:100000:65536\na:160000:65536\n", "").len(), 0);
        assert_eq!(overlaps(&map, "", "x:x:100005:1::/:\n").len(), 1);
        assert_eq!(overlaps(&[(0, 0, 4_294_967_295)], "a:1:9\nb:1:9\n", "x:x:5:1::/:\n").len(), 0);
    }

    #[test]
    fn listening_sockets_are_told_from_others() {
        let table = "  sl  local_address rem_address   st\n   0: 00000000:0050 00000000:0000 0A\n   1: 0100007F:01BB 00000000:0000 01\n";
        assert!(listens(table, 80) && !listens(table, 443) && !listens(table, 8080));
    }

    #[test]
    fn a_helper_that_others_can_change_is_said() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mode = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o4777);
        assert!(helper(file.path()).is_some());
        mode(0o755);
        assert!(helper(file.path()).is_none());
    }
}
