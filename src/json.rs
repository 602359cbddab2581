//! The JSON that this program needs (RFC 8259): writes values, finds members of an object, checks a text.

/// How deep a text that is checked may be nested.
#[cfg(feature = "webhook")]
const DEPTH: usize = 32;

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

/// Whether a text is JSON: one object or array, nested no deeper than 32 levels, and nothing behind it.
#[cfg(feature = "webhook")]
pub fn is_json(text: &str) -> bool {
    let text = text.trim_matches(SPACE);
    text.starts_with(['{', '[']) && after_value(text, DEPTH) == Some("")
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

#[cfg(feature = "webhook")]
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// What follows one value and the space behind it. `None`: there is no value.
#[cfg(feature = "webhook")]
fn after_value(text: &str, depth: usize) -> Option<&str> {
    let rest = match text.as_bytes().first()? {
        b'{' => after_list(&text[1..], '}', |member| {
            let value = after_string(member)?.trim_start_matches(SPACE).strip_prefix(':')?;
            after_value(value.trim_start_matches(SPACE), depth.checked_sub(1)?)
        }),
        b'[' => after_list(&text[1..], ']', |element| after_value(element, depth.checked_sub(1)?)),
        b'"' => after_string(text),
        b't' => text.strip_prefix("true"),
        b'f' => text.strip_prefix("false"),
        b'n' => text.strip_prefix("null"),
        _ => after_number(text),
    };
    rest.map(|rest| rest.trim_start_matches(SPACE))
}

/// What follows a list of values, its end included.
#[cfg(feature = "webhook")]
fn after_list<'t>(text: &'t str, end: char, after: impl Fn(&'t str) -> Option<&'t str>) -> Option<&'t str> {
    let mut text = text.trim_start_matches(SPACE);
    if let Some(rest) = text.strip_prefix(end) {
        return Some(rest);
    }
    loop {
        let rest = after(text)?;
        match rest.strip_prefix(',') {
            Some(next) => text = next.trim_start_matches(SPACE),
            None => return rest.strip_prefix(end),
        }
    }
}

#[cfg(feature = "webhook")]
fn after_string(text: &str) -> Option<&str> {
    let mut characters = text.strip_prefix('"')?.chars();
    loop {
        match characters.next()? {
            '"' => return Some(characters.as_str()),
            '\\' => match characters.next()? {
                'u' if (0..4).all(|_| characters.next().is_some_and(|digit| digit.is_ascii_hexdigit())) => {}
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => {}
                _ => return None,
            },
            '\0'..' ' => return None,
            _ => {}
        }
    }
}

#[cfg(feature = "webhook")]
fn after_number(text: &str) -> Option<&str> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = text.strip_prefix('-').unwrap_or(text);
    let mut rest = match digits(whole) {
        0 => return None,
        // No number begins with another zero.
        _ if whole.starts_with('0') => &whole[1..],
        count => &whole[count..],
    };
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = &fraction[Some(digits(fraction)).filter(|count| *count > 0)?..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        rest = &exponent[Some(digits(exponent)).filter(|count| *count > 0)?..];
    }
    Some(rest)
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

    /// serde's reader is another one's idea of the same standard.
    #[cfg(feature = "webhook")]
    #[test]
    fn a_text_is_json_where_another_reader_says_so_too() {
        let whole = r#" {"a":[1,-0.5e+3,{},[ ]],"b" : {"\u00e9\n\/":"é王"},"c":[true,false,null,0,1E9,""]} "#;
        assert!(is_json(whole));
        let mut texts = ["{}", "[]", "[01]", "[1.]", "[.5]", "[-]", "[1e]", "[+1]", "{,}", "[1,]", "[,1]", "{\"a\"}"]
            .map(String::from)
            .to_vec();
        texts.extend(
            ["{\"a\":1,}", "{a:1}", "['a']", "[\"\t\"]", "[\"\\x\"]", "[\"\\u12\"]", "[tru]"].map(String::from),
        );
        texts.extend((0..whole.len()).filter_map(|length| whole.get(..length)).map(String::from));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            texts.extend(String::from_utf8(bytes));
        }
        for text in &texts {
            let others = serde_json::from_str::<serde_json::Value>(text);
            // Another one's numbers have a largest.
            let is_out_of_range = others.as_ref().is_err_and(|why| why.to_string().contains("out of range"));
            let is_list = others.is_ok_and(|value| value.is_object() || value.is_array());
            assert_eq!(is_json(text), is_list || is_out_of_range, "{text}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(is_json(&nested(DEPTH)) && !is_json(&nested(DEPTH + 2)) && !is_json(&nested(1_000_000)));
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
