//! The page of the documentation that a proof keeps: its prose and the known differences are written by people, the
//! results between two marks by the proof.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const BEGIN: &str = "<!-- results -->\n";
const END: &str = "<!-- end of results -->\n";
const KNOWN: &str = "## Known differences";

/// A page of the documentation.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    text: String,
}

/// A difference whose cause is known: a row of the page's table.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What differs: the first column.
    pub what: String,
    /// Where in it: the second column. `*` is everywhere, `NAME*` wherever it begins so, `*NAME` where it ends so.
    pub part: String,
}

impl Page {
    /// Reads a page of `docs`.
    pub fn read(name: &str) -> Result<Self> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let path = docs.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("reading docs/{name}"))?;
        Ok(Self { path, text })
    }

    /// Whether the page gives the cause of a difference.
    pub fn knows(&self, what: &str, part: &str) -> bool {
        let mut known = known(&self.text).into_iter();
        known.any(|row| row.what == what && matches(&row.part, part))
    }

    /// Puts new results in the place of the old ones.
    pub fn write(&self, results: &str) -> Result<()> {
        let text = replaced(&self.text, results).context("the page has no marks for the results")?;
        fs::write(&self.path, text).with_context(|| format!("writing {}", self.path.display()))
    }
}

fn known(page: &str) -> Vec<Known> {
    let section = page.split_once(KNOWN).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    // the head and the line under it
    rows.skip(2)
        .filter_map(|row| {
            let mut cells = row
                .split(" | ")
                .map(|cell| cell.trim_matches(['`', ' ']).to_owned());
            Some(Known {
                what: cells.next()?,
                part: cells.next()?,
            })
        })
        .collect()
}

fn matches(pattern: &str, part: &str) -> bool {
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(begin), _) => part.starts_with(begin),
        (None, Some(end)) => part.ends_with(end),
        (None, None) => pattern == part,
    }
}

fn replaced(page: &str, results: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{results}{END}{after}"))
}

/// A table in Markdown that reads well as text, too.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |column: usize| {
        rows.iter()
            .filter_map(move |row| row.get(column).map(String::as_str))
    };
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let widths = cells(column)
                .chain([head[column]])
                .map(|cell| cell.chars().count());
            widths.max().unwrap_or_default()
        })
        .collect();
    let line = |row: Vec<&str>| {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("| {cell:width$} "));
        padded.collect::<String>() + "|\n"
    };
    let dashes: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(head.to_vec()) + &line(dashes.iter().map(String::as_str).collect());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n<!-- results -->\nold\n<!-- end of results -->\n\n## Known differences\n\n\
                        | runtime | case | cause |\n| --- | --- | --- |\n| `go` | * | no libc |\n\
                        | x y | a.* | b |\n\n## Else\n\n| no | row | here |\n";

    #[test]
    fn known_differences_are_parsed_from_their_table() {
        let rows = known(PAGE);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.what.as_str(), row.part.as_str()))
            .collect();
        assert_eq!(rows, [("go", "*"), ("x y", "a.*")]);
        assert!(
            matches("a.*", "a.b")
                && matches("*b", "a.b")
                && !matches("a.*", "b")
                && matches("a", "a")
                && !matches("a", "ab")
        );
    }

    #[test]
    fn new_results_replace_the_text_between_the_markers() {
        let page = replaced(PAGE, "new\n").unwrap();
        assert!(page.contains("<!-- results -->\nnew\n<!-- end") && !page.contains("old"));
        assert_eq!(replaced("no marks", ""), None);
    }

    #[test]
    fn columns_of_a_table_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["1".to_owned(), "wide".to_owned()]];
        assert_eq!(
            table(&["a", "b"], &rows),
            "| a | b    |\n| - | ---- |\n| 1 | wide |\n"
        );
    }
}
