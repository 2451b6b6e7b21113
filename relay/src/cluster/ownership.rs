//! Which pods belong to a Job.
//!
//! Names and labels prove nothing: anyone who may create or edit a pod chooses them. The relay checks the UID of the
//! pod's owner, which the API server generated when it created the Job, so that no older pod can have it. An editor of
//! the namespace can still write that UID into a pod of their own afterwards: then two pods claim to be the Job's, and
//! the relay uses neither.

use super::job::AgentJob;
use crate::report::Failure;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kinject_escape::word;
use std::collections::BTreeMap;

/// The Job that this pod names as its controller.
pub(super) fn owning_job(pod: &Pod) -> Option<&OwnerReference> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners.iter().find(|owner| {
        owner.kind == "Job" && owner.api_version == "batch/v1" && owner.controller == Some(true)
    })
}

/// The pods that claim to be one Job's.
pub(super) struct Claimants<'a> {
    job: &'a AgentJob,
    namespace: &'a str,
    /// Names by UID.
    pods: BTreeMap<String, String>,
}

impl<'a> Claimants<'a> {
    /// No pods yet.
    pub(super) fn new(job: &'a AgentJob, namespace: &'a str) -> Self {
        Self {
            job,
            namespace,
            pods: BTreeMap::new(),
        }
    }

    /// Whether this pod claims to be the Job's and is the only one that does. A second one that does is a failure.
    pub(super) fn is_only_one(&mut self, pod: &Pod) -> Result<bool, Failure> {
        let claims = owning_job(pod).is_some_and(|owner| owner.uid == self.job.uid);
        let (Some(uid), Some(name), true) = (&pod.metadata.uid, &pod.metadata.name, claims) else {
            return Ok(false);
        };
        self.pods.insert(uid.clone(), name.clone());
        if self.pods.len() > 1 {
            let mut names: Vec<&str> = self.pods.values().map(String::as_str).collect();
            names.sort_unstable();
            return Err(Failure::lasting(
                format!(
                    "more than one pod claims to be that of the agent's Job {}: {}",
                    self.job.name,
                    names.join(", ")
                ),
                &format!(
                    "the Job makes one; somebody who may edit namespace {} made the other: look at `kubectl -n {} get pods -o yaml`",
                    self.namespace,
                    word(self.namespace)
                ),
            ));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job() -> AgentJob {
        AgentJob {
            name: "kinject-agent-0".to_owned(),
            uid: "ours".to_owned(),
        }
    }

    /// A pod with the labels of our Job's, and that owner.
    fn pod(name: &str, owner: serde_json::Value) -> Pod {
        let owners = if owner.is_null() {
            json!([])
        } else {
            json!([owner])
        };
        serde_json::from_value(json!({"metadata": {
            "name": name,
            "uid": format!("uid of {name}"),
            "labels": { "batch.kubernetes.io/job-name": "kinject-agent-0", "batch.kubernetes.io/controller-uid": "ours" },
            "ownerReferences": owners,
        }}))
        .unwrap()
    }

    fn owner(kind: &str, uid: &str, controller: bool) -> serde_json::Value {
        let api = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        json!({"apiVersion": api, "kind": kind, "name": "kinject-agent-0", "uid": uid, "controller": controller})
    }

    #[test]
    fn pod_belongs_to_the_job_only_by_its_controllers_uid() {
        let job = job();
        let mut claimants = Claimants::new(&job, "default");
        for foreign in [
            pod("labelled", json!(null)),
            pod("owned-by-another-job", owner("Job", "another", true)),
            pod("owned-by-another-kind", owner("ReplicaSet", "ours", true)),
            pod("owned-without-being-controlled", owner("Job", "ours", false)),
        ] {
            assert!(!claimants.is_only_one(&foreign).unwrap(), "{foreign:?}");
        }
        let ours = pod("true", owner("Job", "ours", true));
        assert!(claimants.is_only_one(&ours).unwrap());
        assert!(
            claimants.is_only_one(&ours).unwrap(),
            "the same pod, a moment later"
        );
    }

    #[test]
    fn second_pod_claiming_the_job_is_refused_with_both_names() {
        let job = job();
        let mut claimants = Claimants::new(&job, "team");
        assert!(
            claimants
                .is_only_one(&pod("forged", owner("Job", "ours", true)))
                .unwrap()
        );
        let refused = claimants
            .is_only_one(&pod("true", owner("Job", "ours", true)))
            .unwrap_err();
        assert!(refused.lasting);
        assert!(refused.message.ends_with(": forged, true"), "{}", refused.message);
        assert!(refused.hint.unwrap().contains("namespace team"));
    }
}
