// SPDX-License-Identifier: Apache-2.0
//! From what the parser finds to instructions that are checked.

use std::cell::RefCell;

use parse_dockerfile as parser;
use parser::{Flag, HealthcheckArguments, JsonOrStringArray, UnescapedString};

use super::command::{end_of, join_lines};
use super::heredoc::{self, Masked};
use super::mount::Mount;
use super::{
    Checks, Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, LENGTH_MAX, Mistake, Place, Run, RunNetwork,
    Source, Stage, Step, duration, words,
};

/// Reads a Dockerfile.
///
/// # Errors
///
/// The first mistake.
pub fn parse(text: &str) -> Result<Dockerfile, Mistake> {
    read(text, None)
}

/// As [`parse`], for one who only looks: flags of `RUN` that other builders know and this one does not grant are
/// collected instead of refused.
///
/// # Errors
///
/// The first mistake that leaves no meaning.
pub fn parse_foreign(text: &str) -> Result<(Dockerfile, Vec<Mistake>), Mistake> {
    let foreign = RefCell::new(Vec::new());
    let dockerfile = read(text, Some(&foreign))?;
    Ok((dockerfile, foreign.into_inner()))
}

fn read(text: &str, foreign: Option<&RefCell<Vec<Mistake>>>) -> Result<Dockerfile, Mistake> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > LENGTH_MAX {
        return Err(Mistake { place: Place::default(), message: "the Dockerfile is too long".to_owned() });
    }
    let lines = line_starts(text);
    let wrong = |(at, message)| Mistake { place: place(&lines, at, at), message };
    let Directives { escape, checks } = Directives::read(text).map_err(wrong)?;
    let masked = heredoc::mask(text, escape).map_err(wrong)?;
    // As a whole it would refuse two stages of one name.
    let parsed =
        parser::parse_iter(&masked.text).and_then(Iterator::collect).map_err(|error: parser::Error| Mistake {
            place: Place { line: error.line(), column: error.column(), last_line: error.line() },
            message: format!("{error:#}"),
        })?;
    let reader = Reader { text, lines: &lines, masked: &masked, escape, foreign };
    Ok(Dockerfile { checks, ..reader.dockerfile(parsed)? })
}

/// Reads an instruction that an image keeps for whoever builds on it.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_trigger(text: &str) -> Result<Step, String> {
    let whole = format!("FROM scratch\n{text}\n");
    let mut dockerfile = parse(&whole).map_err(|mistake| mistake.message)?;
    let mut steps = dockerfile.stages.pop().map(|stage| stage.steps).unwrap_or_default();
    match (steps.pop(), steps.is_empty(), dockerfile.stages.is_empty()) {
        (Some(step), true, true) => Ok(step),
        _ => Err("it is not one instruction".to_owned()),
    }
}

/// What comments before everything else say.
struct Directives {
    escape: char,
    checks: Checks,
}

impl Directives {
    fn read(text: &str) -> Result<Self, Wrong> {
        let mut found = Self { escape: '\\', checks: Checks::default() };
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let directive = line.trim().strip_prefix('#').and_then(|line| line.split_once('='));
            let Some((key, value)) = directive else { break };
            match key.trim().to_ascii_lowercase().as_str() {
                // Anything else is refused by the parser.
                "escape" if value.trim() == "`" => found.escape = '`',
                "check" => {
                    let at = start + line.find('=').map_or(0, |at| at + 1);
                    found.checks = Checks::parse(value.trim()).map_err(|why| (at, why))?;
                }
                "escape" | "syntax" => (),
                _ => break,
            }
            start += line.len();
        }
        Ok(found)
    }
}

/// Lists where lines begin.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// Turns positions into a place.
fn place(lines: &[usize], start: usize, end: usize) -> Place {
    let line = |at: usize| lines.partition_point(|begins| *begins <= at);
    let column = start - lines.get(line(start).saturating_sub(1)).copied().unwrap_or(0) + 1;
    Place { line: line(start), column, last_line: line(end) }
}

struct Reader<'a> {
    text: &'a str,
    lines: &'a [usize],
    masked: &'a Masked,
    escape: char,
    /// Where flags that are not granted are collected; without it they are mistakes.
    foreign: Option<&'a RefCell<Vec<Mistake>>>,
}

/// What is wrong with a part that begins somewhere.
type Wrong = (usize, String);

