// SPDX-License-Identifier: Apache-2.0
//! The caller's terminal: raw while the container has one of its own, and put back whatever happens.

use std::os::fd::{BorrowedFd, OwnedFd};

use bryo_sys::check;
use rustix::termios::{OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::error::Result;
use crate::relay::Caller;

/// A terminal in raw mode. Dropping it restores the mode that it had.
#[derive(Debug)]
pub struct RawTerminal<'a> {
    fd: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawTerminal<'a> {
    /// Switches a terminal to raw mode; anything else is left alone. Source: `termios(3)`, raw mode.
    ///
    /// # Errors
    ///
    /// When the terminal refuses its mode to be read or set.
    pub fn enter(fd: BorrowedFd<'a>) -> Result<Option<Self>> {
        if !isatty(fd) {
            return Ok(None);
        }
        let before = check("tcgetattr", String::new, tcgetattr(fd))?;
        let terminal = Self { fd, before };
        check("tcsetattr", || "raw".into(), tcsetattr(fd, OptionalActions::Drain, &terminal.raw()))?;
        Ok(Some(terminal))
    }

    /// Sets raw mode again, after somebody else had the terminal.
    pub fn again(&self) {
        // A terminal that is gone is seen by whoever reads from it.
        let _ = tcsetattr(self.fd, OptionalActions::Drain, &self.raw());
    }

    fn raw(&self) -> Termios {
        let mut raw = self.before.clone();
        raw.make_raw();
        raw
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(self.fd, OptionalActions::Drain, &self.before);
    }
}

/// Returns the rows and columns of a terminal.
pub fn size_of(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// Gives the container's terminal the size of the caller's.
pub(super) fn copy_size(caller: Caller<'_>, console: &OwnedFd) {
    if let Some((ws_row, ws_col)) = size_of(caller.stdin).or_else(|| size_of(caller.stdout)) {
        // The container may have closed its terminal a moment ago.
        let _ = tcsetwinsize(console, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 });
    }
}
