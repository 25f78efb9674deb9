// SPDX-License-Identifier: Apache-2.0
//! A build, from a request to an image.
//!
//! Stages are made when they are asked for, beginning with the one that is wanted, so that what nobody needs is not made.
//! A process with threads cannot make user namespaces, and a step is a process that is cloned from the one that makes its
//! stage: what goes on at the same time goes on in processes (`crew`).

mod copy;
mod crew;
mod export;
mod fetched;
mod finish;
mod mask;
mod mounts;
mod provenance;
mod run;
mod simple;
mod ssh;
mod stage;
mod variables;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bryo_engine::Engine;
use bryo_engine::step::{CacheEntry, Compression, Scratch, StepCache};
use bryo_engine::users::Accounts;
use bryo_image::Digest;
use bryo_image::reference::Reference;
use bryo_image::registry::Platform;
use bryo_image::store::{Image, ImageRecord};
use bryo_image::unpack::Worker;

use crate::context::Context;
use crate::dockerfile::{self, Checks, Dockerfile, Finding, substitute};
use crate::error::{Result, wrong};
use crate::progress::{Event, Progress};
use crate::state::State;

pub use finish::User;
pub use provenance::{Detail, Provenance};

/// Finds an image by its name, for a platform, in a step of that number: pulls it where that is wanted.
pub type FindImage<'a> = &'a dyn Fn(&str, &Platform, usize) -> bryo_engine::error::Result<Image>;

/// Fetches a file from an address into a file; plain HTTP only where it is said that the content is going to be verified.
pub type Fetch<'a> = &'a dyn Fn(&str, bool, &Path) -> bryo_engine::error::Result<()>;

/// The argument that stands for the directive `check`.
const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// The most that the variables of a build may say, in bytes: each could double what the one before it says.
const EXPANDED_MAX: usize = 64 << 20;

/// What is to be built, and of what.
#[derive(Clone)]
pub struct Request<'a> {
    /// The Dockerfile.
    pub dockerfile: &'a Dockerfile,
    /// The files.
    pub context: &'a Context,
    /// The stage that is wanted, by name or number; the last one if nothing is said.
    pub target: Option<String>,
    /// The values of arguments.
    pub build_args: BTreeMap<String, String>,
    /// Labels for the result.
    pub labels: BTreeMap<String, String>,
    /// The result's names.
    pub names: Vec<Reference>,
    /// Secrets by their ids.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// The sockets of agents with keys, by their ids.
    pub agents: BTreeMap<String, PathBuf>,
    /// The platforms of the result: at least one.
    pub platforms: Vec<Platform>,
    /// What the Dockerfile is called.
    pub dockerfile_name: &'a str,
    /// Annotations of the manifests.
    pub annotations: BTreeMap<String, String>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Whether all layers that are made become one.
    pub squash: bool,
    /// How much is attested of the result; nothing for not at all.
    pub provenance: Option<Detail>,
    /// Whether a bill of materials of the result is attached to it.
    pub sbom: bool,
    /// Whether steps are made anew although they are known.
    pub no_cache: bool,
    /// Whether a result that runs as root is none.
    pub require_nonroot: bool,
    /// No time in the result is later than this, in seconds since the epoch.
    pub source_date_epoch: Option<u64>,
    /// Finds images.
    pub find_image: FindImage<'a>,
    /// Fetches files.
    pub fetch: Fetch<'a>,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("target", &self.target).field("names", &self.names).finish_non_exhaustive()
    }
}

/// What has been built.
#[derive(Debug)]
pub struct Built {
    /// The image.
    pub record: ImageRecord,
    /// Who it runs as.
    pub user: User,
    /// The steps that were made or found.
    pub steps: BTreeMap<Digest, CacheEntry>,
    /// What a person should know: arguments that nobody has asked for.
    pub notes: Vec<String>,
}

/// Builds an image. The calling process must have one thread.
///
/// # Errors
///
/// What is wrong with the Dockerfile, and where; what a step ended with. No image is made then.
pub fn build(engine: &Engine, request: &Request<'_>) -> Result<Built> {
    // No collection of garbage between a step and the image that names its layer.
    let _pin = engine.store().pin().map_err(bryo_engine::error::Error::from)?;
    let mut all = Vec::new();
    let mut last: Option<(Builder<'_>, User)> = None;
    for platform in &request.platforms {
        let mut builder = Builder::new(engine, request, platform)?;
        if let Some((before, _)) = &mut last {
            builder.told.set(before.told.get());
            builder.steps = std::mem::take(&mut before.steps);
        }
        let target = builder.target()?;
        let state = builder.make_all(target)?;
        let (made, user) = builder.finish(state)?;
        all.push(made);
        // Of several, the one that is root is the one to tell of.
        let user = last.map(|(_, user)| user).filter(User::is_root).unwrap_or(user);
        last = Some((builder, user));
    }
    let (mut builder, user) = last.ok_or_else(|| wrong("a build is for a platform, such as linux/arm64"))?;
    builder.export(&all, user)
}

/// A build that goes on.
struct Builder<'a> {
    engine: &'a Engine,
    /// Unpacks what steps have made; started when there is something.
    worker: OnceCell<Worker>,
    request: &'a Request<'a>,
    /// The build that this is a part of, if it only makes one stage.
    outside: Option<&'a crew::Outside>,
    /// What it is built for.
    platform: &'a Platform,
    /// The manifests of images that it stands on.
    materials: BTreeMap<String, Digest>,
    cache: StepCache,
    /// The time that is now.
    now: String,
    /// Arguments before the first stage, and their values.
    globals: Vec<(String, String)>,
    /// The arguments that somebody has asked for.
    asked_for: RefCell<BTreeSet<String>>,
    /// The stages that are made.
    stages: BTreeMap<usize, State>,
    /// Images that stages and steps stand on.
    images: BTreeMap<String, State>,
    /// The accounts of trees, by their layers.
    accounts: BTreeMap<String, Accounts>,
    /// What the checks have found.
    findings: Vec<String>,
    /// How many steps were told of.
    told: Cell<usize>,
    /// How much has come out of variables, in bytes.
    expanded: Cell<usize>,
    /// The steps that the result is made of, and those of stages beside it.
    steps: BTreeMap<Digest, CacheEntry>,
}

