// SPDX-License-Identifier: Apache-2.0
//! The top of the command line: which commands there are, and the flags before them.
//!
//! A command is a module that implements [`Verb`] and a line in [`COMMANDS`]. Only the flags of the command that is
//! called are ever built: those of all commands together would cost more than the parsing of `run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, ValueHint, value_parser};

use crate::commands::*;
use crate::context::Context;
use crate::errors::{Error, Result, USAGE};
use crate::output;

/// One command: its flags are the struct, its help is the struct's documentation.
pub trait Verb: Args + Sized {
    /// The word that calls it.
    const NAME: &'static str;
    /// One line for the list of commands.
    const ABOUT: &'static str;
    /// The exit code of a failure for which Docker and Podman have no other one.
    const FAILURE: u8 = 1;

    /// Does it.
    ///
    /// # Errors
    ///
    /// Whatever stands in its way.
    fn run(self, context: &Context) -> Result<ExitCode>;
}

/// A command without its type.
#[derive(Clone, Copy)]
struct Entry {
    name: &'static str,
    about: &'static str,
    failure: u8,
    hidden: bool,
    build: fn(Command) -> Command,
    run: fn(&ArgMatches, &Context) -> Result<ExitCode>,
}

impl Entry {
    const fn of<V: Verb>() -> Self {
        Self {
            name: V::NAME,
            about: V::ABOUT,
            failure: V::FAILURE,
            hidden: false,
            // What describes the flags in the code is not what describes the command.
            build: |command| V::augment_args(command).about(V::ABOUT).long_about(None),
            run: |matches, context| V::from_arg_matches(matches)?.run(context),
        }
    }

    /// Calls the command by another word, inside a group.
    const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    fn command(&self) -> Command {
        Command::new(self.name).about(self.about).hide(self.hidden).defer(self.build)
    }
}

/// The commands, in the order of the help.
static COMMANDS: &[Entry] = &[
    Entry::of::<crate::args::RunArgs>(),
    Entry::of::<create::Create>(),
    Entry::of::<start::Start>(),
    Entry::of::<stop::Stop>(),
    Entry::of::<stop::Restart>(),
    Entry::of::<stop::Kill>(),
    Entry::of::<stop::Wait>(),
    Entry::of::<pause::Pause>(),
    Entry::of::<pause::Unpause>(),
    Entry::of::<exec::Exec>(),
    Entry::of::<attach::Attach>(),
    Entry::of::<logs::Logs>(),
    Entry::of::<ps::Ps>(),
    Entry::of::<port::Port>(),
    Entry::of::<top::Top>(),
    Entry::of::<stats::Stats>(),
    Entry::of::<events::Events>(),
    Entry::of::<cp::Cp>(),
    Entry::of::<diff::Diff>(),
    Entry::of::<drift::Drift>(),
    Entry::of::<commit::Commit>(),
    Entry::of::<rename::Rename>(),
    Entry::of::<rm::Rm>(),
    Entry::of::<build::Build>(),
    Entry::of::<pull::Pull>(),
    Entry::of::<push::Push>(),
    Entry::of::<images::Images>(),
    Entry::of::<inspect::Inspect>(),
    Entry::of::<history::History>(),
    Entry::of::<audit::Audit>(),
    Entry::of::<why_root::WhyRoot>(),
    Entry::of::<harden::Harden>(),
    Entry::of::<learn::Learn>(),
    Entry::of::<tag::Tag>(),
    Entry::of::<rmi::Rmi>(),
    Entry::of::<login::Login>(),
    Entry::of::<login::Logout>(),
    Entry::of::<load::Load>(),
    Entry::of::<save::Save>(),
    Entry::of::<import::Import>(),
    Entry::of::<export::Export>(),
    Entry::of::<sbom::Sbom>(),
    Entry::of::<vulns::Vulns>(),
    Entry::of::<gc::Gc>(),
    Entry::of::<df::Df>(),
    Entry::of::<info::Info>(),
    Entry::of::<doctor::Doctor>(),
    Entry::of::<demo::Demo>(),
    Entry::of::<blast_radius::BlastRadius>(),
    Entry::of::<quadlet::Quadlet>(),
    Entry::of::<config::Config>(),
    Entry::of::<version::Version>(),
    Entry::of::<completion::Completion>(),
    Entry::of::<man::Man>().hidden(),
    Entry::of::<demo::Probe>().hidden(),
];

