//! Findings: what an examination says of one thing, and the command that mends it.

use std::fmt::Write;

use crate::error::Health;
use crate::text::Field;

/// Characters of a line. Most of it comes from this program; the rest is file names and the like.
const LINE_LIMIT: usize = 1000;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well as it could, or it could not be examined.
    Warning,
    /// Notices are lost, late, or never made.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was examined, and what is wrong with it.
    pub text: String,
    /// A command for root that mends it, or what to do; empty if nothing needs to be done.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into(), remedy: String::new() }
    }

    /// It works, but could be better.
    pub fn warning(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into(), remedy: remedy.into() }
    }

    /// It does not work.
    pub fn problem(text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, text: text.into(), remedy: remedy.into() }
    }
}

/// Writes a line for each finding, and its remedy in the line below. `Failed` if there is a problem.
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
