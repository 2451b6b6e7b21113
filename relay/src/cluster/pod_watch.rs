//! Waits until the pod of the agent's Job runs, or reports why the cluster does not start it.

use super::access::{self, Access};
use super::answering::awaited;
use super::carried::refusal::or_by_image;
use super::job::{self, AgentJob};
use super::own_mounts::OwnMounts;
use super::ownership::Claimants;
use super::pod_startup::{RunningPod, Startup, startup};
use super::start_failure::StartFailure;
use super::workload::pod::WITHOUT_FILES;
use super::{events, mount_failure, pace};
use crate::log;
use crate::report::Failure;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kinject_escape::word;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a pod may be unschedulable: time for a node that is just becoming ready.
const UNSCHEDULABLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a pod may take to run once everything that it mounts exists, if the cluster reports no failure.
const START_TIMEOUT: Duration = Duration::from_secs(job::START_SECONDS as u64);

/// How long to wait for the pod after an event has reported that it cannot be created. A user of the cluster may have
/// forged the event, and the Job's controller retries after a second: if the pod exists then, the event does not count.
const REFUSAL_DELAY: Duration = Duration::from_secs(2);

/// What the relay knows of a pod that does not run yet.
#[derive(Default)]
struct Pending {
    /// The pod's UID, as soon as it exists.
    uid: watch::Sender<Option<String>>,
    /// Whether only its image is missing.
    is_pulling: Cell<bool>,
    /// Since when it is unschedulable, and why.
    unschedulable: RefCell<Option<(Instant, StartFailure)>>,
}

impl Pending {
    fn exists(&self) -> bool {
        self.uid.borrow().is_some()
    }

    /// The pod's UID, as soon as it exists.
    async fn uid(&self) -> String {
        let mut uid = self.uid.subscribe();
        let known = uid.wait_for(Option::is_some).await;
        let uid = known.ok().and_then(|uid| uid.clone());
        match uid {
            Some(uid) => uid,
            // the sender is this value's
            None => std::future::pending().await,
        }
    }

    /// When to give up on a pod that is unschedulable.
    fn deadline(&self) -> Option<Instant> {
        let unschedulable = self.unschedulable.borrow();
        let (since, _) = unschedulable.as_ref()?;
        Some(*since + UNSCHEDULABLE_TIMEOUT)
    }

    /// Records how far the pod has started. Returns the result when that is certain.
    fn record(
        &self,
        startup: Startup,
        progress: &mut impl FnMut(&str),
    ) -> Option<Result<RunningPod, StartFailure>> {
        match startup {
            Startup::Running(pod) => return Some(Ok(pod)),
            Startup::Failed(failure) => return Some(Err(failure)),
            Startup::Unschedulable(failure) => {
                self.is_pulling.set(false);
                let mut unschedulable = self.unschedulable.borrow_mut();
                let since = unschedulable.take().map_or_else(Instant::now, |(since, _)| since);
                *unschedulable = Some((since, failure));
                progress("waiting for a node that takes the agent");
            }
            Startup::Starting { is_pulling } => {
                self.is_pulling.set(is_pulling);
                self.unschedulable.take();
                progress("starting the agent");
            }
        }
        None
    }
}

/// Waits for the Job's pod to run. `progress` gets what the pod is waiting for. The time limit begins when
/// `is_mountable` is done: when everything exists that the agent itself mounts. In the place of a workload, the pod
/// mounts more than its own volumes, which are `own_mounts`.
pub(super) async fn running_pod(
    access: &Access,
    job: &AgentJob,
    is_carried: bool,
    own_mounts: Option<&OwnMounts>,
    is_mountable: impl Future<Output = ()>,
    progress: impl Fn(&str),
) -> Result<RunningPod, StartFailure> {
    let pending = Pending::default();
    let refused = refusal_of_controller(access, job, is_carried, own_mounts.is_some(), &pending);
    let mut told = &progress;
    let pod = follow_pod(access, job, &pending, &mut told);
    let unmountable = async {
        match own_mounts {
            Some(own) => mount_failure::of_pod(access, &pending.uid().await, own, &progress).await,
            None => std::future::pending().await,
        }
    };
    let late = async {
        is_mountable.await;
        tokio::time::sleep(START_TIMEOUT).await;
    };
    tokio::select! {
        // a pod that runs counts even if the time is up
        biased;
        pod = pod => pod,
        refusal = refused => Err(refusal),
        failure = unmountable => Err(failure.into()),
        () = late => Err(too_late(access, job, is_carried, pending.is_pulling.get()).into()),
    }
}

fn too_late(access: &Access, job: &AgentJob, is_carried: bool, is_pulling: bool) -> Failure {
    let message = format!("the agent's pod does not run after {} s", START_TIMEOUT.as_secs());
    let mut hint = format!(
        "`kubectl -n {} describe job {}` tells more",
        word(&access.namespace),
        word(&job.name)
    );
    if !is_carried {
        return Failure::lasting(message, &hint);
    }
    if is_pulling {
        hint.push_str("; its image is pulled: --host-image names another that the nodes have");
    }
    or_by_image(Failure::lasting(message, &hint))
}

