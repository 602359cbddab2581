//! The PAM hook: what it records at a login, and what a hostile caller can't make it do.

mod environment;
mod hostile;
mod limits;
mod links;
mod login;
mod privileges;
mod rules;
mod sessions;
mod signals;
mod stacks;
#[path = "../support/mod.rs"]
mod support;
mod surroundings;
mod worker;
