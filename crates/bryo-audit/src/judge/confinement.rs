// SPDX-License-Identifier: Apache-2.0
//! What holds a container: the rules that hold for every platform.

use crate::facts::workload::{Mount, Namespace, Platform, Workload, capability};
use crate::model::{Severity, Sink};
use crate::rules::*;

/// The capabilities that the Pod Security Standards let pods add, at the level "baseline".
const BASELINE: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Capabilities that give the host away, and how bad each is.
const DANGEROUS: [(&str, Severity); 16] = [
    ("ALL", Severity::Critical),
    ("SYS_ADMIN", Severity::Critical),
    ("SYS_MODULE", Severity::Critical),
    ("SYS_RAWIO", Severity::Critical),
    ("SYS_PTRACE", Severity::High),
    ("DAC_READ_SEARCH", Severity::Critical),
    ("NET_ADMIN", Severity::High),
    ("NET_RAW", Severity::Medium),
    ("BPF", Severity::Critical),
    ("PERFMON", Severity::High),
    ("SYS_BOOT", Severity::High),
    ("SYS_TIME", Severity::High),
    ("MAC_ADMIN", Severity::High),
    ("MAC_OVERRIDE", Severity::High),
    ("AUDIT_CONTROL", Severity::High),
    ("SYSLOG", Severity::Medium),
];

/// The kernel parameters that the Pod Security Standards know to be safe, with the version that added them.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

/// Tells whether a kernel parameter is known to be safe.
pub fn is_safe_sysctl(name: &str, kubernetes: u32) -> bool {
    SYSCTLS.iter().any(|(known, since)| *known == name && *since <= kubernetes)
}

/// Tells whether a capability may be added at a level.
pub fn is_baseline_capability(name: &str) -> bool {
    BASELINE.contains(&name)
}

/// Judges what holds a container.
pub fn judge(workload: &Workload, sink: &mut Sink) {
    if let Some(privileged) = workload.privileged.as_ref().filter(|fact| fact.value) {
        sink.add(&PRIVILEGED, &privileged.place, "privileged: true");
    }
    dangerous(workload, sink);
    namespaces(workload, sink);
    for mount in &workload.mounts {
        self::mount(workload, mount, sink);
    }
    if workload.platform != Platform::Kubernetes {
        elsewhere(workload, sink);
    }
    for device in workload.devices.iter().filter(|_| !workload.is_privileged()) {
        let harmless = ["/dev/fuse", "/dev/net/tun"].contains(&device.value.as_str());
        let severity = if harmless { Severity::Medium } else { Severity::High };
        sink.add_as(&DEVICES, severity, &device.place, format!("device {}", device.value));
    }
    if let Some(address) = workload.env.iter().find(|(name, value, _)| name == "DOCKER_HOST" && !value.is_empty()) {
        sink.add(&ENGINE_SOCKET, &address.2, format!("DOCKER_HOST={}", address.1));
    }
}

fn dangerous(workload: &Workload, sink: &mut Sink) {
    for added in &workload.add {
        let name = capability(&added.value);
        let Some((_, severity)) = DANGEROUS.iter().find(|(known, _)| *known == name) else { continue };
        // Inside a user namespace it reaches what the namespace owns.
        let severity = if workload.in_user_namespace() { (*severity).min(Severity::Medium) } else { *severity };
        sink.add_as(&DANGEROUS_CAPABILITY, severity, &added.place, format!("capability {name}"));
    }
}

fn namespaces(workload: &Workload, sink: &mut Sink) {
    for host in &workload.host {
        let (rule, what) = match host.value {
            Namespace::Network => (&HOST_NETWORK, "network"),
            Namespace::Pid => (&HOST_PID, "processes"),
            Namespace::Ipc => (&HOST_IPC, "shared memory"),
            Namespace::Uts => (&HOST_OTHER, "name"),
            Namespace::Cgroup => (&HOST_OTHER, "control groups"),
            // What that means is said by the rules about users.
            Namespace::User if workload.platform == Platform::Engine => (&HOST_OTHER, "users"),
            Namespace::User => continue,
        };
        sink.add(rule, &host.place, format!("the host's {what}"));
    }
    if let Some(shared) = workload.share_pid.as_ref().filter(|fact| fact.value) {
        sink.add(&SHARED_PID, &shared.place, "processes are shared between containers");
    }
}

