//! docker's `--env-file`: a line is a variable, without quotes or escapes. So a line break cannot be written. docker
//! takes lines below 64 KiB of UTF-8, and no name with a space in it; a line that begins with `#` is a comment.

use super::{NAME, NEWLINE, NOT_UTF8, Reason};
use std::ffi::OsStr;

/// From this length on Go's `bufio.Scanner` refuses a line, and docker the file.
const TOO_LONG: usize = 64 << 10;

pub(super) fn line(name: &OsStr, value: &OsStr) -> Result<Vec<u8>, Reason> {
    let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
        return Err(NOT_UTF8);
    };
    // a byte order mark at the beginning of the file is dropped
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}';
    if name.starts_with('#') || name.contains(is_odd) {
        return Err(NAME);
    }
    // a carriage return before the line's end belongs to it
    if value.contains('\n') || value.ends_with('\r') {
        return Err(NEWLINE);
    }
    let line = format!("{name}={value}\n");
    if line.len() >= TOO_LONG {
        return Err("more than 64 KiB");
    }
    Ok(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_line_has_the_value_as_it_is_or_says_why_not() {
        for (name, value, written) in [
            ("A", " \"q\" $x #y \\n' ", Ok("A= \"q\" $x #y \\n' \n")),
            ("A", "", Ok("A=\n")),
            ("a.b-c/ü", "a\rb", Ok("a.b-c/ü=a\rb\n")),
            ("A", "a\nb", Err(NEWLINE)),
            ("A", "a\r", Err(NEWLINE)),
            ("#A", "a", Err(NAME)),
            ("A B", "a", Err(NAME)),
        ] {
            assert_eq!(
                line(OsStr::new(name), OsStr::new(value)),
                written.map(|line: &str| line.as_bytes().to_vec()),
                "{name}={value}"
            );
        }
        let value = "x".repeat(TOO_LONG - 4);
        assert!(line(OsStr::new("A"), OsStr::new(&value)).is_ok());
        assert!(line(OsStr::new("AB"), OsStr::new(&value)).is_err());
    }
}
