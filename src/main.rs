//! ssh-session-notifier tells an administrator when somebody opens or closes a session on a host.
//!
//! ```text
//! queue:  PAM's environment → Session → allowlist → Queue, else spool, else syslog
//! send:   spool → Queue::due → Digest → Notifier::render → http::post → Notifier::judge → settle
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
mod log;
mod notice;
mod notifier;
mod privileges;
mod queue;
mod rules;
mod send;
mod text;
mod toml;
mod tz;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{Args, Command};
use crate::command::status;
use crate::config::Config;
use crate::error::{Error, Kind};
use crate::log::Level;
use crate::queue::{Queue, Role};
use crate::send::deadline::Deadline;
use crate::send::{heartbeat, lock, watch};

/// Exit status of a misused command line.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let is_pam = env::var_os("PAM_TYPE").is_some();
    let (is_well, why) = match Args::parse(env::args_os()).and_then(|args| run(&args)) {
        Ok(is_well) => (is_well, None),
        Err(why) => (false, Some(why)),
    };
    if let Some(why) = &why {
        log::say(Level::Error, &why.to_string());
    }
    match why.as_ref().map(Error::kind) {
        // Nothing of ours keeps anybody out.
        _ if is_pam => ExitCode::SUCCESS,
        Some(Kind::Usage(_)) => ExitCode::from(MISUSED),
        _ if is_well => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Does what the arguments ask for. `Ok(false)`: something failed, and was said.
fn run(args: &Args) -> Result<bool, Error> {
    match args.command {
        Command::Queue => hook::run(&args.config, &env::vars_os().collect::<Vec<_>>()).map(|()| true),
        Command::Send => with_config(&args.config, &|config| match lock::take(config)? {
            Some(lock) => {
                let deadline = Deadline::new(send::RUN_LIMIT, None);
                Ok(send::run(config, &lock, &deadline)? && heartbeat::beat(config, &deadline)?)
            }
            None => Ok(true),
        }),
        Command::Watch => with_config(&args.config, &|config| match lock::take(config)? {
            Some(lock) => watch::run(config, lock),
            None => Err(Kind::Environment("another `send` is running").into()),
        }),
        Command::Status => with_config(&args.config, &|config| print(&status::report(config)?)),
        Command::Retry(id) => with_queue(&args.config, &|queue| match queue.retry(id)? {
            0 => Err(Kind::Environment("there is no such dead letter; `status` lists them").into()),
            count => print(&format!("{count} will be sent again\n")),
        }),
        Command::Drop(id) => with_queue(&args.config, &|queue| match queue.drop_dead(id)? {
            0 => Err(Kind::Environment("there is no such dead letter; `status` lists them").into()),
            count => print(&format!("{count} forgotten\n")),
        }),
        Command::Help => print(cli::USAGE),
        Command::Version => print(concat!("ssh-session-notifier ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

/// Reads the configuration, gives up root if it is fit to be believed, and only then does the work.
fn with_config(file: &Path, work: &dyn Fn(&Config) -> Result<bool, Error>) -> Result<bool, Error> {
    let (config, warning) = Config::read(file)?;
    privileges::give_up_root(&config.paths)?;
    if let Some(warning) = warning {
        log::say(Level::Warning, &warning);
    }
    work(&config)
}

fn with_queue(file: &Path, work: &dyn Fn(&mut Queue) -> Result<bool, Error>) -> Result<bool, Error> {
    with_config(file, &|config| work(&mut Queue::open(&config.paths.database, Role::Sender)?))
}

/// Writes data to stdout. A reader that went away is no failure.
fn print(text: &str) -> Result<bool, Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => Err(Error::file("write to", Path::new("stdout"))(why)),
        _ => Ok(true),
    }
}
