//! The image that a workload's agent runs in: the one that the workload's pods run, by its digest, so that a tag that
//! was moved since, or an old copy on another node, is not taken for it.

use super::replicas::Replicas;
use crate::cluster::carried::host_image::HostImage;
use crate::cluster::image::pinned;
use crate::report::Failure;
use k8s_openapi::api::core::v1::Container;
use kinject_protocol::workload::WorkloadName;

/// The pull policy by which the kubelet asks the registry for an image each time.
const ALWAYS: &str = "Always";

/// The image of a workload's container.
#[derive(Debug)]
pub(super) struct WorkloadImage {
    /// As the template names it.
    name: String,
    /// The IDs of those that its pods run, the newest pod's first.
    running: Vec<String>,
    /// Whether the template has the registry asked for it each time.
    is_always_pulled: bool,
}

impl WorkloadImage {
    /// The image of a container; none if admission is to put one there.
    pub(super) fn of(container: &Container, replicas: &Replicas) -> Option<Self> {
        let name = container.image.clone().filter(|image| !image.is_empty())?;
        Some(Self {
            name,
            running: replicas.image_ids.clone(),
            is_always_pulled: container.image_pull_policy.as_deref() == Some(ALWAYS),
        })
    }

    /// The images for an agent, the best first; each is tried if no node gets those before it.
    pub(super) fn choices(&self, pull_secrets: &[String]) -> Vec<HostImage> {
        let choice = |image: &str, reason: &str| HostImage::of_workload(image, pull_secrets.to_vec(), reason);
        let of_template = choice(&self.name, "the target's container has it");
        let mut choices = Vec::new();
        if let Some(digest) = self.digest() {
            choices.push(choice(&digest, "the target's pods run it"));
        } else if self.running.is_empty() && self.is_always_pulled {
            // the next pod of the workload would have the registry's
            choices.push(HostImage {
                is_always_pulled: true,
                ..of_template.clone()
            });
        }
        choices.push(of_template);
        choices
    }

    /// What the newest pod runs, by which any node gets the same; none if the template names a digest itself.
    fn digest(&self) -> Option<String> {
        let digest = pinned(&self.name, self.running.first()?)?;
        (digest != self.name).then_some(digest)
    }

    /// How an agent that runs in an image has another one than the workload's pods. `was_pulled` is whether the
    /// registry was asked for it, `reported` the ID that its node reports.
    pub(super) fn difference(
        &self,
        workload: &WorkloadName,
        image: &str,
        was_pulled: bool,
        reported: &str,
    ) -> Option<Failure> {
        if image != self.name && Some(image) != self.digest().as_deref() {
            return Some(Failure::lasting(
                format!("the agent does not run in the image of {workload}, but in {image}"),
                "variables and files of the workload's image itself are missing; what its template says is there",
            ));
        }
        let own = "variables and files of the image itself may differ from those of the workload's next pod";
        match &self.running[..] {
            [] if self.is_always_pulled && !was_pulled => Some(Failure::lasting(
                format!(
                    "a node cannot pull {image}, which {workload} always pulls: the agent runs in the node's own copy"
                ),
                own,
            )),
            [newest, ..] if self.running.iter().all(|running| is_other(running, reported)) => {
                Some(Failure::lasting(
                    format!(
                        "the agent runs in {reported}, and the pods of {workload} in {newest}: both are {image}"
                    ),
                    "variables and files of the image itself may differ from those of the workload's pods",
                ))
            }
            _ => None,
        }
    }
}

