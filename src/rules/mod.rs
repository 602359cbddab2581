//! Which sessions need a notice, how urgent it is, and which notices a target wants.
//!
//! The hook applies the allowlist, to exactly what PAM itself said: anything else is reported. The sender does the
//! rest: it judges each event once by the [`Rules`], and the [`Verdict`] stays with the event.

mod allowlist;
mod doubts;
mod filter;
mod list;
mod network;
mod rule;
#[cfg(test)]
mod tests;
mod verdict;

pub use allowlist::{Allowlist, Items};
pub use doubts::Doubt;
pub use filter::Filter;
pub use list::{LIMIT, Rules, Ruling, Trust};
pub use network::Network;
pub use rule::{Notify, Part, Rule, Session};
pub use verdict::{New, Urgency, Verdict};

/// Services that open sessions all day long, for nobody who logs in; some of them run `send`.
pub const SCHEDULERS: [&str; 3] = ["cron", "crond", "atd"];
