//! Where a session's agents come from: an image of kinject-agent, or the files that the session carries.

use super::carried::CarriedAgents;
use super::carried::pod::CarriedPod;
use super::image;
use crate::log;
use crate::report::Failure;
use kinject_protocol::session::KubernetesTarget;
use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;

/// The image that a build without carried agents uses.
const DEFAULT_IMAGE: &str = concat!("kinject-agent:", env!("CARGO_PKG_VERSION"));

/// Where a session's agents come from.
#[allow(clippy::large_enum_variant, reason = "a session has one value of it")]
pub(super) enum AgentSource {
    /// An image of kinject-agent.
    Image(AgentImage),
    /// The files that the session uploads.
    Carried(CarriedAgents),
}

/// What the container of one pod runs.
#[derive(Clone)]
pub(super) enum Container {
    /// The agent of this image of kinject-agent.
    Image(String),
    /// A carried agent, in an image that was built for another program.
    Carried(Rc<CarriedPod>),
}

impl Container {
    /// The image of the container.
    pub(super) fn image(&self) -> &str {
        match self {
            Self::Image(image) => image,
            Self::Carried(pod) => &pod.host.image,
        }
    }

    /// Whether a node asks the registry for the image though it has one of that name.
    pub(super) fn is_always_pulled(&self) -> bool {
        match self {
            Self::Image(_) => false,
            Self::Carried(pod) => pod.host.is_always_pulled,
        }
    }
}

impl AgentSource {
    /// The image that the user names, otherwise the carried agents, otherwise the image of this version.
    pub(super) fn of(target: &KubernetesTarget) -> Result<Self, Failure> {
        if let Some(image) = &target.agent_image {
            return Ok(Self::Image(AgentImage::new(image)));
        }
        let executable = std::env::current_exe().map_err(|error| {
            Failure::lasting(
                format!("cannot find the agent that this kinject carries: {error}"),
                "check that /proc is mounted, or name an image that holds the agent with --agent-image",
            )
        })?;
        let programs = executable.parent().unwrap_or(Path::new("/"));
        match CarriedAgents::find(programs.to_owned(), target.host_image.clone())? {
            Some(agents) => Ok(Self::Carried(agents)),
            None if target.host_image.is_some() => Err(Failure::lasting(
                "--host-image is for an agent that is carried, and this kinject carries none",
                "name an image that holds the agent with --agent-image instead",
            )),
            None => Ok(Self::Image(AgentImage::new(DEFAULT_IMAGE))),
        }
    }

    /// What the container of the next pod runs. Before the first plan of a carried agent, that is the default image.
    pub(super) fn container(&self) -> Container {
        match self {
            Self::Image(image) => Container::Image(image.current().to_owned()),
            Self::Carried(agents) => match agents.pod() {
                Some(pod) => Container::Carried(pod),
                None => Container::Image(DEFAULT_IMAGE.to_owned()),
            },
        }
    }

    /// Pins the image to the digest that the node of the first pod reports, so that later pods run the same one.
    pub(super) fn pin(&self, reported: &str) {
        if let Self::Image(image) = self {
            image.pin(reported);
        }
    }
}

/// An image of kinject-agent.
pub(super) struct AgentImage {
    requested: String,
    /// The image by the digest of the first pod, if it can be pulled by that.
    pinned: OnceCell<String>,
}

impl AgentImage {
    fn new(image: &str) -> Self {
        Self {
            requested: image.to_owned(),
            pinned: OnceCell::new(),
        }
    }

    fn current(&self) -> &str {
        self.pinned.get().unwrap_or(&self.requested)
    }

    fn pin(&self, reported: &str) {
        if let Some(pinned) = image::pinned(&self.requested, reported) {
            log::info!("later agents of this session are made of {pinned}");
            // an image that is pinned already is the one that this pod runs
            let _already_pinned = self.pinned.set(pinned).is_err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_image_option_selects_that_image() {
        let target = KubernetesTarget {
            agent_image: Some("registry.example/agent:1".to_owned()),
            ..KubernetesTarget::default()
        };
        let source = AgentSource::of(&target).unwrap();
        assert!(matches!(source.container(), Container::Image(image) if image == "registry.example/agent:1"));
    }

    #[test]
    fn build_without_carried_agents_uses_default_image_and_refuses_host_image() {
        // the folder of the test's executable holds no agents
        let source = AgentSource::of(&KubernetesTarget::default()).unwrap();
        assert!(matches!(source.container(), Container::Image(image) if image == DEFAULT_IMAGE));
        let target = KubernetesTarget {
            host_image: Some("busybox".to_owned()),
            ..KubernetesTarget::default()
        };
        let refusal = AgentSource::of(&target).err().unwrap();
        assert!(
            refusal.message.starts_with("--host-image "),
            "{}",
            refusal.message
        );
    }
}
