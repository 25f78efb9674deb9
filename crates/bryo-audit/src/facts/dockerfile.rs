// SPDX-License-Identifier: Apache-2.0
//! A Dockerfile's stages as a build would make them: variables replaced by their defaults, each stage with all that it
//! has from the stage below it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use bryo_build::dockerfile::{self as language, Command, Copy, Instruction, Step, substitute};

use super::accounts::{make_accounts, replace_lines};
use crate::identity::Accounts;
use crate::model::{Fact, Place};
use crate::shell::{self, Simple};

/// A Dockerfile's facts.
#[derive(Debug)]
pub struct Facts {
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// What is built: the last one, or the one that was asked for.
    pub target: usize,
    /// The text.
    pub text: Arc<str>,
    /// Flags that bryo's own builder does not grant.
    pub foreign: Vec<language::Mistake>,
    /// The values that a build gives to arguments.
    given: BTreeMap<String, String>,
}

/// What a stage stands on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image, by its reference.
    Image(String),
}

/// A word with its variables replaced.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Said {
    /// What it says.
    pub text: String,
    /// As it was written.
    pub raw: String,
    /// Whether it has variables.
    pub variable: bool,
    /// Whether one of them has no value here.
    pub unknown: bool,
}

/// A stage when all its instructions have run.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name, or its number.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// What it stands on.
    pub base: Base,
    /// `FROM` as it is said.
    pub from: Said,
    /// The last `USER`.
    pub user: Option<Fact<Said>>,
    /// The first command when it starts, and whether a shell reads it.
    pub entrypoint: Option<Fact<Command>>,
    /// Its arguments, or the command.
    pub cmd: Option<Fact<Command>>,
    /// The last `WORKDIR`.
    pub workdir: Option<Fact<Said>>,
    /// Every `VOLUME`.
    pub volumes: Vec<Fact<String>>,
    /// Every `EXPOSE`.
    pub exposed: Vec<Fact<String>>,
    /// Whether there is a health check, or a word that there is none.
    pub healthcheck: Option<Fact<Option<Command>>>,
    /// Every `ONBUILD`.
    pub onbuild: Vec<Fact<String>>,
    /// The variables of the environment.
    pub env: BTreeMap<String, Said>,
    /// The accounts that its commands make.
    pub accounts: Accounts,
    /// What is copied to `/etc/passwd`.
    pub passwd: Option<Passwd>,
    /// The instructions of this stage alone.
    pub steps: Vec<Done>,
    /// Its own arguments.
    arguments: BTreeMap<String, Option<String>>,
    /// The values that a build gives to arguments.
    given: BTreeMap<String, String>,
}

/// Another `/etc/passwd` than the base's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Passwd {
    /// That of a stage, or of an image.
    Stage(String),
    /// A file of the context.
    File(String),
}

/// An instruction and what it runs.
#[derive(Clone, Debug)]
pub struct Done {
    /// The instruction.
    pub step: Step,
    /// Where it is.
    pub place: Place,
    /// The commands of a `RUN`.
    pub commands: Vec<Simple>,
    /// The whole script of a `RUN`.
    pub script: String,
    /// Who runs it.
    pub user: Option<Said>,
}

impl Facts {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    ///
    /// The first mistake that leaves no meaning; a target that is no stage.
    pub fn read(file: &Arc<str>, text: &str, target: Option<&str>) -> Result<Self, language::Mistake> {
        Self::read_with(file, text, target, &[])
    }

    /// As [`Facts::read`], with values that a build gives to arguments.
    ///
    /// # Errors
    ///
    /// As [`Facts::read`].
    pub fn read_with(
        file: &Arc<str>,
        text: &str,
        target: Option<&str>,
        given: &[(String, String)],
    ) -> Result<Self, language::Mistake> {
        let (dockerfile, foreign) = language::parse_foreign(text)?;
        let given = given.iter().cloned().collect();
        let mut facts = Self { stages: Vec::new(), target: 0, text: text.into(), foreign, given };
        let mut globals: BTreeMap<String, Option<String>> = BTreeMap::new();
        for argument in &dockerfile.globals {
            let default = argument.default.as_ref().map(|word| expand(word, &globals, &BTreeMap::new(), '\\'));
            let value = default.filter(|said| !said.unknown).map(|said| said.text);
            globals.insert(argument.name.clone(), facts.given.get(&argument.name).cloned().or(value));
        }
        for stage in &dockerfile.stages {
            let made = facts.stage(file, stage, &globals, dockerfile.escape);
            facts.stages.push(made);
        }
        facts.target = facts.stages.len().saturating_sub(1);
        if let Some(target) = target {
            facts.target = facts.find(target).ok_or_else(|| no_stage(&facts, target))?;
        }
        Ok(facts)
    }

