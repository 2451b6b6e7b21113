//! The identities of relay and agent: private key, peer's public key, and certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::Secret;
use crate::hello::{Hello, SessionId, Version, fill_random};
use crate::tls::{self, Authority};

/// The relay's side of a session: its private key, the agent's public key, and its certificate.
#[derive(Clone)]
pub struct RelayIdentity {
    session: SessionId,
    own: Arc<Ed25519KeyPair>,
    agent: PublicKey,
    tls: Arc<ClientConfig>,
}

/// The agent's side of a session.
#[derive(Clone)]
pub struct AgentIdentity {
    own: Arc<Ed25519KeyPair>,
    relay: PublicKey,
    tls: Arc<ServerConfig>,
    version: Version,
}

/// Both sides of a session in a cluster.
pub struct SessionKeys {
    /// The relay's identity, which stays in the relay.
    pub relay: RelayIdentity,
    /// The agent's identity, which is sent to its pod as one line of text.
    pub agent: String,
}

/// A text that is not an [`AgentIdentity`]. The error never quotes the text, which holds a private key.
#[derive(Debug, thiserror::Error)]
pub enum AgentIdentityError {
    /// Not the JSON object it should be.
    #[error("the agent's identity is not readable (line {line}, column {column})")]
    Json {
        /// Line of the error.
        line: usize,
        /// Column of the error.
        column: usize,
    },
    /// A key is not 32 bytes in base64.
    #[error("the agent's identity holds a broken key")]
    Key,
    /// The certificate, its key or its authority cannot be used.
    #[error("the agent's identity holds an unusable certificate: {0}")]
    Certificate(String),
}

#[derive(Clone, Copy)]
pub(crate) struct PublicKey([u8; 32]);

/// The text form of an [`AgentIdentity`]: base64 of raw Ed25519 keys and of DER.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentIdentityText {
    key: String,
    relay: String,
    certificate: String,
    certificate_key: String,
    authority: String,
}

impl RelayIdentity {
    /// The relay of a session whose agent reads the same secret. A new session id each time.
    pub fn from_secret(secret: &Secret) -> Result<Self, tls::AuthorityError> {
        let authority = Authority::from_seed(&secret.derive(b"authority"))?;
        let leaf = authority.relay_leaf()?;
        Ok(RelayIdentity {
            session: SessionId::random(),
            own: Arc::new(key_pair(&secret.derive(b"relay"))),
            agent: PublicKey::of(&key_pair(&secret.derive(b"agent"))),
            tls: Arc::new(tls::client_config(authority.certificate(), leaf)?),
        })
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        sign(&self.own, message)
    }

    pub(crate) fn agent(&self) -> &PublicKey {
        &self.agent
    }

    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }
}

impl AgentIdentity {
    /// The agent for every relay that reads the same secret.
    pub fn from_secret(secret: &Secret) -> Result<Self, tls::AuthorityError> {
        let authority = Authority::from_seed(&secret.derive(b"authority"))?;
        let leaf = authority.agent_leaf()?;
        Ok(AgentIdentity {
            own: Arc::new(key_pair(&secret.derive(b"agent"))),
            relay: PublicKey::of(&key_pair(&secret.derive(b"relay"))),
            tls: Arc::new(tls::server_config(authority.certificate(), leaf)?),
            version: Version::own(),
        })
    }

    /// The same agent with another version, for tests of how a relay handles that.
    pub fn of_version(self, version: Version) -> Self {
        AgentIdentity { version, ..self }
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn hello(&self, session: SessionId) -> Hello {
        Hello {
            version: self.version.clone(),
            session,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        sign(&self.own, message)
    }

    pub(crate) fn relay(&self) -> &PublicKey {
        &self.relay
    }

    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }
}

impl SessionKeys {
    /// New random keys and a new certificate authority, whose private key is dropped here.
    pub fn generate() -> Result<SessionKeys, tls::AuthorityError> {
        let (relay_seed, agent_seed) = (random_seed(), random_seed());
        let (relay_pair, agent_pair) = (key_pair(&relay_seed), key_pair(&agent_seed));
        let authority = Authority::random()?;
        let relay_leaf = authority.relay_leaf()?;
        let agent_leaf = authority.agent_leaf()?;
        let text = AgentIdentityText {
            key: STANDARD.encode(agent_seed),
            relay: STANDARD.encode(PublicKey::of(&relay_pair).0),
            certificate: STANDARD.encode(&agent_leaf.certificate),
            certificate_key: STANDARD.encode(agent_leaf.key.secret_der()),
            authority: STANDARD.encode(authority.certificate()),
        };
        let relay = RelayIdentity {
            session: SessionId::random(),
            agent: PublicKey::of(&agent_pair),
            own: Arc::new(relay_pair),
            tls: Arc::new(tls::client_config(authority.certificate(), relay_leaf)?),
        };
        let agent = serde_json::to_string(&text).map_err(tls::AuthorityError::from_display)?;
        Ok(SessionKeys { relay, agent })
    }
}

impl FromStr for AgentIdentity {
    type Err = AgentIdentityError;

