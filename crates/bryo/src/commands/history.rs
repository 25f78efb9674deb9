// SPDX-License-Identifier: Apache-2.0
//! `bryo history`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::images::short_id;
use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, human, template};

/// Show the steps that made an image, the newest first
#[derive(Debug, clap::Args)]
pub struct History {
    /// Format as json, or by a template such as '{{.CreatedBy}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print sizes in bytes and times as they are
    #[arg(short = 'H', long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,
    /// Do not shorten commands and ids
    #[arg(long)]
    no_trunc: bool,
    /// Print nothing but the ids
    #[arg(short, long)]
    quiet: bool,
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Verb for History {
    const NAME: &'static str = "history";
    const ABOUT: &'static str = "Show the steps that made an image";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let store = context.store()?;
        let image = store.image(&store.find(&self.image)?)?;
        let id = if self.no_trunc { image.config_digest.to_string() } else { short_id(&image.config_digest) };
        let steps: Vec<Value> = image
            .history()
            .iter()
            .rev()
            .enumerate()
            .map(|(n, step)| self.step(step, (n == 0).then_some(&id)))
            .collect();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let out = match &self.format {
            Some(format) => template::list(format, &steps, TITLES)?,
            None if self.quiet => steps.iter().map(|step| text(&step["ID"]) + "\n").collect(),
            None => {
                let fields = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
                let rows = steps.iter().map(|step| fields.iter().map(|name| text(&step[*name])).collect());
                output::table(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], rows)
            }
        };
        output::print(&out)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Docker's titles.
const TITLES: template::Titles<'_> = &[("ID", "IMAGE"), ("CreatedSince", "CREATED")];

impl History {
    /// Shows one step; only the newest has the image's id.
    fn step(&self, step: &bryo_image::store::History, id: Option<&String>) -> Value {
        let by = step.created_by.clone().unwrap_or_default();
        let bytes = step.layer.as_ref().map_or(0, |layer| layer.size);
        let created = step.created.clone().unwrap_or_default();
        json!({
            "ID": id.map_or("<missing>", String::as_str),
            "CreatedAt": created,
            "CreatedSince": if self.human { human::ago(step.created.as_deref()) } else { created },
            "CreatedBy": if self.no_trunc { by } else { shorten(&by, 45) },
            "Size": if self.human { human::size(bytes) } else { bytes.to_string() },
            "Comment": step.comment.clone().unwrap_or_default(),
        })
    }
}

/// Cuts a text to so many characters, the last of which says that it was cut.
fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut_at_characters() {
        assert_eq!(shorten("RUN x", 5), "RUN x");
        assert_eq!(shorten("RÜN xy", 5), "RÜN …");
    }
}