/// Whether two IDs are of different images. Runtimes report an image by its manifest or by its configuration, which
/// cannot be compared with each other.
fn is_other(one: &str, other: &str) -> bool {
    let digest = |id: &str| {
        let id = id.rsplit_once("://").map_or(id, |(_, id)| id);
        match id.rsplit_once('@') {
            Some((_, digest)) => (true, digest.to_owned()),
            None => (false, id.to_owned()),
        }
    };
    let ((one_is_manifest, one), (other_is_manifest, other)) = (digest(one), digest(other));
    one_is_manifest == other_is_manifest && !other.is_empty() && one != other
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NEW: &str =
        "registry.example/app@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OLD: &str =
        "registry.example/app@sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    const TAG: &str = "registry.example/app:1";

    fn image(name: &str, policy: &str, running: &[&str]) -> WorkloadImage {
        let container = json!({ "name": "app", "image": name, "imagePullPolicy": policy });
        let replicas = Replicas {
            nodes: Vec::new(),
            image_ids: running.iter().map(|id| (*id).to_owned()).collect(),
        };
        WorkloadImage::of(&serde_json::from_value(container).unwrap(), &replicas).unwrap()
    }

    fn choices(image: &WorkloadImage) -> Vec<(String, bool)> {
        let choices = image.choices(&["registry".to_owned()]);
        assert!(choices.iter().all(|choice| choice.pull_secrets == ["registry"]));
        let named = choices.into_iter();
        named
            .map(|choice| (choice.image, choice.is_always_pulled))
            .collect()
    }

    fn on_node(name: &str) -> (String, bool) {
        (name.to_owned(), false)
    }

    #[test]
    fn digest_that_the_newest_pod_runs_is_preferred_to_the_tag_whatever_the_pull_policy() {
        for policy in ["Always", "IfNotPresent", "Never"] {
            let image = image(TAG, policy, &[NEW, OLD]);
            assert_eq!(choices(&image), [on_node(NEW), on_node(TAG)], "{policy}");
        }
        assert_eq!(choices(&image(NEW, "IfNotPresent", &[NEW])), [on_node(NEW)]);
    }

    #[test]
    fn image_without_a_digest_is_what_the_node_has_unless_no_pod_runs_and_it_is_always_pulled() {
        // as of an image that was loaded on the node
        let loaded = image(TAG, "Always", &["sha256:0123"]);
        assert_eq!(choices(&loaded), [on_node(TAG)]);
        assert_eq!(choices(&image(TAG, "IfNotPresent", &[])), [on_node(TAG)]);
        let unseen = image(TAG, "Always", &[]);
        assert_eq!(choices(&unseen), [(TAG.to_owned(), true), on_node(TAG)]);
    }

    fn difference(image: &WorkloadImage, ran: &str, was_pulled: bool, reported: &str) -> Option<String> {
        let workload = "deploy/web".parse().unwrap();
        let difference = image.difference(&workload, ran, was_pulled, reported);
        difference.map(|failure| failure.message)
    }

    #[test]
    fn agent_in_the_image_that_a_pod_runs_has_no_difference() {
        let image = image(TAG, "Always", &[NEW, OLD]);
        for (ran, reported) in [(NEW, NEW), (TAG, OLD), (TAG, "sha256:0123"), (TAG, "")] {
            assert_eq!(difference(&image, ran, false, reported), None, "{ran} {reported}");
        }
    }

    #[test]
    fn old_copy_of_a_node_and_another_image_are_differences() {
        let running = image(TAG, "IfNotPresent", &[NEW]);
        let message = difference(&running, TAG, false, OLD).unwrap();
        assert!(message.contains(OLD) && message.contains(NEW), "{message}");
        let loaded = image(TAG, "IfNotPresent", &["sha256:0123"]);
        assert!(difference(&loaded, TAG, false, "sha256:4567").is_some());
        let message = difference(&running, "pause:1", false, OLD).unwrap();
        assert!(message.ends_with("but in pause:1"), "{message}");
        let unseen = image(TAG, "Always", &[]);
        assert_eq!(difference(&unseen, TAG, true, NEW), None);
        let message = difference(&unseen, TAG, false, OLD).unwrap();
        assert!(message.contains("always pulls"), "{message}");
    }
}
