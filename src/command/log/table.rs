//! The sessions as a table, which fits 80 columns if names and addresses are short.

use crate::clock::Stamp;
use crate::command::log::fate::Fate;
use crate::command::log::session::{Session, State};
use crate::notice::duration;
use crate::tz::Zone;

/// Characters shown of a name, and of a remote host.
const NAME_WIDTH: usize = 32;
const HOST_WIDTH: usize = 45;

/// Characters shown of how the user authenticated.
const AUTHENTICATION_WIDTH: usize = 160;

/// The column heads, and the width up to which a long cell widens its column.
const COLUMNS: [(&str, usize); 7] = [
    ("OPENED", 19),
    ("CLOSED (LASTED)", 26),
    ("USER", 20),
    ("FROM", HOST_WIDTH),
    ("SERVICE", 16),
    ("NOTICES", 16),
    ("DETAILS", 0),
];

/// The settings that all rows share.
pub struct Style<'a> {
    /// The time zone of all times.
    pub zone: &'a Zone,
    /// The current time, which may correct a session's clock.
    pub now: &'a Stamp,
    /// The names of the targets.
    pub targets: &'a [&'a str],
}

impl Style<'_> {
    /// Writes one line for each session, below a line of heads.
    pub fn table(&self, sessions: &[Session]) -> String {
        let heads = COLUMNS.map(|(head, _)| head.to_owned());
        let rows: Vec<[String; 7]> = [heads].into_iter().chain(sessions.iter().map(|one| self.row(one))).collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.filter(|width| *width <= COLUMNS[column].1).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
        let line = |row: &[String; 7]| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }

    fn row(&self, session: &Session) -> [String; 7] {
        let mut from = session.remote_host.shown(HOST_WIDTH).into_owned();
        let mut details = Vec::new();
        if !session.address.is_empty() {
            details.push(format!("host {from}"));
            from = session.address.shown(HOST_WIDTH).into_owned();
        }
        if from.is_empty() {
            from = session.tty.shown(NAME_WIDTH).trim_start_matches("/dev/").into();
        }
        details.extend(self.details(session));
        let user = session.user.shown(NAME_WIDTH);
        let user =
            if session.by.is_empty() { user.into() } else { format!("{user} (by {})", session.by.shown(NAME_WIDTH)) };
        [
            session.opened.as_ref().map_or_else(none, |at| self.time(at)),
            self.closed(session),
            user,
            if from.is_empty() { none() } else { from },
            session.service.shown(NAME_WIDTH).into_owned(),
            self.notices(session),
            details.join("; "),
        ]
    }

    /// `11:02 (1h 2m 3s)` on the same day, or else `04-26 11:02 (1d 0h 0m 0s)`; `still open` if it is open.
    fn closed(&self, session: &Session) -> String {
        let Some(closed) = &session.closed else {
            return match session.state {
                State::Open => "still open",
                State::Restarted => "restarted",
                State::Closed | State::Noticed | State::Unknown => "unknown",
            }
            .into();
        };
        let time = self.time(closed);
        let is_same_day = session.opened.as_ref().is_some_and(|opened| self.time(opened)[..10] == time[..10]);
        let begin = if is_same_day { time.len() - 8 } else { time.len() - 14 };
        let lasted = session.duration_ms.map(|ms| format!(" ({})", duration(ms))).unwrap_or_default();
        format!("{}{lasted}", &time[begin..time.len() - 3])
    }

    /// `sent`, or `phone dead, team pending`: if the fates differ, all targets that aren't `sent`.
    fn notices(&self, session: &Session) -> String {
        let fates = self.targets.iter().zip(&session.fates).filter_map(|(name, fate)| Some((name, (*fate)?)));
        let fates: Vec<_> = fates.collect();
        let Some((_, first)) = fates.first() else { return "silenced".into() };
        if fates.iter().all(|(_, fate)| fate == first) {
            return first.name().into();
        }
        let others = fates.iter().filter(|(_, fate)| *fate != Fate::Sent);
        others.map(|(name, fate)| format!("{name} {}", fate.name())).collect::<Vec<_>>().join(", ")
    }

    fn details(&self, session: &Session) -> Vec<String> {
        let words = [
            (session.new.is_address, "new address"),
            (session.new.is_key, "new key"),
            (session.state == State::Noticed, "ended, noticed"),
            (session.is_unopened, "no login was recorded"),
            (session.is_held, "repeat"),
            (session.is_uncertain(self.now), "time uncertain"),
        ];
        let rule = session.rule.map(|place| format!("rule {place}"));
        let authentication = session.authentication.shown(AUTHENTICATION_WIDTH).into_owned();
        let authentication = Some(authentication).filter(|text| !text.is_empty());
        let words = words.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word.into());
        authentication.into_iter().chain(rule).chain(words).collect()
    }

    /// The date and the time by the wall clock.
    fn time(&self, at: &Stamp) -> String {
        let mut time = self.zone.format(at.corrected(self.now));
        time.truncate(time.len() - "+12:00".len());
        time
    }
}

