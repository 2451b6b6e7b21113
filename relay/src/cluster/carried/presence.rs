//! Keeps the uploaded ConfigMaps in the cluster until the agent's pod runs, and verifies then that the pod mounted them
//! and no others.
//!
//! The garbage collector deletes a ConfigMap without owners only in the version in which it saw none; that of an older
//! Kubernetes may delete one that has just got another owner. So the relay creates a missing ConfigMap again while the
//! pod starts ([`restore_until`]).

use super::requests::{Existing, VerifiedMaps, compare, uid_of};
use super::upload::{UploadError, UploadPlan, UploadedMap, upload_map};
use crate::cluster::access::Access;
use crate::cluster::job::AgentJob;
use crate::log;
use crate::report::Failure;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_escape::word;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

/// The pause between checks that all ConfigMaps exist, while the pod starts.
const CHECK_PAUSE: Duration = Duration::from_secs(2);

/// How many times to ask for the ConfigMaps of a running agent if the API server does not answer.
const VERIFY_ATTEMPTS: u32 = 5;

/// The pause after the first of these attempts; each later one is twice as long.
const VERIFY_PAUSE: Duration = Duration::from_millis(250);

/// Creates missing ConfigMaps again until `started`, the start of the pod, is done. An upload that is under way at that
/// moment is finished first, since [`verify`] compares the UID of the result.
pub(in crate::cluster) async fn restore_until<T>(
    access: &Access,
    job: &AgentJob,
    plan: &UploadPlan,
    uploaded: &mut [UploadedMap],
    started: impl Future<Output = T>,
) -> Result<T, UploadError> {
    let mut started = pin!(started);
    loop {
        let changed = tokio::select! {
            biased;
            started = &mut started => return Ok(started),
            changed = next_changed(access, uploaded) => changed?,
        };
        for (number, (map, uploaded)) in plan.files.maps.iter().zip(uploaded.iter_mut()).enumerate() {
            if !changed.contains(&number) {
                continue;
            }
            log::info!(
                "the ConfigMap {} was removed before the agent started: sending it again",
                uploaded.name
            );
            let restored = async {
                let existing = compare(access, map, &plan.verified).await?;
                upload_map(access, job, map, &plan.verified, existing).await
            };
            match restored.await {
                Ok(restored) => *uploaded = restored,
                Err(UploadError::Failed(failure)) if !failure.lasting => {
                    log::info!(
                        "cannot send the ConfigMap {} yet: {}",
                        uploaded.name,
                        failure.message
                    );
                }
                Err(why) => return Err(why),
            }
        }
    }
}

/// Pauses, and then returns the positions of the ConfigMaps that are missing or have another UID. A request without an
/// answer counts as no change.
async fn next_changed(access: &Access, uploaded: &[UploadedMap]) -> Result<Vec<usize>, Failure> {
    tokio::time::sleep(CHECK_PAUSE).await;
    let mut changed = Vec::new();
    for (number, uploaded) in uploaded.iter().enumerate() {
        match uid_of(access, &uploaded.name).await {
            Ok(uid) if uid.as_ref() == Some(&uploaded.uid) => {}
            Ok(_) => changed.push(number),
            Err(failure) if !failure.lasting => {
                log::info!(
                    "cannot look for the ConfigMap {}: {}",
                    uploaded.name,
                    failure.message
                );
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(changed)
}

/// Checks that the ConfigMaps still have the UIDs of the upload, so that the agent was started from what the session
/// compared or sent: an immutable ConfigMap keeps its content as long as it has the same UID.
pub(in crate::cluster) async fn verify(
    access: &Access,
    plan: &UploadPlan,
    uploaded: &[UploadedMap],
) -> Result<(), UploadError> {
    let maps = plan.files.maps.iter().zip(uploaded);
    let verified = maps.map(|(map, uploaded)| verify_map(access, map, &plan.verified, uploaded));
    try_join_all(verified).await.map(drop)
}

async fn verify_map(
    access: &Access,
    map: &ConfigMap,
    verified: &VerifiedMaps,
    uploaded: &UploadedMap,
) -> Result<(), UploadError> {
    let uid = retried(|| uid_of(access, &uploaded.name)).await?;
    if uid.as_ref() == Some(&uploaded.uid) {
        return Ok(());
    }
    let existing = retried(|| compare(access, map, verified)).await?;
    let failure = |change: &str| {
        Failure::lasting(
            format!(
                "the ConfigMap {} with the agent was {change} while the agent started: the agent is not used",
                uploaded.name
            ),
            &format!(
                "only an editor of namespace {} can do that: look at `kubectl -n {} get configmap {} -o yaml`",
                access.namespace,
                word(&access.namespace),
                word(&uploaded.name)
            ),
        )
    };
    Err(match existing {
        Existing::Missing => UploadError::Removed(failure("removed")),
        // the content is right, so another session created it
        Existing::Identical(_) => UploadError::Removed(failure("removed and made again")),
        Existing::Different => UploadError::Failed(failure("replaced by one of other content")),
    })
}

/// Repeats a request a few times if the API server does not answer.
async fn retried<T, F: Future<Output = Result<T, Failure>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, Failure> {
    let mut pause = VERIFY_PAUSE;
    for _ in 1..VERIFY_ATTEMPTS {
        match request().await {
            Err(failure) if !failure.lasting => log::info!("asking again: {}", failure.message),
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    request().await
}

#[cfg(test)]
mod tests;
