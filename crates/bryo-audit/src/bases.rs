// SPDX-License-Identifier: Apache-2.0
//! What is known of images that are not at hand: whether they set a user, and what is there instead of those that do not.

/// Images and the user that they set, in the words of their own sources, without `docker.io/` and `library/`.
///
/// Sources, as of August 2026: `USER` in the Dockerfiles of nginxinc/docker-nginx-unprivileged, docker-library/haproxy,
/// docker-library/memcached, varnish/docker-varnish, apache/solr-docker, jenkinsci/docker, prometheus/prometheus,
/// prometheus/alertmanager, prometheus/node_exporter, grafana/grafana, elastic/elasticsearch and curl/curl-container.
const USERS: [(&str, &str); 15] = [
    ("nginxinc/nginx-unprivileged", "101"),
    ("haproxy", "haproxy"),
    ("memcached", "memcache"),
    ("varnish", "varnish"),
    ("solr", "8983"),
    ("jenkins/jenkins", "jenkins"),
    ("prom/prometheus", "nobody"),
    ("prom/alertmanager", "nobody"),
    ("prom/node-exporter", "nobody"),
    ("quay.io/prometheus/prometheus", "nobody"),
    ("grafana/grafana", "472"),
    ("grafana/grafana-oss", "472"),
    ("elasticsearch", "elasticsearch:root"),
    ("docker.elastic.co/elasticsearch/elasticsearch", "elasticsearch:root"),
    ("curlimages/curl", "curl_user"),
];

/// Images of `cgr.dev/chainguard` that run as 65532. Source: `run-as` in chainguard-images/images, August 2026, where
/// apko, bash, docker-dind, gcc-glibc, git, go, melange, postgres and wolfi-base run as root.
const CHAINGUARD: [&str; 41] = [
    "aspnet-runtime",
    "busybox",
    "chainctl",
    "cinc-auditor",
    "cosign",
    "crane",
    "curl",
    "dfc",
    "dive",
    "dotnet",
    "glibc-dynamic",
    "gradle",
    "grype",
    "helm",
    "hollywood",
    "hugo",
    "jdk",
    "jre",
    "ko",
    "kubectl",
    "laravel",
    "malcontent",
    "mariadb",
    "maven",
    "minio",
    "mongodb",
    "nginx",
    "node",
    "openscap",
    "opentelemetry-collector-contrib",
    "php",
    "python",
    "pytorch",
    "ruby",
    "rust",
    "static",
    "stunnel",
    "tomcat",
    "valkey",
    "wait-for-it",
    "wordpress",
];

/// Services of Software Collections, by the beginning of the last part of their names. Source: `USER` in the Dockerfiles
/// of sclorg/{httpd,nginx,redis,postgresql,mysql,mariadb}-container and of the builders for languages.
const COLLECTIONS: [(&str, &str); 13] = [
    ("httpd-", "1001"),
    ("nginx-", "1001"),
    ("redis-", "1001"),
    ("postgresql-", "26"),
    ("mysql-", "27"),
    ("mariadb-", "27"),
    ("nodejs-", "1001"),
    ("python-", "1001"),
    ("ruby-", "1001"),
    ("perl-", "1001"),
    ("php-", "1001"),
    ("go-toolset", "1001"),
    ("s2i-", "1001"),
];

/// Accounts of every system that are not root. Sources: base-passwd of Debian, alpine-baselayout of Alpine, setup of Fedora;
/// `nonroot` of images that have little else.
const SYSTEM_ACCOUNTS: [&str; 24] = [
    "_apt",
    "adm",
    "backup",
    "bin",
    "daemon",
    "ftp",
    "games",
    "guest",
    "irc",
    "list",
    "lp",
    "mail",
    "man",
    "news",
    "nobody",
    "nonroot",
    "operator",
    "proxy",
    "sshd",
    "sync",
    "sys",
    "systemd-network",
    "uucp",
    "www-data",
];

