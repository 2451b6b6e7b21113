//! An agent without an image of its own: the session carries it into the cluster in ConfigMaps, and it runs in an image
//! that is there already, of which nothing else is run.
//!
//! - [`config_maps`]: the agent's files, cut into ConfigMaps; [`store`]: these in the cluster, shared by sessions.
//! - [`host_image`]: the image that the agent runs in.
//! - [`pod`]: what the pod of such an agent looks like.
//!
//! The order of things. ConfigMaps and Secret belong to the Job, so that they go when it goes, and so they are made after
//! it. A kubelet that finds one missing waits for half a second and more before it looks again, and a pod that waits for one
//! that never comes stays for ever. So the Job is made *held*: it starts no pod (`parallelism: 0`) until a patch releases it,
//! when all is there. A deadline ends a Job that nobody releases, as after the relay's death, and the Job takes with it
//! what was sent. (A *suspended* Job would stay: the time of its deadline does not pass.)

pub(super) mod config_maps;
pub(super) mod host_image;
pub(super) mod pod;
pub(super) mod store;

use super::access::Access;
use crate::log;
use crate::report::Failure;
use config_maps::AgentFiles;
use k8s_openapi::api::core::v1::ConfigMap;
use kinject_bundle::{Architecture, CarriedAgent};
use pod::CarriedPod;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use store::{Found, Placement};

/// The agents that a session can carry, and how it does.
pub(super) struct CarriedAgents {
    /// The folder of the relay's executable.
    programs: PathBuf,
    /// For these machines, the one to try first at the front.
    architectures: Vec<Architecture>,
    /// Which of them is tried.
    tried: Cell<usize>,
    /// The image of `--host-image`.
    asked_image: Option<String>,
    /// Whether somebody has other ConfigMaps of the names that sessions share.
    own_copy: Cell<bool>,
    /// The pod that was planned last.
    pod: RefCell<Option<Rc<CarriedPod>>>,
}

impl CarriedAgents {
    /// The agents that belong to the executables in `programs`; none if there are none.
    pub(super) fn find(programs: PathBuf, asked_image: Option<String>) -> Result<Option<Self>, Failure> {
        let agents = agents_of(&programs)?;
        let mut architectures: Vec<_> = agents.iter().map(|agent| agent.architecture).collect();
        // most clusters are made of machines like the user's own
        architectures.sort_by_key(|architecture| architecture.rust_name() != std::env::consts::ARCH);
        Ok((!architectures.is_empty()).then(|| Self {
            programs,
            architectures,
            tried: Cell::new(0),
            asked_image,
            own_copy: Cell::new(false),
            pod: RefCell::new(None),
        }))
    }

    /// Plans an agent's pod, and finds out which of its ConfigMaps the cluster has. Nothing is made.
    pub(super) async fn plan(&self, access: &Access) -> Result<Placement, Failure> {
        let files = Rc::new(self.files()?);
        let host = async {
            match &self.asked_image {
                Some(image) => host_image::HostImage::asked(image),
                None => host_image::choose(access).await,
            }
        };
        let found = async {
            match self.own_copy.get() {
                true => Ok(vec![Found::Missing; files.maps.len()]),
                false => store::find(access, &files).await,
            }
        };
        let (host, found) = tokio::join!(host, found);
        let found = found?;
        log::info!("the agent runs in the image {}: {}", host.image, host.reason);
        let pod = CarriedPod::new(&files, host);
        *self.pod.borrow_mut() = Some(Rc::new(pod));
        Ok(Placement { files, found })
    }

    /// What a session would make, as far as that is known without a cluster.
    pub(super) fn preview(&self) -> Result<(CarriedPod, Vec<ConfigMap>), Failure> {
        let files = self.files()?;
        let host = match &self.asked_image {
            Some(image) => host_image::HostImage::asked(image),
            None => host_image::HostImage::fallback(),
        };
        Ok((CarriedPod::new(&files, host), files.maps))
    }

    /// The pod that was planned last.
    pub(super) fn pod(&self) -> Option<Rc<CarriedPod>> {
        self.pod.borrow().clone()
    }

    /// Takes the next architecture, if there is another.
    pub(super) fn try_next_architecture(&self) -> bool {
        let next = self.tried.get() + 1;
        let is_there = next < self.architectures.len();
        if is_there {
            self.tried.set(next);
        }
        is_there
    }

    /// The failure of an agent for which there is no machine or no image, after all architectures were tried.
    pub(super) fn wrong_architecture(&self, failure: Failure) -> Failure {
        let names: Vec<_> = self
            .architectures
            .iter()
            .map(|architecture| architecture.kubernetes_name())
            .collect();
        let hint = format!(
            "this kinject carries agents for {}: name an image for them with --host-image",
            names.join(" and ")
        );
        store::or_by_image(Failure::lasting(failure.message, &hint))
    }

    /// Takes ConfigMaps of names that nobody else has, unless that is so already.
    pub(super) fn take_own_copy(&self) -> bool {
        !self.own_copy.replace(true)
    }

    /// Reads the files, which are not kept in memory.
    fn files(&self) -> Result<AgentFiles, Failure> {
        let wanted = self.architectures.get(self.tried.get());
        let agents = agents_of(&self.programs)?;
        let agent = agents
            .into_iter()
            .find(|agent| Some(&agent.architecture) == wanted);
        let agent = agent.ok_or_else(|| {
            Failure::lasting(
                "the agent that this kinject carries has gone since the session began",
                "install kinject again, or name an image that holds the agent with --agent-image",
            )
        })?;
        match self.own_copy.get() {
            true => AgentFiles::own_copy(&agent).map_err(|error| {
                Failure::lasting(
                    format!("cannot make a name for a ConfigMap: {error}"),
                    "check that getrandom(2) is allowed here (seccomp, an old kernel)",
                )
            }),
            false => Ok(AgentFiles::shared(&agent)),
        }
    }
}

fn agents_of(programs: &std::path::Path) -> Result<Vec<CarriedAgent>, Failure> {
    kinject_bundle::carried_agents(programs).map_err(|error| {
        Failure::lasting(
            format!("the agent that this kinject carries cannot be used: {error}"),
            "install kinject again, or name an image that holds the agent with --agent-image",
        )
    })
}
