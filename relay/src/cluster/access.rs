//! The cluster, the user and the namespace that kubectl would use for the same flags.

use super::kubeconfig::{self, Configuration};
use crate::report::Failure;
use kinject_protocol::session::KubernetesTarget;
use kube::Client;
use kube::client::AuthError;
use kube::config::{ExecConfig, ExecInteractiveMode};
use std::error::Error as _;
use std::time::Duration;

/// Time limit for the TCP and TLS connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the cluster may take to create or change an object: admission webhooks are asked meanwhile, each for up to
/// 30 seconds.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(40);

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
    /// Whether the requests are another user's than the one who logs in (`--as`, or `as` of the kubeconfig).
    pub(crate) is_impersonating: bool,
}

impl Access {
    /// Reads the configuration. It runs credential plug-ins, and sends nothing to the API server.
    pub(crate) async fn new(target: &KubernetesTarget) -> Result<Self, Failure> {
        let Configuration {
            mut config,
            cluster,
            files,
        } = kubeconfig::configuration(target).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
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
            .map(make_non_interactive)
            .transpose()?
            .flatten();
        let is_impersonating = config.auth_info.impersonate.is_some();
        let client = Client::try_from(config).map_err(|error| match (&error, plugin) {
            (kube::Error::Auth(AuthError::AuthExecStart(cause)), Some(plugin)) => Failure::lasting(
                format!("cannot run the credential plug-in {plugin}: {cause}"),
                "install it: the kubeconfig names it for this user",
            ),
            // no request was sent yet, so the error is about the configuration
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
            is_impersonating,
        })
    }

    /// The failure for an error of the API client; `what` completes "cannot".
    pub(crate) fn failure(&self, error: &kube::Error, what: &str) -> Failure {
        of_api_error(error, &self.server, what)
    }

    /// The failure of a request that timed out; `what` completes "when asked".
    pub(crate) fn silence(&self, what: &str) -> Failure {
        Failure::passing(
            format!("the cluster at {} does not answer when asked {what}", self.server),
            "check the way to it: run `kubectl get --raw /readyz` here",
        )
    }
}

/// Tells a credential plug-in that it has no terminal: the relay's standard input belongs to the launcher. Returns
/// the plug-in's program.
fn make_non_interactive(exec: &mut ExecConfig) -> Result<Option<String>, Failure> {
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

/// The failure for an error of the API client. The API server's message is kept unchanged.
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
            let cause = root_cause(other);
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

/// What a credential plug-in wrote to standard error, or why it could not run.
fn of_auth_error(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd, out } => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            format!("`{cmd}` ended with {}: {}", out.status, stderr.trim())
        }
        other => other.to_string(),
    }
}

/// The text of the innermost cause, which says what happened; the outer ones only say where.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
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

/// Whether a request failed without effect in the cluster: no connection was made, or the API server rejected the
/// request (a 4xx status).
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

/// Whether such a request fails until the user logs in or gets a right.
pub(crate) fn is_credential_error(error: &kube::Error) -> bool {
    match error {
        kube::Error::Auth(_) => true,
        kube::Error::Api(status) => matches!(status.code, 401 | 403),
        _ => false,
    }
}

/// The text of an error's innermost cause, or of the error itself if it has none.
pub(crate) fn innermost(error: &kube::Error) -> String {
    if error.source().is_some() {
        root_cause(error)
    } else {
        error.to_string()
    }
}
