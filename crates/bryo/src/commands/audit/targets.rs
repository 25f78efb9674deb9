// SPDX-License-Identifier: Apache-2.0
//! What can be audited besides files: images by every way to them, and running containers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use bryo_audit::facts::image::Image;
use bryo_audit::identity::Accounts;
use bryo_audit::{Auditor, Outcome, engines, kernel};
use bryo_engine::Engine;
use bryo_engine::container::Record;
use bryo_engine::drift::{Drift, Foreign, Unread};
use bryo_engine::error::Kind;
use bryo_engine::policy::{Report, Verdict};
use bryo_image::archive::{self, LoadOptions};
use bryo_image::changes::ChangeKind;
use bryo_image::reference::Source;
use bryo_image::store::{self, ImageRecord, Store};

use super::{flaws, stores};
use crate::commands::{policy, pull};
use crate::context::Context;
use crate::errors::{Error, Result, chain};

/// The largest image that another engine is asked for, in bytes.
const IMAGE_MAX: u64 = 64 << 30;

/// Finds the users of images that are here. Threads may share it; the store is opened when it is first asked.
#[derive(Debug)]
pub struct Users {
    data: Option<PathBuf>,
    store: OnceLock<Option<Store>>,
    known: Mutex<BTreeMap<String, Option<String>>>,
    accounts: Mutex<BTreeMap<String, Option<Accounts>>>,
}

impl Users {
    /// Looks at nothing yet.
    pub fn new(context: &Context) -> Self {
        Self { data: context.data().ok(), store: OnceLock::new(), known: Mutex::default(), accounts: Mutex::default() }
    }

    /// Returns the user of an image, empty if it sets none; nothing if the image is not here.
    pub fn of(&self, image: &str) -> Option<String> {
        if let Ok(known) = self.known.lock()
            && let Some(user) = known.get(image)
        {
            return user.clone();
        }
        let user = self.look(image);
        if let Ok(mut known) = self.known.lock() {
            known.insert(image.to_owned(), user.clone());
        }
        user
    }

    /// Returns the accounts of an image; nothing if the image is not here.
    pub fn accounts_of(&self, image: &str) -> Option<Accounts> {
        // Who asks while another one reads waits for the same answer.
        let mut known = self.accounts.lock().ok()?;
        if let Some(accounts) = known.get(image) {
            return accounts.clone();
        }
        let accounts = self.find(image).and_then(|(store, found)| Image::read_accounts(store, &found).ok());
        known.insert(image.to_owned(), accounts.clone());
        accounts
    }

    fn find(&self, image: &str) -> Option<(&Store, store::Image)> {
        // A store that is not there is not made for a question.
        let open =
            || self.data.as_ref().filter(|data| data.join("images").is_dir()).and_then(|data| Store::open(data).ok());
        let store = self.store.get_or_init(open).as_ref()?;
        Some((store, store.image(&store.find(image).ok()?).ok()?))
    }

    fn look(&self, image: &str) -> Option<String> {
        let (_, found) = self.find(image)?;
        let config = found.config.config().as_ref();
        Some(config.and_then(|config| config.user().clone()).unwrap_or_default())
    }
}

/// Whoever audits, and where containers and images are looked for.
#[derive(Debug)]
pub struct Targets<'a> {
    /// What commands share.
    pub context: &'a Context,
    /// The socket of another engine, if it was named.
    pub socket: Option<PathBuf>,
    /// Who audits.
    pub auditor: Auditor<'a>,
}

