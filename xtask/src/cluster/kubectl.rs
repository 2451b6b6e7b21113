//! The cluster's own kubectl, as its administrator.

use std::process::Command;

use anyhow::Result;

use super::state::State;
use crate::process;

pub(crate) struct Kubectl<'a> {
    state: &'a State,
}

impl<'a> Kubectl<'a> {
    pub(crate) fn new(state: &'a State) -> Self {
        Self { state }
    }

    /// A command to which arguments can be added. It keeps its cache in the state folder.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(self.state.program("kubectl"));
        command
            .env("KUBECONFIG", self.state.kubeconfig())
            .env("KUBECACHEDIR", self.state.path("kubectl-cache"))
            .env("NO_PROXY", "*");
        command
    }

    /// Runs it and returns what it prints.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        process::output(self.command().args(arguments))
    }

    /// Whether the API server says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.run(&["get", "--raw=/readyz", "--request-timeout=2s"])
            .is_ok()
    }
}
