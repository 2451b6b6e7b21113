//! The launcher's waiting: for a session that is ready, for the program's end, and for the session's.
//!
//! Events come from three sources: the relay, the program, and signals.

use crate::child::{Change, Child};
use crate::exit::{Failure, Status};
use crate::message::{self, Progress, Severity};
use crate::output;
use crate::relay::{Relay, RelayEvent};
use crate::signals::{Early, ReceivedSignal};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use kinject_protocol::session::{Event, Ready, Report};
use std::time::{Duration, Instant};

/// How long the relay may take to deliver what programs wrote before they ended, once it has announced that; the
/// relay's own bound is lower.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(310);

/// How long the relay may take to announce that, and to remove what it made; the relay's own bound is lower.
const TAKE_DOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// The launcher receives the Ctrl-C that ended the program, too: within this time it does not mean "do not wait".
const SAME_CTRL_C: Duration = Duration::from_millis(500);

/// What the launcher waits for.
#[expect(clippy::large_enum_variant, reason = "the large one comes once in a session")]
pub(super) enum SessionEvent {
    Relay(RelayEvent),
    Program(Change),
    Signal(ReceivedSignal),
}

/// Waits until the session is ready. Otherwise the result is a failure, or the signal that ends kinject before its
/// program ran.
pub(super) fn wait_until_ready(
    events: &Receiver<SessionEvent>,
    relay: &Relay,
    early: &Early,
    progress: &mut Progress,
    quiet: bool,
) -> Result<Ready, Result<Status, Failure>> {
    loop {
        // the relay's thread keeps the channel open until it has reported the relay's end
        let Ok(event) = events.recv() else {
            return Err(Err(unannounced(relay)));
        };
        match event {
            SessionEvent::Relay(RelayEvent::Event(Event::Progress(words))) => progress.step(&words),
            SessionEvent::Relay(RelayEvent::Event(Event::Ready(ready))) => return Ok(ready),
            SessionEvent::Relay(RelayEvent::Event(Event::Failed(report))) => {
                return Err(Err(Failure {
                    code: Status::Kinject,
                    error: report.message,
                    hint: report.hint,
                }));
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(report))) if !quiet => {
                progress.clear();
                say(Severity::Warning, &report);
            }
            // a relay listens once it is ready
            SessionEvent::Relay(RelayEvent::Event(
                Event::Notice(_) | Event::Recovered(_) | Event::Forwarding(_),
            )) => {}
            SessionEvent::Relay(RelayEvent::Event(Event::WoundUp | Event::Finished)) => {
                return Err(Err(unannounced(relay)));
            }
            SessionEvent::Relay(RelayEvent::End(status)) => {
                relay.note_end(status);
                return Err(Err(unannounced(relay)));
            }
            SessionEvent::Signal(received) => match received.signal {
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM => {
                    return Err(Ok(Status::Killed(received.signal as u8)));
                }
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    early.forget(received.signal);
                    stop_self();
                }
                _ => {}
            },
            SessionEvent::Program(_) => {}
        }
    }
}

fn unannounced(relay: &Relay) -> Failure {
    Failure::own(relay.end(), "run again with -v and report what it says")
}

/// The relay has ended without having removed what it made: starts another one that does.
pub(super) fn clean_up(
    relay: &mut Relay,
    channel: &Sender<SessionEvent>,
    say: impl FnOnce(&str, Option<&str>),
) {
    if let Err(failure) = relay.clean_up(channel.clone(), SessionEvent::Relay) {
        say(&failure.error, failure.hint.as_deref());
    }
}

/// What the relay has announced about its end while the program runs.
#[derive(Clone, Copy, Debug, Default)]
struct Announced {
    /// The session has failed, and the user was told.
    failed: bool,
    /// What the session made is removed.
    finished: bool,
}

impl Announced {
    /// Whether the end of the relay needs no further message.
    fn is_reported(self) -> bool {
        self.failed && self.finished
    }
}

