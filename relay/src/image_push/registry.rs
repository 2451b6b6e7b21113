//! A registry, to which images are pushed by the OCI distribution protocol.
//!
//! Registries are spoken to with TLS. On this machine's loopback, where nothing leaves the machine, one that does not
//! speak it is spoken to without, as docker does.

use super::authorization::{Authorization, Authorizer, Scheme, Unanswered};
use super::docker::Credentials;
use super::failure::report;
use super::image::{AgentImage, Manifest};
use kinject_protocol::session::Report;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::token_cache::RegistryTokenType;
use oci_client::{Reference, RegistryOperation};
use std::net::IpAddr;
use std::time::Duration;

/// How long a registry may take to accept a connection, and, besides the time of an upload, to go on with an answer.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The slowest upload that is waited for, in bytes each second: a registry answers when it has all of a body.
const SLOWEST_UPLOAD: u64 = 32 << 10;

/// kinject's name in requests.
pub(super) const USER_AGENT: &str = concat!("kinject/", env!("CARGO_PKG_VERSION"));

/// A registry, and the name under which an image is pushed there.
pub(super) struct Registry {
    client: Client,
    reference: Reference,
    authorizer: Authorizer,
}

impl Registry {
    /// Asks a registry how requests are to be authorized, and makes a client that may send bodies of this size.
    pub(super) async fn connect(
        reference: Reference,
        plain_http: bool,
        largest: u64,
        credentials: Credentials,
    ) -> Result<Self, Report> {
        let registry = reference.resolve_registry().to_owned();
        let is_loopback = is_loopback(&registry);
        let connect = |scheme| Authorizer::connect(&reference, scheme, is_loopback, credentials.clone());
        let first = match plain_http {
            true => Scheme::PlainHttp,
            false => Scheme::Https,
        };
        let connected = match connect(first).await {
            Err(Unanswered::NoTls(_)) if is_loopback => connect(Scheme::PlainLoopback).await,
            connected => connected,
        };
        let authorizer = connected.map_err(|unanswered| unanswered.report(&reference))?;
        let protocol = match authorizer.scheme() {
            Scheme::Https => ClientProtocol::Https,
            Scheme::PlainHttp | Scheme::PlainLoopback => ClientProtocol::HttpsExcept(vec![registry]),
        };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(read_timeout(largest)),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        let config = match is_loopback {
            true => without_proxy(config),
            false => config,
        };
        let client = Client::try_from(config).map_err(|error| report(&reference, &error))?;
        Ok(Self {
            client,
            reference,
            authorizer,
        })
    }

    /// Pushes the images, the tag last; gives the image's name with its digest.
    pub(super) async fn push(&self, images: &[AgentImage]) -> Result<String, Report> {
        for image in images {
            for (digest, blob) in image.blobs() {
                self.authorize().await?;
                self.client
                    .push_blob(&self.reference, blob.clone(), &digest)
                    .await
                    .map_err(|error| self.report(&error))?;
            }
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

    async fn push_manifest(&self, reference: &Reference, manifest: &Manifest) -> Result<String, Report> {
        self.authorize().await?;
        let media_type = http::HeaderValue::from_static(manifest.media_type);
        self.client
            .push_manifest_raw(reference, manifest.content.clone(), media_type)
            .await
            .map(|_url| manifest.digest.clone())
            .map_err(|error| self.report(&error))
    }

    /// Gives the client the token or the password for the next requests. The client sends it to the registry alone, and
    /// not to another host that an answer names. It gets no password where the registry takes a token.
    async fn authorize(&self) -> Result<(), Report> {
        const PUSH: RegistryOperation = RegistryOperation::Push;
        match self.authorizer.authorization().await? {
            Authorization::NotNeeded => {}
            Authorization::Token(token) => {
                self.client
                    .auth(&self.reference, &RegistryAuth::Bearer(token), PUSH)
                    .await
                    .map_err(|error| self.report(&error))?;
            }
            Authorization::Password { user, password } => {
                let registry = self.reference.resolve_registry();
                // without an entry the client looks for no authorization
                self.client
                    .store_auth_if_needed(registry, &RegistryAuth::Anonymous)
                    .await;
                let password = RegistryTokenType::Basic(user, password);
                self.client.tokens.insert(&self.reference, PUSH, password).await;
            }
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

    fn report(&self, error: &OciDistributionError) -> Report {
        report(&self.reference, error)
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

/// Whether a host, as HOST or HOST:PORT, is on this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => host,
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
    fn loopback_is_localhost_and_its_addresses_and_no_other_host() {
        for local in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.0.0.1",
            "[::1]:5000",
            "[::1]",
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
}
