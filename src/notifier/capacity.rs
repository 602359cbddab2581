//! How much text fits into one message of a service.

/// The size of a service's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The service's limit, in units.
    pub limit: usize,
    /// What the service counts.
    pub unit: Unit,
    /// Units around all lines, such as a code block's fence.
    pub around: usize,
    /// Units for each line beyond its text, such as a line break.
    pub per_line: usize,
}

/// A unit of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// UTF-16 units: two for a character beyond U+FFFF.
    Utf16,
    /// Bytes of UTF-8.
    Bytes,
    /// Unicode code points.
    #[cfg_attr(not(any(feature = "pushover", feature = "rocketchat")), expect(dead_code, reason = "few services"))]
    Characters,
    /// UTF-16 units after `&`, `<` and `>` are escaped as `&amp;`, `&lt;` and `&gt;`.
    #[cfg_attr(not(feature = "slack"), expect(dead_code, reason = "only Slack"))]
    Entities,
}

/// The space left in a message while lines are added.
#[derive(Clone, Debug)]
pub struct Room {
    capacity: Capacity,
    /// Units in use. `None` before the first line.
    used: Option<usize>,
}

impl Capacity {
    /// Whether a line of any `characters` fits, even if each is as long as possible.
    pub const fn holds(self, characters: usize) -> bool {
        let most = match self.unit {
            Unit::Utf16 => 2,
            Unit::Bytes => 4,
            Unit::Characters => 1,
            Unit::Entities => 5,
        };
        self.around + self.per_line + characters * most <= self.limit
    }

    /// The length of a text in units.
    pub fn length(self, line: &str) -> usize {
        match self.unit {
            Unit::Utf16 => line.encode_utf16().count(),
            Unit::Bytes => line.len(),
            Unit::Characters => line.chars().count(),
            Unit::Entities => line.chars().map(entity_length).sum(),
        }
    }

    /// The space in an empty message.
    pub fn room(self) -> Room {
        Room { capacity: self, used: None }
    }
}

impl Room {
    /// Adds a line if it fits, and returns whether it did. The first line is always added, because every notice fits
    /// into every service's message.
    pub fn take(&mut self, line: &str) -> bool {
        let Capacity { limit, around, per_line, .. } = self.capacity;
        let used = self.used.unwrap_or(around) + per_line + self.capacity.length(line);
        let fits = used <= limit || self.used.is_none();
        if fits {
            self.used = Some(used);
        }
        fits
    }

    /// Replaces a line that was added if the new one fits, and returns whether it did.
    pub fn replace(&mut self, old: &str, new: &str) -> bool {
        let used = self.used.unwrap_or_default() + self.capacity.length(new) - self.capacity.length(old);
        let fits = used <= self.capacity.limit;
        if fits {
            self.used = Some(used);
        }
        fits
    }
}

fn entity_length(character: char) -> usize {
    match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        _ => character.len_utf16(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Capacity = Capacity { limit: 20, unit: Unit::Utf16, around: 6, per_line: 3 };

    #[test]
    fn lines_are_added_until_the_next_one_would_exceed_the_limit() {
        let fitting = |capacity: Capacity, lines: &[&str]| {
            let mut room = capacity.room();
            lines.iter().take_while(|line| room.take(line)).count()
        };
        for (lines, count) in [
            (&["éééé", "éééé", "x"][..], 2),
            (&["éééé", "ééééé", "x"], 1),
            (&["\u{1f512}\u{1f512}", "éééé", "x"], 2),
            (&["\u{1f512}\u{1f512}", "ééééé", "x"], 1),
            (&["this one alone is too long for it"], 1),
            (&["this one alone is too long for it", ""], 1),
        ] {
            assert_eq!(fitting(SMALL, lines), count, "{lines:?}");
        }
        let bytes = Capacity { unit: Unit::Bytes, ..SMALL };
        assert_eq!(fitting(bytes, &["éé", "éé", "x"]), 2);
        assert_eq!(fitting(bytes, &["ééé", "éé", "x"]), 1);
    }

    #[test]
    fn a_line_is_replaced_only_by_one_that_fits() {
        let mut room = SMALL.room();
        assert!(room.take("aaaa") && !room.replace("aaaa", "aaaaaaaaaaaa") && room.replace("aaaa", "aaaaaaaaaaa"));
        assert!(!room.take("") && room.replace("aaaaaaaaaaa", "") && room.take("aaaaaaaa"));
    }

    #[test]
    fn holds_assumes_the_longest_characters() {
        let bytes = Capacity { unit: Unit::Bytes, ..SMALL };
        for (capacity, most) in [(SMALL, 5), (bytes, 2)] {
            assert!(capacity.holds(most) && !capacity.holds(most + 1), "{capacity:?}");
            let longest = "\u{1f512}".repeat(most);
            assert!(capacity.room().take(&longest));
        }
    }
}
