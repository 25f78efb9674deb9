// SPDX-License-Identifier: Apache-2.0
//! `bryo commit`: an image of a container.

use std::process::ExitCode;

use bryo_engine::events::Event;
use bryo_image::archive::{Change, CommitOptions};
use bryo_image::reference::Reference;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output;

/// Flags of `bryo commit`.
#[derive(Debug, Args)]
pub struct Commit {
    /// Who made the image
    #[arg(short, long, value_name = "AUTHOR")]
    author: Option<String>,
    /// Changes the image's configuration by an instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL,
    /// STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// A remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Stops the container meanwhile; unless it is said, where that is possible
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pause: Option<bool>,
    /// Name, id, or beginning of an id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// The image's name
    #[arg(value_name = "NAME")]
    reference: Option<Reference>,
}

impl Verb for Commit {
    const NAME: &'static str = "commit";
    const ABOUT: &'static str = "Make an image of a container";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        let options = CommitOptions {
            reference: self.reference,
            changes: self.change,
            author: self.author,
            message: self.message,
            command: String::new(),
            created: None,
            limits: context.config()?.limits,
        };
        let image = engine.commit(&record, options, self.pause)?;
        if image.reference.is_some() {
            engine.journal().write(&[Event::of_image(&image, "tag")]);
        }
        output::print(&format!("{}\n", image.id()))?;
        Ok(ExitCode::SUCCESS)
    }
}
