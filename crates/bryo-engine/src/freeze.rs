// SPDX-License-Identifier: Apache-2.0
//! `pause` and `unpause`: a container whose processes do not run, and still are there. The kernel says which one is
//! frozen; nothing is written down about it.

use std::path::Path;

use bryo_cgroup::Handle;

use crate::Engine;
use crate::container::Record;
use crate::error::{Error, Kind, Result};

/// A container that is frozen for a while. Dropping it lets it go on.
#[derive(Debug)]
pub(crate) struct Frozen(Handle);

impl Drop for Frozen {
    fn drop(&mut self) {
        // A container that has ended meanwhile has nothing that could go on.
        let _ = self.0.thaw();
    }
}

impl Record {
    /// Tells whether the kernel keeps its processes from running.
    pub(crate) fn is_frozen(&self) -> bool {
        let group = self.limits.cgroup.as_ref().and_then(|path| Handle::open(Path::new(path)).ok());
        group.is_some_and(|group| group.is_frozen())
    }

    /// Refuses what needs a container whose processes run.
    pub(crate) fn refuse_paused(&self) -> Result<()> {
        match self.state.status.as_str() {
            "paused" => Err(Error::new(Kind::Paused, format!("container {} is paused", self.name))),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Freezes every process of a container.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::Paused`], [`Kind::Unsupported`] for a container without a control group of its own.
    pub fn pause(&self, record: &Record) -> Result<()> {
        let group = self.group(record)?;
        if group.is_frozen() {
            return Err(Error::new(Kind::Paused, format!("container {} is already paused", record.name)));
        }
        group.freeze()?;
        self.tell(record, "pause");
        Ok(())
    }

    /// Lets the processes of a container go on.
    ///
    /// # Errors
    ///
    /// [`Kind::NotRunning`], [`Kind::NotPaused`].
    pub fn unpause(&self, record: &Record) -> Result<()> {
        self.process(record)?;
        if !record.is_frozen() {
            return Err(Error::new(Kind::NotPaused, format!("container {} is not paused", record.name)));
        }
        self.group(record)?.thaw()?;
        self.tell(record, "unpause");
        Ok(())
    }

    /// Lets a container go on that is asked to end: a frozen process hears of no signal but one.
    pub(crate) fn wake(&self, record: &Record) {
        if record.is_frozen()
            && let Ok(group) = self.group(record)
        {
            // Else it is killed when its time is over.
            let _ = group.thaw();
        }
    }

    /// Freezes a container that runs, if that was asked for, or if it can be.
    pub(crate) fn freeze_for(&self, record: &Record, pause: Option<bool>) -> Result<Option<Frozen>> {
        if pause == Some(false) || record.state.status != "running" {
            return Ok(None);
        }
        match self.group(record) {
            Ok(group) => {
                group.freeze()?;
                Ok(Some(Frozen(group)))
            }
            Err(e) if pause == Some(true) && e.kind() == Kind::Unsupported => Err(e),
            Err(_) => Ok(None),
        }
    }
}
