//! The notice: what a person reads of an event, word for word the same for every service.

use crate::clock::Stamp;
use crate::event::{Action, Event, Session, What};
use crate::text::Field;
use crate::tz::Zone;

/// Characters of the longest notice. Not true yet: it will be the sum of the widths that the table of
/// facts shows.
pub const LONGEST: usize = 900;

/// What every notice of this host needs.
pub struct Style<'a> {
    /// What the host is called.
    pub host: &'a Field,
    /// The zone that times are shown in.
    pub zone: &'a Zone,
    /// The present moment, which may correct an event's clock.
    pub now: &'a Stamp,
}

impl Style<'_> {
    /// Writes one line, without a line break:
    ///
    /// `'amanda' (192.168.1.50) logged in to example.com via ssh (sshd) at 2026-04-25 10:00:00+12:00`
    pub fn line(&self, event: &Event) -> String {
        let utc_ms = event.at.corrected(self.now);
        let time = self.zone.format(utc_ms);
        let doubt = if event.at.is_uncertain(utc_ms) { "; time uncertain" } else { "" };
        match &event.what {
            What::Session(session) => format!("{} at {time}{doubt}", self.sentence(session)),
            What::Note(text) => format!("ssh-session-notifier on {} at {time}{doubt}: {text}", self.host),
        }
    }

    fn sentence(&self, session: &Session) -> String {
        let Session { action, user, remote_host, tty, service, id: _ } = session;
        let doing = match action {
            Action::Open => "logged in to",
            Action::Close => "logged out from",
        };
        let from = if remote_host.is_empty() { String::new() } else { format!(" ({remote_host})") };
        let via = if tty.is_empty() { String::new() } else { format!("via {tty} ") };
        format!("'{user}'{from} {doing} {} {via}({service})", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EARLIEST_MS;

    fn session(action: Action, user: &str, remote_host: &str, tty: &str) -> What {
        let field = |text: &str| Field::new(text.as_bytes());
        What::Session(Session {
            action,
            user: field(user),
            remote_host: field(remote_host),
            tty: field(tty),
            service: field("sshd"),
            id: "1-2".into(),
        })
    }

    #[test]
    fn a_notice_reads_as_the_go_programs_did() {
        let (host, zone) = (Field::new(b"example.com"), Zone::utc());
        let now = Stamp { utc_ms: EARLIEST_MS, ..Stamp::default() };
        let style = Style { host: &host, zone: &zone, now: &now };
        let at = |utc_ms| Stamp { utc_ms, ..Stamp::default() };
        let rows = [
            (
                session(Action::Open, "amanda", "192.168.1.50", "ssh"),
                "'amanda' (192.168.1.50) logged in to example.com via ssh (sshd) at 2026-04-24 22:00:00+00:00",
            ),
            (
                session(Action::Close, "amanda", "192.168.1.50", "ssh"),
                "'amanda' (192.168.1.50) logged out from example.com via ssh (sshd) at 2026-04-24 22:00:00+00:00",
            ),
            (
                session(Action::Open, "root", "", "tty1"),
                "'root' logged in to example.com via tty1 (sshd) at 2026-04-24 22:00:00+00:00",
            ),
            (
                session(Action::Open, "root", "", ""),
                "'root' logged in to example.com (sshd) at 2026-04-24 22:00:00+00:00",
            ),
            (
                What::Note(Field::new(b"all is well")),
                "ssh-session-notifier on example.com at 2026-04-24 22:00:00+00:00: all is well",
            ),
        ];
        for (what, expected) in rows {
            assert_eq!(style.line(&Event { what, at: at(1_777_068_000_000) }), expected);
        }
    }

    #[test]
    fn a_time_that_cannot_be_right_says_so() {
        let (host, zone) = (Field::new(b"h"), Zone::utc());
        let stamp = |utc_ms, boot_ms, boot_id: &str| Stamp { utc_ms, boot_ms, boot_id: boot_id.into() };
        let now = stamp(EARLIEST_MS + 60_000, 60_000, "b");
        let style = Style { host: &host, zone: &zone, now: &now };
        let line = |at| style.line(&Event { what: session(Action::Open, "a", "", ""), at });
        assert!(line(stamp(5_000, 5_000, "a")).ends_with("at 1970-01-01 00:00:05+00:00; time uncertain"));
        assert!(line(stamp(5_000, 5_000, "b")).ends_with("at 2026-11-01 00:00:05+00:00"));
    }
}
