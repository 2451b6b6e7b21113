//! `kinject version`: the version, and the version, hash and size of each part.

use crate::cli::VersionFormat;
use crate::exit::{Failure, Status};
use crate::library::{self, Build};
use crate::{installation, output, relay};
use kinject_protocol::description::AgentDescription;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::Path;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that a distribution was built from.
const COMMIT: Option<&str> = option_env!("KINJECT_COMMIT");

/// Prints the version, or a description of all parts.
pub(crate) fn print(format: Option<VersionFormat>) -> Result<Status, Failure> {
    let text = match format {
        None => format!("kinject {VERSION}"),
        Some(VersionFormat::Json) => format!("{:#}", describe()?),
    };
    output::print(format!("{text}\n").as_bytes())
}

fn describe() -> Result<Value, Failure> {
    let description = relay::describe()?;
    let mut kinject = file(&installation::own_file()?)?;
    kinject["path"] = json!(installation::path()?.to_string_lossy());
    let mut relay = match cfg!(feature = "bundle") {
        true => kinject.clone(),
        false => file(&relay::find()?)?,
    };
    relay["version"] = json!(description.version);
    let libraries = library::builds()?;
    let libraries: Vec<Value> = libraries.iter().map(build).collect::<Result<_, _>>()?;
    let agents: Vec<Value> = description.agents.iter().map(agent).collect();
    Ok(json!({
        "version": VERSION,
        "commit": COMMIT,
        "wire": description.wire,
        "kinject": kinject,
        "relay": relay,
        "libraries": libraries,
        "agents": agents,
    }))
}

/// A build of the library; one that the executable holds has no path.
fn build(build: &Build) -> Result<Value, Failure> {
    let (glibc, mut described) = match build {
        Build::Embedded(library) => (
            Some(library.glibc),
            json!({"path": null, "sha256": library.sha256, "size": library.content.len()}),
        ),
        Build::Installed { path, glibc } => (*glibc, file(path)?),
    };
    described["glibc"] = json!(glibc.map(|(major, minor)| format!("{major}.{minor}")));
    Ok(described)
}

fn agent(agent: &AgentDescription) -> Value {
    json!({
        "architecture": agent.architecture,
        "sha256": agent.sha256,
        "packedSize": agent.packed_size,
        "loaderSize": agent.loader_size,
    })
}

/// A file's path, SHA-256 and size.
fn file(path: &Path) -> Result<Value, Failure> {
    let mut hasher = Sha256::new();
    let size = File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|error| {
            Failure::own(
                format!("cannot read {}: {error}", kinject_escape::path(path)),
                "install kinject again",
            )
        })?;
    let sha256 = kinject_bundle::hex(&hasher.finalize());
    Ok(json!({"path": path.to_string_lossy(), "sha256": sha256, "size": size}))
}
