//! The program on a host: installation, configuration, clock and zones, static builds, and what it costs.

mod check;
mod clock;
mod config;
mod cost;
mod escapes;
mod install;
mod layers;
mod looks;
mod secrets;
#[cfg(feature = "tls")]
mod static_build;
#[path = "../support/mod.rs"]
mod support;
mod zones;
