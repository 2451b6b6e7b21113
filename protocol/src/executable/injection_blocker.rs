//! Why a session cannot reach into a program, in words.

#[cfg(target_arch = "x86_64")]
const GO_REASON: &str = "it is a Go program without cgo, or of a Go before 1.19";
#[cfg(target_arch = "x86_64")]
const GO_ADVICE: &str = "build it with CGO_ENABLED=1 and a C compiler";

#[cfg(not(target_arch = "x86_64"))]
const GO_REASON: &str = "it is a Go program, and on this architecture these do not connect through libc";
#[cfg(not(target_arch = "x86_64"))]
const GO_ADVICE: &str = "use `kubectl port-forward` for what it needs";

/// Why a session cannot reach into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum InjectionBlocker {
    /// No dynamic linker takes part.
    Static = 1,
    /// A Go program makes its system calls itself, and this one not where the library could lead them into its hooks.
    Go = 2,
    /// It is built for another kind of machine.
    Architecture = 3,
    /// A 32-bit program does not load a 64-bit library.
    Narrow = 4,
    /// Its dynamic linker is not glibc's.
    Libc = 5,
    /// It runs as its file's owner: the dynamic linker loads nothing of the user's choice then (ld.so(8)).
    SetUser = 6,
    /// It runs with its file's group.
    SetGroup = 7,
    /// Its file has capabilities (capabilities(7)).
    Capabilities = 8,
    /// A Go program that may not change its own code, which is how the library gets at its system calls.
    Mdwe = 9,
    /// It will not find the library: it starts in another root directory, or behind private mounts.
    Hidden = 10,
    /// A library in a namespace of its own (dlmopen(3)), where the preloaded library does not precede its libc.
    Namespace = 11,
    /// Its file is the workload's, from the cluster, and nobody allowed to run that here.
    Remote = 12,
}

impl InjectionBlocker {
    /// Every blocker, for exhaustive tests and decoding.
    pub const ALL: [Self; 12] = [
        Self::Static,
        Self::Go,
        Self::Architecture,
        Self::Narrow,
        Self::Libc,
        Self::SetUser,
        Self::SetGroup,
        Self::Capabilities,
        Self::Mdwe,
        Self::Hidden,
        Self::Namespace,
        Self::Remote,
    ];

    #[inline]
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|blocker| *blocker as u8 == value)
    }

    /// The line that the user reads about a program, behind `kinject: `.
    pub fn message(self, program: &str, is_refused: bool) -> String {
        // the `go` command is a program of Go without cgo itself, and not the one that the user means
        let is_go_command = self == Self::Go && program.rsplit('/').next() == Some("go");
        if is_go_command && !is_refused {
            return format!(
                "{program} itself runs outside of the session; what it builds with cgo and starts is in it"
            );
        }
        let action = if is_refused {
            "is not started"
        } else {
            "runs outside of the session"
        };
        format!("{program} {action}: {}; {}", self.reason(), self.advice())
    }

    /// The reason, as a clause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Static => "it is statically linked",
            Self::Go => GO_REASON,
            Self::Architecture => "it is built for another architecture",
            Self::Narrow => "it is a 32-bit program",
            Self::Libc => "it is linked to another libc than glibc",
            Self::SetUser => "it is setuid",
            Self::SetGroup => "it is setgid",
            Self::Capabilities => "its file has capabilities",
            Self::Mdwe => "it is a Go program, and the system lets no program change its code",
            Self::Hidden => "kinject's library is not to be seen where it runs",
            Self::Namespace => "it is a library in a namespace of its own",
            Self::Remote => "it comes from the cluster",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Static => "use a dynamically linked build of it",
            Self::Go => GO_ADVICE,
            Self::Architecture | Self::Narrow => "use a 64-bit build for this machine",
            Self::Libc => "use a build for glibc",
            Self::SetUser | Self::SetGroup => "start kinject itself as that user or group",
            Self::Capabilities => "use a copy of it, which has none",
            Self::Mdwe => "lift that rule for it (PR_SET_MDWE, SELinux's execmod)",
            Self::Hidden => "let it see the library's folder",
            Self::Namespace => "have its program open it with dlopen instead of dlmopen",
            Self::Remote => "to run it here, allow it with --remote-exec",
        }
    }
}
