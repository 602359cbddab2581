//! Findings: the result of an examination, with the command that fixes it.

use std::fmt::Write;

use crate::error::Health;
use crate::text::Field;

/// Characters of a line. Most of them are this program's own; the rest is file names and the like.
const LINE_LIMIT: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Ok,
    /// It works, but not as well as it could, or it could not be examined.
    Warning,
    /// Notices are lost, late, or never made.
    Problem,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was examined, and what is wrong with it.
    pub text: String,
    /// A command for root that fixes it, or an instruction; empty if there is nothing to do.
    pub remedy: String,
}

impl Finding {
    pub fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into(), remedy: String::new() }
    }

    pub fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into(), remedy: remedy.into() }
    }

    pub fn problem(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, text: text.into(), remedy: remedy.into() }
    }
}

/// Writes a line for each finding, with its remedy on the next line. `Failed` if there is a problem.
pub fn print(findings: &[Finding]) -> (String, Health) {
    let (mut text, mut health) = (String::new(), Health::Well);
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        let _ = writeln!(text, "{level}  {}", Field::bounded(finding.text.replace('\n', "; ").as_bytes(), LINE_LIMIT));
        if !finding.remedy.is_empty() {
            let _ = writeln!(text, "         {}", Field::bounded(finding.remedy.as_bytes(), LINE_LIMIT));
        }
        if finding.level == Level::Problem {
            health = health.and(Health::Failed(finding.text.clone()));
        }
    }
    (text, health)
}
