// SPDX-License-Identifier: Apache-2.0
//! What commands that take several containers have in common.

use std::process::ExitCode;

use bryo_engine::Engine;
use bryo_engine::container::Record;

use crate::errors::{Error, Result};
use crate::output;

/// Does something with each container, and prints its name as it was given. One that fails does not keep the others
/// from their turn; the exit code is that of a failure then.
pub fn each(engine: &Engine, names: &[String], action: impl Fn(&Record) -> Result<()>) -> Result<ExitCode> {
    let mut failed = false;
    for name in names {
        let done = engine.containers().find(name).map_err(Error::from).and_then(|record| action(&record));
        match done {
            Ok(()) => output::print(&format!("{}\n", output::line(name)))?,
            Err(error) => {
                error.print();
                failed = true;
            }
        }
    }
    if failed { Err(Error::Reported) } else { Ok(ExitCode::SUCCESS) }
}
