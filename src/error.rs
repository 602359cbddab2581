//! The one error type. Every variant says what we were doing, to what, and why it failed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::visible;

/// A failure to report to a person. Only `main` and `log` decide where it is shown.
///
/// Boxed, because every `?` moves it.
#[derive(Debug)]
pub struct Error(Box<Kind>);

/// What failed.
#[derive(Debug)]
pub enum Kind {
    /// A mistake in the command line.
    Usage(String),
    /// `cannot read /etc/…: Permission denied (os error 13)`
    File { doing: &'static str, path: PathBuf, why: io::Error },
    /// One line for each mistake: `config.toml:7: notification.ntfy.tokne is not a setting`
    Config(Vec<String>),
    /// `cannot record in the queue /var/…/session_events.db: database is locked`
    Queue { doing: &'static str, path: PathBuf, why: String },
    /// The queue can't be opened or written, and neither damage nor a lock is the cause:
    /// `cannot record in the queue /var/…: the disk is full: 0 KiB are left on …; free some space`
    Unwritable { doing: &'static str, path: PathBuf, why: String },
    /// `cannot open the queue /var/…/session_events.db: the database is locked by process 4711`
    ///
    /// `holder` is a process id; `None` if /proc/locks doesn't show it.
    Locked { doing: &'static str, path: PathBuf, holder: Option<i32> },
    /// The database is damaged; the sender repairs it.
    Damaged { path: PathBuf, why: String },
    /// The command can't be carried out: a sentence with the remedy.
    Impossible(&'static str),
    /// `cannot become the state directory's owner: …`
    System { doing: &'static str, why: String },
}

/// Whether a command succeeded. Failures are logged where they happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Health {
    /// Nothing failed.
    Well,
    /// Something failed. This is what was logged or printed first.
    Failed(String),
}

impl Health {
    /// Combines two: `Failed` if either is, with what failed first.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Well { other } else { self }
    }
}

impl Error {
    /// Adds the action and the file to an I/O error: `.map_err(Error::file("read", path))`.
    pub fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |why| Kind::File { doing, path: path.into(), why }.into()
    }

    /// Adds the action to a system call's error: `.map_err(Error::system("fork"))`.
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

/// One printable line, or one for each mistake in a configuration.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self.kind() {
            Kind::Config(mistakes) => {
                let lines: Vec<_> = mistakes.iter().map(|mistake| visible(mistake)).collect();
                return f.write_str(&lines.join("\n"));
            }
            Kind::Usage(what) => what.clone(),
            Kind::File { doing, path, why } => format!("cannot {doing} {}: {why}", path.display()),
            Kind::Queue { doing, path, why } | Kind::Unwritable { doing, path, why } => {
                format!("cannot {doing} {}: {why}", path.display())
            }
            Kind::Locked { doing, path, holder } => {
                let who = match holder {
                    Some(process) => format!("process {process}"),
                    None => "a process that can't be seen from here (in a container?)".into(),
                };
                format!("cannot {doing} {}: the database is locked by {who}", path.display())
            }
            Kind::Damaged { path, why } => format!("{} is damaged: {why}; `send` repairs it", path.display()),
            Kind::Impossible(what) => (*what).into(),
            Kind::System { doing, why } => format!("cannot {doing}: {why}"),
        };
        f.write_str(&visible(&line))
    }
}
