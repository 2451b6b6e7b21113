//! A namespace's ConfigMaps behind an API server without a network, and sessions that upload an agent into it.

use super::config_maps::AgentFiles;
use super::requests::VerifiedMaps;
use super::upload::{UploadError, UploadPlan, UploadedMap, compare_all, upload};
use crate::cluster::access::Access;
use crate::cluster::fake_api::{Answer, FakeApi};
use crate::cluster::job::AgentJob;
use http::Method;
use http::header::ACCEPT;
use kinject_bundle::{Architecture, CarriedAgent};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// The ConfigMaps by name.
pub(super) type Maps = BTreeMap<String, Value>;

/// A namespace's ConfigMaps, and how the API server treats requests for them.
#[derive(Default)]
pub(super) struct Namespace {
    pub(super) maps: Maps,
    /// The bytes of all requests that create one.
    pub(super) received: usize,
    /// How many ConfigMaps were created.
    created: usize,
    /// A change by another client, directly before the next request that writes.
    pub(super) before_write: Option<fn(&mut Maps)>,
    /// The next answers, for whatever request.
    pub(super) next_answers: VecDeque<Answer>,
    /// The answer to all requests of a method.
    pub(super) forbidden: Option<(Method, Answer)>,
    /// How many whole ConfigMaps were read.
    pub(super) read: usize,
    /// Runs whenever one is created.
    pub(super) on_creation: Option<Box<dyn Fn() + Send>>,
    /// How many there may be, and the refusal of another.
    pub(super) quota: Option<(usize, Answer)>,
}

/// A refusal with this code, reason and message.
pub(super) fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code });
    Answer::refusal(code, status)
}

/// How the API server refuses a patch that names another UID than the object's.
fn other_uid(name: &str) -> Answer {
    let message = "metadata.uid: Invalid value: \"another\": field is immutable";
    let mut status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("ConfigMap \"{name}\" is invalid: {message}"), "reason": "Invalid", "code": 422 });
    status["details"] = json!({ "name": name, "kind": "ConfigMap", "causes": [
        { "reason": "FieldValueInvalid", "message": "Invalid value: \"another\": field is immutable",
            "field": "metadata.uid" },
    ] });
    Answer::refusal(422, status)
}

/// Gives the first ConfigMap another content and another UID, as if it had been removed and created again.
pub(super) fn replace_first(maps: &mut Maps) {
    let first = maps.values_mut().next().unwrap();
    first["metadata"]["uid"] = json!("another");
    first["binaryData"]["loader"] = json!("AAAA");
}

impl Namespace {
    fn answer(&mut self, method: &Method, path: &str, accept: &str, body: &[u8]) -> Answer {
        if let Some(answer) = self.next_answers.pop_front() {
            return answer;
        }
        if let Some((forbidden, refusal)) = &self.forbidden
            && forbidden == method
        {
            return refusal.clone();
        }
        if method != Method::GET
            && let Some(change) = self.before_write.take()
        {
            change(&mut self.maps);
        }
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let name = path
            .strip_prefix("/api/v1/namespaces/default/configmaps")
            .unwrap();
        let name = name.trim_start_matches('/');
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        if method == Method::POST {
            return self.create(given, body.len());
        }
        let Some(found) = self.maps.get_mut(name) else {
            return status(404, "NotFound", "it does not exist");
        };
        if method == Method::PATCH {
            if given["metadata"]["uid"] != found["metadata"]["uid"] {
                return other_uid(name);
            }
            let owners = given["metadata"]["ownerReferences"].as_array().unwrap().clone();
            found["metadata"]["ownerReferences"]
                .as_array_mut()
                .unwrap()
                .extend(owners);
        }
        if method == Method::GET && !accept.contains("PartialObjectMetadata") {
            self.read += 1;
        }
        Answer::object(found.clone())
    }

    fn create(&mut self, mut map: Value, size: usize) -> Answer {
        let name = map["metadata"]["name"].as_str().unwrap().to_owned();
        self.received += size;
        if self.maps.contains_key(&name) {
            return status(409, "AlreadyExists", "it exists");
        }
        if let Some((most, refusal)) = &self.quota
            && self.maps.len() >= *most
        {
            return refusal.clone();
        }
        self.created += 1;
        if let Some(on_creation) = &self.on_creation {
            on_creation();
        }
        map["metadata"]["uid"] = json!(format!("uid {}", self.created));
        Answer::object(self.maps.entry(name).or_insert(map).clone())
    }
}

/// One session that uploads an agent of two ConfigMaps.
pub(super) struct Session {
    pub(super) namespace: Arc<Mutex<Namespace>>,
    pub(super) access: Access,
    pub(super) files: Rc<AgentFiles>,
    verified: Rc<VerifiedMaps>,
}

impl Session {
    /// The first session in an empty namespace.
    pub(super) fn new() -> Self {
        let agent = CarriedAgent {
            architecture: Architecture::Amd64,
            loader: vec![1; 10].into(),
            packed: vec![2; 1_200_000].into(),
            sha256: [3; 32],
        };
        let namespace = Arc::new(Mutex::new(Namespace::default()));
        let answering = Arc::clone(&namespace);
        let api = FakeApi::of_whole_requests(move |request, body| {
            let path = request.uri.path_and_query().unwrap().as_str();
            let accept = request
                .headers
                .get(ACCEPT)
                .map_or("", |accept| accept.to_str().unwrap());
            answering.lock().answer(&request.method, path, accept, body)
        });
        Self {
            namespace,
            access: api.access(),
            files: Rc::new(AgentFiles::shared(&agent)),
            verified: Rc::default(),
        }
    }

    /// Another session in the same namespace.
    pub(super) fn another(&self) -> Self {
        Self {
            namespace: Arc::clone(&self.namespace),
            access: self.access.clone(),
            files: Rc::clone(&self.files),
            verified: Rc::default(),
        }
    }

    pub(super) async fn plan(&self) -> UploadPlan {
        UploadPlan {
            files: Rc::clone(&self.files),
            existing: compare_all(&self.access, &self.files, &self.verified)
                .await
                .unwrap(),
            verified: Rc::clone(&self.verified),
        }
    }

    /// Uploads for the Job of this name.
    pub(super) async fn upload(&self, job: &str) -> Result<Vec<UploadedMap>, UploadError> {
        upload(&self.access, &owner(job), &self.plan().await).await
    }

    /// The names of each ConfigMap's owners.
    pub(super) fn owners(&self) -> Vec<Vec<String>> {
        let namespace = self.namespace.lock();
        let owners = |map: &Value| {
            let owners = map["metadata"]["ownerReferences"].as_array().unwrap().iter();
            owners
                .map(|owner| owner["name"].as_str().unwrap().to_owned())
                .collect()
        };
        namespace.maps.values().map(owners).collect()
    }
}

/// A Job of this name.
pub(super) fn owner(name: &str) -> AgentJob {
    AgentJob {
        name: name.to_owned(),
        uid: format!("uid of {name}"),
    }
}
