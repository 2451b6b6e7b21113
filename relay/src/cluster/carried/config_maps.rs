//! The agent's files as ConfigMaps.
//!
//! The names of the ConfigMaps contain a hash of their content, so sessions of one version share them and those of
//! different versions have different ones. A name proves nothing, since every user who may create ConfigMaps can choose
//! it: a session compares the content of a ConfigMap that it finds under the name.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kinject_bundle::{Architecture, CarriedAgent, hex};
use ring::digest::{Context, SHA256};
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::BTreeMap;
use std::io;

use crate::cluster::job;

/// The bytes of files in one ConfigMap: the limit of Kubernetes, less some room for the keys, which count too.
const MAP_CAPACITY: usize = (1 << 20) - (4 << 10);

/// The key of the loader, which is also the name of its file in the pod.
pub(super) const LOADER_KEY: &str = "loader";

/// The prefix of the keys of the packed agent's parts; a number follows.
const PART_KEY_PREFIX: &str = "agent.xz.";

/// How many hexadecimal digits of the content's hash a name contains.
const HASH_DIGITS: usize = 16;

/// The files of one agent, as a session uploads them.
pub(in crate::cluster) struct AgentFiles {
    /// The architecture that the agent runs on.
    pub(in crate::cluster) architecture: Architecture,
    /// The SHA-256 of the unpacked agent in hexadecimal.
    pub(in crate::cluster) sha256: String,
    /// The keys of the packed agent's parts, in order.
    pub(in crate::cluster) parts: Vec<String>,
    /// The ConfigMaps that hold the files.
    pub(in crate::cluster) maps: Vec<ConfigMap>,
}

impl AgentFiles {
    /// Cuts the agent into ConfigMaps that all sessions of this version share.
    pub(in crate::cluster) fn shared(agent: &CarriedAgent) -> Self {
        Self::named(agent, &base_name(agent))
    }

    /// Cuts the agent into ConfigMaps of random names, which no other user can take beforehand.
    pub(in crate::cluster) fn private(agent: &CarriedAgent) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let base = format!("{}-{:016x}", base_name(agent), u64::from_ne_bytes(random));
        Ok(Self::named(agent, &base))
    }

    fn named(agent: &CarriedAgent, base: &str) -> Self {
        let mut files: Vec<BTreeMap<String, ByteString>> = Vec::new();
        let mut parts = Vec::new();
        let loader = ByteString(agent.loader.to_vec());
        let mut room = MAP_CAPACITY.saturating_sub(loader.0.len());
        let mut current = BTreeMap::from([(LOADER_KEY.to_owned(), loader)]);
        let mut rest = &*agent.packed;
        while !rest.is_empty() {
            if room == 0 {
                files.push(std::mem::take(&mut current));
                room = MAP_CAPACITY;
            }
            let (part, others) = rest.split_at(room.min(rest.len()));
            let key = format!("{PART_KEY_PREFIX}{}", parts.len());
            current.insert(key.clone(), ByteString(part.to_vec()));
            parts.push(key);
            room -= part.len();
            rest = others;
        }
        files.push(current);
        let maps = files.into_iter().enumerate().map(|(number, files)| ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("{base}-{number}")),
                labels: Some(job::shared_labels()),
                ..ObjectMeta::default()
            },
            binary_data: Some(files),
            immutable: Some(true),
            ..ConfigMap::default()
        });
        Self {
            architecture: agent.architecture,
            sha256: hex(&agent.sha256),
            parts,
            maps: maps.collect(),
        }
    }
}

/// Whether the ConfigMap that a session found under a name is what the session would have created.
pub(super) fn is_same(wanted: &ConfigMap, found: &ConfigMap) -> bool {
    found.immutable == Some(true)
        && found.metadata.deletion_timestamp.is_none()
        && found.data.as_ref().is_none_or(BTreeMap::is_empty)
        && found.binary_data == wanted.binary_data
}

