//! The licenses of third-party software in the executable, with their texts as each crate carries them: nearly all ask
//! whoever passes the executable on to pass their text and their copyright notice on, too.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use spdx::{ExceptionId, Expression, LicenseId, LicenseReq};

use super::components::{Component, Components, Id, Origin};
use super::read;
use crate::workspace;

/// The name of the file in packages.
pub(super) const THIRD_PARTY: &str = "THIRD-PARTY-LICENSES";

/// What names of files with licenses begin with, in lower case.
const PREFIXES: [&str; 6] = [
    "copying",
    "copyright",
    "licence",
    "license",
    "notice",
    "unlicense",
];

/// Endings of files that are no text of a license, whatever their names begin with.
const CODE: [&str; 6] = ["c", "h", "html", "json", "rs", "toml"];

/// What the LGPL asks for where a program is linked statically.
const RELINKING: &str = "\
The agents in the executable are statically linked, with the GNU C library (glibc) in them, which is under the LGPL.\n\
kinject's sources are open, and whoever changes glibc can link the agents with it again: docs/install.md, beside this\n\
file, tells how under \"Licenses\". Launcher, relay and preloaded libraries use the glibc of the machine they run on.\n";

/// The text of a license.
pub(super) struct LicenseText {
    /// The file that has it, by its path in the crate, or a name that says where else it is from.
    pub(super) source: String,
    pub(super) content: String,
}

/// The content of the file [`THIRD_PARTY`]: a list of components, then the texts that it refers to by number, each
/// once, since hundreds of crates carry the same.
pub(super) fn third_party(components: &Components) -> Result<String> {
    let mut list = format!(
        "Third-party software in kinject {}\n\n\
         The executable kinject holds the following crates and libraries under licenses of their own. Each is listed\n\
         with its license (an SPDX expression) and the numbers of the texts below that its sources carry.\n\n\
         {RELINKING}",
        workspace::VERSION
    );
    let mut texts = String::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for (id, component) in components.third_party() {
        let mut references = Vec::new();
        for text in texts_of(id, component)? {
            let next = numbers.len() + 1;
            let number = *numbers.entry(text.content.clone()).or_insert(next);
            if number == next {
                write!(texts, "\n{:=<80}\nText {number}\n\n{}\n", "", text.content)?;
            }
            references.push(format!("{number} ({})", text.source));
        }
        write!(list, "\n{id}\n    License: {}\n", component.license)?;
        if let Some(repository) = &component.repository {
            writeln!(list, "    Source: {repository}")?;
        }
        writeln!(list, "    Texts: {}", references.join(", "))?;
    }
    Ok(list + &texts)
}

/// The texts that a component carries; the standard ones of its licenses if it carries none.
pub(super) fn texts_of(id: &Id, component: &Component) -> Result<Vec<LicenseText>> {
    let mut texts = Vec::new();
    if let Origin::Registry { sources, .. } = &component.origin {
        collect(sources, "", &mut texts).with_context(|| format!("reading the licenses of {id}"))?;
    }
    if texts.is_empty() {
        texts = standard_texts(&component.license)?;
    }
    Ok(texts)
}

/// Adds the texts in a folder and those below it, sorted by their paths: crates that hold sources of others have
/// licenses beside these.
fn collect(folder: &Path, prefix: &str, texts: &mut Vec<LicenseText>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), texts)?;
        } else if kind.is_file() && is_license(&path) {
            let content = String::from_utf8_lossy(&read(&entry.path())?).replace('\r', "");
            texts.push(LicenseText {
                source: path,
                content: content.trim_end().to_owned(),
            });
        }
    }
    Ok(())
}

/// Whether a file has the text of a license, by its path in a crate.
fn is_license(path: &str) -> bool {
    let path = path.to_lowercase();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let is_code = name
        .rsplit_once('.')
        .is_some_and(|(_, ending)| CODE.contains(&ending));
    // https://reuse.software has a folder with a file for each license
    let is_named_so = folder == "licenses" || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_named_so && !is_code
}