/// Docker's groups: the same commands by longer names.
static GROUPS: &[(&str, &str, &[Entry])] = &[
    (
        "advisories",
        "Manage advisories on vulnerabilities",
        &[Entry::of::<advisories::Update>(), Entry::of::<advisories::List>(), Entry::of::<advisories::Remove>()],
    ),
    (
        "image",
        "Manage images",
        &[
            Entry::of::<images::Images>().named("ls"),
            Entry::of::<build::Build>(),
            Entry::of::<pull::Pull>(),
            Entry::of::<push::Push>(),
            Entry::of::<inspect::InspectImage>(),
            Entry::of::<history::History>(),
            Entry::of::<tag::Tag>(),
            Entry::of::<rmi::Rmi>().named("rm"),
            Entry::of::<load::Load>(),
            Entry::of::<save::Save>(),
            Entry::of::<import::Import>(),
            Entry::of::<export::Export>(),
            Entry::of::<prune::PruneImages>(),
        ],
    ),
    ("builder", "Manage builds", &[Entry::of::<build::Build>(), Entry::of::<prune::PruneBuilds>()]),
    (
        "container",
        "Manage containers",
        &[
            Entry::of::<crate::args::RunArgs>(),
            Entry::of::<create::Create>(),
            Entry::of::<start::Start>(),
            Entry::of::<stop::Stop>(),
            Entry::of::<stop::Restart>(),
            Entry::of::<stop::Kill>(),
            Entry::of::<stop::Wait>(),
            Entry::of::<pause::Pause>(),
            Entry::of::<pause::Unpause>(),
            Entry::of::<exec::Exec>(),
            Entry::of::<attach::Attach>(),
            Entry::of::<logs::Logs>(),
            Entry::of::<ps::Ps>().named("ls"),
            Entry::of::<port::Port>(),
            Entry::of::<top::Top>(),
            Entry::of::<stats::Stats>(),
            Entry::of::<cp::Cp>(),
            Entry::of::<diff::Diff>(),
            Entry::of::<commit::Commit>(),
            Entry::of::<export::Export>(),
            Entry::of::<rename::Rename>(),
            Entry::of::<rm::Rm>(),
            Entry::of::<inspect::InspectContainer>(),
            Entry::of::<prune::PruneContainers>(),
        ],
    ),
    (
        "network",
        "Manage networks",
        &[
            Entry::of::<network::ConnectNetwork>(),
            Entry::of::<network::CreateNetwork>(),
            Entry::of::<network::DisconnectNetwork>(),
            Entry::of::<network::ListNetworks>(),
            Entry::of::<network::InspectNetwork>(),
            Entry::of::<network::RemoveNetwork>(),
            Entry::of::<network::PruneNetworks>(),
        ],
    ),
    (
        "policy",
        "Say what must hold of containers, and whether it does",
        &[Entry::of::<policy::Check>(), Entry::of::<policy::Init>()],
    ),
    (
        "systemd",
        "Start containers with the machine",
        &[Entry::of::<systemd::Install>(), Entry::of::<systemd::Uninstall>()],
    ),
    (
        "volume",
        "Manage volumes",
        &[
            Entry::of::<volume::Create>(),
            Entry::of::<volume::List>(),
            Entry::of::<inspect::InspectVolume>(),
            Entry::of::<volume::Remove>(),
            Entry::of::<volume::Prune>(),
        ],
    ),
    (
        "system",
        "Manage the store",
        &[
            Entry::of::<df::Df>(),
            Entry::of::<info::Info>(),
            Entry::of::<events::Events>(),
            Entry::of::<prune::PruneSystem>(),
            Entry::of::<check::Check>(),
        ],
    ),
];

/// Flags that stand before the command.
const ROOT: &str = "root";
const CONFIG: &str = "config-file";
const POLICY: &str = "policy-file";

