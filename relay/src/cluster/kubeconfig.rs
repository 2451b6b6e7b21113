//! The kubeconfig that kubectl would use for the same flags, and the messages for one that cannot be used.
//!
//! It may hold a token or a private key, so no message shows a piece of its text: only the names of its entries, and
//! line and column of an error.

use crate::report::Failure;
use crate::words::list;
use kinject_escape::word;
use kinject_protocol::session::KubernetesTarget;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The hint about where to get a kubeconfig.
const HOW_TO_GET_ONE: &str =
    "kind, minikube, k3s or a cloud's command line writes one, or the cluster's administrator";

/// A configuration and the files that it was read from.
pub(super) struct Configuration {
    /// Server, user, namespace.
    pub(super) config: Config,
    /// The context's name, or the server's address inside of a cluster.
    pub(super) cluster: String,
    /// The files.
    pub(super) files: Files,
}

/// The files that make up a kubeconfig, for messages.
pub(super) struct Files(Vec<PathBuf>);

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(files) = self;
        f.write_str(&list(files.iter().map(|file| kinject_escape::path(file))))
    }
}

/// Reads the configuration. Without a kubeconfig it is that of the service account of the pod in which kinject runs.
pub(super) async fn configuration(target: &KubernetesTarget) -> Result<Configuration, Failure> {
    let (files, missing) = match &target.kubeconfig {
        Some(file) => existing(vec![file.clone()], Some("--kubeconfig")),
        None => found_by_environment(),
    };
    if let Some(missing) = missing {
        if target.kubeconfig.is_none()
            && target.context.is_none()
            && let Ok(config) = Config::incluster()
        {
            let cluster = config.cluster_url.to_string();
            let files = Files(Vec::new());
            return Ok(Configuration {
                config,
                cluster,
                files,
            });
        }
        return Err(missing);
    }
    let mut merged = Kubeconfig::default();
    for file in &files {
        let next = Kubeconfig::read_from(file).map_err(|error| unreadable(file, &error))?;
        merged = merged.merge(next).map_err(|error| unreadable(file, &error))?;
    }
    let files = Files(files);
    let context = chosen_context(&merged, target.context.as_deref(), &files)?;
    let options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(merged, &options)
        .await
        .map_err(|error| unusable(&error, &files))?;
    Ok(Configuration {
        config,
        cluster: context,
        files,
    })
}

/// The files that KUBECONFIG names, or the one in the home folder. Like kubectl, it ignores files of a list that do not
/// exist, unless none does.
fn found_by_environment() -> (Vec<PathBuf>, Option<Failure>) {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let named: Vec<PathBuf> = std::env::split_paths(&named)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if !named.is_empty() {
        return existing(named, Some("KUBECONFIG"));
    }
    match std::env::home_dir().filter(|home| !home.as_os_str().is_empty()) {
        Some(home) => existing(vec![home.join(".kube/config")], None),
        None => (
            Vec::new(),
            Some(Failure::lasting(
                "there is no kubeconfig: KUBECONFIG is not set, and there is no home folder to look into",
                "name one with --kubeconfig or KUBECONFIG",
            )),
        ),
    }
}

/// Those of the named files that exist, or the failure to find one; `source` is the option or variable that names them.
fn existing(named: Vec<PathBuf>, source: Option<&str>) -> (Vec<PathBuf>, Option<Failure>) {
    // a file of which stat(2) fails otherwise exists, and reading it reports why
    let exists = |file: &PathBuf| !matches!(std::fs::metadata(file), Err(error) if error.kind() == ErrorKind::NotFound);
    let found: Vec<PathBuf> = named.iter().filter(|file| exists(file)).cloned().collect();
    if !found.is_empty() {
        return (found, None);
    }
    let files = Files(named);
    let message = match source {
        None => format!("there is no kubeconfig: {files} does not exist, and KUBECONFIG is not set"),
        Some(source) => format!("there is no kubeconfig at {files}, which {source} names"),
    };
    let Files(named) = files;
    let hint = if named.iter().any(|file| is_unexpanded(file)) {
        "the shell has not replaced ~ there: write $HOME instead"
    } else {
        HOW_TO_GET_ONE
    };
    (Vec::new(), Some(Failure::lasting(message, hint)))
}

/// Whether a component of the path is `~`, which the shell should have replaced.
fn is_unexpanded(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "~")
}

/// The failure to read a file as a kubeconfig.
fn unreadable(file: &Path, error: &KubeconfigError) -> Failure {
    let name = kinject_escape::path(file);
    match error {
        KubeconfigError::ReadConfig(error, _) => Failure::lasting(
            format!("cannot read the kubeconfig {name}: {}", without_errno(error)),
            match error.kind() {
                ErrorKind::PermissionDenied => {
                    "it belongs to somebody else: name a copy of your own with --kubeconfig or KUBECONFIG"
                }
                ErrorKind::IsADirectory => "name the file in it with --kubeconfig or KUBECONFIG",
                ErrorKind::InvalidData => "name a kubeconfig, which is text, with --kubeconfig",
                _ => "name another with --kubeconfig or KUBECONFIG",
            },
        ),
        KubeconfigError::Parse(error) => {
            let position = error
                .location()
                .map(|at| format!(" at line {}, column {}", at.line(), at.column()));
            Failure::lasting(
                format!(
                    "the kubeconfig {name} is not valid{}",
                    position.unwrap_or_default()
                ),
                "check indentation and quotes there, and that it is a kubeconfig",
            )
        }
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => Failure::lasting(
            format!("the kubeconfig {name} is of another kind or version than those before it in KUBECONFIG"),
            "a kubeconfig begins with `apiVersion: v1` and `kind: Config`",
        ),
        other => unusable(other, &Files(vec![file.to_owned()])),
    }
}

