//! Undoes what the caller may have set up; none of it may hide the session. Under `su` the caller is an
//! ordinary user, who can lower limits, ignore or send signals and stop the terminal before the session
//! begins.

use std::fs;

use nix::libc::c_ulong;
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, geteuid, getuid, setresuid};

use crate::files::read_proc;

/// Limits that stop a process or its writes: none of them is of use to a login that lasts a second.
const UNLIMITED: [Resource; 5] =
    [Resource::RLIMIT_FSIZE, Resource::RLIMIT_AS, Resource::RLIMIT_DATA, Resource::RLIMIT_CPU, Resource::RLIMIT_RTTIME];

/// Descriptors that a login needs: three, the files of the queue, a socket; with room to spare.
const DESCRIPTORS: u64 = 64;

/// Bytes of the stack: what Linux gives a process by default.
const STACK: u64 = 8 << 20;

/// Nanoseconds by which a sleep may last longer: Linux's default (prctl(2), `PR_SET_TIMERSLACK`). Zero would
/// set it to what the parent had.
const TIMER_SLACK: c_ulong = 50_000;

/// How likely the kernel ends a process for want of memory (proc(5)). A user can raise it for all that he starts.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Makes this process hard to disturb. To be called first, before a thread is started.
///
/// Every signal is blocked, because a login lasts a second at most, and none of them has a meaning here.
/// That includes SIGXFSZ: a write beyond a limit that can't be lifted fails, and that is logged.
pub fn reset() {
    let _ = SigSet::all().thread_block();
    // Timer slack survives even the set-user-id bit, and applies to every wait with a time limit.
    let _ = set_timerslack(TIMER_SLACK);
    if geteuid().is_root() && !getuid().is_root() {
        // A process with the same real user id may kill this one.
        let root = Uid::from_raw(0);
        let _ = setresuid(root, root, root);
    }
    for resource in UNLIMITED {
        lift(resource, RLIM_INFINITY);
    }
    lift(Resource::RLIMIT_NOFILE, DESCRIPTORS);
    lift(Resource::RLIMIT_STACK, STACK);
    // A dump would leave the configuration's secrets in the caller's directory.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if read_proc(OOM_SCORE).trim().parse().is_ok_and(|score: i32| score > 0) {
        let _ = fs::write(OOM_SCORE, "0");
    }
}

/// Sets a limit, or what the hard limit allows if this process may not go beyond it (an ordinary user;
/// root in a container).
fn lift(resource: Resource, limit: rlim_t) {
    if setrlimit(resource, limit, limit).is_err()
        && let Ok((_, hard)) = getrlimit(resource)
    {
        let _ = setrlimit(resource, hard, hard);
    }
}
