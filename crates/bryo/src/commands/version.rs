// SPDX-License-Identifier: Apache-2.0
//! `bryo version`.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{self, template};

/// Print the version
#[derive(Debug, clap::Args)]
pub struct Version {
    /// Format as json, or by a template such as {{.Version}}
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Version {
    const NAME: &'static str = "version";
    const ABOUT: &'static str = "Print the version";

    fn run(self, _context: &Context) -> Result<ExitCode> {
        let version = env!("CARGO_PKG_VERSION");
        let platform = bryo_image::registry::Platform::host();
        let text = match &self.format {
            Some(format) => {
                let mut about = json!({"Version": version, "Os": platform.os, "Arch": platform.architecture});
                // Docker and Podman have two programs, and scripts ask for the version of either.
                (about["Client"], about["Server"]) = (about.clone(), about.clone());
                template::one(format, &about)?
            }
            None => format!("bryo {version} ({platform})\n"),
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
