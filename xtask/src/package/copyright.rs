//! Debian's file on the copyrights of a package, in its
//! [machine-readable format](https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, bail};
use spdx::Expression;
use spdx::expression::{ExprNode, Operator};

use super::LICENSE;
use super::components::{Component, Components, Id, Origin};
use super::licenses::{self, THIRD_PARTY, texts_of};
use crate::workspace;

/// Licenses whose text every Debian has, with the file's name below `/usr/share/common-licenses`.
const COMMON: [(&str, &str); 4] = [
    ("Apache-2.0", "Apache-2.0"),
    ("GPL-3.0-or-later", "GPL-3"),
    ("LGPL-2.1-or-later", "LGPL-2.1"),
    ("MPL-2.0", "MPL-2.0"),
];

/// The content of `/usr/share/doc/kinject/copyright`.
pub(super) fn debian(components: &Components) -> Result<String> {
    let own =
        std::fs::read_to_string(workspace::root().join("LICENSE-MIT")).context("reading LICENSE-MIT")?;
    let own = copyright_lines(&own);
    let mut copyright = format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: kinject\n\
         Comment: Paths below vendor are those of `cargo vendor --versioned-dirs`, paths below toolchain stand for\n \
         libraries of the compiler. The texts of licenses as each crate carries them are in {THIRD_PARTY}.\n\n\
         Files: *\n\
         Copyright: {}\n\
         License: {}\n",
        joined(&own),
        short_name(LICENSE)?
    );
    let mut licenses = BTreeMap::new();
    add_licenses(LICENSE, &mut licenses)?;
    for (id, component) in components.third_party() {
        let files = match (&component.origin, &id.version) {
            (Origin::Registry { .. }, Some(version)) => format!("vendor/{}-{version}/*", id.name),
            _ => format!("toolchain/{}/*", id.name),
        };
        write!(
            copyright,
            "\nFiles: {files}\nCopyright: {}\nLicense: {}\n",
            joined(&holders(id, component)?),
            short_name(&component.license)?
        )?;
        add_licenses(&component.license, &mut licenses)?;
    }
    for (name, text) in licenses {
        write!(copyright, "\nLicense: {name}\n{}", indented(&text))?;
    }
    Ok(copyright)
}

/// Those who hold the copyright of a component: as its licenses say, or else its authors.
fn holders(id: &Id, component: &Component) -> Result<BTreeSet<String>> {
    let texts = match component.origin {
        Origin::Registry { .. } => texts_of(id, component)?,
        // no more than the standard text is known
        Origin::Workspace | Origin::Toolchain => Vec::new(),
    };
    let mut holders: BTreeSet<String> = texts
        .iter()
        .flat_map(|text| copyright_lines(&text.content))
        .collect();
    if holders.is_empty() {
        holders.extend(component.authors.iter().cloned());
    }
    if holders.is_empty() {
        holders.insert(format!("the authors of {}", id.name));
    }
    Ok(holders)
}

/// The years and holders that follow the word "Copyright" in the lines of a license, without those lines that are
/// examples or conditions.
fn copyright_lines(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .map(|line| line.trim_matches([' ', '\t', '*', '/', '#']));
    let notices = lines.filter_map(|line| {
        let (word, rest) = line.split_at_checked("copyright".len())?;
        let holder = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ':');
        let marks = ["(c)", "(C)", "©"];
        let holder_after_mark = marks.iter().find_map(|mark| holder.strip_prefix(mark));
        let is_notice = word.eq_ignore_ascii_case("copyright")
            && (holder_after_mark.is_some() || holder.starts_with(['1', '2']))
            && !holder.contains(['<', '[', '{']);
        is_notice.then(|| holder_after_mark.unwrap_or(holder).trim())
    });
    let notices = notices.filter(|holder| !holder.is_empty());
    notices.map(str::to_owned).collect()
}

/// A field of several lines.
fn joined(lines: &BTreeSet<String>) -> String {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.join("\n ")
}

/// A text as the value of a field: indented, with a dot in empty lines.
fn indented(text: &str) -> String {
    let lines = text.lines().map(str::trim_end);
    lines
        .map(|line| match line {
            "" => " .\n".to_owned(),
            line => format!(" {line}\n"),
        })
        .collect()
}

/// Adds each license that an expression names, with its text, under the name that [`short_name`] uses.
fn add_licenses(expression: &str, licenses: &mut BTreeMap<String, String>) -> Result<()> {
    for requirement in Expression::parse(expression)?.requirements() {
        let (license, exception) = licenses::identifiers(&requirement.req)?;
        let common = COMMON.iter().find(|(name, _)| *name == license.name);
        let mut text = match common {
            Some((_, file)) => format!("On Debian systems the text is in /usr/share/common-licenses/{file}."),
            None => license.text().trim().to_owned(),
        };
        if let Some(exception) = exception {
            text = format!("{text}\n\n{}", exception.text().trim());
        }
        licenses.insert(requirement_name(&requirement.req)?, text);
    }
    Ok(())
}