/// Accounts that images have, by what their names begin with. Sources: their own Dockerfiles, as for [`known_user`].
const ACCOUNTS: [(&str, &str); 44] = [
    ("cassandra", "cassandra"),
    ("cimg/", "circleci"),
    ("consul", "consul"),
    ("couchdb", "couchdb"),
    ("curlimages/curl", "curl_user"),
    ("cypress/", "node"),
    ("denoland/deno", "deno"),
    ("elasticsearch", "elasticsearch"),
    ("docker.elastic.co/elasticsearch/", "elasticsearch"),
    ("docker.elastic.co/kibana/", "kibana"),
    ("docker.elastic.co/logstash/", "logstash"),
    ("flink", "flink"),
    ("ghcr.io/puppeteer/puppeteer", "pptruser"),
    ("ghost", "node"),
    ("gradle", "gradle"),
    ("grafana/grafana", "grafana"),
    ("haproxy", "haproxy"),
    ("influxdb", "influxdb"),
    ("jenkins/", "jenkins"),
    ("jupyter/", "jovyan"),
    ("kibana", "kibana"),
    ("logstash", "logstash"),
    ("mariadb", "mysql"),
    ("mcr.microsoft.com/devcontainers/", "vscode"),
    ("mcr.microsoft.com/dotnet/", "app"),
    ("mcr.microsoft.com/playwright", "pwuser"),
    ("memcached", "memcache"),
    ("mongo", "mongodb"),
    ("mysql", "mysql"),
    ("nginx", "nginx"),
    ("nginxinc/", "nginx"),
    ("node", "node"),
    ("oven/bun", "bun"),
    ("percona", "mysql"),
    ("postgis/", "postgres"),
    ("postgres", "postgres"),
    ("quay.io/jupyter/", "jovyan"),
    ("rabbitmq", "rabbitmq"),
    ("redis", "redis"),
    ("solr", "solr"),
    ("sonarqube", "sonarqube"),
    ("ubuntu", "ubuntu"),
    ("valkey/", "valkey"),
    ("varnish", "varnish"),
];

/// Tells whether an image has an account of a name, and that is not root's.
pub fn has_account(image: &str, name: &str) -> bool {
    let (image, _) = split(image);
    let short = short(image);
    let is = |begin: &str| if begin.ends_with('/') { short.starts_with(begin) } else { short == begin };
    SYSTEM_ACCOUNTS.contains(&name) || ACCOUNTS.iter().any(|(begin, account)| *account == name && is(begin))
}

/// Accounts that packages make when they are installed, where those are not called as the packages are.
const PACKAGED: [(&str, &str); 12] = [
    ("apache2", "www-data"),
    ("bind9", "bind"),
    ("httpd", "apache"),
    ("mariadb", "mysql"),
    ("memcached", "memcache"),
    ("mongodb", "mongod"),
    ("openssh", "sshd"),
    ("php", "www-data"),
    ("postgresql", "postgres"),
    ("rabbitmq", "rabbitmq"),
    ("slapd", "openldap"),
    ("squid", "proxy"),
];

/// Returns what accounts a package makes are called: never one of root's.
pub fn accounts_of_package(package: &str) -> Vec<String> {
    let name = package.split(['=', '~', '<', '>', ':']).next().unwrap_or_default();
    let first = name.split('-').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let mapped = PACKAGED.iter().filter(|(known, _)| *known == first || *known == name).map(|(_, account)| *account);
    [name, first].into_iter().chain(mapped).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Returns the user that an image is known to set. Where variants of an image differ it is not known.
pub fn known_user(image: &str) -> Option<&'static str> {
    let (name, tag) = split(image);
    let nonroot = tag.contains("nonroot") || tag.contains("rootless") || tag.contains("unprivileged");
    let short = short(name);
    if let Some((_, user)) = USERS.iter().find(|(known, _)| *known == short) {
        // Older ones began as root.
        let old = match short {
            "haproxy" => ["1.", "2.0", "2.1", "2.2", "2.3"].iter().any(|old| tag.starts_with(old)),
            _ if short.ends_with("elasticsearch") => !tag.starts_with(['8', '9']),
            _ => false,
        };
        return (!old && !tag.contains("root")).then_some(user);
    }
    if name.contains("distroless/") && name.starts_with("gcr.io/") {
        return nonroot.then_some("65532");
    }
    if let Some(rest) = name.strip_prefix("cgr.dev/chainguard/") {
        return (CHAINGUARD.contains(&rest) && !tag.contains("root")).then_some("65532");
    }
    if name.starts_with("mcr.microsoft.com/dotnet/") {
        return (tag.contains("chiseled") || tag.contains("distroless")).then_some("1654");
    }
    if name.starts_with("quay.io/sclorg/") || name.starts_with("registry.access.redhat.com/") {
        let last = name.rsplit('/').next().unwrap_or_default();
        return COLLECTIONS.iter().find(|(begin, _)| last.starts_with(begin)).map(|(_, user)| *user);
    }
    (short == "moby/buildkit" && nonroot).then_some("1000:1000")
}

