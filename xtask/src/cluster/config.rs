//! Names and addresses of the cluster, and the configuration files of its programs.

use anyhow::Result;

use super::state::State;

/// The node's name.
pub(crate) const NODE_NAME: &str = "kinject-node";
/// The machine's end of the link to the node.
pub(crate) const MACHINE_ADDRESS: &str = "10.201.0.1";
/// The node's end of the link, where the API server listens.
pub(crate) const NODE_ADDRESS: &str = "10.201.0.2";
/// The network of the link.
pub(crate) const LINK_PREFIX: u8 = 30;
/// The URL that kubeconfigs have.
pub(crate) const API_SERVER: &str = "https://10.201.0.2:6443";
/// Addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// Addresses of pods.
pub(crate) const PODS: &str = "10.244.0.0/16";
/// Addresses of pods on the one node.
const NODE_PODS: &str = "10.244.0.0/24";
/// Where the cluster's name server answers.
pub(crate) const NAME_SERVER: &str = "10.96.0.10";
/// An address that never answers.
pub(crate) const SILENT: &str = "198.18.0.1";
/// An address to which the node answers that there is no route.
pub(crate) const UNROUTABLE: &str = "198.51.100.1";
/// Stands for a managed database outside of the cluster.
pub(crate) const DATABASE: &str = "203.0.113.10";
/// Parent of all control groups of the node's containers.
pub(crate) const CONTROL_GROUP: &str = "kinject-cluster";

/// Writes the configuration files, and returns their text as what the node depends on.
pub(crate) fn write(state: &State) -> Result<()> {
    for (name, content) in files(state) {
        state.write(name, &content)?;
    }
    Ok(())
}

/// File names in the state folder, and contents.
pub(crate) fn files(state: &State) -> [(&'static str, String); 5] {
    [
        ("containerd.toml", containerd(state)),
        ("cni/10-pods.conflist", pod_network()),
        ("kubelet.yaml", kubelet(state)),
        ("proxy.yaml", proxy(state)),
        // The node itself resolves nothing; pods of dnsPolicy Default get this file.
        ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
    ]
}

/// Images and containers are in memory: they are small, and overlayfs may be unable to stand on the machine's
/// file system.
///
/// `restrict_oom_score_adj`: root lacks CAP_SYS_RESOURCE in many containers and virtual machines, and runc
/// dies without it.
fn containerd(state: &State) -> String {
    let folder = state.folder().display();
    let socket = state.containerd_socket();
    let socket = socket.display();
    format!(
        r#"version = 2
root = "/run/containerd-data"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/kinject-pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd-opt"
"#
    )
}

/// Each pod has a link of its own to the node, which routes: what goes from pod to pod through a Service then
/// passes the node's address translation both ways, also where the kernel cannot filter bridged packets.
fn pod_network() -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {{"type": "ptp", "ipam": {{"type": "host-local", "dataDir": "/run/cni",
    "ranges": [[{{"subnet": "{NODE_PODS}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}
]}}
"#
    )
}

/// Eviction and image garbage collection are off, so that a full disk does not make tests fail in other ways.
fn kubelet(state: &State) -> String {
    let folder = state.folder().display();
    let socket = state.containerd_socket();
    let socket = socket.display();
    format!(
        "\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {folder}/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {folder}/pki/kubelet-server.crt
tlsPrivateKeyFile: {folder}/pki/kubelet-server.key
cgroupDriver: cgroupfs
cgroupRoot: /{CONTROL_GROUP}
failCgroupV1: false
failSwapOn: false
clusterDNS: [{NAME_SERVER}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{socket}
resolvConf: {folder}/resolv.conf
podLogsDir: {folder}/logs/pods
volumePluginDir: /run/kubelet-plugins
enforceNodeAllocatable: []
evictionHard: {{nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, memory.available: 0%}}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
"
    )
}

/// The connection tracking table belongs to the machine: its size and its times stay as they are.
fn proxy(state: &State) -> String {
    let kubeconfig = state.kubeconfig_of("proxy");
    let kubeconfig = kubeconfig.display();
    format!(
        "\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: {PODS}
hostnameOverride: {NODE_NAME}
clientConnection: {{kubeconfig: {kubeconfig}}}
metricsBindAddress: 127.0.0.1:10249
healthzBindAddress: 127.0.0.1:10256
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
iptables: {{minSyncPeriod: 100ms}}
"
    )
}
