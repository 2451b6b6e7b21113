use super::*;
use crate::cluster::fake_api::{Answer, FakeApi};
use kinject_protocol::forward::PortProtocol;
use serde_json::{Value, json};
use std::net::SocketAddr;

fn forward(target: ForwardTarget, remote: &str, protocol: PortProtocol) -> Forward {
    Forward {
        target,
        local: 0,
        remote: match remote.parse() {
            Ok(number) => RemotePort::Number(number),
            Err(_) => RemotePort::Name(remote.to_owned()),
        },
        protocol,
    }
}

fn refusal(code: u16, reason: &str) -> Answer {
    Answer::refusal(
        code,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": reason, "reason": reason, "code": code }),
    )
}

/// A namespace `default` with these objects, by resource and name, where the user has all rights.
fn namespace(objects: Vec<(&'static str, &'static str, Value)>) -> FakeApi {
    FakeApi::of_requests(move |_, path, body| {
        if path.contains("selfsubjectaccessreviews") {
            let mut review: Value = serde_json::from_slice(body).unwrap();
            review["status"] = json!({ "allowed": true });
            return Answer::object(review);
        }
        let path = path.split('?').next().unwrap();
        let words: Vec<_> = path.rsplit('/').collect();
        let found = objects
            .iter()
            .find(|(resource, name, _)| words[..2] == [*name, *resource] && words[2] == "default");
        if let Some((_, _, object)) = found {
            return Answer::object(object.clone());
        }
        if words[1] != "default" {
            return refusal(404, "NotFound");
        }
        let items: Vec<_> = objects
            .iter()
            .filter(|(resource, ..)| words[0] == *resource)
            .map(|(_, _, object)| object.clone())
            .collect();
        let kind = match words[0] {
            "pods" => ("v1", "PodList"),
            _ => ("meta.k8s.io/v1", "PartialObjectMetadataList"),
        };
        Answer::object(json!({ "apiVersion": kind.0, "kind": kind.1, "metadata": {}, "items": items }))
    })
}

fn service(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec })
}

fn shop() -> FakeApi {
    let web = json!({ "clusterIP": "10.96.0.7", "ports": [
        { "name": "http", "port": 80, "targetPort": 8080 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
    ] });
    let db = json!({ "clusterIP": "None", "selector": { "app": "db" }, "ports": [
        { "name": "sql", "port": 5432, "targetPort": 15432 },
        { "name": "admin", "port": 9000, "targetPort": "admin" },
    ] });
    let outside = json!({ "type": "ExternalName", "externalName": "db.example.com" });
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "api" }, "spec": {
        "selector": { "matchLabels": { "app": "api" } },
        "template": { "metadata": { "labels": { "app": "api" } }, "spec": { "containers": [{ "name": "app", "ports": [
            { "name": "http", "containerPort": 8080 },
            { "containerPort": 9999, "protocol": "UDP" },
        ] }] } } } });
    namespace(vec![
        ("services", "web", service("web", web)),
        ("services", "db", service("db", db)),
        ("services", "outside", service("outside", outside)),
        ("deployments", "api", deployment),
    ])
}

fn host(name: &str) -> ForwardTarget {
    ForwardTarget::Host(name.to_owned())
}

fn svc(name: &str) -> ForwardTarget {
    ForwardTarget::Service {
        name: name.to_owned(),
        namespace: None,
    }
}

fn pods_of(text: &str) -> ForwardTarget {
    ForwardTarget::Pods(text.parse().unwrap())
}

/// What is dialled, and how it is shown.
async fn found(target: ForwardTarget, remote: &str) -> (String, String) {
    let forward = forward(target, remote, PortProtocol::Tcp);
    let found = find(&shop().access(), &forward)
        .await
        .unwrap_or_else(|failure| panic!("{failure:?}"));
    let dialled = match &found.endpoint {
        Endpoint::Host {
            host,
            port,
            takes_turns,
        } => format!("{host}:{port}{}", if *takes_turns { " in turns" } else { "" }),
        Endpoint::Pods { pods, port } => format!("pods of {}: {port}", pods.whose()),
    };
    (dialled, found.shown)
}