/// The settings of engines, Compose and bundles; those of pods are the Pod Security Standards'.
fn elsewhere(workload: &Workload, sink: &mut Sink) {
    let place = workload.place();
    let drops_all = workload.drop.iter().any(|fact| capability(&fact.value) == "ALL");
    if !drops_all {
        sink.add(&DROP_ALL, &place, "capabilities are not all dropped");
    }
    for added in &workload.add {
        let name = capability(&added.value);
        if !is_baseline_capability(&name) {
            sink.add(&CAPABILITIES, &added.place, format!("capability {name}"));
        } else if name != "NET_BIND_SERVICE" {
            sink.add(&ADDED_CAPABILITIES, &added.place, format!("capability {name}"));
        }
    }
    match &workload.escalation {
        Some(fact) if !fact.value => {}
        Some(fact) => sink.add(&NEW_PRIVILEGES, &fact.place, "no-new-privileges is off"),
        None => sink.add(&NEW_PRIVILEGES, &place, "no-new-privileges is not set"),
    }
    if let Some(fact) = workload.seccomp.as_ref().filter(|fact| fact.value == "Unconfined") {
        sink.add(&SECCOMP_OFF, &fact.place, "seccomp is unconfined");
    }
    for fact in workload.apparmor.iter().filter(|fact| fact.value == "Unconfined") {
        sink.add(&APPARMOR_OFF, &fact.place, "AppArmor is unconfined");
    }
    for fact in &workload.selinux {
        let (part, value) = &fact.value;
        let allowed = part == "type" && is_selinux_type(value, 37) || part == "level" || part == "filetype";
        if !allowed {
            sink.add(&SELINUX, &fact.place, format!("label {part}:{value}"));
        }
    }
    if let Some(fact) = &workload.proc_mount {
        sink.add(&PROC_MOUNT, &fact.place, "no path below /proc is masked");
    }
    for sysctl in workload.sysctls.iter().filter(|sysctl| !is_safe_sysctl(&sysctl.value, 37)) {
        sink.add(&SYSCTL, &sysctl.place, format!("sysctl {}", sysctl.value));
    }
    for port in &workload.ports {
        let everywhere = port.outside.is_some() && matches!(port.address.as_str(), "" | "0.0.0.0" | "::" | "[::]");
        if everywhere {
            let inside = port.inside.map_or_else(|| "?".to_owned(), |port| port.to_string());
            sink.add(&PUBLISHED, &port.place, format!("port {inside} on every address of the host"));
        }
    }
}

/// Tells whether an SELinux type is one that containers have.
pub fn is_selinux_type(name: &str, kubernetes: u32) -> bool {
    let old = ["", "container_t", "container_init_t", "container_kvm_t"].contains(&name);
    old || name == "container_engine_t" && kubernetes >= 31
}

/// Sockets that command an engine.
const SOCKETS: [&str; 10] = [
    "/run/docker.sock",
    "/run/docker/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/podman/podman.sock",
    "/run/buildkit/buildkitd.sock",
    "/run/cri-dockerd.sock",
    "/var/lib/kubelet/pod-resources/kubelet.sock",
    "/var/lib/kubelet/device-plugins/kubelet.sock",
];

/// Directories of the host that give it away, or much of it.
const SENSITIVE: [&str; 15] = [
    "/etc",
    "/proc",
    "/sys",
    "/boot",
    "/dev",
    "/root",
    "/home",
    "/usr",
    "/lib",
    "/bin",
    "/sbin",
    "/var/lib/kubelet",
    "/var/lib/docker",
    "/var/lib/containers",
    "/var/lib/containerd",
];

