//! Many processes at once. Cargo runs one crate at a time, so these are in their own: they would make other tests
//! miss the times that they check.

mod crowd;
#[path = "../support/mod.rs"]
mod support;