/// Waits for the Job controller's report that it cannot create the pod, because of a quota or an admission policy. The
/// controller reports that only in an event. The event does not count if the pod exists.
async fn refusal_of_controller(
    access: &Access,
    job: &AgentJob,
    is_carried: bool,
    is_of_workload: bool,
    pending: &Pending,
) -> StartFailure {
    let message = match events::refusal(access, &job.uid).await {
        Ok(message) => message,
        Err(error) => {
            // the right to read events is optional: without it, the time limit ends the wait
            log::info!(
                "cannot read the events of {}: {}",
                job.name,
                access::innermost(&error)
            );
            return std::future::pending().await;
        }
    };
    let needs_limits = events::demands_limits(&message);
    // a forged event of this kind only gives the agent limits, so it is not worth the delay
    if pending.exists() || !needs_limits {
        tokio::time::sleep(REFUSAL_DELAY).await;
        if pending.exists() {
            log::info!("an event says that the agent's pod cannot be made, but it exists");
            return std::future::pending().await;
        }
    }
    let mut hint = "these are the cluster's own words; --namespace chooses another namespace".to_owned();
    if is_of_workload && message.contains("olume") {
        hint = format!("{hint}; {WITHOUT_FILES}");
    }
    let failure = Failure::lasting(format!("pod creation denied: {message}"), &hint);
    match needs_limits {
        true => StartFailure::LimitsRequired(failure),
        false if is_of_workload && events::violates_pod_security(&message) => {
            StartFailure::PodSecurity(failure)
        }
        false if is_of_workload && events::is_denied_by_policy(&message) => {
            StartFailure::PolicyDenied(match is_carried {
                true => or_by_image(failure),
                false => failure,
            })
        }
        false if is_carried => StartFailure::Failed(or_by_image(failure)),
        false => StartFailure::Failed(failure),
    }
}

/// Follows the Job's pod, and ignores other pods that have its labels. Records in `pending` what it learns.
async fn follow_pod(
    access: &Access,
    job: &AgentJob,
    pending: &Pending,
    progress: &mut impl FnMut(&str),
) -> Result<RunningPod, StartFailure> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &access.namespace);
    let selector = format!("batch.kubernetes.io/job-name={}", job.name);
    let mut claimants = Claimants::new(job, &access.namespace);
    let mut is_ours = |pod: &Pod| -> Result<bool, Failure> {
        let is_ours = claimants.is_only_one(pod)?;
        if is_ours {
            pending.uid.send_replace(pod.metadata.uid.clone());
        } else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            log::info!("pod {name} has the label of the agent's Job and is not its pod: left alone");
        }
        Ok(is_ours)
    };
    let mut pace = pace::of_watches();
    loop {
        pace.tick().await;
        let parameters = ListParams::default().labels(&selector);
        let listed = awaited(&access.server, &mut *progress, pods.list(&parameters));
        let list = listed
            .await
            .map_err(|error| access.failure(&error, "look for the agent's pod"))?;
        let mut ours = None;
        for pod in &list.items {
            if is_ours(pod)? {
                ours = Some(pod);
            }
        }
        if let Some(startup) = ours.and_then(|pod| startup(access, pod))
            && let Some(result) = pending.record(startup, progress)
        {
            return result;
        }
        // each watch may end before the deadline that is checked while it is read
        let expired = pending
            .unschedulable
            .borrow_mut()
            .take_if(|(since, _)| since.elapsed() >= UNSCHEDULABLE_TIMEOUT);
        if let Some((_, failure)) = expired {
            return Err(failure);
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let stream = pods
            .watch(&WatchParams::default().labels(&selector), &version)
            .await
            .map_err(|error| access.failure(&error, "watch the agent's pod"))?;
        futures::pin_mut!(stream);
        loop {
            let next = match pending.deadline() {
                Some(deadline) => tokio::time::timeout_at(deadline, stream.try_next()).await.ok(),
                None => Some(stream.try_next().await),
            };
            match next {
                None => {
                    if let Some((_, failure)) = pending.unschedulable.take() {
                        return Err(failure);
                    }
                }
                Some(Ok(Some(WatchEvent::Added(pod) | WatchEvent::Modified(pod)))) => {
                    if is_ours(&pod)?
                        && let Some(startup) = startup(access, &pod)
                        && let Some(result) = pending.record(startup, progress)
                    {
                        return result;
                    }
                }
                Some(Ok(Some(WatchEvent::Deleted(pod)))) => {
                    if is_ours(&pod)? {
                        let failure = Failure::passing(
                            "the agent's pod was deleted",
                            "look for what deletes pods: run `kubectl get events`",
                        );
                        return Err(failure.into());
                    }
                }
                Some(Ok(Some(WatchEvent::Bookmark(_)))) => {}
                // the API server ends every watch at some time: list and watch again
                Some(Ok(Some(WatchEvent::Error(_)) | None) | Err(_)) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests;
