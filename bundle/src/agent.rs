//! One agent that can be carried, and for which machines it is.

use std::borrow::Cow;
use std::fmt;

/// The agent for one architecture with what starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedAgent {
    /// The machines that it runs on.
    pub architecture: Architecture,
    /// The static program that unpacks the agent, checks it and executes it.
    pub loader: Cow<'static, [u8]>,
    /// The agent, packed by xz.
    pub packed: Cow<'static, [u8]>,
    /// The SHA-256 of the unpacked agent.
    pub sha256: [u8; 32],
}

/// The machines that agents are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Its name in Kubernetes: the value of the node label `kubernetes.io/arch`.
    pub const fn kubernetes_name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Its name in Rust: `std::env::consts::ARCH`, and the beginning of a target triple.
    pub const fn rust_name(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// That of this machine; none if no agents are built for it.
    pub fn of_this_machine() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|architecture| architecture.rust_name() == std::env::consts::ARCH)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kubernetes_name())
    }
}
