// SPDX-License-Identifier: Apache-2.0
//! Checks of what makes a container somebody else: namespaces, ids, maps, and the mounts they allow.

use bryo_identity::rung::Rung;
use bryo_identity::subid::Range;

use super::diagnose;
use super::trial::{self, Failed, Step};
use super::{Cause, Check, Patient, State, facts};

pub(super) fn checks(patient: &Patient<'_>) -> Vec<Check> {
    let mounts = trial::mounts(&patient.host);
    let namespaces = user_namespaces(patient, mounts.as_ref().err());
    let usable = namespaces.state == State::Ok;
    let mut checks = vec![namespaces, limits(patient, usable), apparmor(patient, mounts.as_ref().err())];
    checks.push(new_mounts(patient, mounts.as_ref().err()));
    checks.push(range(patient, "subordinate-uids", "subordinate user ids", &patient.host.uids));
    checks.push(range(patient, "subordinate-gids", "subordinate group ids", &patient.host.gids));
    let helpers = helpers(patient, usable);
    let mapped = usable && helpers.state != State::Missing;
    checks.push(helpers);
    checks.push(overlay(patient, mapped));
    if patient.host.rung() == Rung::Root {
        checks.push(idmapped(patient, mapped));
    }
    checks
}

fn user_namespaces(patient: &Patient<'_>, failed: Option<&Failed>) -> Check {
    let (id, title) = ("user-namespaces", "user namespaces");
    let refused = |failed: &Failed, cause: Cause| {
        let advice = cause.advice(&patient.person);
        let found = format!("{}: {}", advice.cause, failed.message);
        Check::new(id, title, State::Missing, found).advised(advice).vital()
    };
    match failed {
        Some(failed) if failed.step == Step::Namespace => refused(failed, diagnose::namespace(failed.errno)),
        Some(failed) if matches!(failed.step, Step::Map | Step::Become) => {
            refused(failed, diagnose::namespace(failed.errno))
        }
        _ => Check::ok(id, title, "made one, with all other namespaces in it").vital(),
    }
}

fn limits(patient: &Patient<'_>, usable: bool) -> Check {
    let (id, title) = ("namespace-limits", "max_user_namespaces and the like");
    let limits = diagnose::limits();
    let render = |(kind, n): &(&str, Option<u64>)| n.map(|n| format!("{kind} {n}"));
    let found = limits.iter().filter_map(render).collect::<Vec<_>>().join(", ");
    match limits.iter().find(|(_, n)| *n == Some(0)) {
        // Said once, by the check of user namespaces.
        Some(("user", _)) => Check::new(id, title, State::Missing, found),
        Some(_) if !usable => Check::new(id, title, State::Missing, found),
        Some(_) => Check::new(id, title, State::Degraded, found).advised(Cause::NamespacesOff.advice(&patient.person)),
        None => Check::ok(id, title, found),
    }
}

fn apparmor(patient: &Patient<'_>, failed: Option<&Failed>) -> Check {
    let (id, title) = ("apparmor", "AppArmor's restriction");
    match (diagnose::sysctl("kernel/apparmor_restrict_unprivileged_userns"), failed) {
        (Some(1), Some(_)) if patient.host.rung() != Rung::Root => {
            let found = "in force, and bryo is not exempt from it";
            Check::new(id, title, State::Missing, found).advised(Cause::AppArmor.advice(&patient.person))
        }
        (Some(1), _) => Check::ok(id, title, "in force, and bryo is exempt from it"),
        (Some(_), _) => Check::ok(id, title, "off"),
        (None, _) => Check::ok(id, title, "this kernel has none"),
    }
}

fn new_mounts(patient: &Patient<'_>, failed: Option<&Failed>) -> Check {
    let (id, title) = ("mounts", "mounts in user namespaces");
    match failed {
        None => Check::ok(id, title, "mounted a tmpfs and a new /proc").vital(),
        Some(failed) if matches!(failed.step, Step::Private | Step::Tmpfs | Step::Proc) => {
            let cause = diagnose::late(failed.step == Step::Proc);
            Check::new(id, title, State::Missing, &failed.message).advised(cause.advice(&patient.person)).vital()
        }
        Some(_) => Check::unanswered(id, title, "user namespaces").vital(),
    }
}

