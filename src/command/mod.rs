//! The commands of an administrator: each prints what it found or did.

pub mod status;
