// SPDX-License-Identifier: Apache-2.0
//! `--cache-from` and `--cache-to`: steps that other machines have made.

use std::path::PathBuf;
use std::str::FromStr;

use bryo_build::build::Built;
use bryo_engine::Engine;
use bryo_image::archive::{LoadOptions, load, save_layout_dir};
use bryo_image::push::PushOptions;
use bryo_image::reference::{Reference, Source};
use bryo_image::registry::Platform;
use bryo_image::store::ImageRecord;

use crate::commands::pull;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output as out;
use crate::progress::{self, Way};

/// What the image is called in a directory, and here while it is read.
const NAME: &str = "localhost/bryo-build-cache:latest";

/// Where steps are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    Registry(Reference),
}

/// Where steps come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From(Place);

/// Where steps go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct To(Place);

/// Reads `type=local,KEY=DIR` or `type=registry,ref=NAME`.
fn parse(text: &str, key: &str) -> std::result::Result<Place, String> {
    let (mut form, mut dir, mut name) = (None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value @ ("local" | "registry"))) => form = Some(value),
            Some(("ref", value)) => name = Some(value.parse::<Reference>().map_err(|error| error.to_string())?),
            Some((found, value)) if found == key => dir = Some(PathBuf::from(value)),
            // All steps are written, whatever stage they are of.
            Some(("mode", "max")) => (),
            _ => return Err(format!("{field:?} is not known; type=local,{key}=DIR and type=registry,ref=NAME are")),
        }
    }
    match (form, dir, name) {
        (Some("local"), Some(dir), None) => Ok(Place::Local(dir)),
        (Some("registry"), None, Some(name)) => Ok(Place::Registry(name)),
        _ => Err(format!("type=local,{key}=DIR or type=registry,ref=NAME is expected")),
    }
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if !text.contains('=') {
            return Ok(Self(Place::Registry(text.parse().map_err(|error: bryo_image::Error| error.to_string())?)));
        }
        parse(text, "src").map(Self)
    }
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        parse(text, "dest").map(Self)
    }
}

impl From {
    /// Takes the steps. Where there are none a build goes on without them.
    pub fn take(&self, context: &Context, engine: &Engine) {
        if let Err(error) = self.try_take(context, engine) {
            let place = match &self.0 {
                Place::Local(dir) => dir.display().to_string(),
                Place::Registry(name) => name.to_string(),
            };
            let why = super::of_command_line(error).to_string();
            out::complain(&format!("--cache-from {}: {}; going on without\n", out::line(&place), out::line(&why)));
        }
    }

    fn try_take(&self, context: &Context, engine: &Engine) -> Result<()> {
        let store = engine.store();
        let (records, before) = match &self.0 {
            Place::Local(dir) => {
                let source = Source::OciLayout { dir: dir.clone(), tag: Some(NAME.to_owned()) };
                let options = LoadOptions { limits: context.config()?.limits, platform: Platform::host() };
                (load(store, &engine.worker()?, &source, &options)?, None)
            }
            Place::Registry(name) => {
                let name = name.to_string();
                let before = store.find(&name).ok();
                (vec![pull::fetch(context, &name, None, true)?], before)
            }
        };
        for record in records {
            let taken = engine.take_steps(&record);
            // Layers that are known stay without a name.
            if let (None, Some(name)) = (&before, &record.reference) {
                store.remove(name, false)?;
            }
            taken?;
        }
        Ok(())
    }
}

impl To {
    /// Writes the steps of a build.
    pub fn write(&self, context: &Context, engine: &Engine, built: &Built) -> Result<()> {
        let record = engine.share_steps(&built.steps)?;
        let written = self.send(context, engine, &record);
        engine.store().remove(record.id().as_str(), false)?;
        written
    }

    fn send(&self, context: &Context, engine: &Engine, record: &ImageRecord) -> Result<()> {
        match &self.0 {
            Place::Local(dir) => {
                std::fs::create_dir_all(dir).map_err(|e| Error::io(format!("make {}", dir.display()), &e))?;
                Ok(save_layout_dir(engine.store(), record, dir, Some(NAME))?)
            }
            Place::Registry(name) => {
                let options = PushOptions { registry: context.registry(None)?, ..PushOptions::default() };
                let progress = progress::reporter(true, Way::Push);
                bryo_image::push::push(engine.store(), record, name, &options, progress.as_ref())?;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_directories_and_registries() {
        assert_eq!("type=local,src=a".parse(), Ok(From(Place::Local("a".into()))));
        assert_eq!("type=local,dest=a,mode=max".parse(), Ok(To(Place::Local("a".into()))));
        let name = Place::Registry("localhost/x".parse().unwrap());
        assert_eq!("type=registry,ref=localhost/x".parse(), Ok(To(name.clone())));
        assert_eq!("localhost/x".parse(), Ok(From(name)));
        for text in ["type=local", "type=inline", "type=local,src=a", "dest=a", "type=local,dest=a,mode=min"] {
            assert!(text.parse::<To>().is_err(), "{text}");
        }
    }
}
