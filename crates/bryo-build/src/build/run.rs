// SPDX-License-Identifier: Apache-2.0
//! `RUN`.

use std::path::{Path, PathBuf};

use bryo_engine::options::Network;
use bryo_engine::step::{CacheEntry, Scratch, StepListener, StepProcess};
use bryo_image::Digest;
use bryo_image::registry::Platform;
use bryo_image::store::Layer;
use bryo_launch::relay::Source as Stream;
use serde_json::json;

use super::Builder;
use super::mask::Mask;
use super::mounts::Mounts;
use crate::dockerfile::{Command, Heredoc, Run, RunNetwork};
use crate::error::{Error, Kind, Result, wrong};
use crate::progress::{Event, Stream as Told};
use crate::state::State;

/// Where a here-document is put that says itself by which program it is read.
const SCRIPTS: &str = "/dev/pipes";

/// The files that are made for every container, and mounted.
const MADE: [&str; 6] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/proc", "/sys"];

impl Builder<'_> {
    pub(super) fn run(&mut self, state: &mut State, index: usize, run: &Run, name: &str) -> Result<()> {
        let shell = state.shell();
        if let Some(heredoc) = run.heredocs.iter().find(|heredoc| heredoc.name.contains('/')) {
            return Err(wrong(format!("<<{}: a word without slashes is expected", heredoc.name)));
        }
        let script = script(run);
        let command = match &script {
            Some(script) => vec![format!("{SCRIPTS}/{}", script.name)],
            None => line(run).words(&shell),
        };
        let mut mounts = Mounts::default();
        let entry = self.mounts(&mut mounts, state, index, run).and_then(|()| {
            if let Some(script) = &script {
                self.add_script(&mut mounts, PathBuf::from(&command[0]), &script.text())?;
            }
            self.run_with(state, run, (&command, script.as_ref(), name), &mut mounts)
        });
        // What was only there for the step goes, whatever has become of it.
        let swept = mounts.scratches.drain(..).try_for_each(|scratch| self.engine.discard_step(scratch));
        let (by, entry) = entry?;
        swept?;
        state.record(&by, entry.layer.map(|layer| (layer, entry.created)));
        Ok(())
    }

    /// Finds what the command has made, or runs it; and returns what is written down of it as well.
    fn run_with(
        &mut self,
        state: &State,
        run: &Run,
        (command, script, name): (&[String], Option<&Heredoc>, &str),
        mounts: &mut Mounts,
    ) -> Result<(String, CacheEntry)> {
        let bodies: Vec<&str> = run.heredocs.iter().map(|heredoc| heredoc.body.as_str()).collect();
        let inputs = json!({
            "step": "RUN",
            "command": command,
            "heredocs": bodies,
            "mounts": mounts.inputs,
            "network": run.network.map(|network| network == RunNetwork::None),
            "below": state.fingerprint(),
        });
        let by = written(state, command, script);
        let entry = self.cached(&inputs, name, |builder, number| {
            builder.make_mounts(mounts)?;
            builder.make(state, run, command, number, mounts).map(Some)
        });
        Ok((by, entry?))
    }

    /// Runs the command, and makes a layer of what it has written.
    fn make(&mut self, state: &State, run: &Run, command: &[String], number: usize, mounts: &Mounts) -> Result<Layer> {
        let layers = self.layers(state)?;
        if layers.is_empty() {
            return Err(wrong("RUN: there is nothing in the stage that could be run"));
        }
        let host = Platform::host().architecture;
        if state.architecture() != host {
            let why = format!("RUN: the stage is for {}, and this machine is {host}", state.architecture());
            return Err(wrong(why + "; build with --platform, or without RUN"));
        }
        let accounts = self.accounts(state)?;
        let visible = self.proxies().into_iter().chain(state.visible_args());
        let mut env: Vec<String> = visible.map(|(name, value)| format!("{name}={value}")).collect();
        env.extend(state.env().iter().cloned());
        env.extend(mounts.env.iter().cloned());
        let network = run.network.and_then(|network| match network {
            RunNetwork::None => Some(Network::None),
            RunNetwork::Default => None,
        });
        let process = StepProcess {
            command,
            env: &env,
            user: state.text("User"),
            accounts: &accounts,
            workdir: Path::new(state.workdir()),
            network,
            mounts: &mounts.list,
            architecture: state.architecture(),
        };
        let scratch = self.engine.scratch()?;
        let layer = self.execute(&process, &scratch, &layers, number);
        self.ended(scratch, layer)
    }

    fn execute(
        &self,
        process: &StepProcess<'_>,
        scratch: &Scratch,
        layers: &[PathBuf],
        number: usize,
    ) -> Result<Layer> {
        let mut mask = Mask::new(&self.request.secrets);
        let mut output = |stream: Stream, bytes: &[u8]| {
            let stream = if stream == Stream::Stderr { Told::Err } else { Told::Out };
            self.say(number, stream, &mask.pass(stream, bytes));
        };
        let note = |line: &str| self.tell(Event::Note(number, line));
        let listener = StepListener { output: &mut output, note: &note };
        let code = self.engine.run_step(scratch, layers, process, listener);
        for stream in [Told::Out, Told::Err] {
            self.say(number, stream, &mask.rest(stream));
        }
        let code = code?;
        if code != 0 {
            let command = process.command.join(" ");
            let why = format!("process {command:?} did not complete successfully: exit code: {code}");
            return Err(Error::new(Kind::Step(code), why));
        }
        let workdir = process.workdir.to_owned();
        let mounted = process.mounts.iter().map(|mount| mount.target().to_owned());
        let mounted: Vec<PathBuf> = mounted.chain(MADE.map(PathBuf::from)).chain([workdir]).collect();
        self.layer(scratch, layers, &mounted)
    }

    fn say(&self, number: usize, stream: Told, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.tell(Event::Output(number, stream, bytes));
        }
    }
}

