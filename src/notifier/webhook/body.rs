//! A request body from the configuration: JSON with `{text}` and other fields.

use crate::json;
use crate::notifier::Digest;
use crate::rules::Urgency;
use crate::text::{FIELD_BYTES, FIELD_LIMIT, Secret};

/// The most bytes of a body after its fields are filled.
const LONGEST: usize = 64 * 1024;

/// The most bytes of one character in a JSON string.
const LONGEST_CHARACTER: usize = 4;

/// A constant this long, in bytes, may be a secret, such as a routing key.
const SHORTEST_SECRET: usize = 16;

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Text,
    Title,
    Host,
    Urgency,
    Key,
}

/// A part of a template.
#[derive(Clone, Debug)]
enum Part {
    /// Literal text, which may contain a secret.
    Constant(Secret),
    Field(Field),
}

/// A JSON text with fields.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

impl Field {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Text, "text"),
        (Self::Title, "title"),
        (Self::Host, "host"),
        (Self::Urgency, "urgency"),
        (Self::Key, "key"),
    ];

    /// The most bytes of its value, if the text has at most `max_length` characters.
    fn longest(self, max_length: usize) -> usize {
        match self {
            Self::Text => LONGEST_CHARACTER * max_length,
            Self::Title => LONGEST_CHARACTER * FIELD_LIMIT,
            Self::Host => FIELD_BYTES + FIELD_LIMIT,
            Self::Urgency => Urgency::ALL.map(|urgency| urgency.name().len()).into_iter().max().unwrap_or(0),
            Self::Key => 16,
        }
    }
}

impl Template {
    /// Parses a template. A field is `{`, lower-case letters and `}`; every other brace belongs to the JSON.
    pub fn parse(text: &str, max_length: usize) -> Result<Self, String> {
        let (mut parts, mut constant, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            constant.push_str(before);
            let length = after.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_').count();
            rest = if length > 0 && after[length..].starts_with('}') {
                let name = &after[..length];
                let known = Field::ALL.into_iter().find(|(_, known)| *known == name);
                let (field, _) = known.ok_or_else(|| format!("has {{{name}}}, which is not a field; {}", choice()))?;
                parts.extend([Part::Constant(Secret::new(std::mem::take(&mut constant))), Part::Field(field)]);
                &after[length + 1..]
            } else {
                constant.push('{');
                after
            };
        }
        parts.push(Part::Constant(Secret::new(constant + rest)));
        Self(parts).checked(max_length)
    }

    fn checked(self, max_length: usize) -> Result<Self, String> {
        // `x` is valid inside quotes, and invalid JSON anywhere else.
        if !json::is_json(&self.filled(|_| "x".into())) {
            return Err("must be JSON, with each field inside quotes: {\"text\":\"{text}\"}".into());
        }
        if !self.0.iter().any(|part| matches!(part, Part::Field(Field::Text))) {
            return Err("must have a field {text}".into());
        }
        let longest: usize = self.0.iter().map(|part| part.longest(max_length)).sum();
        if longest > LONGEST {
            return Err(format!(
                "may need {longest} bytes, but only {LONGEST} fit: use {{text}} fewer times, or lower max_length"
            ));
        }
        Ok(self)
    }

    /// Writes the body. Values are not expanded again.
    pub fn render(&self, digest: &Digest<'_>, key: u64) -> String {
        self.filled(|field| match field {
            Field::Text => plain(&digest.lines("")),
            Field::Title => plain(digest.title_or_host()),
            Field::Host => digest.style.host.as_str().to_owned(),
            Field::Urgency => digest.urgency().name().to_owned(),
            Field::Key => format!("{key:016x}"),
        })
    }

    /// The constants that may be secrets: quoted strings without spaces that are too long to guess.
    pub fn secrets(&self) -> Vec<Secret> {
        let is_secret = |word: &&str| {
            word.len() >= SHORTEST_SECRET && word.bytes().all(|byte| byte.is_ascii_graphic()) && !word.contains('{')
        };
        let words = |part: &Part| match part {
            Part::Constant(text) => text.reveal().split('"').filter(is_secret).map(Secret::new).collect(),
            Part::Field(_) => Vec::new(),
        };
        self.0.iter().flat_map(words).collect()
    }

    fn filled(&self, value: impl Fn(Field) -> String) -> String {
        let text = |part: &Part| match part {
            Part::Constant(text) => text.reveal().to_owned(),
            Part::Field(field) => {
                let quoted = json::string(&value(*field));
                quoted[1..quoted.len() - 1].to_owned()
            }
        };
        self.0.iter().map(text).collect()
    }
}

impl Part {
    fn longest(&self, max_length: usize) -> usize {
        match self {
            Self::Constant(text) => text.reveal().len(),
            Self::Field(field) => field.longest(max_length),
        }
    }
}

/// Replaces the characters of mentions, links and formatting, one for one, because the receiving service is unknown.
pub fn plain(text: &str) -> String {
    text.replace('<', "\u{2039}").replace('>', "\u{203a}").replace('`', "'").replace('@', "\u{ff20}")
}

/// `the fields are {text}, {title}, …`
fn choice() -> String {
    let names: Vec<String> = Field::ALL.iter().map(|(_, name)| format!("{{{name}}}")).collect();
    format!("the fields are {}", names.join(", "))
}
