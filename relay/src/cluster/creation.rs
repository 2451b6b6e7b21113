//! Making the objects of one agent: its Job, and then the Secret that is the Job's.
//!
//! The Secret needs the Job's UID, so it is sent as soon as the Job is answered for. The kubelet waits for it, but a
//! kubelet that misses it looks again only after half a second: it must not come later than the pod's turn.

use super::access::{self, Access};
use super::job::{AgentJob, Manifest};
use super::secret;
use crate::log;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the cluster may take to create an object: admission webhooks are asked meanwhile, each for up to 30 seconds.
const CREATE_PATIENCE: Duration = Duration::from_secs(40);

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
    secret: oneshot::Receiver<Result<(), Failure>>,
}

/// Starts to make an agent's objects. That is always seen through, so that nothing is made after the end: the second
/// value tells when. `made` is told what has to be removed.
pub(super) fn start(
    access: &Access,
    manifest: &Manifest<'_>,
    identity: String,
    made: &Made,
) -> Result<(Creation, oneshot::Receiver<()>), Failure> {
    let job = manifest.job().map_err(|error| cannot_be_written("Job", &error))?;
    let (access, made) = (access.clone(), Rc::clone(made));
    let (name, session) = (manifest.name.to_owned(), manifest.session.to_owned());
    let (job_sender, job_receiver) = oneshot::channel();
    let (secret_sender, secret_receiver) = oneshot::channel();
    let (done_sender, done) = oneshot::channel();
    *made.borrow_mut() = Some(MadeJob { name, uid: None });
    tokio::task::spawn_local(async move {
        let created = create_job(&access, &job, &made).await;
        let job = created.as_ref().ok().cloned();
        // the receivers may be gone when the session ends meanwhile
        let _unheard = job_sender.send(created).is_err();
        if let Some(job) = job {
            let created = create_secret(&access, &job, &session, &identity).await;
            let _unheard = secret_sender.send(created).is_err();
        }
        let _unheard = done_sender.send(()).is_err();
    });
    let creation = Creation {
        job: job_receiver,
        secret: secret_receiver,
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

    /// Waits until the cluster has the Secret of the Job.
    pub(super) async fn secret(self) -> Result<(), Failure> {
        self.secret.await.unwrap_or_else(|_| Err(was_cut_short("Secret")))
    }
}

async fn create_job(access: &Access, job: &Job, made: &Made) -> Result<AgentJob, Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let answer = timeout(CREATE_PATIENCE, jobs.create(&PostParams::default(), job)).await;
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
    timeout(CREATE_PATIENCE, secrets.create(&PostParams::default(), &secret))
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
