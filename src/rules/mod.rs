//! Which sessions need a notice, how urgent it is, and which notices a target wants.
//!
//! The hook applies the allowlist, to exactly what PAM itself said: anything else is reported. The sender does the
//! rest: it judges each event once, and the [`Verdict`] stays with the event.

mod allowlist;
mod filter;
mod network;
mod verdict;

pub use allowlist::{Allowlist, Items};
pub use filter::Filter;
pub use network::Network;
pub use verdict::{New, Urgency, Verdict};

/// Services that open sessions all day long, for nobody who logs in; some of them run `send`.
pub const SCHEDULERS: [&str; 3] = ["cron", "crond", "atd"];
