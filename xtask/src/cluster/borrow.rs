//! A cluster for the time of one command: the running one, otherwise one that is started and stopped again.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use kinject_test_support::containerd::LoadedImage;

use super::images;
use super::kubectl::Kubectl;
use super::node::Node;
use super::state::State;
use super::{READY, need_root};
use crate::archive::Archive;

/// A running cluster; one that this value started is stopped with it.
pub(crate) struct Borrowed {
    state: State,
    started: bool,
}

impl Borrowed {
    /// Whether one is running, whichever clone has started it.
    pub(crate) fn is_up() -> Result<bool> {
        let state = State::new();
        Ok(Node::running(&state)?.is_some() && state.read(READY)?.is_some())
    }

    /// Takes the one that is up, or starts one.
    pub(crate) fn new() -> Result<Self> {
        need_root("up")?;
        let state = State::new();
        let running = Node::running(&state)?.is_some();
        let up = running && state.read(READY)?.is_some();
        // A cluster that fails to start is stopped with this value, too.
        let borrowed = Self {
            state,
            started: !running,
        };
        if !up {
            eprintln!("starting a cluster");
            eprintln!("{}", super::bring_up(&borrowed.state)?);
        }
        Ok(borrowed)
    }

    /// Whether it is stopped with this value.
    pub(crate) fn is_temporary(&self) -> bool {
        self.started
    }

    /// Credentials of its administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.kubeconfig()
    }

    /// Its own kubectl, as its administrator.
    pub(crate) fn kubectl(&self) -> Command {
        Kubectl::new(&self.state).command()
    }

    /// Loads an image, which is removed with the returned value.
    pub(crate) fn load(&self, image: &Archive) -> Result<LoadedImage> {
        images::load_for_a_while(&self.state, image)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if !self.started {
            return;
        }
        match super::take_down(&self.state, false) {
            Ok(said) => eprintln!("{said}"),
            Err(error) => eprintln!("the cluster may still be up: {error:#}"),
        }
    }
}
