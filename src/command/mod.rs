//! The commands of an administrator: each file is one, and returns the text to print.

pub mod letters;
pub mod status;
