//! Everything that can go wrong, each said as: what we were doing, to what, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure that a person is told of. `main` alone decides where it is shown.
#[derive(Debug)]
pub enum Error {
    /// The command line was misused.
    Usage(String),
    /// `cannot read /etc/…: Permission denied (os error 13)`
    File { doing: &'static str, path: PathBuf, why: io::Error },
    /// One line a mistake: `config.toml:7: notification.ntfy.tokne is not a setting`
    Config(Vec<String>),
    /// `cannot record the session in /var/…/session_events.db: database is locked`
    Queue { doing: &'static str, path: PathBuf, why: String },
    /// The database is damaged; the sender repairs it.
    Damaged { path: PathBuf, why: String },
    /// PAM's environment is incomplete, or not there.
    Environment(&'static str),
    /// `cannot become user 61001: …`
    Privileges { doing: &'static str, why: String },
    /// Nothing else to say than that something failed, which was said where it happened.
    Said,
}

impl Error {
    /// Attaches what was done to which file: `.map_err(Error::file("read", path))`.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::File { doing, path: path.into(), why }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::File { doing, path, why } => write!(f, "cannot {doing} {}: {why}", path.display()),
            Self::Config(mistakes) => f.write_str(&mistakes.join("\n")),
            Self::Queue { doing, path, why } => write!(f, "cannot {doing} {}: {why}", path.display()),
            Self::Damaged { path, why } => write!(f, "{} is damaged: {why}; `send` repairs it", path.display()),
            Self::Environment(what) => f.write_str(what),
            Self::Privileges { doing, why } => write!(f, "cannot {doing}: {why}"),
            Self::Said => f.write_str("something failed; see above"),
        }
    }
}
