//! The agent's ConfigMaps in the cluster: found, sent, shared and looked at again.
//!
//! Each Job that uses a ConfigMap is one of its owners. The garbage collector drops the references to Jobs that are
//! gone, and removes the ConfigMap with the last. It deletes an object only in the version in which it saw it without
//! owners; one of an older Kubernetes may delete a ConfigMap that has just got another owner. So until the pod runs,
//! what is missing is sent again ([`keep_present`]).

mod refusal;

use super::config_maps::{AgentFiles, is_same};
use crate::cluster::access::{Access, WRITE_TIMEOUT};
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
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;

pub(in crate::cluster) use refusal::{is_changed, or_by_image, refused};

/// How long the API server may take to tell of a ConfigMap's metadata.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// How long a whole one may take, in either direction: a megabyte and a half on a slow line.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(120);

/// How long all of them may take to be there: less than a Job is held ([`job::HOLD_SECONDS`]).
const PLACE_PATIENCE: Duration = Duration::from_secs(job::PLACE_SECONDS as u64);

/// How often a ConfigMap is tried that others make and remove at the same time.
const ATTEMPTS: usize = 5;

/// The pause between looks at whether all ConfigMaps are there, for a pod that does not start.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// How often the ConfigMaps of an agent that runs are looked at if the API server does not answer.
const CONFIRM_ATTEMPTS: u32 = 5;

/// The pause after the first of these attempts; it doubles.
const CONFIRM_PAUSE: Duration = Duration::from_millis(250);

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

/// The UIDs by name of the ConfigMaps that this session has compared, or has sent. An immutable one holds one content
/// for as long as its UID is the same, so it is not fetched as a whole another time.
#[derive(Default)]
pub(in crate::cluster) struct KnownMaps(RefCell<BTreeMap<String, String>>);

impl KnownMaps {
    fn is_known(&self, name: &str, uid: &str) -> bool {
        self.0.borrow().get(name).is_some_and(|known| known == uid)
    }

    fn has(&self, name: &str) -> bool {
        self.0.borrow().contains_key(name)
    }

    fn learn(&self, name: &str, uid: &str) {
        self.0.borrow_mut().insert(name.to_owned(), uid.to_owned());
    }
}

/// An agent's files, and which of them the cluster has already.
pub(in crate::cluster) struct Placement {
    /// The files.
    pub(in crate::cluster) files: Rc<AgentFiles>,
    /// For each ConfigMap what was found.
    pub(in crate::cluster) found: Vec<Found>,
    /// The ConfigMaps that need not be compared again.
    pub(in crate::cluster) known: Rc<KnownMaps>,
}

/// A ConfigMap that holds what it should, and belongs to the agent's Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct PlacedMap {
    name: String,
    uid: String,
}

