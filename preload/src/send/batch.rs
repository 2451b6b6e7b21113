//! sendmmsg(2): the messages are sent in batches, of which the kernel sends each in one call.

use super::{Decision, connect_first, decision_for_message, destination, send_redirected};
use crate::datagram::Redirection;
use crate::errno::Errno;
use crate::{memory, real};
use libc::{c_int, c_uint, mmsghdr, msghdr};

/// The most messages that the kernel sends in one call (`UIO_MAXIOV`).
const MAX_MESSAGES: c_uint = 1024;

hook! {
    unsafe fn sendmmsg(
        socket: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int
    ) -> c_int => hooked_sendmmsg {
        sendmmsg_in_session(socket, messages, count, flags)
    }
}

pub(crate) extern "C" fn sendmmsg_in_session(
    socket: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let Some(native) = real::sendmmsg.get() else {
        return Errno(libc::ENOSYS).fail();
    };
    let count = count.min(MAX_MESSAGES);
    let mut flags = flags;
    let mut sent: c_uint = 0;
    while sent < count {
        let rest = messages.wrapping_add(sent as usize);
        let batch = Batch::gather(socket, rest, count.wrapping_sub(sent), &mut flags);
        let result = match &batch.redirected {
            None if batch.count == 0 => batch.error.map_or(0, Errno::fail),
            // SAFETY: these are the program's own messages, which the kernel checks
            None => unsafe { native(socket, rest, batch.count, flags) },
            Some(redirection) => send_one_redirected(socket, rest, *redirection, flags),
        };
        if result < 0 {
            // the call returns the count of the messages that were sent, and the next call gets the error
            return if sent == 0 { result } else { sent as c_int };
        }
        sent = sent.wrapping_add(result as c_uint);
        if result as c_uint != batch.count {
            break;
        }
    }
    sent as c_int
}

/// The longest run of messages that the kernel can send in one call: as they are, or a single one that is redirected.
#[derive(Debug, Default, PartialEq, Eq)]
struct Batch {
    count: c_uint,
    redirected: Option<Redirection>,
    /// Why the first message cannot be sent.
    error: Option<Errno>,
}

impl Batch {
    fn gather(socket: c_int, messages: *const mmsghdr, count: c_uint, flags: &mut c_int) -> Self {
        let mut batch = Self::default();
        while batch.count < count {
            let message = messages.wrapping_add(batch.count as usize).cast::<msghdr>();
            let mut decision = decision_for_message(socket, *flags, message);
            if decision == Decision::Connect {
                let (address, length) = destination(message);
                decision = match connect_first(socket, address, length) {
                    Ok(()) => {
                        *flags &= !libc::MSG_FASTOPEN;
                        Decision::Native
                    }
                    Err(error) => Decision::Fail(error),
                };
            }
            if !batch.takes(decision) {
                break;
            }
        }
        batch
    }

    /// Adds a message about which this was decided; says whether more may follow.
    fn takes(&mut self, decision: Decision) -> bool {
        let is_first = self.count == 0;
        match decision {
            Decision::Native => {
                self.count = self.count.wrapping_add(1);
                return true;
            }
            Decision::Redirect(redirection) if is_first => {
                self.redirected = Some(redirection);
                self.count = 1;
            }
            Decision::Fail(error) if is_first => self.error = Some(error),
            // the next call begins with this message
            Decision::Redirect(_) | Decision::Fail(_) | Decision::Connect => {}
        }
        false
    }
}

/// Sends one message of sendmmsg(2), and writes the number of bytes that were sent into its header.
fn send_one_redirected(
    socket: c_int,
    message: *mut mmsghdr,
    redirection: Redirection,
    flags: c_int,
) -> c_int {
    let sent_length = message
        .wrapping_byte_add(core::mem::offset_of!(mmsghdr, msg_len))
        .cast::<c_uint>();
    let sent = send_redirected(socket, message.cast(), redirection, flags);
    if sent < 0 {
        return sent as c_int;
    }
    if !memory::is_writable(sent_length.cast(), size_of::<c_uint>()) {
        // the message was sent all the same, as it was when the kernel finds the fault
        return Errno(libc::EFAULT).fail();
    }
    // SAFETY: it can be written
    unsafe { sent_length.write_unaligned(sent as c_uint) };
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirection() -> Redirection {
        Redirection::to("127.107.0.1:4000".parse().unwrap())
    }

    #[test]
    fn batch_takes_native_messages_until_another_decision() {
        for last in [
            Decision::Redirect(redirection()),
            Decision::Fail(Errno(libc::ENETUNREACH)),
        ] {
            let mut batch = Batch::default();
            assert!(batch.takes(Decision::Native) && batch.takes(Decision::Native));
            assert!(!batch.takes(last));
            let expected = Batch {
                count: 2,
                ..Batch::default()
            };
            assert_eq!(batch, expected, "{last:?}");
        }
    }

    #[test]
    fn batch_of_a_redirected_message_is_that_message_alone() {
        let mut batch = Batch::default();
        assert!(!batch.takes(Decision::Redirect(redirection())));
        assert_eq!((batch.count, batch.redirected), (1, Some(redirection())));
    }

    #[test]
    fn batch_whose_first_message_fails_has_its_error_and_no_message() {
        let mut batch = Batch::default();
        assert!(!batch.takes(Decision::Fail(Errno(libc::EINVAL))));
        assert_eq!((batch.count, batch.error), (0, Some(Errno(libc::EINVAL))));
    }
}
