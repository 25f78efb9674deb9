// SPDX-License-Identifier: Apache-2.0
//! What the configuration of known services wants: another user, a low port.

use bryo_image::members::EntryKind;

use super::start::Started;
use super::{Cause, Reason, Remedy};
use crate::facts::image::Image;

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
    /// What it does with the former when it is not root.
    by: Remedy,
    remedy: &'static str,
}

const IGNORED: &str = "nothing: it is passed over, with a warning, by who is not root";
const TAKE_OUT: &str = "take the directive out of the file";
const NAMED: &str = "the service's names for the user itself, which it may become; or take it out";

/// Services that begin as root and become somebody else by a directive of their own.
const SERVICES: [Service; 12] = [
    Service {
        name: "nginx",
        programs: &["nginx"],
        dirs: &["etc/nginx/", "usr/local/nginx/conf/"],
        user: &["user"],
        listen: &["listen"],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
    Service {
        name: "apache",
        programs: &["apache2", "httpd", "apache2ctl", "apachectl", "httpd-foreground", "apache2-foreground"],
        dirs: &["etc/apache2/", "etc/httpd/", "usr/local/apache2/conf/"],
        user: &["User", "Group"],
        listen: &["Listen"],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
    Service {
        name: "php-fpm",
        programs: &["php-fpm", "php-fpm7.4", "php-fpm8.2", "php-fpm8.3", "php-fpm8.4"],
        dirs: &["etc/php/", "etc/php-fpm", "usr/local/etc/php-fpm"],
        user: &["user", "group"],
        listen: &[],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
    Service {
        name: "mysql",
        programs: &["mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe"],
        dirs: &["etc/mysql/", "etc/my.cnf"],
        user: &["user"],
        listen: &[],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
    Service {
        name: "squid",
        programs: &["squid"],
        dirs: &["etc/squid/"],
        user: &["cache_effective_user", "cache_effective_group"],
        listen: &["http_port"],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
    Service {
        name: "supervisor",
        programs: &["supervisord"],
        dirs: &["etc/supervisor", "etc/supervisord"],
        user: &["user"],
        listen: &[],
        by: Remedy::Author,
        remedy: TAKE_OUT,
    },
    Service {
        name: "haproxy",
        programs: &["haproxy"],
        dirs: &["etc/haproxy/", "usr/local/etc/haproxy/"],
        user: &["user", "group"],
        listen: &["bind"],
        by: Remedy::Harden,
        remedy: NAMED,
    },
    Service {
        name: "haproxy",
        programs: &["haproxy"],
        dirs: &["etc/haproxy/", "usr/local/etc/haproxy/"],
        user: &["chroot"],
        listen: &[],
        by: Remedy::Author,
        remedy: TAKE_OUT,
    },
    Service {
        name: "unbound",
        programs: &["unbound"],
        dirs: &["etc/unbound/"],
        user: &["username:"],
        listen: &["port:"],
        by: Remedy::Harden,
        remedy: NAMED,
    },
    Service {
        name: "knot",
        programs: &["knotd"],
        dirs: &["etc/knot/"],
        user: &["user:"],
        listen: &[],
        by: Remedy::Harden,
        remedy: NAMED,
    },
    Service {
        // It gives its groups away for each transfer, and does without only where it is to become nobody.
        name: "rsync",
        programs: &["rsync"],
        dirs: &["etc/rsyncd.conf", "etc/rsyncd.d/"],
        user: &["uid", "gid"],
        listen: &["port"],
        by: Remedy::Author,
        remedy: TAKE_OUT,
    },
    Service {
        name: "redis",
        programs: &["redis-server", "valkey-server"],
        dirs: &["etc/redis", "etc/valkey"],
        user: &[],
        listen: &["port"],
        by: Remedy::Nobody,
        remedy: IGNORED,
    },
];

/// Flags of programs that change the user, and what the program does with them when it is not root.
const FLAGS: [(&str, &[&str], Remedy); 6] = [
    ("memcached", &["-u", "--user"], Remedy::Nobody),
    ("mysqld", &["--user", "-u"], Remedy::Nobody),
    ("mariadbd", &["--user", "-u"], Remedy::Nobody),
    ("named", &["-u"], Remedy::Harden),
    ("slapd", &["-u"], Remedy::Harden),
    ("privoxy", &["--user"], Remedy::Author),
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
        let flag = FLAGS.iter().find(|(program, ..)| step.command.program() == *program);
        if let Some((_, flags, by)) = flag
            && step.command.value(flags).is_some()
        {
            let what = format!("changes the user: {}", step.command.shown());
            let remedy = match by {
                Remedy::Nobody => IGNORED,
                Remedy::Harden => NAMED,
                Remedy::Author => "take the flag out",
            };
            found.push(Reason::new(Cause::UserDirective, what, *by, remedy));
        }
    }
    // A start that is no script says nothing of what it starts: then all that are there count.
    let named: Vec<&Service> = SERVICES.iter().filter(|s| s.programs.iter().any(|p| started.names(p))).collect();
    let there = |service: &&Service| service.programs.iter().any(|program| image.program(program).is_some());
    let services = if named.is_empty() { SERVICES.iter().filter(there).collect() } else { named };
    for service in services {
        configuration(image, service, &mut found);
    }
    found
}

fn low_port(what: String, number: u16) -> Reason {
    let remedy = "a sysctl of the container's own network: net.ipv4.ip_unprivileged_port_start=0, as bryo sets it";
    Reason::new(Cause::LowPort, format!("{what}: port {number} is below 1024"), Remedy::Harden, remedy)
}

fn configuration(image: &Image, service: &Service, found: &mut Vec<Reason>) {
    let files = image
        .files
        .iter()
        .filter(|(path, file)| file.kind == EntryKind::File && service.dirs.iter().any(|dir| path.starts_with(dir)));
    for (path, file) in files {
        // What is there to be chosen from is not what is read.
        let Some(content) = file.content.as_deref().filter(|_| !path.contains("-available/")) else { continue };
        for (at, line) in String::from_utf8_lossy(content).lines().enumerate() {
            let words = words(line);
            let Some(first) = words.first() else { continue };
            if service.user.contains(first) && words.len() > 1 {
                let what = format!("{}: {}", service.name, line.trim());
                let reason = Reason::new(Cause::UserDirective, what, service.by, service.remedy);
                found.push(reason.at(image, path, Some(at + 1)));
            } else if service.listen.contains(first)
                && let Some(number @ 1..1024) = words.get(1).and_then(|word| port(word))
            {
                let what = format!("{}: {}", service.name, line.trim());
                found.push(low_port(what, number).at(image, path, Some(at + 1)));
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
