//! What follows from each answer of the kernel and of the relay to a TCP connect.
//!
//! ```text
//! connect(2) without a usable address ──▶ after_resume
//!     new socket: ask the relay ──▶ after_reply
//!         connected ──▶ connect(2) again ──▶ after_settling
//!         another thread connects the socket ──▶ connect(2) again ──▶ after_race
//!         in progress ──▶ in_progress
//!             blocking: connect(2) again ──▶ after_wait
//! ```

use super::Outcome;
use crate::errno::Errno;
use crate::failure;
use kinject_protocol::ConnectFailure;
use kinject_protocol::control::ReplyRef;

/// What the kernel says of a socket before the relay is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The kernel's answer is the program's.
    Done(Outcome),
    /// The socket is new: the relay connects it.
    IsNew,
    /// The relay reset the socket: it knows the failure, for which the kernel has this error.
    WasReset(Errno),
}

/// Decides by the result of connect(2) with an address that the kernel refuses for a new socket.
#[inline]
pub(super) fn after_resume(result: Result<(), Errno>) -> Attempt {
    match result {
        Ok(()) => Attempt::Done(Outcome::Connected),
        Err(Errno(libc::EINVAL)) => Attempt::IsNew,
        // the program waits for its connect in a second call, after a signal ended the first one
        Err(error @ Errno(libc::ECONNRESET | libc::ECONNABORTED)) => Attempt::WasReset(error),
        Err(error) => Attempt::Done(Outcome::Failed(error)),
    }
}

/// What the relay's reply requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// Nothing more.
    Finish(Outcome),
    /// One more connect(2), which takes the socket from "connecting" to "connected".
    Settle,
    /// One more connect(2), since the socket is not new any more. If the kernel contradicts, this is the failure.
    Resume(ConnectFailure),
    /// The connect failed, and the socket's pending error says so as well.
    Fail(Errno),
    /// The connect is in progress.
    Wait,
}

/// Decides by the relay's reply to a connect.
#[inline]
pub(super) fn after_reply(reply: ReplyRef<'_>) -> Reaction {
    match reply {
        ReplyRef::Connected => Reaction::Settle,
        ReplyRef::InProgress => Reaction::Wait,
        ReplyRef::Local => Reaction::Finish(Outcome::Native),
        ReplyRef::StandIn(address) => Reaction::Finish(Outcome::Redirected(address)),
        // another thread connects the same socket
        ReplyRef::Failed(failed @ ConnectFailure::NotAtRest) => Reaction::Resume(failed),
        ReplyRef::Failed(failed) => Reaction::Fail(failure::connect_errno(failed)),
        // replies to other requests
        ReplyRef::Peer(_)
        | ReplyRef::Unknown
        | ReplyRef::Addresses { .. }
        | ReplyRef::NameFailed(_)
        | ReplyRef::Answer(_)
        | ReplyRef::Names(_)
        | ReplyRef::Noted
        | ReplyRef::File
        | ReplyRef::Errno(_)
        | ReplyRef::Flow(_) => {
            let error = failure::connect_errno(ConnectFailure::TunnelDown);
            Reaction::Finish(Outcome::Failed(error))
        }
    }
}

/// Decides by connect(2) on a socket that the relay has connected. Until connect(2) is called once more, the kernel
/// keeps the state "connecting", and a later call of the program would return 0 where the program expects `EISCONN`.
#[inline]
pub(super) fn after_settling(result: Result<(), Errno>) -> Outcome {
    match result {
        Ok(()) | Err(Errno(libc::EISCONN)) => Outcome::Connected,
        // the last packet of the handshake has not arrived yet, and the socket is non-blocking
        Err(Errno(libc::EALREADY)) => Outcome::Failed(Errno(libc::EINPROGRESS)),
        Err(error) => Outcome::Failed(error),
    }
}

/// Decides by connect(2) on a socket that the relay found not to be new.
#[inline]
pub(super) fn after_race(result: Result<(), Errno>, failed: ConnectFailure) -> Outcome {
    match result {
        Ok(()) => Outcome::Connected,
        Err(Errno(libc::EINVAL)) => Outcome::Failed(failure::connect_errno(failed)),
        Err(error) => Outcome::Failed(error),
    }
}

/// What a call does whose connect is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Return(Errno),
    /// It sleeps in the kernel.
    Wait,
}

/// Decides whether a call waits for its connect.
#[inline]
pub(super) fn in_progress(is_nonblocking: bool, is_interrupted: bool) -> Progress {
    match (is_nonblocking, is_interrupted) {
        (true, _) => Progress::Return(Errno(libc::EINPROGRESS)),
        (false, true) => Progress::Return(Errno(libc::EINTR)),
        (false, false) => Progress::Wait,
    }
}

/// How the wait in the kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    Done(Outcome),
    /// The relay reset the socket, and knows the failure.
    WasReset,
}

