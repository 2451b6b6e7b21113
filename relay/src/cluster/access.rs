//! Which cluster, as whom, in which namespace: what kubectl would use for the same flags.

use super::kubeconfig::{self, Configuration};
use crate::report::Failure;
use kinject_protocol::session::KubernetesTarget;
use kube::Client;
use kube::client::AuthError;
use kube::config::{ExecConfig, ExecInteractiveMode};
use std::error::Error as _;
use std::time::Duration;

/// How long a TCP and TLS connection to the API server may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(8);

/// A cluster as one user sees it.
#[derive(Clone)]
pub(crate) struct Access {
    /// The API client.
    pub(crate) client: Client,
    /// The namespace of the session.
    pub(crate) namespace: String,
    /// The context's name, or the server's address inside a cluster.
    pub(crate) cluster: String,
    /// The API server's URL.
    pub(crate) server: String,
}

impl Access {
    /// Reads the configuration; speaks with nobody but credential plug-ins.
    pub(crate) async fn new(target: &KubernetesTarget) -> Result<Self, Failure> {
        let Configuration {
            mut config,
            cluster,
            files,
        } = kubeconfig::configuration(target).await?;
        config.connect_timeout = Some(CONNECT_PATIENCE);
        if target.impersonate_user.is_some() {
            config.auth_info.impersonate.clone_from(&target.impersonate_user);
        }
        if !target.impersonate_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(target.impersonate_groups.clone());
        }
        let namespace = target
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let plugin = config
            .auth_info
            .exec
            .as_mut()
            .map(keep_from_terminal)
            .transpose()?
            .flatten();
        let client = Client::try_from(config).map_err(|error| match (&error, plugin) {
            (kube::Error::Auth(AuthError::AuthExecStart(cause)), Some(plugin)) => Failure::lasting(
                format!("cannot run the credential plug-in {plugin}: {cause}"),
                "install it: the kubeconfig names it for this user",
            ),
            // nobody was spoken with yet but credential plug-ins
            (kube::Error::InferKubeconfig(cause), _) => kubeconfig::unusable(cause, &files),
            (kube::Error::RustlsTls(_), _) => Failure::lasting(
                format!("the certificates or the key in the kubeconfig {files} cannot be used"),
                "check that they are whole and in PEM: run `kubectl get --raw /readyz`",
            ),
            _ => of_api_error(&error, &server, "use the kubeconfig"),
        })?;
        Ok(Self {
            client,
            namespace,
            cluster,
            server,
        })
    }

    /// Puts an error of the API client into words; `what` completes "cannot".
    pub(crate) fn failure(&self, error: &kube::Error, what: &str) -> Failure {
        of_api_error(error, &self.server, what)
    }

    /// The failure of a request that is not answered; `what` completes "when asked".
    pub(crate) fn silence(&self, what: &str) -> Failure {
        Failure::passing(
            format!("the cluster at {} does not answer when asked {what}", self.server),
            "check the way to it: run `kubectl get --raw /readyz` here",
        )
    }
}

/// A credential plug-in has no terminal to ask at: the relay's standard input is the launcher. Returns its program.
fn keep_from_terminal(exec: &mut ExecConfig) -> Result<Option<String>, Failure> {
    let program = exec.command.clone();
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        let name = program.unwrap_or_default();
        return Err(Failure::lasting(
            format!("the credential plug-in {name} insists on a terminal"),
            "log in with kubectl first, or set its interactiveMode to IfAvailable in the kubeconfig",
        ));
    }
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
    Ok(program)
}

/// An error of the API client in words. The cluster's own words stand as they are.
fn of_api_error(error: &kube::Error, server: &str, what: &str) -> Failure {
    match error {
        kube::Error::Api(status) => {
            let message = format!("cannot {what}: {}", status.message);
            let hint = match status.code {
                401 => "the credentials are wrong or have expired: run `kubectl auth whoami`",
                403 if status.message.contains("exceeded quota") => {
                    "the namespace's quota is used up: free some of it or choose another with --namespace"
                }
                403 => "ask for this permission, or choose another namespace with --namespace",
                404 => "check the namespace: `kubectl get namespaces` lists them",
                409 => "somebody else has made it: try again, or choose another namespace with --namespace",
                _ => "these are the cluster's own words",
            };
            match status.code {
                500.. | 429 => Failure::passing(message, hint),
                _ => Failure::lasting(message, hint),
            }
        }
        kube::Error::Auth(error) => Failure::lasting(
            format!("cannot get credentials for {server}: {}", of_auth_error(error)),
            "run `kubectl auth whoami` to see what they are worth",
        ),
        other => {
            let cause = chain(other);
            let hint = match cause.to_lowercase().contains("certificate") {
                true => {
                    "check the certificate's dates, certificate-authority in the kubeconfig, and that no proxy on the way shows its own"
                }
                false => "check that the cluster is up: run `kubectl get --raw /readyz` here",
            };
            Failure::passing(format!("cannot reach the cluster at {server}: {cause}"), hint)
        }
    }
}

/// What a credential plug-in said, otherwise what kept it from speaking.
fn of_auth_error(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => {
            let said = String::from_utf8_lossy(&out.stderr);
            format!("`{cmd}` ended with {}: {}", out.status, said.trim())
        }
        other => other.to_string(),
    }
}

/// The innermost cause says what happened, the ones around it only where.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let io = innermost.downcast_ref::<std::io::Error>();
    if io.is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
        return "no answer".to_owned();
    }
    innermost.to_string()
}

/// Whether a request failed in such a way that the cluster cannot have done what it asked for: no connection was made,
/// or the answer is that it did nothing.
pub(crate) fn did_nothing(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error {
        return (400..500).contains(&status.code);
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return error.is_connect();
        }
        cause = error.source();
    }
    false
}

/// Whether the user has to log in, or to ask for a right, before such a request is of use.
pub(crate) fn is_about_credentials(error: &kube::Error) -> bool {
    match error {
        kube::Error::Auth(_) => true,
        kube::Error::Api(status) => matches!(status.code, 401 | 403),
        _ => false,
    }
}

/// The root of a chain of causes, for errors that are no API errors.
pub(crate) fn innermost(error: &kube::Error) -> String {
    if error.source().is_some() {
        chain(error)
    } else {
        error.to_string()
    }
}
