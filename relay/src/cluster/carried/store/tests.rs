use super::*;
use crate::cluster::fake_api::{Answer, FakeApi};
use http::Method;
use kinject_bundle::{Architecture, CarriedAgent};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A namespace's ConfigMaps, as an API server keeps them.
#[derive(Default)]
struct Namespace {
    maps: BTreeMap<String, Value>,
    /// How many bytes were sent to make some.
    sent: usize,
    made: usize,
    /// What happens before the next request is answered.
    meanwhile: Option<fn(&mut BTreeMap<String, Value>)>,
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code });
    Answer::refusal(code, status)
}

impl Namespace {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Answer {
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
            self.made += 1;
            let mut made = given;
            made["metadata"]["uid"] = json!(format!("uid {}", self.made));
            return Answer::object(self.maps.entry(name).or_insert(made).clone());
        }
        let Some(found) = self.maps.get_mut(name) else {
            return status(404, "NotFound", "it is not there");
        };
        if method == Method::PATCH {
            if given["metadata"]["uid"] != found["metadata"]["uid"] {
                return status(409, "Conflict", "precondition failed");
            }
            let owners = given["metadata"]["ownerReferences"].as_array().unwrap().clone();
            found["metadata"]["ownerReferences"]
                .as_array_mut()
                .unwrap()
                .extend(owners);
        }
        Answer::object(found.clone())
    }
}

struct World {
    namespace: Arc<Mutex<Namespace>>,
    access: Access,
    files: Rc<AgentFiles>,
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
        let api = FakeApi::of_requests(move |method, path, body| answering.lock().answer(method, path, body));
        Self {
            namespace,
            access: api.access(),
            files: Rc::new(AgentFiles::shared(&agent)),
        }
    }

    async fn find(&self) -> Placement {
        Placement {
            files: Rc::clone(&self.files),
            found: find(&self.access, &self.files).await.unwrap(),
        }
    }

    async fn place(&self, job: &str) -> Result<Vec<PlacedMap>, NotPlaced> {
        place(&self.access, &owner(job), &self.find().await).await
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
    confirm(&world.access, &placed).await.unwrap();
    let found: Vec<_> = placed.into_iter().map(|map| Found::Same(map.uid)).collect();
    assert_eq!(world.find().await.found, found);
}

#[tokio::test]
async fn existing_config_maps_get_another_owner_and_are_not_sent_again() {
    let world = World::new();
    let first = world.place("one").await.unwrap();
    let sent = world.sent();
    let second = world.place("other").await.unwrap();
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
    assert_eq!(world.find().await.found[0], Found::Other);
    let Err(NotPlaced::NameTaken(failure)) = world.place("other").await else {
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
async fn config_map_replaced_during_the_start_is_not_confirmed() {
    let world = World::new();
    let placed = world.place("one").await.unwrap();
    let replace = |maps: &mut BTreeMap<String, Value>| {
        maps.values_mut().next().unwrap()["metadata"]["uid"] = json!("another");
    };
    replace(&mut world.namespace.lock().maps);
    let failure = confirm(&world.access, &placed).await.unwrap_err();
    assert!(
        failure.lasting && failure.message.contains("was replaced"),
        "{}",
        failure.message
    );
    world.namespace.lock().maps.clear();
    assert!(
        confirm(&world.access, &placed).await.is_err(),
        "nor is one that is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn config_map_missing_before_the_pod_runs_is_sent_again() {
    let world = World::new();
    let mut placed = world.place("one").await.unwrap();
    world.namespace.lock().maps.clear();
    let job = owner("one");
    let kept = keep_present(&world.access, &job, &world.files, &mut placed);
    assert!(timeout(3 * LOOK_PAUSE, kept).await.is_err(), "it goes on");
    assert_eq!(world.owners(), [["one"], ["one"]]);
    confirm(&world.access, &placed).await.unwrap();
}

#[tokio::test]
async fn config_map_denial_hint_names_the_right_or_quota_and_agent_image() {
    for (message, hinted) in [
        (
            "configmaps is forbidden: User \"a\" cannot create",
            "`patch` on configmaps",
        ),
        (
            "configmaps \"a\" is forbidden: exceeded quota: q",
            "quota is used up",
        ),
    ] {
        let api = FakeApi::of_requests(move |method, _, _| match *method {
            Method::GET => status(404, "NotFound", "it is not there"),
            _ => status(403, "Forbidden", message),
        });
        let placement = Placement {
            files: World::new().files,
            found: vec![Found::Missing; 2],
        };
        let Err(NotPlaced::Failed(failure)) = place(&api.access(), &owner("one"), &placement).await else {
            panic!("it was refused");
        };
        assert!(failure.message.contains(message), "{}", failure.message);
        let hint = failure.hint.unwrap();
        assert!(hint.contains(hinted) && hint.contains("--agent-image"), "{hint}");
    }
}