/// Decides by connect(2) that waited for a connect in progress.
#[inline]
pub(super) fn after_wait(result: Result<(), Errno>) -> Waited {
    match result {
        Ok(()) => Waited::Done(Outcome::Connected),
        // `EINVAL`: the socket is new again, as the relay reset it before the call
        Err(Errno(libc::ECONNRESET | libc::ECONNABORTED | libc::EINVAL)) => Waited::WasReset,
        // SO_SNDTIMEO expired: for the kernel this was the second call, for the program it is the first
        Err(Errno(libc::EALREADY)) => Waited::Done(Outcome::Failed(Errno(libc::EINPROGRESS))),
        Err(error) => Waited::Done(Outcome::Failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(error: i32) -> Outcome {
        Outcome::Failed(Errno(error))
    }

    #[test]
    fn kernels_answer_for_used_socket_is_kept_and_new_socket_is_dialled() {
        for (result, expected) in [
            (Ok(()), Attempt::Done(Outcome::Connected)),
            (Err(Errno(libc::EINVAL)), Attempt::IsNew),
            (
                Err(Errno(libc::ECONNRESET)),
                Attempt::WasReset(Errno(libc::ECONNRESET)),
            ),
            (
                Err(Errno(libc::ECONNABORTED)),
                Attempt::WasReset(Errno(libc::ECONNABORTED)),
            ),
            (Err(Errno(libc::EISCONN)), Attempt::Done(failed(libc::EISCONN))),
            (Err(Errno(libc::EALREADY)), Attempt::Done(failed(libc::EALREADY))),
            (Err(Errno(libc::EINTR)), Attempt::Done(failed(libc::EINTR))),
            (Err(Errno(libc::EBADF)), Attempt::Done(failed(libc::EBADF))),
        ] {
            assert_eq!(after_resume(result), expected, "{result:?}");
        }
    }

    #[test]
    fn reply_to_connect_has_its_reaction() {
        let address = "127.106.0.1:80".parse().unwrap();
        for (reply, expected) in [
            (ReplyRef::Connected, Reaction::Settle),
            (ReplyRef::InProgress, Reaction::Wait),
            (ReplyRef::Local, Reaction::Finish(Outcome::Native)),
            (
                ReplyRef::StandIn(address),
                Reaction::Finish(Outcome::Redirected(address)),
            ),
            (
                ReplyRef::Failed(ConnectFailure::NotAtRest),
                Reaction::Resume(ConnectFailure::NotAtRest),
            ),
            (
                ReplyRef::Failed(ConnectFailure::Refused),
                Reaction::Fail(Errno(libc::ECONNREFUSED)),
            ),
        ] {
            assert_eq!(after_reply(reply), expected, "{reply:?}");
        }
    }

    #[test]
    fn reply_to_another_request_fails_with_enetunreach() {
        let address = "10.0.0.1:80".parse().unwrap();
        for reply in [
            ReplyRef::Peer(address),
            ReplyRef::Flow(address),
            ReplyRef::Unknown,
            ReplyRef::Noted,
            ReplyRef::File,
            ReplyRef::Answer(b""),
        ] {
            let expected = Reaction::Finish(failed(libc::ENETUNREACH));
            assert_eq!(after_reply(reply), expected, "{reply:?}");
        }
    }

    #[test]
    fn settling_is_connected_or_still_in_progress() {
        assert_eq!(after_settling(Ok(())), Outcome::Connected);
        assert_eq!(after_settling(Err(Errno(libc::EISCONN))), Outcome::Connected);
        assert_eq!(
            after_settling(Err(Errno(libc::EALREADY))),
            failed(libc::EINPROGRESS)
        );
        assert_eq!(after_settling(Err(Errno(libc::EPIPE))), failed(libc::EPIPE));
    }

    #[test]
    fn race_with_another_thread_has_the_kernels_answer_or_the_relays() {
        let not_new = ConnectFailure::NotAtRest;
        assert_eq!(after_race(Ok(()), not_new), Outcome::Connected);
        assert_eq!(
            after_race(Err(Errno(libc::EINVAL)), not_new),
            failed(libc::EALREADY)
        );
        assert_eq!(
            after_race(Err(Errno(libc::EISCONN)), not_new),
            failed(libc::EISCONN)
        );
    }

    #[test]
    fn blocking_call_without_signal_waits_and_others_return() {
        let in_progress_error = Progress::Return(Errno(libc::EINPROGRESS));
        assert_eq!(in_progress(true, false), in_progress_error);
        assert_eq!(in_progress(true, true), in_progress_error);
        assert_eq!(in_progress(false, true), Progress::Return(Errno(libc::EINTR)));
        assert_eq!(in_progress(false, false), Progress::Wait);
    }

    #[test]
    fn wait_ends_connected_reset_timed_out_or_interrupted() {
        for (result, expected) in [
            (Ok(()), Waited::Done(Outcome::Connected)),
            (Err(Errno(libc::ECONNRESET)), Waited::WasReset),
            (Err(Errno(libc::ECONNABORTED)), Waited::WasReset),
            (Err(Errno(libc::EINVAL)), Waited::WasReset),
            (
                Err(Errno(libc::EALREADY)),
                Waited::Done(failed(libc::EINPROGRESS)),
            ),
            (Err(Errno(libc::EINTR)), Waited::Done(failed(libc::EINTR))),
        ] {
            assert_eq!(after_wait(result), expected, "{result:?}");
        }
    }
}
