//! The agent's ConfigMaps in the cluster: found, sent, shared and looked at again.
//!
//! Each Job that uses a ConfigMap is one of its owners. The garbage collector drops the references to Jobs that are gone,
//! and removes the ConfigMap with the last. It deletes an object only in the version in which it saw it without owners;
//! one of an older Kubernetes may delete a ConfigMap that has just got another owner. So until the pod runs, what is
//! missing is sent again ([`keep_present`]).

use super::config_maps::{AgentFiles, is_same};
use crate::cluster::access::Access;
use crate::cluster::job::{self, AgentJob};
use crate::log;
use crate::report::Failure;
use futures::future::try_join_all;
use http::HeaderValue;
use http::header::ACCEPT;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_escape::word;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Request};
use serde_json::json;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take to tell of a ConfigMap.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to send one: a megabyte and a half on a slow line. A Job that is held waits for longer.
const SEND_PATIENCE: Duration = Duration::from_secs(120);

/// How often a ConfigMap is tried that others make and remove at the same time.
const ATTEMPTS: usize = 5;

/// The pause between looks at whether all ConfigMaps are there, for a pod that does not start.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Metadata alone: the answer to a megabyte needs no megabyte.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// What the cluster has under a ConfigMap's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Found {
    /// Nothing.
    Missing,
    /// What a session would have put there; its UID.
    Same(String),
    /// Something else, or something that may not be read.
    Other,
}

/// An agent's files, and which of them the cluster has already.
pub(in crate::cluster) struct Placement {
    /// The files.
    pub(in crate::cluster) files: Rc<AgentFiles>,
    /// For each ConfigMap what was found.
    pub(in crate::cluster) found: Vec<Found>,
}

/// A ConfigMap that holds what it should, and belongs to the agent's Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct PlacedMap {
    name: String,
    uid: String,
}