    /// Finds a stage by name or number.
    pub fn find(&self, name: &str) -> Option<usize> {
        let by_name = self.stages.iter().rposition(|stage| stage.name.eq_ignore_ascii_case(name));
        by_name.or_else(|| name.parse().ok().filter(|at| *at < self.stages.len()))
    }

    /// Lists the stages that the target stands on, itself first.
    pub fn chain(&self) -> Vec<usize> {
        self.chain_of(self.target)
    }

    fn chain_of(&self, at: usize) -> Vec<usize> {
        let mut chain = vec![at];
        while let Some(last) = chain.last()
            && let Some(Stage { base: Base::Stage(below), .. }) = self.stages.get(*last)
            && below < last
        {
            chain.push(*below);
        }
        chain
    }

    /// Returns the image at the bottom of the target; nothing for `scratch`.
    pub fn base(&self) -> Option<&str> {
        self.base_of(self.target)
    }

    /// Returns the image at the bottom of a stage; nothing for `scratch`.
    pub fn base_of(&self, at: usize) -> Option<&str> {
        self.chain_of(at).last().and_then(|at| self.stages.get(*at)).and_then(|bottom| match &bottom.base {
            Base::Image(image) => Some(image.as_str()),
            _ => None,
        })
    }

    /// Finds the line of an instruction that has a word in it.
    pub fn line_of(&self, done: &Done, needle: &str) -> Place {
        let lines = self.text.lines().enumerate().skip(done.step.place.line.saturating_sub(1));
        let inside = lines.take(done.step.place.last_line.max(done.step.place.line) + 1 - done.step.place.line);
        let mut place = done.place.clone();
        if let Some((at, line)) = inside.into_iter().find(|(_, line)| line.contains(needle)) {
            place.line = at + 1;
            place.column = line.find(needle).map_or(1, |column| column + 1);
        }
        place
    }

    fn stage(
        &self,
        file: &Arc<str>,
        stage: &language::Stage,
        globals: &BTreeMap<String, Option<String>>,
        escape: char,
    ) -> Stage {
        let from = expand(&stage.base, globals, &BTreeMap::new(), escape);
        let place = Place { file: Arc::clone(file), line: stage.place.line, column: stage.place.column };
        let name = stage.name.clone().unwrap_or_else(|| self.stages.len().to_string());
        let below = self.stages.iter().rposition(|known| known.name.eq_ignore_ascii_case(&from.text));
        let mut made = match below {
            Some(at) => Stage { base: Base::Stage(at), steps: Vec::new(), ..self.stages[at].clone() },
            None if from.text == "scratch" => Stage::empty(Base::Scratch, &place),
            None => Stage::empty(Base::Image(from.text.clone()), &place),
        };
        (made.name, made.place, made.from) = (name, place, from);
        // Arguments end with their stage.
        made.arguments = BTreeMap::new();
        made.given.clone_from(&self.given);
        let onbuild: Vec<Fact<String>> = if below.is_some() { std::mem::take(&mut made.onbuild) } else { Vec::new() };
        for trigger in onbuild {
            if let Ok(mut step) = language::parse_trigger(&trigger.value) {
                step.place = stage.place;
                made.step(file, &step, globals, escape);
            }
        }
        for step in &stage.steps {
            made.step(file, step, globals, escape);
        }
        made
    }
}

fn no_stage(facts: &Facts, target: &str) -> language::Mistake {
    let names: Vec<&str> = facts.stages.iter().map(|stage| stage.name.as_str()).collect();
    let message = format!("there is no stage {target:?}; the stages are {}", names.join(", "));
    language::Mistake { place: language::Place::default(), message }
}

/// Tells whether a source of a copy becomes `/etc/passwd`, as far as its words say.
fn becomes_passwd(source: &language::Source, copy: &Copy) -> bool {
    let path = match source {
        language::Source::Path(path) => path.trim_end_matches('/'),
        language::Source::Heredoc(heredoc) => &heredoc.name,
    };
    match copy.destination.trim_end_matches('/') {
        "/etc/passwd" => true,
        "/etc" => path.rsplit('/').next() == Some("passwd") || path.trim_start_matches('/') == "etc",
        _ => false,
    }
}

