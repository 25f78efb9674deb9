// SPDX-License-Identifier: Apache-2.0
//! `bryo build`.

mod output;
pub(super) mod values;

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bryo_build::build::{Built, Request, build};
use bryo_build::context::{Context as Files, Found, is_archive};
use bryo_build::dockerfile;
use bryo_build::error::{Error as BuildError, Kind as BuildKind, excerpt};
use bryo_engine::Engine;
use bryo_engine::error::{Error as EngineError, Kind};
use bryo_engine::options::Pull;
use bryo_image::reference::Reference;
use bryo_image::registry::Platform;
use bryo_image::store::Image;

use super::pull;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output as out;
use crate::progress::steps::{self, Form};

use output::Output;
use values::{SecretSource, named};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub struct Build {
    /// The Dockerfile; - is standard input. Without it, Dockerfile or Containerfile of the context
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// A name for the image; several times for several names
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<Reference>,
    /// The value of an ARG: NAME=VALUE, or NAME for the value of the variable here
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    build_args: Vec<String>,
    /// The stage to build, by name or number; the last one without it
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Make every step anew
    #[arg(long)]
    no_cache: bool,
    /// Ask the registries for newer images of those that the build stands on
    #[arg(long)]
    pull: bool,
    /// A label for the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=VARIABLE
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]")]
    secrets: Vec<SecretSource>,
    /// The platform to build for: OS/ARCH[/VARIANT]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// How the steps are shown
    #[arg(long, value_enum, default_value_t = Form::Auto, value_name = "FORM")]
    progress: Form,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Write the image's id into a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    iidfile: Option<PathBuf>,
    /// Fail if the result runs as root
    #[arg(long)]
    require_nonroot: bool,
    /// Write the result somewhere: type=local|tar|oci|docker,dest=PATH
    #[arg(short, long = "output", value_name = "type=TYPE,dest=PATH")]
    outputs: Vec<Output>,
    /// The directory with the files of the build; - is an archive of one, or a Dockerfile alone, on standard input
    #[arg(value_name = "CONTEXT", value_hint = clap::ValueHint::DirPath)]
    context: String,
}

impl Verb for Build {
    const NAME: &'static str = "build";
    const ABOUT: &'static str = "Build an image from a Dockerfile";

