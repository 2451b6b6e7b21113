//! Removing agents: one that a relay made itself, and those of a relay that is gone.

use super::access::Access;
use super::job;
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kinject_escape::word;
use kinject_protocol::session::{KubernetesTarget, Report};
use kube::api::{Api, DeleteParams, ListParams};
use std::collections::BTreeSet;

/// Removes a Job with its pod; one that is not there is as good as removed.
pub(super) async fn remove_job(access: &Access, name: &str) -> Result<(), Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let parameters = DeleteParams::background().grace_period(0);
    match jobs.delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(access.failure(&error, "remove the agent's Job")),
    }
}

/// What to say of a Job that stays.
pub(super) fn stays(access: &Access, name: &str, why: &str) -> Report {
    Report {
        message: format!("the agent's Job {name} could not be removed: {why}"),
        hint: Some(format!(
            "it ends by itself within minutes; `kubectl -n {} delete job {}` removes it",
            word(&access.namespace),
            word(name)
        )),
    }
}

/// Removes whatever a session's relay, which is gone, made in the cluster.
pub(crate) async fn remove_all(target: &KubernetesTarget, session: &str) -> Result<(), Report> {
    let access = Access::new(target).await?;
    for name in jobs_of(&access, session).await {
        remove_job(&access, &name)
            .await
            .map_err(|failure| stays(&access, &name, &failure.message))?;
    }
    Ok(())
}

/// A session's first Job, and later ones, which show in their pods: sessions need no right to list Jobs.
async fn jobs_of(access: &Access, session: &str) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let selector = format!("app.kubernetes.io/managed-by=kinject,app.kubernetes.io/instance={session}");
    let mut names = BTreeSet::from([job::name(session)]);
    match pods.list(&ListParams::default().labels(&selector)).await {
        Ok(found) => {
            let labels = found.items.into_iter().filter_map(|pod| pod.metadata.labels);
            names.extend(labels.filter_map(|mut labels| labels.remove("batch.kubernetes.io/job-name")));
        }
        Err(error) => crate::log::warn!("cannot list the session's pods: {error}"),
    }
    names
}
