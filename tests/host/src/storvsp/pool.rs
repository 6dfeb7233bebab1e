// SPDX-License-Identifier: GPL-2.0

//! Threads that carry out requests, so that many are in flight at once and finish in any order.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads behind one queue.
pub struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    /// Starts `threads` threads; they end when the pool is dropped.
    pub fn new(name: &str, threads: usize) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads {
            let queue = queue.clone();
            thread::Builder::new()
                .name(format!("{name}-io{index}"))
                .spawn(move || {
                    while let Some(job) = next(&queue) {
                        job()
                    }
                })?;
        }
        Ok(Self { jobs })
    }

    /// Hands in a job.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        // The threads outlive the pool, so the queue is never closed here.
        let _ = self.jobs.send(Box::new(job));
    }
}

fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

/// Counts jobs in flight, so that one can wait for the last.
#[derive(Default)]
pub struct InFlight {
    count: Mutex<usize>,
    none: Condvar,
}

/// One job in flight; dropping it ends it.
pub struct Ticket(Arc<InFlight>);

impl InFlight {
    /// Begins a job.
    pub fn enter(self: &Arc<Self>) -> Ticket {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ticket(self.clone())
    }

    /// Waits until no job is left. `false` if the time passes first.
    pub fn wait(&self, limit: Duration) -> bool {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, _) = self
            .none
            .wait_timeout_while(count, limit, |c| *c > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn all_jobs_run_and_can_be_waited_for() {
        let pool = Pool::new("test", 3).unwrap();
        let (flying, done) = (Arc::new(InFlight::default()), Arc::new(AtomicUsize::new(0)));
        for _ in 0..100 {
            let (ticket, done) = (flying.enter(), done.clone());
            pool.submit(move || {
                done.fetch_add(1, Ordering::SeqCst);
                drop(ticket);
            });
        }
        assert!(flying.wait(Duration::from_secs(10)));
        assert_eq!(done.load(Ordering::SeqCst), 100);
        let _ticket = flying.enter();
        assert!(!flying.wait(Duration::from_millis(1)));
    }
}
