//! Requests to the API server for one of the agent's ConfigMaps: read and compare it, create it, add an owner.

use super::config_maps::is_same;
use super::refusal::{is_changed, refused};
use crate::cluster::access::{Access, WRITE_TIMEOUT};
use crate::cluster::job::{self, AgentJob};
use crate::report::Failure;
use http::HeaderValue;
use http::header::ACCEPT;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Resource as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::{PartialObjectMeta, Request};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for a request whose body and answer are metadata only.
const METADATA_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit for a request or an answer with a whole ConfigMap, which has up to 1 MiB, on a slow line.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(120);

/// Asks for the metadata of the created object as the answer, instead of the whole object.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// What the cluster has under the name of one of the agent's ConfigMaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Existing {
    /// No ConfigMap.
    Missing,
    /// An immutable ConfigMap of the same content, with this UID.
    Identical(String),
    /// A ConfigMap that is mutable, is being deleted, or has another content.
    Different,
}

/// The UIDs, by name, of ConfigMaps whose content this session has compared or sent. An immutable ConfigMap keeps its
/// content as long as it has the same UID, so the session reads only its metadata from then on.
#[derive(Default)]
pub(in crate::cluster) struct VerifiedMaps(RefCell<BTreeMap<String, String>>);

impl VerifiedMaps {
    fn contains(&self, name: &str, uid: &str) -> bool {
        self.0.borrow().get(name).is_some_and(|verified| verified == uid)
    }

    fn has_name(&self, name: &str) -> bool {
        self.0.borrow().contains_key(name)
    }

    pub(super) fn insert(&self, name: &str, uid: &str) {
        self.0.borrow_mut().insert(name.to_owned(), uid.to_owned());
    }
}

/// Why a request did not create a ConfigMap or add an owner.
pub(super) enum WriteError {
    /// The ConfigMap was created, replaced or removed since the session read it.
    Changed,
    /// The cluster does not let this user add an owner to the ConfigMap.
    OwnerForbidden(Failure),
    /// Any other failure.
    Failed(Failure),
}

/// Reads the ConfigMap that has the name of `wanted`, and compares the two.
pub(super) async fn compare(
    access: &Access,
    wanted: &ConfigMap,
    verified: &VerifiedMaps,
) -> Result<Existing, Failure> {
    let name = name_of(wanted);
    if verified.has_name(name) {
        match metadata_of(access, name).await? {
            None => return Ok(Existing::Missing),
            Some(PartialObjectMeta { metadata, .. }) => {
                if let (Some(uid), None) = (metadata.uid, metadata.deletion_timestamp)
                    && verified.contains(name, &uid)
                {
                    return Ok(Existing::Identical(uid));
                }
            }
        }
    }
    let found = timeout(TRANSFER_TIMEOUT, api(access).get_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?;
    match found {
        Ok(None) => Ok(Existing::Missing),
        Ok(Some(found)) => Ok(match found.metadata.uid.clone() {
            Some(uid) if is_same(wanted, &found) => {
                verified.insert(name, &uid);
                Existing::Identical(uid)
            }
            _ => Existing::Different,
        }),
        Err(error) => Err(refused(access, &error, "read the ConfigMaps with the agent")),
    }
}

/// The UID of the ConfigMap of that name; none if there is no such ConfigMap.
pub(super) async fn uid_of(access: &Access, name: &str) -> Result<Option<String>, Failure> {
    let found = metadata_of(access, name).await?;
    Ok(found.and_then(|found| found.metadata.uid))
}

async fn metadata_of(access: &Access, name: &str) -> Result<Option<PartialObjectMeta<ConfigMap>>, Failure> {
    timeout(METADATA_TIMEOUT, api(access).get_metadata_opt(name))
        .await
        .map_err(|_| access.silence("for the ConfigMaps with the agent"))?
        .map_err(|error| refused(access, &error, "read the ConfigMaps with the agent"))
}

/// Creates a ConfigMap that the Job owns; returns its UID.
pub(super) async fn create(access: &Access, job: &AgentJob, map: &ConfigMap) -> Result<String, WriteError> {
    let mut map = map.clone();
    let owner = serde_json::from_value(job::owner_reference(job)).map_err(|error| unserializable(&error))?;
    map.metadata.owner_references = Some(vec![owner]);
    let body = serde_json::to_vec(&map).map_err(|error| unserializable(&error))?;
    // the body is another copy of up to 1 MiB
    drop(map);
    let url = ConfigMap::url_path(&(), Some(&access.namespace));
    let mut request = Request::new(url)
        .create(&PostParams::default(), body)
        .map_err(|error| {
            WriteError::Failed(Failure::lasting(
                format!("cannot make a ConfigMap: {error}"),
                "report this",
            ))
        })?;
    request.headers_mut().insert(ACCEPT, METADATA_ONLY);
    let created = timeout(
        TRANSFER_TIMEOUT,
        access.client.request::<PartialObjectMeta<ConfigMap>>(request),
    )
    .await
    .map_err(|_| WriteError::Failed(access.silence("to create a ConfigMap with the agent")))?;
    match created {
        Ok(created) => required_uid(access, created.metadata.uid),
        Err(kube::Error::Api(status)) if status.code == 409 => Err(WriteError::Changed),
        Err(error) => Err(WriteError::Failed(refused(
            access,
            &error,
            "create the ConfigMaps with the agent",
        ))),
    }
}

/// Makes the Job another owner of the ConfigMap that has this name and UID; returns the UID. The API server merges the
/// list of owners, so concurrent sessions do not overwrite each other's entries.
pub(super) async fn add_owner(
    access: &Access,
    job: &AgentJob,
    name: &str,
    uid: &str,
) -> Result<String, WriteError> {
    let patch = json!({
        "metadata": { "uid": uid, "ownerReferences": [job::owner_reference(job)] },
    });
    let api = api(access);
    let parameters = PatchParams::default();
    let patch = Patch::Strategic(&patch);
    // the server reads and writes the whole object, and does so again when others patch it at the same time
    let patched = timeout(WRITE_TIMEOUT, api.patch_metadata(name, &parameters, &patch))
        .await
        .map_err(|_| WriteError::Failed(access.silence("to share the ConfigMaps with the agent")))?;
    match patched {
        Ok(patched) => required_uid(access, patched.metadata.uid),
        Err(kube::Error::Api(status)) if is_changed(&status) => Err(WriteError::Changed),
        Err(error) => {
            // the admission plug-in OwnerReferencesPermissionEnforcement demands the right to delete the object that
            // gets an owner
            let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
            let failure = refused(access, &error, "share the ConfigMaps with the agent");
            Err(match is_forbidden {
                true => WriteError::OwnerForbidden(failure),
                false => WriteError::Failed(failure),
            })
        }
    }
}

pub(super) fn name_of(map: &ConfigMap) -> &str {
    map.metadata.name.as_deref().unwrap_or_default()
}

fn api(access: &Access) -> Api<ConfigMap> {
    Api::namespaced(access.client.clone(), &access.namespace)
}

fn required_uid(access: &Access, uid: Option<String>) -> Result<String, WriteError> {
    uid.ok_or_else(|| {
        WriteError::Failed(Failure::lasting(
            format!("the answer of {} for a ConfigMap has no UID", access.server),
            "check that this is a Kubernetes API server: run `kubectl version`",
        ))
    })
}

fn unserializable(error: &serde_json::Error) -> WriteError {
    WriteError::Failed(Failure::lasting(
        format!("the agent's {} cannot be written: {error}", ConfigMap::KIND),
        "report this",
    ))
}
