//! Many processes at once. A crate of its own, because cargo runs one crate at a time: a test that ran
//! beside these would be too slow for the limits that it checks.

mod crowd;
#[path = "../support/mod.rs"]
mod support;
