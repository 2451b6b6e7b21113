//! Removing agents: one that this relay made, and those of a relay that is gone.
//!
//! A deletion names the Job's UID as a precondition, so that another object of the same name is not deleted. The
//! garbage collector removes the Job's pod and its Secret with it.

use super::access::Access;
use super::job::RequestedJob;
use super::{job, ownership};
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kinject_escape::word;
use kinject_protocol::session::{KubernetesTarget, Report};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};

/// The outcome of a Job's removal.
#[derive(Clone, Debug)]
pub(super) enum Removal {
    /// It was removed, or the answer to its creation was never received, and the name does not exist.
    Removed,
    /// The Job did not exist any more.
    WasGone,
    /// The user has no right to remove it, if it exists.
    Forbidden(Failure),
}

/// Removes a Job with its dependents. It is no error if the Job does not exist, or if another Job has its name.
pub(super) async fn remove_job(access: &Access, made: &RequestedJob) -> Result<Removal, Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let mut parameters = DeleteParams::background().grace_period(0);
    if made.uid.is_some() {
        parameters = parameters.preconditions(Preconditions {
            uid: made.uid.clone(),
            resource_version: None,
        });
    }
    match jobs.delete(&made.name, &parameters).await {
        Ok(_) => Ok(Removal::Removed),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(match made.uid {
            Some(_) => Removal::WasGone,
            None => Removal::Removed,
        }),
        Err(kube::Error::Api(status)) if status.code == 409 && made.uid.is_some() => {
            crate::log::info!("another Job has the name {}: left alone", made.name);
            Ok(Removal::WasGone)
        }
        Err(error) => {
            let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
            let failure = access.failure(&error, "remove the agent's Job");
            match is_forbidden {
                true => Ok(Removal::Forbidden(failure)),
                false => Err(failure),
            }
        }
    }
}

/// The report of Jobs that could not be removed.
pub(super) fn not_removed(access: &Access, names: &[String], why: &str) -> Report {
    let (jobs, each, all) = match names {
        [_] => ("Job", "it ends", "it"),
        _ => ("Jobs", "each ends", "them"),
    };
    let quoted: Vec<_> = names.iter().map(|name| word(name)).collect();
    Report {
        message: format!(
            "the agent's {jobs} {} could not be removed: {why}",
            names.join(", ")
        ),
        hint: Some(format!(
            "{each} by itself within minutes if its agent has run; `kubectl -n {} delete job {}` removes {all}",
            word(&access.namespace),
            quoted.join(" ")
        )),
    }
}

/// Removes everything that the relay of a session, which is gone, created in the cluster.
pub(crate) async fn remove_all(target: &KubernetesTarget, session: &str) -> Result<(), Report> {
    let access = Access::new(target).await?;
    let (mut names, mut why) = (Vec::new(), None);
    let mut jobs = jobs_of(&access, session).await.into_iter();
    while let Some(made) = jobs.next() {
        let failure = match remove_job(&access, &made).await {
            Ok(Removal::Removed | Removal::WasGone) => continue,
            Ok(Removal::Forbidden(failure)) => failure,
            // the others would fail alike
            Err(failure) => {
                names.extend(jobs.by_ref().map(|made| made.name));
                failure
            }
        };
        names.insert(0, made.name);
        why = Some(failure.message);
    }
    match why {
        Some(why) => Err(not_removed(&access, &names, &why)),
        None => Ok(()),
    }
}

/// The Jobs that may be a session's, found as the owners of its pods: a session needs no right to list Jobs.
async fn jobs_of(access: &Access, session: &str) -> Vec<RequestedJob> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let selector = format!("app.kubernetes.io/managed-by=kinject,app.kubernetes.io/instance={session}");
    match pods.list(&ListParams::default().labels(&selector)).await {
        Ok(found) => owners(session, &found.items),
        Err(error) => {
            crate::log::warn!("cannot list the session's pods: {error}");
            owners(session, &[])
        }
    }
}

/// The session's Jobs among the owners of pods. A pod's labels and owners may be forged, so only names that the session
/// itself would give count. The first Job, whose name is known, is included even if no pod has it as its owner.
fn owners(session: &str, pods: &[Pod]) -> Vec<RequestedJob> {
    let mut jobs: Vec<RequestedJob> = pods
        .iter()
        .filter_map(ownership::owning_job)
        .filter(|owner| job::is_name_of(session, &owner.name))
        .map(|owner| RequestedJob {
            name: owner.name.clone(),
            uid: Some(owner.uid.clone()),
        })
        .collect();
    let first = job::name(session);
    if jobs.iter().all(|made| made.name != first) {
        jobs.push(RequestedJob {
            name: first,
            uid: None,
        });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(owner: &str, uid: &str, labelled: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "labels": { "batch.kubernetes.io/job-name": labelled },
            "ownerReferences": [
                { "apiVersion": "batch/v1", "kind": "Job", "controller": true, "name": owner, "uid": uid }
            ],
        }}))
        .unwrap()
    }

    fn found(pods: &[Pod]) -> Vec<(String, Option<String>)> {
        let jobs = owners("0123abcd", pods);
        jobs.into_iter().map(|job| (job.name, job.uid)).collect()
    }

    #[test]
    fn cleanup_removes_only_jobs_named_after_the_session_each_by_its_uid() {
        let first = "kinject-agent-0123abcd";
        let later = "kinject-agent-0123abcd-00ff";
        let uid = |uid: &str| Some(uid.to_owned());
        assert_eq!(found(&[]), [(first.to_owned(), None)]);
        assert_eq!(found(&[pod(first, "1", first)]), [(first.to_owned(), uid("1"))]);
        assert_eq!(
            found(&[pod(later, "2", later)]),
            [(later.to_owned(), uid("2")), (first.to_owned(), None)]
        );
        // a forged owner names another Job, and so does a forged label
        assert_eq!(
            found(&[
                pod("payroll", "3", later),
                pod(first, "4", "payroll"),
                pod("kinject-agent-4567abcd", "5", first),
            ]),
            [(first.to_owned(), uid("4"))]
        );
    }
}
