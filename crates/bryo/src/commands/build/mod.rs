// SPDX-License-Identifier: Apache-2.0
//! `bryo build`.

mod cache;
mod files;
mod output;
pub(super) mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bryo_build::build::{Built, Provenance, Request, build};
use bryo_build::context::{Context as Files, Found};
use bryo_build::dockerfile;
use bryo_build::error::{Error as BuildError, Kind as BuildKind, excerpt};
use bryo_engine::Engine;
use bryo_engine::error::{Error as EngineError, Kind};
use bryo_engine::harden::proof::ProofOptions;
use bryo_engine::options::Pull;
use bryo_image::reference::Reference;
use bryo_image::registry::Platform;
use bryo_image::store::{Image, ImageRecord};

use super::harden::{self, Asked};
use super::pull;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output as out;
use crate::progress::steps::{self, Form, Pulled};

use output::Output;
use values::{SecretSource, Way, named};

/// The shortest beginning of an id that a Dockerfile may name an image by.
const ID_MIN: usize = 12;

/// How long what is built and what becomes of it with `--harden` may take to start.
const SETTLE: Duration = Duration::from_secs(15);

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
    /// Take steps that another build has made: type=local,src=DIR or type=registry,ref=NAME
    #[arg(long = "cache-from", value_name = "type=TYPE,...")]
    cache_from: Vec<cache::From>,
    /// Write the steps for other builds: type=local,dest=DIR or type=registry,ref=NAME
    #[arg(long = "cache-to", value_name = "type=TYPE,...")]
    cache_to: Vec<cache::To>,
    /// Ask the registries for newer images of those that the build stands on
    #[arg(long)]
    pull: bool,
    /// A label for the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=VARIABLE
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]")]
    secrets: Vec<SecretSource>,
    /// An agent with keys for RUN --mount=type=ssh: ID, default for the one of SSH_AUTH_SOCK, or ID=SOCKET
    #[arg(long = "ssh", value_name = "ID[=SOCKET]")]
    agents: Vec<String>,
    /// The platform to build for: OS/ARCH[/VARIANT]; several, with commas, become one index
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,
    /// An annotation of the manifest
    #[arg(long = "annotation", value_name = "NAME=VALUE")]
    annotations: Vec<String>,
    /// Make one layer of all that the build adds to the image below
    #[arg(long)]
    squash: bool,
    /// How the layers are compressed
    #[arg(long, value_enum, default_value_t = Way::Gzip, value_name = "WAY")]
    compression: Way,
    /// Attest what the image was made of: true, false, mode=min or mode=max
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    provenance: Provenance,
    /// Attach a bill of materials (SPDX)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", action = clap::ArgAction::Set)]
    sbom: bool,
    /// How the steps are shown
    #[arg(long, value_enum, default_value_t = Form::Auto, value_name = "FORM")]
    progress: Form,
    /// Print the image's id and nothing else, or what the step that fails has said
    #[arg(short, long)]
    quiet: bool,
    /// Write the image's id into a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    iidfile: Option<PathBuf>,
    /// Fail if the result runs as root
    #[arg(long)]
    require_nonroot: bool,
    /// Take root away from the result as `bryo harden` does, and fail unless it is proven to do the same
    #[arg(long, conflicts_with_all = ["provenance", "sbom"])]
    harden: bool,
    /// Write the result somewhere: type=local|tar|oci|docker,dest=PATH
    #[arg(short, long = "output", value_name = "type=TYPE,dest=PATH")]
    outputs: Vec<Output>,
    /// The directory with the files of the build; - is an archive of one, or a Dockerfile alone, on standard input, and
    /// so is what an address has; or a git repository, URL#REFERENCE:DIRECTORY
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
        if self.harden && self.platforms.len() > 1 {
            let why =
                "--harden: both images are run to be compared, so that there can be only one platform, this machine's";
            return Err(Error::message(why.to_owned()));
        }
        let engine = context.engine()?;
        // What is unpacked for the build is nobody's leftover.
        let pin = engine.store().pin()?;
        let (files, found) = self.files(context, &engine)?;
        let parsed = dockerfile::parse(&found.text).map_err(BuildError::from);
        let built = parsed.and_then(|dockerfile| self.build(context, &engine, &files, (&dockerfile, &found)));
        let built = built.map_err(|error| failed(error, &found))?;
        // The image is in the index now, and what comes of --harden may have to be collected.
        let _pin = (!self.harden).then_some(pin);
        let Some(record) = self.hardened(&engine, &built)? else { return Ok(ExitCode::FAILURE) };
        let id = record.id().to_string();
        for output in &self.outputs {
            output.write(&engine, &record)?;
        }
        for to in &self.cache_to {
            to.write(context, &engine, &built)?;
        }
        if let Some(file) = &self.iidfile {
            fs::write(file, &id).map_err(|error| Error::io(format!("write {}", file.display()), &error))?;
        }
        if self.quiet {
            out::print(&format!("{id}\n"))?;
        } else if !self.harden {
            self.tell(&built);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Build {
    /// Returns what was built, or what becomes of it with `--harden`, which then has its names; `None` if that is not
    /// proven, and nothing but the cache is left.
    fn hardened(&self, engine: &Engine, built: &Built) -> Result<Option<ImageRecord>> {
        if !self.harden {
            return Ok(Some(built.record.clone()));
        }
        let base = engine.store().image(&built.record)?;
        // The base is of its own time already, as SOURCE_DATE_EPOCH may have said.
        let proof = ProofOptions { settle: SETTLE, env: Vec::new(), command: Vec::new() };
        let tried = harden::harden(engine, &base, &Asked { user: None, groups: false, epoch: None, proof });
        let holds = tried.as_ref().is_ok_and(|tried| tried.proof.holds());
        if let (true, Ok(tried)) = (holds, &tried) {
            for name in &self.tags {
                harden::tag(engine, &tried.hardened.record, &name.to_string())?;
            }
        }
        // What is hardened already is what it becomes.
        if !(holds && tried.as_ref().is_ok_and(|tried| tried.hardened.already)) {
            harden::discard(engine, &built.record)?;
        }
        let tried = tried?;
        if !self.quiet || !holds {
            let name = self.tags.first().map_or_else(|| "the result".to_owned(), Reference::to_string);
            out::complain(&(tried.table() + &tried.verdict(&name) + "\n"));
        }
        Ok(holds.then_some(tried.hardened.record))
    }

    fn build(
        &self,
        context: &Context,
        engine: &Engine,
        files: &Files,
        (dockerfile, found): (&dockerfile::Dockerfile, &Found),
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
        let progress = steps::reporter(if self.quiet { Form::Quiet } else { self.progress });
        let here = std::process::id();
        let find = |name: &str, platform: &Platform, number: usize| {
            // In the process of a stage the numbers are its own, and the view is not.
            let told = Pulled::new((std::process::id() == here).then_some(progress.as_ref()), number);
            self.find(context, engine, (name, platform), &told)
        };
        let fetch = |url: &str, verified: bool, path: &Path| self.fetch(context, url, verified, path);
        if !self.no_cache {
            self.cache_from.iter().for_each(|from| from.take(context, engine));
        }
        let request = Request {
            dockerfile,
            context: files,
            target: self.target.clone(),
            build_args,
            labels: named("--label", &self.labels).map_err(plain)?,
            // What is built for `--harden` has none; what comes of it has.
            names: if self.harden { Vec::new() } else { self.tags.clone() },
            secrets,
            agents: values::agents(&self.agents, &variable).map_err(plain)?,
            platforms: self.platforms(),
            dockerfile_name: &found.name,
            annotations: named("--annotation", &self.annotations).map_err(plain)?,
            compression: self.compression.into(),
            squash: self.squash,
            provenance: self.provenance.0,
            sbom: self.sbom,
            no_cache: self.no_cache,
            require_nonroot: self.require_nonroot && !self.harden,
            source_date_epoch,
            find_image: &find,
            fetch: &fetch,
            progress: progress.as_ref(),
        };
        build(engine, &request)
    }

    fn platforms(&self) -> Vec<Platform> {
        if self.platforms.is_empty() { vec![Platform::host()] } else { self.platforms.clone() }
    }

    /// Finds an image that a stage stands on, and pulls it where that is wanted.
    fn find(
        &self,
        context: &Context,
        engine: &Engine,
        (name, platform): (&str, &Platform),
        told: &Pulled<'_>,
    ) -> bryo_engine::error::Result<Image> {
        let store = engine.store();
        let policy = if self.pull { Pull::Always } else { context.pull_policy().map_err(of_command_line)? };
        let here = match (policy, store.find(name)) {
            (Pull::Always, _) => None,
            // A short word is a name, though some image's id may begin so.
            (_, Ok(record))
                if name.len() < ID_MIN && record.id().hex().starts_with(name) && !is_named(&record, name) =>
            {
                None
            }
            (_, Ok(record)) => Some(store.image(&record)?).filter(|image| is_for(image, platform)),
            (Pull::Never, Err(error)) => return Err(error.into()),
            (Pull::Missing, Err(_)) => None,
        };
        if let Some(image) = here {
            return Ok(image);
        }
        let wanted = format!("{}/{}", platform.os, platform.architecture);
        let wanted = platform.variant.as_ref().map_or(wanted.clone(), |variant| format!("{wanted}/{variant}"));
        let record = pull::fetch_telling(context, name, &wanted, told).map_err(of_command_line)?;
        Ok(store.image(&record)?)
    }

    /// Fetches a file for `ADD`. Plain HTTP only where the content is verified.
    fn fetch(&self, context: &Context, url: &str, verified: bool, path: &Path) -> bryo_engine::error::Result<()> {
        if url.starts_with("http://") && !verified {
            let why = format!(
                "{url}: over plain HTTP anybody on the way can change it; ADD --checksum=sha256:... says what it is"
            );
            return Err(EngineError::new(Kind::Source, why));
        }
        let options = context.registry(None).map_err(of_command_line)?;
        let limits = context.config().map_err(of_command_line)?.limits;
        let begin =
            || fs::File::create(path).map_err(|e| bryo_image::Error::io(format!("write {}", path.display()), e));
        let modified = bryo_image::registry::fetch(url, &options, verified, limits.compressed, begin)?;
        // As BuildKit does, so that what is the same gives the same layer at another time.
        let seconds = modified.and_then(|text| values::http_date(&text)).unwrap_or(0);
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let set = fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time));
        set.map_err(|e| EngineError::io("cannot set the time of", path, e))
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

/// Tells whether an image has a name.
fn is_named(record: &ImageRecord, name: &str) -> bool {
    let wanted = name.parse::<Reference>().map(|reference| reference.to_string());
    wanted.is_ok_and(|wanted| record.reference.as_deref() == Some(&wanted))
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
