// SPDX-License-Identifier: Apache-2.0
//! `bryo advisories`: what is known of flaws in packages, and where it comes from.

use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::process::ExitCode;

use bryo_engine::packages::age;
use bryo_image::registry::{RegistryOptions, fetch};
use bryo_packages::advisories::store::{Header, Provenance, Store};
use bryo_packages::advisories::{FILE_MAX, Feed, alpine, debian, epss, kev, osv};
use bryo_packages::tree::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::sbom::now;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, template};

/// What is fetched when nobody says what.
const USUAL: [&str; 13] = [
    "debian",
    "alpine:v3.19",
    "alpine:v3.20",
    "alpine:v3.21",
    "alpine:v3.22",
    "alpine:v3.23",
    "osv:PyPI",
    "osv:npm",
    "osv:Go",
    "osv:crates.io",
    "osv:RubyGems",
    "kev",
    "epss",
];

/// After how many days data is called stale.
pub(super) const MAX_AGE: u32 = 7;

/// Flags of `bryo advisories update`.
#[derive(Debug, Args)]
pub struct Update {
    /// Reads a source from somewhere else, such as debian=FILE, osv=DIR or osv:PyPI=https://mirror/all.zip
    #[arg(long, value_name = "SOURCE=URL|FILE")]
    from: Vec<String>,
    /// Reads everything from a mirror, by URL or as a directory: osv/ECOSYSTEM/all.zip, debian/json,
    /// alpine/RELEASE/main.json and community.json, kev.json, epss.csv.gz
    #[arg(long, value_name = "URL|DIR")]
    mirror: Option<String>,
    /// With false, allows plain HTTP
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set)]
    tls_verify: bool,
    /// debian, alpine:RELEASE, osv:ECOSYSTEM, kev or epss; without any, what is usual
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
}

impl Verb for Update {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "Fetch advisories, instead of those that are here";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = store(context)?;
        let fetcher = Fetcher { options: context.registry(None)?, plain: !self.tls_verify, dir: context.data()? };
        let mut failed = false;
        for (source, places) in self.plan()? {
            let done = update(&store, &fetcher, &source, &places);
            if let Err(error) = done {
                error.print();
                failed = true;
            }
        }
        if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
    }
}

impl Update {
    /// Says what is read from where.
    fn plan(&self) -> Result<Vec<(String, Vec<String>)>> {
        let mut plan = Vec::new();
        for text in &self.from {
            let Some((source, place)) = text.split_once('=') else {
                return Err(Error::message(format!("read advisories from {text:?}: it is no SOURCE=URL|FILE")));
            };
            plan.push((source.to_owned(), vec![place.to_owned()]));
        }
        let named = self.sources.iter().map(String::as_str);
        let usual = USUAL.into_iter().filter(|_| self.sources.is_empty() && self.from.is_empty());
        for source in named.chain(usual) {
            plan.push((source.to_owned(), places(source, self.mirror.as_deref())?));
        }
        Ok(plan)
    }
}

/// Says where a source is published, or where a mirror has it.
fn places(source: &str, mirror: Option<&str>) -> Result<Vec<String>> {
    let (name, rest) = source.split_once(':').unwrap_or((source, ""));
    let base = |upstream: &str, below: &str| match mirror {
        Some(mirror) => format!("{}/{below}", mirror.trim_end_matches('/')),
        None => upstream.to_owned(),
    };
    let escaped = rest.replace(' ', "%20");
    Ok(match (name, rest) {
        ("debian", "") => vec![base("https://security-tracker.debian.org/tracker/data/json", "debian/json")],
        ("osv", ecosystem) if !ecosystem.is_empty() => {
            let upstream = format!("https://osv-vulnerabilities.storage.googleapis.com/{escaped}/all.zip");
            vec![base(&upstream, &format!("osv/{escaped}/all.zip"))]
        }
        ("alpine", release) if !release.is_empty() => ["main", "community"]
            .map(|repository| {
                let upstream = format!("https://secdb.alpinelinux.org/{escaped}/{repository}.json");
                base(&upstream, &format!("alpine/{escaped}/{repository}.json"))
            })
            .to_vec(),
        ("kev", "") => {
            let upstream = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json";
            vec![base(upstream, "kev.json")]
        }
        ("epss", "") => vec![base("https://epss.empiricalsecurity.com/epss_scores-current.csv.gz", "epss.csv.gz")],
        _ => {
            let why = format!("fetch advisories from {source:?}: no such source");
            return Err(Error::message(why).hint("debian, alpine:v3.22, osv:PyPI, kev, epss"));
        }
    })
}

