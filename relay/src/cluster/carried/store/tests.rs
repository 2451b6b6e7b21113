use super::*;
use crate::cluster::fake_api::{Answer, FakeApi};
use http::Method;
use kinject_bundle::{Architecture, CarriedAgent};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A namespace's ConfigMaps, as an API server keeps them.
#[derive(Default)]
struct Namespace {
    maps: BTreeMap<String, Value>,
    /// How many bytes were sent to make some.
    sent: usize,
    made: usize,
    /// What happens before the next request that changes something is answered.
    meanwhile: Option<fn(&mut BTreeMap<String, Value>)>,
    /// The next answers, whatever is asked for.
    refusals: VecDeque<Answer>,
    /// What is refused: all requests of that method.
    forbidden: Option<(Method, Answer)>,
    /// How many whole ConfigMaps were fetched.
    fetched: usize,
    /// What happens when one is made.
    at_creation: Option<Box<dyn Fn() + Send>>,
    /// How many there may be, and how another is refused.
    most: Option<(usize, Answer)>,
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
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

impl Namespace {
    fn answer(&mut self, method: &Method, path: &str, accept: &str, body: &[u8]) -> Answer {
        if let Some(refusal) = self.refusals.pop_front() {
            return refusal;
        }
        if let Some((forbidden, refusal)) = &self.forbidden
            && forbidden == method
        {
            return refusal.clone();
        }
        if method != Method::GET
            && let Some(meanwhile) = self.meanwhile.take()
        {
            meanwhile(&mut self.maps);
        }
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        let name = path
            .strip_prefix("/api/v1/namespaces/default/configmaps")
            .unwrap();
        let name = name.trim_start_matches('/');
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        if method == Method::POST {
            let name = given["metadata"]["name"].as_str().unwrap().to_owned();
            self.sent += body.len();
            if self.maps.contains_key(&name) {
                return status(409, "AlreadyExists", "it exists");
            }
            if let Some((most, refusal)) = &self.most
                && self.maps.len() >= *most
            {
                return refusal.clone();
            }
            self.made += 1;
            if let Some(at_creation) = &self.at_creation {
                at_creation();
            }
            let mut made = given;
            made["metadata"]["uid"] = json!(format!("uid {}", self.made));
            return Answer::object(self.maps.entry(name).or_insert(made).clone());
        }
        let Some(found) = self.maps.get_mut(name) else {
            return status(404, "NotFound", "it is not there");
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
            self.fetched += 1;
        }
        Answer::object(found.clone())
    }
}

struct World {
    namespace: Arc<Mutex<Namespace>>,
    access: Access,
    files: Rc<AgentFiles>,
    known: Rc<KnownMaps>,
}

impl World {
    fn new() -> Self {
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
            known: Rc::default(),
        }
    }

    /// Another session, with the same API server.
    fn other_session(&self) -> Self {
        Self {
            namespace: Arc::clone(&self.namespace),
            access: self.access.clone(),
            files: Rc::clone(&self.files),
            known: Rc::default(),
        }
    }

    async fn confirm(&self, placed: &[PlacedMap]) -> Result<(), NotPlaced> {
        confirm(&self.access, &self.find().await, placed).await
    }

    async fn find(&self) -> Placement {
        Placement {
            files: Rc::clone(&self.files),
            found: find(&self.access, &self.files, &self.known).await.unwrap(),
            known: Rc::clone(&self.known),
        }
    }

    async fn place(&self, job: &str) -> Result<Vec<PlacedMap>, NotPlaced> {
        place(&self.access, &owner(job), &self.find().await).await
    }

    async fn keep_present<T>(
        &self,
        placement: &Placement,
        placed: &mut [PlacedMap],
        started: impl Future<Output = T>,
    ) -> Result<T, NotPlaced> {
        keep_present(&self.access, &owner("one"), placement, placed, started).await
    }