/// A license, and its exception, in Debian's words.
fn requirement_name(requirement: &spdx::LicenseReq) -> Result<String> {
    Ok(match licenses::identifiers(requirement)? {
        (license, None) => license.name.to_owned(),
        (license, Some(exception)) => format!("{} with {} exception", license.name, exception.name),
    })
}

/// How tightly the parts of an expression in Debian's words belong together, from the loosest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    /// `a or b, and c`: Debian has no parentheses.
    CommaAnd,
    Or,
    And,
}

/// An SPDX expression in Debian's words: `and` before `or`, and a comma before an `and` that is to come after an `or`.
fn short_name(expression: &str) -> Result<String> {
    let mut stack: Vec<(String, Binding)> = Vec::new();
    let parsed = Expression::parse(expression)?;
    for node in parsed.iter() {
        let joined = match node {
            ExprNode::Req(requirement) => (requirement_name(&requirement.req)?, Binding::And),
            ExprNode::Op(operator) => {
                let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else {
                    bail!("{expression} has an operator without two sides");
                };
                join(left, *operator, right)
                    .with_context(|| format!("{expression} cannot be written without parentheses"))?
            }
        };
        stack.push(joined);
    }
    let (name, _) = stack.pop().context("a license expression is empty")?;
    Ok(name)
}

fn join(left: (String, Binding), operator: Operator, right: (String, Binding)) -> Option<(String, Binding)> {
    let loosest = left.1.min(right.1);
    match operator {
        Operator::Or if loosest == Binding::CommaAnd => None,
        Operator::Or => Some((format!("{} or {}", left.0, right.0), Binding::Or)),
        Operator::And if loosest == Binding::And => {
            Some((format!("{} and {}", left.0, right.0), Binding::And))
        }
        Operator::And => Some((format!("{}, and {}", left.0, right.0), Binding::CommaAnd)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::components::tests::of_executable;

    #[test]
    fn every_third_party_crate_has_a_stanza_and_every_license_named_has_a_text() {
        let components = of_executable();
        let copyright = debian(components).unwrap();
        let stanzas: Vec<&str> = copyright.split("\n\n").collect();
        assert!(stanzas[0].starts_with("Format: https://"), "{}", stanzas[0]);
        let with_text: BTreeSet<&str> = stanzas
            .iter()
            .filter_map(|stanza| stanza.strip_prefix("License: ")?.split_once('\n'))
            .map(|(name, text)| {
                assert!(!text.is_empty(), "{name}");
                name
            })
            .collect();
        let files: Vec<&str> = stanzas
            .iter()
            .copied()
            .filter(|stanza| stanza.starts_with("Files: "))
            .collect();
        assert_eq!(files.len(), components.third_party().count() + 1);
        assert!(
            files
                .iter()
                .any(|stanza| stanza.starts_with("Files: vendor/kube-"))
        );
        for stanza in files {
            let (_, holders) = stanza.split_once("\nCopyright: ").unwrap();
            let (holders, license) = holders.split_once("\nLicense: ").unwrap();
            assert!(!holders.is_empty(), "{stanza}");
            for name in license.trim().split(", and ").flat_map(|part| part.split(" or ")) {
                for name in name.split(" and ") {
                    assert!(with_text.contains(name), "{name} of {stanza}");
                }
            }
        }
    }

    #[test]
    fn license_expression_is_written_in_the_words_of_debian() {
        for (spdx, debian) in [
            ("MIT", "MIT"),
            ("MIT OR Apache-2.0", "MIT or Apache-2.0"),
            ("Apache-2.0 AND ISC", "Apache-2.0 and ISC"),
            (
                "(MIT OR Apache-2.0) AND Unicode-3.0",
                "MIT or Apache-2.0, and Unicode-3.0",
            ),
            (
                "Unicode-3.0 AND (MIT OR Apache-2.0)",
                "Unicode-3.0, and MIT or Apache-2.0",
            ),
            (
                "Apache-2.0 WITH LLVM-exception OR MIT",
                "Apache-2.0 with LLVM-exception exception or MIT",
            ),
        ] {
            assert_eq!(short_name(spdx).unwrap(), debian);
        }
        let error = short_name("ISC OR (MIT AND (Zlib OR Apache-2.0))").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("cannot be written without parentheses"),
            "{error}"
        );
    }

    #[test]
    fn holder_of_the_copyright_is_told_from_examples_and_conditions() {
        let text = "MIT License\n\nCopyright (c) 2019 Ada Lovelace\n   Copyright [yyyy] [name of copyright owner]\n\
                    Copyright (c) <year> <copyright holders>\nThe above copyright notice shall be included\n\
                    copyright license to reproduce\n// Copyright 2015-2020 Brian Smith.\nCopyright © 2001 The Authors\n";
        let lines: Vec<String> = copyright_lines(text).into_iter().collect();
        assert_eq!(
            lines,
            ["2001 The Authors", "2015-2020 Brian Smith.", "2019 Ada Lovelace"]
        );
    }
}
