//! What the executable is made of: the crates that are compiled into the programs and libraries it holds, and the
//! libraries of the toolchain that are linked into them.
//!
//! `cargo tree` resolves each part as the build does, with its own features and target, and without what only builds
//! or tests it. `cargo metadata` knows more of each crate, but merges the features of the whole workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use kinject_bundle::Architecture;
use serde_json::Value;
use spdx::Expression;

use super::read;
use crate::{cargo, process, workspace};

/// Libraries that come with the toolchain, with their licenses.
const TOOLCHAIN: [(&str, &str); 4] = [
    ("rust-std", "MIT OR Apache-2.0"),
    // linked statically into the agents
    ("glibc", "LGPL-2.1-or-later"),
    ("libgcc", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    // Zig links it into the launcher in the place of libgcc
    ("llvm-libunwind", "Apache-2.0 WITH LLVM-exception"),
];

/// A component's name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) name: String,
    /// None for a library whose version the toolchain does not tell.
    pub(super) version: Option<String>,
}

impl Id {
    fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: Some(version.to_owned()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{} {version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A crate or a library.
pub(super) struct Component {
    /// The license as its authors state it, in the syntax of SPDX.
    pub(super) license: String,
    pub(super) authors: Vec<String>,
    pub(super) repository: Option<String>,
    pub(super) origin: Origin,
    /// The crates that it calls.
    pub(super) dependencies: BTreeSet<Id>,
}

/// Where a component comes from.
pub(super) enum Origin {
    /// This workspace.
    Workspace,
    /// crates.io.
    Registry {
        /// The SHA-256 of the crate's archive.
        checksum: String,
        /// Where cargo has unpacked it.
        sources: PathBuf,
    },
    /// The compiler and the linker.
    Toolchain,
}

/// All components of an executable.
pub(super) struct Components {
    pub(super) all: BTreeMap<Id, Component>,
    /// Those that no other one calls: the programs and libraries that the executable holds, and the toolchain's.
    pub(super) roots: BTreeSet<Id>,
}

/// A program or library that is built by a cargo command of its own.
struct Part {
    package: &'static str,
    features: &'static str,
    architecture: Architecture,
}

impl Components {
    /// The components of the executable for one architecture that carries agents for these.
    pub(super) fn of_executable(architecture: Architecture, agents: &[Architecture]) -> Result<Self> {
        let mut parts = vec![
            Part {
                package: "kinject",
                features: "bundle",
                architecture,
            },
            Part {
                package: "kinject-preload",
                features: "",
                architecture,
            },
        ];
        for &architecture in agents {
            parts.push(Part {
                package: "kinject-agent",
                features: "",
                architecture,
            });
            parts.push(Part {
                package: "kinject-loader",
                features: "freestanding",
                architecture,
            });
        }
        let mut graph = Graph::default();
        for part in &parts {
            graph.add_tree(&part.tree()?)?;
        }
        let targets: BTreeSet<String> = parts.iter().map(|part| target(part.architecture)).collect();
        let mut components = Self::describe(graph, &metadata(&targets)?)?;
        components.add_toolchain(&rust_version()?);
        Ok(components)
    }

    /// Adds to the graph's crates what cargo knows of them.
    fn describe(graph: Graph, metadata: &Value) -> Result<Self> {
        let packages = metadata["packages"]
            .as_array()
            .context("`cargo metadata` lists no packages")?;
        let packages: BTreeMap<Id, &Value> = packages
            .iter()
            .filter_map(|package| {
                let id = Id::new(package["name"].as_str()?, package["version"].as_str()?);
                Some((id, package))
            })
            .collect();
        let lock = String::from_utf8(read(&workspace::root().join("Cargo.lock"))?)?;
        let checksums = checksums(&lock);
        let mut all = BTreeMap::new();
        for (id, dependencies) in graph.dependencies {
            let package = packages
                .get(&id)
                .with_context(|| format!("`cargo metadata` does not know {id}"))?;
            let component = component(package, checksums.get(&id), dependencies)
                .with_context(|| format!("looking up {id}"))?;
            all.insert(id, component);
        }
        Ok(Self {
            all,
            roots: graph.roots,
        })
    }

    fn add_toolchain(&mut self, rust_version: &str) {
        for (name, license) in TOOLCHAIN {
            let id = Id {
                name: name.to_owned(),
                version: (name == "rust-std").then(|| rust_version.to_owned()),
            };
            let component = Component {
                license: license.to_owned(),
                authors: Vec::new(),
                repository: None,
                origin: Origin::Toolchain,
                dependencies: BTreeSet::new(),
            };
            self.roots.insert(id.clone());
            self.all.insert(id, component);
        }
    }

    /// Those that others have written.
    pub(super) fn third_party(&self) -> impl Iterator<Item = (&Id, &Component)> {
        self.all
            .iter()
            .filter(|(_, component)| !matches!(component.origin, Origin::Workspace))
    }
}

impl Part {
    /// The tree of crates that are compiled into this part.
    fn tree(&self) -> Result<String> {
        process::output(
            cargo::command()
                .args(["tree", "--locked", "--package", self.package])
                .args(["--features", self.features])
                .args(["--target", &target(self.architecture)])
                .args(["--edges", "normal,no-proc-macro"])
                .args(["--prefix", "depth", "--format", " {p}"]),
        )
    }
}

/// The name by which rustc knows the target for an architecture.
pub(super) fn target(architecture: Architecture) -> String {
    format!("{}-unknown-linux-gnu", architecture.rust_name())
}

fn metadata(targets: &BTreeSet<String>) -> Result<Value> {
    let mut command = cargo::command();
    command.args(["metadata", "--locked", "--format-version", "1"]);
    command.args(["--features", "kinject/bundle"]);
    for target in targets {
        command.args(["--filter-platform", target]);
    }
    serde_json::from_str(&process::output(&mut command)?).context("`cargo metadata` does not write JSON")
}

fn rust_version() -> Result<String> {
    let version = process::output(
        Command::new("rustc")
            .current_dir(workspace::root())
            .arg("--version"),
    )?;
    let number = version.split_whitespace().nth(1);
    number
        .map(str::to_owned)
        .with_context(|| format!("`rustc --version` names no version: {}", version.trim()))
}

/// Which crate calls which.
#[derive(Default)]
struct Graph {
    dependencies: BTreeMap<Id, BTreeSet<Id>>,
    roots: BTreeSet<Id>,
}

impl Graph {
    /// Adds the output of `cargo tree --prefix depth`: a line `DEPTH NAME vVERSION` for each crate, below the crate
    /// that calls it. Only the first of several lines for one crate is followed by what it calls.
    fn add_tree(&mut self, tree: &str) -> Result<()> {
        let mut callers: Vec<Id> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let (Some(depth), Some(name), Some(version)) = (words.next(), words.next(), words.next()) else {
                bail!("`cargo tree` writes a line without a crate: {line}");
            };
            let depth: usize = depth
                .parse()
                .with_context(|| format!("`cargo tree` writes a line without a depth: {line}"))?;
            let id = Id::new(name, version.trim_start_matches('v'));
            callers.truncate(depth);
            match callers.last() {
                Some(caller) => {
                    let dependencies = self.dependencies.entry(caller.clone()).or_default();
                    dependencies.insert(id.clone());
                }
                None => {
                    self.roots.insert(id.clone());
                }
            }
            self.dependencies.entry(id.clone()).or_default();
            callers.push(id);
        }
        Ok(())
    }
}

/// The checksums of the crates in a Cargo.lock; those of the workspace have none.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let packages = lock.split("[[package]]").filter_map(|package| {
        let value = |key: &str| {
            package
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let id = Id::new(value("name")?, value("version")?);
        Some((id, value("checksum")?.to_owned()))
    });
    packages.collect()
}

