//! Where the agent's own files are mounted in its pod: its keys, and for a carried agent its executable and the folder
//! into which the loader may unpack it.
//!
//! A workload's container may have mounts and volumes of the same paths and names. Then the agent's own take others. So
//! they do below one of the workload's mounts, in whose volume the container runtime would have to make a folder. Beside
//! a workload's mounts they are all in the root folder: a link of its image (`/var/run` to `/run`) could put one of
//! those mounts above a deeper path.

use k8s_openapi::api::core::v1::{Volume, VolumeMount};

/// A volume of the agent's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnMount {
    /// The volume's name.
    pub(super) volume: String,
    /// Where it is mounted.
    pub(super) path: String,
}

/// The volumes of the agent's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnMounts {
    /// The Secret with its keys.
    pub(super) identity: OwnMount,
    /// The ConfigMaps of a carried agent.
    pub(super) files: OwnMount,
    /// The emptyDir of a carried agent.
    pub(super) scratch: OwnMount,
}

/// Names and paths, unless a workload has them.
const IDENTITY: (&str, &str) = ("identity", "/run/kinject");
const IDENTITY_BESIDE: (&str, &str) = ("identity", "/kinject-identity");
const FILES: (&str, &str) = ("files", "/kinject");
const SCRATCH: (&str, &str) = ("scratch", "/kinject-scratch");

impl Default for OwnMounts {
    fn default() -> Self {
        Self::placed(IDENTITY, &[], &[])
    }
}

impl OwnMounts {
    /// Names and paths that are none of these.
    pub(super) fn beside(volumes: &[Volume], mounts: &[VolumeMount]) -> Self {
        Self::placed(IDENTITY_BESIDE, volumes, mounts)
    }

    fn placed(identity: (&str, &str), volumes: &[Volume], mounts: &[VolumeMount]) -> Self {
        let place = |(volume, path): (&str, &str)| OwnMount {
            volume: first_free(volume, |name| volumes.iter().any(|other| other.name == name)),
            path: first_free(path, |path| {
                mounts.iter().any(|other| overlap(path, &other.mount_path))
            }),
        };
        Self {
            identity: place(identity),
            files: place(FILES),
            scratch: place(SCRATCH),
        }
    }

    /// Whether a volume is one of these.
    pub(super) fn has_volume(&self, name: &str) -> bool {
        [&self.identity, &self.files, &self.scratch]
            .iter()
            .any(|own| own.volume == name)
    }
}

/// The text itself, otherwise a folder of that name in the root, otherwise with a number behind it.
fn first_free(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let in_root = match wanted.trim_start_matches('/').replace('/', "-") {
        name if wanted.starts_with('/') => format!("/{name}"),
        name => name,
    };
    let mut candidates = [wanted.to_owned(), in_root.clone()]
        .into_iter()
        .chain((1_u32..).map(|number| format!("{in_root}-{number}")));
    // there are more numbers than mounts
    candidates
        .find(|candidate| !is_taken(candidate))
        .unwrap_or_default()
}

/// Whether one of two folders is the other or contains it.
fn overlap(one: &str, other: &str) -> bool {
    let components = |path| std::path::Path::new(path).components().collect::<Vec<_>>();
    let (one, other) = (components(one), components(other));
    one.starts_with(&other) || other.starts_with(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(volumes: &[&str], mounts: &[&str]) -> OwnMounts {
        let volumes: Vec<_> = volumes
            .iter()
            .map(|name| Volume {
                name: (*name).to_owned(),
                ..Volume::default()
            })
            .collect();
        let mounts: Vec<_> = mounts
            .iter()
            .map(|path| VolumeMount {
                mount_path: (*path).to_owned(),
                ..VolumeMount::default()
            })
            .collect();
        OwnMounts::beside(&volumes, &mounts)
    }

    #[test]
    fn own_mounts_beside_a_workloads_are_in_the_root_folder() {
        let own = beside(&["config"], &["/etc/config", "/var/run", "/kinject-config"]);
        assert_eq!(own.identity.path, "/kinject-identity");
        assert_eq!(
            (own.files.path.as_str(), own.scratch.path.as_str()),
            ("/kinject", "/kinject-scratch")
        );
        assert!(own.has_volume("identity") && !own.has_volume("config"));
        assert_eq!(OwnMounts::default().identity.path, "/run/kinject");
    }

    #[test]
    fn paths_that_a_workload_mounts_or_mounts_above_or_below_are_not_used() {
        assert_eq!(
            beside(&[], &["/kinject-identity/"]).identity.path,
            "/kinject-identity-1"
        );
        assert_eq!(beside(&[], &["/kinject/deeper"]).files.path, "/kinject-1");
        let own = beside(
            &[],
            &["/kinject-identity/a", "/kinject-identity-1", "/kinject-scratch"],
        );
        assert_eq!(
            (own.identity.path.as_str(), own.scratch.path.as_str()),
            ("/kinject-identity-2", "/kinject-scratch-1")
        );
    }

    #[test]
    fn names_of_a_workloads_volumes_are_not_used() {
        let own = beside(&["files", "identity", "files-1"], &[]);
        assert_eq!(
            (own.files.volume.as_str(), own.identity.volume.as_str()),
            ("files-2", "identity-1")
        );
    }
}
