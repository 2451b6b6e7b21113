//! Creates the objects of one agent: its Job, and then the objects that the Job owns, which are the Secret and the
//! ConfigMaps of a carried agent.
//!
//! Those name the Job's UID, so the relay sends them when the API server has answered the creation of the Job. The
//! kubelet waits for objects that a pod mounts, but retries only after half a second or more, so they should exist when
//! the pod reaches its node. A Secret takes less time than that; the Job of a carried agent is held until everything is
//! uploaded ([`super::carried`]).

use super::access::{self, Access, WRITE_TIMEOUT};
use super::carried::refusal::or_by_image;
use super::carried::upload::{self, UploadError, UploadPlan, UploadedMap};
use super::dry_run::is_namespace_terminating;
use super::held;
use super::job::{AgentJob, RequestedJob};
use super::manifest::Manifest;
use super::secret;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The Job whose creation the session requested last, if it may exist.
pub(super) type LatestJob = Rc<RefCell<Option<RequestedJob>>>;

/// The objects of one agent while they are being created.
pub(super) struct Creation {
    job: oneshot::Receiver<Result<AgentJob, Failure>>,
    dependents: oneshot::Receiver<Result<Vec<UploadedMap>, UploadError>>,
}

/// Starts the task that creates an agent's objects. It runs to its end even if the session ends meanwhile, so that no
/// object is created after the clean-up: the second value completes when the task is done. The task records in `latest`
/// what has to be removed. `plan` is for a carried agent.
pub(super) fn start(
    access: &Access,
    manifest: &Manifest<'_>,
    identity: String,
    latest: &LatestJob,
    plan: Option<Rc<UploadPlan>>,
) -> Result<(Creation, oneshot::Receiver<()>), Failure> {
    let job = manifest.job().map_err(|error| cannot_be_written("Job", &error))?;
    let (access, latest) = (access.clone(), Rc::clone(latest));
    let (name, session) = (manifest.name.to_owned(), manifest.session.to_owned());
    let (job_sender, job_receiver) = oneshot::channel();
    let (dependents_sender, dependents_receiver) = oneshot::channel();
    let (done_sender, done) = oneshot::channel();
    *latest.borrow_mut() = Some(RequestedJob { name, uid: None });
    tokio::task::spawn_local(async move {
        let created = create_job(&access, &job, &latest, plan.is_some()).await;
        let job = created.as_ref().ok().cloned();
        // the receivers are dropped when the session ends meanwhile
        let _dropped = job_sender.send(created).is_err();
        if let Some(job) = job {
            let secret = create_secret(&access, &job, &session, &identity);
            let created = create_dependents(&access, &job, secret, plan.as_deref()).await;
            let _dropped = dependents_sender.send(created).is_err();
        }
        let _dropped = done_sender.send(()).is_err();
    });
    let creation = Creation {
        job: job_receiver,
        dependents: dependents_receiver,
    };
    Ok((creation, done))
}

impl Creation {
    /// Waits until the cluster has created the Job.
    pub(super) async fn job(&mut self) -> Result<AgentJob, Failure> {
        (&mut self.job).await.unwrap_or_else(|_| Err(cut_short("Job")))
    }

    /// Waits until the cluster has created everything that the Job owns, and the Job is released.
    pub(super) async fn dependents(self) -> Result<Vec<UploadedMap>, UploadError> {
        let created = self.dependents.await;
        created.unwrap_or_else(|_| Err(cut_short("Secret").into()))
    }
}

async fn create_dependents(
    access: &Access,
    job: &AgentJob,
    secret: impl Future<Output = Result<(), Failure>>,
    plan: Option<&UploadPlan>,
) -> Result<Vec<UploadedMap>, UploadError> {
    let maps = async {
        match plan {
            Some(plan) => upload::upload(access, job, plan).await,
            None => Ok(Vec::new()),
        }
    };
    // both run to their end, so that neither creates an object after this function has returned
    let (secret, maps) = tokio::join!(secret, maps);
    secret?;
    let maps = maps?;
    if plan.is_some() {
        held::release(access, job).await?;
    }
    Ok(maps)
}

async fn create_job(
    access: &Access,
    job: &Job,
    latest: &LatestJob,
    is_carried: bool,
) -> Result<AgentJob, Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let answer = timeout(WRITE_TIMEOUT, jobs.create(&PostParams::default(), job)).await;
    if let Ok(Err(error)) = &answer
        && access::did_nothing(error)
    {
        latest.borrow_mut().take();
    }
    let created = answer
        .map_err(|_| access.silence("to create the agent's Job"))?
        .map_err(|error| match is_namespace_terminating(&error) {
            true => namespace_is_deleted(access),
            false => access.failure(&error, "create the agent's Job"),
        })
        .map_err(|failure| match is_carried {
            true => or_by_image(failure),
            false => failure,
        })?;
    let (Some(name), Some(uid)) = (created.metadata.name, created.metadata.uid) else {
        return Err(Failure::lasting(
            "the cluster's answer for the agent's Job has no name or no UID",
            "check that this is a Kubernetes API server: run `kubectl version`",
        ));
    };
    *latest.borrow_mut() = Some(RequestedJob {
        name: name.clone(),
        uid: Some(uid.clone()),
    });
    Ok(AgentJob { name, uid })
}

