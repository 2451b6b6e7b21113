//! The software bill of materials: every component of an executable with its version, license and checksum, and which
//! one depends on which, in the format of [CycloneDX](https://cyclonedx.org/docs/1.5/json/). Cargo's own tool for it
//! describes one crate of a workspace with the features of all of them, and names folders of the machine it runs on.

use std::path::Path;

use anyhow::Result;
use kinject_bundle::Architecture;
use serde_json::{Value, json};

use super::components::{Component, Components, Id, Origin, target};
use super::{LICENSE, SUMMARY, write as write_file};
use crate::workspace;

/// Writes the bill of materials of the executable for one architecture.
pub(super) fn write(components: &Components, architecture: Architecture, file: &Path) -> Result<()> {
    let bill = bill_of_materials(components, architecture);
    write_file(file, &serde_json::to_vec_pretty(&bill)?)
}

fn bill_of_materials(components: &Components, architecture: Architecture) -> Value {
    // no component has this reference: the launcher's crate is one of several that the executable holds
    let executable = format!("executable:kinject@{}", workspace::VERSION);
    let listed: Vec<Value> = components
        .all
        .iter()
        .map(|(id, component)| describe(id, component))
        .collect();
    let mut dependencies = vec![json!({
        "ref": executable,
        "dependsOn": references(components, components.roots.iter()),
    })];
    dependencies.extend(components.all.iter().map(|(id, component)| {
        json!({
            "ref": reference(id, component),
            "dependsOn": references(components, component.dependencies.iter()),
        })
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": executable,
                "name": "kinject",
                "version": workspace::VERSION,
                "description": SUMMARY,
                "licenses": [{"expression": LICENSE}],
            },
            "properties": [{"name": "kinject:target", "value": target(architecture)}],
        },
        "components": listed,
        "dependencies": dependencies,
    })
}

fn describe(id: &Id, component: &Component) -> Value {
    let mut described = json!({
        "type": "library",
        "bom-ref": reference(id, component),
        "name": id.name,
        "licenses": [{"expression": component.license}],
    });
    if let Some(version) = &id.version {
        described["version"] = json!(version);
    }
    if let Origin::Registry { checksum, .. } = &component.origin {
        described["purl"] = json!(reference(id, component));
        described["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &component.repository {
        described["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    described
}

/// What other entries call a component: its package URL if it has one, <https://github.com/package-url/purl-spec>.
fn reference(id: &Id, component: &Component) -> String {
    let kind = match component.origin {
        Origin::Registry { .. } => "pkg:cargo/",
        Origin::Workspace => "workspace:",
        Origin::Toolchain => "toolchain:",
    };
    match &id.version {
        // a `+` stands for a space in URLs
        Some(version) => format!("{kind}{}@{}", id.name, version.replace('+', "%2B")),
        None => format!("{kind}{}", id.name),
    }
}

fn references<'a>(components: &Components, ids: impl Iterator<Item = &'a Id>) -> Vec<String> {
    let known = ids.filter_map(|id| components.all.get(id).map(|component| reference(id, component)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::components::tests::of_executable;
    use std::collections::BTreeSet;

    fn bill() -> Value {
        bill_of_materials(of_executable(), Architecture::Amd64)
    }

    /// All strings in a document.
    fn strings(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(values) => values.iter().flat_map(strings).collect(),
            Value::Object(values) => values.values().flat_map(strings).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn crate_of_the_relay_is_listed_with_version_license_checksum_and_package_url() {
        let bill = bill();
        let components = bill["components"].as_array().unwrap();
        let kube = components
            .iter()
            .find(|component| component["name"] == "kube")
            .unwrap();
        let version = kube["version"].as_str().unwrap();
        assert_eq!(kube["purl"], format!("pkg:cargo/kube@{version}"));
        assert_eq!(kube["licenses"][0]["expression"], "Apache-2.0");
        assert_eq!(kube["hashes"][0]["content"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn every_reference_leads_to_a_component_and_no_two_share_one() {
        let bill = bill();
        let components = bill["components"].as_array().unwrap();
        let references: BTreeSet<&str> = components
            .iter()
            .map(|component| component["bom-ref"].as_str().unwrap())
            .collect();
        assert_eq!(references.len(), components.len());
        let dependencies = bill["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), components.len() + 1);
        for dependency in dependencies {
            for reference in dependency["dependsOn"].as_array().unwrap() {
                assert!(references.contains(reference.as_str().unwrap()), "{dependency}");
            }
        }
        assert!(dependencies[0]["dependsOn"].as_array().unwrap().len() >= 4);
    }

    #[test]
    fn bill_of_materials_holds_no_path_of_the_machine_that_made_it() {
        let bill = bill();
        let root = workspace::root().to_str().unwrap();
        for text in strings(&bill) {
            let is_path = text.starts_with('/') || text.contains("file:") || text.contains(root);
            assert!(!is_path, "{text}");
        }
    }
}
