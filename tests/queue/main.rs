//! The queue: no fault loses an event, and no event is stuck in it.

mod causes;
mod crash;
mod damage;
mod disks;
mod fallbacks;
mod freezer;
mod idle;
mod letters;
mod locks;
mod pipes;
mod powercut;
mod rejections;
#[path = "../support/mod.rs"]
mod support;
mod syslog;
mod takeover;
mod upgrade;
