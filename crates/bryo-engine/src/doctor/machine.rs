// SPDX-License-Identifier: Apache-2.0
//! Checks of the machine: filters, control groups, network helpers, surroundings, kernel, space.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bryo_cgroup::Controller;
use bryo_identity::map::{IdMap, RunIds};
use bryo_identity::rung::Rung;
use bryo_net::pasta::Pasta;

use super::{Cause, Check, Patient, State, diagnose, facts, ids, trial};

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = vec![seccomp(patient), landlock(patient), cgroup(patient)];
    checks.extend(network(patient));
    checks.extend([ports(), surroundings(patient), kernel(patient), space(patient), runtime(patient)]);
    checks
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn seccomp(patient: &Patient<'_>) -> Check {
    let (id, title) = ("seccomp", "seccomp filters");
    match diagnose::seccomp() {
        true => Check::ok(id, title, "available").vital(),
        false => Check::new(id, title, State::Missing, "not in this kernel")
            .advised(Cause::NoSeccomp.advice(&patient.person))
            .vital(),
    }
}

fn landlock(patient: &Patient<'_>) -> Check {
    let (id, title) = ("landlock", "Landlock");
    match bryo_sys::process::landlock_abi() {
        abi if abi >= diagnose::FIRST_LANDLOCK => Check::ok(id, title, format!("ABI {abi}")),
        abi => Check::new(id, title, State::Degraded, format!("ABI {abi}"))
            .advised(Cause::NoLandlock.advice(&patient.person)),
    }
}

fn cgroup(patient: &Patient<'_>) -> Check {
    let (id, title) = ("cgroup", "limits by control groups");
    let lack = |found: String, cause: Option<Cause>| {
        let check = Check::new(id, title, State::Degraded, found);
        match cause {
            Some(cause) => check.advised(cause.advice(&patient.person)),
            None => check,
        }
    };
    let place = match trial::group() {
        Ok(place) => place,
        Err((kind, message)) => return lack(message, diagnose::group(kind)),
    };
    let names = |list: &[Controller]| list.iter().map(|c| c.name()).collect::<Vec<_>>().join(" ");
    let has: Vec<_> = Controller::ALL.into_iter().filter(|c| !place.lacking.contains(c)).collect();
    if place.lacking.is_empty() {
        return Check::ok(id, title, format!("yours: {}", names(&has)));
    }
    let known = place.lacking.iter().any(|c| !place.unknown.contains(c));
    let cause = if known { Cause::NoDelegation } else { Cause::NoController };
    let lost: Vec<_> = place.lacking.iter().map(|c| c.limits()).collect();
    let check = lack(format!("yours: {}; not {}", names(&has), names(&place.lacking)), Some(cause));
    Check { loses: Some(format!("limits on {}", lost.join(" and "))), ..check }
}

/// Three checks of one walk: each sees only what the one before leaves over.
fn network(patient: &Patient<'_>) -> [Check; 3] {
    let titles = [("pasta", "pasta"), ("tun", "/dev/net/tun"), ("route", "default route")];
    // Without a map nothing runs at all, and it is the caller who would.
    let map = patient.map.clone().unwrap_or_else(|| IdMap::single(patient.host.caller, RunIds::NONROOT));
    let failed = Pasta::find(&map).err();
    let (at, cause) = match failed.as_ref().map(bryo_net::Error::kind) {
        None => (3, Cause::NoRoute),
        Some(bryo_net::Kind::NoPasta) => (0, Cause::NoPasta),
        Some(bryo_net::Kind::NoTun) => (1, Cause::NoTun),
        Some(bryo_net::Kind::TunClosed) => (1, Cause::TunClosed),
        Some(_) => (2, Cause::NoRoute),
    };
    let mut n = 0;
    titles.map(|(id, title)| {
        n += 1;
        match (n - 1).cmp(&at) {
            std::cmp::Ordering::Less => Check::ok(id, title, "works"),
            std::cmp::Ordering::Equal => {
                let found = failed.as_ref().map_or_else(String::new, ToString::to_string);
                Check::new(id, title, State::Degraded, found).advised(cause.advice(&patient.person))
            }
            std::cmp::Ordering::Greater => {
                Check { state: State::Degraded, ..Check::unanswered(id, title, titles[at].1) }
            }
        }
    })
}

