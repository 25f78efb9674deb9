// SPDX-License-Identifier: Apache-2.0
//! What would satisfy a refused call: a flag, a line of a Dockerfile, a volume.
//!
//! Guarantees: no remedy opens a secret, gives away what package managers and the system keep, or names what a build
//! could not do.

use std::path::Path;

use super::Refusal;
use super::sentence::Setting;
use super::table::Verb;
use crate::derive::{KEPT, PACKAGES};
use crate::shell::quoted;

/// Secrets, and files that say who is who; with all that is below them.
const SECRETS: [&str; 16] = [
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/security/opasswd",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/machine-id",
    "/etc/passwd-",
    "/etc/group-",
    "/root",
    "/var/lib/sss",
    "/var/lib/private",
];

/// What accounts and packages are changed by, besides what package managers keep.
const MANAGED: [&str; 14] = [
    "/etc/.pwd.lock",
    "/etc/passwd",
    "/etc/group",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/apt",
    "/etc/apk",
    "/etc/yum.repos.d",
    "/etc/ld.so.cache",
    "/lib/apk",
    "/usr/lib/apk",
    "/usr/lib/sysimage",
    "/var/log/apt",
    "/var/log/dpkg.log",
];

/// The system's programs and settings.
const SYSTEM: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/boot", "/etc"];

/// What is the kernel's, and has no owner in an image.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// State, of which `harden` gives what a service needs.
const STATE: [&str; 3] = ["/var", "/run", "/srv"];

fn is_in(object: &str, dirs: &[&str]) -> bool {
    dirs.iter().any(|dir| Path::new(object).starts_with(dir))
}

/// Says what would satisfy it.
pub(super) fn remedy(refusal: &Refusal, setting: Setting<'_>) -> String {
    if refusal.errno == "EINVAL" {
        return "the container does not have this id: bryo doctor says how the caller gets more than one".to_owned();
    }
    let object = refusal.object.as_deref().unwrap_or("PATH");
    if of_file(refusal.verb) {
        return apart(refusal, object).unwrap_or_else(|| file(refusal, object));
    }
    privilege(refusal, object, setting)
}

fn of_file(verb: Verb) -> bool {
    let contents = matches!(verb, Verb::Read | Verb::Write | Verb::Create | Verb::Remove | Verb::Rename);
    contents || matches!(verb, Verb::Change | Verb::Own | Verb::Execute | Verb::Enter)
}

/// Speaks of what nobody is to be given.
fn apart(refusal: &Refusal, object: &str) -> Option<String> {
    let changes = !matches!(refusal.verb, Verb::Read | Verb::Execute | Verb::Enter);
    if is_in(object, &KERNELS) && !object.starts_with("/dev/shm/") {
        return Some(
            "it is the kernel's: leave it out; --device gives a device of the host that the caller has".to_owned(),
        );
    }
    if is_in(object, &SECRETS) {
        return Some(
            "nothing: it is a secret of the system, which must not be opened; leave out what asks for it".to_owned(),
        );
    }
    if changes && (is_in(object, &PACKAGES) || is_in(object, &MANAGED)) {
        let what = "nothing: packages and accounts are for the build: a RUN in the Dockerfile, as root there";
        return Some(what.to_owned());
    }
    if changes && refusal.verb != Verb::Own && is_in(object, &SYSTEM) {
        let what = "do it in the build, where root does it; what changes from run to run belongs into a volume";
        let open = if refusal.errno == "EROFS" { "; --writable opens the whole root for one run" } else { "" };
        return Some(format!("{what}{open}"));
    }
    None
}