/// A crate as `cargo metadata` describes it.
fn component(package: &Value, checksum: Option<&String>, dependencies: BTreeSet<Id>) -> Result<Component> {
    let origin = if package["source"].is_null() {
        Origin::Workspace
    } else {
        let manifest = package["manifest_path"].as_str().map(PathBuf::from);
        let sources = manifest.and_then(|manifest| manifest.parent().map(PathBuf::from));
        Origin::Registry {
            checksum: checksum.context("Cargo.lock has no checksum of it")?.clone(),
            sources: sources.context("its folder is unknown")?,
        }
    };
    let authors = package["authors"].as_array().into_iter().flatten();
    Ok(Component {
        license: license(package["license"].as_str())?,
        authors: authors.filter_map(Value::as_str).map(str::to_owned).collect(),
        repository: package["repository"].as_str().map(str::to_owned),
        origin,
        dependencies,
    })
}

/// A license expression in the syntax of SPDX. Older crates write `MIT/Apache-2.0` and the like.
fn license(stated: Option<&str>) -> Result<String> {
    let stated = stated.context("its manifest states no license")?;
    let wrong = || format!("its manifest states a license that SPDX does not know: {stated}");
    let license = Expression::canonicalize(stated).with_context(wrong)?;
    let license = license.unwrap_or_else(|| stated.to_owned());
    Expression::parse(&license).with_context(wrong)?;
    Ok(license)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::LazyLock;

    /// The components of an executable for x86-64; cargo is asked once for all tests.
    pub(in crate::package) fn of_executable() -> &'static Components {
        static COMPONENTS: LazyLock<Components> =
            LazyLock::new(|| Components::of_executable(Architecture::Amd64, &[Architecture::Amd64]).unwrap());
        &COMPONENTS
    }

    #[test]
    fn crates_of_every_part_are_listed_and_those_for_builds_or_tests_are_not() {
        let components = of_executable();
        let names: BTreeSet<&str> = components.all.keys().map(|id| id.name.as_str()).collect();
        for (name, part) in [
            ("clap", "launcher"),
            ("kube", "relay"),
            ("redhook", "preloaded library"),
            ("nix", "agent"),
            ("syscalls", "loader"),
            ("rust-std", "all"),
        ] {
            assert!(names.contains(name), "{name} of the {part}");
        }
        for (name, why) in [
            ("proptest", "only tests use it"),
            ("cc", "only build scripts use it"),
            ("serde_derive", "it runs in the compiler"),
            ("windows-sys", "it is for another system"),
            ("object", "only xtask uses it"),
        ] {
            assert!(!names.contains(name), "{name}: {why}");
        }
        let roots: Vec<&str> = components.roots.iter().map(|id| id.name.as_str()).collect();
        assert_eq!(
            roots,
            [
                "glibc",
                "kinject",
                "kinject-agent",
                "kinject-loader",
                "kinject-preload",
                "libgcc",
                "llvm-libunwind",
                "rust-std"
            ]
        );
    }

    #[test]
    fn tree_with_a_repeated_crate_becomes_one_graph() {
        let mut graph = Graph::default();
        graph
            .add_tree("0 top v1.0.0 (/folder)\n1 a v1.2.0\n2 b v0.1.0\n1 b v0.1.0\n1 c v3.0.0 (*)\n")
            .unwrap();
        let names = |name: &str, version: &str| -> Vec<String> {
            let dependencies = &graph.dependencies[&Id::new(name, version)];
            dependencies.iter().map(Id::to_string).collect()
        };
        assert_eq!(names("top", "1.0.0"), ["a 1.2.0", "b 0.1.0", "c 3.0.0"]);
        assert_eq!(names("a", "1.2.0"), ["b 0.1.0"]);
        assert!(names("b", "0.1.0").is_empty());
        assert_eq!(graph.roots.len(), 1);
        assert!(graph.add_tree("no depth").is_err());
    }

    #[test]
    fn license_is_written_as_spdx_has_it_and_an_unknown_one_is_refused() {
        assert_eq!(license(Some("MIT/Apache-2.0")).unwrap(), "MIT OR Apache-2.0");
        assert_eq!(license(Some("ISC")).unwrap(), "ISC");
        let error = license(Some("Beerware of my own")).unwrap_err();
        assert!(error.to_string().contains("Beerware of my own"), "{error}");
        assert!(license(None).is_err());
    }

    #[test]
    fn checksum_is_found_for_crates_of_the_registry_alone() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"0123\"\n\n\
                    [[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
        let checksums = checksums(lock);
        assert_eq!(checksums.len(), 1);
        assert_eq!(checksums[&Id::new("a", "1.0.0")], "0123");
    }
}
