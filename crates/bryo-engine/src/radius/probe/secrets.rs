// SPDX-License-Identifier: Apache-2.0
//! Which files are known to hold secrets, and how bad it is when files of a name can be read or written.

use std::ffi::OsStr;
use std::path::Path;

/// How bad it is when a file can be read, 0 to 100, and why.
pub(super) fn of(path: &Path) -> Option<(u8, &'static str)> {
    let name = path.file_name().and_then(OsStr::to_str)?;
    let folder = path.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
    let exact = match (folder, name) {
        (_, "shadow" | "gshadow" | "shadow-" | "gshadow-") if folder == "etc" => (100, "password hashes"),
        (".docker" | "containers", "config.json" | "auth.json") => (90, "logins to registries"),
        (".kube", "config") => (95, "control of a cluster"),
        ("kubernetes" | "k3s" | "kubelet", _) if is_kubeconfig(name) => (95, "control of a cluster"),
        (".aws", "credentials") | ("gcloud", "application_default_credentials.json" | "credentials.db") => {
            (95, "control of a cloud account")
        }
        (".azure", "accessTokens.json" | "msal_token_cache.json" | "msal_token_cache.bin") => {
            (95, "control of a cloud account")
        }
        ("private-keys-v1.d", _) => (95, "private key of GnuPG"),
        ("keyrings", _) if extension(name, &["keyring", "kdbx"]) => (85, "a keyring"),
        ("gh", "hosts.yml") => (90, "a token"),
        ("wireguard", _) if extension(name, &["conf"]) => (85, "private key of a network"),
        ("private", _) if extension(name, &["key", "pem"]) => (95, "a private key"),
        (_, "sudoers" | "krb5.keytab" | "crypttab") => (70, "secrets of the machine"),
        (_, ".netrc" | ".pgpass" | ".my.cnf" | ".git-credentials" | ".npmrc" | ".pypirc" | ".vault-token") => {
            (85, "passwords and tokens")
        }
        (_, "cookies.sqlite" | "logins.json" | "key4.db" | "Login Data") => (85, "sessions of a browser"),
        (_, ".Xauthority" | ".ICEauthority") => (80, "control of a desktop"),
        (_, "terraform.tfstate" | ".env") => (60, "often has passwords"),
        (_, ".bash_history" | ".zsh_history" | ".psql_history" | ".mysql_history" | ".python_history") => {
            (50, "what somebody typed")
        }
        _ => return by_pattern(name),
    };
    Some(exact)
}

fn is_kubeconfig(name: &str) -> bool {
    matches!(name, "admin.conf" | "super-admin.conf" | "kubelet.conf" | "controller-manager.conf" | "k3s.yaml")
}

fn extension(name: &str, known: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| known.contains(&end))
}

fn by_pattern(name: &str) -> Option<(u8, &'static str)> {
    let ssh = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"];
    if ssh.contains(&name) {
        return Some((98, "private key of SSH"));
    }
    if name.starts_with("ssh_host_") && name.ends_with("_key") {
        return Some((95, "the machine's private key of SSH"));
    }
    if matches!(name, "privkey.pem" | "key.pem" | "tls.key" | "server.key") || name.ends_with("-key.pem") {
        return Some((85, "a private key"));
    }
    extension(name, &["kdbx", "keytab", "p12", "pfx", "ovpn"]).then_some((80, "keys and passwords"))
}

/// What a home may have, below directories that can be entered and not listed.
pub(super) const IN_HOMES: &[&str] = &[
    ".ssh/id_rsa",
    ".ssh/id_ecdsa",
    ".ssh/id_ed25519",
    ".docker/config.json",
    ".config/containers/auth.json",
    ".config/gh/hosts.yml",
    ".config/gcloud/application_default_credentials.json",
    ".kube/config",
    ".aws/credentials",
    ".netrc",
    ".pgpass",
    ".git-credentials",
    ".bash_history",
];

