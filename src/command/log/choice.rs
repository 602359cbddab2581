//! The choice: which sessions to show, and in which form.

use std::ffi::{OsStr, OsString};

use crate::command::log::since::Since;
use crate::error::{Error, Kind};
use crate::text::Field;

/// Sessions that are shown by default.
const COUNT: usize = 20;

/// The most sessions that can be shown. Each takes a kilobyte or two of memory.
const COUNT_LIMIT: usize = 10_000;

/// The sessions to show, and the form of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How many of the newest sessions.
    pub count: usize,
    /// Only sessions opened or closed since then.
    pub since: Option<Since>,
    /// Only sessions of this user, or of this user as another one.
    pub user: Option<Field>,
    /// Whether to print JSON.
    pub is_json: bool,
}

impl Choice {
    /// Parses the options with a value: `-n`, `--since` and `--user`. A bad value is [`Kind::Usage`].
    pub fn parse(is_json: bool, options: &[(&str, OsString)]) -> Result<Self, Error> {
        let mut choice = Self { count: COUNT, since: None, user: None, is_json };
        for (option, value) in options {
            match *option {
                "-n" => choice.count = count(value)?,
                "--since" => choice.since = Some(since(value)?),
                _ => choice.user = Some(user(value)?),
            }
        }
        Ok(choice)
    }
}

fn count(value: &OsStr) -> Result<usize, Error> {
    let text = value.to_string_lossy();
    let number = text.parse().ok().filter(|count| (1..=COUNT_LIMIT).contains(count));
    number.ok_or_else(|| Kind::Usage(format!("-n takes a number from 1 to {COUNT_LIMIT}, not {text:?}")).into())
}

fn since(value: &OsStr) -> Result<Since, Error> {
    let text = value.to_string_lossy();
    let mistake = || {
        Kind::Usage(format!(
            "--since takes a date (2026-04-25), a date and a time (\"2026-04-25 10:00\"), or an age (30m, 2h, 3d), \
             not {text:?}"
        ))
    };
    Since::parse(&text).ok_or_else(|| mistake().into())
}

/// Reads a name in the form that the queue stores.
fn user(value: &OsStr) -> Result<Field, Error> {
    let name = Field::new(value.as_encoded_bytes());
    if name.is_empty() { Err(Kind::Usage("--user takes a name".into()).into()) } else { Ok(name) }
}
