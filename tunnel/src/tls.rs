//! Mutual TLS 1.3, for every path on which bytes cross a network.
//!
//! Both ends verify with the standard verifiers against one certificate authority alone, so a certificate of any other
//! session, or of a public authority, is worth nothing. Where the authority comes from:
//!
//! - a session in a cluster has one of its own, which signs two leaves, one for each end, and whose key is then forgotten;
//! - for an agent by hand both ends derive the same authority from the secret that they share, and each signs itself a leaf.
//!   Who knows the secret can do that, and nobody else.
//!
//! The leaves never expire in practice: the session ends them, and a wrong clock must not.

use std::io;
use std::mem;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, date_time_ymd,
};
use tokio::io::BufReader;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::crypto::{SigningKey, provider};
use crate::open_error::OpenError;
use crate::transport::Stream;

/// The first byte of a handshake (RFC 8446, 5.1), which no other opening of a link begins with.
pub(crate) const HANDSHAKE: u8 = 22;
/// The name in the agent's certificate.
const AGENT_NAME: &str = "agent.kinject.internal";
/// rustls asks for 4 KiB at a time; this turns a dozen system calls into one.
const READ_BYTES: usize = 64 * 1024;
/// Bytes in a record. With head, type and tag it is 16 KiB long on its way, which is what the API server's own TLS carries
/// in one record: none of ours is ever cut in two, of which the second would hold a few bytes.
pub(crate) const RECORD_BYTES: usize = 16 * 1024 - 22;
/// rustls counts the head of a record among its bytes.
const RECORD_SIZE: usize = RECORD_BYTES + 5;
/// What is encrypted before it is written: whole records.
const WRITE_BYTES: usize = 8 * RECORD_BYTES;
/// The name in the relay's certificate.
const RELAY_NAME: &str = "relay.kinject.internal";

/// Certificates or keys that cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityError(String);

impl AuthorityError {
    pub(crate) fn from_display(error: impl std::fmt::Display) -> Self {
        AuthorityError(error.to_string())
    }
}

/// The relay's side: it is the TLS client.
pub async fn open(stream: Stream, config: Arc<ClientConfig>) -> Result<Stream, OpenError> {
    let stream = BufReader::with_capacity(READ_BYTES, stream);
    let name = ServerName::try_from(AGENT_NAME).map_err(|error| OpenError::Tls(error.to_string()))?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(mut stream) => {
            stream.get_mut().1.set_buffer_limit(Some(WRITE_BYTES));
            Ok(Box::new(stream))
        }
        Err(error) => Err(handshake_error(error)),
    }
}

/// The agent's side: it is the TLS server and demands the relay's certificate.
///
/// Whoever has not shown one yet gets no buffer: there may be hundreds of them.
pub async fn accept(stream: Stream, config: Arc<ServerConfig>) -> Result<Stream, OpenError> {
    // nothing stays in a buffer of one byte, since rustls asks for more
    let unproven = BufReader::with_capacity(1, stream);
    match TlsAcceptor::from(config).accept(unproven).await {
        Ok(mut stream) => {
            let (transport, connection) = stream.get_mut();
            connection.set_buffer_limit(Some(WRITE_BYTES));
            let nowhere: Stream = Box::new(tokio::io::empty());
            let proven = mem::replace(transport, BufReader::with_capacity(1, nowhere));
            debug_assert!(proven.buffer().is_empty());
            *transport = BufReader::with_capacity(READ_BYTES, proven.into_inner());
            Ok(Box::new(stream))
        }
        Err(error) => Err(handshake_error(error)),
    }
}

/// The authority of one session.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, SigningKey>,
}

/// A certificate that is not an authority, and its key.
pub(crate) struct Leaf {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Leaf {
    pub(crate) fn new(certificate: Vec<u8>, key_pkcs8: Vec<u8>) -> Self {
        Leaf {
            certificate: certificate.into(),
            key: PrivatePkcs8KeyDer::from(key_pkcs8).into(),
        }
    }
}

impl Authority {
    /// A new one.
    pub(crate) fn random() -> Result<Authority, AuthorityError> {
        let (key, _) = SigningKey::generate().map_err(AuthorityError::from_display)?;
        Authority::with_key(key)
    }

    /// The one whose private key is this seed.
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Authority, AuthorityError> {
        Authority::with_key(SigningKey::from_seed(seed).map_err(AuthorityError::from_display)?)
    }