impl Targets<'_> {
    /// Audits what a word of the command line names.
    pub fn audit(&self, target: &str) -> Vec<Outcome> {
        let found = match target.split_once(':') {
            _ if target == "-" => Ok(vec![self.auditor.stream("standard input", io::stdin().lock())]),
            Some((engine @ ("docker" | "podman"), name)) if !name.starts_with("//") => self.containers_of(engine, name),
            Some(("docker-daemon", name)) => self.image_of("docker", name),
            Some(("containers-storage", name)) => self.image_of("podman", name),
            Some(("oci" | "oci-archive" | "docker-archive" | "dir", _)) => self.viewed(target),
            Some(("docker", _)) => self.pulled(target),
            _ if Path::new(target).exists() => self.path(Path::new(target)),
            _ => self.own(target),
        };
        found.unwrap_or_else(|error| vec![Outcome::failed(target, error.text().unwrap_or_default())])
    }

    /// Audits the running containers of every engine that is here.
    pub fn running(&self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        match self.context.engine() {
            Ok(engine) => {
                let running = engine.containers().all().into_iter().filter(|record| record.state.is_running());
                outcomes.extend(running.map(|record| self.container(&engine, &record)));
            }
            Err(error) => outcomes.push(Outcome::failed("bryo", error.text().unwrap_or_default())),
        }
        for name in ["docker", "podman"] {
            if self.socket_of(name).is_some() {
                let found = self.containers_of(name, "");
                outcomes.extend(found.unwrap_or_else(|e| vec![Outcome::failed(name, e.text().unwrap_or_default())]));
            } else if stores::has_containers(name) {
                let why = format!("{name} does not listen: its containers are not looked at (--socket PATH)");
                outcomes.push(Outcome::left_out(name, why));
            }
        }
        outcomes
    }

    /// Audits a path; an archive of an image is one, by its first bytes.
    fn path(&self, path: &Path) -> Result<Vec<Outcome>> {
        if is_archive(path) {
            let file = File::open(path).map_err(|error| Error::io(format!("open {}", path.display()), &error))?;
            return self.archive(&path.display().to_string(), file);
        }
        Ok(self.auditor.path(path))
    }

    /// Audits the images of an archive, in a store that is thrown away.
    fn archive(&self, name: &str, file: File) -> Result<Vec<Outcome>> {
        self.in_passing(name, |store| archive::view_archive(store, file, &self.options()?).map_err(Error::from))
    }

    fn viewed(&self, target: &str) -> Result<Vec<Outcome>> {
        let source: Source = target.parse()?;
        self.in_passing(target, |store| archive::view(store, &source, &self.options()?).map_err(Error::from))
    }

    fn options(&self) -> Result<LoadOptions> {
        Ok(LoadOptions { limits: self.context.config()?.limits, ..LoadOptions::default() })
    }

    fn in_passing(&self, name: &str, load: impl FnOnce(&Store) -> Result<Vec<ImageRecord>>) -> Result<Vec<Outcome>> {
        let dir = passing_dir()?;
        let store = Store::open(&dir.path().join("store"))?;
        let mut records = load(&store)?;
        records.dedup_by(|a, b| a.manifest == b.manifest);
        let shown = |record: &ImageRecord| match &record.reference {
            Some(reference) if records.len() > 1 => format!("{name} {reference}"),
            _ => name.to_owned(),
        };
        Ok(records.iter().map(|record| self.auditor.image(&store, record, &shown(record))).collect())
    }

    fn pulled(&self, target: &str) -> Result<Vec<Outcome>> {
        let record = pull::fetch(self.context, target, None, false)?;
        Ok(vec![self.auditor.image(&self.context.store()?, &record, target)])
    }

    /// Audits a container or an image of bryo.
    fn own(&self, name: &str) -> Result<Vec<Outcome>> {
        let engine = self.context.engine()?;
        if let Ok(record) = engine.containers().find(name) {
            return Ok(vec![self.container(&engine, &record)]);
        }
        match engine.store().find(name) {
            Ok(record) => {
                let mut outcome = self.auditor.image(engine.store(), &record, name);
                self.add_policy(&mut outcome, policy::report(&engine, name));
                self.add_flaws(&mut outcome, &engine, name);
                Ok(vec![outcome])
            }
            Err(error) if error.kind() == bryo_image::Kind::NotFound => {
                let what = "no such file, directory, container or image; an image that is elsewhere is docker://NAME";
                Err(Error::message(what))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Adds the rules of the policy that do not hold; a policy that cannot be read is a rule that does not hold.
    fn add_policy(&self, outcome: &mut Outcome, report: Result<Report>) {
        let told = |v: &Verdict| format!("{}:{}: {}: {}; {}", v.file.display(), v.line, v.rule, v.why, v.remedy);
        let broken = match report {
            Ok(report) => report.broken().map(told).collect(),
            Err(error) => error.text().into_iter().collect::<Vec<_>>(),
        };
        self.auditor.policy(outcome, broken);
    }

    fn container(&self, engine: &Engine, record: &Record) -> Outcome {
        let mut outcome = self.judged(engine, record);
        self.add_policy(&mut outcome, engine.verdict_on_container(record).map_err(Error::from));
        self.add_flaws(&mut outcome, engine, &record.name);
        outcome
    }

    /// Adds the published flaws of an image's or a container's packages, where there are advisories to look at.
    fn add_flaws(&self, outcome: &mut Outcome, engine: &Engine, name: &str) {
        // A level of others has no such rule.
        if self.auditor.level.is_some() {
            return;
        }
        match flaws::of(engine, name) {
            Ok(found) => {
                self.auditor.flaws(outcome, &found.all);
                not_read(outcome, found.unread);
                not_judged(outcome, found.not_judged);
            }
            Err(error) => {
                not_read(outcome, [format!("look for vulnerabilities: {}", error.text().unwrap_or_default())]);
            }
        }
    }

    fn judged(&self, engine: &Engine, record: &Record) -> Outcome {
        let text = match engine.inspect(record) {
            Ok(value) => value.to_string(),
            Err(error) => return Outcome::failed(&record.name, error.to_string()),
        };
        // Some containers have no layer of their own, and nothing to compare.
        let unsupported = |error: &bryo_engine::error::Error| error.kind() == Kind::Unsupported;
        let (mut unread, mut beyond) = (Vec::new(), Vec::new());
        let mut outcome = self.auditor.container(&format!("bryo container {}", record.name), &text, |made| {
            let pid = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|v| v["State"]["Pid"].as_u64());
            let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
            made.process = pid.and_then(kernel::process);
            kernel::complete(made);
            match engine.drift(std::slice::from_ref(record)).remove(0) {
                Ok(drift) => {
                    unread.extend(drift.unread.iter().map(told));
                    made.drift = Some(drift.findings);
                }
                Err(error) => {
                    let list = if unsupported(&error) { &mut beyond } else { &mut unread };
                    list.push(format!("compare with the image: {}", chain(&error)));
                }
            }
            let changes = engine.changes(record).unwrap_or_else(|error| {
                let list = if unsupported(&error) { &mut beyond } else { &mut unread };
                list.push(format!("list what has changed: {}", chain(&error)));
                Vec::new()
            });
            for change in changes {
                let kind = match change.kind {
                    ChangeKind::Changed => 0,
                    ChangeKind::Added => 1,
                    ChangeKind::Deleted => 2,
                };
                made.changes.push((kind, change.path.to_string_lossy().into_owned()));
            }
        });
        not_read(&mut outcome, unread);
        not_judged(&mut outcome, beyond);
        outcome
    }

    /// Returns where an engine listens.
    fn socket_of(&self, engine: &str) -> Option<PathBuf> {
        self.socket.clone().or_else(|| crate::paths::engine_socket(engine))
    }

    fn engine(&self, name: &str) -> Result<engines::Engine> {
        let (name, hint) = match name {
            "docker" => ("docker", "--socket PATH"),
            _ => ("podman", "podman system service, or --socket PATH"),
        };
        let socket = self.socket_of(name);
        let socket =
            socket.ok_or_else(|| Error::message(format!("find the socket of {name}: there is none")).hint(hint))?;
        Ok(engines::Engine { name, socket })
    }

    /// Audits one container of another engine, or all that run.
    fn containers_of(&self, engine: &str, name: &str) -> Result<Vec<Outcome>> {
        let engine = self.engine(engine)?;
        let all = match name {
            "" => engine.containers().map_err(Error::message)?,
            name => vec![(name.to_owned(), name.to_owned())],
        };
        let one = |(id, name): &(String, String)| {
            let shown = format!("{} container {name}", engine.name);
            match engine.inspect(id) {
                Ok(text) => {
                    let mut unread = Vec::new();
                    let mut outcome = self.auditor.container(&shown, &text, |made| {
                        engine.more(&text, made);
                        match self.drift_elsewhere(&text) {
                            Ok(drift) => {
                                unread.extend(drift.unread.iter().map(told));
                                made.drift = Some(drift.findings);
                            }
                            Err(why) => unread.push(format!("compare with the image: {why}")),
                        }
                    });
                    // Others' containers are theirs to close.
                    not_judged(&mut outcome, unread);
                    outcome
                }
                Err(error) => Outcome::failed(&shown, error),
            }
        };
        Ok(all.iter().map(one).collect())
    }

    /// Looks for what is not as in the image of a container of another engine, or says why nobody can.
    fn drift_elsewhere(&self, inspected: &str) -> std::result::Result<Drift, String> {
        let value = serde_json::from_str(inspected).map_err(|error| error.to_string())?;
        let other = Foreign::parse(&value).map_err(|error| chain(&error))?;
        let engine = self.context.engine().map_err(|error| error.text().unwrap_or_default())?;
        engine.drift_of_others(&[other]).remove(0).map_err(|error| chain(&error))
    }

    /// Audits an image of another engine's store: by its files where nobody listens, else as that engine exports it.
    fn image_of(&self, engine: &str, name: &str) -> Result<Vec<Outcome>> {
        if self.socket_of(engine).is_none() {
            return self.stored(engine, name);
        }
        let engine = self.engine(engine)?;
        let body = engine.image(name).map_err(Error::message)?;
        let failed = |error: io::Error| Error::io(format!("get image {name} from {}", engine.name), &error);
        let mut file = tempfile::tempfile_in(passing_place()).map_err(failed)?;
        io::copy(&mut body.take(IMAGE_MAX), &mut file).and_then(|_| file.rewind()).map_err(failed)?;
        self.archive(name, file)
    }
}

impl Targets<'_> {
    /// Audits an image of another engine by the files of its store.
    fn stored(&self, engine: &str, name: &str) -> Result<Vec<Outcome>> {
        let Some((facts, unread)) = stores::find(engine, name)? else {
            let dirs: Vec<String> = stores::dirs(engine).iter().map(|dir| dir.display().to_string()).collect();
            let what = format!("{engine} does not listen, and there is no image {name} in {}", dirs.join(", "));
            return Err(Error::message(what));
        };
        let mut outcome = self.auditor.image_facts(&facts);
        not_read(&mut outcome, unread);
        Ok(vec![outcome])
    }
}