/// Why ConfigMaps are not there.
#[derive(Debug)]
pub(in crate::cluster) enum NotPlaced {
    /// Somebody has another ConfigMap of that name.
    NameTaken(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotPlaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Looks for all ConfigMaps of an agent.
pub(in crate::cluster) async fn find(access: &Access, files: &AgentFiles) -> Result<Vec<Found>, Failure> {
    try_join_all(files.maps.iter().map(|map| look(access, map))).await
}

/// Sees to it that the cluster has all ConfigMaps and that they belong to the Job. What is there already is not sent.
pub(in crate::cluster) async fn place(
    access: &Access,
    job: &AgentJob,
    placement: &Placement,
) -> Result<Vec<PlacedMap>, NotPlaced> {
    let maps = placement.files.maps.iter().zip(&placement.found);
    try_join_all(maps.map(|(map, found)| place_one(access, job, map, found.clone()))).await
}

/// Sends again what goes missing, for as long as the pod may not have mounted it.
pub(in crate::cluster) async fn keep_present(
    access: &Access,
    job: &AgentJob,
    files: &AgentFiles,
    placed: &mut [PlacedMap],
) -> Result<Infallible, NotPlaced> {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        for (map, placed) in files.maps.iter().zip(placed.iter_mut()) {
            if uid_of(access, &placed.name).await?.as_ref() != Some(&placed.uid) {
                log::info!(
                    "the ConfigMap {} was removed before the agent started: sending it again",
                    placed.name
                );
                let found = look(access, map).await?;
                *placed = place_one(access, job, map, found).await?;
            }
        }
    }
}

/// Makes sure that the agent was started from what the session put there: an immutable ConfigMap holds one content for as
/// long as its UID is the same.
pub(in crate::cluster) async fn confirm(access: &Access, placed: &[PlacedMap]) -> Result<(), Failure> {
    let confirmed = placed.iter().map(|map| async {
        if uid_of(access, &map.name).await?.as_ref() == Some(&map.uid) {
            return Ok(());
        }
        Err(Failure::lasting(
            format!(
                "the ConfigMap {} with the agent was replaced while the agent started: the agent is not used",
                map.name
            ),
            &format!(
                "somebody who may edit namespace {} did that: look at `kubectl -n {} get configmap {} -o yaml`",
                access.namespace,
                word(&access.namespace),
                word(&map.name)
            ),
        ))
    });
    try_join_all(confirmed).await.map(drop)
}

async fn look(access: &Access, wanted: &ConfigMap) -> Result<Found, Failure> {
    let name = name_of(wanted);
    let found = timeout(ANSWER_PATIENCE, maps(access).get_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?;
    match found {
        Ok(None) => Ok(Found::Missing),
        Ok(Some(found)) => Ok(match found.metadata.uid.clone() {
            Some(uid) if is_same(wanted, &found) => Found::Same(uid),
            _ => Found::Other,
        }),
        Err(error) => Err(refused(access, &error, "read the ConfigMaps with the agent")),
    }
}

/// The UID of what has that name; none if nothing has.
async fn uid_of(access: &Access, name: &str) -> Result<Option<String>, Failure> {
    let found = timeout(ANSWER_PATIENCE, maps(access).get_metadata_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?
        .map_err(|error| refused(access, &error, "read the ConfigMaps with the agent"))?;
    Ok(found.and_then(|found| found.metadata.uid))
}

async fn place_one(
    access: &Access,
    job: &AgentJob,
    map: &ConfigMap,
    mut found: Found,
) -> Result<PlacedMap, NotPlaced> {
    let name = name_of(map);
    for _ in 0..ATTEMPTS {
        let placed = match &found {
            Found::Missing => send(access, job, map).await,
            Found::Same(uid) => own(access, job, name, uid).await,
            Found::Other => return Err(NotPlaced::NameTaken(name_taken(access, name))),
        };
        match placed {
            Ok(uid) => {
                return Ok(PlacedMap {
                    name: name.to_owned(),
                    uid,
                });
            }
            // another session was faster, or the collector was
            Err(Unplaced::Changed) => found = look(access, map).await?,
            Err(Unplaced::Failed(failure)) => return Err(NotPlaced::Failed(failure)),
        }
    }
    Err(NotPlaced::Failed(Failure::passing(
        format!("the ConfigMap {name} is made and removed by others all the time"),
        "try again, or name an image that holds the agent with --agent-image",
    )))
}

/// Why one request did not place a ConfigMap.
enum Unplaced {
    /// It is not as it was a moment ago.
    Changed,
    Failed(Failure),
}

/// Makes a ConfigMap that is the Job's; returns its UID.
async fn send(access: &Access, job: &AgentJob, map: &ConfigMap) -> Result<String, Unplaced> {
    let mut map = map.clone();
    let owner = serde_json::from_value(job::owner_reference(job)).map_err(|error| unwritten(&error))?;
    map.metadata.owner_references = Some(vec![owner]);
    let body = serde_json::to_vec(&map).map_err(|error| unwritten(&error))?;
    drop(map);
    let url = ConfigMap::url_path(&(), Some(&access.namespace));
    let mut request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| {
            Unplaced::Failed(Failure::lasting(
                format!("cannot make a ConfigMap: {error}"),
                "report this",
            ))
        })?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    let made = timeout(
        SEND_PATIENCE,
        access.client.request::<PartialObjectMeta<ConfigMap>>(request),
    )
    .await
    .map_err(|_| Unplaced::Failed(access.silence("to create a ConfigMap with the agent")))?;
    match made {
        Ok(made) => uid(access, made.metadata.uid),
        Err(error) if is_conflict(&error) => Err(Unplaced::Changed),
        Err(error) => Err(Unplaced::Failed(refused(
            access,
            &error,
            "create the ConfigMaps with the agent",
        ))),
    }
}

/// Makes the Job an owner of a ConfigMap that is there, if it is still the one of that UID. The list of owners is merged by
/// the server, so sessions that do so at once lose nothing.
async fn own(access: &Access, job: &AgentJob, name: &str, found: &str) -> Result<String, Unplaced> {
    let patch = json!({
        "metadata": { "uid": found, "ownerReferences": [job::owner_reference(job)] },
    });
    let patched = maps(access);
    let parameters = PatchParams::default();
    let patch = Patch::Strategic(&patch);
    let patched = patched.patch_metadata(name, &parameters, &patch);
    let patched = timeout(ANSWER_PATIENCE, patched)
        .await
        .map_err(|_| Unplaced::Failed(access.silence("to share the ConfigMaps with the agent")))?;
    match patched {
        Ok(patched) => uid(access, patched.metadata.uid),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(Unplaced::Changed),
        Err(error) if is_conflict(&error) => Err(Unplaced::Changed),
        Err(error) => Err(Unplaced::Failed(refused(
            access,
            &error,
            "share the ConfigMaps with the agent",
        ))),
    }
}

fn maps(access: &Access) -> Api<ConfigMap> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

fn name_of(map: &ConfigMap) -> &str {
    map.metadata.name.as_deref().unwrap_or_default()
}

fn uid(access: &Access, uid: Option<String>) -> Result<String, Unplaced> {
    uid.ok_or_else(|| {
        Unplaced::Failed(Failure::lasting(
            format!("the answer of {} for a ConfigMap has no UID", access.server),
            "check that this is a Kubernetes API server: run `kubectl version`",
        ))
    })
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn unwritten(error: &serde_json::Error) -> Unplaced {
    Unplaced::Failed(Failure::lasting(
        format!("the agent's {} cannot be written: {error}", ConfigMap::KIND),
        "report this",
    ))
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

/// The cluster's refusal, with the ways out of it.
pub(in crate::cluster) fn refused(access: &Access, error: &kube::Error, what: &str) -> Failure {
    let failure = access.failure(error, what);
    match error {
        kube::Error::Api(status) if status.code == 403 && !status.message.contains("exceeded quota") => {
            let hint = "a carried agent takes `create`, `get` and `patch` on configmaps, and `patch` on jobs: ask for them";
            or_by_image(Failure::lasting(failure.message, hint))
        }
        _ => or_by_image(failure),
    }
}

/// The failure, with the way out that leads around all of what is special of a carried agent.
pub(in crate::cluster) fn or_by_image(mut failure: Failure) -> Failure {
    if failure.lasting && !failure.is_end {
        let hint = failure.hint.take().unwrap_or_default();
        failure.hint = Some(format!(
            "{hint}; --agent-image names an image that holds the agent instead"
        ));
    }
    failure
}

#[cfg(test)]
mod tests;
