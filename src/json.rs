//! The JSON that this program needs (RFC 8259): writes values, and finds members of an object.

/// Writes a JSON string, with its quotes.
pub fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\n' => json.push_str("\\n"),
            '\0'..' ' => json.extend(format!("\\u{:04x}", u32::from(character)).chars()),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// Writes an object. Each member's value is JSON already.
pub fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// Writes an array. Each item is JSON already.
pub fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// Returns a value that is JSON already, or `null`.
pub fn optional(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".into())
}

/// Writes `true` or `false`.
pub fn boolean(value: bool) -> String {
    value.to_string()
}

/// Finds a member of the outermost object. Returns its value's text unchanged, a string's without its quotes. `None` if
/// there is no such member, or if the text isn't an object.
pub fn member<'t>(body: &'t [u8], name: &str) -> Option<&'t str> {
    let text = std::str::from_utf8(body).ok()?;
    let mut rest = text.trim_start().strip_prefix('{')?;
    loop {
        let (key, after) = value(rest)?;
        let (value, after) = value(after.trim_start().strip_prefix(':')?)?;
        if unquoted(key)? == name {
            return Some(unquoted(value).unwrap_or(value));
        }
        rest = after.trim_start().strip_prefix(',')?;
    }
}

/// Whether a text is one complete object or array.
pub fn is_whole(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(['{', '[']) && value(text).is_some_and(|(_, rest)| rest.is_empty())
}

/// Returns the name of an object's first member; empty if it has none.
pub fn first_key(object: &str) -> &str {
    let member = object.trim_start().strip_prefix('{').and_then(value);
    member.and_then(|(key, _)| unquoted(key)).unwrap_or("")
}

/// Finds the first string with this name at any depth, and returns its text.
pub fn first_string<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let (value, _) = value(rest.trim_start().strip_prefix(':')?)?;
    unquoted(value)
}

/// Removes a string's quotes. `None` if the value isn't a string.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// Splits off one value: a string, a number or word, or a complete array or object. Also returns the rest.
fn value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' if in_string && depth == 0 => return Some(text.split_at(at + 1)),
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth == 1 => return Some(text.split_at(at + 1)),
            b']' | b'}' | b',' | b':' if depth == 0 => return (at > 0).then(|| (text[..at].trim_end(), &text[at..])),
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_escaped_as_rfc_8259_says() {
        assert_eq!(string("a\"b\\c\nd\u{1}é王"), "\"a\\\"b\\\\c\\nd\\u0001é王\"");
    }

    #[test]
    fn an_object_and_an_array_of_any_text_are_valid_json() {
        let hostile = "\"}],\\\n\0\u{7f}\u{2028}王";
        let items = [string(hostile), optional(None), boolean(true), object(&[])];
        let text = object(&[(hostile, array(items.into_iter())), ("empty", array([].into_iter()))]);
        let read: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read, serde_json::json!({ hostile: [hostile, null, true, {}], "empty": [] }));
    }

    #[test]
    fn only_a_member_of_the_outermost_object_is_found() {
        let rows = [
            (r#"{"id":"1"}"#, Some("1")),
            (r#" { "x" : [1, {"id": "no"}, "]"], "id" : 12.5 } "#, Some("12.5")),
            (r#"{"x":{"id":"no"}}"#, None),
            (r#"{"x":"\"id\":\"no\"","id":true}"#, Some("true")),
            (r#"{"id":{"a":1}}"#, Some(r#"{"a":1}"#)),
            (r#"["id"]"#, None),
            (r#"{"id"}"#, None),
            (r#"{"id":"#, None),
            ("", None),
            ("<html>id</html>", None),
        ];
        for (body, expected) in rows {
            assert_eq!(member(body.as_bytes(), "id"), expected, "{body}");
        }
    }

    #[test]
    fn a_string_at_any_depth_is_found_by_its_name() {
        let errors = r#"{ "content": {"_errors": [{"code": "X", "message" : "Must be 2000 or fewer."}]}}"#;
        let found = (first_key(errors), first_string(errors, "message"));
        assert_eq!(found, ("content", Some("Must be 2000 or fewer.")));
        for text in ["", "{}", "[]", r#"{"message""#, r#"{"message":7}"#] {
            assert_eq!(first_string(text, "message"), None, "{text}");
        }
        assert_eq!(["", "{}", "[1]"].map(first_key), ["", "", ""]);
    }

    #[test]
    fn a_whole_object_or_array_has_nothing_missing_and_nothing_after_it() {
        for (text, expected) in [
            ("{}", true),
            (" [1, {\"a\": \"]\"}] \n", true),
            ("{\"id\"", false),
            ("{} {}", false),
            ("7", false),
            ("\"{}\"", false),
            ("", false),
            ("<html>", false),
        ] {
            assert_eq!(is_whole(text), expected, "{text}");
        }
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_panics() {
        let whole = r#"{"message": "You are being rate limited.", "retry_after": 0.65, "x": [{"é": null}], "id": 7}"#;
        for length in 0..whole.len() {
            let _ = member(&whole.as_bytes()[..length], "id");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = member(&bytes, "id");
        }
    }
}
