// SPDX-License-Identifier: Apache-2.0
//! Who may run beside whom: a test that looks for leftover processes must be the only one that makes any.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static LOCK: RwLock<()> = RwLock::new(());

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Says that a test starts containers. A thread may hold several.
#[derive(Debug)]
pub struct Presence {
    // Kept for its drop. Only the first of a thread holds the lock: a second read behind a waiting writer would block.
    _shared: Option<RwLockReadGuard<'static, ()>>,
    _alone: Option<RwLockWriteGuard<'static, ()>>,
}

impl Presence {
    /// Runs beside others.
    pub fn shared() -> Self {
        let first = DEPTH.with(|d| d.replace(d.get() + 1)) == 0;
        let guard = first.then(|| LOCK.read().unwrap_or_else(PoisonError::into_inner));
        Self { _shared: guard, _alone: None }
    }

    /// Runs while no other test starts anything.
    ///
    /// # Panics
    ///
    /// If this thread is present already.
    pub fn alone() -> Self {
        assert_eq!(DEPTH.with(|d| d.replace(d.get() + 1)), 0, "be alone before anything else");
        Self { _shared: None, _alone: Some(LOCK.write().unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        DEPTH.with(|d| d.set(d.get() - 1));
    }
}
