//! The connection to a service: bytes on the wire, hostile servers, names and TLS.

#[cfg(feature = "tls")]
mod algorithms;
#[cfg(feature = "tls")]
mod authorities;
#[cfg(feature = "tls")]
mod messages;
mod names;
mod proxies;
mod proxy;
mod relay;
mod resolvers;
mod servers;
#[cfg(feature = "telegram")]
mod services;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;
mod wire;
