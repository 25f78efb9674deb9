// SPDX-License-Identifier: Apache-2.0
//! A profile in the words of others: a seccomp profile, flags, a pod.

use std::fmt::Write as _;

use oci_spec::runtime::Capability;

use super::{Ports, Profile, port};
use crate::harden::{LOW_PORTS, json, one_line, pod_name};
use crate::profile;
use crate::shell::quoted;

impl Profile {
    /// Writes a seccomp profile in Docker's form: the default's rules for these calls.
    ///
    /// # Errors
    ///
    /// Never for a profile that was read.
    pub fn seccomp(&self) -> serde_json::Result<String> {
        let held: Vec<Capability> =
            self.capabilities.iter().filter_map(|name| name.strip_prefix("CAP_")?.parse().ok()).collect();
        let mut filter = profile::default(&held);
        self.narrow_filter(&mut filter);
        Ok(serde_json::to_string_pretty(&filter)? + "\n")
    }

    /// Writes flags of `bryo run` that come close: without the ports that it may reach, and with the filter in a file.
    pub fn flags(&self) -> String {
        let mut words: Vec<String> = self.user_asked.then(|| format!("--user {}", self.user)).into_iter().collect();
        words.push("--cap-drop ALL".to_owned());
        words.extend(self.capabilities.iter().map(|name| format!("--cap-add {}", name.trim_start_matches("CAP_"))));
        words.push("--security-opt seccomp=FILE".to_owned());
        words.push("--read-only".to_owned());
        for dir in self.writes.iter().filter(|dir| !dir.starts_with("/dev/shm")) {
            let memory = ["/tmp", "/var/tmp", "/run"].iter().any(|place| super::within(dir, place));
            words.push(match memory {
                true => format!("--tmpfs {}", quoted(dir)),
                false => format!("-v {}", quoted(&format!("{}:{dir}", pod_name(&dir.replace('/', "-"))))),
            });
        }
        let silent = |ports: &Ports| ports.bind.is_empty() && ports.connect.is_empty();
        if self.ports.as_ref().is_some_and(silent) {
            words.push("--network none".to_owned());
        }
        words.extend(self.served().map(|(protocol, n)| match protocol {
            "udp" => format!("-p {n}/udp"),
            _ => format!("-p {n}"),
        }));
        words.join(" \\\n    ") + "\n"
    }

    /// Writes a pod, and the network policy that goes with it.
    pub fn kubernetes(&self) -> String {
        let (uid, gid) = self.user.split_once(':').unwrap_or((&self.user, &self.user));
        let name = pod_name(&self.image);
        let served: Vec<(&str, u16)> = self.served().collect();
        let caps: Vec<&str> = self.capabilities.iter().map(|name| name.trim_start_matches("CAP_")).collect();
        let add = if caps.is_empty() { String::new() } else { format!(", add: [{}]", caps.join(", ")) };
        let mut text = format!(
            "# What {} was seen to need. The node needs the seccomp profile (bryo learn --format seccomp) in the kubelet's\n\
             # seccomp directory. Volumes are empty ones: a claim in their place keeps what is written.\n{}\
             apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\nspec:\n  hostUsers: false\n  \
             automountServiceAccountToken: false\n  securityContext:\n    runAsNonRoot: {}\n    runAsUser: {uid}\n    \
             runAsGroup: {gid}\n    fsGroup: {gid}\n    seccompProfile: {{type: Localhost, localhostProfile: {name}.json}}\n{}  \
             containers:\n  - name: main\n    image: {}\n    securityContext: {{allowPrivilegeEscalation: false, \
             readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]{add}}}}}\n",
            one_line(&self.image),
            self.remarks(),
            uid != "0",
            if served.iter().any(|(_, port)| *port < 1024) { LOW_PORTS } else { "" },
            json(&self.image),
        );
        if !served.is_empty() {
            text += "    ports:\n";
            for (protocol, port) in &served {
                let _ = writeln!(text, "    - {{containerPort: {port}, protocol: {}}}", protocol.to_uppercase());
            }
        }
        if !self.writes.is_empty() {
            text += "    volumeMounts:\n";
            for (n, dir) in self.writes.iter().enumerate() {
                let _ = writeln!(text, "    - {{name: written-{n}, mountPath: {}}}", json(dir));
            }
            text += "  volumes:\n";
            for n in 0..self.writes.len() {
                let _ = writeln!(text, "  - {{name: written-{n}, emptyDir: {{}}}}");
            }
        }
        text + &self.network_policy(&name)
    }

