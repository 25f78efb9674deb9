// SPDX-License-Identifier: Apache-2.0
//! Auditing files: which kind each is, several at a time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::near::Near;
use super::{Auditor, Kind, Outcome, Problem, cards};
use crate::facts::dockerfile::Facts;
use crate::facts::network::{Policy, Target};
use crate::facts::workload::{Build, Workload};
use crate::facts::yaml::{Mistake, Node};
use crate::facts::{compose, container, kubernetes};
use crate::identity::{Accounts, Part, User};
use crate::judge::{self, dockerfile::Around};
use crate::model::{Fact, Sink};
use crate::{bases, walk};

pub(super) use super::documents as parse;
use super::documents_each;

impl Auditor<'_> {
    /// Audits all files below a directory.
    pub(super) fn directory(&self, path: &Path) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let found = walk::files(path, &is_wanted, &mut |path, why| {
            outcomes.push(Outcome::failed(&path.display().to_string(), why));
        });
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.clamp(1, 64).min(found.len().max(1)) {
                scope.spawn(|| {
                    let mut own = Vec::new();
                    while let Some(file) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                        own.extend(self.found(path, file));
                    }
                    if let Ok(mut done) = done.lock() {
                        done.append(&mut own);
                    }
                });
            }
        });
        outcomes.extend(done.into_inner().unwrap_or_default());
        if outcomes.is_empty() {
            let why = "nothing in it is a Dockerfile, Compose file, Kubernetes object or OCI bundle";
            outcomes.push(Outcome::failed(&path.display().to_string(), why));
        }
        outcomes.sort_by(|a, b| a.target.cmp(&b.target));
        super::settle(&mut outcomes);
        outcomes
    }

    /// Audits a file that was found, if it is one to audit.
    fn found(&self, root: &Path, file: &walk::Found) -> Option<Outcome> {
        let name = file.path.display().to_string();
        let near = &Near::below(root, &file.path);
        let by_name = by_name(&name);
        let bytes = match file.read() {
            Ok(bytes) => decoded(bytes, by_name),
            Err(why) => return Some(Outcome::failed(&name, why)),
        };
        // Of other files with the same ending there are many.
        if by_name.is_none() && !may_be(&bytes) {
            return None;
        }
        // An override is judged with what it is put on.
        if by_name == Some(Kind::Compose) && near.is_override(&name) {
            return None;
        }
        let outcome = self.bytes(&name, bytes, by_name, Some(near));
        (outcome.kind != Kind::Unknown || !outcome.problems.is_empty()).then_some(outcome)
    }

    /// Audits a file that was named.
    pub(super) fn named_file(&self, path: &Path) -> Outcome {
        let name = path.display().to_string();
        let bytes = match walk::named(path) {
            Ok(bytes) => bytes,
            Err(why) => return Outcome::failed(&name, why),
        };
        self.known(self.bytes(&name, bytes, by_name(&name), Some(&Near::beside(path))))
    }

    /// Audits what comes through a stream.
    pub fn stream(&self, name: &str, stream: impl std::io::Read) -> Outcome {
        match walk::bounded(stream) {
            Ok(bytes) => self.known(self.bytes(name, bytes, None, None)),
            Err(why) => Outcome::failed(name, why),
        }
    }

    fn known(&self, mut outcome: Outcome) -> Outcome {
        if outcome.kind == Kind::Unknown && outcome.problems.is_empty() {
            outcome.problem(
                0,
                0,
                "this is no Dockerfile, Compose file, Kubernetes object, OCI bundle or description of a container",
            );
        }
        outcome
    }

    fn bytes(&self, name: &str, bytes: Vec<u8>, kind: Option<Kind>, near: Option<&Near>) -> Outcome {
        match String::from_utf8(decoded(bytes, kind)) {
            Ok(text) => self.text(name, &text, kind, near),
            Err(error) => {
                let line =
                    error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
                let mut outcome = Outcome::new(name, Kind::Unknown);
                outcome.problem(line, 0, "it is no text: not UTF-8");
                outcome
            }
        }
    }

    /// Audits a text, which is of a kind or of one that it tells itself. `near` has what lies beside it.
    pub fn text(&self, name: &str, text: &str, kind: Option<Kind>, near: Option<&Near>) -> Outcome {
        let dockerfile = kind == Some(Kind::Dockerfile) || kind.is_none() && is_dockerfile(text);
        let outcome = if dockerfile { self.dockerfile(name, text, near) } else { self.yaml(name, text, kind, near) };
        let mut outcome = self.finished(outcome, Some(text));
        super::settle(std::slice::from_mut(&mut outcome));
        outcome
    }

    fn dockerfile(&self, name: &str, text: &str, near: Option<&Near>) -> Outcome {
        let mut outcome = Outcome::new(name, Kind::Dockerfile);
        if let Some(at) = text.find('\0') {
            let line = text[..at].matches('\n').count() + 1;
            let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1) + 1;
            outcome.problem(line, column, "a NUL byte: this is no text");
            return outcome;
        }
        let facts = match Facts::read(&outcome.target, text, self.stage.as_deref()) {
            Ok(facts) => facts,
            Err(mistake) => {
                outcome.problem(mistake.place.line, mistake.place.column, mistake.message);
                return outcome;
            }
        };
        let context = |path: &str| near?.read(path.trim_start_matches('/'));
        let file = name.rsplit('/').next().unwrap_or(name);
        let ignores = near.map(|near| near.has(".dockerignore") || near.has(&format!("{file}.dockerignore")));
        let around = Around { user_of: self.user_of, accounts_of: self.accounts_of, context: &context, ignores };
        let target = facts.stages.get(facts.target).map_or("", |stage| &stage.name);
        let mut sink = Sink::new(target);
        let verdict = judge::dockerfile::judge(&facts, &around, &self.setting, &mut sink);
        outcome.findings = sink.findings;
        outcome.subjects.push(cards::of_dockerfile(&facts, verdict, &outcome.findings));
        outcome
    }

    fn yaml(&self, name: &str, text: &str, kind: Option<Kind>, near: Option<&Near>) -> Outcome {
        let mut outcome = Outcome::new(name, kind.unwrap_or(Kind::Unknown));
        let (documents, mistakes) = documents_each(text);
        for Mistake { line, column, message } in mistakes {
            outcome.problem(line, column, message);
        }
        for node in documents.iter().filter(|node| !node.is_null()) {
            self.document(&mut outcome, node, kind, near);
        }
        outcome
    }

    fn document(&self, outcome: &mut Outcome, node: &Arc<Node>, kind: Option<Kind>, near: Option<&Near>) {
        let file = Arc::clone(&outcome.target);
        if node.get("kind").is_some() && node.get("apiVersion").is_some() {
            outcome.kind = Kind::Kubernetes;
            match kubernetes::read(&file, node, near.is_some_and(|near| near.is_patch(&file))) {
                Ok(objects) => objects.iter().for_each(|object| self.object(outcome, object)),
                Err(mistake) => outcome.problem(mistake.line, mistake.column, mistake.message),
            }
        } else if kind == Some(Kind::Compose) || node.get("services").is_some_and(Node::is_map) {
            outcome.kind = Kind::Compose;
            if !node.get("services").is_some_and(Node::is_map) {
                return outcome.problem(node.line, node.column, "there are no services");
            }
            let files = |path: &str| Some((Arc::from(near?.shown(&file, path)), near?.read(path)?));
            for mut service in compose::read(&file, node, &files) {
                match service.build.clone() {
                    Some(build) => self.built(&mut service, &build, near),
                    None => self.of_image(&mut service),
                }
                self.workload(outcome, &service);
            }
        } else if container::is_inspect(node) {
            outcome.kind = Kind::Container;
            for made in container::inspect(&file, node) {
                self.workload(outcome, &made);
            }
        } else if container::is_bundle(node) {
            outcome.kind = Kind::Bundle;
            let made = container::bundle(&file, node);
            self.workload(outcome, &made);
        }
    }

    fn object(&self, outcome: &mut Outcome, object: &kubernetes::Object) {
        let mut sink = Sink::new(&object.name);
        judge::cluster::judge(&outcome.target, object, &mut sink);
        outcome.findings.append(&mut sink.findings);
        outcome.net.policies.extend(Policy::read(object));
        outcome.net.targets.extend(Target::read(object));
        for Mistake { line, column, message } in &object.problems {
            outcome.problem(*line, *column, message.clone());
        }
        if let Some(why) = &object.not_judged {
            let place = kubernetes::place(&outcome.target, &object.node);
            outcome.not_judged.push(Problem { place, message: why.clone() });
        }
        for (pod, containers) in &object.pods {
            let before = outcome.findings.len();
            let first = outcome.subjects.len();
            self.workload(outcome, pod);
            for container in containers {
                let mut container = container.clone();
                self.of_image(&mut container);
                self.workload(outcome, &container);
            }
            let level = cards::level(&outcome.findings[before..]);
            outcome.subjects[first..].iter_mut().for_each(|card| card.level = Some(level));
        }
    }

    /// Adds what is known of a workload's image: its user, and whom a name makes of it.
    fn of_image(&self, made: &mut Workload) {
        let Some(image) = made.image.as_ref().map(|image| image.value.clone()) else { return };
        made.image_user = self.image_user(&image);
        let said = made.user.as_ref().map(|user| user.value.as_str()).or(made.image_user.as_deref());
        let Some(user) = said.and_then(User::parse) else { return };
        let accounts = if matches!(user.user, Part::Name(_)) { (self.accounts_of)(&image) } else { None };
        made.named = Some(user.resolved(&image, accounts.as_ref(), &Accounts::default()));
    }

    /// Adds what is known of what a service is built from: its user, empty if nothing sets one, and whom a name makes of it.
    fn built(&self, service: &mut Workload, build: &Fact<Build>, near: Option<&Near>) {
        let Some(near) = near else { return };
        let Build { context, dockerfile, inline, target, arguments } = &build.value;
        let path = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("{context}/{name}") };
        let text = match inline {
            Some(text) => Some(text.clone()),
            None => {
                let usual = || near.read(&path("Dockerfile")).or_else(|| near.read(&path("Containerfile")));
                dockerfile.as_ref().map_or_else(usual, |name| near.read(&path(name)))
            }
        };
        let mut lost = |value: String| service.unresolved.push(Fact { value, place: build.place.clone() });
        let Some(text) = text else {
            return lost(format!("the Dockerfile of {context} is not here: who runs is not known"));
        };
        let facts = match Facts::read_with(&Arc::from("Dockerfile"), &text, target.as_deref(), arguments) {
            Ok(facts) => facts,
            Err(mistake) => {
                let why = mistake.message;
                return lost(format!("the Dockerfile of {context} cannot be read ({why}): who runs is not known"));
            }
        };
        let Some(stage) = facts.stages.get(facts.target) else { return };
        let user = match stage.user.as_ref() {
            Some(user) if user.value.unknown => {
                return lost(format!("USER {} depends on an argument without a value", user.value.raw));
            }
            Some(user) => user.value.text.clone(),
            None => facts.base().and_then(|base| self.image_user(base)).unwrap_or_default(),
        };
        let context = |name: &str| near.read(&path(name.trim_start_matches('/')));
        let around = Around { user_of: self.user_of, accounts_of: self.accounts_of, context: &context, ignores: None };
        let said = service.user.as_ref().map_or(user.as_str(), |user| user.value.as_str());
        service.named = User::parse(said).map(|user| judge::dockerfile::who(&facts, &user, &around));
        service.image_user = Some(user);
    }

    fn image_user(&self, image: &str) -> Option<String> {
        (self.user_of)(image).or_else(|| bases::known_user(image).map(str::to_owned))
    }
}

