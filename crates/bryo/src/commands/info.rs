// SPDX-License-Identifier: Apache-2.0
//! `bryo info`: the engine and its host at a glance. What the host lacks, and what mends it, is for `bryo doctor` to say.

use std::fmt::Write as _;
use std::process::ExitCode;

use bryo_engine::info::Info as About;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::{Error, Result};
use crate::output::{self, human, template};

/// Show the engine and its host at a glance
#[derive(Debug, clap::Args)]
pub struct Info {
    /// Format as json, or by a template such as '{{.ServerVersion}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Verb for Info {
    const NAME: &'static str = "info";
    const ABOUT: &'static str = "Show the engine and its host at a glance";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let info = context.engine()?.info()?;
        let text = match &self.format {
            Some(format) => {
                let value = serde_json::to_value(&info).map_err(|e| Error::message(format!("show the host: {e}")))?;
                template::one(format, &value)?
            }
            None => plain(&info),
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Docker's words, in Docker's order.
fn plain(info: &About) -> String {
    let rows = [
        ("Containers", info.containers.to_string()),
        (" Running", info.containers_running.to_string()),
        (" Paused", info.containers_paused.to_string()),
        (" Stopped", info.containers_stopped.to_string()),
        ("Images", info.images.to_string()),
        ("Server Version", info.server_version.clone()),
        ("Storage Driver", info.driver.clone()),
        ("Cgroup Version", info.cgroup_version.clone()),
        ("Security Options", info.security_options.join(" ")),
        ("Rung", info.rung.clone()),
        ("Kernel Version", info.kernel_version.clone()),
        ("Operating System", info.operating_system.clone()),
        ("OSType", info.os_type.clone()),
        ("Architecture", info.architecture.clone()),
        ("CPUs", info.ncpu.to_string()),
        ("Total Memory", human::size(info.mem_total)),
        ("Name", info.name.clone()),
        ("Root Dir", info.docker_root_dir.display().to_string()),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        // Writing into a text does not fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    text
}
