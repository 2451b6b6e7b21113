//! The Job of a carried agent is created held, so that its pod does not start before everything is uploaded that it
//! mounts ([`super::carried`]). Two patches end the hold: one releases the Job, and one lifts its deadline. The Job of an
//! agent from an image is not held, and has the deadline if the user may lift it.

use super::access::{Access, WRITE_TIMEOUT};
use super::carried::refusal::{is_changed, refused};
use super::carried::upload::UploadError;
use super::job::AgentJob;
use crate::log;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// How many times to try to lift a deadline if the API server does not answer.
const LIFT_ATTEMPTS: u32 = 3;

/// The pause between these attempts.
const LIFT_PAUSE: Duration = Duration::from_millis(500);

/// Lets a held Job start its pod. The deadline stays, since the pod may never start (its image may be unavailable) and
/// the relay may be killed meanwhile.
pub(super) async fn release(access: &Access, job: &AgentJob) -> Result<(), UploadError> {
    let patch = json!({ "metadata": { "uid": job.uid }, "spec": { "parallelism": 1 } });
    let what = "start the agent's Job";
    match patch_job(access, job, &patch, what).await {
        Ok(released) if !is_failed(&released) => Ok(()),
        Ok(_) | Err(PatchError::Gone) => Err(UploadError::HoldExpired(Failure::passing(
            format!(
                "the agent's Job {} ended before it was released: it was held too long",
                job.name
            ),
            "check the line to the cluster, or name an image that holds the agent with --agent-image",
        ))),
        Err(PatchError::Failed(failure)) => Err(UploadError::Failed(failure)),
    }
}

/// Lifts the deadline of a Job whose pod runs. The Job's controller would end the agent at the deadline.
pub(super) async fn lift_deadline(access: &Access, job: &AgentJob) -> Result<(), Failure> {
    let patch = json!({ "metadata": { "uid": job.uid }, "spec": { "activeDeadlineSeconds": null } });
    let what = "lift the deadline of the agent's Job, without which the agent would end by it";
    for attempt in 1.. {
        let failure = match patch_job(access, job, &patch, what).await {
            Ok(_) => return Ok(()),
            Err(PatchError::Gone) => Failure::passing(
                format!(
                    "the agent's Job {} was gone before its deadline was lifted",
                    job.name
                ),
                "look for what deletes Jobs: run `kubectl get events`",
            ),
            Err(PatchError::Failed(failure)) => failure,
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
enum PatchError {
    /// It does not exist any more, or another Job has its name.
    Gone,
    Failed(Failure),
}

async fn patch_job(access: &Access, job: &AgentJob, patch: &Value, what: &str) -> Result<Job, PatchError> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = PatchParams::default();
    let patch = Patch::Merge(patch);
    let patched = timeout(WRITE_TIMEOUT, jobs.patch(&job.name, &parameters, &patch)).await;
    match patched {
        Err(_) => Err(PatchError::Failed(access.silence(&format!("to {what}")))),
        Ok(Ok(patched)) => Ok(patched),
        Ok(Err(kube::Error::Api(status))) if is_changed(&status) => {
            log::info!("the Job {} cannot be changed: {}", job.name, status.message);
            Err(PatchError::Gone)
        }
        Ok(Err(error)) => Err(PatchError::Failed(refused(access, &error, what))),
    }
}

/// Whether a Job has failed, so that it starts no pod any more.
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

    pub(in crate::cluster) const JOB_NAME: &str = "kinject-agent-0";

    /// A refusal with this code and reason that names a field.
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
            name: JOB_NAME.to_owned(),
            uid: "ours".to_owned(),
        }
    }

    /// An API server that gives these answers to ConfigMaps and to patches of the Job, and accepts everything else. It
    /// records the requests and the bodies of patches.
    pub(in crate::cluster) fn api(
        map: Option<Answer>,
        patch: Option<Answer>,
        recorded: &Arc<Mutex<(Vec<String>, Vec<Value>)>>,
    ) -> FakeApi {
        let recorded = Arc::clone(recorded);
        FakeApi::of_requests(move |method, path, body| {
            let path = path.split('?').next().unwrap();
            let kind = path
                .rsplit('/')
                .find(|word| !word.starts_with("kinject-"))
                .unwrap();
            recorded.lock().0.push(format!("{method} {kind}"));
            if *method == Method::PATCH {
                recorded.lock().1.push(serde_json::from_slice(body).unwrap());
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
    async fn deadline_is_lifted_by_a_patch_of_that_field_alone() {
        let recorded = Arc::default();
        let api = api(None, None, &recorded);
        lift_deadline(&api.access(), &job()).await.unwrap();
        assert_eq!(
            recorded.lock().1,
            [json!({ "metadata": { "uid": "ours" }, "spec": { "activeDeadlineSeconds": null } })]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_that_cannot_be_lifted_is_named_in_the_failure() {
        for (code, attempts, lasting) in [(403, 1, true), (503, LIFT_ATTEMPTS, false)] {
            let recorded = Arc::default();
            let api = api(None, Some(status(code, "No", "")), &recorded);
            let failure = lift_deadline(&api.access(), &job()).await.unwrap_err();
            assert_eq!(recorded.lock().1.len(), attempts as usize);
            assert_eq!(failure.lasting, lasting);
            assert!(
                failure.message.contains("lift the deadline of the agent's Job"),
                "{}",
                failure.message
            );
        }
    }

    #[test]
    fn deadline_covers_upload_release_start_and_every_attempt_to_lift_it() {
        let release = WRITE_TIMEOUT;
        let lift = LIFT_ATTEMPTS * WRITE_TIMEOUT + (LIFT_ATTEMPTS - 1) * LIFT_PAUSE;
        let start = Duration::from_secs(u64::from(job::UPLOAD_SECONDS + job::START_SECONDS));
        assert!(Duration::from_secs(u64::from(job::HOLD_SECONDS)) >= start + release + lift);
    }
}
