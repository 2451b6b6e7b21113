//! `kinject agent image push`: the carried agents as an image in a registry, by the OCI distribution protocol.
//!
//! The credentials are those of `docker login`, from its configuration or the helper that it names. Registries on this
//! machine's loopback are spoken to without TLS, as docker does.

use crate::description;
use anyhow::{Context, bail};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use kinject_bundle::CarriedAgent;
use kinject_image::{Image, Parts, digest, gzip};
use kinject_protocol::description::RelayAnswer;
use kinject_protocol::session::Report;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde_json::{Value, json};
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How long a registry may take to accept a connection, and to go on with an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// docker's own name for the registry of images without one.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_CREDENTIALS: &str = "https://index.docker.io/v1/";

/// Pushes the image of the agents that this relay has, and tells the launcher what has come of it.
pub(crate) fn answer(name: &OsStr, plain_http: bool) -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("TLS is provided for already");
    }
    let agents = description::carried_agents()?;
    let name = name.to_str().context("the image's name is not UTF-8")?;
    let pushed = crate::runtime()?.block_on(push(name, &agents, plain_http));
    description::answer(&match pushed {
        Ok(image) => RelayAnswer::Done(image),
        Err(report) => RelayAnswer::Failed(report),
    })
}

/// Pushes an image of the agents under a name, and gives the name with the image's digest.
pub(crate) async fn push(name: &str, agents: &[CarriedAgent], plain_http: bool) -> Result<String, Report> {
    let reference: Reference = name.parse().map_err(|error| Report {
        message: format!("{name} is no name of an image: {error}"),
        hint: Some("write REGISTRY/NAME:TAG".to_owned()),
    })?;
    if reference.digest().is_some() {
        return Err(Report {
            message: format!("{name} names an image by its digest, which the registry computes"),
            hint: Some("write REGISTRY/NAME:TAG".to_owned()),
        });
    }
    if agents.is_empty() {
        return Err(Report {
            message: "this kinject carries no agent".to_owned(),
            hint: Some("use a released kinject, or run `cargo xtask agent`".to_owned()),
        });
    }
    let auth = credentials(reference.registry())?;
    let registry = Registry::new(reference, plain_http)?;
    registry
        .push(agents, &auth)
        .await
        .map_err(|error| report(&registry.reference, &error))
}

/// A registry, and what is to be pushed there.
struct Registry {
    client: Client,
    reference: Reference,
}

/// A manifest that the registry has.
struct PushedManifest {
    digest: String,
    size: usize,
}

impl Registry {
    fn new(reference: Reference, plain_http: bool) -> Result<Self, Report> {
        let registry = reference.resolve_registry().to_owned();
        let protocol = match plain_http || is_loopback(&registry) {
            true => ClientProtocol::HttpsExcept(vec![registry]),
            false => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: concat!("kinject/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| report(&reference, &error))?;
        Ok(Self { client, reference })
    }

    async fn push(
        &self,
        agents: &[CarriedAgent],
        auth: &RegistryAuth,
    ) -> Result<String, OciDistributionError> {
        self.client
            .auth(&self.reference, auth, RegistryOperation::Push)
            .await?;
        let image = match agents {
            [agent] => self.push_agent(&self.reference, agent).await?,
            agents => self.push_index(agents).await?,
        };
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        Ok(format!("{registry}/{repository}@{}", image.digest))
    }

    /// One image for each architecture, without a tag, and an index of them that has it.
    async fn push_index(&self, agents: &[CarriedAgent]) -> Result<PushedManifest, OciDistributionError> {
        let mut entries = Vec::new();
        for agent in agents {
            let image = self.push_agent(&self.reference, agent).await?;
            entries.push(json!({
                "mediaType": OCI_IMAGE_MEDIA_TYPE,
                "digest": image.digest,
                "size": image.size,
                "platform": {"os": "linux", "architecture": agent.architecture.kubernetes_name()},
            }));
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE,
            "manifests": entries,
        });
        self.push_manifest(&self.reference, &index, OCI_IMAGE_INDEX_MEDIA_TYPE)
            .await
    }

    async fn push_agent(
        &self,
        reference: &Reference,
        agent: &CarriedAgent,
    ) -> Result<PushedManifest, OciDistributionError> {
        let image = Image::of_program(&reference.whole(), "kinject-agent", agent.unpack()?);
        let Parts { layer, config } = image.parts(agent.architecture.kubernetes_name())?;
        let layer = gzip(&layer)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_MEDIA_TYPE,
            "config": descriptor(IMAGE_CONFIG_MEDIA_TYPE, &config),
            "layers": [descriptor(IMAGE_LAYER_GZIP_MEDIA_TYPE, &layer)],
        });
        for blob in [layer, config] {
            let digest = sha256(&blob);
            self.client.push_blob(reference, blob, &digest).await?;
        }
        self.push_manifest(reference, &manifest, OCI_IMAGE_MEDIA_TYPE)
            .await
    }

    async fn push_manifest(
        &self,
        reference: &Reference,
        manifest: &Value,
        media_type: &'static str,
    ) -> Result<PushedManifest, OciDistributionError> {
        let body = serde_json::to_vec(manifest)?;
        let pushed = PushedManifest {
            digest: sha256(&body),
            size: body.len(),
        };
        let media_type = http::HeaderValue::from_static(media_type);
        self.client
            .push_manifest_raw(reference, body, media_type)
            .await
            .map(|_url| pushed)
    }
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

