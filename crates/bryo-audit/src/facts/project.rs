// SPDX-License-Identifier: Apache-2.0
//! A Compose project: the file, its override, what is included and extended, and the variables of `.env`, merged as
//! Compose merges them. Source: the Compose specification, "Merge", "Extend", "Include" and "Interpolation".

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::kubernetes::Reader;
use super::yaml::{self, Merge, Node, Value};
use crate::model::Place;

/// How far `extends` and `include` are followed.
const DEEP_MAX: usize = 16;

/// How many times in one project `extends` is followed.
const EXTENDS_MAX: usize = 5000;

/// How many files one project is made of.
const FILES_MAX: usize = 100;

/// Reads a file by its path from the directory of the first one: how it is called in reports, and its text.
pub type Files<'a> = &'a dyn Fn(&str) -> Option<(Arc<str>, String)>;

/// A file of a project.
#[derive(Clone, Debug)]
struct Document {
    file: Arc<str>,
    /// Its directory, from that of the first file; empty for the same.
    dir: String,
    node: Arc<Node>,
}

/// One place where a service is described.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub file: Arc<str>,
    /// The directory that its paths start from.
    pub dir: String,
    pub node: Arc<Node>,
}

/// A service: all places where it is described, the one that counts first before the others.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub name: String,
    pub layers: Vec<Layer>,
    /// What could not be followed, and why.
    pub lost: Vec<(Place, String)>,
}

/// A project.
pub(super) struct Project<'a> {
    files: Files<'a>,
    variables: BTreeMap<String, String>,
    read: Cell<usize>,
    work: Cell<usize>,
}

impl<'a> Project<'a> {
    pub fn new(files: Files<'a>) -> Self {
        let variables = files(".env").map(|(_, text)| pairs(&text).map(|(_, n, v)| (n, v)).collect());
        Self { files, variables: variables.unwrap_or_default(), read: Cell::new(0), work: Cell::new(0) }
    }

    /// Lists the services of a file and of all that it includes, and what could not be included.
    pub fn services(&self, file: &Arc<str>, node: &Arc<Node>) -> (Vec<Service>, Vec<(Place, String)>) {
        let mut lost = Vec::new();
        let first = Document { file: Arc::clone(file), dir: String::new(), node: Arc::clone(node) };
        let mut stacks = vec![vec![first]];
        // What lies beside it under a known name is put on top.
        if let Some(over) = overrides(file).into_iter().find_map(|name| self.document(&name)) {
            stacks[0].insert(0, over);
        }
        let mut seen = HashSet::from([file.rsplit('/').next().unwrap_or(file).to_owned()]);
        let mut at = 0;
        while at < stacks.len() {
            for document in stacks[at].clone() {
                let included = document.node.get("include").map(Node::items).unwrap_or_default();
                for path in included.iter().flat_map(|one| paths(one)) {
                    let name = joined(&document.dir, path.text().unwrap_or_default());
                    // A file that is included twice, or by itself, has its services once.
                    if !seen.insert(name.clone()) {
                        continue;
                    }
                    let found = self.document(&name);
                    match found.filter(|_| stacks.len() < DEEP_MAX) {
                        Some(found) => stacks.push(vec![found]),
                        None => lost.push((placed(&document.file, path), "includes a file that is not here".into())),
                    }
                }
            }
            at += 1;
        }
        (stacks.iter().flat_map(|stack| self.merged(stack)).collect(), lost)
    }

    fn merged(&self, stack: &[Document]) -> Vec<Service> {
        let mut services: Vec<Service> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        // The names in the order of the lowest file; those of the upper ones come first among their layers.
        for document in stack.iter().rev() {
            let all = document.node.get("services").map(Node::shared_pairs).unwrap_or_default();
            for (name, node) in all.into_iter().filter(|(_, node)| node.is_map()) {
                let mut lost = Vec::new();
                let layers = self.chain(document, name, node, &mut lost);
                if let Some(service) = places.get(name).and_then(|at| services.get_mut(*at)) {
                    service.layers.splice(0..0, layers);
                    service.lost.extend(lost);
                } else {
                    places.insert(name.to_owned(), services.len());
                    services.push(Service { name: name.to_owned(), layers, lost });
                }
            }
        }
        services
    }

