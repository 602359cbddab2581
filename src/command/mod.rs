//! The commands of an administrator: each file is one, and returns the text to print.

pub mod check;
pub mod letters;
pub mod log;
pub mod status;
pub mod test;
