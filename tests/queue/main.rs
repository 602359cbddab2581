//! The queue: no fault loses an event, and no event is stuck in it.

mod causes;
mod crash;
mod disks;
mod fallbacks;
mod idle;
mod letters;
mod locks;
mod powercut;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod upgrade;