/// Says what could not be looked into.
fn told(unread: &Unread) -> String {
    format!("{}: {}", unread.what, unread.why)
}

/// Adds what of a target could not be read.
fn not_read(outcome: &mut Outcome, all: impl IntoIterator<Item = String>) {
    for why in all {
        outcome.problems.extend(Outcome::failed(&outcome.target, why).problems);
    }
}

/// Adds what of a target nothing is known of.
fn not_judged(outcome: &mut Outcome, all: impl IntoIterator<Item = String>) {
    for why in all {
        outcome.not_judged.extend(Outcome::left_out(&outcome.target, why).not_judged);
    }
}

/// Where images are kept while they are looked at: not in memory, where `/tmp` may be.
fn passing_place() -> PathBuf {
    let disk = PathBuf::from("/var/tmp");
    if disk.is_dir() { disk } else { std::env::temp_dir() }
}

fn passing_dir() -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("bryo-audit-").tempdir_in(passing_place());
    made.map_err(|error| Error::io("make a temporary directory", &error))
}

/// Tells whether a file begins as an archive does: compressed, or with the mark of tar.
fn is_archive(path: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(path) else { return false };
    if !meta.is_file() {
        return false;
    }
    let Ok(file) = File::open(path) else { return false };
    let mut head = Vec::new();
    if file.take(512).read_to_end(&mut head).is_err() {
        return false;
    }
    head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.get(257..262) == Some(b"ustar")
}