fn range(patient: &Patient<'_>, id: &'static str, title: &'static str, ranges: &[Range]) -> Check {
    let total = ranges.iter().map(|r| r.count).fold(0, u32::saturating_add);
    let list = ranges.iter().map(|r| format!("{} from {}", r.count, r.start)).collect::<Vec<_>>().join(", ");
    let person = &patient.person;
    match total {
        // Without the helpers the files are not looked at, for they are of no use.
        0 if patient.host.helpers.is_none() => {
            Check::new(id, title, State::Degraded, "not examined: needs newuidmap and newgidmap")
        }
        0 => Check::new(id, title, State::Degraded, format!("none for {}", person.name))
            .advised(Cause::NoRange.advice(person)),
        1..bryo_identity::map::IDS => {
            Check::new(id, title, State::Degraded, list).advised(Cause::SmallRange.advice(person))
        }
        _ => Check::ok(id, title, list),
    }
}

fn helpers(patient: &Patient<'_>, usable: bool) -> Check {
    let (id, title) = ("id-map", "newuidmap and newgidmap");
    let rung = patient.host.rung();
    let missing = patient.host.helpers.is_none();
    if rung == Rung::Single && missing {
        let advice = Cause::NoHelpers.advice(&patient.person);
        return Check::new(id, title, State::Degraded, "not installed").advised(advice);
    }
    let Some(map) = patient.map.as_ref().filter(|_| usable) else {
        return Check::unanswered(id, title, "user namespaces").vital();
    };
    match trial::map(&patient.host, map) {
        Ok(()) if rung == Rung::Root => Check::ok(id, title, "not needed: root writes the map, and it held"),
        Ok(()) if rung == Rung::Single => Check::ok(id, title, "installed; without a range there is nothing to map"),
        Ok(()) => Check::ok(id, title, "wrote a map, and it held"),
        Err(failed) => {
            let advice = diagnose::map(&patient.host).advice(&patient.person);
            let found = format!("{}: {}", advice.cause, failed.message);
            Check::new(id, title, State::Missing, found).advised(advice).vital()
        }
    }
}

fn overlay(patient: &Patient<'_>, mapped: bool) -> Check {
    let (id, title) = ("overlay", "overlay in user namespaces");
    let Some(map) = patient.map.as_ref().filter(|_| mapped) else {
        return Check::unanswered(id, title, "user namespaces with a map");
    };
    let below = trial::nearest_existing(&patient.input.store);
    match trial::overlay(&patient.host, map, &below) {
        Ok(()) => Check::ok(id, title, format!("mounted one and changed it in {}", below.display())),
        Err(failed) => {
            let cause = match (failed.step, failed.errno) {
                (Step::Directories, Some(bryo_sys::Errno::NOSPC | bryo_sys::Errno::DQUOT)) => Cause::StoreFull,
                (Step::Directories, _) => Cause::StoreClosed,
                (_, Some(bryo_sys::Errno::NODEV)) => Cause::OverlayMissing,
                (_, Some(bryo_sys::Errno::PERM | bryo_sys::Errno::ACCESS)) => diagnose::late(false),
                _ => Cause::OverlayRefused,
            };
            let found = format!("{} in {}", failed.message, below.display());
            Check::new(id, title, State::Missing, found).advised(cause.advice(&patient.person))
        }
    }
}

fn idmapped(patient: &Patient<'_>, mapped: bool) -> Check {
    let (id, title) = ("idmapped-mounts", "mounts with mapped ids");
    if !mapped {
        return Check::unanswered(id, title, "user namespaces with a map");
    }
    let below = trial::nearest_existing(&patient.input.store);
    match trial::idmapped(&patient.host, &below) {
        Ok(()) => Check::ok(id, title, format!("mapped the ids of {}", below.display())),
        Err(failed) => {
            let advice = Cause::NoIdmappedMounts.advice(&patient.person);
            Check::new(id, title, State::Missing, failed.message).advised(advice)
        }
    }
}

/// Tells what surrounds bryo, for [`super::machine`].
pub(super) fn nesting(container_marks: &[&str], uid_map: &str, status: &str) -> Vec<&'static str> {
    let mut signs = Vec::new();
    if !container_marks.is_empty() {
        signs.push("inside another container");
    }
    if !facts::is_initial_map(uid_map) {
        signs.push("in a user namespace with a part of the ids");
    }
    let own = facts::own_status(status);
    if own.no_new_privs {
        signs.push("with no_new_privs");
    }
    if own.filtered {
        signs.push("behind a system call filter");
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_bryo_is_named() {
        assert!(nesting(&[], "0 0 4294967295", "NoNewPrivs:\t0\nSeccomp:\t0").is_empty());
        let all = nesting(&["/.dockerenv"], "0 1000 1", "NoNewPrivs:\t1\nSeccomp:\t2");
        assert_eq!(all.len(), 4, "{all:?}");
    }
}
