//! This process's limits: a second line of defence behind those of `http`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Bytes of memory for everything but requests; a run needs a tenth of this.
const MEMORY: u64 = 32 << 20;

/// Bytes for each target: its threads' stacks and its requests.
const PER_TARGET: u64 = 12 << 20;

/// Limits the memory that this process may take from a small host while it talks to this many servers. A header line
/// one byte short of minreq 3.0.0's limit that ends in LF alone makes minreq read headers without end. The relay
/// stops that, but minreq may run without the relay. The hard limit stays, for programs that this one starts.
pub fn memory(targets: usize) {
    let limit = MEMORY + PER_TARGET * targets as u64;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_DATA) {
        let _ = setrlimit(Resource::RLIMIT_DATA, limit.min(hard), hard);
    }
}
