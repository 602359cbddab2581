//! Checks of a finished run: its exit status, stdout and stderr. A failed check prints all of them.

use std::fmt::Display;
use std::process::Output;

/// Checks, which can be chained: `home.send().fails().says("HTTP 503")`.
pub trait Outcome {
    fn output(&self) -> &Output;

    /// Returns the name of the case, or an empty string.
    fn case(&self) -> &str;

    /// Names the case, such as the row of a table, for the message of a failed check.
    fn when(&self, case: impl Display) -> Case<'_> {
        Case { output: self.output(), case: case.to_string() }
    }

    /// Exit status 0 and nothing on stderr.
    #[track_caller]
    fn succeeds(&self) -> &Self {
        self.exits(0);
        self.check(self.output().stderr.is_empty(), "something on stderr");
        self
    }

    /// Exit status 1 and an error message.
    #[track_caller]
    fn fails(&self) -> &Self {
        self.exits(1);
        self.check(!self.output().stderr.is_empty(), "no error message");
        self
    }

    /// This exit status, with any output.
    #[track_caller]
    fn exits(&self, code: i32) -> &Self {
        self.check(self.output().status.code() == Some(code), &format!("an exit status other than {code}"));
        self
    }

    /// Stderr contains this.
    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        self.check(self.stderr().contains(text), &format!("stderr without {text:?}"));
        self
    }

    /// Stderr is this, and nothing else.
    #[track_caller]
    fn says_only(&self, text: &str) -> &Self {
        self.check(self.stderr() == text, &format!("stderr other than {text:?}"));
        self
    }

    /// Stdout contains this.
    #[track_caller]
    fn prints(&self, text: &str) -> &Self {
        self.check(self.stdout().contains(text), &format!("stdout without {text:?}"));
        self
    }

    /// Stdout begins with this.
    #[track_caller]
    fn prints_first(&self, text: &str) -> &Self {
        self.check(self.stdout().starts_with(text), &format!("stdout that does not begin with {text:?}"));
        self
    }

    /// Stdout is this, and nothing else.
    #[track_caller]
    fn prints_only(&self, text: &str) -> &Self {
        self.check(self.stdout() == text, &format!("stdout other than {text:?}"));
        self
    }

    /// Stderr as text.
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output().stderr).into()
    }

    /// Stdout as text.
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output().stdout).into()
    }

    /// Panics with `problem` and the whole output unless the check holds.
    #[track_caller]
    fn check(&self, is_so: bool, problem: &str) {
        let (case, status) = (self.case(), self.output().status);
        let case = if case.is_empty() { "" } else { &format!(" (case: {case})") };
        assert!(is_so, "{problem}{case}\n{status}\nstdout:\n{}\nstderr:\n{}", self.stdout(), self.stderr());
    }
}

impl Outcome for Output {
    fn output(&self) -> &Output {
        self
    }

    fn case(&self) -> &'static str {
        ""
    }
}

/// A run, and the name of its case.
pub struct Case<'a> {
    output: &'a Output,
    case: String,
}

impl Outcome for Case<'_> {
    fn output(&self) -> &Output {
        self.output
    }

    fn case(&self) -> &str {
        &self.case
    }
}
