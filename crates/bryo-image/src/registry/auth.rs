// SPDX-License-Identifier: Apache-2.0
//! Credentials: found in the files that Docker, Podman and their helpers keep, and never printed.
//!
//! Trusts: the caller's own files and the helper programs found in the directories the caller names.
//! A helper's name comes from such a file; it is refused if it could leave those directories.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

pub(super) const FILE_MAX: u64 = 1 << 20;
const HELPER_MAX: u64 = 64 << 10;
/// The user name by which a helper says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Where credentials may be: the caller decides, this crate reads no environment.
#[derive(Clone, Debug, Default)]
pub struct AuthSources {
    /// Files in the format of `containers-auth.json(5)` or Docker's `config.json`, the first match wins:
    /// `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json`,
    /// `~/.docker/config.json`. A missing one is skipped.
    pub files: Vec<PathBuf>,
    /// The absolute directories in which `docker-credential-*` programs are looked up, as in `$PATH`.
    pub helper_dirs: Vec<PathBuf>,
    /// What is shown to every registry instead.
    pub given: Option<Credential>,
}

/// What is shown to a registry.
#[derive(Clone, Eq, PartialEq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that the registry's token service changes for a short-lived one (OAuth 2 refresh token).
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}

impl Credential {
    /// Returns the value of a header `Authorization: Basic`, or `None` for an identity token.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { .. } => Some(format!("Basic {}", self.encoded())),
            Self::IdentityToken(_) => None,
        }
    }

    /// Returns what stands for it in headers and files.
    pub(super) fn encoded(&self) -> String {
        match self {
            Self::Password { user, password } => STANDARD.encode(format!("{user}:{password}")),
            Self::IdentityToken(token) => token.clone(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AuthFile {
    auths: HashMap<String, AuthEntry>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthEntry(…)")
    }
}

#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

impl AuthSources {
    /// Finds the credential for a repository on a registry. `None` if there is none.
    ///
    /// # Errors
    /// [`Kind::Unauthorized`] if a file is malformed or its helper program fails.
    pub fn find(&self, domain: &str, path: &str) -> Result<Option<Credential>> {
        if self.given.is_some() {
            return Ok(self.given.clone());
        }
        for file in &self.files {
            let Some(auth_file) = AuthFile::read(file)? else { continue };
            if let Some(found) = self.find_in(&auth_file, domain, path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn find_in(&self, file: &AuthFile, domain: &str, path: &str) -> Result<Option<Credential>> {
        let keys = keys(domain, path);
        if let Some((host, helper)) = keys.iter().find_map(|key| file.helpers.get_key_value(key)) {
            return self.ask_helper(helper, host);
        }
        if let Some(entry) = keys.iter().find_map(|key| file.entry(key)) {
            return entry.credential().map(Some);
        }
        match &file.store {
            Some(helper) => self.ask_helper(helper, &server_name(domain)),
            None => Ok(None),
        }
    }

    /// Runs `docker-credential-NAME get`, whose protocol is that of `docker-credential-helpers`.
    fn ask_helper(&self, helper: &str, host: &str) -> Result<Option<Credential>> {
        let program = self.helper_program(helper)?;
        let fail = |error: io::Error| unauthorized(format!("run {}", program.display())).with_source(error);
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(fail)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input says what it has to say by its status.
            stdin.write_all(host.as_bytes()).unwrap_or_default();
        }
        let mut output = Vec::new();
        let read = child.stdout.take().map_or(Ok(0), |out| out.take(HELPER_MAX).read_to_end(&mut output));
        let status = child.wait().map_err(fail)?;
        read.map_err(fail)?;
        if !status.success() {
            let text = String::from_utf8_lossy(&output);
            if text.contains("credentials not found") {
                return Ok(None);
            }
            let what = format!("run {}: {status}: {}", program.display(), text.trim());
            return Err(unauthorized(what));
        }
        let answer: HelperAnswer = serde_json::from_slice(&output)
            .map_err(|error| unauthorized(format!("read the answer of {}", program.display())).with_source(error))?;
        Ok(Some(match answer.user.as_str() {
            TOKEN_USER => Credential::IdentityToken(answer.secret),
            _ => Credential::Password { user: answer.user, password: answer.secret },
        }))
    }

    fn helper_program(&self, helper: &str) -> Result<PathBuf> {
        let name_ok = !helper.is_empty()
            && helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !name_ok {
            return Err(unauthorized(format!("find credential helper {helper:?}: not a program's name")));
        }
        let runs =
            |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
        self.helper_dirs
            .iter()
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(format!("docker-credential-{helper}")))
            .find(runs)
            .ok_or_else(|| unauthorized(format!("find program docker-credential-{helper}: not in the search path")))
    }
}

impl AuthFile {
    fn read(path: &Path) -> Result<Option<Self>> {
        let fail = |error: io::Error| unauthorized(format!("read credentials {}", path.display())).with_source(error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(fail(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        // The cause is left out: it could quote a secret.
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| unauthorized(format!("read credentials {}: malformed", path.display())))
    }

    /// Finds an entry under its plain key or under the URL that Docker writes.
    fn entry(&self, key: &str) -> Option<&AuthEntry> {
        let same = |candidate: &str| {
            let bare = candidate.trim_start_matches("https://").trim_start_matches("http://");
            bare == key
                || bare.strip_suffix('/') == Some(key)
                || (bare != candidate && bare.split('/').next() == Some(key))
        };
        let exact = self.auths.get(key);
        exact
            .or_else(|| self.auths.iter().find(|(candidate, _)| same(candidate)).map(|(_, entry)| entry))
            .filter(|entry| entry.is_filled())
    }
}

impl AuthEntry {
    fn is_filled(&self) -> bool {
        [&self.auth, &self.username, &self.identitytoken]
            .iter()
            .any(|text| text.as_ref().is_some_and(|t| !t.is_empty()))
    }

    fn credential(&self) -> Result<Credential> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Credential::IdentityToken(token.clone()));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Credential::Password { user: user.clone(), password: password.clone() });
        }
        let malformed = || unauthorized("read credentials: the entry's \"auth\" is not base64 of name:password".into());
        let encoded = self.auth.as_deref().unwrap_or_default().trim();
        let bytes = STANDARD.decode(encoded).or_else(|_| STANDARD_NO_PAD.decode(encoded)).map_err(|_| malformed())?;
        let text = String::from_utf8(bytes).map_err(|_| malformed())?;
        let (user, password) = text.split_once(':').ok_or_else(malformed)?;
        Ok(Credential::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }
}

/// The keys under which a repository's credential may be, the most specific first.
pub(super) fn keys(domain: &str, path: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut scope = path;
    while !scope.is_empty() {
        keys.push(format!("{domain}/{scope}"));
        scope = scope.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(domain.to_owned());
    if domain == "docker.io" {
        keys.extend(["index.docker.io/v1", "index.docker.io", "registry-1.docker.io"].map(str::to_owned));
        keys.push(server_name(domain));
    }
    keys
}

/// What a helper knows a registry by.
fn server_name(domain: &str) -> String {
    match domain {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

fn unauthorized(what: String) -> Error {
    Error::new(Kind::Unauthorized, what)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(content: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("auth.json"), content).unwrap();
            Self(dir)
        }

        fn sources(&self) -> AuthSources {
            let dir = self.0.path();
            AuthSources {
                files: vec![dir.join("missing.json"), dir.join("auth.json")],
                helper_dirs: vec![PathBuf::from("relative"), dir.to_path_buf()],
                ..AuthSources::default()
            }
        }

        fn find(&self, domain: &str, path: &str) -> Result<Option<Credential>> {
            self.sources().find(domain, path)
        }

        fn helper(&self, name: &str, script: &str) {
            let path = self.0.path().join(format!("docker-credential-{name}"));
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn password(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Password { user: user.into(), password: password.into() })
    }

    #[test]
    fn the_most_specific_entry_wins() {
        let fixture = Fixture::new(
            r#"{"auths":{"r.io":{"auth":"YTpob3N0"},"r.io/ns":{"auth":"YTpucw=="},"r.io/ns/app":{"auth":"YTphcHA"}}}"#,
        );
        assert_eq!(fixture.find("r.io", "ns/app").unwrap(), password("a", "app"));
        assert_eq!(fixture.find("r.io", "ns/other").unwrap(), password("a", "ns"));
        assert_eq!(fixture.find("r.io", "nsx").unwrap(), password("a", "host"));
        assert_eq!(fixture.find("r.io:443", "ns").unwrap(), None);
        assert_eq!(fixture.find("evil-r.io", "ns").unwrap(), None);
    }

    #[test]
    fn dockers_urls_are_understood() {
        let fixture = Fixture::new(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"https://r.io/v2/":{"identitytoken":"T"}}}"#,
        );
        assert_eq!(fixture.find("docker.io", "library/x").unwrap(), password("a", "b"));
        assert_eq!(fixture.find("r.io", "x").unwrap(), Some(Credential::IdentityToken("T".into())));
    }

    #[test]
    fn helpers_are_asked() {
        let fixture = Fixture::new(r#"{"auths":{"s.io":{}},"credHelpers":{"h.io":"one"},"credsStore":"two"}"#);
        fixture.helper("one", r#"read h; echo "{\"Username\":\"u\",\"Secret\":\"$1-$h\"}""#);
        fixture.helper("two", "echo credentials not found in native keychain; exit 1");
        assert_eq!(fixture.find("h.io", "x").unwrap(), password("u", "get-h.io"));
        assert_eq!(fixture.find("s.io", "x").unwrap(), None);
    }

    #[test]
    fn a_helper_cannot_be_a_path_and_its_failure_is_told() {
        for (helper, script) in
            [("../../bin/sh", None), ("gone", None), ("bad", Some("exit 3")), ("odd", Some("echo x"))]
        {
            let fixture = Fixture::new(&format!(r#"{{"credHelpers":{{"h.io":"{helper}"}}}}"#));
            if let Some(script) = script {
                fixture.helper(helper, script);
            }
            assert_eq!(fixture.find("h.io", "x").unwrap_err().kind(), Kind::Unauthorized, "{helper}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown = format!("{:?}", password("name", "hidden"));
        assert!(shown.contains("name") && !shown.contains("hidden"));
        let fixture = Fixture::new(r#"{"auths":{"r.io":{"auth":"hidden!!"}},}"#);
        let error = fixture.find("r.io", "x").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
