// SPDX-License-Identifier: Apache-2.0
//! Threads that share out jobs, until none is left or the first of them fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::vec;

use crate::error::Result;

/// The jobs that nobody has taken yet. Ends early for all threads when one has failed.
#[derive(Debug)]
pub(crate) struct Jobs<'q, J> {
    queue: &'q Mutex<vec::IntoIter<J>>,
    stop: &'q AtomicBool,
}

impl<J> Iterator for Jobs<'_, J> {
    type Item = J;

    fn next(&mut self) -> Option<J> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Runs `work` in as many threads as `concurrency` says, but no more than there are jobs. They take the jobs in order.
///
/// All of them have ended when it returns.
///
/// # Errors
/// The first error; it sets `stop`, and what fails after that only does so because it was told to stop.
pub(crate) fn share_out<J: Send>(
    jobs: Vec<J>,
    concurrency: usize,
    stop: &AtomicBool,
    work: impl Fn(Jobs<'_, J>) -> Result<()> + Sync,
) -> Result<()> {
    let threads = concurrency.max(1).min(jobs.len());
    let queue = Mutex::new(jobs.into_iter());
    let first_error = Mutex::new(None);
    let run = || {
        if let Err(error) = work(Jobs { queue: &queue, stop })
            && !stop.swap(true, Ordering::Relaxed)
        {
            first_error.lock().unwrap_or_else(PoisonError::into_inner).replace(error);
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn every_job_is_done_once_by_no_more_threads_than_were_asked_for() {
        for (jobs, concurrency, expected) in [(10, 3, 3), (2, 8, 2), (5, 0, 1), (0, 3, 0)] {
            let started = AtomicUsize::new(0);
            let done = Mutex::new(Vec::new());
            share_out((0..jobs).collect(), concurrency, &AtomicBool::new(false), |jobs| {
                started.fetch_add(1, Ordering::Relaxed);
                for job in jobs {
                    done.lock().unwrap().push(job);
                }
                Ok(())
            })
            .unwrap();
            let done = done.into_inner().unwrap();
            assert_eq!(started.into_inner(), expected);
            assert_eq!(done.len(), jobs);
            assert_eq!(done.into_iter().collect::<HashSet<_>>(), (0..jobs).collect());
        }
    }

    #[test]
    fn the_first_error_stops_all_and_is_the_one_that_is_told() {
        let both = Barrier::new(2);
        let stop = AtomicBool::new(false);
        let done = AtomicUsize::new(0);
        let error = share_out((0..100).collect(), 2, &stop, |jobs| {
            for job in jobs {
                done.fetch_add(1, Ordering::Relaxed);
                both.wait();
                if job == 0 {
                    return Err(Error::new(Kind::Corrupt, "job 0"));
                }
                while !stop.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            }
            Err(Error::new(Kind::Busy, "stopped"))
        })
        .unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Corrupt, "job 0".to_owned()));
        assert_eq!(done.into_inner(), 2);
    }
}
