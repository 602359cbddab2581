//! One attempt: renders a message, notes it, hands it over, and judges the answer.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock::Stamp;
use crate::error::Error;
use crate::event::Uid;
use crate::log::{self, Level};
#[cfg(feature = "email")]
use crate::mail;
use crate::notice::Style;
#[cfg(feature = "command")]
use crate::notifier::judge_call;
#[cfg(feature = "email")]
use crate::notifier::judge_mail;
use crate::notifier::{Digest, Message, Notice, Notifier, Outcome};
use crate::send::delivery::Run;
use crate::send::delivery::course::Course;
use crate::send::notes::{self, Word};

/// Bytes that a pipe accepts without blocking, once it accepts any (POSIX.1-2024, `<limits.h>`).
const PIPE_BUF: usize = 4096;

impl Run<'_> {
    /// Sends one message, with a note before and after, and judges the answer. If the answer shows another way to
    /// reach the target, sends it that way at once.
    pub fn attempt(
        &self,
        target: &Notifier,
        notices: &[Notice],
        uids: &[Uid],
        course: &mut Course,
    ) -> Result<Outcome, Error> {
        let note = notes::begin(self.config, &target.name, self.need, uids)?;
        let outcome = self.find(target, notices, course);
        let word = if matches!(outcome, Outcome::Delivered { .. }) { Word::Delivered } else { Word::Kept };
        // If that fails, the note stays at `begun`.
        let _ = note.map(|note| note.end(word));
        Ok(outcome)
    }

    fn find(&self, target: &Notifier, notices: &[Notice], course: &mut Course) -> Outcome {
        let first = self.send(target, notices, &course.hint);
        let Outcome::Moved { hint, why } = first else { return first };
        let second = self.send(target, notices, &hint);
        match second {
            // The second answer has the remedy.
            Outcome::Failed { .. } | Outcome::Refused { .. } => return second,
            Outcome::Moved { .. } => return Outcome::Refused { why },
            Outcome::Delivered { .. } | Outcome::Throttled { .. } | Outcome::Rejected { .. } => {}
        }
        log::write(Level::Warning, &format!("{}: {}; reached {hint}", target.name, target.conceal(&why)));
        // If it can't be remembered, the next run finds it again.
        let _ = self.queue().set_hint(target.name.as_str(), &hint);
        course.hint = hint;
        second
    }

    fn send(&self, target: &Notifier, notices: &[Notice], hint: &str) -> Outcome {
        let timeout = self.config.network.timeout.min(self.deadline.left());
        let style = Style { host: &self.config.host, zone: &self.config.zone, now: &Stamp::now() };
        match target.render(&Digest { style: &style, notices }, hint) {
            Message::Print(text) => match print(&text, timeout) {
                Ok(()) => Outcome::Delivered { pause: None },
                Err(why) => Outcome::Failed { why: format!("cannot write to stdout: {why}") },
            },
            Message::Post(request) => match self.client.send(&request, timeout) {
                Ok(response) => target.judge(response, &request.url, hint),
                Err(why) => Outcome::Failed { why },
            },
            #[cfg(feature = "command")]
            Message::Run(call) => judge_call(self.launcher.run(&call, timeout)),
            #[cfg(feature = "email")]
            Message::Mail(mail) => judge_mail(mail::send(&mail, &self.client, &self.launcher, self.deadline.left())),
        }
    }
}

/// Writes to stdout, but doesn't wait for a reader that doesn't read.
fn print(text: &str, timeout: Duration) -> io::Result<()> {
    let stdout = io::stdout();
    for part in text.as_bytes().chunks(PIPE_BUF) {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        if poll(&mut [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stdout.lock().write_all(part)?;
    }
    stdout.lock().flush()
}
