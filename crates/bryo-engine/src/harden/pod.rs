// SPDX-License-Identifier: Apache-2.0
//! A pod that runs a hardened image as it was proven.
//!
//! What the image has in a directory that becomes a volume is copied by an init container, once: into a directory of the
//! user's own in the volume, since the volume itself is root's (`root:fsGroup 2777`), and services insist on who owns
//! their directory and on its mode.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bryo_image::store::Image;

use super::Hardened;
use super::documents::{Told, json, one_line, pod_name};
use super::proof::Port;
use crate::shell::quoted;

/// Directories that a container of any service writes to.
const ALWAYS: [&str; 2] = ["/run", "/tmp"];

/// The directory of the user's own in a volume.
const OWN: &str = "state";

/// Copies a directory into a volume, in words of POSIX. A copy has its name when it is whole, and a claim keeps what is in
/// it. Nothing is said about owners and times, which only root may set on what is not its own; what the user may not
/// read is of no use to it, and is left out.
const COPY: &str = r#"umask 0
copy() {
  if [ -e "$2/state" ]; then return 0; fi
  rm -rf "$2/.new"
  if [ -d "$1" ]; then cp -RP "$1/." "$2/.new" || [ -d "$2/.new" ]; else mkdir -m 0755 "$2/.new"; fi
  mv "$2/.new" "$2/state"
}
"#;

/// Writes a pod that runs the image as it was proven, on the level "restricted" of the Pod Security Standards.
pub fn kubernetes(hardened: &Hardened, told: &Told<'_>) -> String {
    let facts = &hardened.facts;
    let volumes = volumes(hardened, told);
    let filled: Vec<usize> = (0..volumes.len()).filter(|n| has_content(told, &volumes[*n])).collect();
    let security = format!(
        "{{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsNonRoot: true, runAsUser: {}, \
         runAsGroup: {}, capabilities: {{drop: [ALL]}}}}",
        facts.uid, facts.gid
    );
    let taken = hardened.taken.told().into_iter().map(|line| format!("# In the image, {}\n", one_line(&line)));
    let mut text = format!(
        "# How {} runs as nobody. Volumes are empty ones: a claim in their place keeps what is written.\n{}\
         apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\nspec:\n  hostUsers: false\n  \
         automountServiceAccountToken: false\n  securityContext:\n    runAsNonRoot: true\n    runAsUser: {}\n    \
         runAsGroup: {}\n    fsGroup: {}\n    fsGroupChangePolicy: OnRootMismatch\n",
        one_line(told.name),
        taken.collect::<String>(),
        pod_name(told.name),
        facts.uid,
        facts.gid,
        facts.gid
    );
    if !facts.groups.is_empty() {
        let _ = writeln!(text, "    supplementalGroups: {:?}", facts.groups);
    }
    text += "    seccompProfile: {type: RuntimeDefault}\n";
    let exposed = exposed(&hardened.image);
    if exposed.iter().any(|(port, _)| *port < 1024) || told.listens.iter().any(|it| it.number < 1024) {
        text += LOW_PORTS;
    }
    if !filled.is_empty() {
        init(&mut text, told.name, &security, (&volumes, &filled));
    }
    let _ = writeln!(text, "  containers:\n  - name: main\n    image: {}", json(told.name));
    let _ = writeln!(text, "    securityContext: {security}");
    let ports = served(exposed, told.listens);
    if !ports.is_empty() {
        text += "    ports:\n";
        for (port, protocol) in &ports {
            let _ = writeln!(text, "    - {{containerPort: {port}, protocol: {protocol}}}");
        }
    }
    text += "    volumeMounts:\n";
    for (n, path) in volumes.iter().enumerate() {
        let own = if filled.contains(&n) { format!(", subPath: {OWN}") } else { String::new() };
        let _ = writeln!(text, "    - {{name: state-{n}, mountPath: {}{own}}}", json(&path.display().to_string()));
    }
    text += "  volumes:\n";
    for n in 0..volumes.len() {
        let _ = writeln!(text, "  - {{name: state-{n}, emptyDir: {{}}}}");
    }
    text
}

/// Lets everybody in the pod serve ports below 1024.
pub(crate) const LOW_PORTS: &str = "    sysctls:\n    - {name: net.ipv4.ip_unprivileged_port_start, value: \"0\"}\n";