/// Parses the command line, runs the command, reports how it ended.
pub fn main(words: Vec<OsString>) -> ExitCode {
    let words = quadlet::called(words);
    let matches = match called(&words).try_get_matches_from(&words) {
        Ok(matches) => matches,
        Err(error) => return usage(&error, &words),
    };
    let Some((entry, arguments)) = find(&matches) else { return ExitCode::from(USAGE) };
    let path = |name| matches.get_one::<PathBuf>(name).cloned();
    let policies = matches.get_many::<PathBuf>(POLICY).unwrap_or_default().cloned().collect();
    let context = Context::new(path(ROOT), path(CONFIG), policies);
    match (entry.run)(arguments, &context) {
        Ok(code) => code,
        Err(Error::Usage(error)) => usage(&error, &words),
        Err(error) => error.report(entry.failure),
    }
}

/// Tells whether a command would be understood, and does nothing: its flags and, of a container's, their values.
///
/// # Errors
///
/// What is wrong with it, as the command itself would say.
pub fn understand(words: &[&str]) -> Result<()> {
    let words: Vec<OsString> = ["bryo"].iter().chain(words).map(OsString::from).collect();
    let parsed = called(&words).try_get_matches_from(&words);
    let matches = parsed.map_err(|error| mistake(&error.render().to_string(), &words))?;
    let Some((name, arguments)) = matches.subcommand() else { return Ok(()) };
    if matches!(name, "run" | "create") {
        let flags = <crate::args::RunArgs as clap::FromArgMatches>::from_arg_matches(arguments)?;
        let environment = crate::args::Environment { here: "/".as_ref(), variable: &|_| None };
        flags.options(&environment)?;
    }
    Ok(())
}

/// Builds the command line for the words at hand: with one command alone where the first word is its name.
fn called(words: &[OsString]) -> Command {
    let entry = COMMANDS.iter().find(|entry| words.get(1).is_some_and(|word| *word == *entry.name));
    entry.map_or_else(command, |entry| top().subcommand(entry.command()))
}

/// Builds the whole command line; what belongs to one command is built when it is needed.
pub fn command() -> Command {
    top().subcommands(COMMANDS.iter().map(Entry::command)).subcommands(groups())
}

/// Builds the command line that people are shown, for completion and manuals.
pub fn shown() -> Command {
    let shown = COMMANDS.iter().filter(|entry| !entry.hidden);
    top().subcommands(shown.map(Entry::command)).subcommands(groups())
}

fn groups() -> impl Iterator<Item = Command> {
    GROUPS.iter().map(|(name, about, members)| {
        Command::new(*name)
            .about(*about)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(members.iter().map(Entry::command))
    })
}

fn top() -> Command {
    Command::new("bryo")
        .bin_name("bryo")
        .about("Containers without root: any OCI image, as nobody")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            Arg::new(ROOT)
                .long("root")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("Keep images and containers in DIR"),
        )
        .arg(
            Arg::new(CONFIG)
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Read the configuration from FILE and from nowhere else"),
        )
        .arg(
            Arg::new(POLICY)
                .long("policy")
                .value_name("FILE")
                .action(ArgAction::Append)
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Start nothing that breaks a rule of FILE either; may be given several times"),
        )
}

fn find(matches: &ArgMatches) -> Option<(&'static Entry, &ArgMatches)> {
    let (name, inner) = matches.subcommand()?;
    if let Some(entry) = COMMANDS.iter().find(|entry| entry.name == name) {
        return Some((entry, inner));
    }
    let (_, _, members) = GROUPS.iter().find(|(group, _, _)| *group == name)?;
    let (name, inner) = inner.subcommand()?;
    members.iter().find(|entry| entry.name == name).map(|entry| (entry, inner))
}

/// Prints help to standard output, and a mistake to standard error.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        let help = error.render().to_string();
        return match output::print(&help) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(1),
        };
    }
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => output::complain(&text),
        _ => mistake(&text, words).print(),
    }
    ExitCode::from(USAGE)
}

