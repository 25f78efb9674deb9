// SPDX-License-Identifier: Apache-2.0
//! What commands share: the configuration, the store, the engine. Each is made when a command asks for it.

use std::cell::OnceCell;
use std::path::PathBuf;

use bryo_audit::{Auditor, Finding, Level};
use bryo_engine::config::Config;
use bryo_engine::events::Journal;
use bryo_engine::options::Pull;
use bryo_engine::policy::{PodSecurity, PolicyFile};
use bryo_engine::{Dirs, Engine, Policy};
use bryo_image::registry::RegistryOptions;
use bryo_image::store::Store;

use crate::errors::{Error, Result};
use crate::paths;

/// The flags before the command, and what follows from them.
#[derive(Debug)]
pub struct Context {
    root: Option<PathBuf>,
    file: Option<PathBuf>,
    policies: Vec<PathBuf>,
    config: OnceCell<Config>,
}

impl Context {
    /// Keeps the flags; looks at nothing.
    pub fn new(root: Option<PathBuf>, config: Option<PathBuf>, policies: Vec<PathBuf>) -> Self {
        Self { root, file: config, policies, config: OnceCell::new() }
    }

    /// Returns where it is written down what must hold of a container: the site's file, the caller's own, and those of
    /// the command line, which must be there.
    fn policy_files(&self) -> Vec<PolicyFile> {
        let usual = paths::policies().into_iter().map(|path| PolicyFile { path, required: false });
        let given = self.policies.iter().map(|path| PolicyFile { path: path.clone(), required: true });
        usual.chain(given).collect()
    }

    /// Returns the directory of images, layers, containers and volumes.
    ///
    /// # Errors
    ///
    /// If the environment does not say where.
    pub fn data(&self) -> Result<PathBuf> {
        match &self.root {
            Some(dir) => std::path::absolute(dir).map_err(|error| Error::io(dir.display(), &error)),
            None => paths::data(),
        }
    }

    /// Returns the directories that the engine keeps its things in.
    ///
    /// # Errors
    ///
    /// If the environment does not say where.
    pub fn dirs(&self) -> Result<Dirs> {
        let data = self.data()?;
        Ok(Dirs { runtime: paths::runtime(&data), data })
    }

    /// Returns the configuration files, the stronger one last.
    pub fn config_files(&self) -> Vec<PathBuf> {
        match &self.file {
            Some(file) => vec![file.clone()],
            None => paths::configs(),
        }
    }

    /// Returns the configuration file that is the caller's own.
    ///
    /// # Errors
    ///
    /// If the environment does not say where.
    pub fn own_config_file(&self) -> Result<PathBuf> {
        self.file.clone().map_or_else(paths::config, Ok)
    }

    /// Returns the configuration, which is read once.
    ///
    /// # Errors
    ///
    /// What is wrong in a file, and where; that a file which was asked for does not exist.
    pub fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        if let Some(file) = &self.file {
            std::fs::metadata(file).map_err(|error| Error::io(format!("read {}", file.display()), &error))?;
        }
        let config = Config::load(self.config_files())?;
        Ok(self.config.get_or_init(|| config))
    }

    /// Returns when images are pulled, if the command line does not say.
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config).
    pub fn pull_policy(&self) -> Result<Pull> {
        Ok(self.config()?.pull)
    }

    /// Opens the store, for commands that only read it.
    ///
    /// # Errors
    ///
    /// If it is not there and cannot be made, or is not the caller's.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.data()?)?)
    }

    /// Returns the journal of what happens.
    ///
    /// # Errors
    ///
    /// If the environment does not say where it is.
    pub fn journal(&self) -> Result<Journal> {
        Ok(Journal::new(&self.data()?))
    }

    /// Opens the engine as the configuration wants it.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store) and [`config`](Self::config).
    pub fn engine(&self) -> Result<Engine> {
        let config = self.config()?;
        let policy = Policy { files: self.policy_files(), standards: Some(standards), ..config.policy() };
        Ok(Engine::open(self.dirs()?, policy)?)
    }

    /// Returns how registries are reached; `insecure` is a host that need not prove who it is.
    ///
    /// # Errors
    ///
    /// As [`config`](Self::config).
    pub fn registry(&self, insecure: Option<String>) -> Result<RegistryOptions> {
        let mut options =
            RegistryOptions { auth: paths::auth(), proxies: paths::proxies(), ..RegistryOptions::default() };
        self.config()?.configure(&mut options);
        options.insecure.extend(insecure);
        Ok(options)
    }
}

/// Judges a container by the rules that `bryo audit --level` has.
fn standards(level: PodSecurity, inspected: &str) -> std::result::Result<Vec<String>, String> {
    let level = match level {
        PodSecurity::Baseline => Level::Baseline,
        PodSecurity::Restricted => Level::Restricted,
    };
    let auditor = Auditor { level: Some(level), ..Auditor::default() };
    let outcome = auditor.container("the container", inspected, |_| ());
    match outcome.problems.first() {
        Some(problem) => Err(problem.message.clone()),
        None => {
            let told = |finding: &Finding| format!("{}, {}", finding.rule.id, finding.evidence);
            Ok(outcome.open().map(told).collect())
        }
    }
}
