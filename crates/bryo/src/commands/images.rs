// SPDX-License-Identifier: Apache-2.0
//! `bryo images`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use bryo_image::Digest;
use bryo_image::reference::Reference;
use bryo_image::store::{Image, ImageSummary, Store};
use serde_json::{Value, json};

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human, template};

/// List the images that are here
#[derive(Debug, clap::Args)]
pub struct Images {
    /// Accepted for Docker's sake: there are no intermediate images to hide
    #[arg(short, long)]
    all: bool,
    /// Show the manifests' digests too
    #[arg(long)]
    digests: bool,
    /// Show only images that fit: reference=PATTERN, dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<Filter>,
    /// Format as json, by a template such as '{{.Repository}}:{{.Tag}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print nothing but ids
    #[arg(short, long)]
    quiet: bool,
    /// Show only this repository, or this image: NAME[:TAG]
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// A condition that images are shown for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Reference(String),
    Dangling(bool),
    Label(String, Option<String>),
    Before(String),
    Since(String),
}

impl std::str::FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("a filter is KEY=VALUE")?;
        let value = value.to_owned();
        match key {
            "reference" => Ok(Self::Reference(value)),
            "dangling" => value.parse().map(Self::Dangling).map_err(|_| "dangling is true or false".to_owned()),
            "label" => Ok(match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            }),
            "before" => Ok(Self::Before(value)),
            "since" => Ok(Self::Since(value)),
            _ => Err(format!("there is no filter {key:?}")),
        }
    }
}

