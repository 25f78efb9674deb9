// SPDX-License-Identifier: Apache-2.0
//! A package: what its database says of it, and its name for the rest of the world (a purl).
//!
//! Source: package-url specification, `PURL-SPECIFICATION.rst` and `PURL-TYPES.rst`.

use serde::{Deserialize, Serialize};

/// Whose package it is: which database, which rules for versions, which advisories.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Debian's and its children's.
    Deb,
    /// Alpine's.
    Apk,
    /// Red Hat's, SUSE's and others'.
    Rpm,
    /// Python's.
    Pypi,
    /// JavaScript's.
    Npm,
    /// Ruby's.
    Gem,
    /// Rust's.
    Cargo,
    /// Go's modules.
    Golang,
}

impl Type {
    /// Returns the word that a purl has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Gem => "gem",
            Self::Cargo => "cargo",
            Self::Golang => "golang",
        }
    }

    /// Tells whether it is a package of a distribution.
    pub fn is_system(self) -> bool {
        matches!(self, Self::Deb | Self::Apk | Self::Rpm)
    }
}

/// What a package was built from, where that has another name or version.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A package that is installed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Package {
    /// Whose it is.
    #[serde(rename = "type")]
    pub kind: Type,
    /// Its name.
    pub name: String,
    /// Its whole version, with epoch and release where there are such.
    pub version: String,
    /// The machine it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// What it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its licences, in the database's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licenses: Vec<String>,
    /// Who maintains or supplies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supplier: Option<String>,
    /// The names that it depends on; of alternatives each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
    /// The names that it stands for besides its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
    /// The files that are its own, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl Package {
    /// Makes a package of which only name and version are known.
    pub fn new(kind: Type, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            arch: None,
            source: None,
            licenses: Vec::new(),
            supplier: None,
            depends: Vec::new(),
            provides: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Returns the name and the version of what it was built from, which are its own if nothing else is known.
    pub fn origin(&self) -> (&str, &str) {
        self.source.as_ref().map_or((&self.name, &self.version), |source| (&source.name, &source.version))
    }

    /// Returns its name for the rest of the world.
    pub fn purl(&self, distro: Option<&Distro>) -> String {
        let mut purl = format!("pkg:{}/", self.kind.name());
        let (namespace, name) = self.purl_name(distro);
        for part in namespace.split('/').filter(|part| !part.is_empty()) {
            purl += &encoded(part);
            purl.push('/');
        }
        purl += &encoded(&name);
        // An epoch has a place of its own.
        let (epoch, version) = match (self.kind, self.version.split_once(':')) {
            (Type::Rpm, Some((epoch, rest))) => (Some(epoch), rest),
            _ => (None, self.version.as_str()),
        };
        if !version.is_empty() {
            purl.push('@');
            purl += &encoded(version);
        }
        let mut qualifiers = Vec::new();
        qualifiers.extend(self.arch.as_ref().map(|arch| format!("arch={}", encoded(arch))));
        if self.kind.is_system() {
            qualifiers.extend(distro.map(|distro| format!("distro={}", encoded(&distro.tag()))));
        }
        qualifiers.extend(epoch.map(|epoch| format!("epoch={}", encoded(epoch))));
        if let Some(source) = self.source.as_ref().filter(|source| self.kind.is_system() && source.name != self.name) {
            qualifiers.push(format!("upstream={}", encoded(&source.name)));
        }
        if !qualifiers.is_empty() {
            purl.push('?');
            purl += &qualifiers.join("&");
        }
        purl
    }

    fn purl_name(&self, distro: Option<&Distro>) -> (String, String) {
        let vendor = |default: &str| distro.map_or(default.to_owned(), |distro| distro.id.clone());
        match self.kind {
            Type::Deb => (vendor("debian"), self.name.to_lowercase()),
            Type::Apk => (vendor("alpine"), self.name.to_lowercase()),
            Type::Rpm => (distro.map_or(String::new(), |distro| distro.id.clone()), self.name.clone()),
            Type::Pypi => (String::new(), self.name.to_lowercase().replace('_', "-")),
            Type::Npm | Type::Golang => match self.name.rsplit_once('/') {
                Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
                None => (String::new(), self.name.clone()),
            },
            Type::Gem | Type::Cargo => (String::new(), self.name.clone()),
        }
    }
}

/// Writes what a purl has no room for as percent and two digits.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// The distribution that a tree is of. Source: `os-release(5)`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Distro {
    /// Its name, such as `debian`.
    pub id: String,
    /// Its version, such as `12` or `3.19.1`; nothing for one that has none.
    pub version: String,
    /// The word for its version, such as `bookworm`.
    pub codename: String,
    /// What it calls itself.
    pub pretty: String,
    /// The names of those that it is made from.
    pub like: Vec<String>,
}

impl Distro {
    /// Reads `os-release`. What is no text is none.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(data);
        let mut distro = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            let value = unquoted(value);
            match key {
                "ID" => distro.id = value.to_lowercase(),
                "VERSION_ID" => distro.version = value,
                "VERSION_CODENAME" => distro.codename = value,
                "PRETTY_NAME" => distro.pretty = value,
                "ID_LIKE" => distro.like = value.split_whitespace().map(str::to_owned).collect(),
                _ => (),
            }
        }
        (!distro.id.is_empty()).then_some(distro)
    }

    /// Returns how a purl calls it.
    pub fn tag(&self) -> String {
        let version = if self.version.is_empty() { &self.codename } else { &self.version };
        if version.is_empty() { self.id.clone() } else { format!("{}-{version}", self.id) }
    }
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner.replace('\\', "");
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purls_are_as_the_specification_has_them() {
        let distro = Distro::parse(b"ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n").unwrap();
        let mut deb = Package::new(Type::Deb, "libstdc++6", "12.2.0-14");
        deb.arch = Some("amd64".into());
        deb.source = Some(Source { name: "gcc-12".into(), version: "12.2.0-14".into() });
        assert_eq!(
            deb.purl(Some(&distro)),
            "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12&upstream=gcc-12"
        );
        let mut rpm = Package::new(Type::Rpm, "openssl", "1:3.0.7-1.el9");
        rpm.arch = Some("x86_64".into());
        assert_eq!(rpm.purl(None), "pkg:rpm/openssl@3.0.7-1.el9?arch=x86_64&epoch=1");
        let go = Package::new(Type::Golang, "github.com/a/b", "v1.0.0+incompatible");
        assert_eq!(go.purl(Some(&distro)), "pkg:golang/github.com/a/b@v1.0.0%2Bincompatible");
        assert_eq!(Package::new(Type::Npm, "@babel/core", "7.0.0").purl(None), "pkg:npm/%40babel/core@7.0.0");
        assert_eq!(Package::new(Type::Pypi, "Foo_Bar", "1").purl(None), "pkg:pypi/foo-bar@1");
    }

    #[test]
    fn a_file_without_a_name_is_no_distribution() {
        assert_eq!(Distro::parse(b"\xff\xfe garbage\nNAME=x"), None);
        assert_eq!(Distro::parse(b"ID='alpine'\nVERSION_ID=3.19.1").unwrap().tag(), "alpine-3.19.1");
        assert_eq!(Distro::parse(b"ID=debian\nVERSION_CODENAME=sid").unwrap().tag(), "debian-sid");
    }
}
