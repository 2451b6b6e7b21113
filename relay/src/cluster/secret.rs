//! The Secret that carries an agent's keys to its pod.
//!
//! The Job owns it: the cluster's garbage collector removes it after the Job, also if no relay is left to do so or the
//! Job is gone before the Secret is created. Anyone who may read Secrets in the namespace, exec into its pods or create
//! pods there can get these keys and pose as this agent. They cannot use an agent with them, since the relay's own
//! private key never leaves the relay.

use super::job::{self, AgentJob, IDENTITY_KEY};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

/// The Secret for the agent of a Job. It has the Job's name.
pub(super) fn manifest(job: &AgentJob, session: &str, identity: &str) -> Result<Secret, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {
            "name": job.name,
            "labels": job::labels(session),
            "ownerReferences": [job::owner_reference(job)],
        },
        "type": "Opaque",
        "immutable": true,
        "stringData": { IDENTITY_KEY: identity },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_secret_is_immutable_and_owned_by_the_job() {
        let job = AgentJob {
            name: "kinject-agent-0".to_owned(),
            uid: "b9a6".to_owned(),
        };
        let secret = manifest(&job, "0", "keys").unwrap();
        let [owner] = &secret.metadata.owner_references.unwrap()[..] else {
            panic!("one owner")
        };
        assert_eq!(
            (owner.kind.as_str(), owner.uid.as_str(), owner.name.as_str()),
            ("Job", "b9a6", "kinject-agent-0")
        );
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(secret.string_data.unwrap()["identity"], "keys");
        let labels = secret.metadata.labels.unwrap();
        assert_eq!(labels["app.kubernetes.io/managed-by"], "kinject");
        assert_eq!(labels["app.kubernetes.io/instance"], "0");
    }
}