async fn failure(target: ForwardTarget, remote: &str, protocol: PortProtocol) -> (String, String) {
    let forward = forward(target, remote, protocol);
    match find(&shop().access(), &forward).await {
        Ok(found) => panic!("{} was found", found.shown),
        Err(failure) => (failure.message, failure.hint.unwrap()),
    }
}

#[tokio::test]
async fn service_is_dialled_by_its_name_and_own_port() {
    let expected = |dialled: &str, shown: &str| (dialled.to_owned(), shown.to_owned());
    for target in [
        host("web"),
        host("web.default"),
        host("web.default.svc"),
        svc("web"),
    ] {
        let web = expected("web.default.svc:80", "web.default:80");
        assert_eq!(found(target.clone(), "80").await, web);
        assert_eq!(found(target, "http").await, web);
    }
    assert_eq!(
        found(host("outside"), "5432").await,
        expected("outside.default.svc:5432", "outside.default:5432")
    );
}

#[tokio::test]
async fn headless_service_is_dialled_at_its_pods_target_port() {
    let expected = |dialled: &str, shown: &str| (dialled.to_owned(), shown.to_owned());
    assert_eq!(
        found(svc("db"), "sql").await,
        expected("db.default.svc:15432 in turns", "db.default:5432")
    );
    assert_eq!(
        found(svc("db"), "9000").await,
        expected("pods of service db: admin", "db.default:9000")
    );
}

#[tokio::test]
async fn name_that_is_no_service_is_a_host() {
    for (name, shown) in [
        ("db.example.com", "db.example.com:5432"),
        ("example.com", "example.com:5432"),
        ("10.1.2.3", "10.1.2.3:5432"),
        ("fd00::7", "[fd00::7]:5432"),
    ] {
        let (dialled, found) = found(host(name), "5432").await;
        assert_eq!((dialled, found.as_str()), (format!("{name}:5432"), shown));
    }
}

#[tokio::test]
async fn missing_service_is_named_with_near_names_or_the_workload_of_that_name() {
    let (message, hint) = failure(host("wbe"), "80", PortProtocol::Tcp).await;
    assert_eq!(message, "there is no service wbe in namespace default");
    assert_eq!(hint, "use one of the services there: web, db, outside");
    let (_, hint) = failure(svc("api"), "80", PortProtocol::Tcp).await;
    assert_eq!(hint, "there is a deployment of that name: write deployment/api");
}

#[tokio::test]
async fn missing_port_is_named_with_those_there_are() {
    for remote in ["81", "htpp"] {
        let (message, hint) = failure(host("web"), remote, PortProtocol::Tcp).await;
        assert_eq!(message, format!("service web has no port {remote}"));
        assert_eq!(hint, "write one of its ports: 80 (http), 53/udp (dns)");
    }
    let (message, hint) = failure(pods_of("deploy/api"), "htpp", PortProtocol::Tcp).await;
    assert_eq!(message, "deployment/api has no port htpp");
    assert_eq!(
        hint,
        "write one of its ports, or another number: 8080 (http), 9999/udp"
    );
}

#[tokio::test]
async fn port_of_the_other_protocol_alone_is_an_error_for_a_service_and_a_warning_for_pods() {
    let (message, hint) = failure(host("web"), "80", PortProtocol::Udp).await;
    assert_eq!(
        message,
        "service web in namespace default has its port 80 for TCP alone, and not for UDP"
    );
    assert_eq!(hint, "leave /udp out for connections");
    let (message, hint) = failure(host("web"), "53", PortProtocol::Tcp).await;
    assert_eq!(
        message,
        "service web in namespace default has its port 53 for UDP alone, and not for TCP"
    );
    assert_eq!(hint, "write /udp behind the ports for datagrams");
    let udp_alone = forward(pods_of("deploy/api"), "9999", PortProtocol::Tcp);
    let warning = find(&shop().access(), &udp_alone).await.unwrap().warning.unwrap();
    assert_eq!(
        warning.message,
        "deployment/api declares its port 9999 for UDP alone, and not for TCP"
    );
    let undeclared = forward(pods_of("deploy/api"), "7", PortProtocol::Tcp);
    assert_eq!(find(&shop().access(), &undeclared).await.unwrap().warning, None);
}

