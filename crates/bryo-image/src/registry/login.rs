// SPDX-License-Identifier: Apache-2.0
//! Logging in: a credential is shown to its registry, and kept where Podman, Skopeo and bryo look for it.
//!
//! The file is the caller's alone. What else is in it, also what bryo does not know, stays as it is.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::auth::{Credential, FILE_MAX, keys};
use super::http::{Client, Request};
use super::token::Scope;
use super::{Endpoint, RegistryOptions};
use crate::error::{Error, Kind, Result};

/// Shows a credential to a registry. One that asks nobody who he is accepts all.
///
/// # Errors
/// [`Kind::Unauthorized`] when it is refused, [`Kind::Unreachable`] and the like when the registry cannot be asked.
pub fn check(domain: &str, credential: &Credential, options: &RegistryOptions) -> Result<()> {
    let mut options = options.clone();
    options.auth.given = Some(credential.clone());
    let client = Client::new(&options)?;
    let session = client.session()?;
    let endpoint = Endpoint { domain: domain.to_owned(), path: String::new(), mirror: false };
    let ask = || {
        let url = session.base(&endpoint)?;
        session.send(&endpoint, &Scope::pull(&endpoint), &Request::get(url)).map(drop)
    };
    ask().map_err(|failure| failure.error.within(format!("log in to {domain}")))
}

/// Keeps a credential in a file of `containers-auth.json(5)`.
///
/// # Errors
/// [`Kind::Unauthorized`] for a file that is none of these, [`Kind::Io`] when it cannot be written.
pub fn keep(file: &Path, domain: &str, credential: &Credential) -> Result<()> {
    let entry = match credential {
        Credential::Password { .. } => json!({"auth": credential.encoded()}),
        Credential::IdentityToken(token) => json!({"identitytoken": token}),
    };
    let mut content = read(file)?.unwrap_or_default();
    logins(&mut content, file)?.insert(domain.to_owned(), entry);
    write(file, &content)
}

/// Takes the credentials of a registry out of a file, and tells whether there were any; without a registry, all of them.
///
/// # Errors
/// As [`keep`].
pub fn forget(file: &Path, domain: Option<&str>) -> Result<bool> {
    let Some(mut content) = read(file)? else { return Ok(false) };
    let logins = logins(&mut content, file)?;
    let before = logins.len();
    match domain {
        None => logins.clear(),
        Some(domain) => {
            let names = keys(domain, "");
            let bare = |key: &str| key.trim_start_matches("https://").trim_end_matches('/').to_owned();
            logins.retain(|key, _| !names.iter().any(|name| bare(name) == bare(key)));
        }
    }
    let found = logins.len() < before;
    if found {
        write(file, &content)?;
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Option<Map<String, Value>>> {
    let fail = |error| Error::io(format!("read credentials {}", file.display()), error);
    match std::fs::metadata(file) {
        Ok(found) if found.len() > FILE_MAX => return Err(malformed(file)),
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    }
    let bytes = std::fs::read(file).map_err(fail)?;
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    // The cause is left out: it could quote a secret.
    serde_json::from_slice(&bytes).map(Some).map_err(|_| malformed(file))
}

fn logins<'c>(content: &'c mut Map<String, Value>, file: &Path) -> Result<&'c mut Map<String, Value>> {
    content.entry("auths").or_insert_with(|| json!({})).as_object_mut().ok_or_else(|| malformed(file))
}

/// Writes the file beside its place first: whoever reads meanwhile finds the old one or the new one.
fn write(file: &Path, content: &Map<String, Value>) -> Result<()> {
    let fail = |error| Error::io(format!("write credentials {}", file.display()), error);
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let mut text = serde_json::to_vec_pretty(content).map_err(|error| fail(error.into()))?;
    text.push(b'\n');
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name);
    let written = made.and_then(|mut new| new.write_all(&text)).and_then(|()| std::fs::rename(&name, file));
    if written.is_err() {
        // Another process of this number may have left it, long ago.
        std::fs::remove_file(&name).unwrap_or_default();
    }
    written.map_err(fail)
}

fn malformed(file: &Path) -> Error {
    Error::new(Kind::Unauthorized, format!("read credentials {}: malformed", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::AuthSources;
    use super::*;

    fn password(user: &str) -> Credential {
        Credential::Password { user: user.into(), password: "s:ecret".into() }
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("containers/auth.json");
        let sources = AuthSources { files: vec![file.clone()], ..AuthSources::default() };
        keep(&file, "localhost:5000", &password("alice")).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mut content = read(&file).unwrap().unwrap();
        content.insert("credHelpers".into(), json!({"other": "x"}));
        write(&file, &content).unwrap();
        keep(&file, "docker.io", &password("bob")).unwrap();
        keep(&file, "localhost:5000", &password("carol")).unwrap();
        assert_eq!(sources.find("localhost:5000", "a/b").unwrap(), Some(password("carol")));
        assert_eq!(sources.find("docker.io", "library/x").unwrap(), Some(password("bob")));
        assert_eq!(read(&file).unwrap().unwrap()["credHelpers"], json!({"other": "x"}));
        assert!(forget(&file, Some("localhost:5000")).unwrap() && !forget(&file, Some("localhost:5000")).unwrap());
        assert_eq!(sources.find("localhost:5000", "a/b").unwrap(), None);
        assert!(forget(&file, None).unwrap() && sources.find("docker.io", "x").unwrap().is_none());
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn dockers_own_name_for_its_registry_is_forgotten_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "x": {}}}"#).unwrap();
        assert!(forget(&file, Some("docker.io")).unwrap());
        assert_eq!(read(&file).unwrap().unwrap()["auths"], json!({"x": {}}));
    }

    #[test]
    fn a_file_that_is_none_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("auth.json");
        for text in ["{\"auths\": [\"s3cret\"]}", "s3cret"] {
            std::fs::write(&file, text).unwrap();
            let error = keep(&file, "x", &password("a")).unwrap_err().to_string();
            assert!(error.contains("malformed") && !error.contains("s3cret"), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert!(!forget(&dir.path().join("none"), None).unwrap());
    }
}
