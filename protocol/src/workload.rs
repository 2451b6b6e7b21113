//! The workload in whose place a session's programs run: what the launcher asks for, and what the relay found.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

/// What stands in for which workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadRequest {
    /// `--target`.
    pub workload: WorkloadName,
    /// `--container`; otherwise the relay chooses the workload's main container.
    pub container: Option<String>,
    /// Whether the container's mounts stand at their paths (`--files`).
    pub files: bool,
    /// `--remote-path`, repeated: globs of other paths that are read from the container, absolute.
    pub remote_paths: Vec<OsString>,
    /// `--local-path`, repeated: globs of paths that stay this machine's, absolute.
    pub local_paths: Vec<OsString>,
    /// `--exec-env`: the variables are those of the running container's first process, read through exec.
    pub exec_environment: bool,
}

/// A workload as kubectl names it: `TYPE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadName {
    /// The type of the object.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

/// A type of object that has a pod's template, or is a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// `deployments.apps`
    Deployment,
    /// `statefulsets.apps`
    StatefulSet,
    /// `daemonsets.apps`
    DaemonSet,
    /// `replicasets.apps`
    ReplicaSet,
    /// `jobs.batch`
    Job,
    /// `cronjobs.batch`
    CronJob,
    /// `rollouts.argoproj.io`
    Rollout,
    /// `pods`
    Pod,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicaSet,
        Self::Job,
        Self::CronJob,
        Self::Rollout,
        Self::Pod,
    ];

    /// The singular, by which kubectl shows an object: `deployment`.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::ReplicaSet => "replicaset",
            Self::Job => "job",
            Self::CronJob => "cronjob",
            Self::Rollout => "rollout",
            Self::Pod => "pod",
        }
    }

    /// The names that kubectl takes: singular, plural, short name.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Deployment => &["deployment", "deployments", "deploy"],
            Self::StatefulSet => &["statefulset", "statefulsets", "sts"],
            Self::DaemonSet => &["daemonset", "daemonsets", "ds"],
            Self::ReplicaSet => &["replicaset", "replicasets", "rs"],
            Self::Job => &["job", "jobs"],
            Self::CronJob => &["cronjob", "cronjobs", "cj"],
            Self::Rollout => &["rollout", "rollouts", "ro"],
            Self::Pod => &["pod", "pods", "po"],
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps",
            Self::Job | Self::CronJob => "batch",
            Self::Rollout => "argoproj.io",
            Self::Pod => "",
        }
    }

    /// The resource's name in the API: the plural.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::ReplicaSet => "replicasets",
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
            Self::Rollout => "rollouts",
            Self::Pod => "pods",
        }
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.kind.singular(), self.name)
    }
}

/// A name that is none of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadNameError {
    reason: String,
    advice: String,
}

impl WorkloadNameError {
    /// What is wrong.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to write instead.
    pub fn advice(&self) -> &str {
        &self.advice
    }
}

impl fmt::Display for WorkloadNameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.advice)
    }
}

impl std::error::Error for WorkloadNameError {}

impl FromStr for WorkloadName {
    type Err = WorkloadNameError;

    /// `TYPE/NAME`, or the name of a deployment. A type may be followed by its API group (`deployments.apps/web`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            None => (WorkloadKind::Deployment, text),
            Some((kind, name)) => (kind_of(kind)?, name),
        };
        if name.is_empty() || !name.bytes().all(is_name_byte) {
            return Err(WorkloadNameError {
                reason: format!("{name:?} is no name of an object"),
                advice: "name a workload as TYPE/NAME, such as deploy/web".to_owned(),
            });
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// The bytes of a DNS subdomain (RFC 1123), which objects' names are.
fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')
}

fn kind_of(text: &str) -> Result<WorkloadKind, WorkloadNameError> {
    let lower = text.to_ascii_lowercase();
    let (name, group) = match lower.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (lower.as_str(), None),
    };
    WorkloadKind::ALL
        .into_iter()
        .find(|kind| kind.names().contains(&name))
        .filter(|kind| group.is_none_or(|group| is_group_of(group, *kind)))
        .ok_or_else(|| {
            let types: Vec<_> = WorkloadKind::ALL
                .into_iter()
                .map(WorkloadKind::singular)
                .collect();
            WorkloadNameError {
                reason: format!("{text:?} is no type of workload"),
                advice: format!("use one of {}", types.join(", ")),
            }
        })
}

/// A group as kubectl takes it, with or without a version before it (`v1.apps`).
fn is_group_of(group: &str, kind: WorkloadKind) -> bool {
    let unversioned = match group.split_once('.') {
        Some((version, rest)) if version.starts_with('v') => rest,
        _ => group,
    };
    unversioned == kind.group()
}

/// What the relay found of the workload.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The workload.
    pub workload: WorkloadName,
    /// The container that the session's programs stand in for.
    pub container: String,
    /// The service account of the agent's pod.
    pub service_account: String,
    /// What the account may do, in words; none where it may do no more than every account, or that is not known.
    pub account_rights: Option<String>,
    /// The host name that programs see.
    pub hostname: String,
    /// The container's environment: names and values, which may be any bytes but zero.
    pub environment: Vec<(OsString, OsString)>,
    /// The value of [`crate::environment::PATHS`]; none with `--files none`.
    pub paths: Option<OsString>,
}

impl fmt::Debug for Workload {
    /// Without the environment's values, which hold secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Workload")
            .field("workload", &self.workload)
            .field("container", &self.container)
            .field("service_account", &self.service_account)
            .field("hostname", &self.hostname)
            .field("variables", &self.environment.len())
            .field("paths", &self.paths)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> WorkloadName {
        text.parse().unwrap()
    }

    #[test]
    fn names_as_kubectl_takes_them_are_parsed() {
        for (text, kind) in [
            ("web", WorkloadKind::Deployment),
            ("deploy/web", WorkloadKind::Deployment),
            ("deployments.apps/web", WorkloadKind::Deployment),
            ("Deployment.v1.apps/web", WorkloadKind::Deployment),
            ("sts/web", WorkloadKind::StatefulSet),
            ("daemonset/web", WorkloadKind::DaemonSet),
            ("rs/web", WorkloadKind::ReplicaSet),
            ("job/web", WorkloadKind::Job),
            ("cj/web", WorkloadKind::CronJob),
            ("rollout.argoproj.io/web", WorkloadKind::Rollout),
            ("po/web", WorkloadKind::Pod),
        ] {
            let expected = WorkloadName {
                kind,
                name: "web".to_owned(),
            };
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert_eq!(parsed("pod/web-0.a").to_string(), "pod/web-0.a");
    }

    #[test]
    fn unknown_type_wrong_group_and_invalid_name_are_refused() {
        for (text, named) in [
            ("service/web", "\"service\""),
            ("pods.apps/web", "\"pods.apps\""),
            ("deploy/", "\"\""),
            ("deploy/We b", "\"We b\""),
            ("a/b/c", "\"a\""),
            ("", "\"\""),
        ] {
            let error = text.parse::<WorkloadName>().unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn debug_output_of_a_workload_has_no_variables() {
        let workload = Workload {
            workload: parsed("web"),
            container: "app".to_owned(),
            service_account: "default".to_owned(),
            account_rights: None,
            hostname: "pod".to_owned(),
            environment: vec![("PASSWORD".into(), "hunter2".into())],
            paths: None,
        };
        let shown = format!("{workload:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("PASSWORD"),
            "{shown}"
        );
    }
}
