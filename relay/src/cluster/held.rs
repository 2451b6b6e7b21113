//! A Job that is held until all is there that its pod mounts ([`super::carried`]): its release, and the end of its
//! deadline.

use super::access::{Access, WRITE_TIMEOUT};
use super::carried::store::{self, NotPlaced};
use super::job::AgentJob;
use crate::log;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How often a deadline is lifted if the API server does not answer.
const LIFT_ATTEMPTS: u32 = 3;

/// The pause between these attempts.
const LIFT_PAUSE: Duration = Duration::from_millis(500);

/// Lets a Job that was held start its pod. Its deadline stays: a pod may never start, as without its image, and the
/// relay may die meanwhile.
pub(super) async fn release(access: &Access, job: &AgentJob) -> Result<(), NotPlaced> {
    let patch = json!({ "metadata": { "uid": job.uid }, "spec": { "parallelism": 1 } });
    let what = "start the agent's Job";
    match patch_job(access, job, &patch, what).await {
        Ok(released) if !is_failed(&released) => Ok(()),
        Ok(_) | Err(NotPatched::Gone) => Err(NotPlaced::HeldTooLong(Failure::passing(
            format!(
                "the agent's Job {} ended before it was released: it was held too long",
                job.name
            ),
            "check the line to the cluster, or name an image that holds the agent with --agent-image",
        ))),
        Err(NotPatched::Failed(failure)) => Err(NotPlaced::Failed(failure)),
    }
}

/// Lifts the deadline of a Job whose pod runs, which would end the agent.
pub(super) async fn lift_deadline(access: &Access, job: &AgentJob) -> Result<(), Failure> {
    let patch = json!({ "metadata": { "uid": job.uid }, "spec": { "activeDeadlineSeconds": null } });
    let what = "lift the deadline of the agent's Job, without which the agent would end by it";
    for attempt in 1.. {
        let failure = match patch_job(access, job, &patch, what).await {
            Ok(_) => return Ok(()),
            Err(NotPatched::Gone) => Failure::passing(
                format!(
                    "the agent's Job {} was gone before its deadline was lifted",
                    job.name
                ),
                "look for what deletes Jobs: run `kubectl get events`",
            ),
            Err(NotPatched::Failed(failure)) => failure,
        };
        if failure.lasting || attempt == LIFT_ATTEMPTS {
            return Err(failure);
        }
        log::info!("lifting the Job's deadline again: {}", failure.message);
        tokio::time::sleep(LIFT_PAUSE).await;
    }
    Ok(())
}

/// Why a Job was not changed.
enum NotPatched {
    /// It is not there any more, or another one has its name.
    Gone,
    Failed(Failure),
}

async fn patch_job(access: &Access, job: &AgentJob, patch: &Value, what: &str) -> Result<Job, NotPatched> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = PatchParams::default();
    let patch = Patch::Merge(patch);
    let patched = timeout(WRITE_TIMEOUT, jobs.patch(&job.name, &parameters, &patch)).await;
    match patched {
        Err(_) => Err(NotPatched::Failed(access.silence(&format!("to {what}")))),
        Ok(Ok(patched)) => Ok(patched),
        Ok(Err(kube::Error::Api(status))) if store::is_changed(&status) => {
            log::info!("the Job {} cannot be changed: {}", job.name, status.message);
            Err(NotPatched::Gone)
        }
        Ok(Err(error)) => Err(NotPatched::Failed(store::refused(access, &error, what))),
    }
}

/// Whether a Job starts no pod any more.
fn is_failed(job: &Job) -> bool {
    let status = job.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|condition| {
        matches!(&*condition.type_, "Failed" | "FailureTarget") && condition.status == "True"
    })
}

#[cfg(test)]
pub(in crate::cluster) mod tests {
    use super::super::fake_api::{Answer, FakeApi};
    use super::super::job;
    use super::*;
    use http::Method;
    use parking_lot::Mutex;
    use std::sync::Arc;

    pub(in crate::cluster) const KEPT: &str = "kinject-agent-0";

    pub(in crate::cluster) fn status(code: u16, reason: &str, field: &str) -> Answer {
        Answer::refusal(
            code,
            json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "no", "reason": reason, "code": code,
                "details": { "causes": [{ "reason": "FieldValueInvalid", "field": field, "message": "no" }] } }),
        )
    }

    pub(in crate::cluster) fn job() -> AgentJob {
        AgentJob {
            name: KEPT.to_owned(),
            uid: "ours".to_owned(),
        }
    }

    /// An API server that answers ConfigMaps and patches so, and makes all else; it notes requests and patches.
    pub(in crate::cluster) fn api(
        map: Option<Answer>,
        patch: Option<Answer>,
        noted: &Arc<Mutex<(Vec<String>, Vec<Value>)>>,
    ) -> FakeApi {
        let noted = Arc::clone(noted);
        FakeApi::of_requests(move |method, path, body| {
            let path = path.split('?').next().unwrap();
            let kind = path
                .rsplit('/')
                .find(|word| !word.starts_with("kinject-"))
                .unwrap();
            noted.lock().0.push(format!("{method} {kind}"));
            if *method == Method::PATCH {
                noted.lock().1.push(serde_json::from_slice(body).unwrap());
            }
            let refusal = match (method, kind) {
                (&Method::PATCH, "jobs") => patch.clone(),
                (_, "configmaps") => map.clone(),
                _ => None,
            };
            refusal.unwrap_or_else(|| Answer::object(json!({ "metadata": { "name": "a", "uid": "b" } })))
        })
    }

    #[tokio::test]
    async fn deadline_is_lifted_by_a_patch_of_its_own() {
        let noted = Arc::default();
        let api = api(None, None, &noted);
        lift_deadline(&api.access(), &job()).await.unwrap();
        assert_eq!(
            noted.lock().1,
            [json!({ "metadata": { "uid": "ours" }, "spec": { "activeDeadlineSeconds": null } })]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_that_may_not_be_lifted_is_a_failure_that_names_it() {
        for (code, attempts, lasting) in [(403, 1, true), (503, LIFT_ATTEMPTS, false)] {
            let noted = Arc::default();
            let api = api(None, Some(status(code, "No", "")), &noted);
            let failure = lift_deadline(&api.access(), &job()).await.unwrap_err();
            assert_eq!(noted.lock().1.len(), attempts as usize);
            assert_eq!(failure.lasting, lasting);
            assert!(
                failure.message.contains("lift the deadline of the agent's Job"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn deadline_covers_the_maps_the_pods_start_and_both_patches() {
        let patches = 2 * WRITE_TIMEOUT;
        let start = Duration::from_secs(u64::from(job::PLACE_SECONDS + job::START_SECONDS));
        assert!(Duration::from_secs(u64::from(job::HOLD_SECONDS)) >= start + patches);
    }
}
