//! Hands a mail to a local program that accepts sendmail's arguments: Postfix, Exim, msmtp, busybox.

use std::path::Path;
use std::time::Duration;

use crate::mail::{Failure, Mail};
use crate::program::{self, Call, Launcher};
use crate::text::Field;

/// Runs the program within `left`, and returns its output. For a probe, only checks that it exists.
pub fn run(path: &Path, mail: &Mail, launcher: &Launcher, left: Duration) -> Result<Field, Failure> {
    let done = match &mail.text {
        Some(text) => launcher.run(&call(path, mail, text), left),
        None => program::check(path).map(|()| Field::new(b"the program exists")).map_err(program::Failure::Unfit),
    };
    done.map_err(|why| match why {
        program::Failure::Unfit(why) => Failure::Impossible(format!("{why}; or set `server` instead of `sendmail`")),
        program::Failure::Broken(why) => Failure::Broken(why),
        program::Failure::Exited(status, output) => Failure::Exited(status, output),
    })
}

/// -i: a dot alone on a line does not end the mail. The configuration refuses addresses that begin with a hyphen.
fn call(path: &Path, mail: &Mail, text: &str) -> Call {
    let from = mail.from.iter().flat_map(|from| ["-f", from]);
    let arguments = ["-i"].into_iter().chain(from).chain(mail.to.iter().map(String::as_str)).map(Into::into).collect();
    Call { path: path.into(), arguments, input: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Transport;

    #[test]
    fn a_mail_is_given_to_its_recipients_by_sendmails_arguments() {
        let path = Path::new("/usr/sbin/sendmail");
        let mut mail = Mail {
            transport: Transport::Program(path.into()),
            is_direct: false,
            hello: None,
            from: Some("a@b".into()),
            to: vec!["c@d".into(), "root".into()],
            text: None,
        };
        let one = call(path, &mail, "Subject: x\n\nhello\n");
        assert_eq!((one.arguments.join(" ").as_str(), one.input.lines().count()), ("-i -f a@b c@d root", 3));
        mail.from = None;
        assert_eq!(call(path, &mail, "").arguments, ["-i", "c@d", "root"]);
    }
}
