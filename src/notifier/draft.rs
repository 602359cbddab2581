//! A draft: a message that events are added to until it is full.
//!
//! Someone who opens thousands of sessions must not bury the others' notices. So in each message an actor gets a few
//! full lines, and one line for the rest.

use crate::event::Event;
use crate::notice::{Rest, Style};
use crate::notifier::capacity::Room;
use crate::notifier::digest::key_with;
#[cfg(feature = "report")]
use crate::notifier::report;
use crate::notifier::words::Words;
use crate::notifier::{Notice, Notifier};
use crate::rules::Verdict;
use crate::text::Field;

/// Full lines that one actor gets in a message; fewer if they take more than half of it.
const ACTOR_LINES: usize = 10;

/// Whether every event has a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// An actor with many events gets one line for the rest.
    Digest,
    /// Every event has a line.
    EveryEvent,
    /// Every event has a line of JSON for a program.
    #[cfg(feature = "report")]
    Report,
}

impl Detail {
    /// The same, but with a line for every event.
    pub fn in_full(self) -> Self {
        match self {
            Self::Digest | Self::EveryEvent => Self::EveryEvent,
            #[cfg(feature = "report")]
            Self::Report => Self::Report,
        }
    }

    fn line(self, style: &Style<'_>, words: &Words, event: &Event, verdict: &Verdict) -> String {
        match self {
            Self::Digest | Self::EveryEvent => words.text(style, event, verdict),
            #[cfg(feature = "report")]
            Self::Report => report::object(style, event, verdict),
        }
    }
}

/// A message to which events are added.
pub struct Draft<'a> {
    style: &'a Style<'a>,
    target: &'a Notifier,
    detail: Detail,
    room: Room,
    notices: Vec<Notice>,
    /// Each has a line, so the message's capacity limits their number.
    actors: Vec<Actor>,
}

/// An actor with lines in the message.
struct Actor {
    /// `None` for the program itself, whose reports of a flood must not bury other notices either.
    name: Option<Field>,
    /// The number of full lines, and their total length.
    lines: usize,
    length: usize,
    /// The place of the line for the rest, and its content.
    rest: Option<(usize, Rest)>,
}

impl<'a> Draft<'a> {
    /// An empty message to a target.
    pub fn new(target: &'a Notifier, detail: Detail, style: &'a Style<'a>) -> Self {
        Self { style, target, detail, room: target.capacity.room(), notices: Vec::new(), actors: Vec::new() }
    }

    /// Adds an event if there is room for it, and returns whether there was.
    pub fn add(&mut self, event: &Event, verdict: &Verdict) -> bool {
        if self.detail != Detail::Digest {
            return self.add_line(event, verdict).is_some();
        }
        let known = self.actors.iter().position(|actor| actor.name.as_ref() == event.actor());
        let place = known.unwrap_or(self.actors.len());
        if known.is_none() {
            self.actors.push(Actor { name: event.actor().cloned(), lines: 0, length: 0, rest: None });
        }
        if let Some((line, rest)) = self.actors[place].rest {
            return self.add_to_rest(place, line, rest, event, verdict);
        }
        let Some(length) = self.add_line(event, verdict) else { return false };
        let actor = &mut self.actors[place];
        let is_enough = actor.lines == ACTOR_LINES || actor.length + length > self.target.capacity.limit / 2;
        if actor.lines > 0 && is_enough {
            // If the rest is a single event, its own line is used.
            actor.rest = Some((self.notices.len() - 1, self.style.add(None, event)));
        } else {
            (actor.lines, actor.length) = (actor.lines + 1, actor.length + length);
        }
        true
    }

    /// The lines, oldest first.
    pub fn finish(self) -> Vec<Notice> {
        self.notices
    }

    /// Adds the event's own line, and returns its length; `None` if there is no room.
    fn add_line(&mut self, event: &Event, verdict: &Verdict) -> Option<usize> {
        let (style, words) = (self.style, &self.target.words);
        let text = self.detail.line(style, words, event, verdict);
        let length = self.target.capacity.length(&text);
        self.room.take(&text).then(|| {
            let title = words.title(style, event, verdict).unwrap_or_default();
            self.notices.push(Notice { uid: event.uid.0, urgency: verdict.urgency, title, text });
            length
        })
    }

