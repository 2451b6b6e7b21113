//! Removing agents: one that this relay made, and those of a relay that is gone.
//!
//! A deletion names the Job's UID as a precondition, so that another object of the same name is not deleted. The
//! garbage collector removes the Job's pod and its Secret with it.

use super::access::{Access, WRITE_TIMEOUT};
use super::job::RequestedJob;
use super::{job, ownership};
use crate::report::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kinject_escape::word;
use kinject_protocol::session::{KubernetesTarget, Report};
use kube::api::{Api, DeleteParams, ListParams, Preconditions};
use tokio::time::timeout;

/// The outcome of a Job's removal.
#[derive(Clone, Debug)]
pub(super) enum Removal {
    /// It was removed.
    Removed,
    /// No Job has the name, and the API server has not answered the creation of the Job.
    NotFound,
    /// The Job did not exist any more.
    WasGone,
    /// The user has no right to remove it, if it exists.
    Forbidden(Failure),
}

/// Removes a Job with its dependents. It is no error if the Job does not exist, or if another Job has its name.
pub(super) async fn remove_job(access: &Access, requested: &RequestedJob) -> Result<Removal, Failure> {
    let jobs: Api<Job> = Api::namespaced(access.client.clone(), &access.namespace);
    let mut parameters = DeleteParams::background().grace_period(0);
    if requested.uid.is_some() {
        parameters = parameters.preconditions(Preconditions {
            uid: requested.uid.clone(),
            resource_version: None,
        });
    }
    // a pooled connection may be dead without an error
    let deleted = timeout(WRITE_TIMEOUT, jobs.delete(&requested.name, &parameters)).await;
    match deleted.map_err(|_| access.silence("to remove the agent's Job"))? {
        Ok(_) => Ok(Removal::Removed),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(match requested.uid {
            Some(_) => Removal::WasGone,
            None => Removal::NotFound,
        }),
        Err(kube::Error::Api(status)) if status.code == 409 && requested.uid.is_some() => {
            crate::log::info!("another Job has the name {}: left alone", requested.name);
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
    while let Some(requested) = jobs.next() {
        let failure = match remove_job(&access, &requested).await {
            Ok(Removal::Removed | Removal::NotFound | Removal::WasGone) => continue,
            Ok(Removal::Forbidden(failure)) => failure,
            // the others would fail alike
            Err(failure) => {
                names.extend(jobs.by_ref().map(|requested| requested.name));
                failure
            }
        };
        names.insert(0, requested.name);
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
    if jobs.iter().all(|requested| requested.name != first) {
        jobs.push(RequestedJob {
            name: first,
            uid: None,
        });
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::super::fake_api::FakeApi;
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

    #[tokio::test(start_paused = true)]
    async fn removal_fails_as_transient_if_the_api_server_does_not_answer() {
        let job = RequestedJob {
            name: "kinject-agent-0".to_owned(),
            uid: Some("1".to_owned()),
        };
        let access = FakeApi::silent().access();
        let removal = timeout(2 * WRITE_TIMEOUT, remove_job(&access, &job)).await;
        let failure = removal.expect("it has a time limit").unwrap_err();
        assert!(!failure.lasting, "{}", failure.message);
        assert!(
            failure.message.contains("to remove the agent's Job"),
            "{}",
            failure.message
        );
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
