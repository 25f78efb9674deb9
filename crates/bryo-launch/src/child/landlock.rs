// SPDX-License-Identifier: Apache-2.0
//! Landlock below everything else: only what lies under the container's root can be opened. Source: `landlock(7)`.
//!
//! The mount namespace already shows nothing else. Landlock covers the ways around it: a descriptor or a
//! `/proc/PID/exe` link that leads to a file of the host (CVE-2019-5736, CVE-2024-21626) cannot be opened anew.

use bryo_sys::root::Root;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use crate::error::{Error, Kind, Result};
use crate::plan::{Landlock, TcpPorts};
use crate::prepare::Manner;

/// The rights that are handled: those of ABI 5 (Linux 6.10). Kernels with fewer enforce what they know.
const RIGHTS: ABI = ABI::V5;

/// The first ABI that can rename and link across directories (`LANDLOCK_ACCESS_FS_REFER`, Linux 5.19). Below it every
/// such rename fails, which package managers and databases do not survive.
const FIRST_USABLE: u8 = 2;

/// The first ABI with rules for TCP ports (Linux 6.7).
const FIRST_WITH_PORTS: u8 = 4;

/// Tells which ABI will be enforced, 0 for none.
pub(crate) fn available(wanted: Landlock) -> Result<u8> {
    if wanted == Landlock::Off {
        return Ok(0);
    }
    let abi = bryo_sys::process::landlock_abi();
    let usable = if abi >= FIRST_USABLE { abi } else { 0 };
    if usable == 0 && wanted == Landlock::Required {
        return Err(Error::new(
            Kind::Confinement,
            "this kernel has no Landlock (ABI 2, Linux 5.19, or newer is needed)",
        ));
    }
    Ok(usable)
}

/// Confines this process and all it will start to the root directory.
///
/// Whether new privileges are given up is decided elsewhere, and before: where they are not, this needs
/// `CAP_SYS_ADMIN` of the user namespace.
pub(super) fn restrict(manner: &Manner) -> Result<()> {
    if let Some(ports) = &manner.ports {
        restrict_ports(ports)?;
    }
    if available(manner.landlock)? == 0 {
        return Ok(());
    }
    restrict_to(Some(&Root::open(std::path::Path::new("/"))?))
}

/// Refuses what could not be enforced: a list of ports on a kernel without rules for them, or with Landlock left out.
pub(crate) fn check_ports(manner: &Manner) -> Result<()> {
    let why = match (&manner.ports, manner.landlock) {
        (Some(_), Landlock::Off) => "Landlock is left out, which a container that may mount has to be",
        (Some(_), _) if bryo_sys::process::landlock_abi() < FIRST_WITH_PORTS => {
            "this kernel's Landlock knows no ports (ABI 4, Linux 6.7, or newer is needed)"
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Confinement, format!("a list of ports cannot be enforced: {why}")))
}

/// Confines this process to some ports. A kernel that has not all of it fails.
fn restrict_ports(ports: &TcpPorts) -> Result<()> {
    let failed = |e: RulesetError| Error::new(Kind::Confinement, format!("cannot apply Landlock to ports: {e}"));
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = ruleset.handle_access(AccessNet::from_all(ABI::V4)).and_then(Ruleset::create).map_err(failed)?;
    let bind = ports.bind.iter().map(|port| Ok(NetPort::new(*port, AccessNet::BindTcp)));
    let connect = ports.connect.iter().map(|port| Ok(NetPort::new(*port, AccessNet::ConnectTcp)));
    let ruleset = ruleset.add_rules(bind.chain(connect)).map_err(failed)?;
    // Whether new privileges are given up is decided elsewhere, as below.
    ruleset.no_new_privs(false).restrict_self().map(drop).map_err(failed)
}

/// Confines this process to one directory, or to none at all.
pub(crate) fn restrict_to(root: Option<&Root>) -> Result<()> {
    let rights = AccessFs::from_all(RIGHTS);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(rights)
        .and_then(Ruleset::create)
        .and_then(|ruleset| match root {
            Some(root) => ruleset.add_rule(PathBeneath::new(root, rights)),
            None => Ok(ruleset),
        })
        // It would give new privileges up where they were asked to be kept.
        .map(|ruleset| ruleset.no_new_privs(false))
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(|e| Error::new(Kind::Confinement, format!("cannot apply Landlock: {e}")))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Error::new(Kind::Confinement, "Landlock was offered by the kernel and did not take hold"));
    }
    Ok(())
}
