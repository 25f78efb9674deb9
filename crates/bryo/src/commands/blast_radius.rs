// SPDX-License-Identifier: Apache-2.0
//! `bryo blast-radius`: what an escaped process of a container could do on this host.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bryo_engine::Engine;
use bryo_engine::error::Error as EngineError;
use bryo_engine::options::RunOptions;
use bryo_engine::radius::{Authority, Bounds, Category, Findings, Group, Rival, Who};
use bryo_systemd::words;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};
use serde::Serialize;

use crate::args::{Environment, RunArgs};
use crate::cli::Verb;
use crate::commands::run;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::{output, pages};

/// The command line of `bryo blast-radius`: that of `run`, without a command.
#[derive(Debug)]
pub struct BlastRadius {
    run: RunArgs,
    compare: Vec<String>,
    fail_on: Vec<Group>,
    html: Option<PathBuf>,
    json: bool,
    bounds: Bounds,
}

/// Flags that `run` does not have.
const OWN: &[&str] = &["--json", "--fail-on", "--examples", "--seconds", "--entries", "--compare", "--html"];

impl Args for BlastRadius {
    fn augment_args(command: Command) -> Command {
        RunArgs::augment_args(command)
            // There is no command behind it that flags could belong to.
            .mut_arg("image_and_command", |arg| {
                let arg = arg.trailing_var_arg(false).allow_hyphen_values(false).num_args(1).value_name("IMAGE|CONTAINER");
                arg.help("An image, or a container that is there")
            })
            .arg(
                Arg::new("compare")
                    .long("compare")
                    .value_name("FLAGS")
                    .action(ArgAction::Append)
                    .num_args(1..)
                    .allow_hyphen_values(true)
                    .value_terminator("--")
                    .help(
                        "Looks with these flags of `run` as well, one word for each setting, or as `podman` or `docker` \
                         would run it; behind the image, or before it with -- at its end",
                    ),
            )
            .arg(
                Arg::new("fail-on")
                    .long("fail-on")
                    .value_name("WHAT")
                    .value_delimiter(',')
                    .action(ArgAction::Append)
                    .help(
                        "Exits with 1 if more is possible than for everybody on this host: none, any, read, write, \
                         setid, signal, trace, connect, device, kernel",
                    ),
            )
            .arg(
                Arg::new("examples")
                    .long("examples")
                    .value_name("N")
                    .value_parser(value_parser!(usize))
                    .default_value("5")
                    .help("How many of each kind are named"),
            )
            .arg(
                Arg::new("seconds")
                    .long("seconds")
                    .value_name("N")
                    .value_parser(value_parser!(u64).range(1..=3600))
                    .default_value("30")
                    .help("How long is looked, for each setting"),
            )
            .arg(
                Arg::new("entries")
                    .long("entries")
                    .value_name("N")
                    .value_parser(value_parser!(u64).range(1..))
                    .default_value("2000000")
                    .help("At how many files is looked, for each setting"),
            )
            .arg(
                Arg::new("html")
                    .long("html")
                    .value_name("FILE")
                    .value_hint(ValueHint::FilePath)
                    .value_parser(value_parser!(PathBuf))
                    .help("Writes a page of HTML to FILE too, which needs nothing else"),
            )
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON"))
            .override_usage("bryo blast-radius [OPTIONS] IMAGE|CONTAINER")
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BlastRadius {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let all = |name| matches.get_many::<String>(name).into_iter().flatten().cloned().collect::<Vec<_>>();
        let number = |name| matches.get_one::<u64>(name).copied().unwrap_or(1);
        let groups = all("fail-on").iter().map(|word| groups(word)).collect::<std::result::Result<Vec<_>, _>>();
        let fail_on = groups.map_err(|why| clap::Error::raw(clap::error::ErrorKind::InvalidValue, why))?.concat();
        let bounds = Bounds {
            time: Duration::from_secs(number("seconds")),
            entries: number("entries"),
            examples: matches.get_one("examples").copied().unwrap_or(5),
        };
        let run = RunArgs::from_arg_matches(matches)?;
        let compare = all("compare");
        // Settings begin with a hyphen themselves, so that no other flag can end them.
        let is_own = |word: &&String| OWN.iter().any(|own| word.starts_with(own));
        if let Some(own) = compare.iter().find(is_own) {
            let why = format!("{own} is taken for a setting to compare with: put it before --compare\n");
            return Err(clap::Error::raw(clap::error::ErrorKind::InvalidValue, why));
        }
        let html = matches.get_one("html").cloned();
        Ok(Self { run, compare, fail_on, html, json: matches.get_flag("json"), bounds })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn groups(word: &str) -> std::result::Result<Vec<Group>, String> {
    match word {
        "none" => Ok(Vec::new()),
        "any" => Ok(Group::ALL.iter().map(|(_, group)| *group).collect()),
        _ => match Group::ALL.iter().find(|(name, _)| *name == word) {
            Some((_, group)) => Ok(vec![*group]),
            None => Err(format!(
                "--fail-on {word}: it is none, any, or of {}\n",
                Group::ALL.map(|(name, _)| name).join(", ")
            )),
        },
    }
}

impl Verb for BlastRadius {
    const NAME: &'static str = "blast-radius";
    const ABOUT: &'static str = "Show what a process that escaped from a container could do on this host";
    const FAILURE: u8 = 125;

    fn run(self, context: &Context) -> Result<ExitCode> {
        let quiet = self.run.quiet();
        let options = options(self.run)?;
        let engine = context.engine()?;
        let mut settings = vec![base(context, &engine, &options, quiet, &self.bounds)?];
        for flags in &self.compare {
            settings.push(compared(context, &engine, &options, flags, &self.bounds)?);
        }
        let found = settings.first().and_then(|setting| setting.findings.as_ref());
        let failed = self.fail_on.iter().any(|group| found.is_some_and(|found| found.gained(*group) > 0));
        let report = Report { settings };
        pages::write(self.html.as_deref(), || pages::blast_radius::page(&report))?;
        output::print(&if self.json { output::json(&report)? } else { render(&report) })?;
        Ok(ExitCode::from(u8::from(failed)))
    }
}

fn options(args: RunArgs) -> Result<RunOptions> {
    let here = std::env::current_dir().map_err(|e| Error::io("working directory", &e))?;
    let variable = |name: &str| std::env::var(name).ok();
    Ok(args.options(&Environment { here: &here, variable: &variable })?)
}

/// What was found, setting by setting: the one that was asked for, and those it is compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub settings: Vec<Setting>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub setting: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    capabilities: Vec<String>,
    filter: bool,
    pub findings: Option<Findings>,
    /// Why there are no findings.
    pub not_measured: Option<String>,
}

impl Setting {
    fn measured(name: &str, engine: &Engine, authority: Authority, bounds: &Bounds) -> Result<Self> {
        let findings = Some(engine.radius(&authority, bounds)?);
        let filter = authority.is_filtered();
        let (who, capabilities) = (Some(authority.who), authority.capabilities);
        Ok(Self { setting: name.into(), who, capabilities, filter, findings, not_measured: None })
    }

    fn not_measured(name: &str, why: String) -> Self {
        let (who, capabilities, findings) = (None, Vec::new(), None);
        Self { setting: name.into(), who, capabilities, filter: false, findings, not_measured: Some(why) }
    }
}

fn base(context: &Context, engine: &Engine, options: &RunOptions, quiet: bool, bounds: &Bounds) -> Result<Setting> {
    if let Some(record) = engine.container_named(&options.image) {
        return Setting::measured(&format!("container {}", record.name), engine, engine.authority_of(&record)?, bounds);
    }
    let image = run::find(context, engine, options, quiet)?;
    Setting::measured(&options.image, engine, engine.authority(options.clone(), image)?, bounds)
}

/// Looks with other flags, in place of those that were given: for a container, with those and its image.
fn compared(context: &Context, engine: &Engine, base: &RunOptions, flags: &str, bounds: &Bounds) -> Result<Setting> {
    let record = engine.container_named(&base.image);
    let base = record.as_ref().map_or(base, |record| &record.options);
    let rival = match flags {
        "podman" => Some(Rival::Podman),
        "docker" => Some(Rival::Docker),
        _ => None,
    };
    if let Some(rival) = rival {
        let image = run::find(context, engine, base, true)?;
        return match engine.authority_under(rival, base.clone(), image)? {
            Ok(authority) => Setting::measured(rival.title(), engine, authority, bounds),
            Err(why) => Ok(Setting::not_measured(rival.title(), why)),
        };
    }
    let wrong =
        |why: String| EngineError::new(bryo_engine::error::Kind::InvalidOption, format!("--compare {flags:?}: {why}"));
    let mut all = words::split(flags).map_err(|why| wrong(why.into()))?;
    all.insert(0, "run".into());
    all.push(base.image.clone());
    let command = RunArgs::augment_args(Command::new("run"));
    let first = |error: clap::Error| {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        wrong(line.strip_prefix("error: ").unwrap_or(line).to_owned())
    };
    let matches = command.try_get_matches_from(all).map_err(first)?;
    let other = options(RunArgs::from_arg_matches(&matches)?)?;
    if other.image != base.image {
        return Err(wrong("only flags of `run`, podman and docker can be compared".into()).into());
    }
    let image = run::find(context, engine, &other, true)?;
    Setting::measured(flags, engine, engine.authority(other, image)?, bounds)
}

fn render(report: &Report) -> String {
    let mut text = String::new();
    if let Some(first) = report.settings.first() {
        text += &single(first);
    }
    if report.settings.len() > 1 {
        text += "\n";
        let (titles, rows) = comparison(&report.settings);
        text += &output::table(&titles.iter().map(String::as_str).collect::<Vec<_>>(), rows);
        for setting in &report.settings {
            if let Some(why) = &setting.not_measured {
                text += &format!("{}: {}\n", output::line(&setting.setting), output::line(why));
            }
        }
    }
    text
}

fn single(setting: &Setting) -> String {
    let (Some(findings), Some(who)) = (&setting.findings, &setting.who) else {
        return format!("{}\n", output::line(setting.not_measured.as_deref().unwrap_or_default()));
    };
    let rows = findings.categories.iter().map(|category| {
        vec![category.title.clone(), category.count.to_string(), category.gained().to_string(), confined(category)]
    });
    let mut text = output::table(&["AN ESCAPEE COULD", "BY ITS IDS", "BEYOND EVERYBODY", "CONFINED"], rows);
    for category in findings.categories.iter().filter(|category| category.count > 0) {
        text += &format!("\n{}:\n", category.title);
        for example in &category.worst {
            let mut notes: Vec<&str> = vec![example.why.as_str()];
            notes.push(if example.everybody { "open to everybody" } else { "" });
            notes.push(if example.own { "its own" } else { "" });
            notes.retain(|note| !note.is_empty());
            let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join("; ")) };
            text += &format!("  {}{notes}\n", output::line(&example.what));
        }
        let more = category.count.saturating_sub(u64::try_from(category.worst.len()).unwrap_or(u64::MAX));
        if more > 0 {
            text += &format!("  and {more} more\n");
        }
    }
    text + &summary(setting, findings, who)
}

