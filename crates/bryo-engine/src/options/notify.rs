// SPDX-License-Identifier: Apache-2.0
//! `--sdnotify`. Source: Podman's `podman run` reference, whose words these are.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Who tells a service manager that a container is ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SdNotify {
    /// bryo, as soon as the payload runs. Podman's name for it is that of the process that does it there.
    #[default]
    Conmon,
    /// The payload: it gets a socket.
    Container,
    /// bryo, as soon as the first health check has succeeded.
    Healthy,
    /// Nobody.
    Ignore,
}

impl SdNotify {
    /// Parses `conmon`, `container`, `healthy` or `ignore`.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidOption`] for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "conmon" | "" => Ok(Self::Conmon),
            "container" => Ok(Self::Container),
            "ignore" => Ok(Self::Ignore),
            "healthy" => Ok(Self::Healthy),
            other => {
                let why = format!("invalid --sdnotify {other:?}: conmon, container, healthy and ignore are known");
                Err(Error::new(Kind::InvalidOption, why))
            }
        }
    }
}
