//! Making the objects of one agent: its Job, and then what is the Job's: the Secret, and the ConfigMaps of an agent
//! that is carried.
//!
//! They need the Job's UID, so they are sent as soon as the Job is answered for. The kubelet waits for them, but a
//! kubelet that misses one looks again only after half a second: they must not come later than the pod's turn. A Secret
//! is sent in less than that, and a Job of a carried agent is held until all is there ([`super::carried`]).

use super::access::{self, Access, WRITE_TIMEOUT};
use super::carried::refusal::or_by_image;
use super::carried::upload::{self, UploadError, UploadPlan, UploadedMap};
use super::held;
use super::job::AgentJob;
use super::manifest::Manifest;
use super::secret;
use crate::log;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the cluster may take to tell whether it would create a Job.
const REHEARSAL_PATIENCE: Duration = Duration::from_secs(3);

/// A Job that may be in the cluster.
#[derive(Clone, Debug)]
pub(super) struct MadeJob {
    /// Its name.
    pub(super) name: String,
    /// Its UID; not known while the cluster has not answered for it.
    pub(super) uid: Option<String>,
}

/// The Job that the session has made last, if it may be in the cluster.
pub(super) type Made = Rc<RefCell<Option<MadeJob>>>;

/// The objects of one agent while they are being made.
pub(super) struct Creation {
    job: oneshot::Receiver<Result<AgentJob, Failure>>,
    dependents: oneshot::Receiver<Result<Vec<UploadedMap>, UploadError>>,
}

/// Starts to make an agent's objects. That is always seen through, so that nothing is made after the end: the second
/// value tells when. `made` is told what has to be removed. `placement` is for an agent that is carried.
pub(super) fn start(
    access: &Access,
    manifest: &Manifest<'_>,
    identity: String,
    made: &Made,
    placement: Option<Rc<UploadPlan>>,
) -> Result<(Creation, oneshot::Receiver<()>), Failure> {
    let job = manifest.job().map_err(|error| cannot_be_written("Job", &error))?;
    let (access, made) = (access.clone(), Rc::clone(made));
    let (name, session) = (manifest.name.to_owned(), manifest.session.to_owned());
    let (job_sender, job_receiver) = oneshot::channel();
    let (dependents_sender, dependents_receiver) = oneshot::channel();
    let (done_sender, done) = oneshot::channel();
    *made.borrow_mut() = Some(MadeJob { name, uid: None });
    tokio::task::spawn_local(async move {
        let created = create_job(&access, &job, &made, placement.is_some()).await;
        let job = created.as_ref().ok().cloned();
        // the receivers may be gone when the session ends meanwhile
        let _unheard = job_sender.send(created).is_err();
        if let Some(job) = job {
            let secret = create_secret(&access, &job, &session, &identity);
            let created = create_dependents(&access, &job, secret, placement.as_deref()).await;
            let _unheard = dependents_sender.send(created).is_err();
        }
        let _unheard = done_sender.send(()).is_err();
    });
    let creation = Creation {
        job: job_receiver,
        dependents: dependents_receiver,
    };
    Ok((creation, done))
}

impl Creation {
    /// The Job, as soon as the cluster has it.
    pub(super) async fn job(&mut self) -> Result<AgentJob, Failure> {
        (&mut self.job)
            .await
            .unwrap_or_else(|_| Err(was_cut_short("Job")))
    }

    /// Waits until the cluster has everything that is the Job's, and may start its pod.
    pub(super) async fn dependents(self) -> Result<Vec<UploadedMap>, UploadError> {
        let created = self.dependents.await;
        created.unwrap_or_else(|_| Err(was_cut_short("Secret").into()))
    }
}

async fn create_dependents(
    access: &Access,
    job: &AgentJob,
    secret: impl Future<Output = Result<(), Failure>>,
    placement: Option<&UploadPlan>,
) -> Result<Vec<UploadedMap>, UploadError> {
    let maps = async {
        match placement {
            Some(placement) => upload::upload(access, job, placement).await,
            None => Ok(Vec::new()),
        }
    };
    // both to the end, so that nothing comes later
    let (secret, maps) = tokio::join!(secret, maps);
    secret?;
    let maps = maps?;
    if placement.is_some() {
        held::release(access, job).await?;
    }
    Ok(maps)
}

async fn create_job(access: &Access, job: &Job, made: &Made, is_carried: bool) -> Result<AgentJob, Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let answer = timeout(WRITE_TIMEOUT, jobs.create(&PostParams::default(), job)).await;
    if let Ok(Err(error)) = &answer
        && access::did_nothing(error)
    {
        made.borrow_mut().take();
    }
    let created = answer
        .map_err(|_| access.silence("to create the agent's Job"))?
        .map_err(|error| match names_namespace_as_going(&error) {
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
    *made.borrow_mut() = Some(MadeJob {
        name: name.clone(),
        uid: Some(uid.clone()),
    });
    Ok(AgentJob { name, uid })
}

/// What the cluster would do with a Job. Nothing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rehearsal {
    /// It would make it.
    Taken {
        /// The API server's clock, in seconds.
        at: i64,
    },
    /// It has one of that name.
    Exists {
        /// Whether that one is on its way out, until its pod is gone or a finalizer lets go of it.
        is_being_deleted: bool,
    },
    /// The namespace is being deleted, or gone.
    NamespaceIsGoing,
    /// It would not make it, or does not answer.
    Refused,
}

