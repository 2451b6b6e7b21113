//! The credentials that `docker login` has kept, in its configuration or with the helper that it names.

use docker_credential::{CredentialRetrievalError, DockerCredential};
use kinject_protocol::session::Report;
use std::env;
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;

/// docker's own name for the registry of images without one.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_CREDENTIALS: &str = "https://index.docker.io/v1/";

/// What authorizes a user at a registry.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Nothing is kept.
    Anonymous,
    /// A name, and a password or an access token in the place of one.
    Password { user: String, password: String },
    /// What a login of OAuth 2 has left: a refresh token, for which the registry's token server gives others.
    IdentityToken(String),
}

/// What `docker login` has kept for a registry.
pub(super) fn credentials(registry: &str) -> Result<Credentials, Report> {
    let server = match registry {
        DOCKER_HUB => DOCKER_HUB_CREDENTIALS,
        other => other,
    };
    let log_in = |message: String| Report {
        message,
        hint: Some(format!("run `docker login {registry}`")),
    };
    let Some(file) = docker_configuration() else {
        return Ok(Credentials::Anonymous);
    };
    let configuration = match File::open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Credentials::Anonymous),
        opened => {
            opened.map_err(|error| log_in(format!("cannot read {}: {error}", kinject_escape::path(&file))))?
        }
    };
    match docker_credential::get_credential_from_reader(configuration, server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Credentials::Password { user, password })
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credentials::IdentityToken(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credentials::Anonymous),
        // a helper that has none says so in these words, as docker-credential-helpers defines them
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(Credentials::Anonymous)
        }
        Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => {
            Err(log_in(format!("{helper} failed: {}", stderr.trim())))
        }
        Err(error) => Err(log_in(format!(
            "{} cannot be used: {error}",
            kinject_escape::path(&file)
        ))),
    }
}

/// Where docker keeps its configuration.
fn docker_configuration() -> Option<PathBuf> {
    let folder = match env::var_os("DOCKER_CONFIG") {
        Some(folder) => folder.into(),
        None => PathBuf::from(env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}
