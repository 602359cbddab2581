//! The program on a host: installation, configuration, clock and zones, static builds, and what it costs.

mod check;
mod check_rules;
mod clock;
mod config;
mod cost;
mod escapes;
mod install;

mod install_go;
mod install_guide;
mod install_image;
mod install_pam;
mod install_places;
mod install_schedule;
mod layers;
mod log;
mod looks;
mod recipes;
mod secrets;
#[cfg(feature = "email")]
mod sendmail;
#[cfg(feature = "tls")]
mod static_build;
mod status;
mod status_json;
mod status_problems;
#[path = "../support/mod.rs"]
mod support;
mod zones;
