//! The environment variables that keep a process and its children in their session.
//!
//! The launcher sets all of them for the first program. The exec hooks put [`KEPT`] and `LD_PRELOAD` back when a
//! program starts another with an environment that lacks them (`env -i`, `execve` with an empty array).

/// Path of the relay's control socket, a `SOCK_SEQPACKET` Unix socket in the session's folder.
pub const SOCKET: &str = "KINJECT_SOCKET";

/// Path of the preloaded library, as it stands in `LD_PRELOAD`.
pub const LIBRARY: &str = "KINJECT_LIBRARY";

/// Identifier of the session, for people and scripts: eight hexadecimal digits.
pub const SESSION: &str = "KINJECT_SESSION";

/// `CONTEXT/NAMESPACE` of the session, for prompts and scripts.
pub const TARGET: &str = "KINJECT_TARGET";

/// The dynamic linker's list of libraries to load first; entries are separated by colons or spaces (ld.so(8)).
pub const LD_PRELOAD: &str = "LD_PRELOAD";

/// The variables that a child needs besides `LD_PRELOAD` to stay in the session.
pub const KEPT: [&str; 4] = [SOCKET, LIBRARY, SESSION, TARGET];

/// Name of the resolv.conf that the session's programs see, in the folder of [`SOCKET`].
pub const RESOLV_CONF: &str = "resolv.conf";
