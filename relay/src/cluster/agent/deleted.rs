//! Whether the session ends with its agent, because a user deleted the agent's Job or its namespace.

use super::jobs::SessionJobs;
use crate::cluster::access::Access;
use crate::cluster::deletion;
use crate::cluster::dry_run::DryRun;
use crate::cluster::gc::Removal;
use crate::cluster::job::RequestedJob;
use crate::cluster::pod_startup::RunningPod;
use crate::cluster::pod_state::PodState;
use crate::report::Failure;

/// The end of the session if a user deleted this Job, whose pod is gone, or its namespace.
pub(super) async fn end_of_session(
    access: &Access,
    jobs: &SessionJobs,
    job: &RequestedJob,
    pod: &RunningPod,
    gone: &PodState,
) -> Result<Option<Failure>, Failure> {
    let namespace = &access.namespace;
    let name = &job.name;
    // the API server's clock if the Job is gone or terminating, and the session did not remove it
    let gone_at = match jobs.dry_run(name).await {
        DryRun::NamespaceTerminating => {
            return Ok(Some(session_over(&format!(
                "namespace {namespace} is being deleted, with the agent's Job {name}"
            ))));
        }
        // a dry run need not look for an existing Job: the removal shows whether it is gone
        DryRun::Accepted { at } => match jobs.remove().await? {
            Removal::WasGone | Removal::Forbidden(_) => Some(at),
            Removal::Removed | Removal::NotFound => None,
        },
        DryRun::Exists {
            is_being_deleted: true,
        } => jobs.server_time().await,
        // another Job may have the name, or a quota may refuse any
        DryRun::Exists { .. } | DryRun::Refused => match jobs.remove().await? {
            Removal::WasGone => jobs.server_time().await,
            Removal::Removed | Removal::NotFound | Removal::Forbidden(_) => None,
        },
    };
    let (Some(at), Some(uid)) = (gone_at, &job.uid) else {
        return Ok(None);
    };
    let is_explicit = deletion::is_explicit(access, uid, pod, gone, at).await;
    Ok(is_explicit.then(|| {
        session_over(&format!(
            "somebody deleted the agent's Job {name} in namespace {namespace}"
        ))
    }))
}

fn session_over(why: &str) -> Failure {
    Failure::end(
        format!("the session is over: {why}"),
        "programs go on without the cluster: start the command again for another session",
    )
}
