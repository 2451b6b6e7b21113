//! Signals that reach the launcher while its program runs.
//!
//! What the terminal sends (Ctrl-C, Ctrl-Z, a hang-up) goes to the whole foreground process group, so the program has
//! it already; only of a terminal that is closed it tells its session's leader alone. What another process sends to
//! the launcher alone is meant for the program and passed on. What comes before the program is there is [`Early`].
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
    /// Whether a process sent it to the launcher, so that the program has not had it.
    pub(crate) for_us_alone: bool,
}

/// The terminal's signals that came before the program was there to have them, a bit each.
///
/// They are noted where they arrive, in the handler: whoever reads [`ReceivedSignal`]s learns of them a moment later, when the
/// program may have been started.
pub(crate) struct Early(Arc<AtomicU32>);

/// Set in [`Early`] once the program is there.
const STARTED: u32 = 1;

impl Early {
    fn note() -> io::Result<Self> {
        let seen = Arc::<AtomicU32>::default();
        for signal in OF_TERMINAL.into_iter().filter(|signal| !is_ignored(*signal)) {
            let seen = Arc::clone(&seen);
            let note = move || {
                if seen.load(Ordering::SeqCst) & STARTED == 0 {
                    seen.fetch_or(1 << signal, Ordering::SeqCst);
                }
            };
            // SAFETY: the action reads and writes an atomic number, which a signal handler may
            unsafe { signal_hook::low_level::register(signal, note) }?;
        }
        Ok(Self(seen))
    }

    /// One of them has been minded.
    pub(crate) fn forget(&self, signal: i32) {
        self.0.fetch_and(!(1 << signal), Ordering::SeqCst);
    }

    /// The program is there, and has these to come.
    pub(crate) fn started(&self) -> impl Iterator<Item = i32> {
        let seen = self.0.swap(STARTED, Ordering::SeqCst);
        OF_TERMINAL
            .into_iter()
            .filter(move |signal| seen & (1 << signal) != 0)
    }
}

/// Watches from here on and reports into `channel`.
pub(crate) fn watch<T: Send + 'static>(
    channel: Sender<T>,
    wrap: impl Fn(ReceivedSignal) -> T + Send + 'static,
) -> Result<Early, Failure> {
    let cannot = |error| Failure::own(format!("cannot watch for signals: {error}"), "report this");
    let early = Early::note().map_err(cannot)?;
    let wanted = WATCHED.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted).map_err(cannot)?;
    std::thread::spawn(move || {
        for origin in &mut signals {
            let arrival = ReceivedSignal {
                signal: origin.signal,
                for_us_alone: is_for_us_alone(&origin),
            };
            if channel.send(wrap(arrival)).is_err() {
                return;
            }
        }
    });
    Ok(early)
}

fn is_for_us_alone(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Sent(_)) || origin.signal == SIGHUP && leads_its_session()
}

/// As the program of a terminal window that nobody else runs in.
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
