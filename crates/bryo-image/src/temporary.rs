// SPDX-License-Identifier: Apache-2.0
//! Directories of a store that are not finished: `.tmp-…`, locked for as long as their maker lives.
//!
//! Whoever finds one without a lock removes it. So one that was just made can be gone before it is locked, and is made
//! anew then.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// What the names begin with.
pub const PREFIX: &str = ".tmp-";

/// How often somebody else may take a directory that was just made for one that was left behind.
const TRIES: u32 = 16;

/// A directory `.tmp-…` whose lock says that its maker lives. It is open to all ids: the store around it is closed to
/// everybody but the caller, and whoever fills it is another user on the host.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
    name: String,
    dir: File,
}

impl Temporary {
    /// Makes a directory in another one, and locks it.
    ///
    /// # Errors
    ///
    /// What the system says, of the directory in which it should be.
    pub fn create(parent: &Path) -> io::Result<Self> {
        for _ in 1..TRIES {
            match Self::try_create(parent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && parent.exists() => (),
                made => return made,
            }
        }
        Self::try_create(parent)
    }

    /// Makes and locks it; between the two it may be removed, by whoever sweeps what has no lock.
    fn try_create(parent: &Path) -> io::Result<Self> {
        let name = Self::new_name()?;
        let path = parent.join(&name);
        DirBuilder::new().mode(0o700).create(&path)?;
        let dir = File::open(&path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&dir, FlockOperation::LockExclusive))?;
        dir.set_permissions(Permissions::from_mode(0o777))?;
        // Whoever had the lock before may have removed it.
        fs::symlink_metadata(&path)?;
        Ok(Self { path, name, dir })
    }

    /// Returns a name that nothing has.
    ///
    /// # Errors
    ///
    /// When there is nothing random.
    pub fn new_name() -> io::Result<String> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(random)))
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Closes it to the ids that have filled it, before it gets its name.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn close(&self) -> io::Result<()> {
        self.dir.set_permissions(Permissions::from_mode(0o755))
    }

    /// Removes the directory once it was emptied. If it was not, the next who sweeps does: the lock goes with this value.
    pub fn discard(self) {
        fs::remove_dir(&self.path).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// Removes what has no lock, as a worker does when it starts.
    fn sweep(parent: &Path) -> u32 {
        let mut swept = 0;
        for entry in fs::read_dir(parent).unwrap().flatten() {
            let Ok(dir) = File::open(entry.path()) else { continue };
            if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                swept += u32::from(fs::remove_dir(entry.path()).is_ok());
            }
        }
        swept
    }

    #[test]
    fn one_that_is_swept_before_it_is_locked_is_made_anew() {
        let parent = tempfile::tempdir().unwrap();
        let (done, swept) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    swept.fetch_add(sweep(parent.path()), Ordering::Relaxed);
                }
            });
            let (begun, mut made) = (Instant::now(), 0);
            // A sweep only ever finds what is not locked yet; until it has, nothing was tried.
            while made < 500 || (swept.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(60)) {
                let temporary = Temporary::create(parent.path());
                made += 1;
                match temporary {
                    Ok(temporary) if temporary.path().is_dir() => temporary.discard(),
                    other => {
                        done.store(true, Ordering::Relaxed);
                        panic!("{made}: {other:?}");
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(swept.into_inner() > 0, "no sweep has ever met a directory that was not locked");
    }

    #[test]
    fn what_is_locked_stays_and_what_is_not_goes() {
        let parent = tempfile::tempdir().unwrap();
        let held = Temporary::create(parent.path()).unwrap();
        assert_eq!(sweep(parent.path()), 0);
        drop(held);
        assert_eq!(sweep(parent.path()), 1);
        assert_eq!(Temporary::create(&parent.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
