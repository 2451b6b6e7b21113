//! The keys of a session, which identify relay and agent.
//!
//! Each end has an Ed25519 key pair of its own and knows the other's public key. They come from one of two places:
//!
//! - a [`Secret`] that both ends can read (`--agent-key FILE` and `--key FILE`): both key pairs and the certificate
//!   authority are derived from it;
//! - [`SessionKeys::generate`] for a session in a cluster: random keys, and a certificate authority for TLS. The agent
//!   gets its own private key and otherwise only public keys, so its Secret cannot be used to impersonate the relay.

mod identity;
mod secret;

pub use identity::{AgentIdentity, AgentIdentityError, RelayIdentity, SessionKeys};
pub use secret::{Secret, SecretError};
