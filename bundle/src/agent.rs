//! One agent that can be carried, and for which machines it is.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

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
        std::env::consts::ARCH.parse().ok()
    }
}

/// A name that no [`Architecture`] has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("kinject is not built for {0}: choose amd64 (x86_64) or arm64 (aarch64)")]
pub struct UnknownArchitecture(String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    /// Takes the name in Kubernetes and the one in Rust.
    fn from_str(name: &str) -> Result<Self, UnknownArchitecture> {
        Self::ALL
            .into_iter()
            .find(|architecture| [architecture.kubernetes_name(), architecture.rust_name()].contains(&name))
            .ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kubernetes_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architecture_is_parsed_from_its_names_in_kubernetes_and_rust() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.kubernetes_name().parse(), Ok(architecture));
            assert_eq!(architecture.rust_name().parse(), Ok(architecture));
        }
        assert_eq!(
            "s390x".parse::<Architecture>().unwrap_err().to_string(),
            "kinject is not built for s390x: choose amd64 (x86_64) or arm64 (aarch64)"
        );
    }
}
