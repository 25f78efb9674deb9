// SPDX-License-Identifier: Apache-2.0
//! Stock services from Debian packages, as images in the shape of their upstream ones: they declare root, keep their
//! state below `/var`, and some want to become somebody else on the way. Nothing in them knows of bryo.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::host::Process;
use crate::images::{cached, path, rootfs};
use crate::layout::Image;
use crate::program::{Output, Running, tool};
use crate::tar::{Entry, Tar};
use crate::user::User;

/// A service: how its image is made, and what it answers.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its name and that of its image.
    pub name: &'static str,
    packages: &'static [&'static str],
    config: fn() -> Value,
    layer: fn(&Accounts) -> Tar,
    /// The port it listens on.
    pub port: u16,
    /// What is sent to it, in the escapes of `printf`.
    pub question: &'static str,
    /// What its answer holds.
    pub answer: &'static str,
}

/// The accounts of an image: what its packages made.
#[derive(Debug)]
struct Accounts(String);

impl Accounts {
    fn ids(&self, name: &str) -> (u32, u32) {
        let line = self.0.lines().find(|l| l.split(':').next() == Some(name)).unwrap();
        let field = |n: usize| line.split(':').nth(n).unwrap().parse().unwrap();
        (field(2), field(3))
    }
}

/// All of them.
pub const ALL: [Service; 6] = [
    Service {
        name: "nginx",
        packages: &["nginx-light"],
        config: || json!({"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"}),
        layer: |_| {
            Tar::default()
                .symlink("var/log/nginx/access.log", "/dev/stdout")
                .symlink("var/log/nginx/error.log", "/dev/stderr")
        },
        port: 80,
        question: r"GET / HTTP/1.0\r\n\r\n",
        answer: "200 OK",
    },
    Service {
        name: "redis",
        packages: &["redis-server"],
        config: || {
            json!({"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["redis-server"], "WorkingDir": "/data",
                   "Volumes": {"/data": {}}, "ExposedPorts": {"6379/tcp": {}}})
        },
        layer: |accounts| {
            let script = "#!/bin/sh\nset -e\n\
                if [ \"$1\" = redis-server ] && [ \"$(id -u)\" = 0 ]; then\n\
                \tfind . \\! -user redis -exec chown redis '{}' +\n\
                \texec setpriv --reuid=redis --regid=redis --clear-groups \"$0\" \"$@\"\nfi\n\
                umask 0077\nexec \"$@\"\n";
            Tar::default().owned_dir("data/", 0o755, accounts.ids("redis")).file(
                "usr/local/bin/docker-entrypoint.sh",
                0o755,
                script.as_bytes(),
            )
        },
        port: 6379,
        question: r"SET key nobody\r\nGET key\r\nSAVE\r\nQUIT\r\n",
        answer: "nobody\r\n+OK",
    },
    Service {
        name: "postgres",
        packages: &["postgresql"],
        config: || {
            json!({"Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres"], "StopSignal": "SIGINT",
                   "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
                           "PGDATA=/var/lib/postgresql/data", "POSTGRES_USER=postgres"],
                   "Volumes": {"/var/lib/postgresql/data": {}}, "ExposedPorts": {"5432/tcp": {}}})
        },
        layer: |accounts| {
            let postgres = accounts.ids("postgres");
            let script = "#!/bin/bash\nset -Eeo pipefail\n\
                if [ \"$(id -u)\" = 0 ]; then\n\
                \tmkdir -p \"$PGDATA\"\n\tchmod 00700 \"$PGDATA\"\n\tfind \"$PGDATA\" \\! -user postgres -exec chown postgres '{}' +\n\
                \texec setpriv --reuid=postgres --regid=postgres --init-groups \"$BASH_SOURCE\" \"$@\"\nfi\n\
                mkdir -p \"$PGDATA\"\nchmod 00700 \"$PGDATA\" || :\n\
                if [ ! -s \"$PGDATA/PG_VERSION\" ]; then\n\
                \tinitdb --username=\"$POSTGRES_USER\" --auth-host=trust --no-sync >/dev/null\n\
                \techo 'host all all all trust' >> \"$PGDATA/pg_hba.conf\"\nfi\n\
                exec \"$@\"\n";
            let run = Entry { name: "run/postgresql/", kind: b'5', mode: 0o3777, ids: postgres, link: "", data: b"" };
            Tar::default().file("usr/local/bin/docker-entrypoint.sh", 0o755, script.as_bytes()).entry(run).owned_dir(
                "var/lib/postgresql/data/",
                0o1777,
                postgres,
            )
        },
        port: 5432,
        question: POSTGRES_QUERY,
        answer: "4711",
    },
    Service {
        // The cluster that Debian's package makes, with its configuration below /etc and its own starter.
        name: "postgres-debian",
        packages: &["postgresql"],
        config: || {
            json!({"Cmd": ["pg_ctlcluster", "--foreground", "15", "main", "start"],
                   "Env": [path(), "LANG=C.UTF-8"], "ExposedPorts": {"5432/tcp": {}}})
        },
        layer: |accounts| Tar::default().owned_dir("run/postgresql/", 0o2775, accounts.ids("postgres")),
        port: 5432,
        question: POSTGRES_QUERY,
        // It asks for a password, which is an answer.
        answer: "SCRAM-SHA-256",
    },
    Service {
        name: "apache2",
        packages: &["apache2"],
        config: || json!({"Cmd": ["apache2ctl", "-D", "FOREGROUND"], "ExposedPorts": {"80/tcp": {}}}),
        layer: |_| Tar::default(),
        port: 80,
        question: r"GET / HTTP/1.0\r\n\r\n",
        answer: "200 OK",
    },
    Service {
        name: "memcached",
        packages: &["memcached"],
        config: || json!({"Cmd": ["memcached", "-u", "memcache"], "ExposedPorts": {"11211/tcp": {}}}),
        layer: |_| Tar::default(),
        port: 11211,
        question: r"version\r\nquit\r\n",
        answer: "VERSION 1.",
    },
];