/// Handles events until the program ends.
pub(super) fn supervise(
    events: &Receiver<SessionEvent>,
    channel: &Sender<SessionEvent>,
    child: &Child,
    relay: &mut Relay,
    quiet: bool,
) -> Status {
    let mut announced = Announced::default();
    loop {
        // the program's thread keeps the channel open until it has reported the program's end
        let Ok(event) = events.recv() else {
            return Status::Kinject;
        };
        match event {
            SessionEvent::Program(Change::Ended(status)) => return status,
            SessionEvent::Program(Change::Stopped) => stop_self(),
            SessionEvent::Signal(ReceivedSignal {
                signal: libc::SIGCONT,
                ..
            }) => child.signal(libc::SIGCONT),
            SessionEvent::Signal(ReceivedSignal {
                signal,
                for_launcher_only: true,
            }) => child.signal(signal),
            SessionEvent::Signal(_) => {}
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(report))) if !quiet => {
                message::beside_program(Severity::Warning, &report.message, report.hint.as_deref());
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Recovered(message))) if !quiet => {
                message::beside_program(Severity::Notice, &message, None);
            }
            // the session is over, and the program goes on
            SessionEvent::Relay(RelayEvent::Event(Event::Failed(report))) => {
                announced.failed = true;
                message::beside_program(Severity::Error, &report.message, report.hint.as_deref());
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Finished)) => announced.finished = true,
            SessionEvent::Relay(RelayEvent::Event(_)) => {}
            SessionEvent::Relay(RelayEvent::End(status))
                if relay.only_cleans_up() || announced.is_reported() =>
            {
                relay.note_end(status)
            }
            SessionEvent::Relay(RelayEvent::End(status)) => {
                relay.note_end(status);
                let message = format!("{}: this session has no cluster any more", relay.end());
                message::beside_program(Severity::Error, &message, Some("restart the command"));
                if !announced.finished {
                    clean_up(relay, channel, |message, hint| {
                        message::beside_program(Severity::Error, message, hint);
                    });
                }
            }
        }
    }
}

/// Handles events of a session without a program, until a signal or the relay ends it.
pub(super) fn serve_forwards(
    events: &Receiver<SessionEvent>,
    channel: &Sender<SessionEvent>,
    relay: &mut Relay,
    early: &Early,
    quiet: bool,
) -> Result<Status, Failure> {
    loop {
        // the relay's thread keeps the channel open until it has reported the relay's end
        let Ok(event) = events.recv() else {
            return Err(unannounced(relay));
        };
        match event {
            SessionEvent::Relay(RelayEvent::Event(Event::Forwarding(forwarding))) => {
                let line = kinject_escape::line(forwarding) + "\n";
                output::print(line.as_bytes())?;
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Notice(report))) if !quiet => {
                say(Severity::Warning, &report);
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Recovered(message))) if !quiet => {
                message::say(Severity::Notice, &message, None);
            }
            SessionEvent::Relay(RelayEvent::Event(Event::Failed(report))) => {
                return Err(Failure {
                    code: Status::Kinject,
                    error: report.message,
                    hint: report.hint,
                });
            }
            SessionEvent::Relay(RelayEvent::Event(_)) => {}
            SessionEvent::Relay(RelayEvent::End(status)) => {
                relay.note_end(status);
                let failure = Failure::own(relay.end(), "run the command again");
                clean_up(relay, channel, message::error);
                return Err(failure);
            }
            SessionEvent::Signal(received) => match received.signal {
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM => {
                    return Ok(Status::Killed(received.signal as u8));
                }
                libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                    early.forget(received.signal);
                    stop_self();
                }
                _ => {}
            },
            SessionEvent::Program(_) => {}
        }
    }
}

/// The program was stopped: so is kinject, until a shell's `fg` continues both.
fn stop_self() {
    // SAFETY: kill has no preconditions
    let _never = unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) } != 0;
}

/// Tells the relay to finish and waits until everything is removed. Another Ctrl-C ends the wait.
pub(super) fn take_down(events: &Receiver<SessionEvent>, relay: &mut Relay, quiet: bool) {
    if relay.has_ended() {
        return;
    }
    relay.finish();
    let begun = Instant::now();
    let mut deadline = begun + TAKE_DOWN_TIMEOUT;
    loop {
        match events.recv_deadline(deadline) {
            Ok(SessionEvent::Relay(RelayEvent::End(_))) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::Notice(report)))) => {
                deadline = deadline.max(begun + DELIVERY_TIMEOUT);
                if !quiet {
                    say(Severity::Warning, &report);
                }
            }
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::Recovered(message)))) => {
                deadline = deadline.max(begun + DELIVERY_TIMEOUT);
                if !quiet {
                    message::say(Severity::Notice, &message, None);
                }
            }
            Ok(SessionEvent::Relay(RelayEvent::Event(Event::WoundUp))) => {
                deadline = Instant::now() + TAKE_DOWN_TIMEOUT
            }
            Ok(SessionEvent::Signal(ReceivedSignal {
                signal: libc::SIGINT | libc::SIGTERM,
                ..
            })) if begun.elapsed() > SAME_CTRL_C => {
                return message::say(
                    Severity::Notice,
                    "not waiting for the cluster: the relay goes on by itself",
                    None,
                );
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                return message::say(
                    Severity::Warning,
                    "the session takes long to end",
                    Some("it goes on by itself; the agent's Job ends by itself too"),
                );
            }
        }
    }
}

fn say(severity: Severity, report: &Report) {
    message::say(severity, &report.message, report.hint.as_deref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_exit_is_already_reported_only_after_failed_and_finished_events() {
        for (failed, finished, is_reported) in [
            (true, true, true),
            (true, false, false),
            // the relay was killed: the program has lost the cluster, and no message has said so
            (false, true, false),
            (false, false, false),
        ] {
            assert_eq!(Announced { failed, finished }.is_reported(), is_reported);
        }
    }
}
