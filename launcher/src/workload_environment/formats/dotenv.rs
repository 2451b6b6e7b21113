//! A .env file. There is no standard, and its readers (python-dotenv, node, docker compose, Ruby's dotenv, shells,
//! IDEs) differ in escapes and in what they expand:
//!
//! | in the file | node | python-dotenv | docker compose, Ruby | shells |
//! |---|---|---|---|---|
//! | `'...'` | as it is | `\\` and `\'` are escapes; `${NAME}` is expanded | as it is | as it is |
//! | `"..."` | `\n` is an escape | C's escapes; `${NAME}` is expanded | escapes; `$` is expanded | likewise |
//!
//! So a value stands without quotes, in single quotes or in double quotes, whichever all of them read alike. Where
//! there is none of these, the value is escaped as most of them have it, and the user is told. python-dotenv takes a
//! quote behind a backslash for a part of the value, even where the backslash is escaped, so that a value in quotes
//! cannot end in one.

use super::{NAME, NOT_UTF8, Reason, is_name};
use std::ffi::OsStr;

/// The line, and whether all readers read it alike.
pub(super) fn line(name: &OsStr, value: &OsStr) -> Result<(Vec<u8>, bool), Reason> {
    if !is_name(name, b".-") {
        return Err(NAME);
    }
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
        return Err(NOT_UTF8);
    };
    let (text, is_read_alike) = quoted(value)?;
    Ok((format!("{name}={text}\n").into_bytes(), is_read_alike))
}

fn quoted(value: &str) -> Result<(String, bool), Reason> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return Ok((value.to_owned(), true));
    }
    if value.ends_with('\\') {
        let needs_quotes = value.contains(['\n', '\r', '#', '\'', '"', '`']) || value.trim() != value;
        return match needs_quotes {
            true => Err("a backslash at the end of what needs quotes"),
            false => Ok((value.to_owned(), false)),
        };
    }
    if !value.contains(['\'', '\r']) && !value.contains(r"\\") {
        return Ok((format!("'{value}'"), !value.contains("${")));
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\r' => text.push_str(r"\r"),
            c => text.push(c),
        }
    }
    text.push('"');
    Ok((text, !value.contains(['"', '\\', '\r', '$', '`'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_quoted_as_all_readers_read_it_alike_or_marked() {
        for (value, text, is_read_alike) in [
            ("http://a:1/x,y+z%20@b_c-d", "http://a:1/x,y+z%20@b_c-d", true),
            ("", "''", true),
            (" a ", "' a '", true),
            ("a\nb", "'a\nb'", true),
            (r#"{"a": "$b #c"}"#, r#"'{"a": "$b #c"}'"#, true),
            (r"C:\new", r"'C:\new'", true),
            ("it's", "\"it's\"", true),
            ("it's\n#2", "\"it's\n#2\"", true),
            ("${HOME}", "'${HOME}'", false),
            ("it's $5", "\"it's $5\"", false),
            (r#"it's "x""#, r#""it's \"x\"""#, false),
            (r"\\server", r#""\\\\server""#, false),
            (r"ends in\", r"ends in\", false),
            ("a\r\nb", "\"a\\r\nb\"", false),
        ] {
            assert_eq!(quoted(value), Ok((text.to_owned(), is_read_alike)), "{value:?}");
        }
        for value in [r"it's \", "a\n\\", r"a #\", r" \"] {
            assert!(quoted(value).is_err(), "{value:?}");
        }
    }
}