/// A start-up message for `postgres` on the database `postgres`, the query `select 4711`, and the end.
/// Source: PostgreSQL, "Message Formats".
const POSTGRES_QUERY: &str = concat!(
    r"\000\000\000\051\000\003\000\000user\000postgres\000database\000postgres\000\000",
    r"Q\000\000\000\020select 4711\000X\000\000\000\004"
);

impl Service {
    /// Finds one by its name.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn named(name: &str) -> Self {
        *ALL.iter().find(|s| s.name == name).unwrap()
    }

    /// The name of its image.
    pub fn image(&self) -> String {
        format!("localhost/{}:latest", self.name)
    }

    /// Its image as an archive; `None` (and a skip) where Debian's packages cannot be had.
    pub fn archive(&self) -> Option<PathBuf> {
        let rootfs = rootfs(self.packages[0], self.packages)?;
        Some(cached(&format!("service-{}-1", self.name), |file| {
            let accounts = Accounts(tool("tar", &["-xOf", rootfs.to_str().unwrap(), "./etc/passwd"]));
            let mut config = (self.config)();
            if config["Env"].is_null() {
                config["Env"] = json!([path()]);
            }
            let layers = vec![fs::read(&rootfs).unwrap(), (self.layer)(&accounts).finish()];
            Image::new(&self.image(), layers, config).archive(file);
        }))
    }

    /// Asks the service in a process' network, from the host: joins the network namespace as its owner and connects
    /// to the loopback inside.
    pub fn ask(&self, user: &User, home: &std::path::Path, inside: Process) -> Output {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && printf '{}' >&3 && timeout 5 cat <&3 | tr '\\0' ' '",
            self.port, self.question
        );
        let target = inside.0.to_string();
        let mut command = user.command(home, "nsenter");
        command.args(["--target", &target, "--user", "--net", "--preserve-credentials", "bash", "-c", &script]);
        Running::start(command, false).wait()
    }
}
