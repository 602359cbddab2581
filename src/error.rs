//! Everything that can go wrong, each with what we were doing, to what, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure to report to a person. `main` and `log` alone decide where it is shown.
///
/// In a box, because every `?` would move it.
#[derive(Debug)]
pub struct Error(Box<Kind>);

/// What failed.
#[derive(Debug)]
pub enum Kind {
    /// The command line was misused.
    Usage(String),
    /// `cannot read /etc/…: Permission denied (os error 13)`
    File { doing: &'static str, path: PathBuf, why: io::Error },
    /// One line for each mistake: `config.toml:7: notification.ntfy.tokne is not a setting`
    Config(Vec<String>),
    /// `cannot record in the queue /var/…/session_events.db: database is locked`
    Queue { doing: &'static str, path: PathBuf, why: String },
    /// `cannot open the queue /var/…/session_events.db: the database is locked by process 4711`
    ///
    /// Without a holder, /proc/locks doesn't name it.
    Locked { doing: &'static str, path: PathBuf, holder: Option<i32> },
    /// The database is damaged; the sender repairs it.
    Damaged { path: PathBuf, why: String },
    /// What was asked for can't be done, in a sentence with the remedy.
    Impossible(&'static str),
    /// `cannot become the state directory's owner: …`
    System { doing: &'static str, why: String },
}

/// Whether all went well. What failed was logged where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Health {
    /// Nothing failed.
    Well,
    /// Something failed, and was logged.
    Failed,
}

impl Health {
    /// `Failed` if either is.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Well { other } else { self }
    }
}

impl Error {
    /// Attaches what was done to which file: `.map_err(Error::file("read", path))`.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Kind::File { doing, path: path.into(), why }.into()
    }

    /// Attaches what was done to a system call's error: `.map_err(Error::system("fork"))`.
    pub fn system(doing: &'static str) -> impl FnOnce(nix::Error) -> Self {
        move |why| Kind::System { doing, why: io::Error::from(why).to_string() }.into()
    }

    /// What failed.
    pub fn kind(&self) -> &Kind {
        &self.0
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Usage(what) => f.write_str(what),
            Kind::File { doing, path, why } => write!(f, "cannot {doing} {}: {why}", path.display()),
            Kind::Config(mistakes) => f.write_str(&mistakes.join("\n")),
            Kind::Queue { doing, path, why } => write!(f, "cannot {doing} {}: {why}", path.display()),
            Kind::Locked { doing, path, holder: None } => {
                let who = "a process that can't be seen from here (in a container?)";
                write!(f, "cannot {doing} {}: the database is locked by {who}", path.display())
            }
            Kind::Locked { doing, path, holder: Some(process) } => {
                write!(f, "cannot {doing} {}: the database is locked by process {process}", path.display())
            }
            Kind::Damaged { path, why } => write!(f, "{} is damaged: {why}; `send` repairs it", path.display()),
            Kind::Impossible(what) => f.write_str(what),
            Kind::System { doing, why } => write!(f, "cannot {doing}: {why}"),
        }
    }
}
