//! The PAM hook: what it records of a login, and what a hostile caller cannot make it do.

mod environment;
mod hostile;
mod links;
mod login;
mod privileges;
mod rules;
mod sessions;
mod stacks;
#[path = "../support/mod.rs"]
mod support;
mod surroundings;
mod worker;
