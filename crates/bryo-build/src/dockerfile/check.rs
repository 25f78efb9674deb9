// SPDX-License-Identifier: Apache-2.0
//! Checks: what is understood and yet probably not meant. Source: Docker's "Build checks", whose names these are.
//!
//! Checked is what the Dockerfile says without its variables. The directive `# check=skip=NAME,NAME;error=true` leaves
//! checks out, and makes a mistake of what the others find.

use std::collections::BTreeSet;

use super::{Command, Dockerfile, Instruction, Mistake, Place, Stage};

/// What is checked, and what follows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checks {
    skip_all: bool,
    skip: BTreeSet<String>,
    /// Whether something that is found is a mistake.
    pub error: bool,
}

/// Something that was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub message: String,
}

impl Checks {
    /// Reads what stands behind `check=`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut checks = Self::default();
        let options = text.split(';').map(str::trim).filter(|option| !option.is_empty());
        for option in options {
            match option.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("skip", value)) => {
                    for name in value.split(',').map(str::trim) {
                        checks.skip_all |= name.eq_ignore_ascii_case("all");
                        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                            return Err(format!("check=skip={value}: {name:?} is no name of a check"));
                        }
                        checks.skip.insert(name.to_ascii_lowercase());
                    }
                }
                Some(("error", "true")) => checks.error = true,
                Some(("error", "false")) => checks.error = false,
                _ => return Err(format!("check={option}: skip=NAME,... and error=true or false are known")),
            }
        }
        Ok(checks)
    }

    fn skips(&self, name: &str) -> bool {
        self.skip_all || self.skip.contains(&name.to_ascii_lowercase())
    }
}

/// Checks a Dockerfile.
///
/// # Errors
///
/// The first that is found, if the directive makes mistakes of them.
pub fn check(dockerfile: &Dockerfile, checks: &Checks) -> Result<Vec<Finding>, Mistake> {
    let (mut found, mut names) = (Vec::new(), BTreeSet::new());
    for stage in &dockerfile.stages {
        of_from(stage, &mut found);
        if let Some(name) = stage.name.as_deref().filter(|name| !names.insert(*name)) {
            let why = format!("stage {name:?} hides the one before it of the same name from whatever follows");
            found.push(finding("DuplicateStageName", stage.place, why));
        }
        of_commands(stage, &mut found);
        of_steps(stage, &mut found);
    }
    found.retain(|finding| !checks.skips(finding.check));
    found.sort_by_key(|finding| finding.place.line);
    match found.first() {
        Some(Finding { check, place, message }) if checks.error => {
            Err(Mistake { place: *place, message: format!("{check}: {message}; check=error=true makes that an error") })
        }
        _ => Ok(found),
    }
}

fn finding(check: &'static str, place: Place, message: impl Into<String>) -> Finding {
    Finding { check, place, message: message.into() }
}