fn base_name(agent: &CarriedAgent) -> String {
    let mut context = Context::new(&SHA256);
    for file in [&agent.loader, &agent.packed] {
        // the lengths distinguish the same bytes that are cut elsewhere
        context.update(&(file.len() as u64).to_be_bytes());
        context.update(file);
    }
    let mut hash = hex(context.finish().as_ref());
    hash.truncate(HASH_DIGITS);
    // the name of an object must not contain a plus sign
    let version = env!("CARGO_PKG_VERSION").replace('+', "-");
    format!("kinject-agent-{version}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(loader: usize, packed: usize) -> CarriedAgent {
        CarriedAgent {
            architecture: Architecture::Amd64,
            loader: vec![1; loader].into(),
            packed: (0..packed)
                .map(|number| (number % 251) as u8)
                .collect::<Vec<_>>()
                .into(),
            sha256: [0xab; 32],
        }
    }

    fn size(map: &ConfigMap) -> usize {
        map.binary_data
            .iter()
            .flatten()
            .map(|(_, bytes)| bytes.0.len())
            .sum()
    }

    #[test]
    fn config_map_parts_add_up_to_the_packed_agent_and_each_map_is_within_the_limit() {
        for packed in [1, 1000, MAP_CAPACITY - 50_000, MAP_CAPACITY - 49_999, 2_500_000] {
            let agent = agent(50_000, packed);
            let files = AgentFiles::shared(&agent);
            let all: BTreeMap<_, _> = files
                .maps
                .iter()
                .flat_map(|map| map.binary_data.clone().unwrap())
                .collect();
            let joined: Vec<u8> = files.parts.iter().flat_map(|part| all[part].0.clone()).collect();
            assert!(joined == *agent.packed, "{packed}");
            assert!(all[LOADER_KEY].0 == *agent.loader);
            assert!(files.maps.iter().all(|map| size(map) <= 1 << 20));
            assert_eq!(
                files.maps.len(),
                (50_000 + packed).div_ceil(MAP_CAPACITY),
                "{packed}"
            );
        }
    }

    #[test]
    fn config_map_names_depend_on_the_content_alone() {
        let names = |agent: &CarriedAgent| -> Vec<_> {
            let files = AgentFiles::shared(agent);
            files
                .maps
                .into_iter()
                .map(|map| map.metadata.name.unwrap())
                .collect()
        };
        let one = agent(10, 20);
        assert_eq!(names(&one), names(&agent(10, 20)));
        // the same bytes, cut elsewhere
        let mut moved = one.clone();
        moved.loader.to_mut().push(moved.packed[0]);
        moved.packed.to_mut().remove(0);
        for other in [agent(11, 20), agent(10, 21), moved] {
            assert_ne!(names(&one), names(&other));
        }
        let private = AgentFiles::private(&one).unwrap().maps[0]
            .metadata
            .name
            .clone()
            .unwrap();
        assert!(
            private.starts_with("kinject-agent-") && !names(&one).contains(&private),
            "{private}"
        );
        assert!(private.len() <= 253);
    }

    #[test]
    fn shared_config_maps_are_immutable_and_labelled_without_a_session() {
        let map = AgentFiles::shared(&agent(1, 1)).maps.remove(0);
        assert_eq!(map.immutable, Some(true));
        let labels = map.metadata.labels.unwrap();
        assert_eq!(labels["app.kubernetes.io/managed-by"], "kinject");
        assert!(
            !labels.contains_key("app.kubernetes.io/instance"),
            "it belongs to all sessions"
        );
    }

    #[test]
    fn config_map_that_differs_is_mutable_or_is_being_deleted_does_not_match() {
        let wanted = AgentFiles::shared(&agent(5, 5)).maps.remove(0);
        assert!(is_same(&wanted, &wanted.clone()));
        let altered = |alter: fn(&mut ConfigMap)| {
            let mut found = wanted.clone();
            alter(&mut found);
            found
        };
        for found in [
            altered(|map| map.immutable = None),
            altered(|map| map.data = Some([("more".to_owned(), String::new())].into())),
            altered(|map| map.binary_data.as_mut().unwrap().get_mut("loader").unwrap().0[4] ^= 1),
            altered(|map| drop(map.binary_data.as_mut().unwrap().remove("agent.xz.0"))),
            altered(|map| {
                drop(
                    map.binary_data
                        .as_mut()
                        .unwrap()
                        .insert("more".to_owned(), ByteString(Vec::new())),
                )
            }),
            altered(|map| {
                map.metadata.deletion_timestamp = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
            }),
        ] {
            assert!(!is_same(&wanted, &found), "{found:?}");
        }
    }
}
