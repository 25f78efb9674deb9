// SPDX-License-Identifier: Apache-2.0
//! `.network` files: a service that makes a network, once.

use super::making::{Keys, Making, Way};
use super::{service, volume};

const BRIDGE: &str = "a network of bryo is a bridge that it makes itself; leave it out";

const KEYS: &Keys = &[
    ("NetworkName", Way::Elsewhere),
    ("ServiceName", Way::Elsewhere),
    ("Driver", Way::Last("--driver")),
    ("Subnet", Way::Each("--subnet")),
    ("Gateway", Way::Each("--gateway")),
    ("IPRange", Way::Each("--ip-range")),
    ("Internal", Way::Switch(&["--internal"], &[])),
    ("IPv6", Way::Switch(&["--ipv6"], &[])),
    ("DisableDNS", Way::Switch(&["--disable-dns"], &[])),
    ("DNS", Way::Each("--dns")),
    ("Label", Way::Words("--label")),
    ("Options", Way::Words("--opt")),
    ("IPAMDriver", Way::Never(BRIDGE)),
    ("InterfaceName", Way::Never(BRIDGE)),
    ("NetworkDeleteOnStop", Way::Elsewhere),
    ("ContainersConfModule", Way::Never("there is no containers.conf to read; leave it out")),
    ("PodmanArgs", Way::Elsewhere),
    ("GlobalArgs", Way::Elsewhere),
];

pub(super) fn make(making: &mut Making<'_>) {
    making.command = (&["network", "create"], &["name"]);
    let name = making.source.describe().name;
    service::pass_on(making);
    making.keys(KEYS);
    volume::once(making, &["network", "create", "--ignore"], &name);
    if let Some(entry) = making.last("NetworkDeleteOnStop")
        && making.boolean(entry) == Some(true)
    {
        let line = making.command_line(&["network", "rm", &name]);
        making.output.push("Service", "ExecStop", line);
    }
}