    /// The names of each ConfigMap's owners.
    fn owners(&self) -> Vec<Vec<String>> {
        let namespace = self.namespace.lock();
        let owners = |map: &Value| {
            let owners = map["metadata"]["ownerReferences"].as_array().unwrap().iter();
            owners
                .map(|owner| owner["name"].as_str().unwrap().to_owned())
                .collect()
        };
        namespace.maps.values().map(owners).collect()
    }

    fn sent(&self) -> usize {
        self.namespace.lock().sent
    }
}

fn owner(name: &str) -> AgentJob {
    AgentJob {
        name: name.to_owned(),
        uid: format!("uid of {name}"),
    }
}

#[tokio::test]
async fn missing_config_maps_are_created_and_owned_by_the_job() {
    let world = World::new();
    assert_eq!(world.find().await.found, [Found::Missing, Found::Missing]);
    let placed = world.place("one").await.unwrap();
    assert_eq!(world.owners(), [["one"], ["one"]]);
    world.confirm(&placed).await.unwrap();
    let found: Vec<_> = placed.into_iter().map(|map| Found::Same(map.uid)).collect();
    assert_eq!(world.find().await.found, found);
}

#[tokio::test]
async fn existing_config_maps_get_another_owner_and_are_not_sent_again() {
    let world = World::new();
    let first = world.place("one").await.unwrap();
    let sent = world.sent();
    let second = world.other_session().place("other").await.unwrap();
    assert_eq!(first, second);
    assert_eq!(world.owners(), [["one", "other"], ["one", "other"]]);
    assert_eq!(world.sent(), sent);
}

#[tokio::test]
async fn config_maps_created_concurrently_by_another_session_are_shared() {
    let world = World::new();
    let (both, other) = (world.find().await, world.find().await);
    let first = place(&world.access, &owner("one"), &both).await.unwrap();
    let second = place(&world.access, &owner("other"), &other).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(world.owners(), [["one", "other"], ["one", "other"]]);
}

#[tokio::test]
async fn config_maps_garbage_collected_concurrently_are_sent_again() {
    let world = World::new();
    let first = world.place("one").await.unwrap();
    let found = world.find().await;
    world.namespace.lock().meanwhile = Some(BTreeMap::clear);
    let second = place(&world.access, &owner("other"), &found).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.owners(), [["other"], ["other"]]);
}

#[tokio::test]
async fn config_map_with_other_content_counts_as_taken_name_and_is_unchanged() {
    let world = World::new();
    world.place("one").await.unwrap();
    let alter = |maps: &mut BTreeMap<String, Value>| {
        let first = maps.values_mut().next().unwrap();
        first["binaryData"]["loader"] = json!("AAAA");
    };
    alter(&mut world.namespace.lock().maps);
    let other = world.other_session();
    assert_eq!(other.find().await.found[0], Found::Other);
    let Err(NotPlaced::NameTaken(failure)) = other.place("other").await else {
        panic!("it was taken");
    };
    assert!(
        failure
            .message
            .contains("another ConfigMap of the name kinject-agent-"),
        "{}",
        failure.message
    );
    assert_eq!(world.owners()[0], ["one"]);
}

#[tokio::test]
async fn config_map_replaced_between_look_and_patch_is_compared_again() {
    let world = World::new();
    world.place("one").await.unwrap();
    let found = world.find().await;
    world.namespace.lock().meanwhile = Some(|maps| {
        for map in maps.values_mut() {
            map["metadata"]["uid"] = json!("another");
        }
    });
    let placed = place(&world.access, &owner("other"), &found).await.unwrap();
    assert!(placed.iter().all(|map| map.uid == "another"), "{placed:?}");
    assert_eq!(world.owners(), [["one", "other"], ["one", "other"]]);
}

#[tokio::test]
async fn config_map_of_other_content_between_look_and_patch_counts_as_taken_name() {
    let world = World::new();
    world.place("one").await.unwrap();
    let found = world.find().await;
    world.namespace.lock().meanwhile = Some(|maps| {
        let first = maps.values_mut().next().unwrap();
        first["metadata"]["uid"] = json!("another");
        first["binaryData"]["loader"] = json!("AAAA");
    });
    let refused = place(&world.access, &owner("other"), &found).await;
    assert!(matches!(refused, Err(NotPlaced::NameTaken(_))), "{refused:?}");
    assert_eq!(world.owners()[0], ["one"]);
}

