// SPDX-License-Identifier: Apache-2.0
//! What commands and the supervisor of a container leave for one another in its directory: small files, whose names say
//! it all. Nobody has to be there at that moment, and a container in a foreground has them too.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::{Containers, Held, Id, Record};
use crate::error::{Error, Kind, Result};

/// The file that says that a container is to stay as it is when it ends.
const STOPPED: &str = "stopped";

/// What that file says of one that is about to be started again.
const KEPT: &str = "kept";

/// The file in which the exit code of a container that is then removed is written down.
const WAITING: &str = "waiting";

/// One who waits for the end of a container that is removed then.
#[derive(Debug)]
pub struct Waiting(File);

impl Containers {
    /// Says that a container is not to be started again by its policy; `kept`, that it stays when it ends even if it was
    /// to be removed, because it is about to be started again.
    ///
    /// # Errors
    ///
    /// [`Kind::NoSuchContainer`] when it is gone, [`Kind::NoSpace`], [`Kind::Io`].
    pub fn set_stopped(&self, record: &Record, kept: bool) -> Result<()> {
        let path = self.dir(&record.id).join(STOPPED);
        let written = std::fs::write(&path, if kept { KEPT } else { "" });
        written.map_err(|e| gone_or(record, Error::io("cannot write", &path, e)))
    }

    /// Tells whether a container is not to be started again by its policy.
    pub fn is_stopped(&self, id: &Id) -> bool {
        self.dir(id).join(STOPPED).exists()
    }

    /// Tells whether a container stays when it ends even if it was to be removed.
    pub fn is_kept(&self, id: &Id) -> bool {
        std::fs::read_to_string(self.dir(id).join(STOPPED)).is_ok_and(|text| text == KEPT)
    }

    /// Waits at a container that is removed when it has ended: how it did is told to who has come before that.
    ///
    /// # Errors
    ///
    /// As [`Containers::set_stopped`].
    pub fn waiting(&self, record: &Record) -> Result<Waiting> {
        let path = self.dir(&record.id).join(WAITING);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.map(Waiting).map_err(|e| gone_or(record, Error::io("cannot make", &path, e)))
    }
}

impl Held {
    /// Forgets that the container was stopped: it is started.
    pub fn clear_stopped(&self) {
        // Where it cannot be removed the container is not started again by its policy, and that can be done by hand.
        let _ = std::fs::remove_file(self.dir().join(STOPPED));
    }

    /// Tells those who wait for the end of a container that is about to be removed how it has ended.
    pub fn tell_waiting(&self, code: i32) {
        if let Ok(file) = OpenOptions::new().write(true).open(self.dir().join(WAITING)) {
            // Whoever waits finds no more than a container that is gone. One number is as long as any other.
            let _ = file.write_all_at(format!("{code:>11}\n").as_bytes(), 0);
        }
    }
}

impl Waiting {
    /// Returns the exit code, once it was told.
    pub fn told(&self) -> Option<i32> {
        let mut bytes = [0; 16];
        let n = self.0.read_at(&mut bytes, 0).ok()?;
        std::str::from_utf8(&bytes[..n]).ok()?.strip_suffix('\n')?.trim_start().parse().ok()
    }
}

/// A directory that is not there is that of a container that was removed.
fn gone_or(record: &Record, error: Error) -> Error {
    if error.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) {
        return Error::new(Kind::NoSuchContainer, format!("no such container: {}", record.name));
    }
    error
}
