//! Names for the results of calls, for the trace and the log: names of errors as in libc's manual pages, and plain
//! English for the rest.

use kinject_dns::message::Code;
use kinject_protocol::control::Purpose;
use kinject_protocol::{ConnectFailure, NameFailure};
use kinject_tunnel::{DatagramsEnd, SpliceEnd, SpliceOutcome};
use std::fmt::Display;
use std::io::ErrorKind;

/// The errno of connect(2).
pub(crate) fn errno(failure: ConnectFailure) -> &'static str {
    match failure {
        ConnectFailure::Refused => "ECONNREFUSED",
        ConnectFailure::TimedOut => "ETIMEDOUT",
        ConnectFailure::HostUnreachable => "EHOSTUNREACH",
        ConnectFailure::NetworkUnreachable => "ENETUNREACH",
        ConnectFailure::Reset => "ECONNRESET",
        ConnectFailure::PermissionDenied => "EACCES",
        ConnectFailure::AddressNotAvailable => "EADDRNOTAVAIL",
        ConnectFailure::TunnelDown => "ENETUNREACH: the session is over",
        ConnectFailure::Exhausted => "EAGAIN",
        ConnectFailure::AlreadyReported => "ECONNABORTED",
        ConnectFailure::Invalid => "EINVAL",
        ConnectFailure::NotAtRest => "EALREADY",
    }
}

/// The error of the function that looked up the name: getaddrinfo(3), or gethostbyname(3) with its `h_errno`.
pub(crate) fn name_failure(failure: NameFailure, purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::AddressInfo | Purpose::ConfiguredAddressInfo => match failure {
            NameFailure::NotFound => "EAI_NONAME",
            NameFailure::NoData => "EAI_NODATA",
            NameFailure::TryAgain => "EAI_AGAIN",
            NameFailure::NoRecovery => "EAI_FAIL",
        },
        Purpose::HostEntry => h_errno(failure),
    }
}

/// The `h_errno` of gethostbyname(3) and res_search(3).
pub(crate) fn h_errno(failure: NameFailure) -> &'static str {
    match failure {
        NameFailure::NotFound => "HOST_NOT_FOUND",
        NameFailure::NoData => "NO_DATA",
        NameFailure::TryAgain => "TRY_AGAIN",
        NameFailure::NoRecovery => "NO_RECOVERY",
    }
}

/// The code of a DNS message, as dig(1) prints it.
pub(crate) fn dns_code(code: Code) -> &'static str {
    match code {
        Code::NoError => "NOERROR",
        Code::FormErr => "FORMERR",
        Code::ServFail => "SERVFAIL",
        Code::NxDomain => "NXDOMAIN",
        Code::Other => "REFUSED",
    }
}

/// What strerror(3) says of an errno.
pub(crate) fn os_error(errno: i32) -> String {
    let shown = std::io::Error::from_raw_os_error(errno).to_string();
    match shown.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => shown,
    }
}

/// A comma-separated list.
pub(crate) fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// How a connection ended, to follow its target.
pub(crate) fn connection_end(outcome: &SpliceOutcome) -> String {
    let SpliceOutcome { sent, received, end } = outcome;
    let end = match end {
        SpliceEnd::Finished => "closed".to_owned(),
        SpliceEnd::SocketFailed(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            "reset by the program".to_owned()
        }
        SpliceEnd::SocketFailed(kind) => format!("failed at the program's socket ({kind})"),
        SpliceEnd::StreamReset => "reset by the far end".to_owned(),
        SpliceEnd::TunnelLost => "lost with the connection to the agent".to_owned(),
    };
    format!("{end}, {sent} bytes sent, {received} received")
}

/// Why a flow of datagrams ended.
pub(crate) fn datagrams_end(end: &DatagramsEnd) -> String {
    match end {
        DatagramsEnd::Idle => "idle for too long".to_owned(),
        DatagramsEnd::Finished => "closed by the agent".to_owned(),
        DatagramsEnd::Refused(error) => error.to_string(),
        DatagramsEnd::SocketFailed(error) => format!("the program's socket failed: {error}"),
        DatagramsEnd::TunnelLost => "lost with the connection to the agent".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_failure_is_named_as_the_calling_function_returns_it() {
        for failure in NameFailure::ALL {
            assert!(name_failure(failure, Purpose::AddressInfo).starts_with("EAI_"));
            assert_eq!(name_failure(failure, Purpose::HostEntry), h_errno(failure));
        }
        assert_eq!(
            name_failure(NameFailure::NotFound, Purpose::AddressInfo),
            "EAI_NONAME"
        );
    }

    #[test]
    fn connection_end_names_its_cause_and_byte_counts() {
        let ended = |end| {
            connection_end(&SpliceOutcome {
                sent: 5,
                received: 70,
                end,
            })
        };
        assert_eq!(ended(SpliceEnd::Finished), "closed, 5 bytes sent, 70 received");
        assert_eq!(
            ended(SpliceEnd::SocketFailed(ErrorKind::ConnectionReset)),
            "reset by the program, 5 bytes sent, 70 received"
        );
        assert_eq!(
            ended(SpliceEnd::SocketFailed(ErrorKind::TimedOut)),
            "failed at the program's socket (timed out), 5 bytes sent, 70 received"
        );
    }
}
