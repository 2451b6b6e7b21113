//! Mutual proof of the session's key on a transport that needs no encryption.
//!
//! For Unix sockets, and for port-forward to the pod's loopback. Each end proves that it holds its private key by
//! signing all messages so far, which include fresh random nonces of both ends:
//!
//! ```text
//!   relay → agent   hello  nonce
//!   agent → relay   hello  nonce  signature of (agent, all of the above)
//!   relay → agent   signature of (relay, all of the above)
//! ```
//!
//! The relay may send data after one round trip, the agent after one and a half. An agent that receives anything else
//! closes the connection without having sent a byte. The proof does not protect the bytes that follow: a transport on
//! which they can be changed needs [`crate::tls`].

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::hello::{HELLO_BYTES, Hello, SessionId, Version, fill_random};
use crate::keys::{AgentIdentity, RelayIdentity};
use crate::open_error::{OpenError, read_hello};
use crate::transport::Stream;

const NONCE_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const OPENING_BYTES: usize = HELLO_BYTES + NONCE_BYTES;
const AGENT_SIGNS: &[u8] = b"kinject proof 1, agent\0";
const RELAY_SIGNS: &[u8] = b"kinject proof 1, relay\0";

/// The relay's side. Returns the agent's hello.
pub async fn open(stream: &mut Stream, identity: &RelayIdentity) -> Result<Hello, OpenError> {
    let ours = opening(&Hello::new(identity.session()));
    stream.write_all(&ours).await?;
    stream.flush().await?;

    let (theirs, hello) = read_opening(stream, &Version::own()).await?;
    let mut signature = [0; SIGNATURE_BYTES];
    stream.read_exact(&mut signature).await?;
    if !identity
        .agent()
        .has_signed(&transcript(AGENT_SIGNS, &ours, &theirs), &signature)
    {
        return Err(OpenError::NotProven);
    }
    stream
        .write_all(&identity.sign(&transcript(RELAY_SIGNS, &ours, &theirs)))
        .await?;
    stream.flush().await?;
    Ok(hello)
}

/// The agent's side. Returns the relay's hello.
pub async fn accept(stream: &mut Stream, identity: &AgentIdentity) -> Result<Hello, OpenError> {
    // A hello of another wire version is answered with ours, so that the relay can name both.
    let (theirs, hello) = match read_opening(stream, identity.version()).await {
        Ok(read) => read,
        Err(error @ OpenError::Version { .. }) => {
            let answer = identity.hello(SessionId::random());
            stream.write_all(&answer.encode()).await?;
            stream.flush().await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let ours = opening(&identity.hello(hello.session));
    let mut answer = [0; OPENING_BYTES + SIGNATURE_BYTES];
    answer[..OPENING_BYTES].copy_from_slice(&ours);
    answer[OPENING_BYTES..].copy_from_slice(&identity.sign(&transcript(AGENT_SIGNS, &theirs, &ours)));
    stream.write_all(&answer).await?;
    stream.flush().await?;

    let mut signature = [0; SIGNATURE_BYTES];
    stream.read_exact(&mut signature).await?;
    if !identity
        .relay()
        .has_signed(&transcript(RELAY_SIGNS, &theirs, &ours), &signature)
    {
        return Err(OpenError::NotProven);
    }
    Ok(hello)
}

fn opening(hello: &Hello) -> [u8; OPENING_BYTES] {
    let mut bytes = [0; OPENING_BYTES];
    bytes[..HELLO_BYTES].copy_from_slice(&hello.encode());
    fill_random(&mut bytes[HELLO_BYTES..]);
    bytes
}

async fn read_opening(
    stream: &mut Stream,
    ours: &Version,
) -> Result<([u8; OPENING_BYTES], Hello), OpenError> {
    let hello = read_hello(stream, ours).await?;
    let mut bytes = [0; OPENING_BYTES];
    bytes[..HELLO_BYTES].copy_from_slice(&hello.encode());
    stream.read_exact(&mut bytes[HELLO_BYTES..]).await?;
    Ok((bytes, hello))
}

/// The signed bytes: the signer's role, the relay's opening, the agent's opening.
fn transcript(signer: &[u8], relay: &[u8; OPENING_BYTES], agent: &[u8; OPENING_BYTES]) -> Vec<u8> {
    [signer, relay, agent].concat()
}