/// What a path of the host gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// Everything.
    Root,
    /// An engine's socket.
    Socket,
    /// A directory that gives much away.
    Sensitive,
    /// Something else.
    Other,
}

/// Tells what a path of the host gives.
pub fn reach(path: &str) -> Reach {
    if let Some(home) = path.strip_prefix('~') {
        return if home.trim_matches('/').is_empty() || home.starts_with("/.") {
            Reach::Sensitive
        } else {
            Reach::Other
        };
    }
    // Relative to a place that is not known.
    if !path.starts_with('/') {
        return Reach::Other;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut path = format!("/{}", parts.join("/"));
    if path == "/" {
        return Reach::Root;
    }
    // The older name of the same directory.
    if path == "/var/run" || path.starts_with("/var/run/") {
        path = path["/var".len()..].to_owned();
    }
    let below = |parent: &str, child: &str| {
        child == parent || child.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
    };
    let of_user = path.starts_with("/run/user") && (parts.len() <= 4 || path.ends_with(".sock"));
    let is_socket = [".sock", ".socket"].iter().any(|end| path.ends_with(end))
        && ["docker", "containerd", "crio", "podman", "buildkit", "kubelet"].iter().any(|name| path.contains(name));
    if is_socket || of_user || SOCKETS.iter().any(|socket| below(&path, socket)) {
        return Reach::Socket;
    }
    match SENSITIVE.iter().any(|dir| below(dir, &path)) || path == "/var" || path == "/var/lib" {
        true => Reach::Sensitive,
        false => Reach::Other,
    }
}

fn mount(workload: &Workload, mount: &Mount, sink: &mut Sink) {
    let spread = mount.propagation.as_deref().unwrap_or_default();
    if matches!(spread, "Bidirectional" | "shared" | "rshared") {
        sink.add(&PROPAGATION, &mount.place, format!("{}: propagation {spread}", mount.target));
    }
    let Some(source) = &mount.source else { return };
    let how = if mount.read_only { "read-only" } else { "writable" };
    let found = reach(source);
    if matches!(found, Reach::Socket | Reach::Root) {
        sink.add(&ENGINE_SOCKET, &mount.place, format!("{source} has, or is, the socket of an engine"));
    }
    let severity = match (found, mount.read_only) {
        (Reach::Root, false) => Severity::Critical,
        (Reach::Root, true) | (Reach::Sensitive, false) => Severity::High,
        (Reach::Sensitive, true) | (Reach::Socket, _) => Severity::Medium,
        // Directories of one's own are what engines and Compose files are for; in a cluster there are none.
        (Reach::Other, _) if workload.platform != Platform::Kubernetes => return,
        (Reach::Other, _) => Severity::Medium,
    };
    if found == Reach::Socket && workload.platform != Platform::Kubernetes {
        return;
    }
    sink.add_as(&HOST_PATH, severity, &mount.place, format!("{source} of the host, {how}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_graded_by_what_they_lead_to() {
        for (path, expected) in [
            ("/", Reach::Root),
            ("/a/..//", Reach::Root),
            ("/var/run/docker.sock", Reach::Socket),
            ("/var/run", Reach::Socket),
            ("/run/../run/containerd", Reach::Socket),
            ("/run/user/1000", Reach::Socket),
            ("/run/user/1000/docker.sock", Reach::Socket),
            ("/custom/podman.sock", Reach::Socket),
            ("/etc/kubernetes", Reach::Sensitive),
            ("/root/.ssh", Reach::Sensitive),
            ("/etcetera", Reach::Other),
            ("/srv/data", Reach::Other),
            ("/run/mine", Reach::Other),
            ("./etc", Reach::Other),
            ("~/.ssh", Reach::Sensitive),
            ("~/data", Reach::Other),
            ("/run/user/1000/app/data", Reach::Other),
        ] {
            assert_eq!(reach(path), expected, "{path}");
        }
    }
}
