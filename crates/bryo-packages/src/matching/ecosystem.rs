// SPDX-License-Identifier: Apache-2.0
//! Whose advisories count for which packages. Source: Open Source Vulnerability format, "Defined ecosystems".

use crate::advisories::debian;
use crate::package::{Distro, Package, Type};
use crate::readers::pip;

/// Returns the name and the version under which a package has advisories: Debian and Alpine speak of what packages are
/// built from.
pub(super) fn lookup(package: &Package) -> (String, String) {
    match package.kind {
        Type::Deb | Type::Apk => {
            let (name, version) = package.origin();
            (name.to_owned(), version.to_owned())
        }
        Type::Pypi => (pip::normal(&package.name), package.version.clone()),
        _ => (package.name.clone(), package.version.clone()),
    }
}

/// Tells whether an ecosystem's advisories count for packages of a type, on a distribution.
pub(super) fn fits(ecosystem: &str, kind: Type, distro: Option<&Distro>) -> bool {
    match kind {
        Type::Pypi => ecosystem == "PyPI",
        Type::Npm => ecosystem == "npm",
        Type::Gem => ecosystem == "RubyGems",
        Type::Cargo => ecosystem == "crates.io",
        Type::Golang => ecosystem == "Go",
        Type::Deb | Type::Apk | Type::Rpm => distro.is_some_and(|distro| fits_system(ecosystem, kind, distro)),
    }
}

/// Returns the source that has advisories for packages of a type, on a distribution, by the name that it is fetched by.
pub(super) fn source(kind: Type, distro: Option<&Distro>) -> Option<String> {
    Some(match (kind, distro.map(|distro| distro.id.as_str())) {
        (Type::Pypi, _) => "osv:PyPI".to_owned(),
        (Type::Npm, _) => "osv:npm".to_owned(),
        (Type::Gem, _) => "osv:RubyGems".to_owned(),
        (Type::Cargo, _) => "osv:crates.io".to_owned(),
        (Type::Golang, _) => "osv:Go".to_owned(),
        (Type::Deb, Some("debian")) => "debian".to_owned(),
        (Type::Apk, Some("alpine")) => {
            let mut parts = distro?.version.split('.');
            format!("alpine:v{}.{}", parts.next()?, parts.next()?)
        }
        _ => return None,
    })
}

fn fits_system(ecosystem: &str, kind: Type, distro: &Distro) -> bool {
    let mut version = distro.version.split('.');
    let major = version.next().unwrap_or_default();
    let minor = version.next();
    let exactly = |name: &str| ecosystem == format!("{name}:{major}");
    match (kind, distro.id.as_str()) {
        (Type::Deb, "debian") if major.is_empty() => ecosystem == debian::ecosystem(&distro.codename),
        (Type::Deb, "debian") => exactly("Debian"),
        (Type::Deb, "ubuntu") => {
            let own = format!("Ubuntu:{}", distro.version);
            ecosystem == own || ecosystem == format!("{own}:LTS")
        }
        (Type::Apk, "alpine") => match minor {
            Some(minor) => ecosystem == format!("Alpine:v{major}.{}", minor.split('_').next().unwrap_or_default()),
            None => ecosystem == "Alpine:edge",
        },
        (Type::Apk, "wolfi") => ecosystem == "Wolfi",
        (Type::Apk, "chainguard") => ecosystem == "Chainguard",
        (Type::Rpm, "rocky") => exactly("Rocky Linux"),
        (Type::Rpm, "almalinux") => exactly("AlmaLinux"),
        (Type::Rpm, "rhel") => {
            let own = format!("Red Hat:enterprise_linux:{major}");
            ecosystem.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.']))
        }
        (Type::Rpm, "opensuse-leap") => ecosystem == format!("openSUSE:Leap {}", distro.version),
        (Type::Rpm, "opensuse-tumbleweed") => ecosystem == "openSUSE:Tumbleweed",
        (Type::Rpm, "sles" | "sled" | "bci") => {
            let pack = minor.map_or(String::new(), |minor| format!(" SP{minor}"));
            ecosystem.starts_with("SUSE:") && ecosystem.ends_with(&format!("{major}{pack}"))
        }
        (Type::Rpm, "azurelinux") => exactly("Azure Linux"),
        (Type::Rpm, "openEuler" | "openeuler") => ecosystem == format!("openEuler:{}", distro.version),
        (Type::Rpm, "mageia") => exactly("Mageia"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_its_own() {
        let distro = |text: &str| Distro::parse(text.as_bytes()).unwrap();
        for (kind, text, ecosystem, expected) in [
            (Type::Deb, "ID=debian\nVERSION_ID=12", "Debian:12", true),
            (Type::Deb, "ID=debian\nVERSION_ID=12", "Debian:1", false),
            (Type::Deb, "ID=debian\nVERSION_CODENAME=trixie", "Debian:13", true),
            (Type::Deb, "ID=ubuntu\nVERSION_ID=22.04", "Ubuntu:22.04:LTS", true),
            (Type::Deb, "ID=ubuntu\nVERSION_ID=22.04", "Ubuntu:Pro:22.04:LTS", false),
            (Type::Deb, "ID=ubuntu\nVERSION_ID=22.04", "Debian:12", false),
            (Type::Apk, "ID=alpine\nVERSION_ID=3.19.1", "Alpine:v3.19", true),
            (Type::Apk, "ID=alpine\nVERSION_ID=3.19.1", "Alpine:v3.1", false),
            (Type::Rpm, "ID=rocky\nVERSION_ID=9.3", "Rocky Linux:9", true),
            (Type::Rpm, "ID=rhel\nVERSION_ID=9.3", "Red Hat:enterprise_linux:9::appstream", true),
            (Type::Rpm, "ID=rhel\nVERSION_ID=9.3", "Red Hat:enterprise_linux:90", false),
            (Type::Rpm, "ID=sles\nVERSION_ID=15.5", "SUSE:Linux Enterprise Server 15 SP5", true),
            (Type::Pypi, "ID=x", "PyPI", true),
            (Type::Pypi, "ID=x", "npm", false),
        ] {
            assert_eq!(fits(ecosystem, kind, Some(&distro(text))), expected, "{text} {ecosystem}");
        }
        assert!(!fits("Debian:12", Type::Deb, None));
        let alpine = distro("ID=alpine\nVERSION_ID=3.19.1");
        assert_eq!(source(Type::Apk, Some(&alpine)).as_deref(), Some("alpine:v3.19"));
        assert_eq!((source(Type::Golang, None).as_deref(), source(Type::Deb, None)), (Some("osv:Go"), None));
    }
}
