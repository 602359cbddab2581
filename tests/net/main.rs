//! The connection to a service: bytes on the wire, hostile servers, names, proxies, mail and TLS.

#[cfg(feature = "tls")]
mod algorithms;
#[cfg(feature = "tls")]
mod authorities;
#[cfg(feature = "email")]
mod email;
#[cfg(all(feature = "email", feature = "tls"))]
mod email_exim;
#[cfg(feature = "email")]
mod email_hostile;
#[cfg(all(feature = "email", feature = "tls"))]
mod email_tls;
#[cfg(feature = "tls")]
mod messages;
mod names;
mod proxies;
mod proxy;
#[cfg(feature = "webhook")]
mod recipes;
mod relay;
mod resolvers;
mod servers;
#[cfg(feature = "telegram")]
mod services;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "webhook")]
mod webhook;
mod wire;
