//! Templates: text with fields, such as `{user} {action} at {time}`.
//!
//! `{word}` is a field, and `{{word}}` is the literal text `{word}`. Every other brace is literal too, so JSON can be a
//! template.

use std::borrow::Cow;
use std::fmt::Write;

use crate::text::nearest;

/// Characters of an unknown field that the error message shows.
const SHOWN: usize = 32;

/// A text with fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(&'static str),
}

impl Template {
    /// Parses a template with these fields. The error names the first unknown field.
    pub fn parse(text: &str, known: &[&'static str]) -> Result<Self, String> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            literal.push_str(before);
            if let Some((word, after)) = behind.strip_prefix('{').and_then(field)
                && let Some(after) = after.strip_prefix('}')
            {
                let _ = write!(literal, "{{{word}}}");
                rest = after;
            } else if let Some((word, after)) = field(behind) {
                let name = known.iter().find(|name| **name == word).ok_or_else(|| unknown(word, known))?;
                parts.extend((!literal.is_empty()).then(|| Part::Literal(std::mem::take(&mut literal))));
                parts.push(Part::Field(name));
                rest = after;
            } else {
                literal.push('{');
                rest = behind;
            }
        }
        literal.push_str(rest);
        parts.extend((!literal.is_empty()).then_some(Part::Literal(literal)));
        Ok(Self(parts))
    }

    /// Replaces each field with its value. Values are not expanded again.
    pub fn render<'v>(&self, mut value: impl FnMut(&'static str) -> Cow<'v, str>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Field(name) => text.push_str(&value(name)),
            }
        }
        text
    }

    /// Its fields, with repetitions.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Field(name) => Some(*name),
        })
    }

    /// The text without its fields.
    pub fn literal(&self) -> String {
        self.render(|_| Cow::Borrowed(""))
    }
}

/// Splits `word}rest` into the word and the rest; `None` if the text isn't a field.
fn field(text: &str) -> Option<(&str, &str)> {
    // No name has a space or a hyphen, but they are common mistakes, and JSON never has `{a-b}`.
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_- ".contains(letter);
    let end = text.find(|letter| !is_part(letter))?;
    let (word, rest) = text.split_at(end);
    rest.strip_prefix('}').filter(|_| !word.trim().is_empty()).map(|rest| (word, rest))
}

fn unknown(word: &str, known: &[&'static str]) -> String {
    let near = nearest(word.trim(), known.iter().copied()).map(|near| format!("did you mean {{{near}}}? "));
    let names: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    let shown: String = word.chars().take(SHOWN).collect();
    format!("has no field {{{shown}}}; {}the fields are {}", near.unwrap_or_default(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["user", "by", "remote_host"];

    fn rendered(template: &str) -> Result<String, String> {
        Template::parse(template, &KNOWN).map(|template| template.render(|name| format!("<{name}>").into()))
    }

    #[test]
    fn a_word_in_braces_is_a_field_and_every_other_brace_is_literal() {
        for (template, expected) in [
            ("", ""),
            ("no field", "no field"),
            ("{user}", "<user>"),
            ("{user}{by}", "<user><by>"),
            ("a {remote_host} b {user}é", "a <remote_host> b <user>é"),
            ("{{user}}", "{user}"),
            ("{{usr}} {user}", "{usr} <user>"),
            ("{{user}", "{<user>"),
            ("{user}}", "<user>}"),
            ("{{{user}}}", "{{user}}"),
            ("{", "{"),
            ("}{", "}{"),
            ("{}{ }{{}}", "{}{ }{{}}"),
            ("{user", "{user"),
            ("{é}", "{é}"),
            (r#"{"a":{"b":"{user}"},"c":{}}"#, r#"{"a":{"b":"<user>"},"c":{}}"#),
        ] {
            assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn an_unknown_field_is_reported_with_the_list_of_fields() {
        let names = "the fields are {user}, {by}, {remote_host}";
        let long = format!("{{{}}}", "x".repeat(4000));
        for (template, expected) in [
            ("{usr}", "has no field {usr}; did you mean {user}? "),
            ("{User}", "has no field {User}; did you mean {user}? "),
            ("{ user }", "has no field { user }; did you mean {user}? "),
            ("{remote-host}", "has no field {remote-host}; did you mean {remote_host}? "),
            ("{user} {password}", "has no field {password}; "),
            (long.as_str(), "has no field {xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}; "),
        ] {
            assert_eq!(rendered(template), Err(format!("{expected}{names}")), "{template}");
        }
    }

    /// P3
    #[test]
    fn a_value_is_never_read_as_a_template() {
        let template = Template::parse("{user} by {by}", &KNOWN).expect("a template");
        for value in ["{by}", "{{by}}", "{", "}", "{user}", "\u{0}{by}"] {
            assert_eq!(template.render(|_| value.into()), format!("{value} by {value}"));
        }
    }

    /// No damage causes a panic or loses text.
    #[test]
    fn every_truncation_and_every_flipped_bit_is_a_template_or_a_mistake() {
        let whole = "a{{by}}é{user} {\"x\":{by}}";
        for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            assert!(rendered(&whole[..end]).is_ok(), "{end}");
        }
        for place in 0..whole.len() * 8 {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[place / 8] ^= 1 << (place % 8);
            let Ok(text) = str::from_utf8(&bytes) else { continue };
            match rendered(text) {
                Ok(result) => assert!(result.contains('é') || !text.contains('é'), "{text}: {result}"),
                Err(why) => assert!(why.starts_with("has no field {"), "{text}: {why}"),
            }
        }
    }
}
