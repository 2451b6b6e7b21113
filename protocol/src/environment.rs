//! The environment variables that keep a process and its children in their session.
//!
//! The launcher sets all of them for the first program. The exec hooks put [`KEPT`] and `LD_PRELOAD` back when a
//! program starts another with an environment that lacks them (`env -i`, `execve` with an empty array).

/// Path of the relay's control socket, a `SOCK_SEQPACKET` Unix socket in the session's folder.
pub const SOCKET: &str = "KINJECT_SOCKET";

/// The relay's other address and the session's token: [`crate::control::ControlAddress`].
pub const CONTROL: &str = "KINJECT_CONTROL";

/// Path of the preloaded library, as it stands in `LD_PRELOAD`.
pub const LIBRARY: &str = "KINJECT_LIBRARY";

/// Identifier of the session, for people and scripts: eight hexadecimal digits.
pub const SESSION: &str = "KINJECT_SESSION";

/// `CONTEXT/NAMESPACE` of the session, for prompts and scripts, with `/TYPE/NAME` behind it in the place of a workload.
pub const TARGET: &str = "KINJECT_TARGET";

/// The paths that a session's programs find elsewhere than on this machine; not set if there are none. A list with
/// colons between its entries, which a mount path in Kubernetes cannot have: first the *shadow root*, a folder of the
/// session's below which such a path stands at its own path, then one entry for each path, of a letter and an absolute
/// path:
///
/// ```text
/// m/etc/config         mirrored: the shadow has all of it, read-only
/// s/cache              scratch: the shadow has all of it, and programs may write there
/// r/data               remote: the relay puts a path there when it is asked for (Request::Fetch), read-only
/// g/etc/ssl/certs/**   remote, as a glob: `*` and `?` within a component, `**` for any number of components
/// l/data/local/**      local, as a glob: this machine's, whatever the other entries say
/// ```
pub const PATHS: &str = "KINJECT_PATHS";

/// The shadow root of [`PATHS`] alone, for programs and people.
pub const ROOT: &str = "KINJECT_ROOT";

/// The host name that gethostname(2) and uname(2) give; not set if it is this machine's.
pub const HOSTNAME: &str = "KINJECT_HOSTNAME";

/// `1`: programs and libraries below the shadow root are started and loaded (`--remote-exec`). If it is not set, they
/// are refused, unless this machine's programs wrote them there.
pub const REMOTE_EXEC: &str = "KINJECT_REMOTE_EXEC";

/// What to do with programs into which the library cannot be loaded: `fail` or `ignore`; if it is not set, the relay
/// names them to the user.
pub const ON_STATIC: &str = "KINJECT_ON_STATIC";

/// [`ON_STATIC`]: such programs are not started.
pub const FAIL: &str = "fail";

/// [`ON_STATIC`]: such programs are started and not named.
pub const IGNORE: &str = "ignore";

/// The dynamic linker's list of libraries to load first; entries are separated by colons or spaces (ld.so(8)). A colon
/// stands behind what others preload, and a space behind a sanitizer's runtime that is there for one program alone
/// ([`crate::executable::Runtime`]).
pub const LD_PRELOAD: &str = "LD_PRELOAD";

/// The variables that a child needs besides `LD_PRELOAD` to stay in the session.
pub const KEPT: [&str; 10] = [
    SOCKET,
    CONTROL,
    LIBRARY,
    SESSION,
    TARGET,
    ON_STATIC,
    PATHS,
    ROOT,
    HOSTNAME,
    REMOTE_EXEC,
];

/// Name of the resolv.conf that the session's programs see, in the folder of [`SOCKET`].
pub const RESOLV_CONF: &str = "resolv.conf";
