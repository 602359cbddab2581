//! A command: a program of this host that reads the report of every event (docs/services.md).

use crate::notifier::{Capacity, Digest, Outcome, Service, Setup, Unit, report};
use crate::program::{Call, Failure};
use crate::text::Field;
use crate::toml::Section;

/// A file has no limit. This one bounds what is in memory at a time. Around the reports are brackets, between them
/// commas.
pub const CAPACITY: Capacity = Capacity { limit: 32 * 1024, unit: Unit::Bytes, around: 2, per_line: 1 };
const _: () = assert!(report::LONGEST <= CAPACITY.line());

/// Arguments of a program, and bytes of all of them.
const MOST_ARGUMENTS: usize = 32;
const LONGEST: usize = 4096;

/// Statuses (sysexits.h). The program says that the events are wrong.
const DATA: i32 = 65;

/// It says that how it is called, what it may do, or its own settings are wrong.
const WRONG: [i32; 3] = [64, 77, 78];

/// Reads `command`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let found = section.required("command", Section::strings)?;
    let words: Vec<String> = section.check("command", &found, |words| {
        let words: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        match words.first() {
            Some(path) if !path.starts_with('/') => Err("must begin with the absolute path of a program"),
            _ if words.iter().any(|word| word.contains('\0')) => Err("must have no zero in it"),
            _ if words.len() > MOST_ARGUMENTS || words.concat().len() > LONGEST => {
                Err("must have at most 32 arguments, of 4096 bytes together")
            }
            _ => Ok(words),
        }
    })?;
    let (path, arguments) = words.split_first()?;
    // A program that was mended is tried at once.
    section.names_file(path);
    let call = Call { path: path.into(), arguments: arguments.into(), input: String::new() };
    Some(Setup::new(Service::Command(call), None, Vec::new()))
}

/// Calls the program with the reports as its input.
pub fn render(digest: &Digest<'_>, call: &Call) -> Call {
    Call { input: report::array(digest) + "\n", ..call.clone() }
}

/// Judges how the program ended.
pub fn judge(result: Result<Field, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Delivered { pause: None },
        Err(Failure::Broken(why)) => Outcome::Failed { why },
        Err(Failure::Unfit(why)) => Outcome::Refused { why: why.to_string() },
        Err(Failure::Exited(status, said)) => exited(status, &said),
    }
}

fn exited(status: Option<i32>, said: &Field) -> Outcome {
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match status {
        Some(DATA) => Outcome::Rejected { why: format!("the command ended with status {DATA}{said}") },
        Some(status) if WRONG.contains(&status) => {
            let remedy = "check `command`, and the program's own settings and rights";
            Outcome::Refused { why: format!("the command ended with status {status}{said}; {remedy}") }
        }
        Some(status) => Outcome::Failed { why: format!("the command ended with status {status}{said}") },
        None => Outcome::Failed { why: format!("the command was killed{said}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::{mistakes, target};

    /// P4
    #[test]
    fn each_status_has_its_outcome() {
        for (status, expected) in [
            (Some(1), "Failed { why: \"the command ended with status 1: said\" }"),
            (Some(64), "Refused { why: \"the command ended with status 64: said; check `command`, and the"),
            (Some(65), "Rejected { why: \"the command ended with status 65: said\" }"),
            (Some(69), "Failed"),
            (Some(75), "Failed { why: \"the command ended with status 75: said\" }"),
            (Some(77), "Refused"),
            (Some(78), "Refused"),
            (Some(127), "Failed"),
            (None, "Failed { why: \"the command was killed: said\" }"),
        ] {
            let outcome = format!("{:?}", judge(Err(Failure::Exited(status, Field::new(b"said")))));
            assert!(outcome.starts_with(expected), "{status:?}: {outcome}");
        }
        assert_eq!(judge(Ok(Field::new(b"said"))), Outcome::Delivered { pause: None });
    }

    #[test]
    fn a_setting_that_cannot_work_is_a_mistake() {
        let (many, long) = (["'x'"; 32].join(","), "x".repeat(4096));
        for (settings, mistake) in [
            ("", "command.command is missing"),
            ("command = []", "command.command must not be empty"),
            ("command = 7", "command.command must be a string or an array of them"),
            ("command = ['alert']", "command.command must begin with the absolute path of a program"),
            ("command = ['']", "command.command must begin with the absolute path of a program"),
            ("command = [\"/a\", \"b\\u0000\"]", "command.command must have no zero in it"),
            (&format!("command = ['/a',{many}]"), "command.command must have at most 32 arguments"),
            (&format!("command = ['/a','{long}']"), "command.command must have at most 32 arguments"),
            ("command = '/a'\ntext = 'x'", "command.text belongs to services that people read"),
            ("command = '/a'\nenvironment = 'x'", "command.environment is not a setting"),
        ] {
            let why = mistakes("command", settings);
            assert!(why.contains(mistake), "{settings}: {why}");
        }
        for settings in ["command = '/a b'", "command = ['/a b', '', '-x']"] {
            assert!(target("command", settings).obstacle().is_some(), "{settings}");
        }
    }
}