impl Stage {
    /// Remembers the accounts that a copy brings.
    fn copied(&mut self, copy: &Copy) {
        let mut texts = Vec::new();
        let mut replaced = false;
        for source in copy.sources.iter().filter(|source| becomes_passwd(source, copy)) {
            replaced = true;
            match (source, &copy.from) {
                (language::Source::Heredoc(heredoc), _) => {
                    self.passwd = None;
                    texts.push(heredoc.text());
                }
                (_, Some(from)) => self.passwd = Some(Passwd::Stage(from.clone())),
                (language::Source::Path(path), None) => {
                    let dir = path.trim_matches('/') == "etc";
                    let path = if dir { "etc/passwd".to_owned() } else { path.clone() };
                    self.passwd = Some(Passwd::File(path));
                }
            }
        }
        // What commands made before is in the file that is gone.
        if replaced {
            replace_lines(&mut self.accounts, &texts.join("\n"));
        }
    }

    fn empty(base: Base, place: &Place) -> Self {
        Self {
            name: String::new(),
            place: place.clone(),
            base,
            from: Said::default(),
            user: None,
            entrypoint: None,
            cmd: None,
            workdir: None,
            volumes: Vec::new(),
            exposed: Vec::new(),
            healthcheck: None,
            onbuild: Vec::new(),
            env: BTreeMap::new(),
            accounts: Accounts::default(),
            passwd: None,
            steps: Vec::new(),
            arguments: BTreeMap::new(),
            given: BTreeMap::new(),
        }
    }

    fn step(&mut self, file: &Arc<str>, step: &Step, globals: &BTreeMap<String, Option<String>>, escape: char) {
        let place = Place { file: Arc::clone(file), line: step.place.line, column: step.place.column };
        let say = |stage: &Self, word: &str| expand(word, &stage.arguments, &stage.env, escape);
        fn fact<T>(value: T, place: &Place) -> Fact<T> {
            Fact { value, place: place.clone() }
        }
        let (mut commands, mut script) = (Vec::new(), String::new());
        match &step.instruction {
            Instruction::Arg(arguments) => {
                for argument in arguments {
                    let default = argument.default.as_ref().map(|word| say(self, word));
                    let own = default.filter(|said| !said.unknown).map(|said| said.text);
                    let own = self.given.get(&argument.name).cloned().or(own);
                    let value = own.or_else(|| globals.get(&argument.name).cloned().flatten());
                    self.arguments.insert(argument.name.clone(), value);
                }
            }
            Instruction::Env(pairs) => {
                for (name, value) in pairs {
                    let said = say(self, value);
                    self.env.insert(name.clone(), said);
                }
            }
            Instruction::User(user) => self.user = Some(fact(say(self, user), &place)),
            Instruction::Workdir(dir) => {
                let mut said = say(self, dir);
                if let Some(before) = &self.workdir
                    && !said.text.starts_with('/')
                {
                    said.text = format!("{}/{}", before.value.text.trim_end_matches('/'), said.text);
                }
                self.workdir = Some(fact(said, &place));
            }
            Instruction::Volume(volumes) => {
                let said: Vec<_> = volumes.iter().map(|volume| fact(say(self, volume).text, &place)).collect();
                self.volumes.extend(said);
            }
            Instruction::Expose(ports) => {
                let said: Vec<_> = ports.iter().map(|port| fact(say(self, port).text, &place)).collect();
                self.exposed.extend(said);
            }
            Instruction::Entrypoint(command) => {
                self.entrypoint = Some(fact(command.clone(), &place));
                self.cmd = None;
            }
            Instruction::Cmd(command) => self.cmd = Some(fact(command.clone(), &place)),
            Instruction::Healthcheck(check) => {
                self.healthcheck = Some(fact(check.as_ref().map(|check| check.command.clone()), &place));
            }
            Instruction::Onbuild(text) => self.onbuild.push(fact(text.clone(), &place)),
            Instruction::Run(run) => {
                (commands, script) = commands_of(run);
                let Self { accounts, arguments, env, .. } = self;
                make_accounts(accounts, &commands, &|word| expand(word, arguments, env, escape));
            }
            Instruction::Copy(copy) => self.copied(copy),
            _ => {}
        }
        let user = self.user.as_ref().map(|user| user.value.clone());
        self.steps.push(Done { step: step.clone(), place, commands, script, user });
    }
}