fn of_from(stage: &Stage, found: &mut Vec<Finding>) {
    let words: Vec<&str> = stage.text.split_whitespace().collect();
    let upper = |word: &str| word == word.to_ascii_uppercase();
    if let [.., r#as, name] = words.as_slice()
        && stage.name.is_some()
    {
        if upper(r#as) != upper(words[0]) {
            let why = format!("{} and {as} are written in different ways", words[0]);
            found.push(finding("FromAsCasing", stage.place, why));
        }
        if stage.name.as_deref() != Some(*name) {
            found.push(finding("StageNameCasing", stage.place, format!("stage {name:?} should be in small letters")));
        }
    }
    match stage.platform.as_deref() {
        Some("$TARGETPLATFORM" | "${TARGETPLATFORM}") => {
            let why = "the target's platform is what a stage has without --platform";
            found.push(finding("RedundantTargetPlatform", stage.place, why));
        }
        Some(platform) if !platform.contains('$') => {
            let why = format!("--platform={platform} is the same whatever is built for");
            found.push(finding("FromPlatformFlagConstDisallowed", stage.place, why));
        }
        _ => (),
    }
}

/// Looks at what only counts once in a stage.
fn of_commands(stage: &Stage, found: &mut Vec<Finding>) {
    let (mut seen, mut shell) = (BTreeSet::new(), false);
    for step in &stage.steps {
        let word = step.instruction.keyword();
        match &step.instruction {
            Instruction::Shell(_) => shell = true,
            Instruction::Cmd(command) | Instruction::Entrypoint(command) => {
                if matches!(command, Command::Shell(_)) && !shell {
                    let why = format!("the shell of {word} gets the signals, and not the program; a list has no shell");
                    found.push(finding("JSONArgsRecommended", step.place, why));
                }
                if !seen.insert(word) {
                    let why = format!("the last {word} of a stage counts, and there is one before this");
                    found.push(finding("MultipleInstructionsDisallowed", step.place, why));
                }
            }
            Instruction::Healthcheck(_) if !seen.insert(word) => {
                let why = format!("the last {word} of a stage counts, and there is one before this");
                found.push(finding("MultipleInstructionsDisallowed", step.place, why));
            }
            _ => (),
        }
    }
}

fn of_steps(stage: &Stage, found: &mut Vec<Finding>) {
    let upper = |text: &str| text.split_whitespace().next().is_some_and(|word| word == word.to_ascii_uppercase());
    let mut directory = false;
    for step in &stage.steps {
        if upper(&step.text) != upper(&stage.text) {
            let why = format!("{} is written in another way than FROM", step.instruction.keyword());
            found.push(finding("ConsistentInstructionCasing", step.place, why));
        }
        match &step.instruction {
            Instruction::Maintainer(_) => {
                let why = "a label says who maintains an image: org.opencontainers.image.authors";
                found.push(finding("MaintainerDeprecated", step.place, why));
            }
            Instruction::Workdir(path) => {
                if !directory && !path.trim_start_matches('"').starts_with(['/', '$']) {
                    let why = format!("{path:?} is below whatever directory the base image has");
                    found.push(finding("WorkdirRelativePath", step.place, why));
                }
                directory = true;
            }
            Instruction::Arg(arguments) => {
                let names = arguments.iter().map(|argument| argument.name.as_str());
                found.extend(names.filter(|name| is_secret(name)).map(|name| secret(step.place, "ARG", name)));
            }
            Instruction::Env(pairs) => {
                let names = pairs.iter().map(|(name, _)| name.as_str());
                found.extend(names.filter(|name| is_secret(name)).map(|name| secret(step.place, "ENV", name)));
                legacy(&step.text, step.place, found);
            }
            Instruction::Label(_) => legacy(&step.text, step.place, found),
            _ => (),
        }
    }
}

fn secret(place: Place, word: &str, name: &str) -> Finding {
    let why = format!("everybody who has the image reads {word} {name}; RUN --mount=type=secret keeps one");
    finding("SecretsUsedInArgOrEnv", place, why)
}

/// Tells whether a name is one that secrets have.
fn is_secret(name: &str) -> bool {
    let words: Vec<String> = name.split('_').map(str::to_ascii_lowercase).collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let secret =
        ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
    has(&secret) && !has(&["public", "pub", "file", "path", "dir", "url"])
}

/// Looks for `ENV NAME VALUE`.
fn legacy(text: &str, place: Place, found: &mut Vec<Finding>) {
    let second = text.split_whitespace().nth(1);
    if let Some(name) = second.filter(|word| !word.contains(['=', '"', '\''])) {
        let why = format!("{name} and its value belong together: {name}=VALUE");
        found.push(finding("LegacyKeyValueFormat", place, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn names(text: &str) -> Vec<(&'static str, usize)> {
        let dockerfile = parse(text).unwrap();
        let found = check(&dockerfile, &dockerfile.checks).unwrap();
        found.iter().map(|finding| (finding.check, finding.place.line)).collect()
    }

    #[test]
    fn what_is_probably_not_meant_is_found() {
        for (text, expected) in [
            ("FROM x AS a\nCMD [\"x\"]\nWORKDIR /x\nWORKDIR y\nENV A=b\nARG PUBLIC_KEY\n", &[][..]),
            ("FROM x as a\n", &[("FromAsCasing", 1)]),
            ("FROM x AS Ab\n", &[("StageNameCasing", 1)]),
            ("FROM x AS a\nFROM y AS b\nFROM z AS a\n", &[("DuplicateStageName", 3)]),
            ("FROM --platform=linux/arm64 x\n", &[("FromPlatformFlagConstDisallowed", 1)]),
            ("FROM --platform=$BUILDPLATFORM x\n", &[]),
            ("FROM --platform=$TARGETPLATFORM x\n", &[("RedundantTargetPlatform", 1)]),
            ("FROM x\nCMD x\n", &[("JSONArgsRecommended", 2)]),
            ("FROM x\nSHELL [\"a\"]\nCMD x\n", &[]),
            ("FROM x\nCMD [\"x\"]\nCMD [\"y\"]\n", &[("MultipleInstructionsDisallowed", 3)]),
            ("FROM x\nrun a\n", &[("ConsistentInstructionCasing", 2)]),
            ("FROM x\nMAINTAINER a\n", &[("MaintainerDeprecated", 2)]),
            ("FROM x\nWORKDIR y\n", &[("WorkdirRelativePath", 2)]),
            ("FROM x\nARG A\nARG API_TOKEN\n", &[("SecretsUsedInArgOrEnv", 3)]),
            ("FROM x\nENV A b\n", &[("LegacyKeyValueFormat", 2)]),
            ("# check=skip=legacykeyvalueformat,X\nFROM x\nENV A b\nMAINTAINER a\n", &[("MaintainerDeprecated", 4)]),
            ("# check=skip=all\nFROM x\nENV A b\n", &[]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn the_directive_is_understood_or_refused() {
        let mistake = |text: &str| {
            let dockerfile = parse(text)?;
            check(&dockerfile, &dockerfile.checks)
        };
        let found = mistake("# check=error=true\nFROM x\nENV A b\n").unwrap_err();
        assert!(found.place.line == 3 && found.message.contains("LegacyKeyValueFormat"), "{found:?}");
        for text in ["# check=skip\nFROM x\n", "# check=skip=;error=true\nFROM x\n", "# check=error=no\nFROM x\n"] {
            let found = mistake(text).unwrap_err();
            assert_eq!((found.place.line, found.place.column), (1, 9), "{found:?}");
        }
        assert!(mistake("# a comment\n# check=skip\nFROM x\n").is_ok(), "it is a comment");
    }
}