/// The requested context, or the current one, if the cluster and the user that it names are defined.
fn chosen_context(kubeconfig: &Kubeconfig, wanted: Option<&str>, files: &Files) -> Result<String, Failure> {
    if kubeconfig.contexts.is_empty() {
        return Err(Failure::lasting(
            format!("the kubeconfig {files} names no cluster: it has no context"),
            HOW_TO_GET_ONE,
        ));
    }
    let contexts = list(kubeconfig.contexts.iter().map(|context| &context.name));
    let Some(name) = wanted
        .or(kubeconfig.current_context.as_deref())
        .filter(|name| !name.is_empty())
    else {
        return Err(Failure::lasting(
            format!("the kubeconfig {files} has no current context"),
            &format!("choose one with --context: {contexts}"),
        ));
    };
    let Some(named) = kubeconfig.contexts.iter().find(|context| context.name == name) else {
        return Err(Failure::lasting(
            format!("the kubeconfig {files} has no context \"{name}\""),
            &format!("it has: {contexts}; choose one with --context"),
        ));
    };
    let undefined = |what: &str, missing: &str, known: String| {
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known
        };
        Failure::lasting(
            format!(
                "context \"{name}\" names the {what} \"{missing}\", which the kubeconfig {files} does not have"
            ),
            &format!(
                "it has: {known}; `kubectl config set-context {} --{what}=NAME` names another",
                word(name)
            ),
        )
    };
    let (cluster, user) = match &named.context {
        Some(context) => (context.cluster.as_str(), context.user.as_deref()),
        None => ("", None),
    };
    if cluster.is_empty() {
        return Err(Failure::lasting(
            format!("context \"{name}\" in the kubeconfig {files} names no cluster"),
            &format!(
                "`kubectl config set-context {} --cluster=NAME` names one",
                word(name)
            ),
        ));
    }
    let has_cluster = |known: &kube::config::NamedCluster| known.name == cluster && known.cluster.is_some();
    if !kubeconfig.clusters.iter().any(has_cluster) {
        return Err(undefined(
            "cluster",
            cluster,
            list(kubeconfig.clusters.iter().map(|known| &known.name)),
        ));
    }
    // a context may name no user; one that it names has to be defined
    if let Some(user) = user.filter(|user| !user.is_empty())
        && !kubeconfig.auth_infos.iter().any(|known| known.name == user)
    {
        return Err(undefined(
            "user",
            user,
            list(kubeconfig.auth_infos.iter().map(|known| &known.name)),
        ));
    }
    Ok(name.to_owned())
}

/// The failure to use a kubeconfig that could be read.
pub(super) fn unusable(error: &KubeconfigError, files: &Files) -> Failure {
    let data = |what: &str, error: &LoadDataError| match error {
        LoadDataError::ReadFile(error, path) => format!(
            "cannot read {}, the {what} in the kubeconfig {files}: {}",
            kinject_escape::path(path),
            without_errno(error)
        ),
        LoadDataError::DecodeBase64(_) => format!("the {what} in the kubeconfig {files} is not base64"),
        LoadDataError::NoBase64DataOrFile => format!("the {what} is missing in the kubeconfig {files}"),
    };
    let message = match error {
        KubeconfigError::MissingClusterUrl => {
            format!("the context's cluster in the kubeconfig {files} has no server")
        }
        KubeconfigError::ParseClusterUrl(_) => {
            format!("the server of the context's cluster in the kubeconfig {files} is no URL")
        }
        KubeconfigError::ParseProxyUrl(_) => {
            format!("the proxy that HTTPS_PROXY or the kubeconfig {files} names is no URL")
        }
        KubeconfigError::ParseNoProxy(_) => "NO_PROXY cannot be understood".to_owned(),
        KubeconfigError::LoadCertificateAuthority(error) => data("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => data("client certificate", error),
        KubeconfigError::LoadClientKey(error) => data("client key", error),
        KubeconfigError::ParseCertificates(_) => {
            format!("the certificate authority in the kubeconfig {files} is no certificate in PEM")
        }
        // reported in more detail before
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::LoadContext(_)
        | KubeconfigError::LoadClusterOfContext(_)
        | KubeconfigError::FindPath
        | KubeconfigError::ReadConfig(..)
        | KubeconfigError::Parse(_)
        | KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch => format!("the kubeconfig {files} cannot be used"),
    };
    Failure::lasting(
        message,
        "get a new kubeconfig, or mend it with `kubectl config set-cluster` and `set-credentials`",
    )
}

/// The text of a system error without its errno.
fn without_errno(error: &std::io::Error) -> String {
    let message = error.to_string();
    message
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_lowercase()
}