#[tokio::test]
async fn service_that_the_user_may_not_read_is_dialled_unchecked_by_number() {
    let api = crate::cluster::fake_api::always(refusal(403, "Forbidden"));
    let by_number = forward(svc("web"), "81", PortProtocol::Tcp);
    let found = find(&api.access(), &by_number).await.unwrap();
    assert_eq!(found.shown, "web.default:81");
    let by_name = forward(svc("web"), "http", PortProtocol::Tcp);
    let failure = find(&api.access(), &by_name).await.err().unwrap();
    assert_eq!(
        failure.message,
        "missing rights in namespace default: get services/web"
    );
}

fn pod(uid: &str, ip: &str, is_ready: bool, port: u16) -> Value {
    let status = if is_ready { "True" } else { "False" };
    json!({
        "metadata": { "name": format!("pod-{uid}"), "uid": uid },
        "spec": { "containers": [{ "name": "app", "ports": [{ "name": "http", "containerPort": port }] }] },
        "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": status }] },
    })
}

async fn pod_set(pods: &[Value], target: &str) -> Rc<PodSet> {
    let objects = pods.iter().map(|pod| ("pods", "some", pod.clone()));
    let api = namespace(objects.collect());
    let filter = match target.split_once('/') {
        Some(("pod", name)) => PodFilter::Name(name.to_owned()),
        _ => PodFilter::of_selector(&target, Default::default()).unwrap(),
    };
    let pods = Rc::new(PodSet::new(api.access(), filter, target.to_owned()));
    pods.look().await.unwrap();
    pods
}

async fn chosen(pods: &PodSet, port: &str) -> SocketAddr {
    let port = forward(host("any"), port, PortProtocol::Tcp).remote;
    pods.choose(&port, PortProtocol::Tcp).await.unwrap().target
}

#[tokio::test]
async fn connections_stay_with_a_ready_pod_until_it_fails() {
    let listed = [
        pod("a", "10.244.0.1", false, 1),
        pod("b", "10.244.0.2", true, 2),
        pod("c", "10.244.0.3", true, 3),
    ];
    let pods = pod_set(&listed, "deployment/api").await;
    for _ in 0..3 {
        assert_eq!(chosen(&pods, "http").await.to_string(), "10.244.0.2:2");
    }
    assert_eq!(chosen(&pods, "80").await.to_string(), "10.244.0.2:80");
    let port = RemotePort::Number(80);
    let failed = pods.choose(&port, PortProtocol::Tcp).await.unwrap();
    pods.avoid(&failed);
    assert_eq!(chosen(&pods, "http").await.to_string(), "10.244.0.3:3");
    // an older failure changes nothing
    pods.avoid(&failed);
    assert_eq!(chosen(&pods, "http").await.to_string(), "10.244.0.3:3");
    let missing = RemotePort::Name("grpc".into());
    assert_eq!(
        pods.choose(&missing, PortProtocol::Tcp).await,
        Err(pods::NoSuchPort)
    );
}

#[tokio::test]
async fn pod_that_is_named_by_itself_need_not_be_ready() {
    let unready = [pod("a", "10.244.0.1", false, 1)];
    let one = pod_set(&unready, "pod/pod-a").await;
    assert_eq!(chosen(&one, "80").await.to_string(), "10.244.0.1:80");
    let of_workload = pod_set(&unready, "deployment/api").await;
    assert!(!of_workload.look().await.unwrap());
    use futures::FutureExt;
    let port = RemotePort::Number(80);
    assert!(
        of_workload
            .choose(&port, PortProtocol::Tcp)
            .now_or_never()
            .is_none()
    );
}
