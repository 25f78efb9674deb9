// SPDX-License-Identifier: Apache-2.0
//! A person's terminal: bryo runs as the leader of a session on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::program::eventually;

/// A terminal with a program on it.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    /// The side of the program, held open so that its settings can be read after the program's end.
    slave: OwnedFd,
    seen: Arc<Mutex<Vec<u8>>>,
    child: Child,
}

impl Terminal {
    /// Starts a command on a new terminal of 24 lines and 80 columns.
    pub fn start(command: &Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&slave, size(24, 80)).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        // A new session whose controlling terminal this is, as a login shell has it.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            session.current_dir(dir);
        }
        let child = session.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, of_thread) = (File::from(master.try_clone().unwrap()), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                of_thread.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
        });
        Self { master: File::from(master), slave, seen, child }
    }

    /// Types.
    pub fn typed(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Returns all that the screen was sent so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until the screen was sent a text.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let start = Instant::now();
        while !self.screen().contains(text) {
            assert!(start.elapsed() < Duration::from_secs(30), "never saw {text:?} in {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    /// Reads the terminal's settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).unwrap()
    }

    /// Waits for the program's end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the program on the terminal ends", || self.child.try_wait().unwrap());
        // What it wrote last is on its way through the reader.
        std::thread::sleep(Duration::from_millis(100));
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
