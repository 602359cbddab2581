//! The sender: when it runs, what it puts into one message, and how targets stay independent.

#[cfg(feature = "command")]
mod command;
mod digest;
mod flood;
mod repeats;
mod rules;
mod schedule;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod surroundings;
mod targets;
mod words;
