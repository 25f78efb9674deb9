// SPDX-License-Identifier: Apache-2.0
//! What the configuration of known services wants: another user, a low port.

use std::collections::BTreeMap;

use bryo_image::members::EntryKind;

use super::start::{Started, Step};
use super::{Cause, Reason, Remedy};
use crate::facts::image::{File, Image};

/// The largest file that is read for this, in bytes.
pub(super) const FILE_MAX: u64 = 256 << 10;

/// A service, and how its configuration reads.
struct Service {
    name: &'static str,
    programs: &'static [&'static str],
    dirs: &'static [&'static str],
    /// Directives that change the user.
    user: &'static [&'static str],
    /// Directives that name a port.
    listen: &'static [&'static str],
    /// What comes of the former where it is not root.
    fate: Fate,
}

/// What comes of a directive or a flag that changes the user, where the service is not root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// The service passes it over.
    Ignored,
    /// The service may become who it is: its own account is another name of the user.
    Named,
    /// The service fails by it, also as who it is to be: it gives its groups away, or shuts itself up. `harden` takes it
    /// out.
    TakenOut,
}

impl Fate {
    fn by(self) -> Remedy {
        if self == Self::Ignored { Remedy::Nobody } else { Remedy::Harden }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Ignored => "nothing: it is passed over, with a warning, by who is not root",
            Self::Named => "the service's names for the user itself, which it may become; or take it out",
            Self::TakenOut => "start as who it is to be and take it out, as bryo harden does",
        }
    }
}

/// Services that begin as root and become somebody else by a directive of their own.
const SERVICES: [Service; 12] = [
    Service {
        name: "nginx",
        programs: &["nginx"],
        dirs: &["etc/nginx/", "usr/local/nginx/conf/"],
        user: &["user"],
        listen: &["listen"],
        fate: Fate::Ignored,
    },
    Service {
        name: "apache",
        programs: &["apache2", "httpd", "apache2ctl", "apachectl", "httpd-foreground", "apache2-foreground"],
        dirs: &["etc/apache2/", "etc/httpd/", "usr/local/apache2/conf/"],
        user: &["User", "Group"],
        listen: &["Listen"],
        fate: Fate::Ignored,
    },
    Service {
        name: "php-fpm",
        programs: &["php-fpm", "php-fpm7.4", "php-fpm8.2", "php-fpm8.3", "php-fpm8.4"],
        dirs: &["etc/php/", "etc/php-fpm", "usr/local/etc/php-fpm"],
        user: &["user", "group"],
        listen: &[],
        fate: Fate::Ignored,
    },
    Service {
        name: "mysql",
        programs: &["mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe"],
        dirs: &["etc/mysql/", "etc/my.cnf"],
        user: &["user"],
        listen: &[],
        fate: Fate::Ignored,
    },
    Service {
        name: "squid",
        programs: &["squid"],
        dirs: &["etc/squid/"],
        user: &["cache_effective_user", "cache_effective_group"],
        listen: &["http_port"],
        fate: Fate::Ignored,
    },
    Service {
        name: "supervisor",
        programs: &["supervisord"],
        dirs: &["etc/supervisor", "etc/supervisord"],
        user: &["user"],
        listen: &[],
        fate: Fate::TakenOut,
    },
    Service {
        name: "haproxy",
        programs: &["haproxy"],
        dirs: &["etc/haproxy/", "usr/local/etc/haproxy/"],
        user: &["user", "group"],
        listen: &["bind"],
        fate: Fate::Named,
    },
    Service {
        name: "haproxy",
        programs: &["haproxy"],
        dirs: &["etc/haproxy/", "usr/local/etc/haproxy/"],
        user: &["chroot"],
        listen: &[],
        fate: Fate::TakenOut,
    },
    Service {
        name: "unbound",
        programs: &["unbound"],
        dirs: &["etc/unbound/"],
        user: &["username:"],
        listen: &["port:"],
        fate: Fate::Named,
    },
    Service {
        name: "knot",
        programs: &["knotd"],
        dirs: &["etc/knot/"],
        user: &["user:"],
        listen: &[],
        fate: Fate::Named,
    },
    Service {
        // It gives its groups away for each transfer, and does without only where it is to become nobody.
        name: "rsync",
        programs: &["rsync"],
        dirs: &["etc/rsyncd.conf", "etc/rsyncd.d/"],
        user: &["uid", "gid"],
        listen: &["port"],
        fate: Fate::TakenOut,
    },
    Service {
        name: "redis",
        programs: &["redis-server", "valkey-server"],
        dirs: &["etc/redis", "etc/valkey"],
        user: &[],
        listen: &["port"],
        fate: Fate::Ignored,
    },
];

/// Flags of programs that change the user, and what the program does with them when it is not root.
const FLAGS: [(&str, &[&str], Fate); 6] = [
    ("memcached", &["-u", "--user"], Fate::Ignored),
    ("mysqld", &["--user", "-u"], Fate::Ignored),
    ("mariadbd", &["--user", "-u"], Fate::Ignored),
    ("named", &["-u"], Fate::Named),
    ("slapd", &["-u"], Fate::Named),
    ("privoxy", &["--user"], Fate::TakenOut),
];