/// Writes the container that copies.
fn init(text: &mut String, image: &str, security: &str, (volumes, filled): (&[PathBuf], &[usize])) {
    *text += "  # What the image has in these directories; it needs a shell and cp.\n  initContainers:\n";
    let _ = writeln!(text, "  - name: state\n    image: {}", json(image));
    *text += "    command:\n    - sh\n    - -euc\n    - |\n";
    for line in script(filled.iter().map(|n| (*n, volumes[*n].as_path()))).lines() {
        let _ = writeln!(text, "      {line}");
    }
    let _ = writeln!(text, "    securityContext: {security}\n    volumeMounts:");
    for n in filled {
        let _ = writeln!(text, "    - {{name: state-{n}, mountPath: /bryo/{n}}}");
    }
}

fn script<'a>(copied: impl Iterator<Item = (usize, &'a Path)>) -> String {
    COPY.to_owned()
        + &copied.map(|(n, path)| format!("copy {} /bryo/{n}\n", quoted(&path.to_string_lossy()))).collect::<String>()
}

/// Chooses the directories that are volumes: those declared, those every service has, and those that were written to.
fn volumes(hardened: &Hardened, told: &Told<'_>) -> Vec<PathBuf> {
    let declared = hardened.image.config.config().as_ref().and_then(|config| config.volumes().clone());
    let declared = declared.unwrap_or_default().into_iter().map(PathBuf::from).filter(|path| path.is_absolute());
    let state = &hardened.facts.state;
    // A directory counts as changed for what is in it.
    let leaf = |path: &&PathBuf| !told.written.iter().any(|other| other != *path && other.starts_with(path));
    let written = told.written.iter().filter(leaf).filter_map(|path| {
        let root = state.iter().find(|root| path.starts_with(root))?;
        // `/var` is too much to be hidden; what is in it goes by its second directory: /var/lib/redis.
        let depth = if root == Path::new("/var") { 4 } else { root.components().count() };
        let depth = depth.min(path.components().count().saturating_sub(1)).max(root.components().count());
        let dir: PathBuf = path.components().take(depth).collect();
        (dir != Path::new("/var")).then_some(dir)
    });
    let all: BTreeSet<PathBuf> = ALWAYS.into_iter().map(PathBuf::from).chain(declared).chain(written).collect();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in all {
        let plain = path.components().count() > 1 && !path.display().to_string().contains(char::is_control);
        if plain && !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

/// Tells whether the image has something in a volume that a service may want there. What lies in `/tmp` is of the build.
fn has_content(told: &Told<'_>, dir: &Path) -> bool {
    !matches!(dir.to_str(), Some("/tmp" | "/var/tmp")) && told.filled.iter().any(|filled| filled.starts_with(dir))
}

/// Returns the ports that the image exposes, in the words of Kubernetes.
fn exposed(image: &Image) -> Vec<(u16, &'static str)> {
    let ports = image.config.config().as_ref().and_then(|config| config.exposed_ports().clone());
    let parse = |text: &String| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "udp" => "UDP",
            "sctp" => "SCTP",
            _ => "TCP",
        };
        Some((port.parse().ok()?, protocol))
    };
    ports.unwrap_or_default().iter().filter_map(parse).collect()
}

