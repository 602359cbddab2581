//! Arguments: which command, with which configuration file.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};

use crate::command::log::Choice;
use crate::config;
use crate::error::{Error, Kind};
use crate::queue::EventId;
use crate::text::nearest;

/// The output of `--help`, which fits a screen of 24 lines.
pub const USAGE: &str = "\
ssh-session-notifier: tells you when somebody opens or closes a session on this host

Usage: ssh-session-notifier [--config FILE] COMMAND

  queue              record a session event; for pam_exec
  send               deliver the events that are due; for cron, a systemd timer, …
  send --watch       stay, and deliver each event as it comes
  send --now         deliver now, even during a back-off
  check [--network]  report what is missing on this host, and how to fix it
  test [TARGET]      send a test notice to all targets, or to one
  status [--json]    show what is pending, what failed and why, when each part last worked
  log [-n N]         show the last sessions, how long they were, and their notices
  retry ID|--all     put dead letters back in the queue
  drop ID|--all      discard dead letters; --target NAME: forget a removed target
  help [COMMAND]     explain a command

  -c, --config FILE  (default /etc/ssh-session-notifier/config.toml)
  -h, --help
  -V, --version

First steps: edit the configuration, run `check`, then `test`, then log in.
";

/// The commands, each with the output of `help COMMAND`.
const COMMANDS: [(&str, &str); 9] = [
    (
        "queue",
        "\
queue: records a session event. PAM runs it, by this line in /etc/pam.d/sshd, before every pam_env.so line:

  session optional pam_exec.so quiet /usr/sbin/ssh-session-notifier queue

It reads PAM's environment, and never keeps anyone out: under PAM it always exits with 0.
",
    ),
    (
        "send",
        "\
send [--watch|--now]: delivers the events that are due to every target. A scheduler runs it every minute as the
service user. With --watch it stays, and delivers each event within a second. With --now it ignores back-offs, but
not a pause that a service asked for.
Exits with 1 if something could not be delivered. It will be tried again; `status` shows it.
",
    ),
    (
        "check",
        "\
check [--network]: examines configuration, queue, PAM, sshd, scheduler and host; changes nothing. Run it as root: it
then examines the sender's part as the user that the sender runs as.
Each line is `ok`, `warning` or `problem`; the line below a problem is the command that fixes it.
--network also asks every target whether it is reachable and accepts the token; it sends no notice.
Exits with 1 if there is a problem.
",
    ),
    (
        "test",
        "\
test [TARGET]: sends a test notice to every target, or to TARGET, as `send` would, and prints the service's answer
and what to do about it. Exits with 1 if a target did not accept it.
",
    ),
    (
        "status",
        "\
status [--json]: shows for each target what is pending, what failed and why, and when it last worked; when a session
of each service was last recorded, and when `send` last ran; and each problem with its remedy. Changes nothing.
--json prints the same for a program; docs/json.md describes it.
Exits with 1 if something has been pending for 10 minutes or is dead, or if `send` failed or does not run.
",
    ),
    (
        "log",
        "\
log [-n N] [--since WHEN] [--user NAME] [--json]: shows the last sessions, oldest first; changes nothing.
  -n N          how many sessions: 20 by default, at most 10000
  --since WHEN  only those opened or closed since a date (2026-04-25), a date and a time (\"2026-04-25 10:00\"),
                both in the configured time zone, or an age (30m, 2h, 3d)
  --user NAME   only those of this user, or of this user as another one (su, sudo)
  --json        for programs; docs/json.md describes it

NOTICES is the state of a session's notices; if it differs between targets, those without `sent` are named:
  sent      the target has them
  pending   they are still to be sent; `status` says why
  dead      they could not be delivered; `status` lists them
  silenced  no target wants them, or a summary of repeats tells of them
",
    ),
    (
        "retry",
        "\
retry ID|--all: puts one dead letter, or all of them, back in the queue. `status` lists them.
",
    ),
    (
        "drop",
        "\
drop ID|--all: discards one dead letter, or all of them. `status` lists them.
drop --target NAME: forgets a target that is no longer in the configuration, with its pending events.
",
    ),
    ("help", USAGE),
];

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// The configuration file.
    pub config: PathBuf,
    /// The command.
    pub command: Command,
}

/// One of the program's commands.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Record the session event in PAM's environment.
    Queue,
    /// Deliver what is due, once.
    Send,
    /// Stay, and deliver each event as it comes.
    Watch,
    /// Deliver once, ignoring back-offs.
    Now,
    /// Examine the set-up, and the way to each target if this is true.
    Check(bool),
    /// Send a test notice to one target, or to all.
    Test(Option<String>),
    /// Report what is pending and what failed, as JSON if this is true.
    Status(bool),
    /// Show the last sessions.
    Log(Choice),
    /// Put one dead letter (`Some(id)`) or all of them back in the queue.
    Retry(Option<EventId>),
    /// Discard one dead letter (`Some(id)`) or all of them.
    Drop(Option<EventId>),
    /// Forget a target that is not in the configuration.
    DropTarget(String),
    /// Print this text.
    Help(&'static str),
    /// Print the version.
    Version,
}

