//! The sender: spool → queue → judge → each target by itself.

mod backoff;
mod deadline;
mod delivery;
mod ended;
mod heartbeat;
mod import;
mod judge;
pub mod last_run;
mod limits;
mod lock;
mod memory;
pub mod notes;
mod reminder;
mod run;
mod watch;

pub use import::directories as spools;
pub use judge::scheduled;
pub use lock::is_watching;
pub use reminder::DAY;
pub use run::{now, once};
pub use watch::run as watch;