/// Takes Docker's own registry and its library from a name.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

/// Returns the unprivileged counterpart of an image that wants root.
pub fn twin(image: &str) -> Option<&'static str> {
    let (name, tag) = split(image);
    if tag.contains("unprivileged") || tag.contains("nonroot") || tag.contains("rootless") {
        return None;
    }
    let short = short(name);
    match short {
        "nginx" => Some("nginxinc/nginx-unprivileged"),
        "httpd" => Some("quay.io/sclorg/httpd-24-c9s"),
        "postgres" => Some("quay.io/sclorg/postgresql-16-c9s"),
        "mysql" => Some("quay.io/sclorg/mysql-80-c9s"),
        "mariadb" => Some("quay.io/sclorg/mariadb-1011-c9s"),
        "redis" => Some("quay.io/sclorg/redis-7-c9s"),
        _ if short.starts_with("gcr.io/distroless/") => Some("the same with the tag nonroot"),
        _ => None,
    }
}

/// Splits a reference into name and tag; a digest is left out.
pub fn split(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, ""),
    }
}

/// Tells whether a reference names exactly one image.
pub fn is_pinned(image: &str) -> bool {
    image.split_once('@').is_some_and(|(_, digest)| digest.split_once(':').is_some_and(|(_, hex)| hex.len() >= 32))
}

/// Returns the registry of a reference.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_images_are_known() {
        assert_eq!(known_user("gcr.io/distroless/static:nonroot"), Some("65532"));
        assert_eq!(known_user("gcr.io/distroless/static-debian12:nonroot@sha256:00"), Some("65532"));
        assert_eq!(known_user("gcr.io/distroless/static"), None);
        assert_eq!(known_user("debian:12"), None);
        assert_eq!(known_user("docker.io/library/haproxy:3.2"), Some("haproxy"));
        assert_eq!(known_user("haproxy:2.2-alpine"), None);
        assert_eq!(known_user("cgr.dev/chainguard/nginx:latest"), Some("65532"));
        for root in [
            "cgr.dev/chainguard/wolfi-base",
            "registry.access.redhat.com/ubi9/ubi-minimal:9.4",
            "evil.io/distroless/x:nonroot",
        ] {
            assert_eq!(known_user(root), None, "{root}");
        }
        assert_eq!(known_user("quay.io/sclorg/postgresql-16-c9s"), Some("26"));
        assert_eq!(known_user("registry.access.redhat.com/ubi9/nodejs-20"), Some("1001"));
        assert_eq!(known_user("mcr.microsoft.com/dotnet/aspnet:9.0-noble-chiseled-extra"), Some("1654"));
        assert_eq!(twin("docker.io/library/nginx:1.27"), Some("nginxinc/nginx-unprivileged"));
        assert_eq!(twin("nginxinc/nginx-unprivileged"), None);
    }

    #[test]
    fn references_are_taken_apart() {
        assert_eq!(split("localhost:5000/a"), ("localhost:5000/a", ""));
        assert_eq!(split("localhost:5000/a:b@sha256:c"), ("localhost:5000/a", "b"));
        assert_eq!((registry("a/b"), registry("x.y/b"), registry("localhost/b")), ("docker.io", "x.y", "localhost"));
        assert!(is_pinned(&format!("a@sha256:{}", "0".repeat(64))) && !is_pinned("a@sha256:") && !is_pinned("a:1"));
    }
}
