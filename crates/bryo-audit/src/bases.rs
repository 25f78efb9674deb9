// SPDX-License-Identifier: Apache-2.0
//! What is known of images that are not at hand: whether they set a user, and what is there instead of those that do not.

/// Returns the user that an image is known to set.
pub fn known_user(image: &str) -> Option<&'static str> {
    let (name, tag) = split(image);
    let nonroot = tag.contains("nonroot") || tag.contains("rootless") || tag.contains("unprivileged");
    let starts = |prefix: &str| name.starts_with(prefix);
    match name {
        _ if name.contains("distroless/") && nonroot => Some("65532"),
        _ if starts("cgr.dev/chainguard/") && !tag.contains("root") => Some("65532"),
        _ if starts("mcr.microsoft.com/dotnet/") && tag.contains("chiseled") && !tag.contains("extra-root") => {
            Some("1654")
        }
        _ if starts("registry.access.redhat.com/") && name.matches('/').count() == 2 && name.contains('-') => {
            Some("1001")
        }
        _ if starts("quay.io/sclorg/") => Some("1001"),
        "nginxinc/nginx-unprivileged" | "docker.io/nginxinc/nginx-unprivileged" => Some("101"),
        "grafana/grafana" => Some("472"),
        "prom/prometheus" | "prom/alertmanager" | "prom/node-exporter" => Some("nobody"),
        "jenkins/jenkins" => Some("jenkins"),
        "curlimages/curl" => Some("curl_user"),
        "moby/buildkit" if nonroot => Some("1000:1000"),
        _ => None,
    }
}

/// Returns the unprivileged counterpart of an image that wants root.
pub fn twin(image: &str) -> Option<&'static str> {
    let (name, tag) = split(image);
    if tag.contains("unprivileged") || tag.contains("nonroot") || tag.contains("rootless") {
        return None;
    }
    let short = name.strip_prefix("docker.io/").unwrap_or(name);
    match short.strip_prefix("library/").unwrap_or(short) {
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
