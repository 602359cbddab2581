//! The sessions of the newest events: logins paired with logouts as the judge paired them.

use std::collections::{HashMap, HashSet};

use crate::clock::Stamp;
use crate::command::log::fate::Fate;
use crate::command::log::session::{Session, State};
use crate::event::{Action, BY, ENDED, Event, ORIGIN, PIDNS, SERVICE, SESSION, TIMES, USER, Uid};
use crate::process::{self, Process};
use crate::queue::{Progress, Row, are_twins, session_key};
use crate::text::Field;

/// Which sessions to find.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many at most.
    pub count: usize,
    /// Only sessions opened or closed since this moment, in UTC milliseconds.
    pub since_ms: Option<i64>,
    /// Only sessions of this user, or of this user as another one.
    pub user: Option<Field>,
}

/// The sessions found so far, newest first. Their limited number bounds the memory.
pub struct Sessions<'a> {
    /// The sessions.
    pub found: Vec<Session>,
    /// Whether there are more sessions than wanted.
    pub are_more: bool,
    wanted: Wanted,
    progress: &'a Progress,
    now: &'a Stamp,
    /// The pid namespace of this process; empty if it can't see others' processes.
    namespace: String,
    /// Indexes into `found` of the sessions with the same key, newest first.
    places: HashMap<String, Vec<usize>>,
    /// How many logouts still lack their login.
    incomplete: usize,
    /// Events that aren't judged yet, because an earlier event may be a copy of one.
    unjudged: HashSet<Uid>,
}

impl<'a> Sessions<'a> {
    pub fn new(wanted: Wanted, progress: &'a Progress, now: &'a Stamp) -> Self {
        let namespace = if process::are_visible() { process::namespace() } else { String::new() };
        Self {
            found: Vec::new(),
            are_more: false,
            wanted,
            progress,
            now,
            namespace,
            places: HashMap::new(),
            incomplete: 0,
            unjudged: HashSet::new(),
        }
    }

    /// Whether older events can't change anything.
    pub fn are_complete(&self) -> bool {
        self.found.len() >= self.wanted.count && self.incomplete == 0
    }

    /// Adds the next older event, with its fate for each target.
    pub fn take(&mut self, row: &Row, fates: Vec<Option<Fate>>) {
        // A summary stands for sessions that are recorded themselves.
        if !row.event.facts[TIMES].is_empty() {
            return;
        }
        let is_judged = row.id <= self.progress.judged;
        let is_copy = if is_judged {
            row.verdict.is_copy || self.unjudged.contains(&row.event.uid)
        } else {
            !self.unjudged.insert(row.event.uid)
        };
        match row.event.action() {
            Some(Action::Open) if !is_copy => self.open(row, fates, is_judged),
            Some(Action::Close) if !is_copy => self.close(row, fates, is_judged),
            Some(Action::Open | Action::Close) | None => {}
        }
    }

    fn close(&mut self, row: &Row, fates: Vec<Option<Fate>>, is_judged: bool) {
        let key = session_key(&row.event);
        let later = self.newest(key.as_ref()).filter(|session| session.awaits_login);
        if !is_judged && is_twin(row, later.and_then(|session| session.closed.as_ref())) {
            return;
        }
        let is_noticed = !row.event.facts[ENDED].is_empty();
        let state = if is_noticed { State::Noticed } else { State::Closed };
        // The judge knows whether there is a login, but only for events from PAM.
        let is_known = is_judged && !is_noticed && row.event.facts[ORIGIN].as_str() == "pam";
        let awaits_login = key.is_some() && (row.verdict.after_ms.is_some() || !is_known);
        let session = Session { awaits_login, ..Session::closed(row, state, fates) };
        if self.add(key, &row.event, session) {
            self.incomplete += usize::from(awaits_login);
        }
    }

    fn open(&mut self, row: &Row, fates: Vec<Option<Fate>>, is_judged: bool) {
        let key = session_key(&row.event);
        if let Some(place) = key.as_ref().and_then(|key| self.closed_by(key, &row.event)) {
            self.found[place] = std::mem::take(&mut self.found[place]).with_login(row, fates);
            self.incomplete -= 1;
            return;
        }
        let later = self.newest(key.as_ref());
        if !is_judged && is_twin(row, later.and_then(|session| session.opened.as_ref())) {
            return;
        }
        let state = self.state(&row.event);
        self.add(key, &row.event, Session::opened(row, state, fates));
    }

    /// Adds a session if it is wanted, and returns whether it is.
    fn add(&mut self, key: Option<String>, event: &Event, session: Session) -> bool {
        let is_of = |user: &Field| event.facts[USER] == *user || event.facts[BY] == *user;
        let is_since = |ms: i64| event.at.corrected(self.now) >= ms;
        if !self.wanted.user.as_ref().is_none_or(is_of) || !self.wanted.since_ms.is_none_or(is_since) {
            return false;
        }
        if self.found.len() >= self.wanted.count {
            self.are_more = true;
            return false;
        }
        if let Some(key) = key {
            self.places.entry(key).or_default().push(self.found.len());
        }
        self.found.push(session);
        true
    }

