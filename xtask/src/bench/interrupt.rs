//! Ctrl-C ends the programs that run at that moment; the benchmark then cleans up instead of continuing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the benchmark was interrupted.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes over the signals; a second one ends the process at once.
    pub(crate) fn install() -> Result<Self> {
        let interrupted = Arc::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
                .context("watching for signals")?;
        }
        Ok(Self(interrupted))
    }

    /// Fails when the benchmark is to end.
    pub(crate) fn check(&self) -> Result<()> {
        if self.interrupted() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Whether a signal came.
    pub(crate) fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