    fn with_key(key: SigningKey) -> Result<Authority, AuthorityError> {
        let mut params = params("kinject session", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(AuthorityError::from_display)?;
        Ok(Authority {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    pub(crate) fn relay_leaf(&self) -> Result<Leaf, AuthorityError> {
        self.leaf(RELAY_NAME, ExtendedKeyUsagePurpose::ClientAuth)
    }

    pub(crate) fn agent_leaf(&self) -> Result<Leaf, AuthorityError> {
        self.leaf(AGENT_NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn leaf(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Leaf, AuthorityError> {
        let mut params = params(name, &[name.to_owned()])?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        let (key, pkcs8) = SigningKey::generate().map_err(AuthorityError::from_display)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(AuthorityError::from_display)?;
        Ok(Leaf::new(certificate.der().to_vec(), pkcs8))
    }
}

pub(crate) fn client_config(authority: &[u8], leaf: Leaf) -> Result<ClientConfig, AuthorityError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority)?, Arc::clone(&provider))
        .build()
        .map_err(AuthorityError::from_display)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(AuthorityError::from_display)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(vec![leaf.certificate], leaf.key)
        .map_err(AuthorityError::from_display)?;
    config.resumption = Resumption::disabled();
    config.max_fragment_size = Some(RECORD_SIZE);
    Ok(config)
}

pub(crate) fn server_config(authority: &[u8], leaf: Leaf) -> Result<ServerConfig, AuthorityError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, Arc::clone(&provider))
        .build()
        .map_err(AuthorityError::from_display)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(AuthorityError::from_display)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![leaf.certificate], leaf.key)
        .map_err(AuthorityError::from_display)?;
    config.send_tls13_tickets = 0;
    config.max_fragment_size = Some(RECORD_SIZE);
    Ok(config)
}

fn params(name: &str, alternatives: &[String]) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(alternatives).map_err(AuthorityError::from_display)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    Ok(params)
}

fn roots(authority: &[u8]) -> Result<Arc<RootCertStore>, AuthorityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.to_vec()))
        .map_err(AuthorityError::from_display)?;
    Ok(Arc::new(roots))
}

fn handshake_error(error: io::Error) -> OpenError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => OpenError::Closed,
        io::ErrorKind::InvalidData => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(_)) => OpenError::NotProven,
            Some(rustls::Error::InvalidMessage(_)) => OpenError::NotKinject,
            _ => OpenError::Tls(error.to_string()),
        },
        _ => OpenError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{AgentIdentity, SessionKeys};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// The lengths of the records that the relay writes for so many bytes, in the order of the writes.
    async fn records_of(bytes: usize) -> Vec<usize> {
        let keys = SessionKeys::generate().unwrap();
        let agent: AgentIdentity = keys.agent.parse().unwrap();
        let (ours, mut seen) = duplex(1 << 20);
        let (mut onward, theirs) = duplex(1 << 20);
        let (relay, agent) = tokio::join!(open(Box::new(ours), keys.relay.tls()), async {
            let accepting = accept(Box::new(theirs), agent.tls());
            tokio::select! {
                accepted = accepting => accepted,
                _ = tokio::io::copy_bidirectional(&mut seen, &mut onward) => panic!("it ended too soon"),
            }
        });
        let (mut relay, _agent) = (relay.unwrap(), agent.unwrap());
        relay.write_all(&vec![7; bytes]).await.unwrap();
        relay.shutdown().await.unwrap();
        drop(relay);
        let mut written = Vec::new();
        seen.read_to_end(&mut written).await.unwrap();
        let (mut rest, mut lengths) = (written.as_slice(), Vec::new());
        while let [_, _, _, high, low, ..] = *rest {
            let length = 5 + usize::from(u16::from_be_bytes([high, low]));
            lengths.push(length);
            rest = &rest[length..];
        }
        // the last one is the end of TLS itself
        lengths.pop();
        lengths
    }

    #[tokio::test]
    async fn a_full_record_is_what_the_api_servers_tls_carries_in_one_record() {
        let whole = 16 * 1024;
        assert_eq!(records_of(4 * RECORD_BYTES).await, [whole; 4]);
        assert_eq!(records_of(WRITE_BYTES).await, [whole; WRITE_BYTES / RECORD_BYTES]);
        assert_eq!(records_of(RECORD_BYTES + 1).await, [whole, 23]);
        assert_eq!(records_of(1).await, [23]);
    }
}