fn sha256(content: &[u8]) -> String {
    format!("sha256:{}", digest(content))
}

/// Whether a registry, as HOST or HOST:PORT, is on this machine.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => registry,
    };
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What `docker login` has kept for a registry.
fn credentials(registry: &str) -> Result<RegistryAuth, Report> {
    let server = match registry {
        DOCKER_HUB => DOCKER_HUB_CREDENTIALS,
        other => other,
    };
    let log_in = |message: String| Report {
        message,
        hint: Some(format!("run `docker login {registry}`")),
    };
    let Some(file) = docker_configuration() else {
        return Ok(RegistryAuth::Anonymous);
    };
    let configuration = match File::open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        opened => {
            opened.map_err(|error| log_in(format!("cannot read {}: {error}", kinject_escape::path(&file))))?
        }
    };
    match docker_credential::get_credential_from_reader(configuration, server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => Err(log_in(format!(
            "the credentials for {registry} are an identity token, which kinject cannot use: it needs a password or an \
             access token"
        ))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // a helper that has none says so in these words, as docker-credential-helpers defines them
        Err(CredentialRetrievalError::HelperFailure { stdout, .. })
            if stdout.contains("credentials not found") =>
        {
            Ok(RegistryAuth::Anonymous)
        }
        Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => Err(log_in(format!(
            "docker-credential-{helper} failed: {}",
            stderr.trim()
        ))),
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

/// Says why a registry did not take the image.
fn report(reference: &Reference, error: &OciDistributionError) -> Report {
    let (registry, repository) = (reference.registry(), reference.repository());
    let log_in = format!("run `docker login {registry}` as a user who may push {repository}");
    let (why, hint) = match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            (causes(error), log_in)
        }
        OciDistributionError::ServerError { code, message, .. } => {
            let hint = match code {
                401 | 403 => log_in,
                _ => format!("ask who runs {registry}"),
            };
            (
                format!("the registry answers {code}: {}", first_error(message)),
                hint,
            )
        }
        OciDistributionError::RequestError(_) => (
            causes(error),
            format!("check that {registry} can be reached; for one without TLS, add --plain-http"),
        ),
        OciDistributionError::IoError(_) => (causes(error), "install kinject again".to_owned()),
        _ => (
            causes(error),
            format!("ask who runs {registry} for the right to push {repository}"),
        ),
    };
    Report {
        message: format!("cannot push {}: {why}", reference.whole()),
        hint: Some(hint),
    }
}

/// What a registry's answer says: in the form of the OCI distribution specification, or as it stands.
fn first_error(answer: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(answer).ok();
    let message = parsed
        .as_ref()
        .and_then(|answer| answer["errors"][0]["message"].as_str());
    message.unwrap_or(answer).trim().to_owned()
}

/// An error with all that caused it: an HTTP client's own words are only that something failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_on_loopback_is_spoken_to_without_tls() {
        for local in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.0.0.1",
            "[::1]:5000",
        ] {
            assert!(is_loopback(local), "{local}");
        }
        for remote in [
            "registry.example",
            "registry.example:5000",
            "10.0.0.1:5000",
            "localhost.example",
        ] {
            assert!(!is_loopback(remote), "{remote}");
        }
    }

    #[test]
    fn answer_of_a_registry_is_told_by_its_message() {
        let answer =
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[]}]}"#;
        assert_eq!(first_error(answer), "authentication required");
        assert_eq!(first_error("no more space\n"), "no more space");
    }

    #[tokio::test]
    async fn name_that_is_no_image_reference_is_refused_before_anything_is_sent() {
        for name in [
            "",
            "registry.example/UPPER:tag",
            "registry.example/name:",
            "registry.example/a@sha256:0",
        ] {
            let report = push(name, &[], false).await.unwrap_err();
            assert!(
                report.message.contains("is no name of an image"),
                "{name}: {report:?}"
            );
            assert_eq!(report.hint.as_deref(), Some("write REGISTRY/NAME:TAG"));
        }
    }
}