fn confined(category: &Category) -> String {
    category.confined.map_or_else(|| "-".into(), |count| count.to_string())
}

pub(crate) fn summary(setting: &Setting, findings: &Findings, who: &Who) -> String {
    let id = |id: Option<u32>| id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
    let you = if who.is_caller { " (you)" } else { "" };
    let capabilities = match setting.capabilities.len() {
        0 => "none".to_owned(),
        _ => setting.capabilities.join(" "),
    };
    let mut text = format!(
        "\ninside: user {}, group {}\non the host: user {}{you}, group {}\ncapabilities, for its own ids alone: {capabilities}\n",
        who.uid,
        who.gid,
        id(who.host_uid),
        id(who.host_gid)
    );
    text += match (findings.confined, setting.filter, findings.landlock) {
        (true, true, true) => "confined: with its system call filter and Landlock in force\n",
        (true, true, false) => "confined: with its system call filter in force; no Landlock\n",
        (true, false, true) => "confined: with Landlock in force; no system call filter\n",
        (true, false, false) => "confined: nothing more is in force\n",
        (false, ..) => "confined: not measured, the filter ended the probe\n",
    };
    let time = std::time::Duration::from_millis(findings.milliseconds);
    let all = if findings.complete { "" } else { ", not all: --seconds and --entries look further" };
    text += &format!("looked at {} files in {:.1} s{all}\n", findings.entries, time.as_secs_f64());
    if !findings.skipped.is_empty() {
        text += &format!("left out, another machine's or program's: {}\n", output::line(&findings.skipped.join(" ")));
    }
    text + &format!("{}\n", output::line(&who.escapee))
}

