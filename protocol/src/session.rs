//! What the launcher and its relay say to each other, as JSON lines over a socket pair.
//!
//! The launcher sends the first message, [`Order::Start`]. The relay reports [`Event`]s: progress while the session
//! comes up, then [`Event::Ready`] or [`Event::Failed`], later notices. [`Order::Finish`], or the end of the launcher's
//! side of the pair, which is what its death looks like, ends the session: the relay removes what it made in the
//! cluster, says [`Event::Finished`] and exits.
//!
//! A relay that was killed cannot remove anything. The launcher then starts another, whose only order is
//! [`Order::CleanUp`].

use crate::forward::{ForwardRequest, Forwarding};
use crate::rules::Rule;
use crate::workload::{Workload, WorkloadRequest};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the launcher tells the relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Set the session up.
    Start(Box<SessionConfig>),
    /// The program has ended: take the session down.
    Finish,
    /// Remove what an earlier relay of this session left in the cluster, then end.
    CleanUp(Box<SessionConfig>),
}

/// Everything a relay needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionConfig {
    /// Eight hexadecimal digits.
    pub session: String,
    /// The session's private folder, made by the launcher with mode 0700; the relay removes it at the end.
    #[serde(with = "path")]
    pub folder: PathBuf,
    /// The preloaded library, for messages about programs that cannot see it.
    #[serde(with = "path")]
    pub library: PathBuf,
    /// Where the agent is.
    pub target: Target,
    /// How much the relay writes to its log.
    pub log: LogLevel,
    /// The routing rules; the first that matches applies.
    pub rules: Vec<Rule>,
    /// Where a line for each decision goes, if anywhere.
    pub trace: Option<Trace>,
    /// What the relay listens at, for `kinject forward`.
    pub forward: Option<ForwardRequest>,
}

/// Where the lines about decisions go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trace {
    /// To the relay's standard error.
    Stderr,
    /// To a file that is there, behind what it holds.
    File(#[serde(with = "path")] PathBuf),
}

/// Where the agent is or has to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "a session has one value of it")]
pub enum Target {
    /// An agent that someone else runs (`--agent`).
    Direct {
        /// `unix:PATH` or `tcp:HOST:PORT`.
        endpoint: OsString,
        /// The file that holds the shared secret.
        #[serde(with = "path")]
        key: PathBuf,
        /// Where TLS is spoken.
        tls: TlsChoice,
    },
    /// A pod that the relay makes in a cluster.
    Kubernetes(KubernetesTarget),
}

/// Which cluster and namespace, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesTarget {
    /// `--kubeconfig`; otherwise KUBECONFIG, the default file, or the in-cluster configuration.
    #[serde(with = "optional_path")]
    pub kubeconfig: Option<PathBuf>,
    /// `--context`; otherwise the current one.
    pub context: Option<String>,
    /// `--namespace`; otherwise the context's own.
    pub namespace: Option<String>,
    /// `--as`: the user to impersonate.
    pub impersonate_user: Option<String>,
    /// `--as-group`, repeated.
    pub impersonate_groups: Vec<String>,
    /// `--agent-image`: the image that holds the agent. Otherwise the session carries the agent, if it can.
    pub agent_image: Option<String>,
    /// `--host-image`: the image in which a carried agent runs; otherwise the relay chooses one.
    pub host_image: Option<String>,
    /// `--target`: the workload in whose place the session's programs run, if any.
    pub workload: Option<WorkloadRequest>,
    /// Which transports to the agent are allowed.
    pub transport: TransportChoice,
    /// Where TLS is spoken.
    pub tls: TlsChoice,
}

/// `--tls`: over which transports the session speaks TLS of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsChoice {
    /// Where a network would see the session's bytes in clear: through the pod proxy and over TCP.
    #[default]
    Auto,
    /// Everywhere, also through port-forward and over Unix sockets.
    Always,
}

/// `--transport`: the transports to an agent's pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransportChoice {
    /// The API server's pod proxy where it works, otherwise port-forward.
    #[default]
    Auto,
    /// Only the API server's pod proxy.
    Proxy,
    /// Only port-forward.
    PortForward,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// What went wrong.
    #[default]
    Warn,
    /// What happened to the session.
    Info,
    /// What happened to each call.
    Debug,
}

/// What the relay reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "the largest one is sent once in a session"
)]
pub enum Event {
    /// The current step of the session's start, in words that follow "kinject: ".
    Progress(String),
    /// The session is up.
    Ready(Ready),
    /// A session of `kinject forward` that is ready listens here.
    Forwarding(Forwarding),
    /// The session did not come up or cannot go on.
    Failed(Report),
    /// Something the user should know while the session goes on.
    Notice(Report),
    /// The session has recovered from an outage, in one line.
    Recovered(String),
    /// Data that programs wrote before they ended was delivered or given up; the relay removes what the session made
    /// next.
    WoundUp,
    /// Everything the session made is removed, or a notice said what is not.
    Finished,
}