impl Args {
    /// Parses the arguments, starting with the program's name; a mistake is [`Kind::Usage`].
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut parser = lexopt::Parser::from_iter(arguments);
        let mut config = PathBuf::from(config::FILE);
        let mut words: Vec<OsString> = Vec::new();
        let (mut options, mut values, mut target, mut is_help) = (Vec::new(), Vec::new(), None, false);
        let misuse = |why: lexopt::Error| Error::from(Kind::Usage(why.to_string()));
        while let Some(argument) = parser.next().map_err(misuse)? {
            match argument {
                Short('h') | Long("help") => is_help = true,
                Short('V') | Long("version") => return Ok(Self { config, command: Command::Version }),
                Short('c') | Long("config") => config = parser.value().map_err(misuse)?.into(),
                Long("watch") => options.push("watch"),
                Long("now") => options.push("now"),
                Long("all") => options.push("all"),
                Long("network") => options.push("network"),
                Long("json") => options.push("json"),
                Short('n') => values.push(("-n", parser.value().map_err(misuse)?)),
                Long("since") => values.push(("--since", parser.value().map_err(misuse)?)),
                Long("user") => values.push(("--user", parser.value().map_err(misuse)?)),
                Long("target") => target = Some(parser.value().map_err(misuse)?.to_string_lossy().into_owned()),
                Value(word) => words.push(word),
                Short(_) | Long(_) => return Err(misuse(argument.unexpected())),
            }
        }
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or("\u{fffd}")).collect();
        let command = match words.as_slice() {
            ["help", topic @ ..] => help(topic)?,
            topic if is_help => help(topic)?,
            ["log"] if target.is_none() => log(&options, &values)?,
            [name, ..] if !values.is_empty() => return Err(unsuited(name)),
            words => command(words, &options, target)?,
        };
        Ok(Self { config, command })
    }
}

/// Finds the help for a command, or the general one.
fn help(topic: &[&str]) -> Result<Command, Error> {
    let Some(name) = topic.first() else { return Ok(Command::Help(USAGE)) };
    let found = COMMANDS.iter().find(|(command, _)| command == name);
    found.map(|(_, text)| Command::Help(text)).ok_or_else(|| unknown(name))
}

/// Finds the command for these words and options; `target` is the value of `--target`.
fn command(words: &[&str], options: &[&str], target: Option<String>) -> Result<Command, Error> {
    match (words, options, target) {
        (["queue"], [], None) => Ok(Command::Queue),
        (["send"], [], None) => Ok(Command::Send),
        (["send"], ["watch"], None) => Ok(Command::Watch),
        (["send"], ["now"], None) => Ok(Command::Now),
        (["check"], [] | ["network"], None) => Ok(Command::Check(!options.is_empty())),
        (["test"], [], None) => Ok(Command::Test(None)),
        (["test", target], [], None) => Ok(Command::Test(Some((*target).into()))),
        (["status"], [] | ["json"], None) => Ok(Command::Status(!options.is_empty())),
        (["retry"], ["all"], None) => Ok(Command::Retry(None)),
        (["retry", id], [], None) => Ok(Command::Retry(Some(number(id)?))),
        (["drop"], ["all"], None) => Ok(Command::Drop(None)),
        (["drop"], [], Some(target)) => Ok(Command::DropTarget(target)),
        (["drop", id], [], None) => Ok(Command::Drop(Some(number(id)?))),
        ([], ..) => Err(Kind::Usage("which command? see --help".into()).into()),
        ([name @ ("retry" | "drop"), ..], ..) => {
            Err(Kind::Usage(format!("{name} takes one ID, or --all; see --help")).into())
        }
        ([name, ..], ..) => Err(unsuited(name)),
    }
}

/// The sessions that `log` shall show.
fn log(options: &[&str], values: &[(&str, OsString)]) -> Result<Command, Error> {
    match options {
        [] | ["json"] => Choice::parse(!options.is_empty(), values).map(Command::Log),
        _ => Err(unsuited("log")),
    }
}

/// `cannot do "send" with these arguments; see send --help`
fn unsuited(name: &str) -> Error {
    if COMMANDS.iter().all(|(command, _)| *command != name) {
        return unknown(name);
    }
    Kind::Usage(format!("cannot do {name:?} with these arguments; see {name} --help")).into()
}

