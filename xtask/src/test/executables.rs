//! The test executables that cargo built, from its messages (`--message-format=json`).

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// A test executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    /// The suite that it belongs to: its package's folder, for integration tests with their name.
    pub(crate) suite: String,
    /// The package's name, as cargo's `--package` takes it.
    pub(crate) package: String,
    pub(crate) file: PathBuf,
    /// The package's folder, in which cargo would run it.
    pub(crate) folder: PathBuf,
}

/// Reads cargo's messages to their end; the executables come in the order of their suites.
pub(crate) fn read(messages: impl BufRead, root: &Path) -> Result<Vec<Executable>> {
    let mut executables = Vec::new();
    for line in messages.lines() {
        let line = line.context("cannot read cargo's messages")?;
        let message: Value = serde_json::from_str(&line)
            .with_context(|| format!("a message of cargo's is not JSON: {line}"))?;
        executables.extend(test_of(&message, root));
    }
    executables.sort_by(|one, other| (&one.suite, &one.file).cmp(&(&other.suite, &other.file)));
    Ok(executables)
}

fn test_of(message: &Value, root: &Path) -> Option<Executable> {
    if message["profile"]["test"] != true {
        return None;
    }
    let file = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let name = folder.strip_prefix(root).unwrap_or(&folder).display().to_string();
    let target = &message["target"];
    let is_integration = target["kind"]
        .as_array()
        .is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
    let suite = match target["name"].as_str() {
        Some(target) if is_integration => format!("{name}: {target}"),
        _ => name,
    };
    // path+file:///top/agent#kinject-agent@0.1.0, or path+file:///top/agent#0.1.0 where the folder bears the name
    let id = message["package_id"].as_str()?;
    let (path, version) = id.rsplit_once('#')?;
    let package = match version.split_once('@') {
        Some((package, _)) => package,
        None => path.rsplit('/').next()?,
    };
    Some(Executable {
        suite,
        package: package.to_owned(),
        file,
        folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","package_id":"path+file:///top/tests#kinject-tests@0.1.0","manifest_path":"/top/tests/Cargo.toml","target":{"kind":["test"],"name":"contract"},"profile":{"test":true},"executable":"/top/target/debug/deps/contract-2"}
{"reason":"compiler-artifact","package_id":"path+file:///top/agent#kinject-agent@0.1.0","manifest_path":"/top/agent/Cargo.toml","target":{"kind":["bin"],"name":"kinject-agent"},"profile":{"test":true},"executable":"/top/target/debug/deps/kinject_agent-1"}
{"reason":"compiler-artifact","package_id":"path+file:///top/agent#kinject-agent@0.1.0","manifest_path":"/top/agent/Cargo.toml","target":{"kind":["bin"],"name":"kinject-agent"},"profile":{"test":false},"executable":"/top/target/debug/kinject-agent"}
{"reason":"compiler-artifact","package_id":"path+file:///top/xtask#0.1.0","manifest_path":"/top/xtask/Cargo.toml","target":{"kind":["bin"],"name":"xtask"},"profile":{"test":true},"executable":"/top/target/debug/deps/xtask-3"}
{"reason":"build-finished","success":true}
"#;

    #[test]
    fn test_executables_are_listed_by_suite_with_package_and_folder() {
        let found = read(MESSAGES.as_bytes(), Path::new("/top")).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|it| {
                (
                    it.suite.as_str(),
                    it.package.as_str(),
                    it.file.to_str().unwrap(),
                    it.folder.to_str().unwrap(),
                )
            })
            .collect();
        let deps = |name: &str| format!("/top/target/debug/deps/{name}");
        assert_eq!(
            found,
            [
                (
                    "agent",
                    "kinject-agent",
                    deps("kinject_agent-1").as_str(),
                    "/top/agent"
                ),
                (
                    "tests: contract",
                    "kinject-tests",
                    &deps("contract-2"),
                    "/top/tests"
                ),
                ("xtask", "xtask", &deps("xtask-3"), "/top/xtask"),
            ]
        );
    }

    #[test]
    fn non_json_line_is_an_error() {
        assert!(read("warning: words\n".as_bytes(), Path::new("/top")).is_err());
    }
}
