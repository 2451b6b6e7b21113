//! The first line of a script, as the kernel reads it (execve(2), "Interpreter scripts").

/// How much of a script the kernel looks at.
const LINE: usize = 256;

/// The interpreter that a script names: the first word behind `#!`. None if the file is no script, or one that the
/// kernel refuses.
#[inline]
pub fn interpreter(head: &[u8]) -> Option<&[u8]> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.get(..LINE.saturating_sub(2)).unwrap_or(line);
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !is_blank(byte))?;
    let words = line.get(begin..)?;
    let ends = |byte: &u8| is_blank(byte) || matches!(byte, b'\n' | 0);
    // a path that the line's end cuts is no path
    let end = match words.iter().position(ends) {
        Some(end) => end,
        None if head.len() < LINE => words.len(),
        None => return None,
    };
    words.get(..end).filter(|path| !path.is_empty())
}