/// Speaks of files of the image.
fn file(refusal: &Refusal, path: &str) -> String {
    let (uid, gid) = (refusal.uid, refusal.gid);
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| if dir.is_empty() { "/" } else { dir });
    let read_only = refusal.errno == "EROFS";
    // The program chose the name, and what is said here is there to be copied.
    let (object, dir) = (quoted(path), quoted(dir));
    let hardens =
        if is_in(path, &STATE) && !is_in(path, &KEPT) { "; bryo harden does it for state directories" } else { "" };
    match refusal.verb {
        _ if !path.starts_with('/') => "what it is cannot be told: look for it in the program's own words".to_owned(),
        Verb::Create if dir == "/" && refusal.call.starts_with("mkdir") => {
            format!("in the image: RUN mkdir {object} && chown {uid}:{gid} {object}, and -v NAME:{object}; or --writable")
        }
        // Where it is started is where most programs write to that name no directory.
        Verb::Write | Verb::Create | Verb::Remove | Verb::Rename | Verb::Change if dir == "/" => {
            "another working directory: WORKDIR in the image, or -w DIR, with a state directory or a volume; or tell the \
             program another path"
                .to_owned()
        }
        Verb::Write | Verb::Create | Verb::Remove | Verb::Rename | Verb::Change if read_only => format!(
            "-v NAME:{dir} keeps what is written there, --tmpfs {dir} holds it for one run, --writable opens the whole root"
        ),
        Verb::Read => format!("in the image: RUN chmod o+rX {object}, or RUN chgrp {gid} and chmod g+rX"),
        Verb::Write => format!("in the image: RUN chown {uid}:{gid} {object}{hardens}"),
        Verb::Create | Verb::Remove | Verb::Rename => {
            format!("in the image: RUN chown {uid}:{gid} {dir}; or -v NAME:{dir}, a volume of its own{hardens}")
        }
        Verb::Change => format!("only its owner may; in the image: RUN chown {uid}:{gid} {object}{hardens}"),
        Verb::Own if read_only => format!(
            "in the image: COPY --chown or RUN chown, once, in place of a chown at the start; or -v NAME:{object}"
        ),
        Verb::Own => format!(
            "what belongs to {uid}:{gid} from the start need not be given away: COPY --chown={uid}:{gid} or RUN chown in the \
             image, or bryo harden"
        ),
        Verb::Execute => format!("in the image: RUN chmod a+rx {object}; nothing below a noexec --tmpfs runs without :exec"),
        _ => format!("in the image: RUN chmod o+x {object}; or -w DIR for another working directory"),
    }
}

