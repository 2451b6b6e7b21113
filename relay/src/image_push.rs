//! `kinject agent image push`: the carried agents as an image in a registry, by the OCI distribution protocol.
//!
//! The credentials are those of `docker login`, from its configuration or the helper that it names. Registries on this
//! machine's loopback are spoken to without TLS, as docker does.

mod docker;
mod failure;

use crate::description;
use anyhow::{Context, bail};
use docker::credentials;
use failure::{report, report_panic};
use futures::FutureExt;
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
use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// How long a registry may take to accept a connection, and, besides the time of an upload, to go on with an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The slowest upload that is waited for, in bytes each second: a registry answers when it has all of a body.
const SLOWEST_UPLOAD: u64 = 32 << 10;

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
    let images = agents
        .iter()
        .map(|agent| AgentImage::new(&reference, agent))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| Report {
            message: format!("cannot make the image: {error}"),
            hint: Some("install kinject again".to_owned()),
        })?;
    let largest = images.iter().map(|image| image.layer.len() as u64).max();
    let registry = Registry::new(reference, plain_http, largest.unwrap_or(0))?;
    // the client panics at some answers: at an address that is none, and at a token that no header can hold
    match AssertUnwindSafe(registry.push(&images, &auth))
        .catch_unwind()
        .await
    {
        Ok(pushed) => pushed.map_err(|error| report(&registry.reference, &error)),
        Err(panic) => Err(report_panic(&registry.reference, &*panic)),
    }
}

/// The image of one agent.
struct AgentImage {
    architecture: &'static str,
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Manifest,
}

impl AgentImage {
    fn new(reference: &Reference, agent: &CarriedAgent) -> io::Result<Self> {
        let architecture = agent.architecture.kubernetes_name();
        let image = Image::of_program(&reference.whole(), "kinject-agent", agent.unpack()?);
        let Parts { layer, config } = image.parts(architecture)?;
        let layer = gzip(&layer)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_MEDIA_TYPE,
            "config": descriptor(IMAGE_CONFIG_MEDIA_TYPE, &config),
            "layers": [descriptor(IMAGE_LAYER_GZIP_MEDIA_TYPE, &layer)],
        });
        Ok(Self {
            architecture,
            layer,
            config,
            manifest: Manifest::new(OCI_IMAGE_MEDIA_TYPE, &manifest),
        })
    }
}

/// The manifest of an image, or the index of some.
struct Manifest {
    media_type: &'static str,
    content: Vec<u8>,
    digest: String,
}

impl Manifest {
    fn new(media_type: &'static str, content: &Value) -> Self {
        let content = content.to_string().into_bytes();
        let digest = sha256(&content);
        Self {
            media_type,
            content,
            digest,
        }
    }

    /// Images for nodes of several architectures, which have to be in the registry.
    fn index(images: &[AgentImage]) -> Self {
        let entries: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({
                    "mediaType": image.manifest.media_type,
                    "digest": image.manifest.digest,
                    "size": image.manifest.content.len(),
                    "platform": {"os": "linux", "architecture": image.architecture},
                })
            })
            .collect();
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE,
            "manifests": entries,
        });
        Self::new(OCI_IMAGE_INDEX_MEDIA_TYPE, &index)
    }
}

/// A registry, and the name of what is to be pushed there.
struct Registry {
    client: Client,
    reference: Reference,
}

impl Registry {
    /// A client that may send bodies of this size.
    fn new(reference: Reference, plain_http: bool, largest: u64) -> Result<Self, Report> {
        let registry = reference.resolve_registry().to_owned();
        let is_loopback = is_loopback(&registry);
        let protocol = match plain_http || is_loopback {
            true => ClientProtocol::HttpsExcept(vec![registry]),
            false => ClientProtocol::Https,
        };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(read_timeout(largest)),
            user_agent: concat!("kinject/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let config = match is_loopback {
            true => without_proxy(config),
            false => config,
        };
        let client = Client::try_from(config).map_err(|error| report(&reference, &error))?;
        Ok(Self { client, reference })
    }

    /// Gives the image's name with its digest. Only when the registry has everything does the tag lead to it.
    async fn push(&self, images: &[AgentImage], auth: &RegistryAuth) -> Result<String, OciDistributionError> {
        self.client
            .auth(&self.reference, auth, RegistryOperation::Push)
            .await?;
        for image in images {
            self.push_blobs(image).await?;
        }
        let digest = match images {
            [image] => self.push_manifest(&self.reference, &image.manifest).await?,
            images => {
                for image in images {
                    let by_digest = self.reference_by_digest(&image.manifest.digest);
                    self.push_manifest(&by_digest, &image.manifest).await?;
                }
                self.push_manifest(&self.reference, &Manifest::index(images))
                    .await?
            }
        };
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        Ok(format!("{registry}/{repository}@{digest}"))
    }

    async fn push_blobs(&self, image: &AgentImage) -> Result<(), OciDistributionError> {
        for blob in [&image.layer, &image.config] {
            let digest = sha256(blob);
            self.client
                .push_blob(&self.reference, blob.clone(), &digest)
                .await?;
        }
        Ok(())
    }

    /// The client puts a manifest under its digest where the reference has one. It also expects the address to end with
    /// the tag if a registry answers without a location, as Amazon's does: the digest stands for the tag, too.
    fn reference_by_digest(&self, digest: &str) -> Reference {
        Reference::with_tag_and_digest(
            self.reference.registry().to_owned(),
            self.reference.repository().to_owned(),
            digest.to_owned(),
            digest.to_owned(),
        )
    }

    async fn push_manifest(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<String, OciDistributionError> {
        let media_type = http::HeaderValue::from_static(manifest.media_type);
        self.client
            .push_manifest_raw(reference, manifest.content.clone(), media_type)
            .await
            .map(|_url| manifest.digest.clone())
    }
}

/// A proxy on another machine cannot reach this one's loopback, and must not see the credentials.
fn without_proxy(config: ClientConfig) -> ClientConfig {
    ClientConfig {
        // a proxy of its own keeps the client from looking for one in the environment; it serves no host
        http_proxy: Some("http://localhost".to_owned()),
        no_proxy: Some("*,0.0.0.0/0,::/0".to_owned()),
        ..config
    }
}

/// How long to wait for an answer: the client counts from the first byte of the request, whose body has this size.
fn read_timeout(body: u64) -> Duration {
    READ_TIMEOUT.saturating_add(Duration::from_secs(body / SLOWEST_UPLOAD))
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
    fn time_for_an_answer_grows_with_the_body_that_is_uploaded() {
        assert_eq!(read_timeout(0), READ_TIMEOUT);
        assert_eq!(read_timeout(32 << 20), READ_TIMEOUT + Duration::from_secs(1024));
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