    /// The session with this key that was found last.
    fn newest(&self, key: Option<&String>) -> Option<&Session> {
        self.places.get(key?)?.last().map(|place| &self.found[*place])
    }

    /// The index of the session whose logout belongs to this login: the one that the judge paired, or otherwise the
    /// first after the login.
    fn closed_by(&self, key: &str, login: &Event) -> Option<usize> {
        let places = self.places.get(key)?.iter().rev().copied();
        places.into_iter().find(|place| {
            let session = &self.found[*place];
            session.awaits_login && session.opened.as_ref().is_none_or(|opened| opened.boot_ms == login.at.boot_ms)
        })
    }

    /// The state of a session without a recorded logout.
    fn state(&self, login: &Event) -> State {
        let boots = [&login.at.boot_id, &self.now.boot_id];
        if boots[0] != boots[1] && boots.iter().all(|boot| !boot.is_empty()) {
            return State::Restarted;
        }
        let is_here = !self.namespace.is_empty() && login.facts[PIDNS].as_str() == self.namespace;
        let process = Process::parse(login.facts[SESSION].as_str()).filter(|process| process.id > 1);
        let is_open = match process {
            Some(process) if is_here && boots[0] == boots[1] => process.is_alive(),
            Some(_) => self.progress.paired.contains(login.facts[SERVICE].as_str()),
            None => false,
        };
        if is_open { State::Open } else { State::Unknown }
    }
}