    /// A service and all that it extends, itself first.
    fn chain(&self, document: &Document, name: &str, node: &Arc<Node>, lost: &mut Vec<(Place, String)>) -> Vec<Layer> {
        let layer = |document: &Document, node: &Arc<Node>| Layer {
            file: Arc::clone(&document.file),
            dir: document.dir.clone(),
            node: Arc::clone(node),
        };
        let mut layers = vec![layer(document, node)];
        let (mut document, mut node) = (document.clone(), Arc::clone(node));
        while let Some(extends) = node.get("extends")
            && layers.len() < DEEP_MAX
        {
            if self.work.get() >= EXTENDS_MAX {
                lost.push((placed(&document.file, extends), "too many services extend others".to_owned()));
                break;
            }
            let base =
                extends.text().or_else(|| extends.get("service").and_then(Node::text)).unwrap_or(name).to_owned();
            let place = placed(&document.file, extends);
            if let Some(path) = extends.get("file").and_then(Node::text) {
                let path = joined(&document.dir, &self.variable(path).0);
                match self.document(&path) {
                    Some(other) => document = other,
                    None => {
                        lost.push((place, format!("extends a service of {path}, which is not here")));
                        break;
                    }
                }
            }
            self.work.set(self.work.get() + 1);
            let found = document.node.get("services").and_then(|all| all.shared(&base)).map(Arc::clone);
            let Some(found) = found.filter(|found| found.is_map()) else {
                lost.push((place, format!("extends {base}, and there is no such service")));
                break;
            };
            layers.push(layer(&document, &found));
            node = found;
        }
        layers
    }

    /// Reads a file of the project.
    fn document(&self, path: &str) -> Option<Document> {
        if self.read.get() >= FILES_MAX {
            return None;
        }
        self.read.set(self.read.get() + 1);
        let (file, text) = (self.files)(path)?;
        let node = yaml::parse(&text).ok()?.into_iter().next()?;
        let dir = path.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_owned());
        Some(Document { file, dir, node })
    }

    /// Reads a file that a setting names, as text.
    pub fn text(&self, path: &str) -> Option<(Arc<str>, String)> {
        (self.files)(path)
    }

    /// Replaces the variables of a text, and tells whether one of them has no value here.
    pub fn variable(&self, text: &str) -> (String, bool) {
        if !text.contains('$') {
            return (text.to_owned(), false);
        }
        let lookup = |name: &str| self.variables.get(name).cloned();
        let plain = text.replace("$$", "\u{1}");
        let said = bryo_build::dockerfile::substitute::text(&plain, &lookup, '\0').unwrap_or_else(|_| text.to_owned());
        (said.replace('\u{1}', "$"), self.is_unknown(&plain, 0))
    }

    /// Tells whether a text has a variable with neither a value here nor a default, also within defaults that count.
    fn is_unknown(&self, text: &str, depth: usize) -> bool {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('$') {
            let braced = after.strip_prefix('{');
            let from = braced.unwrap_or(after);
            let (name, behind) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
            rest = behind;
            let value = self.variables.get(name);
            if braced.is_none() {
                if !name.is_empty() && value.is_none() {
                    return true;
                }
                continue;
            }
            let (word, end) = behind.split_at(closing(behind));
            rest = end;
            let unset = value.is_none_or(|value| word.starts_with(':') && value.is_empty());
            let word = word.strip_prefix(':').unwrap_or(word);
            let unknown = match word.strip_prefix('-') {
                Some(default) => unset && (depth >= DEEP_MAX || self.is_unknown(default, depth + 1)),
                None => value.is_none() || depth >= DEEP_MAX || self.is_unknown(word, depth + 1),
            };
            if unknown {
                return true;
            }
        }
        false
    }
}

