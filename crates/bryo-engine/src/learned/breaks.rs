// SPDX-License-Identifier: Apache-2.0
//! What a profile would refuse of a run that was observed without it.

use serde::Serialize;

use super::{Profile, within};
use crate::observe::{Observed, Socket};

/// Something that a profile would refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// `syscall`, `capability`, `write`, `device`, `bind` or `connect`.
    pub kind: &'static str,
    /// Which.
    pub what: String,
}

impl Profile {
    /// Lists what it would refuse.
    pub fn breaks(&self, observed: &Observed) -> Vec<Break> {
        let seen = &observed.seen;
        let broken = |kind, what: &str| Break { kind, what: what.to_owned() };
        let mut breaks = Vec::new();
        breaks.extend(seen.calls.keys().filter(|call| !self.permits(call)).map(|call| broken("syscall", call)));
        let missing = seen.capabilities.difference(&self.capabilities);
        breaks.extend(missing.map(|capability| broken("capability", capability)));
        let covered = |dir: &&String| self.writes.iter().any(|written| within(dir, written));
        breaks.extend(seen.writes.iter().filter(|dir| !covered(dir)).map(|dir| broken("write", dir)));
        // Terminals are there if one was asked for.
        let there = |device: &&String| matches!(device.as_str(), "/dev/null" | "/dev/pts" | "/dev/console");
        let missing = seen.devices.difference(&self.devices).filter(|device| !there(device));
        breaks.extend(missing.map(|device| broken("device", device)));
        if let Some(ports) = self.tcp_ports() {
            let outside = |sockets: &std::collections::BTreeSet<Socket>, allowed: &[u16]| -> Vec<u16> {
                let tcp = sockets.iter().filter(|s| s.protocol == "tcp" && !allowed.contains(&s.port));
                tcp.map(|socket| socket.port).collect()
            };
            let word = |kind, port: u16| Break { kind, what: format!("tcp/{port}") };
            breaks.extend(outside(&seen.bound, &ports.bind).into_iter().map(|port| word("bind", port)));
            breaks.extend(outside(&seen.reached, &ports.connect).into_iter().map(|port| word("connect", port)));
        }
        breaks
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SMALL, profile};
    use super::*;
    use crate::observe::Observation;
    use crate::options::Network;

    #[test]
    fn what_is_not_in_the_profile_breaks_and_what_is_does_not() {
        let tcp = |port| Socket { protocol: "tcp".into(), port };
        let seen = Observation {
            calls: [("read".into(), 1), ("execve".into(), 1), ("getpid".into(), 2)].into(),
            writes: ["/tmp/a".into(), "/etc".into()].into(),
            devices: ["/dev/null".into(), "/dev/zero".into()].into(),
            bound: [tcp(80), tcp(81)].into(),
            reached: [Socket { protocol: "udp".into(), port: 53 }].into(),
            ..Observation::default()
        };
        let observed = Observed { seen, spec: oci_spec::runtime::Spec::default(), network: Network::None };
        let found: Vec<String> =
            profile(SMALL).breaks(&observed).iter().map(|b| format!("{} {}", b.kind, b.what)).collect();
        assert_eq!(found, ["syscall getpid", "write /etc", "device /dev/zero", "bind tcp/81"]);
    }
}
