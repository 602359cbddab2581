//! Which sessions need a notice, how urgent the notice is, and which targets want it.
//!
//! The hook applies the allowlist to PAM's own items only, and anything in doubt is reported. The sender does the
//! rest: it judges each event once by the [`Rules`], and stores the [`Verdict`] with the event.

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

/// Services that open sessions all day although nobody logs in. Some of them run `send`.
pub const SCHEDULERS: [&str; 3] = ["cron", "crond", "atd"];
