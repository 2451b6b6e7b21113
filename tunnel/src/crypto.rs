//! What TLS is made of here: X25519, Ed25519, and AES-128 or ChaCha20.
//!
//! Both ends are kinject's, and all keys are made by it, so nothing is to be negotiated. What a general provider brings
//! besides (RSA, the NIST curves with their tables) would be a third of the agent that a session sends into the cluster.

use std::sync::Arc;

use rcgen::{PKCS_ED25519, PublicKeyData, SignatureAlgorithm};
use ring::error::{KeyRejected, Unspecified};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms, ring as suites,
};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{self, SignatureScheme, sign};

/// A key of a certificate.
pub(crate) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new one, also in PKCS #8.
    pub(crate) fn generate() -> Result<(Self, Vec<u8>), Unspecified> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| Unspecified)?;
        Ok((Self(key), pkcs8.as_ref().to_vec()))
    }

    /// The one of this seed (RFC 8032, 5.1.5).
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyRejected> {
        Ed25519KeyPair::from_seed_unchecked(seed).map(Self)
    }
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

static VERIFICATION: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::ring::ED25519])],
};

/// AES-128 first: it is strong enough for bytes that otherwise cross in clear, and the fastest.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            suites::cipher_suite::TLS13_AES_128_GCM_SHA256,
            suites::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![suites::kx_group::X25519],
        signature_verification_algorithms: VERIFICATION,
        secure_random: &Ed25519Only,
        key_provider: &Ed25519Only,
    })
}

#[derive(Debug)]
struct Ed25519Only;

impl SecureRandom for Ed25519Only {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new()
            .fill(buffer)
            .map_err(|Unspecified| GetRandomFailed)
    }
}

impl KeyProvider for Ed25519Only {
    fn load_private_key(
        &self,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn sign::SigningKey>, rustls::Error> {
        match key {
            PrivateKeyDer::Pkcs8(key) => suites::sign::any_eddsa_type(&key),
            _ => Err(rustls::Error::General("the key is not in PKCS #8".to_owned())),
        }
    }
}
