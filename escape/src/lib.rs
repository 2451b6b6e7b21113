//! Escapes foreign text for one line of a terminal or a log.
//!
//! Events, a pod's status, host names and file names are written by others, and kinject prints them to its user. A
//! terminal executes escape sequences in them, text after a newline looks like a line of kinject's own, and invisible
//! characters or marks of direction disguise text. So every process of kinject prints through this crate, whatever the
//! text's origin:
//!
//! | in the text | printed |
//! |---|---|
//! | control characters (C0, DEL, C1) | `\n`, `\t`, `\r`, `\0`, otherwise `\u{1b}` |
//! | line and paragraph separators, marks of direction, characters without a glyph, unassigned ones | `\u{202e}` |
//! | bytes that are not UTF-8 | `\xff` |
//! | all other characters, of any script, and the backslash | unchanged |
//!
//! The backslash is not escaped because the text is for people: a path with one stays a path, and text that one process
//! has escaped is unchanged when another one prints it. The drawback is that `\n` in a line may have been a newline or
//! these two characters.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// The maximum number of characters of a [`line()`].
pub const LONGEST: usize = 2000;

/// The end of a line that was cut.
const ELLIPSIS: &str = "...";

/// One line of at most [`LONGEST`] characters, without anything that a terminal executes.
pub fn line(text: impl Display) -> String {
    let mut line = Line::default();
    // the line accepts all text: an error is that of the value's own `Display`
    let _unfinished = write!(line, "{text}").is_err();
    line.text
}

/// The same for bytes that need not be UTF-8, such as paths and names of programs.
pub fn bytes(text: &[u8]) -> String {
    let mut line = Line::default();
    for chunk in text.utf8_chunks() {
        line.push_str(chunk.valid());
        for byte in chunk.invalid() {
            line.push_form(&format!("\\x{byte:02x}"));
        }
    }
    line.text
}

/// The same for a path.
pub fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_encoded_bytes())
}

/// The same for each line of a text, such as the output of a tool that failed.
pub fn lines(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

/// A name as one word of a shell, for commands that are printed to be copied.
pub fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        line(name)
    } else {
        format!("'{}'", line(name).replace('\'', r"'\''"))
    }
}

/// A line that is being built.
#[derive(Default)]
struct Line {
    text: String,
    characters: usize,
    /// How many bytes of the text can be kept if an ellipsis has to follow.
    room: usize,
    is_cut: bool,
}

impl Line {
    fn push_str(&mut self, text: &str) {
        for c in text.chars() {
            if self.is_cut {
                return;
            }
            if is_shown(c) {
                self.push_form(c.encode_utf8(&mut [0; 4]));
            } else if c.is_control() {
                // the short forms of the common ones
                self.push_form(&c.escape_debug().to_string());
            } else {
                self.push_form(&c.escape_unicode().to_string());
            }
        }
    }

    /// Appends the form of one character, as a whole or not at all.
    fn push_form(&mut self, piece: &str) {
        if self.is_cut {
            return;
        }
        self.characters += piece.chars().count();
        if self.characters > LONGEST {
            self.text.truncate(self.room);
            self.text.push_str(ELLIPSIS);
            self.is_cut = true;
            return;
        }
        self.text.push_str(piece);
        if self.characters <= LONGEST - ELLIPSIS.len() {
            self.room = self.text.len();
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// Whether a character is printed unchanged.
fn is_shown(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{2028}' | '\u{2029}' => false,
        // letters and marks without a glyph, which the standard library does not tell from others: the grapheme joiner,
        // fillers of Hangul, Khmer's inherent vowels, variation selectors
        '\u{34f}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0100}'..='\u{e01ef}' => false,
        _ if c.is_control() => false,
        // spaces of other widths
        _ if c.is_whitespace() => true,
        _ => is_printable(c),
    }
}

/// By the standard library's table: format characters, private and unassigned ones are not printable.
fn is_printable(c: char) -> bool {
    // combining marks are escaped only at the beginning of a text, so a letter is put before the character
    let mut text = [b'o', 0, 0, 0, 0];
    let [_, rest @ ..] = &mut text;
    let length = 1 + c.encode_utf8(rest).len();
    let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok());
    text.is_some_and(|text| text.escape_debug().count() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Characters that a line must not contain: a terminal executes them, or they are invisible.
    fn is_dangerous(c: char) -> bool {
        c.is_control()
            || matches!(c,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}')
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let shown = line(c);
            assert!(!shown.contains(is_dangerous), "{:x}: {shown:?}", u32::from(c));
            if is_dangerous(c) {
                assert!(
                    shown.is_ascii() && shown.starts_with('\\'),
                    "{:x}: {shown}",
                    u32::from(c)
                );
            }
        }
    }

    #[test]
    fn printable_text_of_any_script_is_unchanged() {
        for text in [
            r#"jobs.batch is forbidden: User "a" cannot create resource "jobs" \ 'x'"#,
            "Erreur\u{a0}: accès refusé",
            "権限がありません\u{3000}はい",
            "ไม่พบเซิร์ฟเวอร์",
            "שלום, नमस्ते, e\u{301}, 🦀",
        ] {
            assert_eq!(line(text), text);
            assert_eq!(bytes(text.as_bytes()), text);
        }
    }

    #[test]
    fn escaped_text_shows_every_character_of_the_original() {
        assert_eq!(
            line("no\r\n\n\thint: \x1b[31mobey\x1b]0;me\x07\u{9b}2J\u{202e}"),
            r"no\r\n\n\thint: \u{1b}[31mobey\u{1b}]0;me\u{7}\u{9b}2J\u{202e}"
        );
        assert_eq!(bytes(b"/tmp/\xff\xfe\0\x1b/ok"), r"/tmp/\xff\xfe\0\u{1b}/ok");
        assert_eq!(lines("one\x1b\ntwo\n"), "one\\u{1b}\ntwo\n");
    }

    #[test]
    fn long_text_is_cut_between_characters_and_escapes() {
        let shown = line("e".repeat(5 << 20));
        assert_eq!(shown, format!("{}...", "e".repeat(LONGEST - 3)));
        let shown = line("\x1b".repeat(LONGEST));
        assert!(shown.ends_with(r"\u{1b}..."), "{shown}");
        let fits = "e".repeat(LONGEST);
        assert_eq!(line(&fits), fits);
        assert_eq!(bytes(&[0xff; 1 << 20]).len() % 4, 3);
    }

    #[test]
    fn name_with_special_characters_is_quoted_as_one_shell_word() {
        assert_eq!(word("kinject-agent-0123abcd"), "kinject-agent-0123abcd");
        assert_eq!(word("x; reboot"), "'x; reboot'");
        assert_eq!(word("x'$(reboot)\n"), r"'x'\''$(reboot)\n'");
        assert_eq!(word(""), "''");
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_line_without_control_characters(
            text in "(?s).*",
            more in any::<Vec<u8>>(),
        ) {
            for shown in [line(&text), bytes(text.as_bytes()), bytes(&more), word(&text)] {
                prop_assert!(!shown.contains(is_dangerous), "{shown:?}");
                prop_assert_eq!(shown.lines().count().max(1), 1);
            }
        }

        #[test]
        fn escaped_text_is_unchanged_when_escaped_again(text in "(?s).*") {
            let once = line(&text);
            prop_assert_eq!(line(&once), once.clone());
            prop_assert_eq!(bytes(once.as_bytes()), once);
        }
    }
}
