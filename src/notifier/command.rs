//! A command: a program on this host that gets a report of every event on stdin (docs/services.md).

use crate::notifier::{Capacity, Digest, Outcome, Service, Setup, Unit, report};
use crate::program::{Call, Failure};
use crate::text::Field;
use crate::toml::Section;

/// Stdin has no limit; this one bounds memory. The reports are in brackets, with commas between them.
pub const CAPACITY: Capacity = Capacity { limit: 32 * 1024, unit: Unit::Bytes, around: 2, per_line: 1 };
const _: () = assert!(report::LONGEST <= CAPACITY.line());

/// The most arguments of a program, and the most bytes in all of them.
const MOST_ARGUMENTS: usize = 32;
const LONGEST: usize = 4096;

/// `EX_DATAERR` (sysexits.h): the program rejects the events.
const DATA: i32 = 65;

/// `EX_USAGE`, `EX_NOPERM` and `EX_CONFIG`: the program's arguments, permissions or settings are wrong.
const WRONG: [i32; 3] = [64, 77, 78];

/// Reads `command`.
pub fn configure(section: &mut Section<'_>) -> Option<Setup> {
    let found = section.required("command", Section::strings)?;
    let words: Vec<String> = section.check("command", &found, |words| {
        let words: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        match words.first() {
            Some(path) if !path.starts_with('/') => Err("must begin with the absolute path of a program"),
            _ if words.iter().any(|word| word.contains('\0')) => Err("must not contain a NUL byte"),
            _ if words.len() > MOST_ARGUMENTS || words.concat().len() > LONGEST => {
                Err("must have at most 32 arguments with at most 4096 bytes in total")
            }
            _ => Ok(words),
        }
    })?;
    let (path, arguments) = words.split_first()?;
    // Fixing the program clears the back-off, as editing the configuration does.
    section.names_file(path);
    let call = Call { path: path.into(), arguments: arguments.into(), input: String::new() };
    Some(Setup::new(Service::Command(call), None, Vec::new()))
}

/// The call with the reports as its input.
pub fn render(digest: &Digest<'_>, call: &Call) -> Call {
    Call { input: report::array(digest) + "\n", ..call.clone() }
}

/// Maps the program's result to an outcome.
pub fn judge(result: Result<Field, Failure>) -> Outcome {
    match result {
        Ok(_) => Outcome::Delivered { pause: None },
        Err(Failure::Broken(why)) => Outcome::Failed { why },
        Err(Failure::Unfit(why)) => Outcome::Refused { why: why.to_string() },
        Err(Failure::Exited(status, output)) => exited(status, &output),
    }
}

fn exited(status: Option<i32>, output: &Field) -> Outcome {
    let output = if output.is_empty() { String::new() } else { format!(": {output}") };
    match status {
        Some(DATA) => Outcome::Rejected { why: format!("the command exited with status {DATA}{output}") },
        Some(status) if WRONG.contains(&status) => {
            let remedy = "check `command`, and the program's own settings and permissions";
            Outcome::Refused { why: format!("the command exited with status {status}{output}; {remedy}") }
        }
        Some(status) => Outcome::Failed { why: format!("the command exited with status {status}{output}") },
        None => Outcome::Failed { why: format!("the command was killed{output}") },
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
            (Some(1), "Failed { why: \"the command exited with status 1: output\" }"),
            (Some(64), "Refused { why: \"the command exited with status 64: output; check `command`, and the"),
            (Some(65), "Rejected { why: \"the command exited with status 65: output\" }"),
            (Some(69), "Failed"),
            (Some(75), "Failed { why: \"the command exited with status 75: output\" }"),
            (Some(77), "Refused"),
            (Some(78), "Refused"),
            (Some(127), "Failed"),
            (None, "Failed { why: \"the command was killed: output\" }"),
        ] {
            let outcome = format!("{:?}", judge(Err(Failure::Exited(status, Field::new(b"output")))));
            assert!(outcome.starts_with(expected), "{status:?}: {outcome}");
        }
        assert_eq!(judge(Ok(Field::new(b"output"))), Outcome::Delivered { pause: None });
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
            ("command = [\"/a\", \"b\\u0000\"]", "command.command must not contain a NUL byte"),
            (&format!("command = ['/a',{many}]"), "command.command must have at most 32 arguments"),
            (&format!("command = ['/a','{long}']"), "command.command must have at most 32 arguments"),
            ("command = '/a'\ntext = 'x'", "command.text is only for services that people read"),
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