struct Fetcher {
    options: RegistryOptions,
    plain: bool,
    dir: std::path::PathBuf,
}

impl Fetcher {
    /// Opens what is at a place, with the time of a file.
    fn open(&self, place: &str) -> Result<(File, Option<String>)> {
        if place.starts_with("http://") || place.starts_with("https://") {
            let failed = |e: std::io::Error| Error::io(format!("keep what {place} has"), &e);
            let file = tempfile::tempfile_in(&self.dir).map_err(failed)?;
            let anew = || {
                file.set_len(0)?;
                (&file).rewind()?;
                file.try_clone()
            };
            let begin = || anew().map_err(|e| bryo_image::Error::io(format!("keep what {place} has"), e));
            fetch(place, &self.options, self.plain, FILE_MAX, begin)?;
            (&file).rewind().map_err(failed)?;
            return Ok((file, None));
        }
        let path = place.strip_prefix("file://").unwrap_or(place);
        let failed = |e: std::io::Error| Error::io(format!("read {path}"), &e);
        let file = File::open(path).map_err(failed)?;
        let time = file.metadata().and_then(|found| found.modified()).ok();
        let time = time.and_then(|time| Timestamp::try_from(time).ok());
        Ok((file, time.and_then(|t| Timestamp::from_second(t.as_second()).ok()).map(|t| t.to_string())))
    }

    /// Reads all that is at a place.
    fn whole(&self, place: &str) -> Result<(Vec<u8>, Option<String>)> {
        let (file, time) = self.open(place)?;
        Ok((Bytes::of(file, place).whole(usize::try_from(FILE_MAX).unwrap_or(usize::MAX))?, time))
    }
}