/// Replaces the variables of a word.
fn expand(
    word: &str,
    arguments: &BTreeMap<String, Option<String>>,
    env: &BTreeMap<String, Said>,
    escape: char,
) -> Said {
    let used = RefCell::new((false, false));
    let lookup = |name: &str| {
        let mut used = used.borrow_mut();
        used.0 = true;
        let value = match (env.get(name), arguments.get(name)) {
            (Some(said), _) => {
                used.1 |= said.unknown;
                Some(said.text.clone())
            }
            (None, Some(Some(value))) => Some(value.clone()),
            _ => None,
        };
        used.1 |= value.is_none();
        value
    };
    let result = substitute::word(word, &lookup, escape);
    let (variable, mut unknown) = *used.borrow();
    // With a default of its own, a variable without a value has one.
    if word.contains(":-") && result.as_ref().is_ok_and(|text| !text.is_empty()) {
        unknown = false;
    }
    let text = result.unwrap_or_else(|_| {
        unknown = true;
        word.to_owned()
    });
    Said { text, raw: word.to_owned(), variable, unknown }
}

/// Finds what a `RUN` runs; here-documents are scripts where a shell reads them.
fn commands_of(run: &language::Run) -> (Vec<Simple>, String) {
    match &run.command {
        Command::Exec(words) => (shell::commands_of(words), words.join(" ")),
        Command::Shell(line) => {
            let mut script = line.clone();
            let first = line.split_whitespace().next().unwrap_or_default();
            let reads = first.starts_with("<<") || ["sh", "bash", "ash", "dash"].iter().any(|sh| first.ends_with(sh));
            for heredoc in run.heredocs.iter().filter(|_| reads) {
                script.push('\n');
                script.push_str(&heredoc.text());
            }
            (shell::commands(&script), script)
        }
    }
}