impl Verb for Images {
    const NAME: &'static str = "images";
    const ABOUT: &'static str = "List the images that are here";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = context.store()?;
        let mut list = summaries(&store)?;
        for filter in &self.filter {
            list = filter.apply(&store, list)?;
        }
        if let Some(name) = &self.name {
            list.retain(|summary| summary.record.reference.as_deref().is_some_and(|full| is_named(full, name)));
        }
        output::print(&self.show(&list)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Docker's titles.
const TITLES: template::Titles<'_> = &[("ID", "IMAGE ID"), ("CreatedSince", "CREATED")];

impl Images {
    fn show(&self, list: &[ImageSummary]) -> Result<String> {
        let id = |digest: &Digest| if self.no_trunc { digest.to_string() } else { short_id(digest) };
        if self.quiet && self.format.is_none() {
            let mut seen = BTreeSet::new();
            let ids = list.iter().filter(|summary| seen.insert(&summary.id)).map(|summary| id(&summary.id) + "\n");
            return Ok(ids.collect());
        }
        let values: Vec<Value> = list.iter().map(|summary| describe(summary, id(&summary.id))).collect();
        if let Some(format) = &self.format {
            return template::list(format, &values, TITLES);
        }
        let mut titles = vec!["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
        let mut fields = vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
        if !self.digests {
            titles.remove(2);
            fields.remove(2);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = values.iter().map(|value| fields.iter().map(|name| text(&value[*name])).collect());
        Ok(output::table(&titles, rows))
    }
}

/// Lists the images, the newest first. What cannot be read is told and passed over: the others are still there.
pub fn summaries(store: &Store) -> Result<Vec<ImageSummary>> {
    let mut list = Vec::new();
    for record in store.images()? {
        match store.summary(&record) {
            Ok(summary) => list.push(summary),
            Err(error) => Error::from(error).print(),
        }
    }
    list.sort_by_key(|summary| std::cmp::Reverse(summary.created.as_deref().and_then(human::seconds)));
    Ok(list)
}

/// The beginning of an id that people use.
pub fn short_id(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

fn describe(summary: &ImageSummary, id: String) -> Value {
    let none = || "<none>".to_owned();
    let parsed = summary.record.reference.as_deref().map(|name| (name, name.parse::<Reference>()));
    let (repository, tag) = match parsed {
        Some((_, Ok(reference))) => (reference.repository(), reference.tag().map_or_else(none, str::to_owned)),
        Some((name, Err(_))) => (name.to_owned(), none()),
        None => (none(), none()),
    };
    json!({
        "ID": id,
        "Repository": repository,
        "Tag": tag,
        "Digest": summary.record.manifest.to_string(),
        "CreatedSince": human::ago(summary.created.as_deref()),
        "CreatedAt": summary.created,
        "Size": human::size(summary.size),
        "Platform": summary.platform,
    })
}

/// Tells whether a full reference is of a repository, or is the image, that a person named.
fn is_named(full: &str, name: &str) -> bool {
    let (Ok(full), Ok(named)) = (full.parse::<Reference>(), name.parse::<Reference>()) else { return false };
    let says_tag = name.rsplit('/').next().is_some_and(|last| last.contains(':') || last.contains('@'));
    full.repository() == named.repository() && (!says_tag || full.tag() == named.tag())
}

impl Filter {
    fn apply(&self, store: &Store, list: Vec<ImageSummary>) -> Result<Vec<ImageSummary>> {
        let age = |name: &str| -> Result<Option<i64>> {
            let summary = store.summary(&store.find(name)?)?;
            Ok(summary.created.as_deref().and_then(human::seconds))
        };
        let of = |summary: &ImageSummary| summary.created.as_deref().and_then(human::seconds);
        let keep: Box<dyn Fn(&ImageSummary) -> bool> = match self {
            Self::Reference(pattern) => {
                Box::new(|summary| summary.record.reference.as_deref().is_some_and(|name| fits(name, pattern)))
            }
            Self::Dangling(wanted) => Box::new(|summary| summary.record.reference.is_none() == *wanted),
            Self::Label(key, value) => Box::new(|summary| {
                store.image(&summary.record).is_ok_and(|image| has_label(&image, key, value.as_deref()))
            }),
            Self::Before(name) => {
                let limit = age(name)?;
                Box::new(move |summary| of(summary) < limit)
            }
            Self::Since(name) => {
                let limit = age(name)?;
                Box::new(move |summary| of(summary) > limit)
            }
        };
        Ok(list.into_iter().filter(|summary| keep(summary)).collect())
    }
}

fn has_label(image: &Image, key: &str, value: Option<&str>) -> bool {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().as_ref());
    labels.and_then(|labels| labels.get(key)).is_some_and(|found| value.is_none_or(|value| found == value))
}

/// Tells whether a full name fits a pattern of `*` and `?`, with or without registry, directory and tag.
fn fits(full: &str, pattern: &str) -> bool {
    let Ok(reference) = full.parse::<Reference>() else { return glob(pattern, full) };
    let familiar = reference.familiar();
    let mut shown = vec![full.to_owned(), familiar.clone(), reference.repository()];
    shown.extend(familiar.rsplit_once(':').map(|(name, _)| name.to_owned()));
    shown.iter().any(|name| glob(pattern, name))
}

/// Matches a whole text; `*` stands for anything but a slash. Goes back to the last star only: linear in practice,
/// never exponential.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == text[t] || (*c == '?' && text[t] != '/') => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) if text[taken] != '/' => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, text, yes) in [
            ("alpine", "alpine", true),
            ("al*", "alpine", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*ine:3*", "alpine:3.20", true),
            ("alp", "alpine", false),
            ("", "", true),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), yes, "{pattern} {text}");
        }
        assert!(!glob(&"*a".repeat(50), &"a".repeat(10_000).replace("aa", "ab")), "and soon");
    }

    #[test]
    fn names_fit_in_their_short_forms() {
        let full = "docker.io/library/alpine:3.20";
        for pattern in ["alpine", "alpine:3*", "docker.io/library/alpine", "docker.io/*/alpine:*", full] {
            assert!(fits(full, pattern), "{pattern}");
        }
        assert!(!fits(full, "alpin") && !fits(full, "alpine:4*"));
        assert!(is_named(full, "alpine") && is_named(full, "alpine:3.20") && !is_named(full, "alpine:4"));
        assert!(!is_named("localhost/alpine:1", "alpine"));
    }

    #[test]
    fn filters_are_strict() {
        assert_eq!("label=a=b=c".parse(), Ok(Filter::Label("a".into(), Some("b=c".into()))));
        assert_eq!("dangling=true".parse(), Ok(Filter::Dangling(true)));
        for bad in ["", "dangling", "dangling=maybe", "nosuch=1"] {
            assert!(bad.parse::<Filter>().is_err(), "{bad}");
        }
    }
}
