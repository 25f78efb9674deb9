// SPDX-License-Identifier: Apache-2.0
//! Where the files of a build and its Dockerfile come from.

use std::fs::{self, File};
use std::io::{IsTerminal, Read};
use std::path::{Component, Path, PathBuf};

use bryo_build::context::{Context as Files, Found, is_archive};
use bryo_build::dockerfile;
use bryo_build::error::Error as BuildError;
use bryo_build::git::Repository;
use bryo_engine::Engine;

use super::Build;
use crate::context::Context;
use crate::errors::{Error, Result};

impl Build {
    /// Finds the files of the build and its Dockerfile.
    pub(super) fn files(&self, context: &Context, engine: &Engine) -> Result<(Files, Found)> {
        let from_stdin = self.file.as_deref() == Some(Path::new("-"));
        if self.context == "-" {
            if from_stdin {
                return Err(Error::message("standard input cannot be the context and the Dockerfile"));
            }
            return self.standard_input(engine);
        }
        if let Some(repository) = Repository::parse(&self.context) {
            let files = Files::repository(&repository, &engine.store().root().join("build")).map_err(unplaced)?;
            return self.own_dockerfile(files);
        }
        if self.context.contains("://") {
            return self.address(context, engine);
        }
        let mut files = Files::directory(Path::new(&self.context)).map_err(unplaced)?;
        let found = match &self.file {
            Some(_) if from_stdin => Found { name: "Dockerfile".into(), text: text("-", stdin()?)? },
            Some(path) if fs::symlink_metadata(path).is_ok() => match within(path, Path::new(&self.context)) {
                // Whoever has filled the context has made that file too, perhaps as a link to one of this machine.
                Some(name) => files.dockerfile(Some(&name)).map_err(unplaced)?,
                None => {
                    let found = given(path)?;
                    files.read_ignore(Some(path), &found.name).map_err(unplaced)?;
                    return Ok((files, found));
                }
            },
            Some(path) => files.dockerfile(path.to_str()).map_err(unplaced)?,
            None => files.dockerfile(None).map_err(unplaced)?,
        };
        files.read_ignore(None, &found.name).map_err(unplaced)?;
        Ok((files, found))
    }

    /// Takes the Dockerfile that is among the files.
    fn own_dockerfile(&self, mut files: Files) -> Result<(Files, Found)> {
        let name = self.file.as_deref().and_then(Path::to_str);
        let found = files.dockerfile(name).map_err(unplaced)?;
        files.read_ignore(None, &found.name).map_err(unplaced)?;
        Ok((files, found))
    }

    /// Takes an archive of a context from an address, or a Dockerfile alone.
    fn address(&self, context: &Context, engine: &Engine) -> Result<(Files, Found)> {
        let place = engine.store().root().join("build");
        fs::create_dir_all(&place).map_err(|error| Error::io(format!("make {}", place.display()), &error))?;
        let fail = |error| Error::io(format!("read {}", self.context), &error);
        let path = place.join(format!("script-context-{}", std::process::id()));
        let fetched = self.fetch(context, &self.context, is_loopback(&self.context), &path);
        let opened = fetched.map_err(Error::Engine).and_then(|()| fs::File::open(&path).map_err(fail));
        // From here on it has no name, so that nothing is left of it.
        let _perhaps = fs::remove_file(&path);
        self.stream(engine, opened?, &self.context)
    }

    /// Takes an archive of a context from standard input, or a Dockerfile alone.
    fn standard_input(&self, engine: &Engine) -> Result<(Files, Found)> {
        self.stream(engine, std::io::stdin().lock(), "standard input")
    }

    fn stream(&self, engine: &Engine, mut input: impl Read, name: &str) -> Result<(Files, Found)> {
        let mut beginning = Vec::new();
        let read = input.by_ref().take(512).read_to_end(&mut beginning);
        read.map_err(|error| Error::io(format!("read {name}"), &error))?;
        if !is_archive(&beginning) {
            let mut bytes = beginning;
            let rest = input.take(dockerfile::LENGTH_MAX as u64).read_to_end(&mut bytes);
            rest.map_err(|error| Error::io(format!("read {name}"), &error))?;
            return Ok((Files::empty(), Found { name: "Dockerfile".into(), text: text(name, bytes)? }));
        }
        let place = engine.store().root().join("build");
        fs::create_dir_all(&place).map_err(|error| Error::io(format!("make {}", place.display()), &error))?;
        let files = Files::archive(beginning.as_slice().chain(input), &place).map_err(unplaced)?;
        self.own_dockerfile(files)
    }
}

/// Reads a Dockerfile that the caller names, outside of the context.
fn given(path: &Path) -> Result<Found> {
    let fail = |error| Error::io(format!("read {}", path.display()), &error);
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::message(format!("read {}: it is no file", path.display())));
    }
    let mut bytes = Vec::new();
    let most = dockerfile::LENGTH_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(fail)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Found { text: text(&name, bytes)?, name })
}

/// Returns a path as one below a directory, if that is where it is said to be.
fn within(path: &Path, directory: &Path) -> Option<String> {
    let plain = |path: &Path| Some(normal(&std::path::absolute(path).ok()?));
    let real = |path: &Path| fs::canonicalize(path).ok();
    let absolute = plain(path)?;
    let of_real = || Some(real(absolute.parent()?)?.join(absolute.file_name()?));
    let below = |path: PathBuf, directory: PathBuf| Some(path.strip_prefix(directory).ok()?.to_str()?.to_owned());
    below(absolute.clone(), plain(directory)?).or_else(|| below(of_real()?, real(directory)?))
}

/// Takes `..` away as it is written, whatever links there are.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::message(format!("read {name}: it is no text")))
}

/// Takes a failure that has no place in a Dockerfile.
fn unplaced(error: BuildError) -> Error {
    match error.into_engine() {
        Ok(error) => Error::Engine(error),
        Err(error) => Error::message(error.to_string()),
    }
}

/// Tells whether an address is of this machine: then nobody is on the way.
fn is_loopback(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn stdin() -> Result<Vec<u8>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::message("read a Dockerfile from standard input: it is a terminal"));
    }
    let mut bytes = Vec::new();
    let read = stdin.lock().take(dockerfile::LENGTH_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("read standard input", &error))?;
    Ok(bytes)
}