/// Returns the titles and lines of a table: what is beyond everybody, setting by setting.
pub(crate) fn comparison(settings: &[Setting]) -> (Vec<String>, Vec<Vec<String>>) {
    let mut titles = vec!["BEYOND EVERYBODY".to_owned()];
    titles.extend(settings.iter().map(|setting| setting.setting.clone()));
    let cell = |setting: &Setting, get: &dyn Fn(&Findings, &Who) -> String| match (&setting.findings, &setting.who) {
        (Some(findings), Some(who)) => get(findings, who),
        _ => "not measured".to_owned(),
    };
    let row = |title: &str, get: &dyn Fn(&Findings, &Who) -> String| {
        let mut row = vec![title.to_owned()];
        row.extend(settings.iter().map(|setting| cell(setting, get)));
        row
    };
    let user = |_: &Findings, who: &Who| match (who.host_uid, who.is_caller) {
        (Some(0), _) => "root".to_owned(),
        (Some(id), true) => format!("{id} (you)"),
        (Some(id), false) => id.to_string(),
        (None, _) => "unknown".to_owned(),
    };
    let mut rows = vec![row("user on the host", &user)];
    for kind in bryo_engine::radius::Reach::ALL {
        let count = |findings: &Findings, _: &Who| findings.of(kind).map_or(0, Category::gained).to_string();
        rows.push(row(kind.title(), &count));
    }
    (titles, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> std::result::Result<BlastRadius, clap::Error> {
        let command = BlastRadius::augment_args(Command::new("blast-radius"));
        BlastRadius::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn settings_to_compare_stand_behind_the_image_or_end_before_it() {
        let before = ["x", "--compare", "--user root", "podman", "--", "--user", "7", "host:"];
        let behind = ["x", "--json", "--user", "7", "host:", "--compare", "--user root", "podman"];
        for args in [before, behind] {
            let parsed = parsed(&args).unwrap();
            assert_eq!(parsed.compare, ["--user root", "podman"]);
            let options = options(parsed.run).unwrap();
            assert_eq!((options.image.as_str(), options.user.as_deref()), ("host:", Some("7")));
        }
        let error = parsed(&["x", "host:", "--compare", "podman", "--json"]).unwrap_err().to_string();
        assert!(error.contains("before --compare"), "{error}");
    }

    #[test]
    fn what_to_fail_on_is_a_list_of_known_words() {
        assert_eq!(parsed(&["x", "--fail-on", "read,signal", "i"]).unwrap().fail_on, [Group::Read, Group::Signal]);
        assert_eq!(parsed(&["x", "--fail-on", "none", "i"]).unwrap().fail_on, []);
        assert_eq!(parsed(&["x", "--fail-on", "any", "i"]).unwrap().fail_on.len(), Group::ALL.len());
        let error = parsed(&["x", "--fail-on", "reed", "i"]).unwrap_err().to_string();
        assert!(error.contains("reed") && error.contains("signal"), "{error}");
    }

    #[test]
    fn what_was_not_measured_is_not_shown_as_nothing() {
        let report = Report { settings: vec![Setting::not_measured("docker", "needs root".into())] };
        assert_eq!(render(&report), "needs root\n");
    }
}