/// `unknown command: "sned"; did you mean send? see --help`
fn unknown(name: &str) -> Error {
    let near = nearest(name, COMMANDS.iter().map(|(command, _)| *command));
    let near = near.map(|command| format!("; did you mean {command}?"));
    Kind::Usage(format!("unknown command: {name:?}{} see --help", near.unwrap_or_else(|| ";".into()))).into()
}

fn number(word: &str) -> Result<EventId, Error> {
    let misuse = |_| Kind::Usage(format!("not an ID: {word:?}; `status` lists them")).into();
    word.parse().map(EventId).map_err(misuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Field;

    fn parse(line: &str) -> Result<Command, Error> {
        let words = ["ssh-session-notifier"].into_iter().chain(line.split_whitespace());
        Args::parse(words.map(OsString::from)).map(|args| args.command)
    }

    #[test]
    fn every_command_is_accepted_and_nothing_else_is() {
        assert_eq!(parse("queue").ok(), Some(Command::Queue));
        assert_eq!(parse("-c /x send").ok(), Some(Command::Send));
        assert_eq!(parse("send --config=/x --watch").ok(), Some(Command::Watch));
        assert_eq!(parse("retry --all").ok(), Some(Command::Retry(None)));
        assert_eq!(parse("retry 7").ok(), Some(Command::Retry(Some(EventId(7)))));
        assert_eq!(parse("drop 7").ok(), Some(Command::Drop(Some(EventId(7)))));
        assert_eq!(parse("drop --all").ok(), Some(Command::Drop(None)));
        assert_eq!(parse("drop --target phone").ok(), Some(Command::DropTarget("phone".into())));
        assert_eq!(parse("status").ok(), Some(Command::Status(false)));
        assert_eq!(parse("status --json").ok(), Some(Command::Status(true)));
        assert_eq!(parse("check").ok(), Some(Command::Check(false)));
        assert_eq!(parse("check --network").ok(), Some(Command::Check(true)));
        assert_eq!(parse("test").ok(), Some(Command::Test(None)));
        assert_eq!(parse("test phone").ok(), Some(Command::Test(Some("phone".into()))));
        for (line, (count, user, is_json)) in [
            ("log", (20, None, false)),
            ("log -n 7", (7, None, false)),
            ("-n7 log --json", (7, None, true)),
            ("log --user amanda", (20, Some(Field::new(b"amanda")), false)),
        ] {
            assert_eq!(parse(line).ok(), Some(Command::Log(Choice { count, since: None, user, is_json })), "{line}");
        }
        assert!(parse("log --since 2h").is_ok());
        assert_eq!(parse("--version send").ok(), Some(Command::Version));
        for line in [
            "",
            "sned",
            "send now",
            "queue --watch",
            "send --network",
            "send --json",
            "drop",
            "drop x",
            "drop 7 --all",
            "drop 7 --target x",
            "send --target x",
            "drop --target",
            "retry",
            "--conf x send",
            "send -c",
            "log 7",
            "log -n",
            "log -n 0",
            "log -n 10001",
            "log -n x",
            "log --since yesterday",
            "log --user=",
            "log --all",
            "log --json --json",
            "log --target x",
            "send -n 7",
            "-n 7",
        ] {
            assert!(parse(line).is_err_and(|why| matches!(why.kind(), Kind::Usage(_))), "{line}");
        }
    }

    #[test]
    fn every_form_of_help_works_and_fits_a_screen() {
        for line in ["-h", "--help", "help", "help help"] {
            assert_eq!(parse(line).ok(), Some(Command::Help(USAGE)), "{line}");
        }
        for (name, text) in COMMANDS {
            for line in [format!("help {name}"), format!("{name} --help"), format!("-h {name}")] {
                assert_eq!(parse(&line).ok(), Some(Command::Help(text)), "{line}");
            }
            assert!(text.lines().count() <= 24 && text.lines().all(|line| line.len() <= 120), "{text}");
            assert!(USAGE.contains(&format!("\n  {name}")), "{name}");
        }
        for name in USAGE.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
            let has_help = name.starts_with('-') || COMMANDS.iter().any(|(command, _)| *command == name);
            assert!(has_help, "COMMANDS needs a row for {name}");
        }
    }

    #[test]
    fn a_misspelt_command_suggests_the_near_one() {
        for (line, said) in [
            ("sned", "unknown command: \"sned\"; did you mean send? see --help"),
            ("chek", "unknown command: \"chek\"; did you mean check? see --help"),
            ("help stats", "unknown command: \"stats\"; did you mean status? see --help"),
            ("frobnicate", "unknown command: \"frobnicate\"; see --help"),
            ("send now", "cannot do \"send\" with these arguments; see send --help"),
        ] {
            assert_eq!(parse(line).err().map(|why| why.to_string()).as_deref(), Some(said));
        }
    }
}
