//! What the container's mounts are for a session's programs.
//!
//! They come from the spec of the pod that runs, so that the volumes of webhooks and of admission are among them: the
//! tokens of service accounts and of cloud identities.

use crate::cluster::manifest::AGENT_CONTAINER;
use crate::cluster::own_mounts::OwnMounts;
use crate::files::{Mount, Mounts};
use k8s_openapi::api::core::v1::{PodSpec, Volume};
use kinject_protocol::paths::Kind;

/// Folders of this machine that programs, the desktop and other users' tools share by their paths. An emptyDir there
/// shows nothing of the workload, and would hide this machine's sockets and lose what programs write.
const MACHINES: [&str; 5] = ["/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm"];

/// The mounts of the agent's container, except for those of the agent's own volumes, and for an emptyDir where this
/// machine has its own.
pub(super) fn of_pod(spec: &PodSpec, own: &OwnMounts) -> Mounts {
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let mut containers = spec.containers.iter();
    let agent = containers.find(|container| container.name == AGENT_CONTAINER);
    let mounts = agent.and_then(|agent| agent.volume_mounts.as_ref());
    let mounts = mounts.into_iter().flatten();
    let mounts = mounts.filter(|mount| !own.has_volume(&mount.name)).map(|mount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        Mount {
            path: mount.mount_path.clone().into(),
            kind: volume.map_or(Kind::Remote, kind),
        }
    });
    let is_machines = |mount: &Mount| {
        let path = mount.path.strip_suffix(b"/").unwrap_or(&mount.path);
        mount.kind == Kind::Scratch && MACHINES.iter().any(|machines| machines.as_bytes() == path)
    };
    Mounts(mounts.filter(|mount| !is_machines(mount)).collect())
}

/// What is mirrored is what the kubelet writes whole, and bounded in size. An emptyDir begins empty for each pod.
fn kind(volume: &Volume) -> Kind {
    let is_written_by_kubelet = volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some();
    match (is_written_by_kubelet, volume.empty_dir.is_some()) {
        (true, _) => Kind::Mirrored,
        (false, true) => Kind::Scratch,
        (false, false) => Kind::Remote,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As of the webhooks for the identities of clouds.
    #[test]
    fn token_that_a_webhook_mounts_into_the_agents_pod_is_mirrored_at_its_path() {
        let path = "/var/run/secrets/eks.amazonaws.com/serviceaccount";
        let spec = json!({
            "initContainers": [{ "name": "injected", "volumeMounts": [{ "name": "other", "mountPath": "/other" }] }],
            "containers": [
                { "name": "agent", "volumeMounts": [{ "name": "aws-iam-token", "mountPath": path, "readOnly": true }] },
            ],
            "volumes": [{ "name": "aws-iam-token", "projected": { "sources": [
                { "serviceAccountToken": { "path": "token", "audience": "sts.amazonaws.com" } },
            ] } }],
        });
        let Mounts(mounts) = of_pod(&serde_json::from_value(spec).unwrap(), &OwnMounts::default());
        let expected = Mount {
            path: path.into(),
            kind: Kind::Mirrored,
        };
        assert_eq!(mounts, [expected]);
    }

    #[test]
    fn mounts_are_mirrored_scratch_or_remote_by_their_volumes_and_the_agents_own_are_none() {
        let volume = |name: &str, source: &str| json!({ "name": name, source: {} });
        let mount = |name: &str| json!({ "name": name, "mountPath": format!("/{name}") });
        let names = [
            "identity", "files", "scratch", "config", "token", "cache", "tmp", "disk",
        ];
        let disk = json!({ "name": "disk", "persistentVolumeClaim": { "claimName": "disk" } });
        let spec = json!({
            "containers": [
                { "name": "injected", "volumeMounts": [mount("other")] },
                { "name": "agent", "volumeMounts": names.map(mount) },
            ],
            "volumes": [
                volume("identity", "secret"), volume("files", "projected"), volume("scratch", "emptyDir"),
                volume("config", "configMap"), volume("token", "projected"), volume("cache", "emptyDir"), volume("tmp", "emptyDir"), disk,
            ],
        });
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let Mounts(mounts) = of_pod(&spec, &OwnMounts::default());
        let shown: Vec<_> = mounts
            .iter()
            .map(|mount| (str::from_utf8(&mount.path).unwrap(), mount.kind))
            .collect();
        assert_eq!(
            shown,
            [
                ("/config", Kind::Mirrored),
                ("/token", Kind::Mirrored),
                ("/cache", Kind::Scratch),
                ("/disk", Kind::Remote),
            ]
        );
    }
}