/// Why ConfigMaps are not there, or not the Job's.
#[derive(Debug)]
pub(in crate::cluster) enum NotPlaced {
    /// There is another ConfigMap of that name, or the cluster does not let this user share it.
    NameTaken(Failure),
    /// A ConfigMap was removed, or removed and sent again by another session, while the agent started.
    Removed(Failure),
    /// The Job was not released before its deadline.
    HeldTooLong(Failure),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for NotPlaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Looks for all ConfigMaps of an agent.
pub(in crate::cluster) async fn find(
    access: &Access,
    files: &AgentFiles,
    known: &KnownMaps,
) -> Result<Vec<Found>, Failure> {
    try_join_all(files.maps.iter().map(|map| look(access, map, known))).await
}

/// Sees to it that the cluster has all ConfigMaps and that they belong to the Job. ConfigMaps that the cluster has are
/// not sent.
pub(in crate::cluster) async fn place(
    access: &Access,
    job: &AgentJob,
    placement: &Placement,
) -> Result<Vec<PlacedMap>, NotPlaced> {
    let maps = placement.files.maps.iter().zip(&placement.found);
    let placed =
        try_join_all(maps.map(|(map, found)| place_one(access, job, map, &placement.known, found.clone())));
    timeout(PLACE_PATIENCE, placed).await.unwrap_or_else(|_| {
        Err(NotPlaced::Failed(Failure::passing(
            format!(
                "the ConfigMaps with the agent were not sent within {} s",
                PLACE_PATIENCE.as_secs()
            ),
            "check the line to the cluster, or name an image that holds the agent with --agent-image",
        )))
    })
}

/// Sends ConfigMaps that go missing again until `started`, the pod's start, is done. A ConfigMap that is being sent at
/// that moment is sent to the end, since its UID is what [`confirm`] compares.
pub(in crate::cluster) async fn keep_present<T>(
    access: &Access,
    job: &AgentJob,
    placement: &Placement,
    placed: &mut [PlacedMap],
    started: impl Future<Output = T>,
) -> Result<T, NotPlaced> {
    let mut started = pin!(started);
    loop {
        let changed = tokio::select! {
            biased;
            started = &mut started => return Ok(started),
            changed = next_changed(access, placed) => changed?,
        };
        for (number, (map, placed)) in placement.files.maps.iter().zip(placed.iter_mut()).enumerate() {
            if !changed.contains(&number) {
                continue;
            }
            log::info!(
                "the ConfigMap {} was removed before the agent started: sending it again",
                placed.name
            );
            let sent = async {
                let found = look(access, map, &placement.known).await?;
                place_one(access, job, map, &placement.known, found).await
            };
            match sent.await {
                Ok(sent) => *placed = sent,
                Err(NotPlaced::Failed(failure)) if !failure.lasting => {
                    log::info!(
                        "cannot send the ConfigMap {} yet: {}",
                        placed.name,
                        failure.message
                    );
                }
                Err(why) => return Err(why),
            }
        }
    }
}

/// Pauses, and says which ConfigMaps are others than those that were placed. Without an answer none is.
async fn next_changed(access: &Access, placed: &[PlacedMap]) -> Result<Vec<usize>, Failure> {
    tokio::time::sleep(LOOK_PAUSE).await;
    let mut changed = Vec::new();
    for (number, placed) in placed.iter().enumerate() {
        match uid_of(access, &placed.name).await {
            Ok(uid) if uid.as_ref() == Some(&placed.uid) => {}
            Ok(_) => changed.push(number),
            Err(failure) if !failure.lasting => {
                log::info!(
                    "cannot look for the ConfigMap {}: {}",
                    placed.name,
                    failure.message
                );
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(changed)
}

/// Makes sure that the agent was started from what the session put there: an immutable ConfigMap holds one content for
/// as long as its UID is the same.
pub(in crate::cluster) async fn confirm(
    access: &Access,
    placement: &Placement,
    placed: &[PlacedMap],
) -> Result<(), NotPlaced> {
    let maps = placement.files.maps.iter().zip(placed);
    let confirmed = maps.map(|(map, placed)| confirm_one(access, map, &placement.known, placed));
    try_join_all(confirmed).await.map(drop)
}

async fn confirm_one(
    access: &Access,
    map: &ConfigMap,
    known: &KnownMaps,
    placed: &PlacedMap,
) -> Result<(), NotPlaced> {
    let uid = repeated(|| uid_of(access, &placed.name)).await?;
    if uid.as_ref() == Some(&placed.uid) {
        return Ok(());
    }
    let found = repeated(|| look(access, map, known)).await?;
    let failure = |what: &str| {
        Failure::lasting(
            format!(
                "the ConfigMap {} with the agent was {what} while the agent started: the agent is not used",
                placed.name
            ),
            &format!(
                "only an editor of namespace {} can do that: look at `kubectl -n {} get configmap {} -o yaml`",
                access.namespace,
                word(&access.namespace),
                word(&placed.name)
            ),
        )
    };
    Err(match found {
        Found::Missing => NotPlaced::Removed(failure("removed")),
        // by another session, as it seems
        Found::Same(_) => NotPlaced::Removed(failure("removed and made again")),
        Found::Other => NotPlaced::Failed(failure("replaced by one of other content")),
    })
}

/// Asks again a few times if the API server does not answer.
async fn repeated<T, F: Future<Output = Result<T, Failure>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, Failure> {
    let mut pause = CONFIRM_PAUSE;
    for _ in 1..CONFIRM_ATTEMPTS {
        match ask().await {
            Err(failure) if !failure.lasting => log::info!("asking again: {}", failure.message),
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    ask().await
}

async fn look(access: &Access, wanted: &ConfigMap, known: &KnownMaps) -> Result<Found, Failure> {
    let name = name_of(wanted);
    if known.has(name) {
        match metadata_of(access, name).await? {
            None => return Ok(Found::Missing),
            Some(PartialObjectMeta { metadata, .. }) => {
                if let (Some(uid), None) = (metadata.uid, metadata.deletion_timestamp)
                    && known.is_known(name, &uid)
                {
                    return Ok(Found::Same(uid));
                }
            }
        }
    }
    let found = timeout(TRANSFER_PATIENCE, maps(access).get_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?;
    match found {
        Ok(None) => Ok(Found::Missing),
        Ok(Some(found)) => Ok(match found.metadata.uid.clone() {
            Some(uid) if is_same(wanted, &found) => {
                known.learn(name, &uid);
                Found::Same(uid)
            }
            _ => Found::Other,
        }),
        Err(error) => Err(refused(access, &error, "read the ConfigMaps with the agent")),
    }
}

/// The UID of what has that name; none if nothing has.
async fn uid_of(access: &Access, name: &str) -> Result<Option<String>, Failure> {
    let found = metadata_of(access, name).await?;
    Ok(found.and_then(|found| found.metadata.uid))
}

async fn metadata_of(access: &Access, name: &str) -> Result<Option<PartialObjectMeta<ConfigMap>>, Failure> {
    timeout(ANSWER_PATIENCE, maps(access).get_metadata_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?
        .map_err(|error| refused(access, &error, "read the ConfigMaps with the agent"))
}

async fn place_one(
    access: &Access,
    job: &AgentJob,
    map: &ConfigMap,
    known: &KnownMaps,
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
                known.learn(name, &uid);
                return Ok(PlacedMap {
                    name: name.to_owned(),
                    uid,
                });
            }
            // another session was faster, or the collector was
            Err(Unplaced::Changed) => found = look(access, map, known).await?,
            Err(Unplaced::Unshared(failure)) => return Err(NotPlaced::NameTaken(failure)),
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
    /// The cluster does not let this user make the Job an owner of it.
    Unshared(Failure),
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
        TRANSFER_PATIENCE,
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

/// Makes the Job an owner of a ConfigMap that is there, if it is still the one of that UID. The list of owners is
/// merged by the server, so sessions that do so at once lose nothing.
async fn own(access: &Access, job: &AgentJob, name: &str, found: &str) -> Result<String, Unplaced> {
    let patch = json!({
        "metadata": { "uid": found, "ownerReferences": [job::owner_reference(job)] },
    });
    let patched = maps(access);
    let parameters = PatchParams::default();
    let patch = Patch::Strategic(&patch);
    let patched = patched.patch_metadata(name, &parameters, &patch);
    // the server reads and writes the whole object, and does so again when others patch it at the same time
    let patched = timeout(WRITE_TIMEOUT, patched)
        .await
        .map_err(|_| Unplaced::Failed(access.silence("to share the ConfigMaps with the agent")))?;
    match patched {
        Ok(patched) => uid(access, patched.metadata.uid),
        Err(kube::Error::Api(status)) if is_changed(&status) => Err(Unplaced::Changed),
        Err(error) => {
            // OwnerReferencesPermissionEnforcement demands the right to delete what gets another owner
            let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
            let failure = refused(access, &error, "share the ConfigMaps with the agent");
            Err(match is_forbidden {
                true => Unplaced::Unshared(failure),
                false => Unplaced::Failed(failure),
            })
        }
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

#[cfg(test)]
mod tests;
