//! Work for the cores, in order and in bounded memory.
//!
//! The threads are this crate's own rayon pool, not the global one: its jobs only compute or read files and never
//! wait for each other, so a caller that itself runs on a rayon thread can wait for them without ever blocking the
//! thread that they need.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// `None` when the machine gives no more threads; then jobs run where they are submitted.
static POOL: LazyLock<Option<ThreadPool>> =
    LazyLock::new(|| ThreadPoolBuilder::new().thread_name(|index| format!("image-{index}")).build().ok());

/// How many jobs run at the same time.
pub(crate) fn threads() -> usize {
    POOL.as_ref().map_or(1, ThreadPool::current_num_threads)
}

/// Jobs that run in parallel and whose results come back in the order of submission.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    waiting: VecDeque<Receiver<T>>,
    window: usize,
}

impl<T: Send + 'static> Ordered<T> {
    /// At most `window` results exist or are being made at any time, if the caller asks [`Ordered::is_full`].
    pub(crate) fn new(window: usize) -> Self {
        Self { waiting: VecDeque::with_capacity(window), window: window.max(1) }
    }

    /// Whether [`Ordered::next`] is due before the next job.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= self.window
    }

    /// Starts a job.
    pub(crate) fn submit(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let (sender, receiver) = sync_channel(1);
        let run = move || {
            // Nobody listens when the caller gave up after an error.
            let _ = sender.send(job());
        };
        match POOL.as_ref() {
            Some(pool) => pool.spawn(run),
            None => run(),
        }
        self.waiting.push_back(receiver);
    }

    /// The result of the oldest job; `None` when there is none.
    pub(crate) fn next(&mut self) -> Option<T> {
        let receiver = self.waiting.pop_front()?;
        Some(receiver.recv().expect("a job sends its result unless it panicked, and then this thread must too"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_of_submission() {
        let mut jobs = Ordered::new(3);
        let mut seen = Vec::new();
        for number in 0..100_u32 {
            if jobs.is_full() {
                seen.extend(jobs.next());
            }
            jobs.submit(move || (0..number % 7).fold(number, |n, _| std::hint::black_box(n)));
        }
        while let Some(number) = jobs.next() {
            seen.push(number);
        }
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_caller_on_a_rayon_thread_does_not_starve_it() {
        let pool = ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let sum: u32 = pool.install(|| {
            let mut jobs = Ordered::new(8);
            for number in 0..8 {
                jobs.submit(move || number);
            }
            std::iter::from_fn(|| jobs.next()).sum()
        });
        assert_eq!(sum, 28);
    }
}
