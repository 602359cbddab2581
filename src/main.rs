//! ssh-session-notifier tells an administrator when somebody opens or closes a session on a host.
//!
//! ```text
//! queue:  PAM's environment → Event → allowlist → Queue, else spool, else syslog
//! send:   spool → Queue → judge → Batch → Digest → Notifier::render → http::post → Notifier::judge → settle
//! ```

mod cli;
mod clock;
mod command;
mod config;
mod error;
mod event;
mod files;
mod hook;
mod http;
mod json;
mod locks;
mod log;
#[cfg(feature = "email")]
mod mail;
mod notice;
mod notifier;
mod privileges;
mod process;
#[cfg(any(feature = "command", feature = "email"))]
mod program;
mod queue;
mod rules;
mod send;
mod template;
mod text;
mod threads;
mod toml;
mod tz;
mod watchdog;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Args, Command};
use crate::command::status::{self, Form};
use crate::command::{check, letters, test};
use crate::config::{Config, Source};
use crate::error::{Error, Health, Kind};
use crate::log::Level;
use crate::privileges::Missing;
use crate::queue::Paths;

/// Runs a command with the configuration.
type Work<'w> = &'w dyn Fn(&Config) -> Result<Health, Error>;

/// Exit status after a wrong command line.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let is_pam = env::var_os("PAM_TYPE").is_some();
    let result = Args::parse(env::args_os()).and_then(|args| run(&args));
    if let Err(why) = &result {
        report(why, is_pam);
    }
    match result {
        // No failure of ours may keep anyone out.
        _ if is_pam => ExitCode::SUCCESS,
        Ok(Health::Well) => ExitCode::SUCCESS,
        Err(why) if matches!(why.kind(), Kind::Usage(_)) => ExitCode::from(MISUSED),
        Ok(Health::Failed(_)) | Err(_) => ExitCode::FAILURE,
    }
}

/// Runs the command that the arguments name.
fn run(args: &Args) -> Result<Health, Error> {
    if args.command != Command::Queue {
        watchdog::begin();
    }
    let with_config = |missing, work: Work<'_>| with_config(&args.config, missing, work);
    match args.command {
        Command::Queue => {
            hook::run(&args.config, &env::vars_os().collect::<Vec<_>>())?;
            Ok(Health::Well)
        }
        Command::Send => with_config(Missing::Create, &|config| report_pending(config, send::once(config)?)),
        Command::Now => with_config(Missing::Create, &|config| report_pending(config, send::now(config)?)),
        Command::Watch => with_config(Missing::Create, &send::watch),
        Command::Check(network) => print_all(check::report(&args.config, network)),
        Command::Test(ref target) => print_all(test::report(&args.config, target.as_deref())?),
        Command::Status(is_json) => {
            let form = if is_json { Form::Json } else { Form::Text };
            with_config(Missing::Leave, &|config| print_all(status::report(config, form)?))
        }
        Command::Log(ref choice) => {
            with_config(Missing::Leave, &|config| print(&command::log::report(config, choice)?))
        }
        Command::Retry(id) => with_config(Missing::Create, &|config| print(&letters::retry(config, id)?)),
        Command::Drop(id) => with_config(Missing::Create, &|config| print(&letters::drop(config, id)?)),
        Command::DropTarget(ref name) => {
            with_config(Missing::Create, &|config| print(&letters::drop_target(config, name)?))
        }
        Command::Help(text) => print(text),
        Command::Version => print(concat!("ssh-session-notifier ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

/// Logs an error. A wrong command line, or a configuration missing at a terminal, goes to stderr only.
fn report(why: &Error, is_pam: bool) {
    let is_personal = match why.kind() {
        Kind::Usage(_) => true,
        Kind::File { why, .. } => why.kind() == io::ErrorKind::NotFound && io::stderr().is_terminal(),
        _ => false,
    };
    match why.kind() {
        Kind::Usage(_) if is_pam => {
            log::write(Level::Error, &format!("{why}; nothing is recorded: {}", hook::REMEDY));
        }
        _ if is_personal => log::to_stderr(format!("ssh-session-notifier: {why}\n").as_bytes()),
        _ => drop(log::failed(why)),
    }
}

/// Reads the configuration, gives up root, and only then reads the files that the configuration names.
fn with_config(file: &Path, missing: Missing, work: Work<'_>) -> Result<Health, Error> {
    let source = Source::read(file)?;
    let Paths { database, spool } = source.paths()?;
    privileges::give_up_root(&database, &spool, missing)?;
    let (config, warning) = source.check()?;
    if let Some(warning) = warning {
        if missing == Missing::Create {
            let _ = files::ensure_own_directory(&spool);
        }
        if io::stderr().is_terminal() || files::is_time_again(&spool, ".said-mode", send::DAY) {
            log::write(Level::Warning, &warning);
        }
    }
    work(&config)
}

/// Reports to a terminal what is still pending, until when, and why.
fn report_pending(config: &Config, health: Health) -> Result<Health, Error> {
    if io::stderr().is_terminal() {
        log::to_stderr(status::pending(config)?.as_bytes());
    }
    Ok(health)
}

/// Prints a report, and passes on its health.
fn print_all((text, health): (String, Health)) -> Result<Health, Error> {
    print(&text).map(|printed| printed.and(health))
}

/// Writes to stdout. The reader may take any time, and may close the pipe early.
fn print(text: &str) -> Result<Health, Error> {
    watchdog::stop();
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Error::file("write to", Path::new("stdout"))(why)),
        _ => Ok(Health::Well),
    }
}
