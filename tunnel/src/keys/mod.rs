//! The keys of a session: who the relay is, who the agent is.
//!
//! Each end has an Ed25519 key pair of its own and knows the other's public key. They come from one of two places:
//!
//! - a [`Secret`] both ends can read (`--agent-key FILE` and `--key FILE`): both key pairs and the certificate authority are
//!   derived from it;
//! - [`SessionKeys::generate`] for a session in a cluster: random keys, and a certificate authority for TLS. The agent
//!   is given its own private key and otherwise only public parts, so what its Secret holds cannot be
//!   used to speak as the relay.

mod identity;
mod secret;

pub use identity::{AgentIdentity, AgentIdentityError, RelayIdentity, SessionKeys};
pub use secret::{Secret, SecretError};