/// Says a mistake in words as all other failures are said: what it is in one line, and what to try in another.
fn mistake(text: &str, words: &[OsString]) -> Error {
    let first: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let mut what = first.join(" ");
    what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    let tips = text.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    // That every flag could be a value too is no help.
    for tip in tips.filter(|tip| !tip.starts_with("to pass ")) {
        what = format!("{what}; {tip}");
    }
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') && !word.starts_with('-');
    let command: Option<Vec<&str>> = usage.map(|usage| usage.split_whitespace().take_while(is_name).collect());
    let command = command.map_or_else(|| meant(words), |command| command.join(" "));
    Error::message(what).hint(format!("{command} --help"))
}

/// Finds which command words name: what is said of a value alone does not tell.
fn meant(words: &[OsString]) -> String {
    let is = |word: &OsString, name: &str| word.as_os_str() == name;
    let mut rest = words.iter().skip(1);
    let all = || COMMANDS.iter().map(|entry| entry.name).chain(GROUPS.iter().map(|(name, _, _)| *name));
    let Some(name) = rest.find_map(|word| all().find(|name| is(word, name))) else { return "bryo".to_owned() };
    let members = GROUPS.iter().find(|(group, _, _)| *group == name).map_or(&[][..], |(_, _, members)| members);
    match rest.next().and_then(|word| members.iter().find(|entry| is(word, entry.name))) {
        Some(entry) => format!("bryo {name} {}", entry.name),
        None => format!("bryo {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        let mut all = command();
        all.build();
    }

    #[test]
    fn every_command_and_flag_has_help() {
        fn check(command: &Command, path: &str) {
            assert!(command.get_about().is_some(), "{path} has no help");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                assert!(arg.get_help().is_some(), "{path} {} has no help", arg.get_id());
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{path} {}", inner.get_name()));
            }
        }
        let mut all = command();
        all.build();
        check(&all, "bryo");
    }

    #[test]
    fn a_mistake_is_two_lines() {
        let shown = |words: &[&str]| match command().try_get_matches_from(words) {
            Err(error) => {
                match mistake(&error.render().to_string(), &words.iter().map(OsString::from).collect::<Vec<_>>()) {
                    Error::Message(text, hint) => (text, hint.unwrap_or_default()),
                    other => panic!("{other:?}"),
                }
            }
            Ok(_) => panic!("{words:?} is no mistake"),
        };
        let (text, hint) = shown(&["bryo", "images", "--digest"]);
        assert!(text.starts_with("unexpected argument '--digest' found; a similar argument"), "{text}");
        assert_eq!(hint, "bryo images --help");
        let (text, _) = shown(&["bryo", "pull"]);
        assert!(text.contains("required") && text.ends_with("<IMAGE>"), "{text}");
        for (words, command) in [
            (["audit", "--fail-on", "x", "y"].as_slice(), "bryo audit --help"),
            (&["sbom", "-o", "x", "y"], "bryo sbom --help"),
            (&["blast-radius", "--nosuch", "x"], "bryo blast-radius --help"),
            (&["network", "create", "--internal=x", "y"], "bryo network create --help"),
        ] {
            let (text, hint) = shown(&[&["bryo"], words].concat());
            assert_eq!(hint, command, "{text}");
        }
        for verb in [["drift"].as_slice(), &["vulns"], &["policy", "check"]] {
            let (text, _) = shown(&[&["bryo"], verb].concat());
            assert!(text.contains("<--all|"), "{text}");
        }
        let (text, hint) = shown(&["bryo", "image", "inspect", "--nosuch", "x"]);
        assert_eq!(
            (text.as_str(), hint.as_str()),
            ("unexpected argument '--nosuch' found", "bryo image inspect --help")
        );
        let (text, _) = shown(&["bryo", "inspect", "--type", "x", "y"]);
        assert!(text.contains("[possible values: container, image, volume]"), "{text}");
    }

    #[test]
    fn every_group_member_is_found() {
        for (group, _, members) in GROUPS {
            assert!(!members.is_empty());
            for entry in *members {
                assert!(!entry.about.is_empty(), "{group} {}", entry.name);
            }
        }
    }
}