/// Fetches a source and keeps it.
fn update(store: &Store, fetcher: &Fetcher, source: &str, places: &[String]) -> Result<()> {
    let name = source.split(':').next().unwrap_or_default();
    let mut feed = Feed::default();
    let mut date = None;
    for place in places {
        let wrong = |e: bryo_packages::Error| Error::message(format!("read advisories from {place}: {}", e.chain()));
        match name {
            "kev" => {
                let kev = kev::parse(&fetcher.whole(place)?.0).map_err(wrong)?;
                store.put_kev(&kev)?;
                return say(&format!("kev: {} flaws that are exploited\n", kev.added.len()));
            }
            "epss" => {
                store.put_epss(&epss::parse(&fetcher.whole(place)?.0).map_err(wrong)?)?;
                return say("epss: kept\n");
            }
            "debian" | "alpine" => {
                let (data, time) = fetcher.whole(place)?;
                date = date.max(time);
                let parse = if name == "debian" { debian::parse } else { alpine::parse };
                feed.extend(parse(&data).map_err(wrong)?);
            }
            "osv" => {
                let (more, time) = read_osv(fetcher, place)?;
                date = date.max(time);
                feed.extend(more);
            }
            _ => {
                let why = format!("read advisories of {source:?}: no such source");
                return Err(Error::message(why).hint("debian, alpine, osv, kev, epss"));
            }
        }
    }
    for problem in &feed.problems {
        output::complain(&format!("{}\n", output::line(&format!("bryo: {source}: {problem}"))));
    }
    // A smaller list looks as good as a whole one, and nobody would miss the flaws that are gone with the rest.
    if !feed.problems.is_empty() {
        let why = "some of it cannot be read, and what was there before is left as it is";
        return Err(Error::message(format!("read advisories of {source}: {why}")).hint("fetch it anew, or mend it"));
    }
    if feed.is_empty() {
        return Err(Error::message(format!("read advisories of {source}: there are none")));
    }
    let fetched = now();
    let from = Provenance {
        source: name.to_owned(),
        origin: places.join(", "),
        date: date.unwrap_or_else(|| fetched.clone()),
        fetched,
    };
    for header in store.put(&feed, &from)? {
        let text = format!("{}: {} advisories of {}", header.ecosystem, header.advisories, header.date);
        say(&format!("{}\n", output::line(&text)))?;
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    output::print(text)
}

/// Reads OSV's records: an export, a directory of records, or one.
fn read_osv(fetcher: &Fetcher, place: &str) -> Result<(Feed, Option<String>)> {
    let path = Path::new(place.strip_prefix("file://").unwrap_or(place));
    let mut feed = Feed::default();
    if path.is_dir() {
        let failed = |e: std::io::Error| Error::io(format!("read {}", path.display()), &e);
        let mut files: Vec<_> = std::fs::read_dir(path).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|end| end == "json"));
        files.sort();
        for file in files {
            let name = file.display().to_string();
            match fetcher.whole(&name) {
                Ok((data, _)) => osv::record(&data, &name, &mut feed),
                Err(error) => feed.problems.extend(error.text()),
            }
        }
        return Ok((feed, None));
    }
    let (file, time) = fetcher.open(place)?;
    if place.ends_with(".json") {
        let data = Bytes::of(file, place).whole(usize::try_from(FILE_MAX).unwrap_or(usize::MAX))?;
        osv::record(&data, place, &mut feed);
        return Ok((feed, time));
    }
    let wrong = |e: bryo_packages::Error| Error::message(format!("read advisories from {place}: {}", e.chain()));
    Ok((osv::export(file).map_err(wrong)?, time))
}

/// Opens the directory of advisories.
pub(super) fn store(context: &Context) -> Result<Store> {
    Ok(Store::new(context.data()?.join("advisories")))
}

/// Flags of `bryo advisories ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Formats as json, by a template such as '{{.Ecosystem}} {{.Date}}', or as a table by 'table TEMPLATE'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for List {
    const NAME: &'static str = "ls";
    const ABOUT: &'static str = "List the advisories that are here, and how old they are";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let (headers, problems) = store(context)?.list();
        let rows: Vec<Value> = headers.iter().map(row).collect();
        let usual = "table {{.Ecosystem}}\t{{.Source}}\t{{.Advisories}}\t{{.Date}}\t{{.Fetched}}\t{{.Days}}";
        let text = template::list(self.format.as_deref().filter(|f| *f != "table").unwrap_or(usual), &rows, &[])?;
        output::print(&text)?;
        for problem in problems {
            output::complain(&format!("bryo: {}\n", output::line(&problem.chain())));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(header: &Header) -> Value {
    json!({
        "Ecosystem": header.ecosystem,
        "Source": header.source,
        "Origin": header.origin,
        "Advisories": header.advisories.to_string(),
        "Date": header.date,
        "Fetched": header.fetched,
        "Days": age(header).to_string(),
        "Stale": age(header) > i64::from(MAX_AGE),
    })
}

/// Flags of `bryo advisories rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// An ecosystem or a source, such as Debian:12 or osv
    #[arg(value_name = "ECOSYSTEM|SOURCE", required = true)]
    names: Vec<String>,
}

impl Verb for Remove {
    const NAME: &'static str = "rm";
    const ABOUT: &'static str = "Remove advisories";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = store(context)?;
        for name in &self.names {
            if store.remove(name)? == 0 {
                let why = format!("remove advisories {name:?}: there are none");
                return Err(Error::message(why).hint("bryo advisories ls"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