fn ports() -> Check {
    let (id, title) = ("ports", "low ports on the host");
    let first = diagnose::sysctl("net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
    Check::ok(id, title, format!("published ports may begin at {first}; inside a container every port is free"))
}

fn surroundings(patient: &Patient<'_>) -> Check {
    let (id, title) = ("nesting", "nesting");
    let marks = ["/run/.containerenv", "/.dockerenv", "/run/systemd/container"];
    let marks: Vec<&str> = marks.into_iter().filter(|m| Path::new(m).exists()).collect();
    let signs = ids::nesting(&marks, &read("/proc/self/uid_map"), &read("/proc/self/status"));
    if signs.is_empty() {
        return Check::ok(id, title, "nothing surrounds bryo");
    }
    let found = format!("bryo runs {}", signs.join(", "));
    let powerless = facts::own_status(&read("/proc/self/status")).no_new_privs;
    if powerless && patient.host.rung() == Rung::Subordinate {
        let advice = Cause::CallerConfined.advice(&patient.person);
        return Check::new(id, title, State::Degraded, found).advised(advice);
    }
    // What it costs, if anything, is said by the checks that it makes fail.
    Check::ok(id, title, found)
}

fn kernel(patient: &Patient<'_>) -> Check {
    let (id, title) = ("kernel", "kernel");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let version = facts::kernel_version(&release).unwrap_or((0, 0));
    let faster = if version >= (6, 5) { "all features used" } else { "layers are given in one option (before 6.5)" };
    match version {
        (0, 0) => Check::ok(id, title, release),
        v if v < (5, 12) => {
            Check::new(id, title, State::Missing, release).advised(Cause::OldKernel.advice(&patient.person)).vital()
        }
        _ => Check::ok(id, title, format!("{release}: {faster}")),
    }
}

/// Below this the store is called full, in bytes: less than a small image.
const LEAST_SPACE: u64 = 256 << 20;

/// Below this the store is called full, in files.
const LEAST_FILES: u64 = 10_000;

fn space(patient: &Patient<'_>) -> Check {
    let (id, title) = ("space", "space for the store");
    let below = trial::nearest_existing(&patient.input.store);
    let Ok(stat) = rustix::fs::statvfs(&below) else {
        let advice = Cause::StoreClosed.advice(&patient.person);
        return Check::new(id, title, State::Missing, format!("cannot look at {}", below.display())).advised(advice);
    };
    let (bytes, files) = (stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_favail);
    // A file system such as btrfs makes its inodes as it goes, and says 0 of 0.
    let counted = stat.f_files > 0;
    let inodes = if counted { format!(" and {files} files") } else { String::new() };
    let found = format!("{} MiB{inodes} free in {}", bytes >> 20, below.display());
    match bytes < LEAST_SPACE || (counted && files < LEAST_FILES) {
        true => Check::new(id, title, State::Degraded, found).advised(Cause::StoreFull.advice(&patient.person)),
        false => Check::ok(id, title, found),
    }
}

fn runtime(patient: &Patient<'_>) -> Check {
    let (id, title) = ("runtime-directory", "XDG_RUNTIME_DIR");
    let lack = |found: String| {
        Check::new(id, title, State::Degraded, found).advised(Cause::RuntimeDirectory.advice(&patient.person))
    };
    let Some(path) = &patient.input.runtime else {
        return match patient.host.rung() {
            Rung::Root => Check::ok(id, title, "not set, and not needed by root"),
            _ => lack("not set".into()),
        };
    };
    match std::fs::metadata(path) {
        Ok(m) if m.uid() != patient.host.caller.uid.get() => lack(format!("{} belongs to {}", path.display(), m.uid())),
        Ok(m) if m.mode() & 0o077 != 0 => lack(format!("{} has mode {:04o}", path.display(), m.mode() & 0o7777)),
        Ok(_) => Check::ok(id, title, path.display().to_string()),
        Err(e) => lack(format!("{}: {e}", path.display())),
    }
}