/// Tells the kind of a file by its name, if the name leaves no doubt.
fn by_name(path: &str) -> Option<Kind> {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let dockerfile = ["dockerfile", "containerfile"];
    let ignore = name.ends_with("ignore");
    if !ignore
        && dockerfile
            .iter()
            .any(|word| name == *word || name.starts_with(&format!("{word}.")) || name.ends_with(&format!(".{word}")))
    {
        return Some(Kind::Dockerfile);
    }
    let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    let compose = ["compose.", "docker-compose.", "podman-compose.", "container-compose.", "docker-compose-"];
    (yaml && compose.iter().any(|begin| name.starts_with(begin))).then_some(Kind::Compose)
}

fn is_wanted(name: &str) -> bool {
    by_name(name).is_some() || [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
}

/// Makes UTF-8 of UTF-16, by its mark: Kubernetes' tools read that too, builders do not. What is neither stays as it is.
fn decoded(bytes: Vec<u8>, kind: Option<Kind>) -> Vec<u8> {
    if kind == Some(Kind::Dockerfile) || bytes.len() % 2 == 1 {
        return bytes;
    }
    let unit: fn([u8; 2]) -> u16 = match bytes.get(..2) {
        Some([0xff, 0xfe]) => u16::from_le_bytes,
        Some([0xfe, 0xff]) => u16::from_be_bytes,
        _ => return bytes,
    };
    let pairs = bytes[2..].as_chunks().0.iter().map(|pair| unit(*pair));
    char::decode_utf16(pairs).collect::<Result<String, _>>().map_or(bytes, String::into_bytes)
}

/// Tells whether a file of a common ending has the words of one that is audited.
fn may_be(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    bytes.starts_with(&[0xff, 0xfe])
        || bytes.starts_with(&[0xfe, 0xff])
        || has(b"apiVersion") && has(b"kind")
        || has(b"services:")
        || has(b"\"HostConfig\"")
        || has(b"\"ociVersion\"")
}

/// Tells whether a text without a name is a Dockerfile: its first instruction is one that stands first.
fn is_dockerfile(text: &str) -> bool {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let first = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let mut words = first.split_whitespace();
    let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
    matches!(keyword.as_str(), "FROM" | "ARG") && words.next().is_some()
}
