//! Signals that reach the launcher while its program runs.
//!
//! The terminal's signals (Ctrl-C, Ctrl-Z) go to the whole foreground process group, so the program has them already;
//! only the SIGHUP of a closed terminal goes to the session's leader alone. A signal that another process sends to the
//! launcher alone is meant for the program and passed on. [`Early`] keeps those that come before the program is
//! started.
//!
//! A signal that was ignored when kinject started (nohup(1)) stays ignored, here and in the program.

use crate::exit::Failure;
use crate::inherited::is_ignored;
use crossbeam_channel::Sender;
use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const WATCHED: [i32; 11] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH,
];

/// What the terminal sends to a program.
const OF_TERMINAL: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTSTP];

/// A signal for the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedSignal {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether only the launcher received it, so that it has to be passed on.
    pub(crate) for_launcher_only: bool,
}

/// The terminal's signals that came before the program was started, a bit each.
///
/// The signal handler sets the bits itself: a reader of [`ReceivedSignal`]s is scheduled later, when the program may
/// have been started.
pub(crate) struct Early(Arc<AtomicU32>);

/// Set in [`Early`] once the program is started.
const STARTED: u32 = 1;

impl Early {
    fn note() -> io::Result<Self> {
        let received = Arc::<AtomicU32>::default();
        for signal in OF_TERMINAL.into_iter().filter(|signal| !is_ignored(*signal)) {
            let received = Arc::clone(&received);
            let note = move || {
                if received.load(Ordering::SeqCst) & STARTED == 0 {
                    received.fetch_or(1 << signal, Ordering::SeqCst);
                }
            };
            // SAFETY: the action reads and writes an atomic number, which a signal handler may
            unsafe { signal_hook::low_level::register(signal, note) }?;
        }
        Ok(Self(received))
    }

    /// Clears one that the launcher has handled.
    pub(crate) fn forget(&self, signal: i32) {
        self.0.fetch_and(!(1 << signal), Ordering::SeqCst);
    }

    /// Records that the program is started; returns the signals to pass on to it.
    pub(crate) fn started(&self) -> impl Iterator<Item = i32> {
        let received = self.0.swap(STARTED, Ordering::SeqCst);
        OF_TERMINAL
            .into_iter()
            .filter(move |signal| received & (1 << signal) != 0)
    }
}

/// Starts a thread that watches for signals and sends them into `channel`.
pub(crate) fn watch<T: Send + 'static>(
    channel: Sender<T>,
    wrap: impl Fn(ReceivedSignal) -> T + Send + 'static,
) -> Result<Early, Failure> {
    let cannot = |error| Failure::own(format!("cannot watch for signals: {error}"), "report this");
    let early = Early::note().map_err(cannot)?;
    let watched = WATCHED.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(watched).map_err(cannot)?;
    std::thread::spawn(move || {
        for origin in &mut signals {
            let received = ReceivedSignal {
                signal: origin.signal,
                for_launcher_only: is_for_launcher_only(&origin),
            };
            if channel.send(wrap(received)).is_err() {
                return;
            }
        }
    });
    Ok(early)
}

fn is_for_launcher_only(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Sent(_)) || origin.signal == SIGHUP && leads_its_session()
}

/// True for the program that a terminal emulator starts directly.
fn leads_its_session() -> bool {
    rustix::process::getsid(None).is_ok_and(|session| session == rustix::process::getpid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unhandled_signal_before_program_start_is_kept_for_the_program() {
        let early = Early(Arc::default());
        early.0.fetch_or(1 << SIGINT | 1 << SIGTSTP, Ordering::SeqCst);
        early.forget(SIGTSTP);
        assert_eq!(early.started().collect::<Vec<_>>(), [SIGINT]);
        assert_eq!(early.0.load(Ordering::SeqCst), STARTED);
    }
}