impl<'a> Builder<'a> {
    fn new(engine: &'a Engine, request: &'a Request<'a>, platform: &'a Platform) -> Result<Self> {
        let mut builder = Self {
            engine,
            worker: OnceCell::new(),
            request,
            outside: None,
            platform,
            materials: BTreeMap::new(),
            cache: StepCache::new(engine.store()),
            now: variables::time(request.source_date_epoch),
            globals: Vec::new(),
            asked_for: RefCell::new(BTreeSet::new()),
            stages: BTreeMap::new(),
            images: BTreeMap::new(),
            accounts: BTreeMap::new(),
            findings: Vec::new(),
            told: Cell::new(0),
            expanded: Cell::new(0),
            steps: BTreeMap::new(),
        };
        builder.read_globals()?;
        builder.check()?;
        Ok(builder)
    }

    /// Checks the Dockerfile; what is found is told at the end, or is the end.
    fn check(&mut self) -> Result<()> {
        let dockerfile = self.request.dockerfile;
        let given = self.request.build_args.get(CHECK).map(|text| Checks::parse(text).map_err(wrong)).transpose()?;
        let found = dockerfile::check(dockerfile, given.as_ref().unwrap_or(&dockerfile.checks))?;
        let told = |finding: Finding| {
            let Finding { check, place, message } = finding;
            format!("{}:{}: {check}: {message}", self.request.dockerfile_name, place.line)
        };
        self.findings = found.into_iter().map(told).collect();
        Ok(())
    }

    /// Makes the builder of one stage, in another process.
    fn beside(builder: &'a Builder<'a>, request: &'a Request<'a>, outside: &'a crew::Outside) -> Self {
        Self {
            engine: builder.engine,
            worker: OnceCell::new(),
            request,
            outside: Some(outside),
            platform: builder.platform,
            materials: BTreeMap::new(),
            cache: StepCache::new(builder.engine.store()),
            now: builder.now.clone(),
            globals: builder.globals.clone(),
            asked_for: builder.asked_for.clone(),
            stages: builder.stages.clone(),
            images: builder.images.clone(),
            accounts: builder.accounts.clone(),
            findings: Vec::new(),
            told: Cell::new(0),
            expanded: Cell::new(0),
            steps: BTreeMap::new(),
        }
    }

    fn worker(&self) -> Result<&Worker> {
        if let Some(worker) = self.worker.get() {
            return Ok(worker);
        }
        let worker = self.engine.worker()?;
        Ok(self.worker.get_or_init(|| worker))
    }

    /// Returns the number of the stage that is wanted.
    fn target(&self) -> Result<usize> {
        let stages = &self.request.dockerfile.stages;
        let Some(target) = &self.request.target else { return Ok(stages.len() - 1) };
        let name = target.to_ascii_lowercase();
        let named = stages.iter().rposition(|stage| stage.name.as_deref() == Some(&name));
        let numbered = || target.parse().ok().filter(|number: &usize| *number < stages.len());
        named.or_else(numbered).ok_or_else(|| {
            let names: Vec<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
            wrong(format!("there is no stage {target:?}; there are: {}", names.join(", ")))
        })
    }

    /// Begins to tell of a step.
    fn begin(&self, name: &str) -> usize {
        let number = self.told.get() + 1;
        self.told.set(number);
        self.request.progress.event(Event::Begin(number, name));
        number
    }

    fn tell(&self, event: Event<'_>) {
        self.request.progress.event(event);
    }

    /// Tells of a step from its beginning to its end.
    fn told<T>(&mut self, name: &str, work: impl FnOnce(&mut Self, usize) -> Result<T>) -> Result<T> {
        let number = self.begin(name);
        let done = work(self, number);
        match &done {
            Ok(_) => self.tell(Event::End(number)),
            Err(error) => self.tell(Event::Failed(number, &error.to_string())),
        }
        done
    }

    /// Ends a step: what it wrote to is removed, and what went wrong with the step is told before what goes wrong with
    /// that.
    fn ended<T>(&self, scratch: Scratch, result: Result<T>) -> Result<T> {
        let removed = self.engine.discard_step(scratch);
        let value = result?;
        removed?;
        Ok(value)
    }

    /// Replaces the variables of a word in a stage.
    fn expand(&self, word: &str, state: &State) -> Result<String> {
        self.expand_by(&|name| state.variable(name), |lookup, escape| substitute::word(word, lookup, escape))
    }

    /// Replaces variables, as long as it is not too much that they say in all.
    fn expand_by<T>(
        &self,
        known: substitute::Lookup<'_>,
        replace: impl FnOnce(substitute::Lookup<'_>, char) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let lookup = |name: &str| {
            let value = known(name)?;
            self.expanded.set(self.expanded.get() + value.len());
            Some(value)
        };
        let replaced = replace(&lookup, self.request.dockerfile.escape).map_err(wrong)?;
        if self.expanded.get() > EXPANDED_MAX {
            return Err(wrong("what the variables of all instructions say is too long"));
        }
        Ok(replaced)
    }
}