/// Finds the bracket that ends what an opening one before the text has begun; its end without one.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    let end = text.char_indices().find(|(at, c)| {
        match c {
            '{' if text[..*at].ends_with('$') => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(text.len(), |(at, _)| at)
}

impl Service {
    /// Returns a setting and the layer that it is of.
    pub fn get(&self, name: &str) -> Option<(&Layer, &Node)> {
        let (layer, node) = self.layers.iter().find_map(|layer| Some((layer, layer.node.get(name)?)))?;
        (node.merge != Merge::Reset && !node.is_null()).then_some((layer, node))
    }

    /// Lists a setting in all layers that count, the uppermost first.
    pub fn all(&self, name: &str) -> Vec<(&Layer, &Node)> {
        let mut found = Vec::new();
        for (layer, node) in self.layers.iter().filter_map(|layer| Some((layer, layer.node.get(name)?))) {
            if node.merge != Merge::Reset {
                found.push((layer, node));
            }
            if node.merge != Merge::Usual {
                break;
            }
        }
        found
    }

    /// Lists the members of lists of all layers. A single word is a list of one.
    pub fn items(&self, name: &str) -> Vec<(&Layer, &Node)> {
        let of = |(layer, node): (_, _)| -> Vec<(&Layer, &Node)> {
            let node: &Node = node;
            match &node.value {
                Value::List(list) => list.iter().map(|item| (layer, &**item)).collect(),
                Value::Scalar { .. } => vec![(layer, node)],
                _ => Vec::new(),
            }
        };
        self.all(name).into_iter().flat_map(of).collect()
    }

    /// Lists the names and values of a map of all layers, or of a list of `NAME=VALUE`; each name once, nothing for a
    /// name without a value.
    pub fn pairs(&self, name: &str) -> Vec<(String, Option<String>, Place)> {
        let all = self.all(name).into_iter().flat_map(|(layer, node)| pairs_of(layer, node));
        let mut seen = HashSet::new();
        all.filter(|(name, ..)| !name.is_empty() && seen.insert(name.clone())).collect()
    }
}

/// Lists the names and values of one map, or of one list of `NAME=VALUE`.
pub(super) fn pairs_of(layer: &Layer, node: &Node) -> Vec<(String, Option<String>, Place)> {
    let of_map = node.pairs().into_iter();
    let of_map =
        of_map.map(|(name, value)| (name.to_owned(), value.text().map(str::to_owned), placed(&layer.file, value)));
    let of_list = node.items().iter().map(|item| {
        let text = item.text().unwrap_or_default();
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value.to_owned())));
        (name.to_owned(), value, placed(&layer.file, item))
    });
    of_map.chain(of_list).collect()
}

/// The paths that one member of `include` names.
fn paths(node: &Arc<Node>) -> Vec<&Node> {
    let of = |node: &'_ Node| node.text().is_some();
    match node.get("path") {
        None => Some(&**node).filter(|node| of(node)).into_iter().collect(),
        Some(path) if of(path) => vec![path],
        Some(path) => path.items().iter().map(|item| &**item).filter(|node| of(node)).collect(),
    }
}

/// The names that Compose looks for beside a file, to put on top of it: the first that is there counts.
pub(crate) fn overrides(file: &str) -> Vec<String> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    match stem {
        Some(stem @ ("compose" | "docker-compose" | "podman-compose" | "container-compose")) => {
            ["yaml", "yml"].map(|end| format!("{stem}.override.{end}")).to_vec()
        }
        _ => Vec::new(),
    }
}

/// Joins a path of a file to the file's directory.
pub(super) fn joined(dir: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    if dir.is_empty() || path.starts_with('/') { path.to_owned() } else { format!("{dir}/{path}") }
}

/// Says where a value is.
pub(super) fn placed(file: &Arc<str>, node: &Node) -> Place {
    super::kubernetes::place(file, node)
}

impl Layer {
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.file)
    }
}

/// Reads lines of `NAME=VALUE`, with the numbers of the lines.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (usize, String, String)> {
    text.lines().take(10_000).enumerate().filter_map(|(at, line)| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        Some((at + 1, name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
    })
}
