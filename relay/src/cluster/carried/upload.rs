//! Uploads the agent's ConfigMaps, or shares those that the cluster has already.
//!
//! Every Job that uses a ConfigMap is one of its owners. The garbage collector removes the references to Jobs that are
//! gone, and removes the ConfigMap with the last one.

use super::config_maps::AgentFiles;
use super::requests::{Existing, VerifiedMaps, WriteError, add_owner, compare, create, name_of};
use crate::cluster::access::Access;
use crate::cluster::job::{self, AgentJob};
use crate::report::Failure;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for all ConfigMaps together: shorter than the hold of the Job ([`job::HOLD_SECONDS`]).
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(job::UPLOAD_SECONDS as u64);

/// How many times to try a ConfigMap that other sessions create or remove at the same time.
const ATTEMPTS: usize = 5;

/// An agent's files, and which of them the cluster has already.
pub(in crate::cluster) struct UploadPlan {
    /// The files.
    pub(in crate::cluster) files: Rc<AgentFiles>,
    /// For each ConfigMap, what the cluster has under its name.
    pub(in crate::cluster) existing: Vec<Existing>,
    /// The ConfigMaps whose content need not be read again.
    pub(in crate::cluster) verified: Rc<VerifiedMaps>,
}

/// A ConfigMap that has the right content and that the agent's Job owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct UploadedMap {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Why the agent's Job does not have its ConfigMaps.
#[derive(Debug)]
pub(in crate::cluster) enum UploadError {
    /// A different ConfigMap has the name, or the cluster does not let this user add an owner to it.
    NameTaken(Failure),
    /// A ConfigMap was removed while the agent started, and another session may have created it again.
    Removed(Failure),
    /// The Job ended at its deadline before the relay released it.
    HoldExpired(Failure),
    /// Any other failure.
    Failed(Failure),
}

impl From<Failure> for UploadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Compares all ConfigMaps of an agent with what the cluster has under their names.
pub(in crate::cluster) async fn compare_all(
    access: &Access,
    files: &AgentFiles,
    verified: &VerifiedMaps,
) -> Result<Vec<Existing>, Failure> {
    try_join_all(files.maps.iter().map(|map| compare(access, map, verified))).await
}

/// Creates the ConfigMaps that are missing, and makes the Job an owner of the others.
pub(in crate::cluster) async fn upload(
    access: &Access,
    job: &AgentJob,
    plan: &UploadPlan,
) -> Result<Vec<UploadedMap>, UploadError> {
    let maps = plan.files.maps.iter().zip(&plan.existing);
    let uploaded = try_join_all(
        maps.map(|(map, existing)| upload_map(access, job, map, &plan.verified, existing.clone())),
    );
    timeout(UPLOAD_TIMEOUT, uploaded).await.unwrap_or_else(|_| {
        Err(UploadError::Failed(Failure::passing(
            format!(
                "the ConfigMaps with the agent were not sent within {} s",
                UPLOAD_TIMEOUT.as_secs()
            ),
            "check the line to the cluster, or name an image that holds the agent with --agent-image",
        )))
    })
}

/// Creates or shares one ConfigMap, and compares again if it changes meanwhile.
pub(super) async fn upload_map(
    access: &Access,
    job: &AgentJob,
    map: &ConfigMap,
    verified: &VerifiedMaps,
    mut existing: Existing,
) -> Result<UploadedMap, UploadError> {
    let name = name_of(map);
    for _ in 0..ATTEMPTS {
        let written = match &existing {
            Existing::Missing => create(access, job, map).await,
            Existing::Identical(uid) => add_owner(access, job, name, uid).await,
            Existing::Different => return Err(UploadError::NameTaken(name_taken(access, name))),
        };
        match written {
            Ok(uid) => {
                verified.insert(name, &uid);
                return Ok(UploadedMap {
                    name: name.to_owned(),
                    uid,
                });
            }
            // another session created it, or the garbage collector removed it
            Err(WriteError::Changed) => existing = compare(access, map, verified).await?,
            Err(WriteError::OwnerForbidden(failure)) => return Err(UploadError::NameTaken(failure)),
            Err(WriteError::Failed(failure)) => return Err(UploadError::Failed(failure)),
        }
    }
    Err(UploadError::Failed(Failure::passing(
        format!("the ConfigMap {name} is made and removed by others all the time"),
        "try again, or name an image that holds the agent with --agent-image",
    )))
}

fn name_taken(access: &Access, name: &str) -> Failure {
    Failure::lasting(
        format!(
            "namespace {} has another ConfigMap of the name {name}",
            access.namespace
        ),
        "look whose it is, or name an image that holds the agent with --agent-image",
    )
}

#[cfg(test)]
mod tests;