/// Returns the copies of a stage.
pub fn copies(stage: &Stage) -> impl Iterator<Item = (&Copy, &Done)> {
    stage.steps.iter().filter_map(|done| match &done.step.instruction {
        Instruction::Copy(copy) => Some((&**copy, done)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Facts {
        Facts::read(&"Dockerfile".into(), text, None).unwrap()
    }

    fn user(text: &str) -> Option<String> {
        let facts = read(text);
        facts.stages[facts.target].user.as_ref().map(|user| user.value.text.clone())
    }

    #[test]
    fn the_user_is_that_of_what_is_built() {
        assert_eq!(user("FROM a\nUSER 5\nFROM b\n"), None);
        assert_eq!(user("FROM a AS x\nUSER 5\nFROM x\nRUN y\n").as_deref(), Some("5"));
        assert_eq!(user("ARG U=0\nFROM a\nARG U\nUSER ${U}\n").as_deref(), Some("0"));
        assert_eq!(user("FROM a\nENV R=root\nUSER \"$R\"\n").as_deref(), Some("root"));
        assert_eq!(user("FROM a AS x\nONBUILD USER 0\nFROM x\n").as_deref(), Some("0"));
        let facts = read("FROM a\nARG U\nUSER $U\n");
        assert!(facts.stages[0].user.as_ref().unwrap().value.unknown);
        let facts = read("FROM a\nUSER ${U:-5}\n");
        assert!(!facts.stages[0].user.as_ref().unwrap().value.unknown);
    }

    #[test]
    fn values_of_a_build_come_before_defaults() {
        let text = "ARG U=0\nFROM a\nARG U\nARG V=1\nUSER ${U}:${V}\n";
        let given = [("U".to_owned(), "5".to_owned()), ("V".to_owned(), "6".to_owned())];
        let facts = Facts::read_with(&"d".into(), text, None, &given).unwrap();
        assert_eq!(facts.stages[0].user.as_ref().unwrap().value.text, "5:6");
    }

    #[test]
    fn a_stage_that_is_asked_for_is_the_target() {
        let text = "FROM a AS one\nUSER 1\nFROM b AS two\nFROM one AS three\n";
        let facts = Facts::read(&"d".into(), text, Some("one")).unwrap();
        assert_eq!((facts.target, facts.chain()), (0, vec![0]));
        assert_eq!(read(text).chain(), [2, 0]);
        let wrong = Facts::read(&"d".into(), text, Some("nope")).unwrap_err().message;
        assert!(wrong.contains("\"nope\"") && wrong.contains("one, two, three"), "{wrong}");
    }

    #[test]
    fn accounts_and_lines_are_known() {
        let facts =
            read("FROM a\nRUN x && \\\n  useradd -o -u 0 app && \\\n  groupadd -g 7 g && useradd -u 8 -g g b\n");
        let stage = &facts.stages[0];
        assert_eq!(stage.accounts.users["app"].0, 0);
        assert_eq!(stage.accounts.users["b"], (8, Some(7)));
        assert_eq!(facts.line_of(&stage.steps[0], "useradd -o").line, 3);
        let written = read("FROM a\nRUN useradd b\nRUN echo 'c:x:0:0::/:' >> /etc/passwd\n").stages.remove(0).accounts;
        assert!(written.users["c"].0 == 0 && written.made.contains("b") && written.appended.contains("c"));
        for write in ["COPY <<E /etc/passwd\nd:x:0:0::/:\nE\n", "RUN echo 'd:x:0:0::/:' > /etc/passwd\n"] {
            let accounts = read(&format!("FROM a\nRUN useradd b && useradd -u 5 c\n{write}")).stages.remove(0).accounts;
            assert_eq!((accounts.users.len(), accounts.users["d"].0, accounts.made.len()), (1, 0, 0), "{write}");
        }
        let twice = read("FROM a\nRUN useradd -u 5 c && echo 'c:x:0:0::/:' >> /etc/passwd\n").stages.remove(0).accounts;
        assert!(twice.users["c"].0 == 5 && twice.unsure.contains("c"));
    }

    #[test]
    fn what_other_builders_grant_is_read() {
        let text = "FROM a\nRUN --security=insecure --network=host x\nRUN <<E\napt-get update\nE\nUSER 5\n";
        let facts = read(text);
        assert_eq!(facts.foreign.len(), 2);
        assert!(facts.stages[0].steps[1].commands.iter().any(|c| c.program() == "apt-get"));
        assert_eq!(Facts::read(&"d".into(), "FROM a\nNOSUCH x\n", None).unwrap_err().place.line, 2);
    }

    #[test]
    fn accounts_without_numbers_are_made_all_the_same() {
        let made = |run: &str| {
            let accounts = read(&format!("FROM a\nARG N=named\n{run}\n")).stages[0].accounts.clone();
            (accounts.made.into_iter().collect::<Vec<_>>(), accounts.touched)
        };
        for (run, name) in [
            ("RUN useradd app", "app"),
            ("RUN useradd -m -s /bin/sh app", "app"),
            ("RUN useradd app -m", "app"),
            ("RUN addgroup -S web && adduser -S app -G web", "app"),
            ("RUN adduser --system --group app", "app"),
            ("RUN adduser -D -H -h /x $N", "named"),
            ("RUN usermod -l other node", "other"),
        ] {
            assert_eq!(made(run), (vec![name.to_owned()], false), "{run}");
        }
        assert!(made("RUN apt-get update && apt-get install -y postgresql-16").0.contains(&"postgres".to_owned()));
        // A number that nobody knows may be 0.
        for run in ["ARG U\nRUN useradd -o -u $U app", "ARG U\nRUN useradd -ou $U app", "RUN useradd -ou 0 app"] {
            assert!(made(run).0.is_empty(), "{run}");
        }
        let users = |run: &str| read(&format!("FROM a\nRUN {run}\n")).stages.remove(0).accounts.users;
        for run in ["useradd -ou 0 app", "usermod -ou 0 app", "useradd app --ui 0", "usermod -l app root"] {
            assert_eq!(users(run).get("app").map(|(uid, _)| *uid), Some(0), "{run}");
        }
        for run in ["RUN sed -i s/1/0/ /etc/passwd", "RUN cat x >> /etc/passwd", "RUN cp x /etc/passwd"] {
            assert!(made(run).1, "{run}");
        }
        let passwd = |text: &str| read(text).stages.pop().unwrap().passwd;
        assert_eq!(passwd("FROM a\nCOPY passwd /etc/passwd\n"), Some(Passwd::File("passwd".to_owned())));
        assert_eq!(passwd("FROM a\nADD x/passwd x/group /etc/\n"), Some(Passwd::File("x/passwd".to_owned())));
        assert_eq!(
            passwd("FROM a AS b\nFROM a\nCOPY --from=b /etc/passwd /etc/passwd\n"),
            Some(Passwd::Stage("b".to_owned()))
        );
        assert_eq!(passwd("FROM a\nCOPY x /etc/\n"), None);
    }
}