    /// Says what a cluster does not do that `bryo run` does.
    fn remarks(&self) -> String {
        let mut text = String::new();
        let memory =
            |dir: &&String| ["/tmp", "/var/tmp", "/run", "/dev/shm"].iter().any(|place| super::within(dir, place));
        let state: Vec<String> = self.writes.iter().filter(|dir| !memory(dir)).map(|dir| one_line(dir)).collect();
        if !state.is_empty() {
            let _ = writeln!(
                text,
                "# An empty volume hides what the image has in {}: where it has something, copy it there first, or take\n\
                 # the pod of bryo harden --kubernetes, which does.",
                state.join(", ")
            );
        }
        if !self.user_asked && !self.user.starts_with("0:") {
            let _ = writeln!(
                text,
                "# bryo run gives an image that wants root its state directories as {}. A cluster does not: harden such an\n\
                 # image first (bryo harden), and name the new one here.",
                one_line(&self.user)
            );
        }
        text
    }

    fn network_policy(&self, name: &str) -> String {
        let Some(ports) = &self.ports else { return String::new() };
        let mut text = format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\nspec:\n  \
             podSelector: {{matchLabels: {{app: {name}}}}}\n  policyTypes: [Ingress, Egress]\n"
        );
        for (way, words) in [("ingress", &ports.bind), ("egress", &ports.connect)] {
            let named: Vec<_> = words.iter().filter_map(|word| port(word)).filter(|(_, n)| *n != 0).collect();
            if named.is_empty() {
                let _ = writeln!(text, "  {way}: []");
                continue;
            }
            let _ = writeln!(text, "  {way}:\n  - ports:");
            for (protocol, n) in named {
                let _ = writeln!(text, "    - {{port: {n}, protocol: {}}}", protocol.to_uppercase());
            }
        }
        text
    }

    /// Lists the ports that it serves and that have a number.
    fn served(&self) -> impl Iterator<Item = (&str, u16)> {
        let words = self.ports.iter().flat_map(|ports| &ports.bind);
        words.filter_map(|word| port(word)).filter(|(_, n)| *n != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SMALL, profile};

    #[test]
    fn documents_say_what_the_profile_says() {
        let profile = profile(SMALL);
        let flags = profile.flags();
        assert!(!flags.contains("--user"), "whom the image gets anyhow: {flags}");
        for word in ["--cap-drop ALL", "--tmpfs /tmp", "-v var-lib-x:/var/lib/x", "-p 80"] {
            assert!(flags.contains(word), "{word}: {flags}");
        }
        assert!(!flags.contains("--network none"), "{flags}");
        let pod = profile.kubernetes();
        for word in [
            "runAsUser: 65532",
            "mountPath: \"/var/lib/x\"",
            "containerPort: 80",
            "egress: []",
            "name: net.ipv4.ip_unprivileged_port_start, value: \"0\"",
            "# An empty volume hides what the image has in /var/lib/x:",
            "harden such an",
        ] {
            assert!(pod.contains(word), "{word}: {pod}");
        }
        let mut other = profile.clone();
        (other.user, other.user_asked) = ("5:5".to_owned(), true);
        other.writes.remove("/var/lib/x");
        other.ports.as_mut().unwrap().bind = ["tcp/8080".to_owned()].into();
        assert!(other.flags().starts_with("--user 5:5 "), "{}", other.flags());
        let pod = other.kubernetes();
        for word in ["sysctls", "An empty volume", "harden such an"] {
            assert!(!pod.contains(word), "{word}: {pod}");
        }
        let host = crate::profile::Host { caps: &[], kernel: (6, 1) };
        let read = crate::profile::from_docker_json(profile.seccomp().unwrap().as_bytes(), host).unwrap();
        bryo_launch::seccomp::compile(&read).unwrap();
    }
}
