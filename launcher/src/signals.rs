//! Signals that reach the launcher while its program runs.
//!
//! What the terminal sends (Ctrl-C, Ctrl-Z, a hang-up) goes to the whole foreground process group, so the program has
//! it already; only of a terminal that is closed it tells its session's leader alone. What another process sends to the launcher alone is meant for the program and passed on. A signal that
//! was ignored when kinject started (nohup(1)) stays ignored, here and in the program.

use crate::exit::Failure;
use crossbeam_channel::Sender;
use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

const WATCHED: [i32; 11] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH,
];

/// A signal for the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its number.
    pub(crate) signal: i32,
    /// Whether a process sent it to the launcher, so that the program has not had it.
    pub(crate) for_us_alone: bool,
}

/// Watches from here on and reports into `channel`.
pub(crate) fn watch<T: Send + 'static>(
    channel: Sender<T>,
    wrap: impl Fn(Arrival) -> T + Send + 'static,
) -> Result<(), Failure> {
    let wanted = WATCHED.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)
        .map_err(|error| Failure::own(format!("cannot watch for signals: {error}"), "report this"))?;
    std::thread::spawn(move || {
        for origin in &mut signals {
            let arrival = Arrival {
                signal: origin.signal,
                for_us_alone: is_for_us_alone(&origin),
            };
            if channel.send(wrap(arrival)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn is_for_us_alone(origin: &Origin) -> bool {
    matches!(origin.cause, Cause::Sent(_)) || origin.signal == SIGHUP && leads_its_session()
}

/// As the program of a terminal window that nobody else runs in.
fn leads_its_session() -> bool {
    rustix::process::getsid(None).is_ok_and(|session| session == rustix::process::getpid())
}

fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action changes nothing; the old one is written to `action`, which is large enough
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: sigaction filled it in, as its result says; `&&` reads it only then
    result == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