fn none() -> String {
    "-".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EARLIEST_MS;
    use crate::rules::New;
    use crate::text::Field;

    fn session(user: &str, opened_ms: i64, lasted_ms: Option<i64>) -> Session {
        let at = |ms| Stamp { utc_ms: EARLIEST_MS + ms, boot_ms: 0, boot_id: "a".into() };
        Session {
            user: Field::new(user.as_bytes()),
            service: Field::new(b"sshd"),
            remote_host: Field::new(b"192.168.1.50"),
            opened: Some(at(opened_ms)),
            closed: lasted_ms.map(|ms| at(opened_ms + ms)),
            state: if lasted_ms.is_some() { State::Closed } else { State::Open },
            duration_ms: lasted_ms,
            fates: vec![Some(Fate::Sent), Some(Fate::Sent)],
            ..Session::default()
        }
    }

    #[test]
    fn a_session_is_one_line_of_at_most_80_columns_before_its_details() {
        let field = |text: &str| Field::new(text.as_bytes());
        let (zone, now) = (Zone::open("NZST-12NZDT,M9.5.0,M4.1.0/3").expect("a rule"), Stamp::default());
        let style = Style { zone: &zone, now: &now, targets: &["discord", "phone"] };
        let sessions = [
            Session {
                new: New { is_address: false, is_key: true },
                authentication: field("password"),
                ..session("amanda", 0, Some(3_723_000))
            },
            Session {
                by: field("amanda"),
                remote_host: field(""),
                tty: field("/dev/pts/0"),
                service: field("su"),
                fates: vec![None, Some(Fate::Pending)],
                ..session("root", 60_000, Some(40_000_000))
            },
            Session { address: field("203.0.113.9"), remote_host: field("gateway"), ..session("eve", 1000, None) },
            Session {
                opened: None,
                duration_ms: None,
                is_unopened: true,
                remote_host: field(""),
                tty: field("tty1"),
                service: field("login"),
                ..session("a-name-of-thirty-three-characters", 0, Some(0))
            },
            Session {
                state: State::Restarted,
                fates: vec![None, None],
                rule: Some(2),
                is_held: true,
                ..session("bob", -EARLIEST_MS, None)
            },
            Session { fates: vec![Some(Fate::Sent), Some(Fate::Dead)], ..session("carol", 0, Some(0)) },
        ];
        let expected = "\
OPENED               CLOSED (LASTED)           USER              FROM          SERVICE  NOTICES     DETAILS
2026-11-01 13:00:00  14:02 (1h 2m 3s)          amanda            192.168.1.50  sshd     sent        password; new key
2026-11-01 13:01:00  11-02 00:07 (11h 6m 40s)  root (by amanda)  pts/0         su       pending
2026-11-01 13:00:01  still open                eve               203.0.113.9   sshd     sent        host gateway
-                    11-01 13:00               a-name-of-thirty-three-characte…  tty1          login    sent        \
no login was recorded
1970-01-01 13:00:00  restarted                 bob               192.168.1.50  sshd     silenced    \
rule 2; repeat; time uncertain
2026-11-01 13:00:00  13:00 (0s)                carol             192.168.1.50  sshd     phone dead
";
        let table = style.table(&sessions);
        assert_eq!(table, expected, "\n{table}");
        let table = style.table(&sessions[..1]);
        let columns = table.lines().nth(1).and_then(|line| line.find("password")).expect("its details");
        assert!(columns <= 80, "{columns}");
    }
}