/// A session that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The context's name, or the agent's endpoint.
    pub cluster: String,
    /// The namespace of the agent; none for a direct agent.
    pub namespace: Option<String>,
    /// How the agent is reached: `direct`, `proxy` or `port-forward`.
    pub transport: String,
    /// Whether the session speaks TLS of its own with the agent.
    pub tls: bool,
    /// Why it is not the pod proxy, if that was tried first.
    pub not_by_proxy: Option<String>,
    /// The path of the relay's control socket.
    #[serde(with = "path")]
    pub socket: PathBuf,
    /// The value of [`crate::environment::CONTROL`].
    pub control: Confidential,
    /// The workload in whose place programs run, if one was asked for.
    pub workload: Option<Workload>,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confidential(pub String);

impl std::fmt::Debug for Confidential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("...")
    }
}

/// A message for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What happened: lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Writes one line, with its newline.
pub fn to_line<T: Serialize>(value: &T) -> String {
    // the types above hold strings and numbers only, and paths as their bytes: there is nothing that JSON cannot hold
    match serde_json::to_string(value) {
        Ok(line) => line + "\n",
        Err(error) => {
            format!("{{\"notice\":{{\"message\":\"unspeakable message: {error}\",\"hint\":null}}}}\n")
        }
    }
}

/// Reads one line.
pub fn from_line<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, serde_json::Error> {
    serde_json::from_str(line)
}

/// A path may be any bytes, where serde takes only those of UTF-8; it does not ask this of an [`OsString`].
mod path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(deserializer).map(PathBuf::from)
    }
}

/// The same for one that may be missing.
mod optional_path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::ffi::OsString;
    use std::path::PathBuf;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.as_os_str()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<OsString>::deserialize(deserializer)?.map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Egress;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn orders_and_events_round_trip_as_single_lines() {
        let order = Order::Start(Box::new(SessionConfig {
            session: "0123abcd".into(),
            folder: "/run/user/1000/kinject/0123abcd".into(),
            library: "/usr/lib/kinject/libkinject_preload.so".into(),
            target: Target::Kubernetes(KubernetesTarget {
                namespace: Some("with \"quotes\"\nand lines".into()),
                agent_image: Some("kinject-agent:0.1.0".into()),
                host_image: Some("busybox:1".into()),
                workload: Some(WorkloadRequest {
                    workload: "deploy/web".parse().unwrap(),
                    container: Some("app".into()),
                    files: true,
                    remote_paths: vec!["/app/*.yaml".into()],
                    local_paths: Vec::new(),
                    exec_environment: false,
                }),
                ..KubernetesTarget::default()
            }),
            log: LogLevel::Info,
            rules: vec![Rule::new(Egress::Local, "*.example.com", None).unwrap()],
            trace: Some(Trace::Stderr),
            forward: Some(ForwardRequest::default()),
        }));
        let line = to_line(&order);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(from_line::<Order>(&line).unwrap(), order);
        let event = Event::Failed(Report {
            message: "no such context".into(),
            hint: None,
        });
        assert_eq!(from_line::<Event>(&to_line(&event)).unwrap(), event);
    }

    #[test]
    fn non_utf8_paths_round_trip() {
        let non_utf8 = || OsString::from_vec(b"/tmp/\xff\xfe \n\"".to_vec());
        let config = |target, trace| SessionConfig {
            session: "0123abcd".into(),
            folder: non_utf8().into(),
            library: non_utf8().into(),
            target,
            log: LogLevel::Warn,
            rules: Vec::new(),
            trace,
            forward: None,
        };
        let direct = Target::Direct {
            endpoint: non_utf8(),
            key: non_utf8().into(),
            tls: TlsChoice::Auto,
        };
        let cluster = Target::Kubernetes(KubernetesTarget {
            kubeconfig: Some(non_utf8().into()),
            ..KubernetesTarget::default()
        });
        for config in [
            config(direct, Some(Trace::File(non_utf8().into()))),
            config(cluster, None),
        ] {
            let order = Order::Start(Box::new(config));
            assert_eq!(from_line::<Order>(&to_line(&order)).unwrap(), order);
        }
        let event = Event::Ready(Ready {
            cluster: "dev".into(),
            namespace: None,
            transport: "direct".into(),
            tls: false,
            not_by_proxy: None,
            socket: non_utf8().into(),
            control: Confidential("name:token:1".into()),
            workload: Some(Workload {
                workload: "deploy/web".parse().unwrap(),
                container: "app".into(),
                service_account: "default".into(),
                account_rights: None,
                hostname: "kinject-agent-0123abcd-x7k2p".into(),
                environment: vec![(non_utf8(), non_utf8())],
                paths: Some(non_utf8()),
            }),
        });
        assert_eq!(from_line::<Event>(&to_line(&event)).unwrap(), event);
        assert!(!format!("{event:?}").contains("token"), "{event:?}");
    }
}