fn namespace_is_deleted(access: &Access) -> Failure {
    Failure::end(
        format!(
            "cannot create the agent's Job: namespace {} is being deleted",
            access.namespace
        ),
        "choose another namespace with --namespace",
    )
}

async fn create_secret(
    access: &Access,
    job: &AgentJob,
    session: &str,
    identity: &str,
) -> Result<(), Failure> {
    let secret =
        secret::manifest(job, session, identity).map_err(|error| cannot_be_written("Secret", &error))?;
    let secrets: Api<Secret> = Api::namespaced(access.client.clone(), &access.namespace);
    timeout(WRITE_TIMEOUT, secrets.create(&PostParams::default(), &secret))
        .await
        .map_err(|_| access.silence("to create the agent's Secret"))?
        .map_err(|error| access.failure(&error, "create the Secret with the agent's keys"))?;
    Ok(())
}

fn cut_short(kind: &str) -> Failure {
    Failure::passing(format!("creating the agent's {kind} was cut short"), "try again")
}

fn cannot_be_written(kind: &str, error: &serde_json::Error) -> Failure {
    Failure::lasting(
        format!("the agent's {kind} cannot be written: {error}"),
        "report this",
    )
}

#[cfg(test)]
mod tests {
    use super::super::carried::config_maps::AgentFiles;
    use super::super::carried::requests::Existing;
    use super::super::fake_api::Answer;
    use super::super::held::tests::{JOB_NAME, api, job, status};
    use super::*;
    use kinject_bundle::{Architecture, CarriedAgent};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// The requests for the dependents of a held Job, the bodies of the patches among them, and the result.
    struct Attempt {
        asked: Vec<String>,
        patches: Vec<Value>,
        created: Result<Vec<UploadedMap>, UploadError>,
    }

    /// Creates the dependents at an API server that gives these answers to ConfigMaps and to patches of the Job, and
    /// accepts everything else.
    async fn attempt(map: Option<Answer>, patch: Option<Answer>) -> Attempt {
        let recorded = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let (api, copy) = (api(map, patch, &recorded), Arc::clone(&recorded));
        let agent = CarriedAgent {
            architecture: Architecture::Amd64,
            loader: vec![1; 10].into(),
            packed: vec![2; 10].into(),
            sha256: [3; 32],
        };
        let plan = UploadPlan {
            files: Rc::new(AgentFiles::shared(&agent)),
            existing: vec![Existing::Missing],
            verified: Rc::default(),
        };
        let access = api.access();
        let job = job();
        let secret = create_secret(&access, &job, "0", "keys");
        let created = create_dependents(&access, &job, secret, Some(&plan)).await;
        let (asked, patches) = copy.lock().clone();
        Attempt {
            asked,
            patches,
            created,
        }
    }

    #[tokio::test]
    async fn held_job_is_released_after_its_dependents_and_keeps_its_deadline() {
        let Attempt {
            mut asked,
            patches,
            created,
        } = attempt(None, None).await;
        assert!(created.is_ok(), "{asked:?}");
        assert_eq!(asked.pop().unwrap(), "PATCH jobs");
        asked.sort();
        assert_eq!(asked, ["POST configmaps", "POST secrets"]);
        assert_eq!(
            patches,
            [json!({ "metadata": { "uid": "ours" }, "spec": { "parallelism": 1 } })]
        );
    }

    #[tokio::test]
    async fn held_job_whose_config_maps_are_refused_is_not_released() {
        let Attempt {
            mut asked, created, ..
        } = attempt(Some(status(403, "Forbidden", "")), None).await;
        assert!(created.is_err());
        asked.sort();
        assert_eq!(asked, ["POST configmaps", "POST secrets"]);
    }

    #[tokio::test]
    async fn job_gone_or_failed_before_its_release_is_reported_as_expired_hold() {
        let failed = json!({ "metadata": { "name": JOB_NAME },
            "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded" }] } });
        for answer in [
            status(404, "NotFound", ""),
            status(409, "Conflict", ""),
            status(422, "Invalid", "metadata.uid"),
            Answer::object(failed),
        ] {
            let created = attempt(None, Some(answer)).await.created;
            let Err(UploadError::HoldExpired(failure)) = created else {
                panic!("{created:?}");
            };
            assert!(!failure.lasting, "{}", failure.message);
        }
    }
}
