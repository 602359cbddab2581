//! Arguments: which command, with which configuration file.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

use crate::error::{Error, Kind};
use crate::queue::EventId;

/// Where the configuration is unless `--config` names another place.
const CONFIG: &str = "/etc/ssh-session-notifier/config.toml";

/// What `--help` prints.
pub const USAGE: &str = "\
ssh-session-notifier: tells you when somebody opens or closes a session on this host

Usage: ssh-session-notifier [--config FILE] COMMAND

  queue            record a session event; for pam_exec
  send             deliver the events that are due; for cron, a systemd timer, …
  send --watch     stay, and deliver each event as it comes
  status           what is waiting, what failed and why, when each target last worked
  retry ID|--all   put dead letters back in the queue
  drop ID|--all    discard dead letters
  drop --target NAME
                   forget a target that is no longer in the configuration

  -c, --config FILE  (default /etc/ssh-session-notifier/config.toml)
  -h, --help
  -V, --version
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// The configuration file.
    pub config: PathBuf,
    /// What to do.
    pub command: Command,
}

/// One of the program's commands.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Record the session event in PAM's environment.
    Queue,
    /// Deliver what is due, once.
    Send,
    /// Deliver what is due, and stay to deliver each event as it comes.
    Watch,
    /// Report what is waiting and what failed.
    Status,
    /// Put one dead letter (`Some(id)`) or all back in the queue.
    Retry(Option<EventId>),
    /// Discard one dead letter (`Some(id)`) or all.
    Drop(Option<EventId>),
    /// Forget a target that is not in the configuration.
    DropTarget(String),
    /// Print the usage.
    Help,
    /// Print the version.
    Version,
}

impl Args {
    /// Reads the arguments, the program's name first; a mistake is [`Kind::Usage`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut parser = lexopt::Parser::from_iter(arguments);
        let mut config = PathBuf::from(CONFIG);
        let mut words: Vec<OsString> = Vec::new();
        let (mut watch, mut all, mut target) = (false, false, None);
        let misuse = |why: lexopt::Error| Error::from(Kind::Usage(why.to_string()));
        while let Some(argument) = parser.next().map_err(misuse)? {
            match argument {
                Short('h') | Long("help") => return Ok(Self { config, command: Command::Help }),
                Short('V') | Long("version") => return Ok(Self { config, command: Command::Version }),
                Short('c') | Long("config") => config = parser.value().map_err(misuse)?.into(),
                Long("watch") => watch = true,
                Long("all") => all = true,
                Long("target") => target = Some(parser.value().map_err(misuse)?.to_string_lossy().into_owned()),
                Value(word) => words.push(word),
                Short(_) | Long(_) => return Err(misuse(argument.unexpected())),
            }
        }
        let command = match target {
            Some(name) if words == ["drop"] && !watch && !all => Command::DropTarget(name),
            Some(_) => return Err(Kind::Usage("--target is for `drop` alone; see --help".into()).into()),
            None => command(&words, watch, all)?,
        };
        Ok(Self { config, command })
    }
}

fn command(words: &[OsString], watch: bool, all: bool) -> Result<Command, Error> {
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or("\u{fffd}")).collect();
    match (words.as_slice(), watch, all) {
        (["queue"], false, false) => Ok(Command::Queue),
        (["send"], false, false) => Ok(Command::Send),
        (["send"], true, false) => Ok(Command::Watch),
        (["status"], false, false) => Ok(Command::Status),
        (["retry"], false, true) => Ok(Command::Retry(None)),
        (["retry", id], false, false) => Ok(Command::Retry(Some(number(id)?))),
        (["drop"], false, true) => Ok(Command::Drop(None)),
        (["drop", id], false, false) => Ok(Command::Drop(Some(number(id)?))),
        ([], ..) => Err(Kind::Usage("which command? see --help".into()).into()),
        ([name @ ("retry" | "drop"), ..], ..) => {
            Err(Kind::Usage(format!("{name} takes one ID, or --all; see --help")).into())
        }
        ([first, ..], ..) => Err(Kind::Usage(format!("cannot do {first:?} with these arguments; see --help")).into()),
    }
}

fn number(word: &str) -> Result<EventId, Error> {
    let misuse = |_| Kind::Usage(format!("not an ID: {word:?}; `status` lists them")).into();
    word.parse().map(EventId).map_err(misuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Error> {
        let words = ["ssh-session-notifier"].into_iter().chain(line.split_whitespace());
        Args::parse(words.map(OsString::from)).map(|args| args.command)
    }

    #[test]
    fn each_command_is_understood_and_nothing_else_is() {
        assert_eq!(parse("queue").ok(), Some(Command::Queue));
        assert_eq!(parse("-c /x send").ok(), Some(Command::Send));
        assert_eq!(parse("send --config=/x --watch").ok(), Some(Command::Watch));
        assert_eq!(parse("retry --all").ok(), Some(Command::Retry(None)));
        assert_eq!(parse("retry 7").ok(), Some(Command::Retry(Some(EventId(7)))));
        assert_eq!(parse("drop 7").ok(), Some(Command::Drop(Some(EventId(7)))));
        assert_eq!(parse("drop --all").ok(), Some(Command::Drop(None)));
        assert_eq!(parse("drop --target phone").ok(), Some(Command::DropTarget("phone".into())));
        assert_eq!(parse("-h").ok(), Some(Command::Help));
        assert_eq!(parse("--version send").ok(), Some(Command::Version));
        for line in [
            "",
            "sned",
            "send now",
            "queue --watch",
            "drop",
            "drop x",
            "drop 7 --all",
            "drop 7 --target x",
            "send --target x",
            "drop --target",
            "retry",
            "--conf x send",
            "send -c",
        ] {
            assert!(parse(line).is_err_and(|why| matches!(why.kind(), Kind::Usage(_))), "{line}");
        }
    }
}
