//! What decisions ask about a socket.
//!
//! A hook's decision is a function without side effects: it asks through [`SocketFacts`], which the kernel answers
//! for a program's socket ([`KernelSocket`]) and a table for a unit test. Each answer costs one or more system calls,
//! so a decision asks for a fact when it needs it.

use super::{Kind, internet_family, is_closed, is_v6_only};
use crate::control;
use crate::session::Session;
use crate::sys;
use libc::c_int;

/// Facts about a socket.
pub(crate) trait SocketFacts {
    /// The protocol.
    fn kind(&self) -> Kind;

    /// `AF_INET` or `AF_INET6`; none for another socket.
    fn internet_family(&self) -> Option<c_int>;

    /// Whether it refuses IPv4-mapped addresses.
    fn is_v6_only(&self) -> bool;

    /// Whether it is a TCP socket without a connection that is not connecting or listening either.
    fn is_closed(&self) -> bool;

    /// Whether it has a pending error or a hang-up.
    fn has_error_or_hang_up(&self) -> bool;

    /// Whether it belongs to another network namespace than the session.
    fn is_in_other_network(&self) -> bool;
}

/// A socket of the program's, about which the kernel is asked.
///
/// The methods are not `#[inline]`: rustc exports every function that an inline method of a trait calls, which costs
/// each exec a relocation.
pub(crate) struct KernelSocket<'a> {
    session: &'a Session,
    socket: c_int,
}

impl<'a> KernelSocket<'a> {
    pub(crate) fn new(session: &'a Session, socket: c_int) -> Self {
        Self { session, socket }
    }
}

impl SocketFacts for KernelSocket<'_> {
    fn kind(&self) -> Kind {
        Kind::of(self.socket)
    }

    fn internet_family(&self) -> Option<c_int> {
        internet_family(self.socket)
    }

    fn is_v6_only(&self) -> bool {
        is_v6_only(self.socket)
    }

    fn is_closed(&self) -> bool {
        is_closed(self.socket)
    }

    fn has_error_or_hang_up(&self) -> bool {
        sys::has_error_or_hang_up(self.socket)
    }

    fn is_in_other_network(&self) -> bool {
        control::is_in_other_network(self.session, self.socket)
    }
}

/// Sockets for unit tests.
#[cfg(test)]
pub(crate) mod fake {
    use super::{Kind, SocketFacts};
    use libc::c_int;
    use std::cell::RefCell;

    /// A socket with the facts that a test gives it; it records which of them were asked for.
    pub(crate) struct FakeSocket {
        pub(crate) kind: Kind,
        pub(crate) family: Option<c_int>,
        pub(crate) is_v6_only: bool,
        pub(crate) is_closed: bool,
        pub(crate) has_error_or_hang_up: bool,
        pub(crate) is_in_other_network: bool,
        asked: RefCell<Vec<&'static str>>,
    }

    impl FakeSocket {
        /// A new IPv4 socket of the session's network namespace.
        pub(crate) fn new(kind: Kind) -> Self {
            Self {
                kind,
                family: Some(libc::AF_INET),
                is_v6_only: false,
                is_closed: true,
                has_error_or_hang_up: false,
                is_in_other_network: false,
                asked: RefCell::default(),
            }
        }

        /// The facts that were asked for, in order.
        pub(crate) fn asked(&self) -> Vec<&'static str> {
            self.asked.borrow().clone()
        }

        fn answer<T>(&self, fact: &'static str, answer: T) -> T {
            self.asked.borrow_mut().push(fact);
            answer
        }
    }

    impl SocketFacts for FakeSocket {
        fn kind(&self) -> Kind {
            self.answer("kind", self.kind)
        }

        fn internet_family(&self) -> Option<c_int> {
            self.answer("internet_family", self.family)
        }

        fn is_v6_only(&self) -> bool {
            self.answer("is_v6_only", self.is_v6_only)
        }

        fn is_closed(&self) -> bool {
            self.answer("is_closed", self.is_closed)
        }

        fn has_error_or_hang_up(&self) -> bool {
            self.answer("has_error_or_hang_up", self.has_error_or_hang_up)
        }

        fn is_in_other_network(&self) -> bool {
            self.answer("is_in_other_network", self.is_in_other_network)
        }
    }
}
