//! The objects that a session creates, as YAML for review by the administrators of a cluster (`kinject agent
//! manifest`).
//!
//! The same code writes the objects of sessions. Placeholders show the form of what only a session has: its name, its
//! keys and the UID of its Job.

use super::job::{self, AgentJob};
use super::manifest::Manifest;
use super::secret;
use super::source::{AgentSource, Container};
use crate::report::Failure;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_protocol::session::KubernetesTarget;
use serde_json::Value;
use std::rc::Rc;

/// The placeholder for the session's name.
const SESSION: &str = "00000000";

/// The placeholder for the UID of its Job.
const UID: &str = "00000000-0000-0000-0000-000000000000";

/// The placeholder for the keys of its agent.
const KEYS: &str = "the agent's keys";

/// Writes the objects in the order in which a session creates them. The files of a carried agent are left out unless
/// `with_data`.
pub(crate) fn yaml(target: &KubernetesTarget, with_data: bool) -> Result<String, Failure> {
    let name = job::name(SESSION);
    let owner = AgentJob {
        name: name.clone(),
        uid: UID.to_owned(),
    };
    let (container, maps) = match AgentSource::of(target)? {
        AgentSource::Carried(agents) => {
            let (pod, maps) = agents.preview()?;
            (Container::Carried(Rc::new(pod)), maps)
        }
        source @ AgentSource::Image(_) => (source.container(), Vec::new()),
    };
    let manifest = Manifest {
        name: &name,
        session: SESSION,
        container,
        workload: None,
        transport: target.transport,
        with_limits: false,
        with_deadline: false,
    };
    let job = manifest.job().map_err(|error| unwritable(&error))?;
    let secret = secret::manifest(&owner, SESSION, KEYS).map_err(|error| unwritable(&error))?;
    let mut text = format!(
        "# What a session of kinject {} makes. Each session has a name of its own instead of {SESSION}, keys of its\n\
         # own, and for its Job the UID that the cluster gives.\n",
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(&document(&job, "")?);
    for mut map in maps {
        map.metadata.owner_references = secret.metadata.owner_references.clone();
        let comment = match with_data {
            true => String::new(),
            false => without_data(&mut map),
        };
        text.push_str(&document(&map, &comment)?);
    }
    text.push_str(&document(&secret, "")?);
    Ok(text)
}

/// Removes the files from a ConfigMap; returns a comment with their sizes.
fn without_data(map: &mut ConfigMap) -> String {
    let mut comment = String::new();
    for (key, ByteString(bytes)) in map.binary_data.iter_mut().flatten() {
        comment.push_str(&format!(
            "# left out: the {} bytes of {key} (--data writes them)\n",
            bytes.len()
        ));
        bytes.clear();
    }
    comment
}

fn document(object: &impl serde::Serialize, comment: &str) -> Result<String, Failure> {
    // a JSON value sorts the keys alphabetically: apiVersion, kind, metadata, spec
    let value: Value = serde_json::to_value(object).map_err(|error| unwritable(&error))?;
    let yaml = serde_saphyr::to_string(&value).map_err(|error| unwritable(&error))?;
    Ok(format!("---\n{comment}{yaml}"))
}

fn unwritable(error: &dyn std::error::Error) -> Failure {
    Failure::lasting(
        format!("cannot write an object of the session: {error}"),
        "report this",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinject_protocol::session::TransportChoice;

    fn documents(text: &str) -> Vec<Value> {
        let documents = text.split("---\n").skip(1);
        documents
            .map(|document| serde_saphyr::from_str(document).unwrap())
            .collect()
    }

    #[test]
    fn preview_of_an_agent_image_has_the_job_and_the_secret_it_owns() {
        let target = KubernetesTarget {
            agent_image: Some("registry.example/agent:1".to_owned()),
            transport: TransportChoice::PortForward,
            ..KubernetesTarget::default()
        };
        let text = yaml(&target, false).unwrap();
        let [job, secret] = &documents(&text)[..] else {
            panic!("{text}")
        };
        assert_eq!(
            (&job["kind"], &job["apiVersion"]),
            (&"Job".into(), &"batch/v1".into())
        );
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "registry.example/agent:1");
        assert_eq!(container["ports"], serde_json::json!([]));
        assert_eq!(secret["kind"], "Secret");
        assert_eq!(
            secret["metadata"]["ownerReferences"][0]["name"],
            job["metadata"]["name"]
        );
        assert_eq!(secret["stringData"]["identity"], KEYS);
    }

    #[test]
    fn files_left_out_of_a_config_map_are_listed_with_their_sizes() {
        let mut map = ConfigMap {
            binary_data: Some([("part".to_owned(), ByteString(vec![0; 1234]))].into()),
            ..ConfigMap::default()
        };
        assert!(without_data(&mut map).contains("the 1234 bytes of part"));
        assert_eq!(map.binary_data.unwrap()["part"], ByteString(Vec::new()));
    }
}