/// Adds the ports that can be reached from outside to those that are exposed.
fn served(exposed: Vec<(u16, &'static str)>, listens: &[Port]) -> Vec<(u16, &'static str)> {
    let open = listens.iter().filter(|port| !port.loopback);
    let seen = open.map(|port| (port.number, if port.udp { "UDP" } else { "TCP" }));
    seen.chain(exposed).map(|port| (port, ())).collect::<BTreeMap<_, _>>().into_keys().collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::process::{Command, Output};

    use super::*;

    #[test]
    fn ports_that_were_seen_are_told_with_those_exposed() {
        let port = |number, udp, loopback| Port { number, udp, loopback };
        let seen = [port(80, false, false), port(53, true, false), port(8081, false, true), port(80, false, false)];
        assert_eq!(served(vec![(443, "TCP"), (80, "TCP")], &seen), [(53, "UDP"), (80, "TCP"), (443, "TCP")]);
    }

    /// Copies from `state` to a volume, both below a directory, with a given `cp`.
    fn copies(dir: &Path, tools: &str) -> Output {
        let script = script([(0, dir.join("it's state").as_path()), (1, &dir.join("none"))].into_iter());
        let script = script.replace("/bryo/", &format!("{}/bryo", dir.display()));
        let tools = format!("PATH={tools}:$PATH\n");
        let mut command = Command::new("sh");
        if rustix::process::geteuid().is_root() {
            // As in a cluster: the volume is root's, and the user has its group.
            command = Command::new("setpriv");
            command.args(["--reuid", "65532", "--regid", "65532", "--clear-groups", "sh"]);
        }
        command.args(["-euc", &(tools + &script)]).output().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Makes a directory with all that may be in one, and two volumes.
    fn prepare(dir: &Path) {
        let root = rustix::process::geteuid().is_root();
        let user = |path: &Path| {
            if root {
                std::os::unix::fs::lchown(path, Some(65532), Some(65532)).unwrap();
            }
        };
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
        let state = dir.join("it's state");
        for (name, bits) in [("", 0o700), ("empty", 0o750), ("..dots", 0o711)] {
            std::fs::create_dir(state.join(name)).unwrap();
            std::fs::set_permissions(state.join(name), PermissionsExt::from_mode(bits)).unwrap();
            user(&state.join(name));
        }
        for (name, bits) in [("a file", 0o640), (".hidden", 0o600), ("..dots/deep", 0o444)] {
            std::fs::write(state.join(name), name).unwrap();
            std::fs::set_permissions(state.join(name), PermissionsExt::from_mode(bits)).unwrap();
            user(&state.join(name));
        }
        symlink("/nowhere", state.join("link")).unwrap();
        for volume in ["bryo0", "bryo1"] {
            std::fs::create_dir(dir.join(volume)).unwrap();
            if root {
                chown(dir.join(volume), Some(0), Some(65532)).unwrap();
            }
            std::fs::set_permissions(dir.join(volume), PermissionsExt::from_mode(0o2777)).unwrap();
        }
    }

    #[test]
    fn what_the_image_has_is_copied_into_a_volume_of_root_once() {
        let have = |tool: &str| Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        for busybox in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let tools = dir.path().join("tools");
            std::fs::create_dir(&tools).unwrap();
            let found = have("busybox");
            if busybox && !found.status.success() {
                continue;
            }
            for tool in ["cp", "mv", "rm", "mkdir"].into_iter().filter(|_| busybox) {
                symlink(String::from_utf8_lossy(&found.stdout).trim(), tools.join(tool)).unwrap();
            }
            let output = copies(dir.path(), &tools.display().to_string());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "busybox {busybox}: {said}");
            let volume = dir.path().join("bryo0/state");
            for (name, bits) in
                [("", 0o700), ("empty", 0o750), ("..dots", 0o711), ("a file", 0o640), (".hidden", 0o600)]
            {
                assert_eq!(mode(&volume.join(name)), bits, "{name}");
            }
            assert_eq!(std::fs::read_to_string(volume.join("..dots/deep")).unwrap(), "..dots/deep");
            assert_eq!(std::fs::read_link(volume.join("link")).unwrap(), Path::new("/nowhere"));
            assert_eq!(std::fs::read_dir(dir.path().join("bryo1/state")).unwrap().count(), 0);
            // A claim that comes back keeps what was written.
            std::fs::write(volume.join("a file"), "written").unwrap();
            assert!(copies(dir.path(), &tools.display().to_string()).status.success());
            assert_eq!(std::fs::read_to_string(volume.join("a file")).unwrap(), "written");
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_a_full_volume_is_an_error() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let secret = dir.path().join("it's state/secret");
        std::fs::write(&secret, "root's").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(copies(dir.path(), "/none").status.success());
        assert!(!dir.path().join("bryo0/state/secret").exists());
        assert_eq!(mode(&dir.path().join("bryo0/state/a file")), 0o640);
        // Nothing can be made in a volume that is not the user's at all.
        std::fs::remove_dir_all(dir.path().join("bryo0/state")).unwrap();
        std::fs::set_permissions(dir.path().join("bryo0"), PermissionsExt::from_mode(0o555)).unwrap();
        assert!(!copies(dir.path(), "/none").status.success());
    }
}