/// Where container engines keep images and containers, from a home and from the root.
pub(super) const STORES_IN_HOMES: &[&str] =
    &[".local/share/containers", ".local/share/docker", ".local/share/bryo", ".local/share/containerd"];
pub(super) const STORES: &[&str] =
    &["/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/bryo", "/var/lib/kubelet"];

/// How bad it is when a file can be written, 0 to 100, and why.
pub(super) fn written(path: &Path, set_id: bool) -> (u8, &'static str) {
    let text = path.to_string_lossy();
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let any = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if set_id {
        (100, "runs as another user")
    } else if any(&["/cron", "/systemd/", "/init.d/", "/sudoers", "/ld.so."]) {
        (97, "is executed by the system")
    } else if any(&["/.ssh/", "/autostart/", "/.config/systemd/"])
        || matches!(name, ".bashrc" | ".profile" | ".bash_profile" | ".zshrc" | ".zshenv" | ".bash_login")
    {
        (95, "lets one in or is executed when somebody logs in")
    } else if text.starts_with("/etc/") {
        (90, "configures the system")
    } else if any(&["/bin/", "/sbin/", "/lib/", "/lib64/"]) {
        (85, "is executed by others")
    } else if any(&["/share/bryo/", "/share/containers/", "/lib/docker/"]) {
        (82, "in the store of a container engine")
    } else if is_home(path) {
        (70, "in a home")
    } else if any(&["/tmp/", "/dev/shm/", "/var/lock"]) || text.ends_with("/tmp") {
        (10, "a place for everybody")
    } else {
        (40, "")
    }
}

/// Tells whether a path is in somebody's home, by where homes are.
pub(super) fn is_home(path: &Path) -> bool {
    path.starts_with("/home") || path.starts_with("/root")
}

/// How bad it is when a socket can be connected to, and why.
pub(super) fn socket(path: &str) -> (u8, &'static str) {
    let any = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
    if any(&["docker.sock", "containerd.sock", "podman.sock", "crio.sock", "libvirt-sock", "lxd/unix", "incus"]) {
        (100, "control of a container engine or of virtual machines")
    } else if any(&["ssh-", "S.gpg-agent", "keyring/", "/agent."]) {
        (95, "signs with somebody's keys")
    } else if any(&["systemd/private", "/user/0/"]) {
        (90, "control of services")
    } else if path.contains("/bus") {
        (60, "a session's or the system's bus")
    } else if any(&["X11-unix", "wayland-", "pulse/", "pipewire"]) {
        (60, "screen, keyboard, sound")
    } else if any(&["mysql", "postgres", ".s.PGSQL", "redis", "mongodb"]) {
        (55, "a database")
    } else {
        (30, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_only_looks_like_one() {
        let is = |path: &str| of(Path::new(path)).is_some();
        for secret in [
            "/home/a/.ssh/id_ed25519",
            "/etc/shadow",
            "/etc/ssl/private/x.key",
            "/etc/ssh/ssh_host_rsa_key",
            "/home/a/.docker/config.json",
            "/etc/kubernetes/admin.conf",
            "/home/a/.kube/config",
        ] {
            assert!(is(secret), "{secret}");
        }
        for other in
            ["/home/a/.ssh/id_ed25519.pub", "/usr/share/man/man5/shadow", "/etc/ssl/certs/x.pem", "/x/config.json"]
        {
            assert!(!is(other), "{other}");
        }
    }

    #[test]
    fn what_others_execute_is_worse_than_what_lies_around() {
        let weight = |path: &str| written(Path::new(path), false).0;
        assert!(weight("/etc/cron.d/x") > weight("/etc/hosts"));
        assert!(weight("/home/a/.bashrc") > weight("/home/a/notes"));
        assert!(weight("/home/a/notes") > weight("/tmp/x"));
        assert_eq!(written(Path::new("/tmp/x"), true).0, 100);
        assert!(socket("/run/docker.sock").0 > socket("/run/user/1000/bus").0);
    }
}