#[tokio::test]
async fn config_map_whose_owners_cannot_be_changed_counts_as_taken_name() {
    let world = World::new();
    world.place("one").await.unwrap();
    let message =
        "configmaps \"a\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>";
    world.namespace.lock().forbidden = Some((Method::PATCH, status(403, "Forbidden", message)));
    let refused = world.place("other").await;
    assert!(matches!(refused, Err(NotPlaced::NameTaken(_))), "{refused:?}");
}

#[tokio::test]
async fn compared_config_map_is_not_fetched_again_until_its_uid_changes() {
    let world = World::new();
    world.place("one").await.unwrap();
    let other = world.other_session();
    let fetched = || world.namespace.lock().fetched;
    other.find().await;
    assert_eq!(fetched(), 2);
    let found = other.find().await.found;
    assert!(matches!(found[..], [Found::Same(_), Found::Same(_)]), "{found:?}");
    world.find().await;
    assert_eq!(fetched(), 2, "nor what was sent by oneself");
    {
        let maps = &mut world.namespace.lock().maps;
        let first = maps.values_mut().next().unwrap();
        first["metadata"]["uid"] = json!("another");
        first["binaryData"]["loader"] = json!("AAAA");
    }
    assert_eq!(other.find().await.found[0], Found::Other);
    assert_eq!(fetched(), 3);
}

