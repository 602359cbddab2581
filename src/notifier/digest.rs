//! Digests: the notices that share one message.

use crate::notice::Style;
use crate::notifier::Name;
use crate::rules::Urgency;

/// The parameters of FNV-1a with 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// One line of a message: an event, or the rest of an actor's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The event's random number, the same in each of its copies; for a line of several events, a hash of their
    /// numbers.
    pub uid: u64,
    /// How urgent it is.
    pub urgency: Urgency,
    /// The message's title, if the settings have one for this notice; otherwise empty.
    pub title: String,
    /// Text for a person: one line, without a line break. For [`Detail::Report`](crate::notifier::Detail) it is a
    /// JSON object for a program.
    pub text: String,
}

/// Several notices that share one message, oldest first; never empty.
#[derive(Clone, Copy)]
pub struct Digest<'a> {
    /// The host's name, its zone, and the moment of writing.
    pub style: &'a Style<'a>,
    /// The notices, oldest first.
    pub notices: &'a [Notice],
}

impl Digest<'_> {
    /// The urgency of the most urgent notice.
    pub fn urgency(&self) -> Urgency {
        self.notices.iter().map(|notice| notice.urgency).max().unwrap_or_default()
    }

    /// Identifies the message to `target`, so that a relay can drop a second copy. A digest that has grown between
    /// two attempts is another message, and so is the same digest for another target.
    pub fn key(&self, target: &Name) -> u64 {
        self.notices.iter().fold(hash(FNV_OFFSET, target.as_str().as_bytes()), |key, notice| key_with(key, notice.uid))
    }

    /// The title that all notices of the message share; `None` if they have none, or different ones.
    pub fn title(&self) -> Option<&str> {
        let title = self.notices.first()?.title.as_str();
        let is_of_all = !title.is_empty() && self.notices.iter().all(|notice| notice.title == title);
        is_of_all.then_some(title)
    }

    /// The title, or else the host's name.
    pub fn title_or_host(&self) -> &str {
        self.title().unwrap_or_else(|| self.style.host.as_str())
    }

    /// The texts, one per line, each preceded by `bullet`.
    pub fn lines(&self, bullet: &str) -> String {
        let lines: Vec<String> = self.notices.iter().map(|notice| format!("{bullet}{}", notice.text)).collect();
        lines.join("\n")
    }
}

/// The key of the same message with one more event.
pub fn key_with(key: u64, uid: u64) -> u64 {
    hash(key, &uid.to_le_bytes())
}

fn hash(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notifier::tests::with_style;

    fn notice(uid: u64, urgency: Urgency) -> Notice {
        Notice { uid, urgency, title: String::new(), text: uid.to_string() }
    }

    #[test]
    fn a_digest_is_as_urgent_as_its_most_urgent_notice() {
        let (quiet, normal, urgent) =
            (notice(1, Urgency::Quiet), notice(2, Urgency::Normal), notice(3, Urgency::Urgent));
        for (notices, urgency) in [
            (&[quiet.clone(), quiet.clone()][..], Urgency::Quiet),
            (&[quiet.clone(), normal.clone()], Urgency::Normal),
            (&[urgent, quiet, normal], Urgency::Urgent),
        ] {
            with_style("h", |style| assert_eq!(Digest { style, notices }.urgency(), urgency));
        }
    }

    #[test]
    fn every_message_to_every_target_has_its_own_key_which_stays_the_same_at_every_attempt() {
        let key = |uids: &[u64], target: &str| {
            let notices: Vec<Notice> = uids.iter().map(|uid| notice(*uid, Urgency::Normal)).collect();
            let name = Name::parse(target).expect("a name");
            with_style("h", |style| Digest { style, notices: &notices }.key(&name))
        };
        // The published test vectors of FNV: of "a", and of "foobar".
        assert_eq!((key(&[], "a"), key(&[], "foobar")), (0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8));
        let keys = [key(&[1, 2], "a"), key(&[1, 2, 3], "a"), key(&[1], "a"), key(&[2, 1], "a"), key(&[1, 2], "b")];
        for (place, one) in keys.iter().enumerate() {
            assert!(!keys[place + 1..].contains(one), "{keys:x?}");
        }
        assert_eq!(key(&[1, 2], "a"), keys[0]);
    }
}