    fn run(self, context: &Context) -> Result<ExitCode> {
        if let Some(name) = self.tags.iter().find(|name| name.digest().is_some()) {
            return Err(Error::message(format!("-t {name}: a digest is not given, it follows from the content")));
        }
        let engine = context.engine()?;
        // What is unpacked for the build is nobody's leftover.
        let _pin = engine.store().pin()?;
        let (files, found) = self.files(&engine)?;
        let parsed = dockerfile::parse(&found.text).map_err(BuildError::from);
        let built = parsed.and_then(|dockerfile| self.build(context, &engine, &files, &dockerfile));
        let built = built.map_err(|error| failed(error, &found))?;
        let id = built.record.id().to_string();
        for output in &self.outputs {
            output.write(&engine, &built.record)?;
        }
        if let Some(file) = &self.iidfile {
            fs::write(file, &id).map_err(|error| Error::io(format!("write {}", file.display()), &error))?;
        }
        if self.quiet {
            out::print(&format!("{id}\n"))?;
        } else {
            self.tell(&built);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Build {
    fn build(
        &self,
        context: &Context,
        engine: &Engine,
        files: &Files,
        dockerfile: &dockerfile::Dockerfile,
    ) -> bryo_build::error::Result<Built> {
        let plain = |error: Error| BuildError::new(BuildKind::Dockerfile, error.text().unwrap_or_default());
        let variable = |name: &str| std::env::var(name).ok();
        let mut build_args = values::build_args(&self.build_args, &variable).map_err(plain)?;
        if let (false, Some(epoch)) = (build_args.contains_key(values::EPOCH), variable(values::EPOCH)) {
            build_args.insert(values::EPOCH.to_owned(), epoch);
        }
        let source_date_epoch = values::epoch(&build_args).map_err(plain)?;
        let mut secrets = std::collections::BTreeMap::new();
        for secret in &self.secrets {
            secrets.insert(secret.id.clone(), secret.read(&variable).map_err(plain)?);
        }
        let find = |name: &str, platform: &Platform| self.find(context, engine, name, platform);
        let fetch = |url: &str, verified: bool, path: &Path| self.fetch(context, url, verified, path);
        // Before anything that may start a thread.
        let worker = engine.worker()?;
        let progress = steps::reporter(if self.quiet { Form::Quiet } else { self.progress });
        let request = Request {
            dockerfile,
            context: files,
            target: self.target.clone(),
            build_args,
            labels: named(&self.labels).map_err(plain)?,
            names: self.tags.clone(),
            secrets,
            platform: self.platform.clone().unwrap_or_else(Platform::host),
            no_cache: self.no_cache,
            require_nonroot: self.require_nonroot,
            source_date_epoch,
            find_image: &find,
            fetch: &fetch,
            progress: progress.as_ref(),
        };
        build(engine, &worker, &request)
    }

    /// Finds the files of the build and its Dockerfile.
    fn files(&self, engine: &Engine) -> Result<(Files, Found)> {
        let from_stdin = self.file.as_deref() == Some(Path::new("-"));
        if self.context == "-" {
            if from_stdin {
                return Err(Error::message("standard input cannot be the context and the Dockerfile"));
            }
            return self.standard_input(engine);
        }
        if self.context.contains("://") || self.context.starts_with("git@") {
            let what = format!("build {}: a context is a directory, or an archive on standard input", self.context);
            return Err(Error::message(what).hint("git clone or curl first, then bryo build DIRECTORY"));
        }
        let mut files = Files::directory(Path::new(&self.context)).map_err(unplaced)?;
        let found = match &self.file {
            Some(_) if from_stdin => Found { name: "Dockerfile".into(), text: text("-", stdin()?)? },
            Some(path) if path.is_file() => {
                let bytes = fs::read(path).map_err(|error| Error::io(format!("read {}", path.display()), &error))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                Found { text: text(&name, bytes)?, name }
            }
            Some(path) => files.dockerfile(path.to_str()).map_err(unplaced)?,
            None => files.dockerfile(None).map_err(unplaced)?,
        };
        let beside = self.file.as_deref().filter(|_| !from_stdin);
        files.read_ignore(beside, &found.name).map_err(unplaced)?;
        Ok((files, found))
    }

    /// Takes an archive of a context from standard input, or a Dockerfile alone.
    fn standard_input(&self, engine: &Engine) -> Result<(Files, Found)> {
        let mut input = std::io::stdin().lock();
        let mut beginning = Vec::new();
        let read = input.by_ref().take(512).read_to_end(&mut beginning);
        read.map_err(|error| Error::io("read standard input", &error))?;
        if !is_archive(&beginning) {
            let mut bytes = beginning;
            let rest = input.take(dockerfile::LENGTH_MAX as u64).read_to_end(&mut bytes);
            rest.map_err(|error| Error::io("read standard input", &error))?;
            return Ok((Files::empty(), Found { name: "Dockerfile".into(), text: text("-", bytes)? }));
        }
        let place = engine.store().root().join("build");
        fs::create_dir_all(&place).map_err(|error| Error::io(format!("make {}", place.display()), &error))?;
        let mut files = Files::archive(beginning.as_slice().chain(input), &place).map_err(unplaced)?;
        let name = self.file.as_deref().and_then(Path::to_str);
        let found = files.dockerfile(name).map_err(unplaced)?;
        files.read_ignore(None, &found.name).map_err(unplaced)?;
        Ok((files, found))
    }

    /// Finds an image that a stage stands on, and pulls it where that is wanted.
    fn find(
        &self,
        context: &Context,
        engine: &Engine,
        name: &str,
        platform: &Platform,
    ) -> bryo_engine::error::Result<Image> {
        let store = engine.store();
        let policy = if self.pull { Pull::Always } else { context.pull_policy().map_err(of_command_line)? };
        let here = match (policy, store.find(name)) {
            (Pull::Always, _) => None,
            (_, Ok(record)) => Some(store.image(&record)?).filter(|image| is_for(image, platform)),
            (Pull::Never, Err(error)) => return Err(error.into()),
            (Pull::Missing, Err(_)) => None,
        };
        if let Some(image) = here {
            return Ok(image);
        }
        let wanted = format!("{}/{}", platform.os, platform.architecture);
        let wanted = platform.variant.as_ref().map_or(wanted.clone(), |variant| format!("{wanted}/{variant}"));
        let record = pull::fetch(context, name, Some(&wanted), true).map_err(of_command_line)?;
        Ok(store.image(&record)?)
    }

    /// Fetches a file for `ADD`. Plain HTTP only where the content is verified.
    fn fetch(&self, context: &Context, url: &str, verified: bool, path: &Path) -> bryo_engine::error::Result<()> {
        if url.starts_with("http://") && !verified {
            let why = format!(
                "ADD {url}: over plain HTTP anybody on the way can change it; --checksum=sha256:... says what it is"
            );
            return Err(EngineError::new(Kind::Source, why));
        }
        let options = context.registry(None).map_err(of_command_line)?;
        let limits = context.config().map_err(of_command_line)?.limits;
        let begin =
            || fs::File::create(path).map_err(|e| bryo_image::Error::io(format!("write {}", path.display()), e));
        Ok(bryo_image::registry::fetch(url, &options, verified, limits.compressed, begin)?)
    }

    /// Says who the result runs as, and what else is worth knowing.
    fn tell(&self, built: &Built) {
        let mut lines = built.notes.clone();
        lines.push(if built.user.is_root() {
            format!("the result runs as root: {} (bryo run makes it nobody all the same)", built.user.why)
        } else {
            format!("the result runs as user {}, not as root: {}", built.user.uid, built.user.why)
        });
        if self.progress == Form::Rawjson {
            return;
        }
        for line in lines {
            out::complain(&format!("{}\n", out::line(&line)));
        }
    }
}

fn of_command_line(error: Error) -> EngineError {
    match error {
        Error::Engine(error) => error,
        other => EngineError::new(Kind::Source, other.text().unwrap_or_default()),
    }
}

fn is_for(image: &Image, platform: &Platform) -> bool {
    let architecture = image.config.architecture().to_string();
    architecture.is_empty() || architecture == platform.architecture
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

/// Shows where in the Dockerfile a build has failed.
fn failed(error: BuildError, found: &Found) -> Error {
    let mut column = String::new();
    if let Some(place) = error.place() {
        out::complain(&out::text(&excerpt(&found.name, &found.text, place)));
        column = match error.kind() {
            BuildKind::Dockerfile => format!("{}:{}:{}: ", found.name, place.line, place.column),
            _ => String::new(),
        };
    }
    match error.into_engine() {
        // A build has one code for all failures: what could not be executed is a step's, not the command's.
        Ok(error) if matches!(error.kind(), Kind::Launch(_)) => Error::message(error.to_string()),
        Ok(error) => Error::Engine(error),
        Err(error) => Error::message(format!("{column}{error}")),
    }
}