/// Asks the cluster what it would do with a Job, which takes no other right than to make one: not even to look at it.
pub(super) async fn rehearse(access: &Access, manifest: &Manifest<'_>) -> Rehearsal {
    let Ok(job) = manifest.job() else {
        return Rehearsal::Refused;
    };
    let rehearsal = timeout(REHEARSAL_PATIENCE, rehearsal_of(access, &job)).await;
    rehearsal.unwrap_or(Rehearsal::Refused)
}

async fn rehearsal_of(access: &Access, job: &Job) -> Rehearsal {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match jobs.create(&parameters, job).await {
        Ok(job) => match job.metadata.creation_timestamp {
            Some(time) => Rehearsal::Taken {
                at: time.0.as_second(),
            },
            None => Rehearsal::Refused,
        },
        Err(kube::Error::Api(status)) if status.is_already_exists() => Rehearsal::Exists {
            // the API server's words since Kubernetes 1.9: nothing else tells without the right to look at Jobs
            is_being_deleted: status.message.starts_with("object is being deleted"),
        },
        Err(error) if names_namespace_as_going(&error) || names_namespace_as_gone(&error) => {
            Rehearsal::NamespaceIsGoing
        }
        Err(error) => {
            log::info!("the cluster would take no other Job: {error}");
            Rehearsal::Refused
        }
    }
}

/// Whether the cluster refuses an object because its namespace is being deleted.
fn names_namespace_as_going(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether there is no such namespace. A proxy on the way that knows no such page names no kind.
fn names_namespace_as_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let kind = status.details.as_ref().map(|details| details.kind.as_str());
    status.code == 404 && kind == Some("namespaces")
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

fn was_cut_short(kind: &str) -> Failure {
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

    /// The requests for the dependents of a Job that is held, the bodies of the patches among them, and what came of
    /// them.
    struct Attempt {
        asked: Vec<String>,
        patches: Vec<Value>,
        made: Result<Vec<UploadedMap>, UploadError>,
    }

    /// Makes the dependents against an API server that answers ConfigMaps and patches so; all else it makes.
    async fn attempt(map: Option<Answer>, patch: Option<Answer>) -> Attempt {
        let noted = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let (api, notes) = (api(map, patch, &noted), Arc::clone(&noted));
        let agent = CarriedAgent {
            architecture: Architecture::Amd64,
            loader: vec![1; 10].into(),
            packed: vec![2; 10].into(),
            sha256: [3; 32],
        };
        let placement = UploadPlan {
            files: Rc::new(AgentFiles::shared(&agent)),
            existing: vec![Existing::Missing],
            verified: Rc::default(),
        };
        let access = api.access();
        let job = job();
        let secret = create_secret(&access, &job, "0", "keys");
        let made = create_dependents(&access, &job, secret, Some(&placement)).await;
        let (asked, patches) = notes.lock().clone();
        Attempt { asked, patches, made }
    }

    #[tokio::test]
    async fn held_job_is_released_after_its_secret_and_maps_and_keeps_its_deadline() {
        let Attempt {
            mut asked,
            patches,
            made,
        } = attempt(None, None).await;
        assert!(made.is_ok(), "{asked:?}");
        assert_eq!(asked.pop().unwrap(), "PATCH jobs");
        asked.sort();
        assert_eq!(asked, ["POST configmaps", "POST secrets"]);
        assert_eq!(
            patches,
            [json!({ "metadata": { "uid": "ours" }, "spec": { "parallelism": 1 } })]
        );
    }

    #[tokio::test]
    async fn held_job_whose_maps_are_refused_is_not_released() {
        let Attempt { mut asked, made, .. } = attempt(Some(status(403, "Forbidden", "")), None).await;
        assert!(made.is_err());
        asked.sort();
        assert_eq!(asked, ["POST configmaps", "POST secrets"]);
    }

    #[tokio::test]
    async fn job_that_is_gone_or_has_failed_before_its_release_was_held_too_long() {
        let failed = json!({ "metadata": { "name": JOB_NAME },
            "status": { "conditions": [{ "type": "Failed", "status": "True", "reason": "DeadlineExceeded" }] } });
        for answer in [
            status(404, "NotFound", ""),
            status(409, "Conflict", ""),
            status(422, "Invalid", "metadata.uid"),
            Answer::object(failed),
        ] {
            let made = attempt(None, Some(answer)).await.made;
            let Err(UploadError::HoldExpired(failure)) = made else {
                panic!("{made:?}");
            };
            assert!(!failure.lasting, "{}", failure.message);
        }
    }
}
