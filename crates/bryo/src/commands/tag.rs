// SPDX-License-Identifier: Apache-2.0
//! `bryo tag`.

use std::process::ExitCode;

use bryo_engine::events::Event;
use bryo_image::reference::Reference;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};

/// Give an image one more name
#[derive(Debug, clap::Args)]
pub struct Tag {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The new names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Verb for Tag {
    const NAME: &'static str = "tag";
    const ABOUT: &'static str = "Give an image one more name";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let names: Vec<Reference> =
            self.names.iter().map(|name| name.parse()).collect::<std::result::Result<_, bryo_image::Error>>()?;
        if let Some(name) = names.iter().find(|name| name.digest().is_some()) {
            return Err(Error::message(format!("tag {name}: a digest is not given, it follows from the content")));
        }
        let (store, journal) = (context.store()?, context.journal()?);
        let record = store.find(&self.image)?;
        for name in names {
            store.tag(&record, &name.to_string())?;
            journal.write(&[Event::of_image(&record, "tag").with("name", name.to_string())]);
        }
        Ok(ExitCode::SUCCESS)
    }
}
