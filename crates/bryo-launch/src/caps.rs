// SPDX-License-Identifier: Apache-2.0
//! Capabilities: the five sets of a process. Source: `capabilities(7)`.

use bryo_sys::check;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Context, Kind, Result};

/// The five sets as bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CapSets {
    pub bounding: CapabilitySet,
    pub effective: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
}

impl CapSets {
    /// Reads the sets of a spec; a set that is not named is empty.
    pub fn from_spec(caps: Option<&LinuxCapabilities>) -> Self {
        let of = |get: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
            caps.and_then(|c| get(c).as_ref()).map_or(CapabilitySet::empty(), bits)
        };
        Self {
            bounding: of(LinuxCapabilities::bounding),
            effective: of(LinuxCapabilities::effective),
            permitted: of(LinuxCapabilities::permitted),
            inheritable: of(LinuxCapabilities::inheritable),
            ambient: of(LinuxCapabilities::ambient),
        }
    }

    /// Takes everything else out of the bounding set. Needs `CAP_SETPCAP`, so it comes before the other sets.
    pub fn drop_bounding(&self) -> Result<()> {
        for capability in unbounded(self.bounding) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // A kernel that does not know a capability cannot grant it, and one that is newer may know more than we do.
                Ok(()) | Err(rustix::io::Errno::INVAL) => (),
                result => check("prctl", || format!("PR_CAPBSET_DROP, {capability:?}"), result)
                    .context(Kind::Confinement, || "cannot drop capabilities".into())?,
            }
        }
        Ok(())
    }

    /// Sets the other four sets. The ambient set is raised last: it must be within the others.
    pub fn apply(&self) -> Result<()> {
        let cannot = || "cannot set capabilities".to_owned();
        let sets =
            CapabilitySets { effective: self.effective, permitted: self.permitted, inheritable: self.inheritable };
        check("capset", || format!("{sets:?}"), rustix::thread::set_capabilities(None, sets))
            .context(Kind::Confinement, cannot)?;
        check("prctl", || "PR_CAP_AMBIENT_CLEAR_ALL".into(), rustix::thread::clear_ambient_capability_set())
            .context(Kind::Confinement, cannot)?;
        for capability in self.ambient.iter() {
            let raised = rustix::thread::configure_capability_in_ambient_set(capability, true);
            check("prctl", || format!("PR_CAP_AMBIENT_RAISE, {capability:?}"), raised)
                .context(Kind::Confinement, cannot)?;
        }
        Ok(())
    }
}

/// Returns every capability that there can be and that is not in a set, those without a name too.
fn unbounded(bounding: CapabilitySet) -> impl Iterator<Item = CapabilitySet> {
    let each = (0..u64::BITS).map(|n| CapabilitySet::from_bits_retain(1 << n));
    each.filter(move |capability| !bounding.contains(*capability))
}

fn bits(capabilities: &Capabilities) -> CapabilitySet {
    capabilities.iter().fold(CapabilitySet::empty(), |set, c| set | bit(*c))
}

fn bit(capability: Capability) -> CapabilitySet {
    use CapabilitySet as S;
    match capability {
        Capability::AuditControl => S::AUDIT_CONTROL,
        Capability::AuditRead => S::AUDIT_READ,
        Capability::AuditWrite => S::AUDIT_WRITE,
        Capability::BlockSuspend => S::BLOCK_SUSPEND,
        Capability::Bpf => S::BPF,
        Capability::CheckpointRestore => S::CHECKPOINT_RESTORE,
        Capability::Chown => S::CHOWN,
        Capability::DacOverride => S::DAC_OVERRIDE,
        Capability::DacReadSearch => S::DAC_READ_SEARCH,
        Capability::Fowner => S::FOWNER,
        Capability::Fsetid => S::FSETID,
        Capability::IpcLock => S::IPC_LOCK,
        Capability::IpcOwner => S::IPC_OWNER,
        Capability::Kill => S::KILL,
        Capability::Lease => S::LEASE,
        Capability::LinuxImmutable => S::LINUX_IMMUTABLE,
        Capability::MacAdmin => S::MAC_ADMIN,
        Capability::MacOverride => S::MAC_OVERRIDE,
        Capability::Mknod => S::MKNOD,
        Capability::NetAdmin => S::NET_ADMIN,
        Capability::NetBindService => S::NET_BIND_SERVICE,
        Capability::NetBroadcast => S::NET_BROADCAST,
        Capability::NetRaw => S::NET_RAW,
        Capability::Perfmon => S::PERFMON,
        Capability::Setgid => S::SETGID,
        Capability::Setfcap => S::SETFCAP,
        Capability::Setpcap => S::SETPCAP,
        Capability::Setuid => S::SETUID,
        Capability::SysAdmin => S::SYS_ADMIN,
        Capability::SysBoot => S::SYS_BOOT,
        Capability::SysChroot => S::SYS_CHROOT,
        Capability::SysModule => S::SYS_MODULE,
        Capability::SysNice => S::SYS_NICE,
        Capability::SysPacct => S::SYS_PACCT,
        Capability::SysPtrace => S::SYS_PTRACE,
        Capability::SysRawio => S::SYS_RAWIO,
        Capability::SysResource => S::SYS_RESOURCE,
        Capability::SysTime => S::SYS_TIME,
        Capability::SysTtyConfig => S::SYS_TTY_CONFIG,
        Capability::Syslog => S::SYSLOG,
        Capability::WakeAlarm => S::WAKE_ALARM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_that_have_no_name_yet_are_dropped_as_well() {
        let kept = CapabilitySet::CHOWN | CapabilitySet::CHECKPOINT_RESTORE;
        let dropped = unbounded(kept).fold(0, |bits, capability| bits | capability.bits());
        assert_eq!(dropped, !kept.bits());
    }
}