/// Speaks of what is not a file's.
fn privilege(refusal: &Refusal, object: &str, setting: Setting<'_>) -> String {
    let (uid, gid) = (refusal.uid, refusal.gid);
    match refusal.verb {
        Verb::Bind if !setting.own_network => {
            "a network of its own (leave --network host out, and publish with -p) has no privileged ports; or a port from \
             1024 on. No flag opens the host's"
                .to_owned()
        }
        Verb::Bind | Verb::Listen => "another address or port; -p publishes any of them under any other".to_owned(),
        Verb::Connect => format!("what is at {object} must be open to {uid}:{gid}"),
        Verb::User | Verb::Group => format!(
            "it is {uid}:{gid} already: start as who it is to be (--user, or USER in the image) and leave the change out, \
             which bryo harden does for gosu and its like; --user root lets it change"
        ),
        Verb::Signal => format!("the other process is not {uid}'s: start both as one user"),
        Verb::Device => "nobody in a user namespace can make devices: leave it out; /dev has what is harmless".to_owned(),
        Verb::Root => "--user root --cap-add SYS_CHROOT; the container has a root of its own already".to_owned(),
        Verb::Mount => "-v or --tmpfs mounts it before the program starts; --cap-add SYS_ADMIN lets it mount itself, inside"
            .to_owned(),
        Verb::Socket if object.contains("raw") || object.contains("link-layer") => "--cap-add NET_RAW".to_owned(),
        Verb::Name => "--hostname NAME, before it starts".to_owned(),
        Verb::Clock => "only root of the host sets the clock: run what keeps time there, and leave it out here".to_owned(),
        Verb::Limit => "--ulimit NAME=SOFT:HARD, before it starts".to_owned(),
        Verb::Priority => "leave it out, or --cpu-shares; priorities are the host's to give".to_owned(),
        Verb::Inspect => "--cap-add SYS_PTRACE, which ends at the container".to_owned(),
        Verb::Memory => "--ulimit memlock=-1, as far as the caller's own limit goes".to_owned(),
        Verb::Privilege => "nothing: it has no privileges to change; leave the change out".to_owned(),
        Verb::Kernel => "only root of the host: leave it out".to_owned(),
        _ if !setting.permits(&refusal.call) => format!(
            "the system call filter refuses {}: --security-opt seccomp=FILE with a profile that permits it",
            refusal.call
        ),
        _ => "--user root has a few capabilities inside, and --cap-add gives single ones; still nobody on the host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sentence::tests::refusal;
    use super::*;

    fn told(call: &str, verb: Verb, errno: &str, object: &str) -> String {
        remedy(&refusal(call, verb, errno, object), Setting { own_network: true, filter: None })
    }

    #[test]
    fn a_call_that_the_filter_refuses_is_told_apart() {
        let filter = crate::profile::default(&[]);
        let told = |call| {
            remedy(&refusal(call, Verb::Other, "EPERM", "x"), Setting { own_network: true, filter: Some(&filter) })
        };
        assert!(told("fanotify_init").contains("filter") && !told("getpid").contains("filter"));
    }

    #[test]
    fn no_remedy_gives_away_what_is_the_systems() {
        use Verb::{Change, Create, Own, Read, Remove, Rename, Write};
        let of_all = [
            "/etc/shadow",
            "/etc/gshadow-",
            "/etc/sudoers.d/x",
            "/etc/ssh/ssh_host_rsa_key",
            "/root/.ssh/id",
            "/proc/1/environ",
            "/sys/x",
            "/dev/kmsg",
        ];
        for object in of_all {
            for verb in [Read, Write, Create, Remove, Rename, Change, Own, Verb::Execute, Verb::Enter] {
                for errno in ["EACCES", "EPERM", "EROFS"] {
                    let said = told("openat", verb, errno, object);
                    assert!(
                        !said.contains("chmod") && !said.contains("chown") && !said.contains("-v "),
                        "{object}: {said}"
                    );
                }
            }
        }
        let of_writers = [
            "/etc/.pwd.lock",
            "/etc/passwd",
            "/var/lib/dpkg/lock-frontend",
            "/var/cache/apt/archives/lock",
            "/var/lib/apt/lists",
            "/usr/bin/x",
            "/usr/lib/x.so",
            "/etc/motd",
            "/lib/apk/db/lock",
        ];
        for object in of_writers {
            for verb in [Write, Create, Remove, Rename, Change] {
                for errno in ["EACCES", "EROFS"] {
                    let said = told("openat", verb, errno, object);
                    let none = ["chmod", "chown", "harden", "-v ", "--tmpfs"].iter().all(|word| !said.contains(word));
                    assert!(none && said.contains("build"), "{object}: {said}");
                }
            }
        }
        // Positive controls: what is no such thing.
        assert!(told("openat", Read, "EACCES", "/app/x").contains("chmod o+rX /app/x"));
        assert!(told("openat", Read, "EACCES", "/etc/app.conf").contains("chmod o+rX /etc/app.conf"));
        assert!(
            told("openat", Write, "EACCES", "/var/lib/app/x").contains("chown 65532:65532 /var/lib/app/x; bryo harden")
        );
        let page = told("openat", Write, "EACCES", "/var/www/x");
        assert!(page.contains("chown") && !page.contains("harden"), "{page}");
    }

    #[test]
    fn what_is_not_there_needs_its_directory_and_what_lies_in_the_root_another() {
        let said = told("openat", Verb::Create, "EACCES", "/srv/app/state.db");
        assert!(said.contains("chown 65532:65532 /srv/app;") && !said.contains("state.db"), "{said}");
        for verb in [Verb::Write, Verb::Create, Verb::Rename] {
            let said = told("openat", verb, "EROFS", "/temp-1.rdb");
            assert!(said.contains("WORKDIR") && !said.contains("--writable") && !said.contains("mkdir"), "{said}");
        }
        assert!(told("mkdirat", Verb::Create, "EROFS", "/data").contains("RUN mkdir /data"));
    }
}
