//! Limits of this process: a second wall behind those of `http`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Bytes of memory for everything but the requests; a run needs a tenth of it.
const MEMORY: u64 = 32 << 20;

/// Bytes for one target: the stacks of its threads, and what a request needs.
const PER_TARGET: u64 = 12 << 20;

/// Bounds what this process can take of a small host's memory while it talks to so many servers. minreq 3.0.0 can be
/// made to read headers without end, by a line that is one byte short of their limit and ends with LF alone; the relay
/// ends that, but minreq may have to go by itself.
pub fn memory(targets: usize) {
    let limit = MEMORY + PER_TARGET * targets as u64;
    // The hard limit stays: nobody but root can raise it again, when the configuration has more targets.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_DATA) {
        let _ = setrlimit(Resource::RLIMIT_DATA, limit.min(hard), hard);
    }
}
