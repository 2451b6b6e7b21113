//! Asks the API server, by a dry run, what it would do with the creation of a Job. This takes only the right to create
//! Jobs, so it also shows a user who may not read Jobs whether one exists.

use super::access::Access;
use super::manifest::Manifest;
use crate::log;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for the answer.
const DRY_RUN_TIMEOUT: Duration = Duration::from_secs(3);

/// What the API server would do with the creation of a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DryRun {
    /// It would create the Job.
    Accepted {
        /// The time of the API server's clock, in seconds.
        at: i64,
    },
    /// A Job of that name exists.
    Exists {
        /// Whether that Job is terminating, until its pod is gone and its finalizers are removed.
        is_being_deleted: bool,
    },
    /// The namespace is being deleted, or does not exist.
    NamespaceTerminating,
    /// It would refuse the Job, or does not answer.
    Refused,
}

/// Requests the creation of the Job as a dry run.
pub(super) async fn dry_run(access: &Access, manifest: &Manifest<'_>) -> DryRun {
    let Ok(job) = manifest.job() else {
        return DryRun::Refused;
    };
    let outcome = timeout(DRY_RUN_TIMEOUT, request(access, &job)).await;
    outcome.unwrap_or(DryRun::Refused)
}

async fn request(access: &Access, job: &Job) -> DryRun {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match jobs.create(&parameters, job).await {
        Ok(job) => match job.metadata.creation_timestamp {
            Some(time) => DryRun::Accepted {
                at: time.0.as_second(),
            },
            None => DryRun::Refused,
        },
        Err(kube::Error::Api(status)) if status.is_already_exists() => DryRun::Exists {
            // the message of the API server since Kubernetes 1.9: without the right to read Jobs, nothing else shows it
            is_being_deleted: status.message.starts_with("object is being deleted"),
        },
        Err(error) if is_namespace_terminating(&error) || is_namespace_missing(&error) => {
            DryRun::NamespaceTerminating
        }
        Err(error) => {
            log::info!("the cluster would take no other Job: {error}");
            DryRun::Refused
        }
    }
}

/// Whether the API server refuses an object because its namespace is being deleted.
pub(super) fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether the namespace does not exist. The 404 of a proxy before the API server names no kind.
fn is_namespace_missing(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let kind = status.details.as_ref().map(|details| details.kind.as_str());
    status.code == 404 && kind == Some("namespaces")
}