#[tokio::test]
async fn config_map_replaced_during_the_start_is_not_confirmed() {
    let world = World::new();
    let placed = world.place("one").await.unwrap();
    let replace = |maps: &mut BTreeMap<String, Value>| {
        let first = maps.values_mut().next().unwrap();
        first["metadata"]["uid"] = json!("another");
        first["binaryData"]["loader"] = json!("AAAA");
    };
    replace(&mut world.namespace.lock().maps);
    let Err(NotPlaced::Failed(failure)) = world.confirm(&placed).await else {
        panic!("it was replaced");
    };
    assert!(
        failure.lasting && failure.message.contains("was replaced by one of other content"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn map_that_was_removed_during_the_start_is_not_confirmed_and_not_called_replaced() {
    let made_again = |maps: &mut BTreeMap<String, Value>| {
        maps.values_mut().next().unwrap()["metadata"]["uid"] = json!("another");
    };
    for (remove, words) in [
        (
            BTreeMap::clear as fn(&mut BTreeMap<String, Value>),
            "was removed while",
        ),
        (made_again, "was removed and made again while"),
    ] {
        let world = World::new();
        let placed = world.place("one").await.unwrap();
        remove(&mut world.namespace.lock().maps);
        let Err(NotPlaced::Removed(failure)) = world.confirm(&placed).await else {
            panic!("it was removed");
        };
        assert!(failure.message.contains(words), "{}", failure.message);
    }
}

#[tokio::test(start_paused = true)]
async fn map_is_confirmed_though_the_api_server_fails_once() {
    let world = World::new();
    let placed = world.place("one").await.unwrap();
    let placement = world.find().await;
    world.namespace.lock().refusals = [429, 503].map(|code| status(code, "No", "try again")).into();
    confirm(&world.access, &placement, &placed).await.unwrap();
}

/// A pod that starts after so long.
async fn start(after: Duration) -> &'static str {
    tokio::time::sleep(after).await;
    "started"
}

#[tokio::test(start_paused = true)]
async fn config_map_missing_before_the_pod_runs_is_sent_again() {
    let world = World::new();
    let mut placed = world.place("one").await.unwrap();
    let placement = world.find().await;
    world.namespace.lock().maps.clear();
    // the first answer after that is none
    world.namespace.lock().refusals = [status(503, "ServiceUnavailable", "try again")].into();
    let kept = world.keep_present(&placement, &mut placed, start(5 * LOOK_PAUSE));
    assert_eq!(kept.await.unwrap(), "started");
    assert_eq!(world.owners(), [["one"], ["one"]]);
    world.confirm(&placed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn map_that_is_sent_again_when_the_pod_starts_is_known_to_the_confirmation() {
    let world = World::new();
    let mut placed = world.place("one").await.unwrap();
    let placement = world.find().await;
    world.namespace.lock().maps.clear();
    let (starts, started) = tokio::sync::oneshot::channel();
    let noted = Mutex::new(Some(starts));
    world.namespace.lock().at_creation = Some(Box::new(move || {
        // while the first of both is sent
        if let Some(starts) = noted.lock().take() {
            starts.send(()).unwrap();
        }
    }));
    world
        .keep_present(&placement, &mut placed, started)
        .await
        .unwrap()
        .unwrap();
    world.confirm(&placed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn lasting_refusal_before_the_pod_runs_ends_the_start() {
    let world = World::new();
    let mut placed = world.place("one").await.unwrap();
    let placement = world.find().await;
    world.namespace.lock().forbidden = Some((Method::GET, status(403, "Forbidden", "no")));
    let kept = world.keep_present(&placement, &mut placed, start(5 * LOOK_PAUSE));
    assert!(matches!(kept.await, Err(NotPlaced::Failed(failure)) if failure.lasting));
}

/// As with a quota for one more: the second is refused, and the Job is not released
/// ([`creation`](crate::cluster::creation)).
#[tokio::test]
async fn quota_that_is_met_at_the_second_map_is_told() {
    let message = "configmaps \"a\" is forbidden: exceeded quota: q, requested: count/configmaps=1";
    let world = World::new();
    let placement = world.find().await;
    world.namespace.lock().most = Some((1, status(403, "Forbidden", message)));
    let Err(NotPlaced::Failed(failure)) = place(&world.access, &owner("one"), &placement).await else {
        panic!("it was refused");
    };
    assert!(
        failure.message.contains("exceeded quota: q"),
        "{}",
        failure.message
    );
    assert_eq!(world.owners(), [["one"]], "what was sent goes with the Job");
}

#[tokio::test(start_paused = true)]
async fn maps_that_take_longer_than_the_job_is_held_are_given_up() {
    let world = World::new();
    let placement = world.find().await;
    let (access, job) = (FakeApi::silent().access(), owner("one"));
    let hold = Duration::from_secs(u64::from(job::HOLD_SECONDS));
    let placed = timeout(hold, place(&access, &job, &placement));
    let Ok(Err(NotPlaced::Failed(failure))) = placed.await else {
        panic!("nothing was sent");
    };
    assert!(!failure.lasting, "{}", failure.message);
}

#[tokio::test]
async fn config_map_denial_hint_names_the_right_quota_or_clusters_words_and_agent_image() {
    for (message, hinted) in [
        (
            "configmaps is forbidden: User \"a\" cannot create resource \"configmaps\" in API group \"\" in the \
             namespace \"b\"",
            "`patch` on configmaps",
        ),
        (
            "configmaps \"a\" is forbidden: exceeded quota: q",
            "quota is used up",
        ),
        (
            "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no binary data here",
            "these are the cluster's own words",
        ),
    ] {
        let api = FakeApi::of_requests(move |method, _, _| match *method {
            Method::GET => status(404, "NotFound", "it is not there"),
            _ => status(403, "Forbidden", message),
        });
        let placement = Placement {
            files: World::new().files,
            found: vec![Found::Missing; 2],
            known: Rc::default(),
        };
        let Err(NotPlaced::Failed(failure)) = place(&api.access(), &owner("one"), &placement).await else {
            panic!("it was refused");
        };
        assert!(failure.message.contains(message), "{}", failure.message);
        let hint = failure.hint.unwrap();
        assert!(hint.contains(hinted) && hint.contains("--agent-image"), "{hint}");
    }
}
