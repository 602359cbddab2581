//! A body of the operator's own: JSON in which `{text}` and other fields stand for what is to be said.

use crate::json;
use crate::notifier::Digest;
use crate::rules::Urgency;
use crate::text::{FIELD_BYTES, FIELD_LIMIT, Secret};

/// Bytes of the longest body that a template may become.
const LONGEST: usize = 64 * 1024;

/// Bytes of a character, written as JSON.
const LONGEST_CHARACTER: usize = 4;

/// Bytes of a constant that may be a secret, such as a routing key.
const SHORTEST_SECRET: usize = 16;

/// What a field stands for.
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
    /// It stays as it is; it may hold a secret.
    Constant(Secret),
    Field(Field),
}

/// JSON with fields.
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

    /// The most bytes that it can take, if a text has at most `max_length` characters.
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
    /// Reads a template, or says what is wrong with it. A field is `{`, small letters and `}`; every other brace is
    /// JSON's own.
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
        // Within quotes this is a text like any other, elsewhere it is not JSON.
        if !json::is_json(&self.filled(|_| "x".into())) {
            return Err("must be JSON in which each field stands within quotes: {\"text\":\"{text}\"}".into());
        }
        if !self.0.iter().any(|part| matches!(part, Part::Field(Field::Text))) {
            return Err("must have a field {text}".into());
        }
        let longest: usize = self.0.iter().map(|part| part.longest(max_length)).sum();
        if longest > LONGEST {
            return Err(format!(
                "can become {longest} bytes long, {LONGEST} at most: use {{text}} less, or lower max_length"
            ));
        }
        Ok(self)
    }

    /// Writes the body. What a field stands for is not looked at again.
    pub fn render(&self, digest: &Digest<'_>, key: u64) -> String {
        self.filled(|field| match field {
            Field::Text => plain(&digest.lines("")),
            Field::Title => plain(digest.title_or_host()),
            Field::Host => digest.style.host.as_str().to_owned(),
            Field::Urgency => digest.urgency().name().to_owned(),
            Field::Key => format!("{key:016x}"),
        })
    }

    /// Constants in it that may be secrets: single words, long enough that nobody would guess them.
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

/// The same text, as many characters long, without what chat services read as a mention, a link or formatting: this
/// program doesn't know which service it is.
pub fn plain(text: &str) -> String {
    text.replace('<', "\u{2039}").replace('>', "\u{203a}").replace('`', "'").replace('@', "\u{ff20}")
}

/// `the fields are {text}, {title}, …`
fn choice() -> String {
    let names: Vec<String> = Field::ALL.iter().map(|(_, name)| format!("{{{name}}}")).collect();
    format!("the fields are {}", names.join(", "))
}