/// Tells whether a file may be configuration of a service that is known here.
pub(super) fn is_configuration(path: &str) -> bool {
    SERVICES.iter().flat_map(|service| service.dirs).any(|dir| path.starts_with(dir))
}

pub(super) fn reasons(image: &Image, started: &Started) -> Vec<Reason> {
    let mut found = Vec::new();
    for port in image.names("ExposedPorts") {
        if let Some(number @ 1..1024) = port.split('/').next().and_then(|port| port.parse::<u16>().ok()) {
            found.push(low_port(format!("EXPOSE {port}"), number));
        }
    }
    for step in &started.steps {
        if let Some((_, fate)) = flags(step) {
            let what = format!("changes the user: {}", step.command.shown());
            let by = if fate == Fate::TakenOut && out_of_reach(step) { Remedy::Author } else { fate.by() };
            found.push(Reason::new(Cause::UserDirective, what, by, fate.remedy()));
        }
    }
    for service in services(image, started) {
        configuration(image, service, &mut found);
    }
    found
}

/// Returns the flags by which a command changes the user, and what comes of them.
pub(super) fn flags(step: &Step) -> Option<(&'static [&'static str], Fate)> {
    let (_, flags, fate) = FLAGS.iter().find(|(program, ..)| step.command.program() == *program)?;
    step.command.value(flags).map(|_| (*flags, *fate))
}

/// Tells whether nobody can put another program in a command's way: a script calls it by its path.
pub(super) fn out_of_reach(step: &Step) -> bool {
    step.at.is_some() && step.command.words[0].contains('/')
}

/// Lists the services that the start names. One that is no script says nothing of what it starts: then all that are
/// there count.
fn services(image: &Image, started: &Started) -> Vec<&'static Service> {
    let named: Vec<&Service> = SERVICES.iter().filter(|s| s.programs.iter().any(|p| started.names(p))).collect();
    let there = |service: &&Service| service.programs.iter().any(|program| image.program(program).is_some());
    if named.is_empty() { SERVICES.iter().filter(there).collect() } else { named }
}

/// Lists the lines of configuration, from 0, that a service fails by where it is not root.
pub(super) fn failing<'a>(image: &'a Image, started: &Started) -> Vec<(String, &'a [u8], Vec<usize>)> {
    let services = services(image, started).into_iter().filter(|service| service.fate == Fate::TakenOut);
    let mut found = Vec::new();
    for service in services {
        for (path, content) in files(image, service) {
            let text = String::from_utf8_lossy(content);
            let lines: Vec<usize> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| service.changes_user(&words(line)))
                .map(|(n, _)| n)
                .collect();
            if !lines.is_empty() {
                found.push((path, content, lines));
            }
        }
    }
    found
}

impl Service {
    fn changes_user(&self, words: &[&str]) -> bool {
        words.len() > 1 && self.user.contains(&words[0])
    }
}

/// Lists a service's files of configuration. What is there to be chosen from is not what is read, but where a link
/// among those enabled leads to it.
fn files<'a>(image: &'a Image, service: &Service) -> BTreeMap<String, &'a [u8]> {
    let own = |path: &str| service.dirs.iter().any(|dir| path.starts_with(dir)) && !path.contains("-available/");
    let read = |(path, file): (&String, &'a File)| {
        let (path, file) = match file.kind {
            EntryKind::Symlink => image.find(path)?,
            _ => (path.clone(), file),
        };
        Some((path, file.content.as_deref().filter(|_| file.kind == EntryKind::File)?))
    };
    image.files.iter().filter(|(path, _)| own(path)).filter_map(read).collect()
}

fn low_port(what: String, number: u16) -> Reason {
    let remedy = "a sysctl of the container's own network: net.ipv4.ip_unprivileged_port_start=0, as bryo sets it";
    Reason::new(Cause::LowPort, format!("{what}: port {number} is below 1024"), Remedy::Harden, remedy)
}

fn configuration(image: &Image, service: &Service, found: &mut Vec<Reason>) {
    for (path, content) in files(image, service) {
        for (at, line) in String::from_utf8_lossy(content).lines().enumerate() {
            let words = words(line);
            let Some(first) = words.first() else { continue };
            if service.changes_user(&words) {
                let what = format!("{}: {}", service.name, line.trim());
                let reason = Reason::new(Cause::UserDirective, what, service.fate.by(), service.fate.remedy());
                found.push(reason.at(image, &path, Some(at + 1)));
            } else if service.listen.contains(first)
                && let Some(number @ 1..1024) = words.get(1).and_then(|word| port(word))
            {
                let what = format!("{}: {}", service.name, line.trim());
                found.push(low_port(what, number).at(image, &path, Some(at + 1)));
            }
        }
    }
}

/// Splits a line into its words, by blanks and `=`; a remark has none.
fn words(line: &str) -> Vec<&str> {
    let line = line.trim();
    if line.starts_with(['#', ';', '[']) {
        return Vec::new();
    }
    line.split(|c: char| c.is_whitespace() || c == '=' || c == ';').filter(|word| !word.is_empty()).collect()
}

/// Returns the port of `80`, `*:80`, `0.0.0.0:80` or `[::]:80`.
fn port(word: &str) -> Option<u16> {
    word.rsplit(':').next()?.parse().ok()
}
