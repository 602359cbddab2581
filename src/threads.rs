//! Runs the same work for several items in parallel, one thread each.

use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// Runs `work` for all items in parallel, and returns the results in the items' order. If no thread can be started, as
/// during a fork bomb, runs `alone` on this thread instead, one item at a time.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync, alone: impl Fn(&T) -> R) -> Vec<R> {
    thread::scope(|scope| {
        let work = &work;
        let start = |item| Builder::new().spawn_scoped(scope, move || work(item)).map_err(|_| item);
        let started: Vec<_> = items.iter().map(start).collect();
        let running: Vec<_> = started.into_iter().map(|thread| thread.map_err(&alone)).collect();
        let end = |result: Result<thread::ScopedJoinHandle<'_, R>, R>| match result {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(result) => result,
        };
        running.into_iter().map(end).collect()
    })
}
