//! Undoes what the caller may have set up; none of it may hide the session. Under `su` the caller is an ordinary
//! user, who can lower limits, ignore or send signals and stop the terminal before the session begins.

use std::fs;

use nix::libc::c_ulong;
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, geteuid, getuid, setresuid};

use crate::files::read_proc;

/// Limits that stop a process or its writes.
const UNLIMITED: [Resource; 5] =
    [Resource::RLIMIT_FSIZE, Resource::RLIMIT_AS, Resource::RLIMIT_DATA, Resource::RLIMIT_CPU, Resource::RLIMIT_RTTIME];

/// Open files. The hook needs the standard three, the queue's files and a socket.
const DESCRIPTORS: u64 = 64;

/// Bytes in the stack: Linux's default.
const STACK: u64 = 8 << 20;

/// Nanoseconds by which a wait may be late: Linux's default (prctl(2), `PR_SET_TIMERSLACK`). Zero would mean the
/// parent's.
const TIMER_SLACK: c_ulong = 50_000;

/// How likely the kernel kills a process when memory runs out (proc(5)). A user can raise it for a child.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Resets this process's signals, limits and ids. Must be called first, before any thread starts.
///
/// Every signal is blocked, because the hook lasts at most a second and uses none. SIGXFSZ too: a write beyond a
/// limit that can't be raised fails instead, and the error is logged.
pub fn reset() {
    let _ = SigSet::all().thread_block();
    // Timer slack is inherited even by set-user-ID programs, and applies to every wait with a time limit.
    let _ = set_timerslack(TIMER_SLACK);
    if geteuid().is_root() && !getuid().is_root() {
        // Processes with the same real user id could kill this one.
        let root = Uid::from_raw(0);
        let _ = setresuid(root, root, root);
    }
    for resource in UNLIMITED {
        set_limit(resource, RLIM_INFINITY);
    }
    set_limit(Resource::RLIMIT_NOFILE, DESCRIPTORS);
    set_limit(Resource::RLIMIT_STACK, STACK);
    // A core dump would leave the configuration's secrets in the caller's directory.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if read_proc(OOM_SCORE).trim().parse().is_ok_and(|score: i32| score > 0) {
        let _ = fs::write(OOM_SCORE, "0");
    }
}

/// Sets a limit. An ordinary user, or root in a container, can't exceed the hard limit and gets that.
fn set_limit(resource: Resource, limit: rlim_t) {
    if setrlimit(resource, limit, limit).is_err()
        && let Ok((_, hard)) = getrlimit(resource)
    {
        let _ = setrlimit(resource, hard, hard);
    }
}
