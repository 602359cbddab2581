//! Tells an administrator when somebody opens or closes a session.
fn main() {}
