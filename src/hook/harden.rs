//! Undoes what the caller may have set up; none of it may hide the session. Under `su` the caller is an
//! ordinary user, who can lower limits, ignore or send signals and stop the terminal before the session
//! begins.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Uid, geteuid, getuid, setresuid};

/// Descriptors that a login needs: three, the files of the queue, a socket; with room to spare.
const DESCRIPTORS: u64 = 64;

/// Makes this process hard to disturb. To be called first, before a thread is started.
///
/// Every signal is blocked, because a login lasts a second at most, and none of them has a meaning here.
/// That includes SIGXFSZ: a write beyond a limit that can't be lifted fails, and that is logged.
pub fn reset() {
    let _ = SigSet::all().thread_block();
    if geteuid().is_root() && !getuid().is_root() {
        // A process with the same real user id may kill this one.
        let root = Uid::from_raw(0);
        let _ = setresuid(root, root, root);
    }
    for resource in [Resource::RLIMIT_FSIZE, Resource::RLIMIT_AS, Resource::RLIMIT_DATA] {
        lift(resource, RLIM_INFINITY);
    }
    lift(Resource::RLIMIT_NOFILE, DESCRIPTORS);
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