impl Reader<'_> {
    fn dockerfile(&self, parsed: Vec<parser::Instruction<'_>>) -> Result<Dockerfile, Mistake> {
        let mut dockerfile =
            Dockerfile { escape: self.escape, checks: Checks::default(), globals: Vec::new(), stages: Vec::new() };
        for instruction in parsed {
            let start = instruction_start(&instruction);
            let end = end_of(&self.masked.text, start, self.escape);
            let all = &self.masked.heredocs;
            let index = |at: usize| all.partition_point(|heredoc| heredoc.marker < at);
            let heredocs = all[index(start)..index(end)].to_vec();
            let mut place = place(self.lines, start, end);
            if let Some(last) = heredocs.last() {
                place.last_line = last.end_line - 1;
            }
            let wrong = |(at, message): Wrong| {
                let exact = self::place(self.lines, at, at);
                Mistake { place: Place { last_line: place.last_line, ..exact }, message }
            };
            let text = join_lines(&self.text[start..end], self.escape);
            match instruction {
                parser::Instruction::From(from) => {
                    dockerfile.stages.push(self.stage(&from, place, text).map_err(wrong)?);
                }
                parser::Instruction::Arg(arg) if dockerfile.stages.is_empty() => {
                    let arguments = words::arguments(&arg.arguments.value, self.escape);
                    dockerfile.globals.extend(arguments.map_err(|why| wrong((start, why)))?);
                }
                other => {
                    let instruction = self.instruction(other, heredocs).map_err(wrong)?;
                    // The parser sees to it that there is one.
                    let Some(stage) = dockerfile.stages.last_mut() else { continue };
                    stage.steps.push(Step { instruction, place, text });
                }
            }
        }
        Ok(dockerfile)
    }

    fn stage(&self, from: &parser::FromInstruction<'_>, place: Place, text: String) -> Result<Stage, Wrong> {
        let mut platform = None;
        for flag in &from.options {
            match flag.name.value.as_ref() {
                "platform" => platform = Some(value(flag)?),
                _ => return Err(unknown_flag(flag, "FROM", &["platform"])),
            }
        }
        let name = from.as_.as_ref().map(|(_, name)| (name.span.start, name.value.to_ascii_lowercase()));
        if let Some((at, name)) = &name {
            let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
            if !starts || !name.chars().all(plain) {
                let why = format!("{name:?} is no name of a stage: a letter, then letters, digits, '-', '_' and '.'");
                return Err((*at, why));
            }
            if name == "scratch" || name == "context" {
                return Err((*at, format!("a stage cannot be called {name:?}")));
            }
        }
        let name = name.map(|(_, name)| name);
        Ok(Stage { base: from.image.value.to_string(), platform, name, place, text, steps: Vec::new() })
    }

    fn instruction(&self, instruction: parser::Instruction<'_>, heredocs: Vec<Heredoc>) -> Result<Instruction, Wrong> {
        use parser::Instruction as Parsed;
        let start = instruction_start(&instruction);
        let here = |why: String| (start, why);
        Ok(match instruction {
            Parsed::Add(add) => self.copy(true, &add.options, &add.src, &add.dest, heredocs)?,
            Parsed::Copy(copy) => self.copy(false, &copy.options, &copy.src, &copy.dest, heredocs)?,
            Parsed::Arg(arg) => Instruction::Arg(words::arguments(&arg.arguments.value, self.escape).map_err(here)?),
            Parsed::Env(env) => Instruction::Env(words::pairs(&env.arguments.value, "ENV", self.escape).map_err(here)?),
            Parsed::Label(label) => {
                Instruction::Label(words::pairs(&label.arguments.value, "LABEL", self.escape).map_err(here)?)
            }
            Parsed::Run(run) => self.run(&run, heredocs)?,
            Parsed::Cmd(cmd) => Instruction::Cmd(self.command(&cmd.arguments)),
            Parsed::Entrypoint(entrypoint) => Instruction::Entrypoint(self.command(&entrypoint.arguments)),
            Parsed::Shell(shell) => Instruction::Shell(list(&shell.arguments)),
            Parsed::User(user) => Instruction::User(user.arguments.value.into_owned()),
            Parsed::Workdir(workdir) => Instruction::Workdir(workdir.arguments.value.into_owned()),
            Parsed::Volume(volume) => Instruction::Volume(match &volume.arguments {
                JsonOrStringArray::Json(json) => list(&json.value),
                JsonOrStringArray::String(words) => list(words),
            }),
            Parsed::Expose(expose) => Instruction::Expose(list(&expose.arguments)),
            Parsed::Stopsignal(signal) => Instruction::Stopsignal(signal.arguments.value.into_owned()),
            Parsed::Healthcheck(check) => Instruction::Healthcheck(self.healthcheck(&check)?),
            Parsed::Maintainer(maintainer) => Instruction::Maintainer(maintainer.name.value.into_owned()),
            Parsed::Onbuild(onbuild) => self.onbuild(*onbuild.instruction, &heredocs)?,
            Parsed::From(_) => return Err(here("FROM cannot stand here".to_owned())),
            _ => return Err(here("this instruction is not known".to_owned())),
        })
    }

    /// A line for the shell is in the parser's text without its here-documents; what was written is in ours.
    fn command(&self, command: &parser::Command<'_>) -> Command {
        match command {
            parser::Command::Exec(words) => Command::Exec(list(&words.value)),
            parser::Command::Shell(line) => Command::Shell(join_lines(&self.text[line.span.clone()], self.escape)),
            _ => Command::Exec(Vec::new()),
        }
    }

    /// Fails, or takes a note where mistakes of this kind are collected.
    fn refuse(&self, (at, message): Wrong) -> Result<(), Wrong> {
        let Some(foreign) = self.foreign else { return Err((at, message)) };
        foreign.borrow_mut().push(Mistake { place: place(self.lines, at, at), message });
        Ok(())
    }

    fn run(&self, run: &parser::RunInstruction<'_>, heredocs: Vec<Heredoc>) -> Result<Instruction, Wrong> {
        let mut mounts = Vec::new();
        let mut network = None;
        for flag in &run.options {
            match flag.name.value.as_ref() {
                "mount" => {
                    let text = value(flag)?;
                    // With variables in it, it is known only when they are.
                    if !text.contains('$') {
                        Mount::parse(&text).map(drop).or_else(|why| self.refuse((flag.name.span.start, why)))?;
                    }
                    mounts.push(text);
                }
                "network" => match value(flag)?.as_str() {
                    "default" => network = Some(RunNetwork::Default),
                    "none" => network = Some(RunNetwork::None),
                    other => {
                        let why = format!("--network={other} is not to be had: a step has \"default\" or \"none\"");
                        self.refuse((flag.name.span.start, why))?;
                    }
                },
                "security" if value(flag)? == "sandbox" => (),
                _ => self.refuse(unknown_flag(flag, "RUN", &["mount", "network"]))?,
            }
        }
        let command = self.command(&run.arguments);
        if matches!(&command, Command::Shell(line) if line.is_empty()) {
            return Err((run.run.span.start, "RUN wants a command".to_owned()));
        }
        Ok(Instruction::Run(Run { command, heredocs, mounts, network }))
    }

    fn copy(
        &self,
        add: bool,
        options: &[Flag<'_>],
        sources: &[parser::Source<'_>],
        destination: &UnescapedString<'_>,
        mut heredocs: Vec<Heredoc>,
    ) -> Result<Instruction, Wrong> {
        let mut copy = Copy { add, destination: destination.value.to_string(), ..Copy::default() };
        for flag in options {
            copy_flag(&mut copy, flag)?;
        }
        for source in sources {
            copy.sources.push(match source {
                parser::Source::Path(path) => {
                    match heredocs.iter().position(|heredoc| path.span.contains(&heredoc.marker)) {
                        Some(at) => Source::Heredoc(heredocs.remove(at)),
                        None => Source::Path(path.value.to_string()),
                    }
                }
                _ => return Err((destination.span.start, "this source is not known".to_owned())),
            });
        }
        Ok(Instruction::Copy(Box::new(copy)))
    }

    fn healthcheck(&self, check: &parser::HealthcheckInstruction<'_>) -> Result<Option<Healthcheck>, Wrong> {
        let HealthcheckArguments::Cmd { arguments, .. } = &check.arguments else {
            return match check.options.first() {
                Some(flag) => Err((flag.name.span.start, "HEALTHCHECK NONE has no flags".to_owned())),
                None => Ok(None),
            };
        };
        let command = self.command(arguments);
        let mut healthcheck = Healthcheck {
            command,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        for flag in &check.options {
            let text = value(flag)?;
            let at = flag.name.span.start;
            let time = || duration(&text).ok_or_else(|| (at, format!("{text:?} is no duration, such as 30s or 1m30s")));
            match flag.name.value.as_ref() {
                "interval" => healthcheck.interval = Some(time()?),
                "timeout" => healthcheck.timeout = Some(time()?),
                "start-period" => healthcheck.start_period = Some(time()?),
                "start-interval" => healthcheck.start_interval = Some(time()?),
                "retries" => {
                    let number = text.parse().map_err(|_| (at, format!("{text:?} is no number of retries")))?;
                    healthcheck.retries = Some(number);
                }
                _ => {
                    let known = ["interval", "timeout", "start-period", "start-interval", "retries"];
                    return Err(unknown_flag(flag, "HEALTHCHECK", &known));
                }
            }
        }
        Ok(Some(healthcheck))
    }

    /// Keeps an instruction as text, after it was understood here, where it can still be mended.
    fn onbuild(&self, inner: parser::Instruction<'_>, heredocs: &[Heredoc]) -> Result<Instruction, Wrong> {
        let start = instruction_start(&inner);
        if matches!(inner, parser::Instruction::From(_) | parser::Instruction::Maintainer(_)) {
            return Err((start, "ONBUILD takes no FROM and no MAINTAINER".to_owned()));
        }
        let end = end_of(&self.masked.text, start, self.escape);
        let mut text = join_lines(&self.text[start..end], self.escape);
        for heredoc in heredocs {
            text = format!("{text}\n{}{}", heredoc.body, heredoc.name);
        }
        self.instruction(inner, heredocs.to_vec())?;
        Ok(Instruction::Onbuild(text))
    }
}

fn copy_flag(copy: &mut Copy, flag: &Flag<'_>) -> Result<(), Wrong> {
    match (flag.name.value.as_ref(), copy.add) {
        ("from", false) => copy.from = Some(value(flag)?),
        ("chown", _) => copy.chown = Some(value(flag)?),
        ("chmod", _) => copy.chmod = Some(value(flag)?),
        ("link", _) => copy.link = switch(flag)?,
        ("parents", false) => copy.parents = switch(flag)?,
        ("exclude", _) => copy.excludes.push(value(flag)?),
        ("checksum", true) => copy.checksum = Some(value(flag)?),
        ("unpack", true) => copy.unpack = Some(switch(flag)?),
        ("keep-git-dir", true) => copy.keep_git_dir = switch(flag)?,
        (_, true) => {
            let known = ["chown", "chmod", "link", "exclude", "checksum", "unpack", "keep-git-dir"];
            return Err(unknown_flag(flag, "ADD", &known));
        }
        (_, false) => {
            return Err(unknown_flag(flag, "COPY", &["from", "chown", "chmod", "link", "parents", "exclude"]));
        }
    }
    Ok(())
}

fn instruction_start(instruction: &parser::Instruction<'_>) -> usize {
    use parser::Instruction as Parsed;
    let keyword = match instruction {
        Parsed::Add(i) => &i.add,
        Parsed::Arg(i) => &i.arg,
        Parsed::Cmd(i) => &i.cmd,
        Parsed::Copy(i) => &i.copy,
        Parsed::Entrypoint(i) => &i.entrypoint,
        Parsed::Env(i) => &i.env,
        Parsed::Expose(i) => &i.expose,
        Parsed::From(i) => &i.from,
        Parsed::Healthcheck(i) => &i.healthcheck,
        Parsed::Label(i) => &i.label,
        Parsed::Maintainer(i) => &i.maintainer,
        Parsed::Onbuild(i) => &i.onbuild,
        Parsed::Run(i) => &i.run,
        Parsed::Shell(i) => &i.shell,
        Parsed::Stopsignal(i) => &i.stopsignal,
        Parsed::User(i) => &i.user,
        Parsed::Volume(i) => &i.volume,
        Parsed::Workdir(i) => &i.workdir,
        _ => return 0,
    };
    keyword.span.start
}

fn list(words: &[UnescapedString<'_>]) -> Vec<String> {
    words.iter().map(|word| word.value.to_string()).collect()
}

fn value(flag: &Flag<'_>) -> Result<String, Wrong> {
    let none = || (flag.name.span.start, format!("--{} wants a value: --{}=...", flag.name.value, flag.name.value));
    let value = flag.value.as_ref().filter(|value| !value.value.is_empty()).ok_or_else(none)?;
    Ok(value.value.to_string())
}

fn switch(flag: &Flag<'_>) -> Result<bool, Wrong> {
    match flag.value.as_ref().map(|value| value.value.as_ref()) {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err((flag.name.span.start, format!("--{} is true or false, not {other:?}", flag.name.value))),
    }
}

fn unknown_flag(flag: &Flag<'_>, keyword: &str, known: &[&str]) -> Wrong {
    let known: Vec<String> = known.iter().map(|name| format!("--{name}")).collect();
    let why = format!("{keyword} has no flag --{}; it has {}", flag.name.value, known.join(", "));
    (flag.name.span.start, why)
}
