// SPDX-License-Identifier: Apache-2.0
//! `bryo network connect` and `disconnect`: the networks of a container change.

use std::process::ExitCode;

use bryo_engine::options::Endpoint;
use clap::Args;

use crate::cli::Verb;
use crate::context::Context;
use crate::errors::Result;

/// Flags of `bryo network connect`.
#[derive(Debug, Args)]
pub struct ConnectNetwork {
    /// Another name by which the container is found there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The container's address there
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for ConnectNetwork {
    const NAME: &'static str = "connect";
    const ABOUT: &'static str = "Connect a container to a network";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let endpoint = Endpoint::new(&self.network, &self.alias, self.ip.as_deref())?;
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        engine.connect_network(&record, &endpoint)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `bryo network disconnect`.
#[derive(Debug, Args)]
pub struct DisconnectNetwork {
    /// Is content with one that is not connected
    #[arg(short, long)]
    force: bool,
    /// Network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Verb for DisconnectNetwork {
    const NAME: &'static str = "disconnect";
    const ABOUT: &'static str = "Disconnect a container from a network";

    fn run(self, context: &Context) -> Result<ExitCode> {
        let engine = context.engine()?;
        let record = engine.containers().find(&self.container)?;
        engine.disconnect_network(&record, &self.network, self.force)?;
        Ok(ExitCode::SUCCESS)
    }
}
