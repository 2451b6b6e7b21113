//! The agent that a new tunnel leads to, for the notice after an outage.

/// The agent that a tunnel leads to, compared with that of the tunnel before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The agent at the configured endpoint, which holds its key.
    Endpoint,
    /// The agent in the same pod as before.
    SamePod(String),
    /// A new agent, with new keys.
    NewPod {
        /// The name of its pod.
        pod: String,
        /// What happened to the previous agent's pod.
        because: String,
    },
}

impl Reached {
    /// The notice after an outage of so many seconds.
    pub(crate) fn reconnect_notice(&self, seconds: f32) -> String {
        match self {
            Self::Endpoint => format!("connected to the agent again after {seconds:.1} s"),
            Self::SamePod(pod) => {
                format!("connected again after {seconds:.1} s, to the same agent (pod {pod})")
            }
            Self::NewPod { pod, because } => {
                format!(
                    "connected again after {seconds:.1} s, to a new agent (pod {pod}), because the old one's pod {because}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_notice_names_the_pod_and_why_it_changed() {
        let same = Reached::SamePod("agent-x".to_owned()).reconnect_notice(3.12);
        assert_eq!(
            same,
            "connected again after 3.1 s, to the same agent (pod agent-x)"
        );
        let new = Reached::NewPod {
            pod: "agent-y".to_owned(),
            because: "was deleted".to_owned(),
        };
        assert_eq!(
            new.reconnect_notice(3.12),
            "connected again after 3.1 s, to a new agent (pod agent-y), because the old one's pod was deleted"
        );
        assert_eq!(
            Reached::Endpoint.reconnect_notice(0.0),
            "connected to the agent again after 0.0 s"
        );
    }
}