    fn add_to_rest(&mut self, place: usize, line: usize, rest: Rest, event: &Event, verdict: &Verdict) -> bool {
        let rest = self.style.add(Some(rest), event);
        let text = self.style.rest(self.actors[place].name.as_ref(), &rest);
        let notice = &mut self.notices[line];
        let fits = self.room.replace(&notice.text, &text);
        if fits {
            let (uid, urgency) = (key_with(notice.uid, event.uid.0), notice.urgency.max(verdict.urgency));
            *notice = Notice { uid, urgency, title: String::new(), text };
            self.actors[place].rest = Some((line, rest));
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{Action, BY, Facts, SERVICE, USER};
    use crate::notifier::Digest;
    use crate::notifier::tests::{target, with_style};
    use crate::tz::Zone;

    fn discord() -> Notifier {
        target("discord", "webhook_url = 'http://127.0.0.1/api/webhooks/1/s3cret'")
    }

    /// The lines of a message about these events (user, and who became that user), and how many events it took.
    fn lines(detail: Detail, events: &[(&str, &str)]) -> (Vec<String>, usize) {
        let (host, zone, now) = (Field::new(b"h"), Zone::utc(), Stamp::default());
        let style = Style { host: &host, zone: &zone, now: &now };
        let target = discord();
        let mut draft = Draft::new(&target, detail, &style);
        let events = (0..).zip(events).map(|(second, (user, by))| {
            let mut facts = Facts::default();
            (facts[USER], facts[BY]) = (Field::new(user.as_bytes()), Field::new(by.as_bytes()));
            facts[SERVICE] = Field::new(b"s");
            let at = Stamp { utc_ms: 1_777_068_000_000 + second * 1000, ..Stamp::default() };
            Event { at, ..Event::session(Action::Open, facts) }
        });
        let count = events.take_while(|event| draft.add(event, &Verdict::default())).count();
        (draft.finish().into_iter().map(|notice| notice.text).collect(), count)
    }

    /// P3
    #[test]
    fn an_actor_gets_ten_lines_and_one_for_the_rest_in_place_of_the_eleventh() {
        let mut events = [("root", "m")].repeat(11);
        let in_full = lines(Detail::EveryEvent, &events).0;
        assert_eq!(lines(Detail::Digest, &events).0, in_full, "a rest of one is that one");
        events.extend([("m", ""), ("amanda", ""), ("root", "m")]);
        let (digest, count) = lines(Detail::Digest, &events);
        assert_eq!((digest.len(), count), (12, 14));
        assert_eq!(digest[..10], in_full[..10]);
        let rest = "'m': 3 more logins and logouts on h from 2026-04-24 22:00:10+00:00 to 2026-04-24 22:00:13+00:00";
        assert_eq!(digest[10], rest);
        assert!(digest[11].starts_with("'amanda' logged in"), "{digest:?}");
        assert_eq!(lines(Detail::EveryEvent, &events).0.len(), 14);
    }

    #[cfg(feature = "report")]
    #[test]
    fn reports_are_counted_as_they_are_sent_and_none_is_left_out() {
        let events = [("root", "m")].repeat(50);
        let (reports, count) = lines(Detail::Report, &events);
        assert_eq!(reports.len(), count);
        let length = |count: usize| 6 + reports[..count].iter().map(|report| report.len() + 3).sum::<usize>();
        assert!(count > 2 && length(count) <= 2000 && length(count) + reports[0].len() > 2000, "{reports:?}");
        assert!(reports.iter().all(|report| crate::json::is_whole(report)), "{reports:?}");
    }

    /// P3
    #[test]
    fn long_lines_of_one_actor_leave_half_of_the_message_for_others() {
        let long = "x".repeat(60);
        let mut events = [(long.as_str(), long.as_str())].repeat(5000);
        events.push(("amanda", ""));
        let (digest, count) = lines(Detail::Digest, &events);
        assert_eq!(count, 5001, "{digest:?}");
        assert!(digest.iter().map(String::len).sum::<usize>() < 1400, "{digest:?}");
        assert!(digest.last().is_some_and(|line| line.starts_with("'amanda'")), "{digest:?}");
    }

    #[test]
    fn the_settings_words_apply_to_sessions_but_not_to_summed_up_lines_or_own_notices() {
        let settings = "topic_url = 'http://127.0.0.1/t'\ntitle = '{user} on {host}'\ntext = '{user} {action}'";
        let target = target("ntfy", settings);
        let sessions = |users: &[&str]| {
            with_style("h", |style| {
                let mut draft = Draft::new(&target, Detail::Digest, style);
                for user in users {
                    let mut facts = Facts::default();
                    facts[USER] = Field::new(user.as_bytes());
                    let own = Event::notice("all is well");
                    let event = if user.is_empty() { own } else { Event::session(Action::Open, facts) };
                    assert!(draft.add(&event, &Verdict::default()));
                }
                let notices = draft.finish();
                let digest = Digest { style, notices: &notices };
                (digest.title_or_host().to_owned(), digest.lines(""))
            })
        };
        let same = ["amanda"].repeat(2);
        assert_eq!(sessions(&same), ("amanda on h".into(), "amanda logged in\namanda logged in".into()));
        assert_eq!(sessions(&["amanda", "ben"]), ("h".into(), "amanda logged in\nben logged in".into()));
        let (title, text) = sessions(&[""]);
        assert_eq!((title.as_str(), text.ends_with(": all is well")), ("h", true), "{text}");
        let (title, text) = sessions(&["amanda"].repeat(12));
        assert!(text.contains("\n'amanda': 2 more logins and logouts on h from "), "{text}");
        assert_eq!(title, "h", "a line for the rest has the usual title");
    }

    /// P3: the program's reports of a flood bury no session, and no session is hidden among them.
    #[test]
    fn the_programs_own_notices_are_an_actor_of_their_own() {
        let (host, zone, now) = (Field::new(b"h"), Zone::utc(), Stamp::default());
        let style = Style { host: &host, zone: &zone, now: &now };
        let target = discord();
        let mut draft = Draft::new(&target, Detail::Digest, &style);
        let own = Event { at: Stamp::default(), ..Event::notice("a dead letter") };
        assert!((0..500).all(|_| draft.add(&own, &Verdict::default())));
        let mut nameless = Event::session(Action::Open, Facts::default());
        nameless.at = Stamp::default();
        assert!(draft.add(&nameless, &Verdict::default()));
        let lines: Vec<String> = draft.finish().into_iter().map(|notice| notice.text).collect();
        let time = "1970-01-01 00:00:00+00:00";
        let rest = format!("ssh-session-notifier on h: 490 more notices of its own from {time} to {time}");
        assert_eq!((lines.len(), lines[10].as_str()), (12, format!("{rest}; time uncertain; see `status`").as_str()));
        assert!(lines[11].starts_with("'' logged in"), "{lines:?}");
    }
}
