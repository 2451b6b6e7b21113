//! The programs that run on the node, with their flags.

use std::path::Path;

use super::config::{NODE_ADDRESS, NODE_NAME, SERVICES};
use super::state::State;

/// A program of the node.
pub(crate) struct Component {
    /// Its name, which is also its log's.
    pub(crate) name: &'static str,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Whether it starts only when the API server is ready.
    pub(crate) needs_api_server: bool,
}

/// All of them, in the order of their start.
pub(crate) fn all(state: &State) -> Vec<Component> {
    vec![
        etcd(state),
        api_server(state),
        containerd(state),
        controllers(state),
        scheduler(state),
        kubelet(state),
        proxy(state),
        database(state),
    ]
}

/// etcd's data lives as long as the node: in memory, never synced.
fn etcd(state: &State) -> Component {
    let flags = [
        "--data-dir=/run/etcd",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ];
    kubernetes(state, "etcd", false, flags.map(str::to_owned).to_vec())
}

fn api_server(state: &State) -> Component {
    let pki = state.path("pki");
    let pki = pki.display();
    let flags = vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={NODE_ADDRESS}"),
        "--secure-port=6443".to_owned(),
        "--cert-dir=/run/kube-apiserver".to_owned(),
        format!("--tls-cert-file={pki}/api-server.crt"),
        format!("--tls-private-key-file={pki}/api-server.key"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--kubelet-certificate-authority={pki}/ca.crt"),
        format!("--kubelet-client-certificate={pki}/api-server-to-kubelet.crt"),
        format!("--kubelet-client-key={pki}/api-server-to-kubelet.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--service-account-key-file={pki}/tokens.pub"),
        format!("--service-account-signing-key-file={pki}/tokens.key"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged".to_owned(),
        "--profiling=false".to_owned(),
    ];
    kubernetes(state, "kube-apiserver", false, flags)
}

fn containerd(state: &State) -> Component {
    let config = state.path("containerd.toml").display().to_string();
    Component {
        name: "containerd",
        command: vec!["containerd".to_owned(), "--config".to_owned(), config],
        needs_api_server: false,
    }
}

fn controllers(state: &State) -> Component {
    let pki = state.path("pki");
    let pki = pki.display();
    let flags = vec![
        kubeconfig_flag(&state.kubeconfig_of("controllers")),
        format!("--service-account-private-key-file={pki}/tokens.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        "--bind-address=127.0.0.1".to_owned(),
        "--cert-dir=/run/kube-controller-manager".to_owned(),
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        "--profiling=false".to_owned(),
    ];
    kubernetes(state, "kube-controller-manager", true, flags)
}

fn scheduler(state: &State) -> Component {
    let flags = vec![
        kubeconfig_flag(&state.kubeconfig_of("scheduler")),
        "--bind-address=127.0.0.1".to_owned(),
        "--cert-dir=/run/kube-scheduler".to_owned(),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ];
    kubernetes(state, "kube-scheduler", true, flags)
}

fn kubelet(state: &State) -> Component {
    let flags = vec![
        kubeconfig_flag(&state.kubeconfig_of("kubelet")),
        format!("--config={}", state.path("kubelet.yaml").display()),
        format!("--root-dir={}", state.path("kubelet").display()),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={NODE_ADDRESS}"),
    ];
    kubernetes(state, "kubelet", true, flags)
}

fn proxy(state: &State) -> Component {
    let flags = vec![format!("--config={}", state.path("proxy.yaml").display())];
    kubernetes(state, "kube-proxy", true, flags)
}

/// The samples' program outside every pod, at an address outside the cluster.
fn database(state: &State) -> Component {
    let program = state.program("kinject-sandbox").display().to_string();
    let command = vec![
        program,
        "serve".to_owned(),
        "--name".to_owned(),
        DATABASE_NAME.to_owned(),
    ];
    Component {
        name: DATABASE_NAME,
        command,
        needs_api_server: false,
    }
}

/// The name that the program outside the cluster serves under.
const DATABASE_NAME: &str = "database";

fn kubernetes(state: &State, name: &'static str, needs_api_server: bool, flags: Vec<String>) -> Component {
    let mut command = vec![state.program(name).display().to_string()];
    command.extend(flags);
    Component {
        name,
        command,
        needs_api_server,
    }
}

fn kubeconfig_flag(path: &Path) -> String {
    format!("--kubeconfig={}", path.display())
}
