//! The options that say which image the agent runs in.

use clap::Args;

/// The image of the agent's pod.
#[derive(Args, Debug)]
pub(crate) struct AgentImageOptions {
    /// The image that holds the agent, as the cluster's nodes can pull it. If not given, the session carries the agent
    /// into the cluster; without one to carry, it takes the image kinject-agent of this version.
    #[arg(
        long,
        value_name = "IMAGE",
        env = "KINJECT_AGENT_IMAGE",
        hide_env_values = true
    )]
    pub(crate) agent_image: Option<String>,
    /// The image in which an agent runs that is carried; nothing else of it is run. If not given, that of a running pod
    /// of the namespace.
    #[arg(long, value_name = "IMAGE", conflicts_with = "agent_image")]
    pub(crate) host_image: Option<String>,
}
