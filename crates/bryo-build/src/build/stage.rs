// SPDX-License-Identifier: Apache-2.0
//! Stages: what they stand on, and their steps in order.

use bryo_engine::step::{CacheEntry, Compression, StepCache};
use bryo_image::Digest;
use bryo_image::registry::Platform;
use bryo_image::store::Layer;
use serde_json::{Value, json};

use super::{Builder, crew};
use crate::dockerfile::{Instruction, Stage, Step, parse_trigger};
use crate::error::{Result, wrong};
use crate::progress::Event;
use crate::state::State;

/// The most layers of a stage. The kernel stacks 500 directories, and whoever runs the result adds a few.
const LAYERS_MAX: usize = 490;

/// How a stage is told of.
pub(super) struct Telling {
    /// `name ` if there are several stages, else nothing.
    prefix: String,
    /// The number of the step.
    at: usize,
    /// How many steps there are.
    of: usize,
}

impl Telling {
    /// Names the next step as BuildKit does: `[name 2/5] RUN ...`.
    pub fn next(&mut self, text: &str) -> String {
        self.at += 1;
        format!("[{}{}/{}] {text}", self.prefix, self.at, self.of)
    }
}

impl Builder<'_> {
    /// Makes a stage, unless it is made already.
    pub(super) fn stage(&mut self, index: usize) -> Result<State> {
        if let Some(state) = self.stages.get(&index) {
            return Ok(state.clone());
        }
        if let Some(outside) = self.outside.filter(|outside| outside.own != index) {
            let state = outside.ask(index)?;
            self.stages.insert(index, state.clone());
            return Ok(state);
        }
        let dockerfile = self.request.dockerfile;
        let stage = &dockerfile.stages[index];
        let mut telling = self.telling(index);
        let mut state = self.base(index, stage, &mut telling).map_err(|e| e.at(stage.place))?;
        for trigger in take_triggers(&mut state)? {
            telling.of += usize::from(!trigger.instruction.is_configuration());
            self.step(&mut state, index, &trigger, &mut telling).map_err(|e| e.at(stage.place))?;
        }
        refuse_many(&state, stage)?;
        for step in &stage.steps {
            self.step(&mut state, index, step, &mut telling).map_err(|e| e.at(step.place))?;
        }
        self.stages.insert(index, state.clone());
        Ok(state)
    }

    fn telling(&self, index: usize) -> Telling {
        let stage = &self.request.dockerfile.stages[index];
        Telling {
            prefix: self.prefix(index),
            at: 0,
            of: 1 + stage.steps.iter().filter(|step| !step.instruction.is_configuration()).count(),
        }
    }

    /// Has the image ready that a stage stands on.
    pub(super) fn begin_image(&mut self, index: usize) -> Result<()> {
        let stage = &self.request.dockerfile.stages[index];
        if self.stands_on(index).is_some() {
            return Ok(());
        }
        let mut telling = self.telling(index);
        self.base(index, stage, &mut telling).map(drop).map_err(|e| e.at(stage.place))
    }

    /// Returns what tells a stage's steps from those of others.
    fn prefix(&self, index: usize) -> String {
        let stages = &self.request.dockerfile.stages;
        let stage = match (stages.len(), &stages[index].name) {
            (1, _) => String::new(),
            (_, Some(name)) => format!("{name} "),
            (_, None) => format!("stage-{index} "),
        };
        if self.request.platforms.len() > 1 { format!("{} {stage}", self.platform) } else { stage }
    }

    /// Returns what a stage stands on.
    fn base(&mut self, index: usize, stage: &Stage, telling: &mut Telling) -> Result<State> {
        let name = self.expand_global(&stage.base)?;
        if name.is_empty() {
            return Err(wrong(format!("FROM {}: nothing is left of the name", stage.base)));
        }
        if let Some(before) = self.base_stage(index, &name)? {
            let state = self.stage(before)?.as_base(&name);
            telling.next("");
            return Ok(state);
        }
        let platform = match &stage.platform {
            Some(platform) => self.platform(&self.expand_global(platform)?)?,
            None => self.platform.clone(),
        };
        if name == "scratch" {
            telling.next("");
            return Ok(State::scratch(&platform));
        }
        let told = telling.next(&format!("FROM {name}"));
        let told = told.as_str();
        let image = self.image(&name, &platform, Some(told)).map(|state| state.as_base(&name));
        image.map_err(|error| match self.named(index, &name) {
            Some(later) if later > index => {
                let why = "comes later; a stage can only use those before it, and there is no such image";
                wrong(format!("stage {name:?} {why}: {error}"))
            }
            _ => error,
        })
    }

    fn platform(&self, text: &str) -> Result<Platform> {
        text.parse().map_err(|_| wrong(format!("{text:?} is no platform, such as linux/arm64")))
    }

    /// Finds the stage that another one stands on. The name of the stage itself is an image's, as in
    /// `FROM alpine AS alpine`, and so is that of a later one, unless that would stand on this one.
    pub(super) fn base_stage(&self, index: usize, name: &str) -> Result<Option<usize>> {
        let Some(found) = self.named(index, name) else { return Ok(None) };
        if found < index {
            return Ok(Some(found));
        }
        let mut seen = std::collections::BTreeSet::from([index]);
        let mut at = found;
        while found != index && seen.insert(at) {
            let base = self.expand_global(&self.request.dockerfile.stages[at].base)?;
            let Some(below) = self.named(at, &base) else { return Ok(None) };
            if below == index {
                let why =
                    format!("the stages stand on each other: this one on {name:?}, and that, in the end, on this");
                return Err(wrong(why));
            }
            at = below;
        }
        Ok(None)
    }

    /// Finds a stage by its name: of several the last one before another stage, else the first after it.
    fn named(&self, index: usize, name: &str) -> Option<usize> {
        let stages = &self.request.dockerfile.stages;
        let is = |stage: &Stage| stage.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name));
        let before = stages[..index].iter().rposition(is);
        before.or_else(|| Some(index + stages[index..].iter().position(is)?))
    }

    /// Finds an earlier stage by its name or number; a later one is a mistake.
    pub(super) fn find_stage(&self, index: usize, name: &str) -> Result<Option<usize>> {
        match self.named(index, name) {
            Some(found) if found < index => Ok(Some(found)),
            Some(found) if found == index => Err(wrong(format!("stage {name:?} cannot use itself"))),
            Some(_) => Err(wrong(format!("stage {name:?} comes later; a stage can only use those before it"))),
            None => Ok(None),
        }
    }

    /// Makes what `--from` names: a stage, by name or number, or an image.
    pub(super) fn source(&mut self, index: usize, name: &str) -> Result<State> {
        if let Some(before) = self.find_stage(index, name)? {
            return self.stage(before);
        }
        if let Ok(number) = name.parse::<usize>() {
            if number < index {
                return self.stage(number);
            }
            return Err(wrong(format!("there is no stage {number} before this one")));
        }
        if name == "scratch" {
            return Ok(State::scratch(self.platform));
        }
        let platform = self.platform.clone();
        self.image(name, &platform, None)
    }

    /// Returns an image as a stage begins with it.
    fn image(&mut self, name: &str, platform: &Platform, told: Option<&str>) -> Result<State> {
        let key = format!("{name} {}/{} {:?}", platform.os, platform.architecture, platform.variant);
        if let Some(state) = self.images.get(&key) {
            return Ok(state.clone());
        }
        let told = told.map_or_else(|| format!("FROM {name}"), str::to_owned);
        let state = self.told(&told, |builder, number| {
            let image = (builder.request.find_image)(name, platform, number)?;
            builder.materials.insert(name.to_owned(), image.manifest_digest.clone());
            builder.engine.unpack_for_build(&image)?;
            let config = builder.engine.store().read_blob(&image.config_digest, bryo_image::store::MANIFEST_MAX)?;
            State::of_image(&image, &config, name)
        })?;
        self.images.insert(key, state.clone());
        Ok(state)
    }

    fn step(&mut self, state: &mut State, index: usize, step: &Step, telling: &mut Telling) -> Result<()> {
        self.outside.map_or(Ok(()), crew::Outside::check)?;
        match &step.instruction {
            Instruction::Run(run) => {
                let name = telling.next(&step.text);
                self.run(state, index, run, &name)
            }
            Instruction::Copy(copy) => {
                let name = telling.next(&step.text);
                self.copy(state, index, copy, &step.text, &name)
            }
            Instruction::Workdir(path) => {
                let name = telling.next(&step.text);
                self.workdir(state, path, &name)
            }
            simple => self.simple(state, simple, &step.text),
        }
    }

    /// Returns what a step has made, from the cache or by making it.
    pub(super) fn cached(
        &mut self,
        inputs: &Value,
        name: &str,
        make: impl FnOnce(&mut Self, usize) -> Result<Option<Layer>>,
    ) -> Result<CacheEntry> {
        let key = self.key(inputs);
        if let Some(entry) = self.known(&key) {
            let number = self.begin(name);
            self.tell(Event::Cached(number));
            self.steps.insert(key, entry.clone());
            return Ok(entry);
        }
        let layer = self.told(name, make)?;
        let entry = CacheEntry { layer, created: super::variables::time(self.request.source_date_epoch) };
        self.keep(inputs, &entry);
        Ok(entry)
    }

    fn key(&self, inputs: &Value) -> Digest {
        match self.request.compression {
            Compression::Gzip => StepCache::key(inputs),
            other => StepCache::key(&json!([inputs, other])),
        }
    }

    fn known(&self, key: &Digest) -> Option<CacheEntry> {
        let entry = if self.request.no_cache { None } else { self.cache.get(key) }?;
        entry.layer.as_ref().is_none_or(|layer| self.engine.has_step_layer(layer)).then_some(entry)
    }

    /// Tells whether a step need not be made.
    pub(super) fn is_known(&self, inputs: &Value) -> bool {
        self.known(&self.key(inputs)).is_some()
    }

    /// Remembers what a step has made.
    pub(super) fn keep(&mut self, inputs: &Value, entry: &CacheEntry) {
        let key = self.key(inputs);
        self.cache.put(&key, entry);
        self.steps.insert(key, entry.clone());
    }
}

/// Refuses a stage with more layers than can be used, before the first of them is made.
fn refuse_many(state: &State, stage: &Stage) -> Result<()> {
    let makes = |step: &&Step| matches!(step.instruction, Instruction::Run(_) | Instruction::Copy(_));
    match stage.steps.iter().filter(makes).nth(LAYERS_MAX.saturating_sub(state.layers.len())) {
        Some(step) => {
            let why = format!("this would be layer {} of the stage, and more are not stacked", LAYERS_MAX + 1);
            Err(wrong(why + "; one RUN of several commands, or one COPY of several files, makes one layer")
                .at(step.place))
        }
        None => Ok(()),
    }
}

/// Takes the instructions that an image keeps for whoever builds on it.
fn take_triggers(state: &mut State) -> Result<Vec<Step>> {
    let triggers = state.list("OnBuild");
    state.unset("OnBuild");
    let base = state.base.clone();
    let read = |text: String| {
        parse_trigger(&text).map_err(|why| wrong(format!("ONBUILD of {base}: {text:?} is not understood: {why}")))
    };
    triggers.into_iter().map(read).collect()
}
