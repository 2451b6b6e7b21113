//! The behaviour of the scripted relay, which the port of a connect's target chooses, or the name of a lookup.

use kinject_protocol::ConnectFailure;
use kinject_protocol::NameFailure;
use kinject_protocol::control::{Family, Reply};
use std::net::IpAddr;

/// The result of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// It fails at once.
    Fail(ConnectFailure),
    /// It is connected at once to a listener that says "welcome".
    Connect,
    /// It is in progress, then connected.
    ProgressThenConnect,
    /// It stays in progress.
    ProgressForever,
    /// It is in progress, then refused.
    ProgressThenRefuse,
    /// It is in progress, and refused once the program has handled a signal and sleeps in connect(2) again.
    ProgressThenSignalThenRefuse,
    /// There is no reply until the program has handled a signal; then it is in progress, then connected.
    SignalThenProgress,
    /// There is no reply until the program has handled a signal; then it is connected.
    SignalThenConnected,
    /// There is no reply until the program has handled a signal; then it is refused.
    SignalThenRefused,
    /// There is no reply.
    Silence,
    /// The relay closes the conversation.
    Close,
    /// The reply is malformed.
    Garbage,
    /// The reply is one to another request.
    WrongReply,
    /// The target belongs to this machine's network.
    Local,
}

/// The ports of the scripts; each failure has a further one.
const SCRIPTS: [(u16, Script); 13] = [
    (2000, Script::Connect),
    (2001, Script::ProgressThenConnect),
    (2002, Script::ProgressForever),
    (2003, Script::ProgressThenRefuse),
    (2004, Script::SignalThenProgress),
    (2005, Script::SignalThenConnected),
    (2006, Script::SignalThenRefused),
    (2007, Script::Silence),
    (2008, Script::Close),
    (2009, Script::Garbage),
    (2010, Script::WrongReply),
    (2011, Script::Local),
    (2012, Script::ProgressThenSignalThenRefuse),
];

const FIRST_FAILURE: u16 = 1000;

impl Script {
    pub(crate) fn port(self) -> u16 {
        match self {
            Self::Fail(failure) => FIRST_FAILURE + failure as u16,
            other => {
                SCRIPTS
                    .iter()
                    .find(|(_, script)| *script == other)
                    .expect("a script has a port")
                    .0
            }
        }
    }

    pub(crate) fn of_port(port: u16) -> Self {
        if let Some((_, script)) = SCRIPTS.iter().find(|(known, _)| *known == port) {
            return *script;
        }
        let failure = ConnectFailure::ALL
            .into_iter()
            .find(|failure| FIRST_FAILURE + *failure as u16 == port);
        Self::Fail(failure.expect("a port of a script"))
    }
}

/// The addresses of the names in the script.
pub(crate) fn addresses(name: &str) -> Option<(&'static str, Vec<IpAddr>)> {
    let (canonical, addresses): (_, &[&str]) = match name {
        "web" => ("web.default.svc.cluster.local", &["10.96.10.1"]),
        "db" => (
            "db.default.svc.cluster.local",
            &["10.244.0.7", "10.244.0.5", "10.244.0.6"],
        ),
        "dual" => ("dual.default.svc.cluster.local", &["fd00::10", "10.96.0.10"]),
        "six" => ("six.default.svc.cluster.local", &["fd00::6"]),
        "bookshop" => ("xn--bcher-kva.test", &["10.96.10.90"]),
        "plain" => ("", &["10.96.10.2"]),
        "many" => {
            let all = (0..1024).map(|number: u32| IpAddr::from(number.to_be_bytes().map(|byte| byte | 8)));
            return Some(("many.default.svc.cluster.local", all.collect()));
        }
        _ => return None,
    };
    Some((
        canonical,
        addresses
            .iter()
            .map(|text| text.parse().expect("an address"))
            .collect(),
    ))
}

/// The reply to a lookup; none if the relay closes the conversation instead.
pub(crate) fn lookup(name: &str, family: Family) -> Option<Reply> {
    let failure = match name {
        "nodata" => NameFailure::NoData,
        "broken" => NameFailure::TryAgain,
        "refused" => NameFailure::NoRecovery,
        "hangup" => return None,
        "confused" => return Some(Reply::Connected),
        _ => NameFailure::NotFound,
    };
    let Some((canonical, mut addresses)) = addresses(name) else {
        return Some(Reply::NameFailed(failure));
    };
    addresses.retain(|address| match family {
        Family::Any | Family::Mapped => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    });
    Some(if addresses.is_empty() {
        Reply::NameFailed(NameFailure::NoData)
    } else {
        Reply::Addresses {
            canonical: canonical.into(),
            addresses,
        }
    })
}