/// The texts of all licenses that an expression names, as SPDX has them: they name no holder of the copyright.
fn standard_texts(expression: &str) -> Result<Vec<LicenseText>> {
    let mut texts = Vec::new();
    for requirement in Expression::parse(expression)?.requirements() {
        let (license, exception) = identifiers(&requirement.req)?;
        texts.push(standard_text(license.name, license.text()));
        texts.extend(exception.map(|exception| standard_text(exception.name, exception.text())));
    }
    Ok(texts)
}

fn standard_text(name: &str, text: &str) -> LicenseText {
    LicenseText {
        source: format!("the standard text of {name}"),
        content: text.trim_end().to_owned(),
    }
}

/// A license and its exception, both from SPDX's list.
pub(super) fn identifiers(requirement: &LicenseReq) -> Result<(LicenseId, Option<ExceptionId>)> {
    let unlisted = || format!("{requirement} is not in SPDX's list");
    let license = requirement.license.id().with_context(unlisted)?;
    let exception = match &requirement.addition {
        Some(addition) => Some(addition.id().with_context(unlisted)?),
        None => None,
    };
    Ok((license, exception))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::components::tests::of_executable;

    #[test]
    fn every_crate_is_listed_with_its_license_and_at_least_one_text() {
        let components = of_executable();
        let text = third_party(components).unwrap();
        for (id, component) in components.third_party() {
            let entry = text.split(&format!("\n\n{id}\n")).nth(1).unwrap();
            let entry = entry.split("\n\n").next().unwrap();
            assert!(
                entry.contains(&format!("    License: {}\n", component.license)),
                "{id}: {entry}"
            );
            let number = entry.split("    Texts: ").nth(1).unwrap();
            let number = number.split(' ').next().unwrap();
            assert!(text.contains(&format!("\nText {number}\n\n")), "{id}: {entry}");
        }
        assert_eq!(text, third_party(components).unwrap());
    }

    #[test]
    fn statically_linked_glibc_is_named_with_the_page_that_tells_how_to_link_another() {
        let text = third_party(of_executable()).unwrap();
        let (notice, list) = text.split_once("\n\nglibc").unwrap();
        assert!(notice.contains(RELINKING), "{notice}");
        assert!(list.contains("    License: LGPL-2.1-or-later\n"));
        let page = read(&workspace::root().join("docs/install.md")).unwrap();
        let page = String::from_utf8(page).unwrap();
        let section = page.split("\n## Licenses\n").nth(1).unwrap();
        assert!(
            section.contains("glibc") && section.contains("cargo xtask dist"),
            "{section}"
        );
    }

    #[test]
    fn text_that_many_crates_carry_is_printed_once() {
        let text = third_party(of_executable()).unwrap();
        let holder = "Copyright (c) Tokio Contributors";
        let carriers = text.matches("    Source: https://github.com/tokio-rs/").count();
        assert!(carriers > 2 && text.contains(holder));
        assert!(text.matches(holder).count() < carriers, "{carriers}");
    }

    #[test]
    fn crate_without_a_text_gets_the_standard_text_of_its_license() {
        let texts = standard_texts("Apache-2.0 WITH LLVM-exception OR MIT").unwrap();
        let sources: Vec<&str> = texts.iter().map(|text| text.source.as_str()).collect();
        assert_eq!(
            sources,
            [
                "the standard text of Apache-2.0",
                "the standard text of LLVM-exception",
                "the standard text of MIT"
            ]
        );
        assert!(texts[2].content.contains("Permission is hereby granted"));
    }

    #[test]
    fn files_with_texts_of_licenses_are_told_from_code() {
        for path in [
            "LICENSE",
            "LICENSE-MIT",
            "license.md",
            "COPYING",
            "NOTICE.txt",
            "third_party/fiat/LICENSE",
            "LICENSES/MIT.txt",
        ] {
            assert!(is_license(path), "{path}");
        }
        for path in ["src/license.rs", "README.md", "licenses/list.json", "src/copy.rs"] {
            assert!(!is_license(path), "{path}");
        }
    }
}