    fn from_str(text: &str) -> Result<Self, AgentIdentityError> {
        let text: AgentIdentityText =
            serde_json::from_str(text).map_err(|error| AgentIdentityError::Json {
                line: error.line(),
                column: error.column(),
            })?;
        let key = |encoded: &str| -> Result<[u8; 32], AgentIdentityError> {
            let bytes = STANDARD.decode(encoded).map_err(|_| AgentIdentityError::Key)?;
            bytes.try_into().map_err(|_| AgentIdentityError::Key)
        };
        let der = |encoded: &str| {
            STANDARD
                .decode(encoded)
                .map_err(|_| AgentIdentityError::Certificate("not base64".into()))
        };
        let leaf = tls::Leaf::new(der(&text.certificate)?, der(&text.certificate_key)?);
        let config = tls::server_config(&der(&text.authority)?, leaf)
            .map_err(|error| AgentIdentityError::Certificate(error.to_string()))?;
        Ok(AgentIdentity {
            own: Arc::new(key_pair(&key(&text.key)?)),
            relay: PublicKey(key(&text.relay)?),
            tls: Arc::new(config),
            version: Version::own(),
        })
    }
}

impl PublicKey {
    fn of(pair: &Ed25519KeyPair) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(pair.public_key().as_ref());
        PublicKey(bytes)
    }

    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Debug for RelayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayIdentity")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AgentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentIdentity").finish_non_exhaustive()
    }
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    fill_random(&mut seed);
    seed
}

fn key_pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    match Ed25519KeyPair::from_seed_unchecked(seed) {
        Ok(pair) => pair,
        // Only a length other than 32 is rejected, which the type rules out.
        Err(rejected) => unreachable!("a seed of 32 bytes was rejected: {rejected}"),
    }
}

fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes.copy_from_slice(pair.sign(message).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::try_from([byte; 32].as_slice()).unwrap()
    }

    #[test]
    fn identities_from_one_secret_verify_each_other() {
        let (relay, agent) = (
            RelayIdentity::from_secret(&secret(1)).unwrap(),
            AgentIdentity::from_secret(&secret(1)).unwrap(),
        );
        assert!(relay.agent().has_signed(b"m", &agent.sign(b"m")));
        assert!(agent.relay().has_signed(b"m", &relay.sign(b"m")));
        assert!(
            !agent.relay().has_signed(b"m", &agent.sign(b"m")),
            "the agent can sign as the relay"
        );
        assert!(!agent.relay().has_signed(b"other", &relay.sign(b"m")));
        let other_relay = RelayIdentity::from_secret(&secret(2)).unwrap();
        assert!(!agent.relay().has_signed(b"m", &other_relay.sign(b"m")));
    }

    #[test]
    fn agent_identity_is_one_line_of_text_that_parses_back() {
        let keys = SessionKeys::generate().unwrap();
        assert!(!keys.agent.contains('\n'));
        let agent: AgentIdentity = keys.agent.parse().unwrap();
        assert!(keys.relay.agent().has_signed(b"m", &agent.sign(b"m")));
        assert!(agent.relay().has_signed(b"m", &keys.relay.sign(b"m")));
    }

    #[test]
    fn broken_identity_is_refused_without_quoting_it() {
        let keys = SessionKeys::generate().unwrap();
        let (head, _) = keys.agent.split_at(keys.agent.len() / 2);
        let error = head.parse::<AgentIdentity>().unwrap_err().to_string();
        assert!(
            error.starts_with("the agent's identity is not readable"),
            "{error}"
        );
        assert!("".parse::<AgentIdentity>().is_err());
        let swapped = keys.agent.replacen(":\"", ":\"AAAA", 1);
        assert!(matches!(
            swapped.parse::<AgentIdentity>(),
            Err(AgentIdentityError::Key)
        ));
    }

    #[test]
    fn debug_output_of_an_identity_shows_no_key() {
        let keys = SessionKeys::generate().unwrap();
        let agent: AgentIdentity = keys.agent.parse().unwrap();
        let shown = format!("{:?} {:?}", keys.relay, agent);
        assert!(!shown.contains("own") && shown.len() < 200, "{shown}");
    }
}