/// Whether the same process's event at `later` is a copy of this one, recorded by a second line in its PAM stack.
fn is_twin(row: &Row, later: Option<&Stamp>) -> bool {
    later.is_some_and(|later| are_twins(row.event.facts[SERVICE].as_str(), &row.event.at, later))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Facts, Kind};
    use crate::queue::EventId;
    use crate::rules::Verdict;

    /// The boot of all events and of the current time.
    const BOOT: &str = "b";

    /// Events, 1000 ms apart: the action, the process, and the verdict or a word for a special case.
    struct Recorded(Vec<Row>);

    impl Recorded {
        fn of(list: &[(Action, &str, &str)]) -> Self {
            let row = |(place, (action, process, verdict)): (i64, &(Action, &str, &str))| {
                let mut facts = Facts::default();
                facts[USER] = Field::new(b"amanda");
                facts[SERVICE] = Field::new(if verdict.contains("imapd") { b"imapd" } else { b"sshd" });
                facts[SESSION] = Field::new(process.as_bytes());
                facts[PIDNS] = Field::new(b"elsewhere");
                facts[ORIGIN] = Field::new(if verdict.contains("reordered") { b"reordered" } else { b"pam" });
                facts[ENDED] = Field::new(if verdict.contains("noticed") { b"noticed" } else { b"" });
                let at =
                    Stamp { utc_ms: 1_800_000_000_000 + place * 1000, boot_ms: place * 1000, boot_id: BOOT.into() };
                let uid = Uid(u64::try_from(place).expect("a place"));
                let event = Event { uid, kind: Kind::Session(*action), at, facts };
                Row { id: EventId(place), event, verdict: Verdict::parse(&verdict.replace("; ", "\n")) }
            };
            Self((1..).zip(list).map(row).collect())
        }

        /// The sessions, newest first: `1000-3000 closed 2000`, as far as the times are known; whether all of them are
        /// complete, and whether there are more.
        fn found(&self, judged: i64, count: usize) -> (Vec<String>, bool, bool) {
            let now = Stamp { utc_ms: 1_800_000_100_000, boot_ms: 100_000, boot_id: BOOT.into() };
            let paired = HashSet::from(["sshd".to_owned()]);
            let progress = Progress { judged: EventId(judged), paired, ..Progress::default() };
            let wanted = Wanted { count, since_ms: None, user: None };
            let mut sessions = Sessions::new(wanted, &progress, &now);
            self.0.iter().rev().for_each(|row| sessions.take(row, Vec::new()));
            let time = |at: &Option<Stamp>| at.as_ref().map_or_else(String::new, |at| at.boot_ms.to_string());
            let text = |one: &Session| {
                let lasted = one.duration_ms.map(|ms| format!(" {ms}")).unwrap_or_default();
                format!("{}-{} {}{lasted}", time(&one.opened), time(&one.closed), one.state.name())
            };
            (sessions.found.iter().map(text).collect(), sessions.are_complete(), sessions.are_more)
        }
    }

    #[test]
    fn logins_and_logouts_are_paired_by_the_judge_or_until_then_by_process() {
        use Action::{Close, Open};
        type Case = (&'static [(Action, &'static str, &'static str)], i64, &'static [&'static str]);
        let rows: [Case; 15] = [
            (&[(Open, "7-1", ""), (Close, "7-1", "after 1000")], 9, &["1000-2000 closed 1000"]),
            (&[(Open, "7-1", ""), (Close, "7-1", "")], 0, &["1000-2000 closed 1000"]),
            // A process with two sessions at once.
            (
                &[(Open, "7-1", ""), (Open, "7-1", ""), (Close, "7-1", "after 1000"), (Close, "7-1", "after 3000")],
                9,
                &["1000-4000 closed 3000", "2000-3000 closed 1000"],
            ),
            (
                &[(Open, "7-1", ""), (Open, "8-1", ""), (Close, "7-1", ""), (Close, "8-1", "")],
                0,
                &["2000-4000 closed 2000", "1000-3000 closed 2000"],
            ),
            // Second copies, judged and not yet judged.
            (
                &[(Open, "7-1", ""), (Open, "7-1", "copy"), (Close, "7-1", "after 2000"), (Close, "7-1", "copy")],
                9,
                &["1000-3000 closed 2000"],
            ),
            (
                &[(Open, "7-1", ""), (Open, "7-1", ""), (Close, "7-1", ""), (Close, "7-1", "")],
                0,
                &["2000-4000 closed 2000"],
            ),
            (
                &[(Open, "7-1", "imapd"), (Open, "7-1", "imapd"), (Close, "7-1", "imapd"), (Close, "7-1", "imapd")],
                0,
                &["1000-4000 closed 3000", "2000-3000 closed 1000"],
            ),
            // A process that opened two sessions, one after the other.
            (
                &[(Open, "7-1", ""), (Close, "7-1", ""), (Open, "7-1", ""), (Close, "7-1", "")],
                0,
                &["3000-4000 closed 1000", "1000-2000 closed 1000"],
            ),
            // The judge may know more about a lone logout.
            (&[(Close, "7-1", "unopened")], 9, &["-1000 closed"]),
            (&[(Open, "7-1", ""), (Close, "7-1", "")], 9, &["-2000 closed", "1000- open"]),
            (&[(Open, "9-1", ""), (Close, "7-1", "after 1500")], 9, &["500-2000 closed 1500", "1000- open"]),
            (&[(Open, "7-1", "reordered"), (Close, "7-1", "reordered")], 9, &["1000-2000 closed 1000"]),
            // Sessions whose end is unknown.
            (&[(Open, "7-1", ""), (Close, "7-1", "noticed")], 9, &["1000-2000 noticed"]),
            (
                &[(Open, "7-1", "imapd"), (Open, "", ""), (Open, "1-1", "")],
                9,
                &["3000- unknown", "2000- unknown", "1000- unknown"],
            ),
            (&[(Close, "", ""), (Open, "", "")], 0, &["2000- unknown", "-1000 closed"]),
        ];
        for (events, judged, expected) in rows {
            assert_eq!(Recorded::of(events).found(judged, 20).0, expected, "{events:?}");
        }
    }

    #[test]
    fn an_event_recorded_twice_is_shown_once_even_before_it_is_judged() {
        let mut recorded = Recorded::of(&[(Action::Open, "7-1", "imapd"), (Action::Open, "7-1", "imapd")]);
        recorded.0[1].event.uid = recorded.0[0].event.uid;
        for judged in [0, 1] {
            assert_eq!(recorded.found(judged, 20).0, ["2000- unknown"], "{judged}");
        }
    }

    #[test]
    fn a_session_from_before_the_last_restart_is_not_open() {
        let mut recorded = Recorded::of(&[(Action::Open, "7-1", "")]);
        recorded.0[0].event.at.boot_id = "a".into();
        assert_eq!(recorded.found(9, 20).0, ["1000- restarted"]);
    }

    #[test]
    fn only_as_many_sessions_as_wanted_are_kept_and_each_is_completed() {
        use Action::{Close, Open};
        let events = [(Open, "7-1", ""), (Open, "8-1", ""), (Close, "8-1", "after 1000"), (Close, "7-1", "after 3000")];
        let mut recorded = Recorded::of(&events);
        assert_eq!(
            recorded.found(9, 2),
            (vec!["1000-4000 closed 3000".into(), "2000-3000 closed 1000".into()], true, false)
        );
        let (found, is_complete, are_more) = recorded.found(9, 1);
        assert_eq!((found, is_complete, are_more), (vec!["1000-4000 closed 3000".into()], true, true));
        let recorded = Recorded(recorded.0.split_off(1));
        assert_eq!(recorded.found(9, 1), (vec!["1000-4000 closed 3000".into()], false, true));
    }
}