/// Returns the here-document that is the whole command and names the program that reads it.
fn script(run: &Run) -> Option<Heredoc> {
    let heredoc = alone(run)?;
    heredoc.text().starts_with("#!").then(|| Heredoc { strip_tabs: heredoc.strip_tabs, ..heredoc.clone() })
}

/// Returns the here-document that is the whole command.
fn alone(run: &Run) -> Option<&Heredoc> {
    let (Command::Shell(line), [heredoc]) = (&run.command, run.heredocs.as_slice()) else { return None };
    let only = line.starts_with("<<") && line.split_whitespace().count() == heredoc.name.split_whitespace().count();
    only.then_some(heredoc)
}

/// Returns the command with its here-documents: one that is all there is is the line itself, others are the shell's.
fn line(run: &Run) -> Command {
    if let Some(heredoc) = alone(run) {
        return Command::Shell(heredoc.text());
    }
    match &run.command {
        Command::Shell(line) if !run.heredocs.is_empty() => {
            let ended = |text: String, h: &Heredoc| format!("{text}\n{}{}", h.body, h.name);
            Command::Shell(run.heredocs.iter().fold(line.clone(), ended) + "\n")
        }
        command => command.clone(),
    }
}

/// Writes down what made a layer, with the arguments that it saw.
fn written(state: &State, command: &[String], script: Option<&Heredoc>) -> String {
    let args = state.visible_args();
    let mut words: Vec<String> = Vec::new();
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.into_iter().map(|(name, value)| format!("{name}={value}")));
    }
    match script {
        Some(script) => words.push(format!("<<{} ({})", script.name, Digest::sha256_of(script.body.as_bytes()))),
        None => words.extend(command.iter().cloned()),
    }
    format!("RUN {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Instruction, parse};

    fn run(text: &str) -> Run {
        match parse(&format!("FROM x\n{text}\n")).unwrap().stages[0].steps[0].instruction.clone() {
            Instruction::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn heredocs_become_lines_scripts_or_the_shells_own() {
        assert_eq!(line(&run("RUN <<E\na\nb\nE")), Command::Shell("a\nb\n".into()));
        assert_eq!(line(&run("RUN <<-E\n\ta\n\tE")), Command::Shell("a\n".into()));
        assert_eq!(line(&run("RUN cat <<E >/f\na\nE")), Command::Shell("cat <<E >/f\na\nE\n".into()));
        assert_eq!(
            line(&run("RUN <<A cat && <<B cat\n1\nA\n2\nB")),
            Command::Shell("<<A cat && <<B cat\n1\nA\n2\nB\n".into())
        );
        assert_eq!(script(&run("RUN <<E\n#!/bin/x\na\nE")).unwrap().body, "#!/bin/x\na\n");
        assert!(script(&run("RUN cat <<E\n#!/bin/x\nE")).is_none());
    }
}
